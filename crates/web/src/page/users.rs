//! Users: invited, given roles, removed.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use bygone_access::{Right, UserView};
use bygone_base::{Error, Result, UnixMillis};
use bygone_catalog::record::{Grant, Project};
use maud::{Markup, html};

use crate::{
    failure::{Answer, refused, wrong},
    form::Form,
    format::moment,
    notice::Notice,
    page::confirm::Question,
    part::{control, roles, state},
    site::{Site, id, link},
    visitor::{Posted, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/users", get(list).post(invite))
        .route("/users/{user}", get(edit).post(save))
        .route("/users/{user}/invite", post(invite_again))
        .route("/users/{user}/remove", get(ask).post(remove))
}

async fn list(State(site): State<Site>, visitor: Visitor) -> Answer {
    visitor.needs(Right::Users)?;
    again(&site, &visitor, &Form::default(), None).await
}

async fn again(site: &Site, visitor: &Visitor, form: &Form, error: Option<&Error>) -> Answer {
    let users = site.access.users().await?;
    let projects = site.control.projects().await?;
    let page = page(&users, &projects, form, visitor.csrf(), site.control.now());
    let main = html! { h1 { "Users" } (wrong(error)) (page) };
    refused(visitor.page(site, "Users", "/users", main).await, error)
}

fn page(
    users: &[UserView],
    projects: &[Project],
    form: &Form,
    csrf: &str,
    now: UnixMillis,
) -> Markup {
    html! {
        table.cards {
            thead { tr { th { "Name" } th { "Roles" } th { "Password" } th { "Since (UTC)" } } }
            tbody { @for user in users {
                tr {
                    th scope="row" { a href={ "/users/" (user.id) } { (user.name) } }
                    td data-label="Roles" { (roles_told(&user.grants, projects)) }
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
                (control::text("name", "Name to log in with", form.text("name"), "An e-mail address will do."))
                (roles::fields(form, projects))
                div.actions { button type="submit" { "Make the user and a link" } }
                p.quiet { "The link is shown once; by it the password is chosen." }
            }
        }
    }
}

/// Roles in words.
pub(crate) fn roles_told(grants: &[Grant], projects: &[Project]) -> String {
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

async fn invite(State(site): State<Site>, Posted { visitor, form }: Posted) -> Answer {
    visitor.needs(Right::Users)?;
    let by = visitor.by();
    let invited = match roles::read(&form) {
        Ok(grants) => site.access.invite(form.text("name"), grants, &by).await,
        Err(error) => Err(error),
    };
    let (user, secret) = match invited {
        Ok(invited) => invited,
        Err(error) => return again(&site, &visitor, &form, Some(&error)).await,
    };
    let notice =
        Notice::of(format!("The user {} was made. Give this link to its owner.", user.name))
            .secret("Link", link(&visitor.caller.headers, &format!("/welcome/{secret}")));
    visitor.go(&site, "/users", &notice)
}

async fn find(site: &Site, user: &str) -> Result<UserView> {
    let id = id(user, "user")?;
    let found = site.access.users().await?.into_iter().find(|user| user.id == id);
    found.ok_or_else(|| Error::new(bygone_base::ErrorKind::NotFound, "there is no such user"))
}

async fn edit(State(site): State<Site>, visitor: Visitor, Path(user): Path<String>) -> Answer {
    visitor.needs(Right::Users)?;
    let found = find(&site, &user).await?;
    one_again(&site, &visitor, &found, &roles::form_of(&found.grants), None).await
}

async fn one_again(
    site: &Site,
    visitor: &Visitor,
    user: &UserView,
    form: &Form,
    error: Option<&Error>,
) -> Answer {
    let projects = site.control.projects().await?;
    let main = one(user, &projects, form, visitor.csrf(), &wrong(error));
    refused(visitor.page(site, "User", "/users", main).await, error)
}

fn one(user: &UserView, projects: &[Project], form: &Form, csrf: &str, wrong: &Markup) -> Markup {
    let path = format!("/users/{}", user.id);
    html! {
        p { a href="/users" { "← all users" } }
        h1 { (user.name) }
        (wrong)
        form method="post" action=(path) {
            (control::csrf(csrf))
            (roles::fields(form, projects))
            div.actions { button type="submit" { "Save the roles" } }
        }
        section {
            h2 { "Access" }
            div.actions {
                (control::button(csrf, &format!("{path}/invite"), "New link", "plain",
                    "A link by which a new password can be chosen; the old one stays good until then"))
                a.button.plain href={ (path) "/remove" } { "Remove the user…" }
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
    let found = find(&site, &user).await?;
    let saved = match roles::read(&form) {
        Ok(grants) => site.access.set_grants(&found.id, grants, &visitor.by()).await,
        Err(error) => Err(error),
    };
    match saved {
        Ok(user) => {
            let notice = Notice::of(format!("The roles of {} were saved.", user.name));
            visitor.go(&site, "/users", &notice)
        }
        Err(error) => one_again(&site, &visitor, &found, &form, Some(&error)).await,
    }
}

async fn invite_again(
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

async fn ask(State(site): State<Site>, visitor: Visitor, Path(user): Path<String>) -> Answer {
    visitor.needs(Right::Users)?;
    let user = find(&site, &user).await?;
    let question = Question {
        title: format!("Remove the user {}?", user.name),
        does: vec![
            "All sessions of the user end, and nobody can log in by this name any more.".into(),
            "What the user did stays in the events, with the name.".into(),
        ],
        action: format!("/users/{}/remove", user.id),
        button: "Remove the user",
        typed: None,
        back: format!("/users/{}", user.id),
    };
    visitor.page(&site, "Remove a user", "/users", question.draw(visitor.csrf())).await
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
    use bygone_catalog::record::Role;

    use super::*;
    use crate::sample::{self, EVIL};

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
        let (projects, form) = ([project], roles::form_of(&user.grants));
        sample::harmless(&one(&user, &projects, &form, "t", &html! {}).into_string());
        let text = page(&[user], &projects, &form, "t", UnixMillis(0)).into_string();
        sample::harmless(&text);
        assert!(text.contains("Project Restore of"), "{text}");
    }
}
