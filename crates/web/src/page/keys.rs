//! Agents of a project, the keys they prove themselves by, and API keys.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use bygone_access::{AgentKeyView, KeyView, NewKey, Right};
use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use bygone_catalog::record::{Agent, Grant, Project};
use bygone_control::health::is_silent;
use maud::{Markup, html};

use crate::{
    failure::{Answer, refused, wrong},
    form::Form,
    format::{age, moment},
    notice::Notice,
    page::{confirm::Question, users::roles_told},
    part::{
        control,
        roles::{self, ROLES},
        state::{self, Mood, badge},
    },
    site::{Site, id},
    visitor::{Posted, Scope, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/p/{project}/keys", get(show))
        .route("/p/{project}/keys/agent", post(make_agent_key))
        .route("/p/{project}/keys/agent/{key}/remove", get(ask_agent_key).post(remove_agent_key))
        .route("/p/{project}/keys/api", post(make_key))
        .route("/p/{project}/keys/api/{key}/remove", get(ask_key).post(remove_key))
        .route("/keys", get(all).post(make_any))
        .route("/keys/{key}/remove", get(ask_any).post(remove_any))
}

/// Whether a key is this project's.
fn belongs(key: &KeyView, project: &Project) -> bool {
    key.grants.iter().any(|grant| grant.project.as_ref() == Some(&project.id))
}

async fn show(State(site): State<Site>, visitor: Visitor, Path(project): Path<String>) -> Answer {
    let scope = visitor.within(&site, &project, Right::Agents).await?;
    again(&site, &scope, &Form::default(), None).await
}

async fn again(site: &Site, scope: &Scope<'_>, form: &Form, error: Option<&Error>) -> Answer {
    let agents: Vec<Agent> = site.control.catalog().all(Some(scope.id().as_str())).await?;
    let agent_keys = site.access.agent_keys(scope.id()).await?;
    let csrf = scope.visitor.csrf();
    let path = scope.path("/keys");
    let now = site.control.now();
    let may_make = scope.visitor.principal.may_make_agents(scope.id());
    let api = if scope.may(Right::Users) {
        let mut keys = site.access.keys().await?;
        keys.retain(|key| belongs(key, &scope.project));
        Some(keys)
    } else {
        None
    };
    let main = html! {
        h1 { "Agents and keys" }
        (wrong(error))
        (agent_table(&agents, now))
        (agent_section(&agent_keys, may_make, form, &path, csrf, now))
        @if let Some(keys) = &api { (api_section(keys, &scope.project, form, &path, csrf, now)) }
    };
    refused(scope.page(site, "Agents and keys", "Agents and keys", main).await, error)
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
    } else if is_silent(agent.last_conf, now) {
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

fn agent_section(
    keys: &[AgentKeyView],
    may_make: bool,
    form: &Form,
    path: &str,
    csrf: &str,
    now: UnixMillis,
) -> Markup {
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
                            a.button.plain href={ (path) "/agent/" (key.id) "/remove" } { "Remove…" }
                        }
                    }
                } }
            } }
            @if may_make {
                form.row method="post" action={ (path) "/agent" } {
                    (control::csrf(csrf))
                    (control::text("description", "What it is for", form.text("description"), ""))
                    button type="submit" { "Make an agent key" }
                }
            } @else {
                p.quiet { "Agents are given the passwords of sources: to make a key of one needs a role that may restore, too." }
            }
        }
    }
}

fn key_table(keys: &[KeyView], projects: &[Project], path: &str, now: UnixMillis) -> Markup {
    html! {
        @if !keys.is_empty() { table.cards {
            thead { tr { th { "Public key" } th { "For" } th { "Roles" } th { "Made (UTC)" } th { span.unseen { "Actions" } } } }
            tbody { @for key in keys {
                tr {
                    th scope="row" { code { (key.public) } }
                    td data-label="For" { (key.description) }
                    td data-label="Roles" { (roles_told(&key.grants, projects)) }
                    td data-label="Made (UTC)" { (moment(now, key.created)) }
                    td.actions { a.button.plain href={ (path) "/" (key.public) "/remove" } { "Remove…" } }
                }
            } }
        } }
    }
}

