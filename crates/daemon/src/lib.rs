//! Runs what is due for one part: feeds its head with slices, takes snapshots, expires what the policy
//! lets go, compacts small slices.
//!
//! ```text
//! ingest ──events──▶ Job ──▶ head ──▶ snapshot
//!                     │  plan: what is due (pure, `now` as an argument)
//!                     └──▶ status (watch)
//! tidy: times ──▶ retention ──▶ expire; called by the clock, also for jobs that do not run
//! ```
//!
//! Invariants:
//! 1. A failure of the job never stops the agent: slices go on being stored while a person looks.
//! 2. Slices and snapshots expire only after a newer manifest is durable.
//!    What expiry fails at is tried again.
//! 3. After any error of the head a new one is opened from the store.
//!
//! Not here: when the agent reads (agent), what may be deleted (groom, snapshot::retention).

mod job;
mod keep;
pub mod plan;
mod status;
mod terms;
mod tidy;

pub use job::{GROOM_DELAY, Job, JobOptions, resynced_lately};
pub use keep::keep;
pub use status::{JobPhase, JobStatus};
pub use terms::Terms;
pub use tidy::{Tidied, retimed, tidy};
