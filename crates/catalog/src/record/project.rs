use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Id, Kind, Record};

/// A project (Ops Manager's group): jobs, people and agents that see each other and nobody else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Id.
    pub id: Id,
    /// Name, unique among projects.
    pub name: String,
    /// When it was made.
    pub created: UnixMillis,
}

impl Record for Project {
    const KIND: Kind = Kind("project");

    fn id(&self) -> &str {
        self.id.as_str()
    }
}
