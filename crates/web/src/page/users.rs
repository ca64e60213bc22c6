//! Users: invited, given roles, removed.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use bygone_access::{Right, UserView};
use bygone_base::{Error, Result, UnixMillis};
use bygone_catalog::record::{Grant, Project, Role};
use maud::{Markup, html};

use crate::{
    failure::Answer,
    form::Form,
    format::moment,
    notice::Notice,
    part::{control, state},
    site::{Site, id, link},
    visitor::{Posted, Visitor},
};

/// The global ones first.
const ROLES: [Role; 5] = [
    Role::GlobalOwner,
    Role::GlobalBackupAdmin,
    Role::ProjectBackupAdmin,
    Role::ProjectRestore,
    Role::ProjectReadOnly,
];

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/users", get(list).post(invite))
        .route("/users/{user}", get(edit).post(save))
        .route("/users/{user}/invite", post(again))
        .route("/users/{user}/remove", post(remove))
}

async fn list(State(site): State<Site>, visitor: Visitor) -> Answer {
    visitor.needs(Right::Users)?;
    let users = site.access.users().await?;
    let projects = site.control.projects().await?;
    let main = page(&users, &projects, visitor.csrf(), site.control.now());
    visitor.page(&site, "Users", "/users", main).await
}

fn page(users: &[UserView], projects: &[Project], csrf: &str, now: UnixMillis) -> Markup {
    html! {
        h1 { "Users" }
        table.cards {
            thead { tr { th { "Name" } th { "Roles" } th { "Password" } th { "Since (UTC)" } } }
            tbody { @for user in users {
                tr {
                    th scope="row" { a href={ "/users/" (user.id) } { (user.name) } }
                    td data-label="Roles" { (roles(&user.grants, projects)) }
                    td data-label="Password" {
                        @match (user.has_password, user.invited_until) {
                            (_, Some(until)) => { "invited until " (moment(now, until)) },
                            (true, None) => "chosen",
                            (false, None) => "none: invite again",
                        }
                    }
                    td data-label="Since (UTC)" { (moment(now, user.created)) }
                }
            } }
        }
        section {
            h2 { "Invite somebody" }
            form method="post" action="/users" {
                (control::csrf(csrf))
                (control::text("name", "Name to log in with", "", "An e-mail address will do."))
                (grant_fields(&[], projects))
                div.actions { button type="submit" { "Make the user and a link" } }
                p.quiet { "The link is shown once; by it the password is chosen." }
            }
        }
    }
}

/// Roles in words.
pub(crate) fn roles(grants: &[Grant], projects: &[Project]) -> String {
    let named = |grant: &Grant| match &grant.project {
        None => state::role(grant.role).to_owned(),
        Some(id) => {
            let project = projects.iter().find(|project| project.id == *id);
            let name = project.map_or("a project that is gone", |project| &project.name);
            format!("{} of {name}", state::role(grant.role))
        }
    };
    if grants.is_empty() {
        return "none".to_owned();
    }
    grants.iter().map(named).collect::<Vec<_>>().join(", ")
}

/// A box for each role, by project.
fn grant_fields(grants: &[Grant], projects: &[Project]) -> Markup {
    let has = |role: Role| grants.iter().any(|g| g.role == role && g.project.is_none());
    html! {
        fieldset {
            legend { "Everywhere" }
            @for role in &ROLES[..2] {
                (control::tick("grant", &key(*role, None), state::role(*role), has(*role)))
            }
        }
        @for project in projects { (local_fields(&format!("In {}", project.name), grants, project)) }
    }
}

/// A box for each role of one project.
pub(crate) fn local_fields(legend: &str, grants: &[Grant], project: &Project) -> Markup {
    let has = |role: Role| {
        grants.iter().any(|g| g.role == role && g.project.as_ref() == Some(&project.id))
    };
    html! {
        fieldset {
            legend { (legend) }
            @for role in &ROLES[2..] {
                (control::tick("grant", &key(*role, Some(project)), state::role(*role), has(*role)))
            }
        }
    }
}

fn key(role: Role, project: Option<&Project>) -> String {
    let place = ROLES.iter().position(|known| *known == role).unwrap_or_default();
    project.map_or(place.to_string(), |project| format!("{place}@{}", project.id))
}

