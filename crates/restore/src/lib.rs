//! Restores a moment from a store to a server: decides, loads, proves.
//!
//! ```text
//!  Documents (a view of a store)      Target (a replica set)
//!        │ contents                        │ facts
//!        └──────────▶ plan (pure) ◀────────┘
//!                        │
//!   run: drop ▸ create ▸ load ▸ indexes behind it ▸ views ▸ roles, users
//!                        │
//!            proof of documents ▸ what lets documents expire ▸ proof of the catalogue
//! ```
//!
//! Invariants:
//! 1. Nothing is written before the whole plan stands: names, features, privileges and what is in
//!    the way are checked first.
//! 2. The target receives final documents only, raw, never decoded; never applyOps.
//! 3. A batch is in exactly once: only after a lost reply is "duplicate key" on `_id` no error.
//! 4. Nothing can expire before the proof of the documents is done.
//! 5. After a failure the same restore can be repeated with `drop`.
//! 6. The user that does the restore, and the roles that it holds, are never touched.
//!
//! Not here: reading a store and merging operations (head, tree), dump formats, the command line.

mod batch;
mod build;
pub mod bulk;
pub mod capped;
pub mod create;
mod error;
pub mod facts;
pub mod features;
mod hash;
pub mod indexes;
mod insert;
mod lane;
mod load;
pub mod memory;
pub mod model;
pub mod names;
pub mod plan;
pub mod progress;
pub mod proof;
pub mod raw;
mod report;
pub mod run;
pub mod target;
mod users;
pub mod version;
mod view;

pub use build::drop_made_indexes;
pub use facts::TargetFacts;
pub use insert::Refusals;
pub use load::Loaded;
pub use model::{Chunk, Contents, DocumentStream, Documents, InOrder};
pub use names::{NameRules, Namespace};
pub use plan::{PlanOptions, RestorePlan, plan};
pub use progress::{Phase, Progress};
pub use proof::Proof;
pub use run::{Restored, RunOptions, run};
pub use target::Target;
pub use version::ServerVersion;
pub use view::ViewDocuments;
