//! What a snapshot is: its manifest, the catalogue of collections it holds, and
//! which snapshots a retention policy keeps.
//!
//! ```text
//! manifest   the small object that makes a snapshot exist (docs/format.md, section 7)
//! catalogue  collections, indexes and views at one moment (section 8); DDL applied to them
//! keeps      until when single snapshots are kept
//! list       the manifests of a part, newest last
//! stores     the repositories of a job, and a part in them
//! oplog      reading the stored slices of a history in order
//! timeline   timelines and their forks: which history a snapshot belongs to
//! retention  PURE: which snapshots go, and from where on slices must stay
//! ranges     PURE: which moments can be restored, and where the gaps are
//! ```
//!
//! Invariants:
//! 1. A manifest is written last: what it names is durable before it exists.
//! 2. The newest snapshot of a part never expires, nor does the base of the point-in-time window.
//! 3. A snapshot after its timeline's fork point is void for every later timeline.
//!
//! Not here: how the state is computed (head), what is deleted (groom).

pub mod catalogue;
mod fields;
pub mod keeps;
pub mod list;
pub mod manifest;
pub mod oplog;
pub mod ranges;
pub mod retention;
mod stores;
pub mod sync;
pub mod timeline;

pub use catalogue::{Catalogue, Collection, TreeInfo, ViewDef};
pub use keeps::Keep;
pub use list::{Found, PartStore, histories, parts};
pub use manifest::{Manifest, RunInfo, SourceInfo, Stats};
pub use retention::Policy;
pub use stores::{Parts, Stores};
pub use timeline::Timeline;
