use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Id, Kind, Record};

/// A check of what a job stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Integrity {
    /// Id.
    pub id: Id,
    /// Project.
    pub project: Id,
    /// Job.
    pub job: Id,
    /// When it began.
    pub started: UnixMillis,
    /// When it ended.
    pub finished: Option<UnixMillis>,
    /// Blocks read.
    pub blocks: u64,
    /// Bytes read, as stored.
    pub bytes: u64,
    /// Share of all blocks that it was to read, in percent.
    pub percent: u32,
    /// What is damaged, a line each.
    pub damage: Vec<String>,
    /// Why it could not be done.
    pub failure: Option<String>,
}

impl Record for Integrity {
    const KIND: Kind = Kind("integrity");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        self.project.as_str()
    }
}

/// What a store held at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageSample {
    /// Id; sorts by time.
    pub id: Id,
    /// Store.
    pub store: String,
    /// When.
    pub at: UnixMillis,
    /// Bytes of all objects.
    pub bytes: u64,
    /// Of them those that something retained needs.
    pub living: u64,
    /// Bytes of each job's oplog and records, by the job's name.
    pub jobs: Vec<(String, u64)>,
}

impl Record for UsageSample {
    const KIND: Kind = Kind("usage");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        &self.store
    }
}
