//! Agents of a project, the keys they prove themselves by, and API keys.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use bygone_access::{AgentKeyView, KeyView, Right};
use bygone_base::UnixMillis;
use bygone_catalog::record::{Agent, Grant, Project};
use maud::{Markup, html};

use crate::{
    failure::Answer,
    format::{age, moment},
    notice::Notice,
    page::users::{granted, local_fields, roles},
    part::{
        control,
        state::{Mood, badge},
    },
    site::{Site, id},
    visitor::{Posted, Visitor},
};

/// An agent that was not heard for so long counts as down, in milliseconds.
const SILENT: i64 = 60_000;

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/p/{project}/keys", get(show))
        .route("/p/{project}/keys/agent", post(make_agent_key))
        .route("/p/{project}/keys/agent/{key}/remove", post(remove_agent_key))
        .route("/p/{project}/keys/api", post(make_key))
        .route("/p/{project}/keys/api/{key}/remove", post(remove_key))
}

/// Whether a key is this project's.
fn belongs(key: &KeyView, project: &Project) -> bool {
    key.grants.iter().any(|grant| grant.project.as_ref() == Some(&project.id))
}

async fn show(State(site): State<Site>, visitor: Visitor, Path(project): Path<String>) -> Answer {
    let scope = visitor.within(&site, &project, Right::Agents).await?;
    let agents: Vec<Agent> = site.control.catalog().all(Some(scope.id().as_str())).await?;
    let agent_keys = site.access.agent_keys(scope.id()).await?;
    let csrf = visitor.csrf();
    let path = scope.path("/keys");
    let now = site.control.now();
    let api = if scope.may(Right::Users) {
        let mut keys = site.access.keys().await?;
        keys.retain(|key| belongs(key, &scope.project));
        Some(keys)
    } else {
        None
    };
    let main = html! {
        h1 { "Agents and keys" }
        (agent_table(&agents, now))
        (agent_section(&agent_keys, &path, csrf, now))
        @if let Some(keys) = &api { (api_section(keys, &scope.project, &path, csrf, now)) }
    };
    scope.page(&site, "Agents and keys", "Agents and keys", main).await
}

fn agent_table(agents: &[Agent], now: UnixMillis) -> Markup {
    html! {
        section {
            h2 { "Agents" }
            @if agents.is_empty() {
                p { "No agent on another host was heard. The server's own does the work where there is none." }
            } @else {
                table.cards {
                    thead { tr { th { "Host" } th { "State" } th { "Version" } th { "Heard" } } }
                    tbody { @for agent in agents {
                        tr {
                            th scope="row" { (agent.host) }
                            td data-label="State" {
                                (agent_state(agent, now))
                                @for (_, problem) in &agent.problems { p.error { (problem) } }
                            }
                            td data-label="Version" { (agent.version) }
                            td data-label="Heard" { (age(now, agent.last_conf)) }
                        }
                    } }
                }
            }
        }
    }
}

fn agent_state(agent: &Agent, now: UnixMillis) -> Markup {
    if agent.left {
        badge(Mood::Still, "stopped")
    } else if now.since(agent.last_conf) > SILENT {
        badge(Mood::Bad, "silent")
    } else if agent.serves.is_empty() {
        badge(Mood::Still, "standing by")
    } else {
        badge(
            Mood::Good,
            &format!("serves {}", crate::format::count(agent.serves.len() as u64, "job")),
        )
    }
}

fn agent_section(keys: &[AgentKeyView], path: &str, csrf: &str, now: UnixMillis) -> Markup {
    html! {
        section {
            h2 { "Agent keys" }
            @if !keys.is_empty() { table.cards {
                thead { tr { th { "For" } th { "Made (UTC)" } th { span.unseen { "Actions" } } } }
                tbody { @for key in keys {
                    tr {
                        th scope="row" { (key.description) }
                        td data-label="Made (UTC)" { (moment(now, key.created)) }
                        td.actions {
                            (control::button(csrf, &format!("{path}/agent/{}/remove", key.id), "Remove", "plain",
                                "Agents that use it are refused from then on"))
                        }
                    }
                } }
            } }
            form.row method="post" action={ (path) "/agent" } {
                (control::csrf(csrf))
                (control::text("description", "What it is for", "", ""))
                button type="submit" { "Make an agent key" }
            }
        }
    }
}

