//! Runs what is due for one part: feeds its head with slices, takes snapshots, expires what the policy
//! lets go, grooms, compacts small slices.
//!
//! ```text
//! ingest ──events──▶ Job ──▶ head ──▶ snapshot ──▶ retention ──▶ expire ──▶ groom
//!                     │  plan: what is due (pure, `now` as an argument)
//!                     └──▶ status (watch)
//! ```
//!
//! Invariants:
//! 1. A failure of the job never stops the agent: slices go on being stored while a person looks.
//! 2. Slices and snapshots expire only after a newer manifest is durable.
//!    What expiry and grooming fail at is tried again after the next snapshot.
//! 3. After any error of the head a new one is opened from the store.
//!
//! Not here: when the agent reads (agent), what may be deleted (groom, snapshot::retention).

mod job;
mod keep;
pub mod plan;
mod status;

pub use job::{GROOM_DELAY, Job, JobOptions, resynced_lately};
pub use keep::keep;
pub use status::{Grooming, JobPhase, JobStatus};
