//! What every other crate stands on: ids, times, sizes, the doors to clock and
//! randomness, crash-safe disk rules, and the one error type.
//!
//! ```text
//! id      typed ids (packs, blocks, repositories, collections, snapshots ...)
//! time    Ts and OpTime (MongoDB's), UnixMillis (ours), WHEN on the command line
//! size    ByteSize
//! clock   Clock: the only way to read the time or to wait
//! rng     Rng: the only source of randomness
//! work    CPU work off the async threads
//! key     private keys behind a password
//! net     addresses of the network
//! disk    crash-safe file rules: write, fsync, rename, fsync the folder
//! error   Error {kind, message, hint, source}; the kind says what the caller does next
//! ```
//!
//! Invariants:
//! 1. Nothing outside `clock` reads the wall clock or sleeps; nothing outside `rng` draws randomness.
//! 2. An id of one kind cannot be used as another.
//!
//! Not here: anything that knows MongoDB's documents, stores or networks.

pub mod clock;
pub mod disk;
pub mod error;
pub mod id;
pub mod key;
pub mod net;
pub mod rng;
pub mod size;
pub mod time;
pub mod work;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorKind, Result};
pub use id::{
    BlockId, CollectionId, Epoch, JobName, PackId, PartName, RepositoryId, SnapshotId, SyncId,
    TimelineId,
};
pub use rng::{Rng, SeededRng, SystemRng};
pub use size::ByteSize;
pub use time::{OpTime, Ts, UnixMillis, When};
