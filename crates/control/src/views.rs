//! What is shown. Plain data, made anew for each question.

use bygone_base::{SnapshotId, Ts, UnixMillis};
use bygone_catalog::{Id, record::Job};
use bygone_daemon::JobStatus;

use crate::health::Standing;

/// A job as it stands.
#[derive(Debug, Clone)]
pub struct JobView {
    /// What it is meant to do.
    pub job: Job,
    /// Ops Manager's word for the state: `INACTIVE`, `PROVISIONING`, `STARTED`, `STOPPED`, `TERMINATING`.
    pub status_name: &'static str,
    /// How it fares.
    pub standing: Standing,
    /// Why it cannot be served, by its agent or by this server; a line.
    pub problem: Option<String>,
    /// What it does; `None` where it does not run here.
    pub live: Option<Live>,
    /// The moment of the newest snapshot, where it runs here.
    pub newest: Option<Ts>,
    /// When the next one is due, where it runs here.
    pub next_snapshot: Option<UnixMillis>,
}

/// What a running job does.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Its agent, once one was heard.
    pub agent: Option<AgentLive>,
    /// Its head and snapshots.
    pub backup: JobStatus,
    /// The end of what is stored, as far as this process knows; 0 before anything is.
    pub stored: Ts,
    /// Seconds between that and the source ([`crate::health::lag_secs`]).
    pub lag_secs: Option<u64>,
    /// The phase in Ops Manager's words: `starting`, `transferring`, `building`, `applying oplogs`,
    /// `fetching missing documents`, `creating indexes`, `complete`, or `stopped`.
    pub phase: &'static str,
    /// 0 to 100 within an initial sync.
    pub percent: u8,
}

/// What an agent said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentLive {
    /// The agent's id and the member that it read from when it opened its session.
    pub holder: String,
    /// The host it runs on.
    pub host: String,
    /// What it is doing: `starting`, `transferring`, `tailing` ..
    pub phase: String,
    /// The member it reads from.
    pub member: String,
    /// A sentence: the last error, what it waits for; often empty.
    pub message: String,
    /// Collections scanned, and to scan.
    pub collections: (u64, u64),
    /// Documents scanned.
    pub documents: u64,
    /// Bytes scanned, and to scan (estimated).
    pub bytes: (u64, u64),
    /// Bytes per second of the scan so far.
    pub bytes_per_second: u64,
    /// Oplog entries that it stored.
    pub entries: u64,
    /// Compressed bytes that it sent.
    pub sent: u64,
    /// The end of what is stored.
    pub stored: Ts,
    /// The source's majority commit point, as it was last told.
    pub source: Ts,
    /// Seconds between it and the source ([`crate::health::lag_secs`]).
    pub lag_secs: u64,
    /// When it was last heard, by our clock.
    pub heard: UnixMillis,
    /// Its clock minus ours when it last reported.
    pub skew_ms: i64,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotView {
    /// Id.
    pub id: SnapshotId,
    /// It holds everything up to and including this moment.
    pub at: Ts,
    /// When it was taken.
    pub created: UnixMillis,
    /// When it expires; `None`: the policy decides, or never (see `kept_for_ever`).
    pub expires: Option<UnixMillis>,
    /// It never expires.
    pub kept_for_ever: bool,
    /// Collections.
    pub collections: u64,
    /// Documents.
    pub documents: u64,
    /// Raw bytes.
    pub bytes: u64,
    /// Stored bytes that it added.
    pub new_bytes: u64,
    /// Stored bytes that it alone holds, as of the last groom of its store; what its end frees.
    pub unique_bytes: Option<u64>,
    /// Operations in runs not yet folded.
    pub pending_ops: u64,
    /// Replica set.
    pub set: String,
    /// The server's version.
    pub version: String,
    /// Its feature compatibility version.
    pub fcv: String,
}

/// A stretch of moments that can be restored, both ends inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeView {
    /// The first.
    pub from: Ts,
    /// The last.
    pub to: Ts,
    /// The snapshot at its beginning.
    pub snapshot: Option<SnapshotId>,
}

/// What of a job can be restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Snapshots, oldest first.
    pub snapshots: Vec<SnapshotView>,
    /// Those that cannot be read, and why.
    pub damaged: Vec<(SnapshotId, String)>,
    /// Restorable ranges, ordered by their beginning.
    pub ranges: Vec<RangeView>,
}

/// What a restore would do, without doing it.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// For people.
    pub text: String,
    /// As `bygone restore --dry-run --json` has it.
    pub json: serde_json::Value,
}

/// A store and what it holds.
#[derive(Debug, Clone)]
pub struct StoreView {
    /// The store.
    pub store: bygone_catalog::record::Store,
    /// The newest sample of its use.
    pub usage: Option<bygone_catalog::record::UsageSample>,
    /// Jobs that use it.
    pub jobs: Vec<Id>,
    /// When it was last groomed.
    pub groomed: Option<UnixMillis>,
}
