//! What may go, and whether everything that must stay is whole.
//!
//! ```text
//! retention (snapshot) ─▶ manifests and slices expire ─▶ mark ─▶ plan ─▶ sweep
//! shares: whose the stored bytes are
//! verify: every pack, every object, every chain, every update with its document
//! ```
//!
//! Invariants:
//! 1. Roots: every manifest of every part, the records of syncs that no manifest covers yet, and the runs a
//!    running head has written but not published.
//! 2. A pack goes only when nothing has reached it for the delay, by the store's clock, and no reader holds
//!    a lease. So whoever opened a snapshot before it expired can finish.
//!    Relocation records go like packs.
//! 3. A pack's living blocks are durable elsewhere and their relocation is recorded before it goes.
//! 4. Every step can be interrupted: what was not done is found again.
//!
//! Not here: which snapshots expire (snapshot::retention), deleting slices (ingest).

pub mod lease;
mod mark;
mod parts;
pub mod plan;
mod record;
mod run;
mod shares;
pub mod verify;

pub use parts::Places;
pub use run::{GroomOptions, Groomed, groom, groom_in};
pub use shares::{Shares, shares};
pub use verify::{Report, verify, verify_with};
