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
    /// Blocks that its snapshots need.
    pub blocks: u64,
    /// Bytes of the packs that they are in.
    pub bytes: u64,
    /// Of these bytes, those that were read within the set time, in percent.
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

    /// The job: all that is ever asked for is its newest ones.
    fn scope(&self) -> &str {
        self.job.as_str()
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
    /// Bytes of packs, and of the objects of jobs.
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

/// A groom of a store: asked for, or due by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroomRun {
    /// Id; sorts by time.
    pub id: Id,
    /// Store.
    pub store: String,
    /// When it was asked for.
    pub asked: UnixMillis,
    /// Only to find out.
    pub dry_run: bool,
    /// The newest snapshot in the store when it was due by itself; a timestamp.
    pub newest: u64,
    /// When it ended.
    pub finished: Option<UnixMillis>,
    /// What it did; in a dry run, would do.
    pub done: Option<GroomDone>,
    /// Why it could not be done.
    pub failure: Option<String>,
}

/// What a groom did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroomDone {
    /// Packs in the store.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of living blocks.
    pub living: u64,
    /// Packs deleted.
    pub deleted: u64,
    /// Their bytes.
    pub freed: u64,
    /// Packs whose living blocks were moved.
    pub rewritten: u64,
    /// Bytes of dead packs that must wait for the delay.
    pub waiting: u64,
    /// Who read: nothing was deleted.
    pub readers: Vec<String>,
}

impl Record for GroomRun {
    const KIND: Kind = Kind("groom");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        &self.store
    }
}

/// Who holds the bytes of a store, as of its last groom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreShares {
    /// Store; the id.
    pub store: String,
    /// When that was found out.
    pub at: UnixMillis,
    /// Bytes that one snapshot alone holds: job, snapshot, bytes.
    pub snapshots: Vec<(String, String, u64)>,
    /// Bytes that several snapshots of one job hold, by its name.
    pub jobs: Vec<(String, u64)>,
    /// Bytes that snapshots of several jobs hold.
    pub shared: u64,
}

impl Record for StoreShares {
    const KIND: Kind = Kind("shares");

    fn id(&self) -> &str {
        &self.store
    }
}
