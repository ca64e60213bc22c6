//! The simulator: the real agent, ingest, job and views over a replica set, a network and a store
//! in memory, in virtual time, disturbed by a seed, with one checker per promise.
//!
//! ```text
//! replica set ──▶ Agent ──net──▶ Ingest, Job ──faults──▶ MemoryStore
//!      │ model       ▲              ▲   killed and started again at any moment
//!      │             └── run ───────┘
//!      └───────────────▶ check ◀── views, slices, packs (read without faults)
//! ```
//!
//! Invariants:
//! 1. One seed, one run: time passes only when everybody waits, all choices come from the seed.
//! 2. The replica set logs what real servers log, as raw BSON; its model knows every moment.
//! 3. A checker reads the store as it is; nothing in the code under test knows that it is simulated.
//!
//! Not here: what real servers do (tests/), damaged bytes (tests of groom and blockstore).

pub mod check;
pub mod clock;
pub mod dice;
pub mod ledger;
pub mod net;
pub mod plan;
pub mod process;
pub mod replica;
pub mod run;
pub mod store;
pub mod trace;
pub mod world;
