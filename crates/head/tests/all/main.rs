//! The head against a model: random entries in slices put straight into a store in memory, snapshots at
//! random moments, restarts, forks, faults; every restorable moment must be what the model was then.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

mod capped;
mod entries;
mod histories;
mod model;
mod world;
