//! The API, driven in process over a catalog in memory.

mod document;
mod fuzz;
mod isolation;
mod ops_manager;
mod own;
mod proofs;
mod world;
