//! Logging in and out, choosing a password.

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bygone_access::Login;
use bygone_base::{Error, ErrorKind};
use maud::{Markup, html};

use crate::{
    cookie,
    failure::{Answer, Failure, status, wrong},
    notice::Notice,
    part::{control, shell},
    site::Site,
    visitor::{self, Asked, Caller, Posted, Visitor, see, set_cookie},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/login", get(ask).post(login))
        .route("/logout", post(logout))
        .route("/welcome/{secret}", get(welcome).post(choose))
        .route("/me", get(me).post(change))
}

/// Where to go after the login: only within this site.
fn inside(next: &str) -> &str {
    let odd = next.starts_with("//") || next.contains('\\') || next.chars().any(char::is_control);
    if next.starts_with('/') && !odd { next } else { "/" }
}

async fn ask(Asked(query): Asked) -> Response {
    login_page(inside(query.raw("next")), "", None).into_response()
}

fn login_page(next: &str, name: &str, error: Option<&Error>) -> Markup {
    shell::bare(
        "Log in",
        html! {
            h1 { "Log in" }
            (wrong(error))
            form method="post" action="/login" {
                input type="hidden" name="next" value=(next);
                div.field {
                    label for="name" { "Name" }
                    input #name type="text" name="name" value=(name) autocomplete="username" autocapitalize="none"
                        autofocus[name.is_empty()] required;
                }
                (control::secret("password", "Password", "current-password", ""))
                div.actions { button type="submit" { "Log in" } }
            }
        },
    )
}

/// Not behind a token: who logs somebody in elsewhere needs to know that somebody's password, and browsers send this
/// from our own pages only (`Sec-Fetch-Site`, where they say so).
async fn login(State(site): State<Site>, caller: Caller, body: Body) -> Answer {
    own_page(&caller)?;
    let form = visitor::read(body).await?;
    let next = inside(form.text("next"));
    let address = caller.address.as_deref();
    match site.access.login(form.text("name"), form.raw("password"), address).await {
        Ok(login) => Ok(enter(&caller, &login, next)),
        Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unavailable) => {
            let page = login_page(next, form.text("name"), Some(&error));
            Ok((status(error.kind()), page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a form was sent by a page of ours, as far as the browser says.
fn own_page(caller: &Caller) -> Result<(), Failure> {
    let site = caller.headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    match site {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => Err(Error::new(ErrorKind::Denied, "this form was sent by another site").into()),
    }
}

fn enter(caller: &Caller, login: &Login, next: &str) -> Response {
    let mut response = see(next);
    let secs = bygone_access::SESSION_HOURS * 3600;
    set_cookie(&mut response, &cookie::set_session(caller, &login.secret, secs));
    response
}

async fn logout(State(site): State<Site>, Posted { visitor, .. }: Posted) -> Answer {
    if let Some(secret) = cookie::session(&visitor.caller) {
        site.access.logout(secret, &visitor.by()).await?;
    }
    let mut response = see("/login");
    set_cookie(&mut response, &cookie::set_session(&visitor.caller, "", 0));
    Ok(response)
}

async fn welcome(State(site): State<Site>, caller: Caller, Path(secret): Path<String>) -> Answer {
    invited(&site, &caller, &secret).await.map(|name| welcome_page(&name, None).into_response())
}

/// The name of whom the link invites. Wrong links count as failed proofs.
async fn invited(site: &Site, caller: &Caller, secret: &str) -> Result<String, Failure> {
    if let Some(user) = site.access.invited(secret).await? {
        return Ok(user.name);
    }
    site.access.attempts().failed("a link", caller.address.as_deref())?;
    Err(Error::new(ErrorKind::Denied, "this link is not good (any more)")
        .hint("ask a Global Owner for another one; for the very first, start the server again")
        .into())
}

fn welcome_page(name: &str, error: Option<&Error>) -> Markup {
    shell::bare(
        "Welcome",
        html! {
            h1 { "Welcome, " (name) }
            p { "Choose a password of at least 10 characters. The link works once." }
            (wrong(error))
            form method="post" {
                input type="hidden" name="username" value=(name) autocomplete="username";
                (control::secret("password", "Password", "new-password", ""))
                (control::secret("again", "Once more", "new-password", ""))
                div.actions { button type="submit" { "Choose the password" } }
            }
        },
    )
}

/// The link is the token.
async fn choose(
    State(site): State<Site>,
    caller: Caller,
    Path(secret): Path<String>,
    body: Body,
) -> Answer {
    own_page(&caller)?;
    let name = invited(&site, &caller, &secret).await?;
    let form = visitor::read(body).await?;
    let accepted = match twice(form.raw("password"), form.raw("again")) {
        Ok(()) => site.access.accept(&secret, form.raw("password")).await,
        Err(error) => Err(error),
    };
    match accepted {
        Ok(user) => {
            let login = site.access.begin(user, caller.address.as_deref()).await?;
            Ok(enter(&caller, &login, "/"))
        }
        Err(error) if error.kind() == ErrorKind::Usage => {
            let page = welcome_page(&name, Some(&error));
            Ok((status(error.kind()), page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn twice(password: &str, again: &str) -> bygone_base::Result<()> {
    if password == again { Ok(()) } else { Err(Error::usage("the two passwords differ")) }
}

async fn me(State(site): State<Site>, visitor: Visitor) -> Answer {
    let main = html! {
        h1 { (visitor.name()) }
        h2 { "Change the password" }
        form method="post" action="/me" {
            (control::csrf(visitor.csrf()))
            (control::secret("old", "Password until now", "current-password", ""))
            (control::secret("password", "New password", "new-password", "At least 10 characters."))
            (control::secret("again", "Once more", "new-password", ""))
            div.actions { button type="submit" { "Change the password" } }
            p.quiet { "All your sessions end, and you log in again." }
        }
    };
    visitor.page(&site, "Password", "", main).await
}

async fn change(State(site): State<Site>, Posted { visitor, form }: Posted) -> Answer {
    twice(form.raw("password"), form.raw("again"))?;
    let (old, new) = (form.raw("old"), form.raw("password"));
    site.access.change_password(visitor.name(), old, new, &visitor.by()).await?;
    visitor.go(&site, "/login", &Notice::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn a_login_leads_nowhere_else() {
        assert_eq!(inside("/p/1?x=y"), "/p/1?x=y");
        for bad in ["//evil.example", "https://evil.example", "/\\evil.example", "", "x", "/a\nb"] {
            assert_eq!(inside(bad), "/", "{bad}");
        }
    }

    #[test]
    fn names_are_escaped() {
        let error = Error::usage(EVIL);
        sample::harmless(&login_page(EVIL, EVIL, Some(&error)).into_string());
        sample::harmless(&welcome_page(EVIL, Some(&error)).into_string());
    }
}
