//! The control plane: what people and programs may ask of backup jobs, and who sees to it that it is done.
//!
//! ```text
//! api, web ──▶ Control ──▶ catalog: what is meant to be
//!                 │             ▲
//!                 │             │ reads every second, writes what became of it
//!                 └─▶ views   Supervisor ─▶ Running: ingest + daemon of one job  ◀──HTTP── agents
//!                               ├─▶ restores     ├─▶ alerts     └─▶ expiry, grooms, checks, usage
//! ```
//!
//! Invariants:
//! 1. Who asks changes the catalog only; the supervisor makes it so, and goes on after a crash where it stood.
//! 2. Everything is asked for within a project; what belongs to another is not found.
//! 3. Nothing deletes snapshots but their expiry, a deletion by name, and Terminate.
//! 4. Every change by a person or a program leaves an event.
//!
//! Not here: who may ask (api, web), how bytes are stored and restored (the crates above).

mod acknowledge;
mod agents;
pub mod alerts;
mod apart;
mod attended;
mod by;
mod changes;
mod checks;
mod control;
mod disk;
mod expiry;
mod forget;
mod given;
mod grooms;
pub mod health;
mod housekeeping;
mod jobs;
mod local;
mod names;
mod opened;
pub mod plan;
mod rebuild;
mod restores;
mod restoring;
mod running;
mod schedules;
mod seen;
mod settings;
mod snapshots;
mod source;
mod stores;
mod supervisor;
mod terminate;
mod usage;
pub mod views;

pub use agents::AgentGate;
pub use by::By;
pub use bygone_snapshot::Parts;
pub use control::Control;
pub use given::Given;
pub use jobs::{AGREE_TO_RESYNC, JobEdit, NewJob, NewSource};
pub use local::Local;
pub use plan::Action;
pub use rebuild::Rebuilt;
pub use restores::{NewDelivery, NewRestore};
pub use restoring::{Download, Transfer, download_path};
pub use snapshots::KeepUntil;
pub use stores::{NewStore, repository};
pub use supervisor::Supervisor;
