//! The agent against a replica set in memory that fails in every way we can
//! think of, and an uplink that checks every promise.

mod faults;
mod uplink;
mod world;
