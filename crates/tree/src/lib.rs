//! Content-addressed trees of documents and of operations: cut, build, splice,
//! read, merge and fold.
//!
//! ```text
//!  documents in key order ─▶ cutter ─▶ leaf ─┐                       ┌─▶ read (cursor, splits, diff, walk)
//!                                            ├─▶ build ─▶ node ─▶ root┤
//!  operations ─▶ run::RunBuffer ─▶ run leaf ─┘      ▲                └─▶ run::RunCursor
//!                                                   │                       │
//!                       fold ◀── plan ◀── density   splice                  │
//!                         │                                                 ▼
//!                         └───────────── merge (base leaves + runs, at T) ◀─ resolve
//! ```
//!
//! Invariants:
//! 1. Equal content gives equal blocks: a leaf ends where the hash of a document's key says so, a node
//!    where the hash of an entry's key says so; how the content arrived does not matter.
//! 2. An entry's key range goes from its key to the next entry's key, the first reaches down to the
//!    beginning; so every key belongs to exactly one leaf, whose `as_of` decides which operations count.
//! 3. A leaf holds every change up to `as_of` and none after `valid_from`; operations at or before `as_of`
//!    are never applied to it, and no state before `valid_from` is read from it.
//! 4. A folded range starts at the key at which the range starts (not at its first document) and ends by
//!    force; a range that became empty is an empty leaf. So an older neighbour never reaches into it.
//! 5. An update whose document is missing is damage, except inside the window of a fuzzy scan.
//! 6. Every parser is bounded: it checks before it slices or allocates, and never panics.
//! 7. Memory is bounded by the number of inputs, never by the size of a collection or the length of one
//!    document's history. (Capped collections: 16 bytes per document while they are put in order.)
//!
//! Not here: which collections exist and when to fold (head), where blocks lie (blockstore), what an
//! oplog entry means (oplog).

mod codec;
mod cursor;

pub mod build;
pub mod capped;
pub mod cutter;
pub mod density;
pub mod diff;
pub mod docs;
pub mod fold;
pub mod fuzzing;
pub mod leaf;
pub mod merge;
pub mod node;
pub mod plan;
pub mod range;
pub mod read;
pub mod resolve;
pub mod run;
pub mod splice;
pub mod walk;

pub use build::{TreeBuilder, TreeInfo, TreeRoot};
pub use docs::DocsBuilder;
pub use leaf::{Leaf, LeafBuilder, Position};
pub use merge::{Merge, MergeOptions, Piece};
pub use node::NodeEntry;
pub use range::KeyRange;
pub use read::{LeafCursor, LeafSpan, Tree};
pub use run::{OpKind, RunBuffer, RunOp, RunRoot};
