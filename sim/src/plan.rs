//! What one seed simulates.

use std::time::Duration;

use bygone_agent::{AgentOptions, ScanOrder};
use bygone_base::ByteSize;
use bygone_daemon::{JobOptions, Terms};
use bygone_head::HeadOptions;
use bygone_ingest::compact::CompactOptions;
use bygone_schedule::{Retention, Schedule};
use bygone_snapshot::Policy;

use crate::{dice::Dice, replica::traffic::Traffic};

/// Which processes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `bygone up`: agent, ingest and job in one process.
    Together,
    /// Agent and server are two processes.
    Apart,
    /// Two `bygone up` on one bucket; each takes over when it starts.
    Rivals,
}

/// Which disturbances come, per mille of the steps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Faults of the store come and go.
    pub store: u64,
    /// The network loses messages, or is cut for a while.
    pub net: u64,
    /// Processes are killed.
    pub crash: u64,
    /// Members fail, lag, are elected.
    pub set: u64,
    /// An older state of the set is put back.
    pub put_back: u64,
    /// The oplog rolls over while the agent is away.
    pub roll_over: u64,
    /// The wall clock of the servers is set.
    pub clock: u64,
}

/// Everything that a seed decides beforehand.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Processes.
    pub shape: Shape,
    /// Whether the repository has a key.
    pub encrypted: bool,
    /// Members of the set.
    pub members: usize,
    /// Version of the server.
    pub version: &'static str,
    /// Collections at the start, and writes into each.
    pub fill: (usize, u64),
    /// Writes.
    pub traffic: Traffic,
    /// Disturbances.
    pub weather: Weather,
    /// Agents.
    pub agent: AgentOptions,
    /// Jobs.
    pub job: JobOptions,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let dice = Dice::new(seed, 1);
        let shape = match dice.below(10) {
            0..=4 => Shape::Together,
            5..=7 => Shape::Apart,
            _ => Shape::Rivals,
        };
        let traffic = Traffic {
            ids: dice.between(60, 500),
            pad: [200, 600, 3000][dice.weighted(&[4, 4, 1])],
            collections: dice.between(2, 7) as usize,
            ddl: dice.between(0, 60),
            transactions: (dice.between(0, 200), dice.between(0, 600)),
        };
        Plan {
            shape,
            encrypted: dice.hits(400),
            members: if dice.hits(300) { 1 } else { 3 },
            version: ["8.2.0", "5.0.0", "4.4.0"][dice.weighted(&[6, 2, 2])],
            fill: (dice.between(1, 4) as usize, dice.between(0, 300)),
            traffic,
            weather: weather(&dice),
            agent: agent(&dice, shape),
            job: job(&dice, shape),
        }
    }
}

fn weather(dice: &Dice) -> Weather {
    let maybe = |n: u64| if dice.hits(600) { dice.below(n) } else { 0 };
    Weather {
        store: maybe(60),
        net: maybe(60),
        crash: maybe(40),
        set: maybe(80),
        put_back: maybe(8),
        roll_over: maybe(8),
        clock: maybe(20),
    }
}

/// Small slices and ranges, so that little data makes many of them.
pub fn agent(dice: &Dice, shape: Shape) -> AgentOptions {
    let name = crate::world::part_key().job;
    let mut options = AgentOptions::new(name);
    options.range = ByteSize(dice.between(20_000, 120_000));
    options.sync_slice = ByteSize(dice.between(5_000, 40_000));
    options.oplog_slice = ByteSize(dice.between(2_000, 60_000));
    options.pause = Duration::from_millis(250);
    options.flush = Duration::from_millis(500);
    options.workers = dice.between(1, 3) as usize;
    options.scan_order = if dice.hits(200) { ScanOrder::Natural } else { ScanOrder::ById };
    options.take_over = shape == Shape::Rivals;
    options
}

/// Short intervals, a tiny head.
pub fn job(dice: &Dice, shape: Shape) -> JobOptions {
    let interval = Duration::from_secs(dice.between(20, 600));
    // The delay must exceed the interval where somebody else might groom (decision 2).
    let delay = match shape {
        Shape::Rivals => interval * 2 + Duration::from_secs(600),
        _ if dice.hits(500) => Duration::ZERO,
        _ => Duration::from_secs(dice.between(60, 1200)),
    };
    let retention = Retention { base: interval * 3, days: 1, weeks: 0, months: 0, years: 0 };
    JobOptions {
        terms: Terms {
            schedule: Schedule { interval, retention, ..Schedule::default() },
            tiers: interval.as_secs().is_multiple_of(5),
            policy: Policy {
                keep_last: dice.hits(600).then(|| dice.between(1, 4) as u32),
                keep_within_secs: dice.hits(300).then(|| dice.below(1200)),
                window_secs: dice.below(1800),
            },
            announced: None,
        },
        groom_delay: delay,
        head: HeadOptions {
            memory: if dice.hits(500) { 16 << 10 } else { 64 << 20 },
            cache: 256 << 10,
            level: dice.between(1, 3) as i32,
            budget: None,
        },
        compact: CompactOptions { min_count: 4, ..CompactOptions::default() },
        compacting: None,
    }
}
