//! Where bytes live for good: stores, the repository in a store, encryption,
//! and blocks in packs. Byte formats: docs/format.md sections 1 to 4.
//!
//! ```text
//! BlockWriter ─ raw block ─▶ compress ─▶ encrypt ─▶ pack ─┐
//! Repository::put_object ──▶ envelope ────────────────────┤
//!                                                         ▼
//!             Store: Retrying(Throttled(..(FileStore | RemoteStore | MemoryStore)))
//!                                                         │
//! BlockReader ◀─ verify ◀─ decrypt ◀─ table of contents ◀─┤  moved/PACK is followed
//! Repository::get_object ◀── envelope ◀───────────────────┘
//! ```
//!
//! Invariants:
//! 1. An object never changes: it is put whole if absent, and what was acknowledged is durable.
//! 2. No byte of an object reaches a caller before every check that covers it passed.
//! 3. A key and a nonce never meet two contents: keys come from a salt used for one pack or object.
//! 4. The same raw content has the same block id for as long as the repository exists.
//! 5. Lengths from a store are checked against the format's limits before they are believed.
//!
//! Not here: what blocks contain (tree), which objects are needed (snapshot,
//! groom), and retries longer than a network hiccup (the callers').

pub mod audit;
mod codec;
pub mod conformance;
mod crypto;
pub mod envelope;
pub mod fuzzing;
mod keyring;
pub mod keys;
pub mod names;
pub mod pack;
mod reader;
pub mod relocation;
mod repository;
pub mod store;
mod writer;

pub use codec::{compress_block, decompress_block};
pub use envelope::ObjectKind;
pub use keys::Secret;
pub use pack::{BlockRef, Toc, TocEntry};
pub use reader::BlockReader;
pub use repository::Repository;
pub use store::{
    FileStore, MemoryStore, ObjectStat, Put, Store, create_store, open_store, put_new_checked,
};
pub use writer::{BlockWriter, WriterOptions, WriterStats, write_pack};
