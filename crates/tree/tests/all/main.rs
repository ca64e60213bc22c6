//! Tests of the tree crate against an in-memory repository.

mod build;
mod fixtures;
mod folds;
mod formats;
mod model;
mod resolving;
mod runs;
mod util;