fn api_section(
    keys: &[KeyView],
    project: &Project,
    path: &str,
    csrf: &str,
    now: UnixMillis,
) -> Markup {
    let projects = std::slice::from_ref(project);
    html! {
        section {
            h2 { "API keys" }
            @if !keys.is_empty() { table.cards {
                thead { tr { th { "Public key" } th { "For" } th { "Roles" } th { "Made (UTC)" } th { span.unseen { "Actions" } } } }
                tbody { @for key in keys {
                    tr {
                        th scope="row" { code { (key.public) } }
                        td data-label="For" { (key.description) }
                        td data-label="Roles" { (roles(&key.grants, projects)) }
                        td data-label="Made (UTC)" { (moment(now, key.created)) }
                        td.actions {
                            (control::button(csrf, &format!("{path}/api/{}/remove", key.public), "Remove", "plain",
                                "Programs that use it are refused from then on"))
                        }
                    }
                } }
            } }
            form method="post" action={ (path) "/api" } {
                (control::csrf(csrf))
                // Its own id: the form above has a field of this name, too.
                div.field {
                    label for="api_description" { "What it is for" }
                    input #api_description type="text" name="description" autocomplete="off";
                }
                (local_fields("Roles", &[], project))
                div.actions { button type="submit" { "Make an API key" } }
            }
        }
    }
}

async fn make_agent_key(
    State(site): State<Site>,
    Path(project): Path<String>,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Agents).await?;
    let description = form.text("description");
    let by = visitor.by();
    let (_, secret) = site.access.create_agent_key(scope.id(), description, &by).await?;
    let notice = Notice::of("The agent key was made.").secret("Agent key", secret);
    visitor.go(&site, &scope.path("/keys"), &notice)
}

async fn remove_agent_key(
    State(site): State<Site>,
    Path((project, key)): Path<(String, String)>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Agents).await?;
    site.access.remove_agent_key(scope.id(), &id(&key, "agent key")?, &visitor.by()).await?;
    visitor.go(&site, &scope.path("/keys"), &Notice::of("The agent key was removed."))
}

async fn make_key(
    State(site): State<Site>,
    Path(project): Path<String>,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Users).await?;
    let mut grants: Vec<Grant> = granted(&form)?;
    grants.retain(|grant| grant.project.as_ref() == Some(scope.id()));
    let key = site.access.create_key(form.text("description"), grants, &visitor.by()).await?;
    let notice = Notice::of("The API key was made.")
        .secret("Public key", key.key.public)
        .secret("Private key", key.private);
    visitor.go(&site, &scope.path("/keys"), &notice)
}

async fn remove_key(
    State(site): State<Site>,
    Path((project, key)): Path<(String, String)>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Users).await?;
    let known = site.access.keys().await?;
    let ours = known.iter().any(|view| view.public == key && belongs(view, &scope.project));
    if !ours {
        let missing = bygone_base::ErrorKind::NotFound;
        return Err(bygone_base::Error::new(missing, "there is no such API key").into());
    }
    site.access.remove_key(&key, &visitor.by()).await?;
    visitor.go(&site, &scope.path("/keys"), &Notice::of("The API key was removed."))
}

#[cfg(test)]
mod tests {
    use bygone_catalog::record::Role;

    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn keys_and_agents_are_escaped() {
        let project = sample::project(EVIL);
        let agent = Agent {
            id: EVIL.into(),
            project: project.id.clone(),
            host: EVIL.into(),
            version: EVIL.into(),
            started: UnixMillis(0),
            last_conf: UnixMillis(0),
            serves: Vec::new(),
            left: false,
            here: false,
            gave_up: Vec::new(),
            problems: vec![(sample::id(2), EVIL.into())],
        };
        let agent_key = AgentKeyView {
            id: sample::id(5),
            project: project.id.clone(),
            description: EVIL.into(),
            created: UnixMillis(0),
        };
        let key = KeyView {
            public: "abcdefgh".into(),
            description: EVIL.into(),
            grants: vec![Grant { role: Role::ProjectRestore, project: Some(project.id.clone()) }],
            created: UnixMillis(0),
        };
        let now = UnixMillis(0);
        assert!(belongs(&key, &project));
        sample::harmless(&agent_table(&[agent], now).into_string());
        sample::harmless(&agent_section(&[agent_key], "/p", "t", now).into_string());
        sample::harmless(&api_section(&[key], &project, "/p", "t", now).into_string());
    }
}
