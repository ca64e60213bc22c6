use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Id, Kind, Record};

/// What was last known of how an active job stands. Who runs it knows that only after he has read the stores: until
/// then, and while nobody runs it, this is what counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Job; the id.
    pub job: Id,
    /// Project.
    pub project: Id,
    /// When this was written.
    pub at: UnixMillis,
    /// The end of what is stored; a timestamp, 0 before anything is.
    pub stored: u64,
    /// Moment of the newest snapshot; a timestamp.
    pub snapshot: Option<u64>,
    /// What fails, while it does.
    pub failing: Option<Failing>,
    /// Why a new initial sync is needed, until its first snapshot is there.
    pub resync: Option<String>,
    /// The newest timeline.
    pub timeline: u32,
    /// When an agent that served it was last heard: one that leaves, or hands it over, no longer says so.
    #[serde(default)]
    pub served: Option<UnixMillis>,
}

/// A failure that lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// In a line.
    pub why: String,
    /// Since when nothing succeeded.
    pub since: UnixMillis,
    /// It needs a person.
    pub stopped: bool,
    /// Since when it looks as if it were over.
    pub well: Option<UnixMillis>,
}

impl Record for Seen {
    const KIND: Kind = Kind("seen");

    fn id(&self) -> &str {
        self.job.as_str()
    }

    fn scope(&self) -> &str {
        self.project.as_str()
    }
}
