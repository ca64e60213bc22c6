//! The way in: takes what agents send, checks it, stores it durably, and only
//! then acknowledges it.
//!
//! ```text
//!  agent ══HTTP/2══▶ http ─┐                       ┌─▶ epochs, timelines   (oplog store)
//!                          ├─▶ Ingest: session ────┼─▶ append ─▶ slices    (oplog store)
//!  agent ──in process──────┘     (epoch, lease)    ├─▶ sync ─▶ packs       (snapshot store)
//!                                                  │       └─▶ records     (sync store)
//!  daemon ─▶ compact, expire                       └─▶ feed ─▶ daemon
//! ```
//!
//! Invariants:
//! 1. What was acknowledged is durable, and was checked: hash, framing and place of a slice, every
//!    document, key and name of a block.
//! 2. The chain of a timeline has no gap and no fork, whoever writes: a slice is named by the entry it
//!    continues from and put if absent; on a conflict the contents decide.
//! 3. The store is the only truth: what is in memory can be lost at any time, and a second process over
//!    the same stores does no harm. The holder of the highest epoch writes, others notice within
//!    `Options::fence_check`.
//! 4. Every call may be repeated after a lost reply; it answers as if new.
//! 5. Memory is bounded: slices being checked, bodies being received, events waiting for a subscriber.
//! 6. A slice is deleted only when a merged one holds it, or when the caller says that nobody reads
//!    before a position; the newest slice stays in any case.
//!
//! Not here: what entries mean (oplog, head), which slices are still needed (daemon), reading a source
//! (agent), deleting blocks (groom).

mod append;
mod chain_read;
pub mod compact;
mod expire;
mod feed;
mod files;
pub mod fuzzing;
mod history;
pub mod http;
mod ingest;
mod part;
mod plan;
mod sync;
#[cfg(test)]
mod tests;
mod timelines;
mod uplink;

pub use expire::Expired;
pub use feed::{Event, Events};
pub use ingest::{Ingest, Options};
pub use part::PartStatus;
