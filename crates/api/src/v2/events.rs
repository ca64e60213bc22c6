//! What happened.

use bygone_access::Right;
use bygone_catalog::record::{Actor, Event};
use serde::Serialize;

use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Param, Route, get},
    schema::JsonSchema,
    time,
};

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EventBody {
    id: String,
    project: Option<String>,
    job: Option<String>,
    /// Such as RS_STATE_CHANGED_AUDIT.
    kind: String,
    actor: ActorBody,
    address: Option<String>,
    created: String,
    message: String,
}

/// Who did it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "type", content = "name")]
pub(crate) enum ActorBody {
    User(String),
    ApiKey(String),
    Agent(String),
    System,
}

pub(super) fn routes() -> Vec<Route> {
    let before = Param {
        name: "before",
        about: "Those before the event of this id. At most 500 are given.",
        kind: "string",
    };
    vec![
        get(
            "/api/v2/events",
            Need::Server(Right::Look),
            "Events of all projects and of the server, newest first.",
            all,
        )
        .asks(before),
        get(
            "/api/v2/projects/{project}/events",
            Need::Project(Right::Look),
            "The project's events, newest first.",
            list,
        )
        .asks(before),
    ]
}

impl From<Event> for EventBody {
    fn from(event: Event) -> Self {
        EventBody {
            id: event.id.into(),
            project: event.project.map(String::from),
            job: event.job.map(String::from),
            kind: event.kind,
            actor: match event.actor {
                Actor::User(name) => ActorBody::User(name),
                Actor::ApiKey(public) => ActorBody::ApiKey(public),
                Actor::Agent(name) => ActorBody::Agent(name),
                Actor::System => ActorBody::System,
            },
            address: event.address,
            created: time::text(event.created),
            message: event.message,
        }
    }
}

async fn all(call: Call) -> Result<Vec<EventBody>, Failure> {
    let before = call.id_asked("before")?;
    let events = call.control.events(None, before.as_ref()).await?;
    Ok(events.into_iter().map(EventBody::from).collect())
}

async fn list(call: Call) -> Result<Vec<EventBody>, Failure> {
    let before = call.id_asked("before")?;
    let events = call.control.events(Some(call.project()?), before.as_ref()).await?;
    Ok(events.into_iter().map(EventBody::from).collect())
}
