//! What the tests against real servers stand on: it starts them, makes them
//! work, and says what their state is.
//!
//! ```text
//!  server    Mongod, ReplicaSet: real processes on free ports      version  what each can do
//!  workload  seeded operations of every kind ── runs against ──▶ server
//!  traffic   several workloads at once, pausing at marks
//!  oracle    ClusterState at a moment, and the difference of two of them
//!  s3        a real S3 server          proxy  a network that can be cut
//!  disk      a file system that can be full or read-only
//!  process   the real `bygone` binary  wait   conditions, polled   ports   free ports
//! ```
//!
//! Invariants:
//! 1. Nothing outlives its owner: every process is stopped by its own pid when its value is dropped.
//! 2. Nothing waits for a time, only for a condition, and no wait is without bound.
//! 3. Equal seeds give equal sequences of operations (what servers answer may still differ in time).
//! 4. The source's state at a moment is what the source itself says of it (`dbHash` at a timestamp);
//!    nothing is predicted by a model that could share a mistake with the code under test.
//!
//! Not here: tests (they are in `tests/all`), and anything that shipped code uses.
//! A harness fails by panicking, with what it waited for and the server's own words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "a test harness fails by panicking"
)]

pub mod disk;
pub mod oracle;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod s3;
pub mod server;
pub mod traffic;
pub mod version;
pub mod wait;

pub mod workload;

pub use oracle::{ClusterState, Moment, diff, state_at};
pub use server::{Auth, Member, Mongod, Options, ReplicaSet, Tls};
pub use traffic::Traffic;
pub use version::Version;
pub use workload::Workload;
