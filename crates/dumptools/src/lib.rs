//! `mongodump`, `mongorestore` and `bsondump`: the formats and the behaviour of the stock tools.

pub mod archive;
pub mod bsondump;
pub mod connect;
pub mod dump;
pub mod extjson;
pub mod frames;
pub mod metadata;
pub mod names;
pub mod report;
pub mod restore;
pub mod sink;

/// What dumps say they were made by.
pub const TOOL_VERSION: &str = concat!("bygone-", env!("CARGO_PKG_VERSION"));
