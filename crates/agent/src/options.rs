//! What an agent is told to do, with defaults.

use std::time::Duration;

use bygone_base::{ByteSize, JobName};
use bygone_oplog::filter::Filter;

use crate::member::MemberRule;

/// What to do when continuity with the source is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resync {
    /// A new initial sync, deduplicated against the old one.
    #[default]
    Automatic,
    /// Stop with `ResyncRequired`.
    Stop,
}

/// How collections are read in an initial sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScanOrder {
    /// By `_id`, in ranges that resume.
    #[default]
    ById,
    /// In natural order, from the beginning after an interruption: for random
    /// `_id`s in collections larger than the source's cache.
    Natural,
}

/// Options of an agent.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// Its id; a random one where not given. Who starts again under the same id is not kept out by himself.
    pub id: Option<String>,
    /// The job; its part is named after the replica set.
    pub job: JobName,
    /// What is backed up.
    pub filter: Filter,
    /// Which member is read.
    pub member: MemberRule,
    /// Ranges that are scanned at once.
    pub workers: usize,
    /// zstd level of the initial sync's blocks.
    pub scan_level: i32,
    /// zstd level of oplog slices.
    pub oplog_level: i32,
    /// A sync slice is sent at this many compressed bytes.
    pub sync_slice: ByteSize,
    /// An oplog slice is sent at this many raw bytes ..
    pub oplog_slice: ByteSize,
    /// .. or when its first entry has waited so long.
    pub flush: Duration,
    /// .. or so long after it, while nothing but periodic no-ops came: an idle set writes few objects.
    pub idle_flush: Duration,
    /// Pause of the tail after a small reply.
    pub pause: Duration,
    /// An idle set gets a no-op after so long: longer than the ten seconds after which a primary writes one by itself.
    pub note_every: Duration,
    /// How often the member's health is looked at.
    pub watch_every: Duration,
    /// The initial sync reads no more than this per second.
    pub throttle: Option<ByteSize>,
    /// Order of the initial sync's scans.
    pub scan_order: ScanOrder,
    /// A collection is cut into ranges of about this size ..
    pub range: ByteSize,
    /// .. but into no more than so many.
    pub max_ranges: u32,
    /// One reply of a scan.
    pub batch: ByteSize,
    /// What to do when continuity is lost.
    pub resync: Resync,
    /// Fence an agent of another process that still runs.
    pub take_over: bool,
}

impl AgentOptions {
    /// Defaults for a job.
    pub fn new(job: JobName) -> Self {
        AgentOptions {
            id: None,
            job,
            filter: Filter::all(),
            member: MemberRule::default(),
            workers: 2,
            scan_level: 1,
            oplog_level: 1,
            sync_slice: ByteSize::mib(10),
            oplog_slice: ByteSize::mib(10),
            flush: Duration::from_millis(250),
            idle_flush: Duration::from_secs(30),
            pause: Duration::from_millis(50),
            note_every: Duration::from_secs(15),
            watch_every: Duration::from_secs(10),
            throttle: None,
            scan_order: ScanOrder::ById,
            range: ByteSize::mib(256),
            max_ranges: 64,
            batch: ByteSize::mib(1),
            resync: Resync::Automatic,
            take_over: false,
        }
    }
}
