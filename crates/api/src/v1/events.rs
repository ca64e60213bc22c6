//! Events of a project.

use bygone_access::Right;
use bygone_base::UnixMillis;
use bygone_catalog::{
    Id,
    record::{Actor, Event, Job},
};
use serde::Serialize;

use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Param, Route, get},
    schema::JsonSchema,
    time,
    v1::BASE,
};

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventEntry {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<String>,
    created: String,
    /// Such as RS_STATE_CHANGED_AUDIT.
    event_type_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Option<String>,
    /// A line for people.
    message: String,
    links: Vec<Link>,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    let param = |name, about| Param { name, about, kind: "string" };
    vec![
        get("/api/public/v1.0/groups/{groupId}/events", look, "Events, newest first.", list)
            .paged()
            .asks(param("minDate", "Those from this moment on, RFC 3339 or a day."))
            .asks(param("maxDate", "Those up to this moment, RFC 3339 or a day."))
            .asks(param("eventType", "Those of this kind; of several where it is repeated.")),
        get("/api/public/v1.0/groups/{groupId}/events/{eventId}", look, "An event.", one),
    ]
}

/// Which events are asked for.
#[derive(Debug, Default)]
struct Wanted {
    from: Option<UnixMillis>,
    to: Option<UnixMillis>,
    /// Any, where empty.
    kinds: Vec<String>,
}

impl Wanted {
    fn asked(call: &Call) -> Result<Wanted, Failure> {
        let moment = |name| call.asked(name).map(|text| time::lenient(text, name)).transpose();
        let kinds = call.all_asked("eventType").map(str::to_owned).collect();
        Ok(Wanted { from: moment("minDate")?, to: moment("maxDate")?, kinds })
    }

    fn is_all(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.kinds.is_empty()
    }

    fn holds(&self, event: &Event) -> bool {
        self.from.is_none_or(|from| event.created >= from)
            && self.to.is_none_or(|to| event.created <= to)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
    }
}

async fn list(call: Call) -> Result<List<EventEntry>, Failure> {
    let (page, wanted) = (call.page()?, Wanted::asked(&call)?);
    let project = call.project()?;
    let all = call.control.catalog().count::<Event>(Some(project.as_str())).await?;
    let mut found = Vec::new();
    let mut total = 0;
    let mut before: Option<Id> = None;
    // The control plane gives them by hundreds; a page may begin anywhere. What is filtered is counted by reading it.
    let enough = |found: &Vec<Event>| wanted.is_all() && found.len() >= page.take();
    let beyond = wanted.is_all() && page.skip() as u64 >= all;
    while !beyond && !enough(&found) {
        let events = call.control.events(Some(project), before.as_ref()).await?;
        let Some(last) = events.last() else { break };
        before = Some(last.id.clone());
        let over = wanted.from.is_some_and(|from| last.created < from);
        for event in events.into_iter().filter(|event| wanted.holds(event)) {
            if total >= page.skip() && found.len() < page.take() {
                found.push(event);
            }
            total += 1;
        }
        if over {
            break;
        }
    }
    let total = if wanted.is_all() { all } else { total as u64 };
    let jobs = call.jobs_by_id().await?;
    let job = |event: &Event| event.job.as_ref().and_then(|job| jobs.get(job));
    let entries =
        found.into_iter().map(|event| entry(&call, job(&event).cloned(), event)).collect();
    Ok(call.list_of(page, entries, total))
}

async fn one(call: Call) -> Result<EventEntry, Failure> {
    let missing = || Failure::not_found("EVENT_NOT_FOUND", "event");
    let id: Id = call.text("eventId").parse().map_err(|_| missing())?;
    let found = call.control.catalog().find::<Event>(id.as_str()).await?.map(|row| row.value);
    let event = found.filter(|event| event.project == call.project).ok_or_else(missing)?;
    let mut jobs = call.jobs_by_id().await?;
    let job = event.job.as_ref().and_then(|job| jobs.remove(job));
    Ok(entry(&call, job, event))
}

fn entry(call: &Call, job: Option<Job>, event: Event) -> EventEntry {
    let group = event.project.as_ref().map(Id::to_string).unwrap_or_default();
    let (username, public_key) = match event.actor {
        Actor::User(name) => (Some(name), None),
        Actor::ApiKey(public) => (None, Some(public)),
        Actor::Agent(_) | Actor::System => (None, None),
    };
    EventEntry {
        links: vec![call.link("self", &format!("{BASE}/groups/{group}/events/{}", event.id))],
        id: event.id.into(),
        group_id: event.project.map(String::from),
        created: time::text(event.created),
        event_type_name: event.kind,
        username,
        public_key,
        remote_address: event.address,
        cluster_id: event.job.map(String::from),
        cluster_name: job.map(|job| job.cluster),
        message: event.message,
    }
}
