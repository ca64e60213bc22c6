use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Id, Kind, Record};

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", content = "name")]
pub enum Actor {
    /// Somebody logged in.
    User(String),
    /// A programmatic key.
    ApiKey(String),
    /// An agent.
    Agent(String),
    /// The server, by itself.
    System,
}

/// Something that happened. Never changed afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Id; sorts by time.
    pub id: Id,
    /// Project, where it is about one.
    pub project: Option<Id>,
    /// Job, where it is about one.
    pub job: Option<Id>,
    /// Ops Manager's word where it has one, such as `RS_STATE_CHANGED_AUDIT`.
    pub kind: String,
    /// Who did it.
    pub actor: Actor,
    /// From which address.
    pub address: Option<String>,
    /// When.
    pub created: UnixMillis,
    /// A line for people.
    pub message: String,
}

impl Record for Event {
    const KIND: Kind = Kind("event");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        self.project.as_ref().map_or("", Id::as_str)
    }
}
