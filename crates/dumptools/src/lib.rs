//! `mongodump`, `mongorestore` and `bsondump`: the formats and the behaviour of the stock tools (100.13), by the bulk
//! reader of the initial sync and the bulk loader of restores.
//!
//! ```text
//! bsondump   file ▸ frames ▸ extjson                                  ▸ text
//! dump       server (agent's Reader) ▸ list ▸ lanes ─┐
//! export     moment of a store (restore's Documents) ┴▸ sink: directory, archive; gzip on several threads
//! restore    directory (frames) or archive ▸ gather ▸ prepare ▸ restore's bulk loader ▸ indexes, users, oplog
//! ```
//!
//! Invariants:
//! 1. What is written here the stock tools read, and the other way round; names, metadata and CRCs are theirs to the byte.
//! 2. Nothing is decoded on the way of documents; memory is bounded by pieces of a megabyte per lane and thread.
//! 3. A dump that is cut, malformed or whose hash is wrong is an error with its place, never a shorter restore.
//! 4. The exit status is 1 for every failure that the stock tools tell, and for those that they do not: a compressed
//!    file that ends early, an archive without its last block, a dump's file whose name leads out of it.
//! 5. With `--oplog` the first entry is taken before the first collection is listed.
//!
//! Not here: arguments and printing (cli), what a collection is made of on a target and how batches go in (restore).

pub mod archive;
pub mod bsondump;
pub mod connect;
pub mod dump;
pub mod export;
pub mod extjson;
pub mod frames;
pub mod fuzzing;
pub mod metadata;
pub mod names;
pub mod progress;
pub mod report;
pub mod restore;
pub mod sink;

/// What dumps say they were made by.
pub const TOOL_VERSION: &str = concat!("bygone-", env!("CARGO_PKG_VERSION"));
