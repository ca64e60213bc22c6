//! Tests against real servers and the real binary. One module per subject;
//! `make matrix` and `make soak` run the same with more versions and more rounds.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, and has no callers outside"
)]

mod agent;
mod bad_input;
mod browser;
mod control;
mod damage;
mod dump;
mod filters;
mod hard_cases;
mod harness;
mod restore;
mod rollback;
mod s3;
mod secure;
mod spine;
mod stores;
