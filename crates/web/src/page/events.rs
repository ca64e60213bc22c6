//! What happened, newest first.

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use bygone_access::Right;
use bygone_base::{Result, UnixMillis};
use bygone_catalog::{Id, record::Event};
use maud::{Markup, html};

use crate::{
    failure::Answer,
    form::Form,
    format::moment,
    part::state,
    site::{Site, id},
    visitor::{Asked, Visitor},
};

/// Events on one page.
const PAGE: usize = 100;

pub(crate) fn routes() -> Router<Site> {
    Router::new().route("/p/{project}/events", get(of_project)).route("/events", get(all))
}

async fn of_project(
    State(site): State<Site>,
    visitor: Visitor,
    Path(project): Path<String>,
    Asked(query): Asked,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let before = before(&query)?;
    let events = site.control.events(Some(scope.id()), before.as_ref()).await?;
    let main = page(&events, &scope.path("/events"), site.control.now());
    scope.page(&site, "Events", "Events", main).await
}

async fn all(State(site): State<Site>, visitor: Visitor, Asked(query): Asked) -> Answer {
    visitor.needs(Right::Look)?;
    let before = before(&query)?;
    let events = site.control.events(None, before.as_ref()).await?;
    let main = page(&events, "/events", site.control.now());
    visitor.page(&site, "Events", "/events", main).await
}

/// The event that was shown last.
fn before(query: &Form) -> Result<Option<Id>> {
    query.some("before").map(|text| id(&text, "event")).transpose()
}

fn page(events: &[Event], path: &str, now: UnixMillis) -> Markup {
    let shown = events.get(..PAGE).unwrap_or(events);
    let more = shown.last().filter(|_| events.len() > shown.len());
    html! {
        h1 { "Events" }
        @if shown.is_empty() { p { "Nothing happened." } }
        table.cards {
            thead { tr { th { "When (UTC)" } th { "What" } th { "By" } th { "Kind" } } }
            tbody {
                @for event in shown {
                    tr {
                        td data-label="When (UTC)" { (moment(now, event.created)) }
                        td data-label="What" { (event.message) }
                        td data-label="By" {
                            (state::actor(&event.actor))
                            @if let Some(address) = &event.address { span.quiet { " from " (address) } }
                        }
                        td.quiet data-label="Kind" { (event.kind) }
                    }
                }
            }
        }
        @if let Some(last) = more { p { a.button.plain href={ (path) "?before=" (last.id) } { "Older" } } }
    }
}

#[cfg(test)]
mod tests {
    use bygone_catalog::record::Actor;

    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn events_are_escaped_and_in_pages() {
        let event = |n: u64| Event {
            id: sample::id(n),
            project: None,
            job: None,
            kind: EVIL.into(),
            actor: Actor::User(EVIL.into()),
            address: Some(EVIL.into()),
            created: UnixMillis(0),
            message: EVIL.into(),
        };
        let many: Vec<Event> = (0..150).map(event).collect();
        let text = page(&many, "/events", UnixMillis(0)).into_string();
        sample::harmless(&text);
        assert!(text.contains(&format!("/events?before={}", sample::id(99))), "{text}");
        assert!(!page(&many[..3], "/events", UnixMillis(0)).into_string().contains("before="));
    }
}
