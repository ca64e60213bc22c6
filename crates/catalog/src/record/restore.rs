use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use super::Actor;
use crate::{Id, Kind, Record, Sealed};

/// Which namespaces, and what they become: mongorestore's patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    /// Only these, where not empty.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// From and to.
    pub renames: Vec<(String, String)>,
}

/// What a download holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "form")]
pub enum Form {
    /// mongodump's archive, gzip.
    Archive,
    /// A tar of mongodump's directory with restoreInfo.txt, gzip.
    Tar,
    /// The documents of one collection, BSON as in mongodump's directory.
    Collection {
        /// `db.collection`
        namespace: String,
    },
}

/// Where a restore goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "method")]
pub enum Delivery {
    /// Into a running server.
    Automated {
        /// The target, sealed for `restore/ID`.
        to: Sealed,
        /// The target without secrets.
        shown: String,
        /// Whether existing collections give way.
        drop: bool,
        /// Whether the target may be the source.
        onto_source: bool,
    },
    /// Over HTTP, by a link.
    Http {
        /// What is in it.
        form: Form,
        /// When the link ends.
        expires: UnixMillis,
        /// How often it can be downloaded; none: as often as one likes.
        max_downloads: Option<u32>,
        /// How often it was: what was sent of it by its size, rounded up.
        downloads: u32,
        /// Bytes that were sent.
        #[serde(default)]
        sent: u64,
        /// BLAKE3 of the link's secret, hex.
        secret: String,
        /// Bytes of the file, once it is ready.
        size: Option<u64>,
    },
}

/// Where a restore job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RestoreStatus {
    /// Waiting, or being done.
    InProgress,
    /// Done; for a download: ready, or fetched.
    Finished,
    /// It failed.
    Broken,
    /// It was cancelled.
    Killed,
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// A word.
    pub phase: String,
    /// Documents done.
    pub documents: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

/// A restore, from its request to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreJob {
    /// Id.
    pub id: Id,
    /// Project.
    pub project: Id,
    /// Job.
    pub job: Id,
    /// Who asked.
    pub by: Actor,
    /// When.
    pub created: UnixMillis,
    /// The moment as asked for: WHEN of the command line.
    pub when: String,
    /// The moment itself, `SECS:INC`, inclusive.
    pub moment: String,
    /// The snapshot it stands on.
    pub snapshot: Option<String>,
    /// It is a moment beside the snapshots'.
    pub point_in_time: bool,
    /// Names.
    pub names: Names,
    /// Where to.
    pub delivery: Delivery,
    /// Whether the target's dbHash is compared.
    pub verify: bool,
    /// It is a drill.
    pub drill: bool,
    /// Status.
    pub status: RestoreStatus,
    /// How far.
    pub progress: Progress,
    /// When it ended.
    pub finished: Option<UnixMillis>,
    /// What went wrong, or what was done, in a line.
    pub message: String,
    /// The proof, as `bygone restore --json` has it.
    pub proof: Option<serde_json::Value>,
    /// Name of each file of a download and its SHA-1.
    pub hashes: Vec<(String, String)>,
    /// Somebody wants it to end.
    pub cancel: bool,
    /// When it was last begun with; nothing was done before.
    #[serde(default)]
    pub begun: Option<UnixMillis>,
    /// What it makes in its target (`db.collection`), noted before it does: after it was cut off, that gives way.
    #[serde(default)]
    pub made: Vec<String>,
}

impl Record for RestoreJob {
    const KIND: Kind = Kind("restore job");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        self.project.as_str()
    }
}
