//! What there is to know about MongoDB documents as bytes: walking them, the
//! order of their `_id`s, and applying logged updates to them. Pure: no I/O,
//! no async, no clock.
//!
//! ```text
//! walk     Doc, Element        bounded, zero-copy view of raw BSON
//! key      id_key              _id value -> bytes whose memcmp order is the server's order
//! update   classify, apply     pre-image + `o` of an update entry -> post-image
//! corpus   ids, id_groups      _id values of every kind in the server's order, for tests
//! fuzzing  fuzz_*              bodies of the fuzz targets
//!
//!    entry.o2 ──▶ key ──▶ runs sorted by key ──▶ update(pre-image, entry.o) ──▶ block
//! ```
//!
//! Invariants:
//! 1. No input makes a function here panic, recurse deeper than [`MAX_DEPTH`],
//!    or allocate more than a small multiple of its input plus [`MAX_DOCUMENT`].
//! 2. Documents are never decoded into maps: field order, duplicate names,
//!    invalid UTF-8, deprecated types and wrong array keys come out as they went in.
//! 3. Two `_id`s have equal keys exactly when the server's unique `_id` index
//!    holds them for equal; `a < b` in the index exactly when `key(a) < key(b)` as bytes.
//! 4. No key is a prefix of another one.
//! 5. A post-image is byte for byte what a secondary of the server makes of
//!    the same entry and pre-image, or an error.
//!
//! Not here: oplog entries (the `oplog` crate knows which field is what),
//! collations (an `_id` under a collation is keyed by its own bytes), JSON.

pub mod corpus;
pub mod error;
pub mod fuzzing;
pub mod key;
pub mod update;
pub mod walk;
mod write;

use walk::types as tag;

pub use error::{Error, Result};
pub use key::{id_key, id_key_into, value_key, value_key_into};
pub use update::{Applied, Form, apply, classify};
pub use walk::{Doc, Element, Elements, SplitStream, split_stream, validate};

/// How deep documents may nest before they are refused. The server refuses
/// user documents deeper than 180 to 200 levels
/// (<https://www.mongodb.com/docs/manual/reference/limits/>).
pub const MAX_DEPTH: usize = 250;

/// The largest document that a server stores or sends, in bytes: 16 MiB for the
/// user plus 16 KiB for what the server puts around it in an oplog entry.
pub const MAX_DOCUMENT: usize = 16 * 1024 * 1024 + 16 * 1024;
