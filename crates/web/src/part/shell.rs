//! What stands around every page.

use bygone_catalog::record::Project;
use maud::{DOCTYPE, Markup, html};

use crate::{asset, notice::Notice, part::control};

/// What a page is framed by.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) title: &'a str,
    /// The entry of the navigation that it belongs to.
    pub(crate) here: &'a str,
    pub(crate) project: Option<&'a Project>,
    /// Who is logged in.
    pub(crate) name: &'a str,
    pub(crate) csrf: &'a str,
    /// Whether he may look at what belongs to no project.
    pub(crate) everywhere: bool,
    /// Whether he sees keys.
    pub(crate) keys: bool,
    /// Whether he sees users.
    pub(crate) users: bool,
    /// Open alerts of the project.
    pub(crate) alerts: usize,
    /// Open alerts of all projects and of the server, where he may look at them.
    pub(crate) all_alerts: usize,
    pub(crate) notice: Option<&'a Notice>,
}

/// A page for somebody who is logged in.
pub(crate) fn page(frame: &Frame<'_>, main: Markup) -> Markup {
    let title = match frame.project {
        Some(project) => format!("{} – {}", frame.title, project.name),
        None => frame.title.to_owned(),
    };
    document(
        &title,
        html! {
            a.skip href="#main" { "To the content" }
            header.top {
                a.brand href="/" { "bygone" span { "Continuous Backup" } }
                div.wide { (server_nav(frame)) (who(frame)) }
                details.menu {
                    summary { "Menu" }
                    (server_nav(frame))
                    (who(frame))
                }
            }
            @if let Some(project) = frame.project { (project_nav(frame, project)) }
            p #offline.error hidden role="status" { "The server does not answer. What you see may be old." }
            main #main {
                @if let Some(notice) = frame.notice { (said(notice)) }
                (main)
            }
        },
    )
}

/// A page without navigation: for those who are not logged in, and for errors.
pub(crate) fn bare(title: &str, main: Markup) -> Markup {
    document(
        title,
        html! {
            header.top { a.brand href="/" { "bygone" span { "Continuous Backup" } } }
            main #main.narrow { (main) }
        },
    )
}

fn document(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – bygone" }
                link rel="icon" type="image/svg+xml" href=(asset::icon());
                link rel="stylesheet" href=(asset::style());
                script defer src=(asset::script()) {}
            }
            body { (body) }
        }
    }
}

fn who(frame: &Frame<'_>) -> Markup {
    html! {
        div.who {
            a href="/me" title="Change your password" aria-current=[(frame.here == "/me").then_some("page")] { (frame.name) }
            (control::button(frame.csrf, "/logout", "Log out", "plain", "End this session"))
        }
    }
}

/// Shown twice: beside each other where there is room, behind a fold where there is not. Styles show one of them.
fn server_nav(frame: &Frame<'_>) -> Markup {
    let entries = [
        ("/projects", "Projects", true),
        ("/stores", "Stores", frame.everywhere),
        ("/alerts", "All alerts", frame.everywhere),
        ("/events", "All events", frame.everywhere),
        ("/users", "Users", frame.users),
        ("/keys", "API keys", frame.users),
        ("/settings", "Settings", frame.everywhere),
    ];
    let entries = entries.into_iter().filter(|(_, _, shown)| *shown);
    html! {
        nav aria-label="Server" {
            @for (href, word, _) in entries {
                a href=(href) aria-current=[(frame.project.is_none() && frame.here == href).then_some("page")] {
                    (word)
                    @if href == "/alerts" && frame.all_alerts > 0 { " " span.badge.bad { (frame.all_alerts) } }
                }
            }
        }
    }
}

fn project_nav(frame: &Frame<'_>, project: &Project) -> Markup {
    let entries = [
        ("", "Overview", true),
        ("/restores", "Restores", true),
        ("/alerts", "Alerts", true),
        ("/events", "Events", true),
        ("/keys", "Agents and keys", frame.keys),
    ];
    let entries = entries.into_iter().filter(|(_, _, shown)| *shown);
    html! {
        nav.tabs aria-label={ "Project " (project.name) } {
            strong { (project.name) }
            @for (rest, word, _) in entries {
                a href={ "/p/" (project.id) (rest) } aria-current=[(frame.here == word).then_some("page")] {
                    (word)
                    @if word == "Alerts" && frame.alerts > 0 { " " span.badge.bad { (frame.alerts) } }
                }
            }
        }
    }
}

fn said(notice: &Notice) -> Markup {
    html! {
        div.notice role="status" {
            p { (notice.line) }
            @for (what, secret) in &notice.secrets {
                p { (what) ": " code.secret { (secret) } }
            }
            @if !notice.secrets.is_empty() {
                p.quiet { "It is shown this once and kept nowhere: copy it now." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn names_are_escaped_and_what_one_may_not_see_is_not_offered() {
        let project = sample::project("<b>&\"evil\"");
        let notice = Notice::of("<i>done</i>").secret("key", "<u>");
        let mut frame = Frame {
            title: "<t>",
            here: "Overview",
            project: Some(&project),
            name: "<n>",
            csrf: "\"token",
            everywhere: true,
            keys: true,
            users: true,
            alerts: 2,
            all_alerts: 3,
            notice: Some(&notice),
        };
        let text = page(&frame, html! { "x" }).into_string();
        for bad in ["<b>", "<i>", "<u>", "<t>", "<n>", "\"\"token"] {
            assert!(!text.contains(bad), "{bad}: {text}");
        }
        assert!(text.contains("<span class=\"badge bad\">2</span>"), "{text}");
        assert!(text.contains("All alerts <span class=\"badge bad\">3</span>"), "{text}");
        assert!(text.contains("/users") && text.contains("/keys"), "{text}");
        assert_eq!(text.matches("aria-current=\"page\"").count(), 1, "{text}");
        (frame.project, frame.here) = (None, "/stores");
        let text = page(&frame, html! { "x" }).into_string();
        // The entry is marked in both places where it stands.
        let marked = "href=\"/stores\" aria-current=\"page\"";
        assert_eq!(text.matches(marked).count(), 2, "{text}");
        assert_eq!(text.matches("aria-current=\"page\"").count(), 2, "{text}");
        (frame.everywhere, frame.keys, frame.users) = (false, false, false);
        frame.project = Some(&project);
        let text = page(&frame, html! { "x" }).into_string();
        assert!(!text.contains("/users") && !text.contains("/keys") && !text.contains("/stores"));
    }
}