fn api_section(
    keys: &[KeyView],
    project: &Project,
    form: &Form,
    path: &str,
    csrf: &str,
    now: UnixMillis,
) -> Markup {
    let projects = std::slice::from_ref(project);
    html! {
        section {
            h2 { "API keys" }
            (key_table(keys, projects, &format!("{path}/api"), now))
            form method="post" action={ (path) "/api" } {
                (control::csrf(csrf))
                // Its own id: the form above has a field of this name, too.
                div.field {
                    label for="api_description" { "What it is for" }
                    input #api_description type="text" name="api_description" value=(form.text("api_description")) autocomplete="off";
                }
                fieldset {
                    legend { "Roles" }
                    @for (at, role) in ROLES.iter().enumerate().skip(2) {
                        @let place = at.to_string();
                        (control::tick("grant", &place, state::role(*role), form.all("grant").any(|sent| sent == place)))
                    }
                }
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
    // An agent is given the sources' passwords, with which all data can be read.
    visitor.within(&site, &project, Right::Restore).await?;
    let scope = visitor.within(&site, &project, Right::Agents).await?;
    let description = form.text("description");
    let by = visitor.by();
    match site.access.create_agent_key(scope.id(), description, &by).await {
        Ok((_, secret)) => {
            let notice = Notice::of("The agent key was made.").secret("Agent key", secret);
            visitor.go(&site, &scope.path("/keys"), &notice)
        }
        Err(error) => again(&site, &scope, &form, Some(&error)).await,
    }
}

fn question(what: &str, whom: &str, action: String, back: String) -> Question<'static> {
    Question {
        title: format!("Remove the {what}?"),
        does: vec![format!("{whom} that use it are refused from then on. It cannot be put back.")],
        action,
        button: "Remove the key",
        typed: None,
        back,
    }
}

async fn ask_agent_key(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, key)): Path<(String, String)>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Agents).await?;
    let id = id(&key, "agent key")?;
    let keys = site.access.agent_keys(scope.id()).await?;
    let key = keys.into_iter().find(|key| key.id == id).ok_or_else(|| missing("agent key"))?;
    let path = scope.path("/keys");
    let what = format!("agent key for {}", key.description);
    let ask = question(&what, "Agents", format!("{path}/agent/{id}/remove"), path);
    scope.page(&site, "Remove a key", "Agents and keys", ask.draw(visitor.csrf())).await
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

/// The roles that were ticked, in this project.
///
/// # Errors
/// Usage: one is unknown, or none that is for a project.
fn ticked(form: &Form, project: &Project) -> Result<Vec<Grant>> {
    let one = |text: &str| {
        let at = text.parse().ok().filter(|at: &usize| *at >= 2);
        let role = at.and_then(|at| ROLES.get(at).copied());
        let role = role.ok_or_else(|| Error::usage(format!("{text:?} is not a role")))?;
        Ok(Grant { role, project: Some(project.id.clone()) })
    };
    form.all("grant").map(one).collect()
}

async fn make_key(
    State(site): State<Site>,
    Path(project): Path<String>,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Users).await?;
    let made = match ticked(&form, &scope.project) {
        Ok(grants) => {
            site.access.create_key(form.text("api_description"), grants, &visitor.by()).await
        }
        Err(error) => Err(error),
    };
    match made {
        Ok(key) => visitor.go(&site, &scope.path("/keys"), &made_key(key)),
        Err(error) => again(&site, &scope, &form, Some(&error)).await,
    }
}

/// A new API key, told once.
fn made_key(key: NewKey) -> Notice {
    Notice::of("The API key was made.")
        .secret("Public key", key.key.public)
        .secret("Private key", key.private)
}

fn missing(what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no such {what}"))
}

