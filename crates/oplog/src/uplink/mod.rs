//! How an agent hands a part's data to ingest. In one process ingest
//! implements [`Uplink`] itself; over a network a client does, with the
//! encodings of [`wire`].
//!
//! Errors: `Conflict` = fenced (another agent took over, or the server refuses
//! the history): stop writing and open again. `ResyncRequired` = begin a new
//! initial sync. `Unavailable` = the same call again, later. Every call that
//! writes is idempotent: repeated after a lost reply it answers as if new.

mod plan;
pub mod wire;

use async_trait::async_trait;
use bygone_base::{
    CollectionId, Epoch, JobName, OpTime, PartName, Result, SyncId, TimelineId, Ts, UnixMillis,
};
use bytes::Bytes;

pub use plan::{CollectionPlan, Source, SyncPlan};

use crate::filter::Filter;

/// Which part of which job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartKey {
    /// Job.
    pub job: JobName,
    /// Part.
    pub part: PartName,
}

/// An agent introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The part it serves.
    pub key: PartKey,
    /// Random id of this agent process.
    pub agent: String,
    /// The host it runs on, for people.
    pub host: String,
    /// Version of the source's servers.
    pub server_version: String,
    /// Feature compatibility version of the source.
    pub fcv: String,
    /// What it captures.
    pub filter: Filter,
    /// As [`Source::identity`].
    pub identity: Option<CollectionId>,
    /// Take the part over from a live agent.
    pub take_over: bool,
}

/// What ingest knows of the part; the agent goes on from here.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Fences older sessions off.
    pub epoch: Epoch,
    /// The timeline in force, 0 when there is none yet.
    pub timeline: TimelineId,
    /// How far the part is.
    pub state: PartState,
}

/// How far a part is.
#[derive(Debug, Clone, PartialEq)]
pub enum PartState {
    /// Nothing is stored that could be gone on with: begin an initial sync.
    Empty {
        /// Why not with what is stored; `None` where nothing is.
        why: Option<String>,
    },
    /// An initial sync is under way.
    Syncing {
        /// Its plan, once stored.
        plan: Option<Box<SyncPlan>>,
        /// Its id.
        sync: SyncId,
        /// The entry that its oplog continues from.
        start: OpTime,
        /// The end of the stored oplog.
        chain: OpTime,
        /// How far each range is; ranges not begun may be left out.
        progress: Vec<RangeProgress>,
        /// The scan's end is stored.
        ended: bool,
    },
    /// The initial sync is complete; only the oplog is followed.
    Tailing {
        /// The end of the stored oplog.
        chain: OpTime,
        /// Ends of stored slices, newest first, thinning out backwards: where to look for the common point.
        recent: Vec<OpTime>,
    },
}

/// How far the scan of one range of one collection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeProgress {
    /// Collection.
    pub coll: CollectionId,
    /// Number of the range in the plan.
    pub range: u32,
    /// The sequence number that comes next.
    pub next_seq: u32,
    /// `{_id: x}` of the last document stored.
    pub resume: Option<Vec<u8>>,
    /// The range is stored whole.
    pub done: bool,
}

/// What is written within: part, epoch and timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRef {
    /// Part.
    pub key: PartKey,
    /// Epoch of the session.
    pub epoch: Epoch,
    /// Timeline that the agent believes in force.
    pub timeline: TimelineId,
}

/// Why a timeline begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimelineReason {
    /// The first one.
    InitialSync,
    /// The source rolled back, or was put back.
    Rollback,
    /// Asked for, or the oplog could not be followed.
    Resync,
    /// The source's oplog no longer reaches back to the end of the chain.
    RollOver,
}

