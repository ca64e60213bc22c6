use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Id, Kind, Record};

/// An agent process, as it reported itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Id, chosen by the process.
    pub id: String,
    /// Project.
    pub project: Id,
    /// Host it runs on.
    pub host: String,
    /// Its version.
    pub version: String,
    /// When it was first heard.
    pub started: UnixMillis,
    /// When it last asked for its work.
    pub last_conf: UnixMillis,
    /// Jobs that it serves; none: it stands by.
    pub serves: Vec<Id>,
    /// Why it cannot serve a job, in a line.
    pub problems: Vec<(Id, String)>,
    /// It said that it stops.
    pub left: bool,
    /// It is of the server's own process.
    #[serde(default)]
    pub here: bool,
    /// Jobs that it left to others because it could not serve them, until then.
    #[serde(default)]
    pub gave_up: Vec<(Id, UnixMillis)>,
}

impl Agent {
    /// Why it cannot serve a job.
    pub fn problem(&self, job: &Id) -> Option<&str> {
        let of = self.problems.iter().find(|(id, _)| id == job);
        of.map(|(_, why)| why.as_str())
    }
}

impl Record for Agent {
    const KIND: Kind = Kind("agent");

    fn id(&self) -> &str {
        &self.id
    }

    fn scope(&self) -> &str {
        self.project.as_str()
    }
}

/// A key that agents of a project prove themselves by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentKey {
    /// Id.
    pub id: Id,
    /// Project.
    pub project: Id,
    /// For people.
    pub description: String,
    /// BLAKE3 of the key, hex.
    pub hash: String,
    /// When it was made.
    pub created: UnixMillis,
}

impl Record for AgentKey {
    const KIND: Kind = Kind("agent key");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        self.project.as_str()
    }
}