/// The roles that were ticked.
///
/// # Errors
/// Usage: one is unknown.
pub(crate) fn granted(form: &Form) -> Result<Vec<Grant>> {
    let one = |text: &str| {
        let (place, project) = match text.split_once('@') {
            Some((place, project)) => (place, Some(project.parse()?)),
            None => (text, None),
        };
        let role = place.parse().ok().and_then(|place: usize| ROLES.get(place));
        let role = *role.ok_or_else(|| Error::usage(format!("{text:?} is not a role")))?;
        Ok(Grant { role, project })
    };
    form.all("grant").map(one).collect()
}

async fn invite(State(site): State<Site>, Posted { visitor, form }: Posted) -> Answer {
    visitor.needs(Right::Users)?;
    let by = visitor.by();
    let (user, secret) = site.access.invite(form.text("name"), granted(&form)?, &by).await?;
    let notice = Notice::of(format!("The user {} was made. Give him this link.", user.name))
        .secret("Link", link(&visitor.caller.headers, &format!("/welcome/{secret}")));
    visitor.go(&site, "/users", &notice)
}

async fn edit(State(site): State<Site>, visitor: Visitor, Path(user): Path<String>) -> Answer {
    visitor.needs(Right::Users)?;
    let id = id(&user, "user")?;
    let found = site.access.users().await?.into_iter().find(|user| user.id == id);
    let missing = || Error::new(bygone_base::ErrorKind::NotFound, "there is no such user");
    let found = found.ok_or_else(missing)?;
    let projects = site.control.projects().await?;
    let main = one(&found, &projects, visitor.csrf());
    visitor.page(&site, "User", "/users", main).await
}

fn one(user: &UserView, projects: &[Project], csrf: &str) -> Markup {
    let path = format!("/users/{}", user.id);
    html! {
        p { a href="/users" { "← all users" } }
        h1 { (user.name) }
        form method="post" action=(path) {
            (control::csrf(csrf))
            (grant_fields(&user.grants, projects))
            div.actions { button type="submit" { "Save the roles" } }
        }
        section {
            h2 { "Access" }
            div.actions {
                (control::button(csrf, &format!("{path}/invite"), "New link", "plain",
                    "A link by which a new password can be chosen; the old one stays good until then"))
                (control::button(csrf, &format!("{path}/remove"), "Remove the user", "danger",
                    "Ends all sessions of the user; events keep the name"))
            }
        }
    }
}

async fn save(
    State(site): State<Site>,
    Path(user): Path<String>,
    Posted { visitor, form }: Posted,
) -> Answer {
    visitor.needs(Right::Users)?;
    let by = visitor.by();
    let user = site.access.set_grants(&id(&user, "user")?, granted(&form)?, &by).await?;
    visitor.go(&site, "/users", &Notice::of(format!("The roles of {} were saved.", user.name)))
}

async fn again(
    State(site): State<Site>,
    Path(user): Path<String>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    visitor.needs(Right::Users)?;
    let (user, secret) = site.access.invite_again(&id(&user, "user")?, &visitor.by()).await?;
    let notice = Notice::of(format!("A new link for {}.", user.name))
        .secret("Link", link(&visitor.caller.headers, &format!("/welcome/{secret}")));
    visitor.go(&site, "/users", &notice)
}

async fn remove(
    State(site): State<Site>,
    Path(user): Path<String>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    visitor.needs(Right::Users)?;
    site.access.remove_user(&id(&user, "user")?, &visitor.by()).await?;
    visitor.go(&site, "/users", &Notice::of("The user was removed."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn what_is_ticked_is_what_is_granted() {
        let project = sample::project("one");
        for role in ROLES {
            let place =
                (!matches!(role, Role::GlobalOwner | Role::GlobalBackupAdmin)).then_some(&project);
            let form = Form::default().with("grant", &key(role, place));
            let expected = Grant { role, project: place.map(|p| p.id.clone()) };
            assert_eq!(granted(&form).unwrap(), [expected]);
        }
        for bad in ["5", "x", "", "2@zz", "-1"] {
            assert!(granted(&Form::default().with("grant", bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_escaped() {
        let project = sample::project(EVIL);
        let grants = vec![Grant { role: Role::ProjectRestore, project: Some(project.id.clone()) }];
        let user = UserView {
            id: sample::id(9),
            name: EVIL.into(),
            grants,
            created: UnixMillis(0),
            has_password: true,
            invited_until: None,
        };
        let projects = [project];
        sample::harmless(&one(&user, &projects, "t").into_string());
        let text = page(&[user], &projects, "t", UnixMillis(0)).into_string();
        sample::harmless(&text);
        assert!(text.contains("Project Restore of"), "{text}");
    }
}