impl TimelineReason {
    /// As docs/format.md has it.
    pub fn as_str(self) -> &'static str {
        match self {
            TimelineReason::InitialSync => "initial sync",
            TimelineReason::Rollback => "rollback",
            TimelineReason::Resync => "resync",
            TimelineReason::RollOver => "rollover",
        }
    }

    /// Reads what [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::InitialSync, Self::Rollback, Self::Resync, Self::RollOver];
        all.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// Finished blocks of one range of an initial sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncSlice {
    /// The sync.
    pub sync: SyncId,
    /// Collection.
    pub coll: CollectionId,
    /// Number of the range in the plan.
    pub range: u32,
    /// Counts the slices of the range from 0.
    pub seq: u32,
    /// The blocks are runs sorted within this slice, not leaves of the tree.
    pub runs: bool,
    /// The blocks may contain changes up to here.
    pub valid_from: Ts,
    /// `{_id: x}` of the last document, to go on from.
    pub resume: Option<Vec<u8>>,
    /// The range ends with this slice.
    pub done: bool,
    /// The collection was not found; the oplog must say that it was dropped.
    pub gone: bool,
    /// The blocks, in order.
    pub blocks: Vec<SyncBlock>,
}

/// One block of a [`SyncSlice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncBlock {
    /// Length before compression.
    pub raw_len: u32,
    /// Number of documents.
    pub items: u32,
    /// Key of the first one.
    pub first_key: Vec<u8>,
    /// The block's raw content (docs/format.md section 6), compressed.
    pub zstd: Bytes,
}

/// The end of an initial sync's scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEnd {
    /// The sync.
    pub sync: SyncId,
    /// A majority-committed entry read after the last document: the state is whole from here on.
    pub end: OpTime,
    /// What the source listed then, to check the catalogue against.
    pub listed: Vec<ListedCollection>,
}

/// A collection as it is listed at the end of a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCollection {
    /// UUID.
    pub coll: CollectionId,
    /// Database.
    pub db: String,
    /// Name.
    pub name: String,
    /// Names of its finished indexes.
    pub indexes: Vec<String>,
}

/// The answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// Durable now.
    Stored,
    /// It was durable before, with the same content.
    AlreadyStored,
}

/// What `status` shows of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentReport {
    /// What it is doing: `starting`, `transferring`, `tailing` ..
    pub phase: String,
    /// The member it reads from.
    pub member: String,
    /// A sentence for people: the last error, what it waits for.
    pub message: String,
    /// Collections scanned.
    pub collections_done: u64,
    /// Collections to scan.
    pub collections_total: u64,
    /// Documents scanned.
    pub documents: u64,
    /// Bytes scanned.
    pub bytes: u64,
    /// Bytes to scan, estimated.
    pub bytes_total: u64,
    /// Bytes per second of the scan so far.
    pub bytes_per_second: u64,
    /// Oplog entries stored by this agent.
    pub entries: u64,
    /// Compressed bytes sent by this agent.
    pub sent: u64,
    /// The end of the chain that is acknowledged.
    pub chain: OpTime,
    /// The source's majority commit point.
    pub source: OpTime,
    /// By the agent's clock.
    pub at: UnixMillis,
}

/// The way from an agent to ingest.
#[async_trait]
pub trait Uplink: Send + Sync {
    /// Opens a session: takes the next epoch, tells where the part stands. Conflict
    /// when another agent is alive and `take_over` is not set.
    async fn open(&self, hello: Hello) -> Result<Session>;

    /// Opens a timeline whose chain starts at `start`, for a new initial sync.
    async fn begin_sync(
        &self,
        session: &SessionRef,
        start: OpTime,
        reason: TimelineReason,
    ) -> Result<(TimelineId, SyncId)>;

    /// Stores the sync's plan, once.
    async fn plan_sync(&self, session: &SessionRef, plan: SyncPlan) -> Result<()>;

    /// Stores blocks of one range; in the order of `seq` within a range.
    async fn sync_slice(&self, session: &SessionRef, slice: SyncSlice) -> Result<Ack>;

    /// The scan is complete.
    async fn end_sync(&self, session: &SessionRef, end: SyncEnd) -> Result<()>;

    /// Stores a slice of the oplog; durable when it returns.
    async fn oplog_slice(&self, session: &SessionRef, slice: Bytes) -> Result<Ack>;

    /// The source's history went back to `common`, which is stored: opens a
    /// timeline from there. What was stored after it is void.
    async fn fork(&self, session: &SessionRef, common: OpTime) -> Result<TimelineId>;

    /// Tells how it goes.
    async fn report(&self, session: &SessionRef, report: AgentReport) -> Result<()>;
}
