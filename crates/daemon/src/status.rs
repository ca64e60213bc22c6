//! What a job is doing.

use bygone_base::{OpTime, SnapshotId, Ts, UnixMillis};
use bygone_snapshot::Timeline;

/// Where a job stands; the words continue the agent's phases of an initial sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JobPhase {
    /// Waiting for the initial sync's data.
    #[default]
    Waiting,
    /// Putting the initial sync's blocks together.
    Building,
    /// Reading the slices since the base.
    ApplyingOplogs,
    /// Checking that every update of the window has its document.
    FetchingMissing,
    /// Checking the index definitions against the source's list.
    CreatingIndexes,
    /// The first snapshot exists; following.
    Complete,
    /// A failure that needs a person; the agent goes on storing slices.
    Stopped,
}

impl JobPhase {
    /// The words that are shown.
    pub fn as_str(self) -> &'static str {
        match self {
            JobPhase::Waiting => "waiting for the initial sync",
            JobPhase::Building => "building",
            JobPhase::ApplyingOplogs => "applying oplogs",
            JobPhase::FetchingMissing => "fetching missing documents",
            JobPhase::CreatingIndexes => "creating indexes",
            JobPhase::Complete => "complete",
            JobPhase::Stopped => "stopped",
        }
    }
}

/// A moment's view of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobStatus {
    /// Phase.
    pub phase: JobPhase,
    /// How far the head has read.
    pub position: OpTime,
    /// Operations since the newest snapshot.
    pub pending_ops: u64,
    /// The newest snapshot.
    pub snapshot: Option<SnapshotId>,
    /// Its moment.
    pub snapshot_at: Option<Ts>,
    /// When the next one is due, by our clock.
    pub next_snapshot: Option<UnixMillis>,
    /// The count of the newest request for a snapshot that was served; 0 before any.
    pub served: u64,
    /// Snapshots taken by this process.
    pub taken: u64,
    /// The newest line for people: what was done or what is wrong.
    pub message: String,
    /// The failure that stopped it, while it lasts.
    pub failure: Option<String>,
    /// A new initial sync is asked for, and why.
    pub resync: Option<String>,
    /// The newest timeline, which says why it was opened.
    pub timeline: Option<Timeline>,
}
