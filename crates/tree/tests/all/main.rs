//! Tests of the tree crate against an in-memory repository.

#![allow(clippy::unwrap_used, reason = "tests")]

mod build;
mod fixtures;
mod folds;
mod formats;
mod model;
mod resolving;
mod runs;
mod util;
