//! The oplog, typed: what each entry does, when its effects count, how entries
//! are cut into slices that form one unbroken chain, and the messages by which
//! an agent hands them to ingest. Pure: no input or output happens here.
//!
//! ```text
//! raw entry ──entry──▶ Entry ──change──▶ Change (Put, Delete, Update, Ddl)
//!     │                  │                       ▲
//!     │                  └──assemble (transactions, applyOps, filter) ──▶ Op {at, n, change}
//!     └──slice (frame, hash, compress) ──names, chain──▶ uplink (agent ▶ ingest), wire
//!                                      ddl: what a collMod leaves behind
//! ```
//!
//! Invariants:
//! 1. Unknown means stop: an op, command or field that this version does not know is
//!    [`ErrorKind::Unsupported`](bygone_base::ErrorKind) naming kind, namespace and timestamp.
//! 2. Nothing of a transaction is delivered before it is decided; its operations carry the
//!    timestamp that decided it (`commitTimestamp` when prepared), in their order.
//! 3. A no-op entry is never applied, whatever it holds; a `fromMigrate` entry always is.
//! 4. `(at, n)` of an operation depends on the entries alone, not on where reading began nor on
//!    the filter: reading twice gives equal operations.
//! 5. A slice is never empty, never splits an entry, and every changed byte of it is detected.
//! 6. No bytes from outside cause a panic or an allocation that their length does not justify.
//!
//! Not here: applying updates to documents (crate document), the catalogue's state (crate head),
//! reading or storing anything (agent, ingest).

pub mod assemble;
pub mod chain;
pub mod change;
pub mod ddl;
pub mod entry;
pub mod filter;
pub mod names;
pub mod slice;
pub mod uplink;

mod command;
mod raw;
#[cfg(test)]
mod testing;
