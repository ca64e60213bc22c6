//! The API, driven in process over a catalog in memory.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

mod clients;
mod document;
mod fuzz;
mod isolation;
mod ops_manager;
mod own;
mod proofs;
mod watching;
mod world;
