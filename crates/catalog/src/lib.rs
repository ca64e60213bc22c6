//! What the control plane knows: projects, jobs, stores, agents, users, alerts, events, restore jobs, leases.
//!
//! ```text
//! Catalog ── typed records, JSON ──▶ Backend: rows (kind, id) with a scope and a version
//!    │                                  └─ Sqlite: one file
//!    └─ Seal: secrets are encrypted before they reach the backend
//! ```
//!
//! Invariants:
//! 1. A row changes only where its version is the one that was read: nobody's change is overwritten unseen.
//! 2. No change touches two rows at once, so a backend without transactions of several documents will do. What
//!    belongs together is in one record, or is repaired by whoever finds the first half.
//! 3. A lease is held by one owner; its epoch grows with every change of owner and never repeats.
//! 4. Nothing here is needed to restore: stores describe themselves, and the catalog can be made anew from them.
//!
//! Not here: what states mean (control), who may do what (api), backed-up data of any kind.

mod backend;
mod catalog;
mod id;
pub mod record;
mod seal;
mod sqlite;

pub use backend::{Backend, Kind, Page, Stored};
pub use catalog::{Catalog, Lease, Record, Row};
pub use id::Id;
pub use seal::{Seal, Sealed};
pub use sqlite::Sqlite;
