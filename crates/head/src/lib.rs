//! From oplog slices to snapshots, and the state of a part at any moment.
//!
//! ```text
//! slices ──gather──▶ RunBuffer ──spill──▶ runs ─┐
//!                                               ├─compact (fold, merge)─▶ publish ─▶ manifest
//! sync records ──first_base──▶ base trees ──────┘
//!
//! View: newest manifest at or before T + slices after it ──▶ catalogue and merges at T
//! ```
//!
//! Invariants:
//! 1. Nothing is kept on disk: opening the newest manifest of the current history and reading the slices
//!    after it gives the same state, so a crash at any point loses nothing.
//! 2. A snapshot's moment never passes the oldest undecided prepared transaction, and is never inside the
//!    window of the initial sync.
//! 3. Runs cover (as_of, at] of every block of the base.
//! 4. An operation read twice counts once: it is identified by (collection, key, ts, n).
//!
//! Not here: when to snapshot (daemon), what to delete (groom), the bytes of blocks (tree).

mod base;
mod budget;
mod compact;
mod first_base;
mod gather;
#[allow(clippy::module_inception, reason = "the crate's noun has a file of its own")]
mod head;
mod publish;
mod scratch;
mod validate;
mod view;

pub use base::Base;
pub use budget::Budget;
pub use bygone_snapshot::{Catalogue, Collection, TreeInfo, ViewDef};
pub use head::{Head, HeadOptions, HeadProgress};
pub use scratch::Scratch;
pub use view::{Choice, Overview, View, ViewOptions, choose, describe, expect_oplog, overview};
