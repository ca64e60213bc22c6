use std::path::PathBuf;

use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Kind, Record, Sealed};

/// What a store may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Blocks and snapshots.
    Snapshot,
    /// Oplog slices.
    Oplog,
    /// Records of initial syncs.
    Sync,
}

/// A store that jobs may be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Store {
    /// Id: a name given by people.
    pub id: String,
    /// URL.
    pub url: String,
    /// What it may hold.
    pub purposes: Vec<Purpose>,
    /// File with the key, where it is encrypted by one.
    pub key_file: Option<PathBuf>,
    /// The passphrase, sealed for `store/ID`, where it is encrypted by one.
    pub passphrase: Option<Sealed>,
    /// Whether new jobs are given it.
    pub assignment_enabled: bool,
    /// Jobs of projects with these labels only.
    pub labels: Vec<String>,
    /// Share of new jobs among stores.
    pub load_factor: u32,
    /// Above so many bytes it counts as full.
    pub max_bytes: Option<u64>,
    /// The repository that was found, or made, there: another in its place is refused.
    #[serde(default)]
    pub repository: Option<String>,
    /// It is about to be removed: no job is given it any more.
    #[serde(default)]
    pub leaving: bool,
    /// When it was made.
    pub created: UnixMillis,
}

impl Record for Store {
    const KIND: Kind = Kind("store");

    fn id(&self) -> &str {
        &self.id
    }
}
