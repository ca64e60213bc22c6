//! The agent against a replica set in memory that fails in every way we can
//! think of, and an uplink that checks every promise.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test fails by panicking")]

mod faults;
mod fleet;
mod uplink;
mod world;