async fn find_key(site: &Site, public: &str, project: Option<&Project>) -> Result<KeyView> {
    let known = site.access.keys().await?.into_iter();
    let ours = |key: &KeyView| project.is_none_or(|project| belongs(key, project));
    let found = known.into_iter().find(|key| key.public == public && ours(key));
    found.ok_or_else(|| missing("API key"))
}

async fn ask_key(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, key)): Path<(String, String)>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Users).await?;
    let key = find_key(&site, &key, Some(&scope.project)).await?;
    let path = scope.path("/keys");
    let what = format!("API key {} for {}", key.public, key.description);
    let ask = question(&what, "Programs", format!("{path}/api/{}/remove", key.public), path);
    scope.page(&site, "Remove a key", "Agents and keys", ask.draw(visitor.csrf())).await
}

async fn remove_key(
    State(site): State<Site>,
    Path((project, key)): Path<(String, String)>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Users).await?;
    let key = find_key(&site, &key, Some(&scope.project)).await?;
    site.access.remove_key(&key.public, &visitor.by()).await?;
    visitor.go(&site, &scope.path("/keys"), &Notice::of("The API key was removed."))
}

async fn all(State(site): State<Site>, visitor: Visitor) -> Answer {
    visitor.needs(Right::Users)?;
    all_again(&site, &visitor, &Form::default(), None).await
}

/// All API keys, also those that are for everywhere.
async fn all_again(site: &Site, visitor: &Visitor, form: &Form, error: Option<&Error>) -> Answer {
    let keys = site.access.keys().await?;
    let projects = site.control.projects().await?;
    let main = html! {
        h1 { "API keys" }
        (wrong(error))
        p { "By an API key a program uses the API, with HTTP digest. The keys of one project are on the page of its agents and keys, too." }
        (key_table(&keys, &projects, "/keys", site.control.now()))
        section {
            h2 { "New API key" }
            form method="post" action="/keys" {
                (control::csrf(visitor.csrf()))
                (control::text("description", "What it is for", form.text("description"), ""))
                (roles::fields(form, &projects))
                div.actions { button type="submit" { "Make an API key" } }
            }
        }
    };
    refused(visitor.page(site, "API keys", "/keys", main).await, error)
}

async fn make_any(State(site): State<Site>, Posted { visitor, form }: Posted) -> Answer {
    visitor.needs(Right::Users)?;
    let made = match roles::read(&form) {
        Ok(grants) => site.access.create_key(form.text("description"), grants, &visitor.by()).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(key) => visitor.go(&site, "/keys", &made_key(key)),
        Err(error) => all_again(&site, &visitor, &form, Some(&error)).await,
    }
}

async fn ask_any(State(site): State<Site>, visitor: Visitor, Path(key): Path<String>) -> Answer {
    visitor.needs(Right::Users)?;
    let key = find_key(&site, &key, None).await?;
    let what = format!("API key {} for {}", key.public, key.description);
    let action = format!("/keys/{}/remove", key.public);
    let ask = question(&what, "Programs", action, "/keys".to_owned());
    visitor.page(&site, "Remove a key", "/keys", ask.draw(visitor.csrf())).await
}

async fn remove_any(
    State(site): State<Site>,
    Path(key): Path<String>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    visitor.needs(Right::Users)?;
    let key = find_key(&site, &key, None).await?;
    site.access.remove_key(&key.public, &visitor.by()).await?;
    visitor.go(&site, "/keys", &Notice::of("The API key was removed."))
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
        let form = Form::default().with("api_description", EVIL);
        assert!(belongs(&key, &project));
        sample::harmless(&agent_table(&[agent], now).into_string());
        let section =
            |may| agent_section(std::slice::from_ref(&agent_key), may, &form, "/p", "t", now);
        sample::harmless(&section(true).into_string());
        assert!(section(true).into_string().contains("<form"));
        assert!(!section(false).into_string().contains("<form"));
        sample::harmless(&api_section(&[key], &project, &form, "/p", "t", now).into_string());
    }
}
