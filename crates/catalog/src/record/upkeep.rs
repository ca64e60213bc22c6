use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Id, Kind, Record};

/// What grooms and checks may take, and how soon they come round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upkeep {
    /// From one check of a store to the next.
    pub check_every_secs: u64,
    /// Every stored block, and the oplog of every job, is read within this time: each check reads its share.
    pub check_within_secs: u64,
    /// Megabytes that checks of a store read per second at most; 0: as fast as it goes.
    pub check_mb_per_second: u32,
    /// Megabytes that grooms of a store read and write per second at most; 0: as fast as it goes.
    pub groom_mb_per_second: u32,
}

impl Default for Upkeep {
    /// A seventh every day.
    fn default() -> Self {
        Upkeep {
            check_every_secs: 86_400,
            check_within_secs: 7 * 86_400,
            check_mb_per_second: 50,
            groom_mb_per_second: 0,
        }
    }
}

/// A check of a store: its share of the blocks, and the jobs whose turn it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreCheck {
    /// Id; sorts by time.
    pub id: Id,
    /// Store.
    pub store: String,
    /// When it began.
    pub started: UnixMillis,
    /// When it ended.
    pub finished: Option<UnixMillis>,
    /// Packs read.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of all packs.
    pub total: u64,
    /// Of these bytes, those that were read within the set time, in percent.
    pub covered: u32,
    /// Jobs of which everything else was read: records, oplog, every update with its document.
    pub jobs: Vec<String>,
    /// What of the packs is damaged, a line each.
    pub damage: Vec<String>,
    /// Snapshots that do not restore: the job's name and the snapshot.
    pub concerned: Vec<(String, String)>,
    /// Why it could not be done, or not for all jobs.
    pub failure: Option<String>,
}

impl Record for StoreCheck {
    const KIND: Kind = Kind("store_check");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        &self.store
    }
}

/// How far the checks of a store have come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReading {
    /// Store; the id.
    pub store: String,
    /// When the first check began: what was not read yet counts as read then.
    pub since: UnixMillis,
    /// Packs are read in the order of their names, again and again: the last one that was read.
    pub cursor: String,
    /// By ascending names: the last name of a stretch of packs, and when they were read.
    pub stretches: Vec<(String, UnixMillis)>,
    /// Packs that were damaged when they were last read.
    pub suspects: Vec<String>,
}

impl Record for StoreReading {
    const KIND: Kind = Kind("store_reading");

    fn id(&self) -> &str {
        &self.store
    }
}
