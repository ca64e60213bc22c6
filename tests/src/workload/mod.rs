//! Seeded operations of every kind against a real server.
//!
//! ```text
//! Workload ── picks by weight ──▶ Kind ──▶ crud | transaction | ddl | index | series | account
//!    │                                        └─ values, names: odd documents, odd names
//!    └─ World: the collections that it knows of; the server decides what is legal
//! ```
//!
//! The server may refuse an operation (a duplicate, a type that `$inc` does
//! not take, a validator): that is part of the exercise and only counted. The
//! oracle is the server itself, so nothing needs to be predicted here.

mod account;
mod crud;
mod ddl;
mod dice;
mod index;
mod kind;
mod names;
mod run;
mod series;
mod transaction;
mod update;
pub mod values;
mod world;

use std::collections::BTreeMap;

use mongodb::Client;

pub use dice::Dice;
pub use kind::Kind;
pub use run::Tally;

use crate::{
    ClusterState, Version,
    oracle::{self, state_at},
    wait::PATIENCE,
};
use run::Runner;
use world::World;

/// One writer: a reproducible sequence of operations in databases of its own.
#[derive(Debug)]
pub struct Workload {
    seed: u64,
    version: Version,
    dice: Dice,
    world: World,
    weights: BTreeMap<Kind, u32>,
    tally: BTreeMap<Kind, Tally>,
    steps: u64,
    tolerant: bool,
}

impl Workload {
    /// A writer whose databases are named after the seed.
    pub fn new(seed: u64, version: Version) -> Workload {
        let weights = Kind::ALL.iter().filter(|kind| kind.since() <= version);
        Workload {
            seed,
            version,
            dice: Dice::new(seed),
            world: World::new(&format!("w{seed}")),
            weights: weights.map(|kind| (*kind, kind.weight())).collect(),
            tally: BTreeMap::new(),
            steps: 0,
            tolerant: false,
        }
    }

    /// Lives with elections, cuts and killed servers: what fails so is counted
    /// as refused, and the world is listed anew.
    #[must_use]
    pub fn tolerant(mut self) -> Workload {
        self.tolerant = true;
        self
    }

    /// Only these kinds, with their usual weights.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(Kind) -> bool) -> Workload {
        self.weights.retain(|kind, _| keep(*kind));
        self
    }

    /// Runs so many operations, one after the other.
    pub async fn run(&mut self, client: &Client, steps: usize) {
        for _ in 0..steps {
            self.step(client).await;
        }
    }

    /// Runs one operation.
    pub async fn step(&mut self, client: &Client) -> Kind {
        let kind =
            if self.world.is_empty() { Kind::Create } else { self.dice.weighted(&self.weights) };
        self.steps += 1;
        self.perform(client, kind).await;
        kind
    }

    /// Runs one operation of this kind.
    pub async fn perform(&mut self, client: &Client, kind: Kind) {
        let place =
            format!("seed {} on {}, step {}, {kind:?}", self.seed, self.version, self.steps);
        let version = self.version;
        let mut runner =
            Runner::new(client, version, &mut self.dice, &mut self.world, self.tolerant);
        let limit = version.patience(PATIENCE * 3);
        let done = tokio::time::timeout(limit, runner.perform(kind)).await;
        assert!(done.is_ok(), "{place}: no answer after {limit:?}");
        let lost = runner.outcome().lost.take();
        let outcome = *runner.outcome().tally();
        if let Some(error) = lost {
            assert!(self.tolerant, "{place}: {error}");
            self.world.refresh(client).await;
        }
        self.tally.entry(kind).or_default().add(outcome);
    }

    /// What was done and what the server refused, by kind.
    pub fn tally(&self) -> &BTreeMap<Kind, Tally> {
        &self.tally
    }

    /// The state of the cluster as of a moment that contains everything done so
    /// far. No other writer may be at work: see [`crate::Traffic`] for several.
    pub async fn mark(&self, client: &Client) -> ClusterState {
        let at = oracle::now(client).await;
        state_at(client, self.version, Some(at)).await
    }

    /// The databases that this writer uses.
    pub fn databases(&self) -> &[String] {
        self.world.databases()
    }
}
