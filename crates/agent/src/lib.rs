//! The agent: reads one replica set from outside, copies it once and then
//! follows its oplog, handing everything to an uplink.
//!
//! ```text
//!            ┌─ member: which one to read            ┌─ plan: ranges, order
//! source ────┤                                agent ─┼─ sync ─ range ─ pack ──▶ sync slices ─┐
//! (a mongod) └─ history: what became of our chain    └─ tail ─ gather ────────▶ oplog slices ┴▶ uplink
//!                                                         └─ watch: health, idle no-ops
//! ```
//!
//! Invariants:
//! 1. Only majority-committed data is read: what is stored cannot roll back afterwards.
//! 2. A tail continues from exactly the stored entry (timestamp and term). A gap is never
//!    bridged: the chain forks from a common entry, or a new initial sync begins.
//! 3. A scan is at most as old as the sync's start and says up to when it may be newer;
//!    a range goes on after the last acknowledged document, on any member.
//! 4. A collection counts as gone only as a claim that the oplog has to confirm.
//! 5. Slices are never empty, and an entry is never split.
//! 6. Memory: a scanner holds at most two slices (10 MiB compressed each: one being filled, one being handed
//!    over), the leaf being filled (0.5 MiB and one document) and three replies (1 MiB each, at most 16 MiB with
//!    large documents); the tail one slice (10 MiB raw and one entry) and three replies. With two scanners about
//!    80 MiB, and 220 MiB when every document has 16 MiB.
//! 7. No password is printed; nothing is written to the source but no-ops in its oplog.
//!
//! Not here: applying oplog entries, storing, checking slices (crates oplog, ingest, head).

pub mod fleet;
pub mod history;
pub mod member;
pub mod options;
pub mod plan;
pub mod progress;
pub mod source;
pub mod uplink;

mod agent;
mod env;
mod gather;
mod pack;
mod range;
mod sync;
mod tail;
mod throttle;
mod watch;

pub use agent::Agent;
pub use member::{MemberRule, Wanted};
pub use options::{AgentOptions, Resync, ScanOrder};
pub use progress::{Phase, Progress};
pub use source::{MongoSource, Source, SourceUri};
