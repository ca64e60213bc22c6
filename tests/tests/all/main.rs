//! Tests against real servers and the real binary. One module per subject;
//! `make matrix` and `make soak` run the same with more versions and more rounds.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, and has no callers outside"
)]

mod agent;
mod dump;
mod harness;
mod restore;
mod s3;
mod spine;
