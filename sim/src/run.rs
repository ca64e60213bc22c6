//! One seed from beginning to end.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use bygone_agent::source::MemberState;
use bygone_base::Clock;
use bygone_blockstore::store::FaultPlan;

use crate::{
    check,
    dice::Dice,
    plan::{Plan, Shape},
    process::Process,
    world::World,
};

/// Steps of a simulation when nothing else is asked for.
pub const STEPS: u64 = 250;

/// What came of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Its steps.
    pub steps: u64,
    /// Broken promises; none when all is well.
    pub findings: Vec<String>,
    /// Hash of the trace.
    pub hash: blake3::Hash,
    /// Events in the trace.
    pub events: u64,
    /// What was reached, for people.
    pub summary: String,
    /// The trace, or its end.
    pub lines: Vec<String>,
}

impl Outcome {
    /// What to tell somebody who should look into it.
    pub fn complaint(&self) -> String {
        format!(
            "seed {}: {}\nreplay: cargo run -p bygone-sim -- --seed {} --steps {}",
            self.seed,
            self.findings.join("\n  "),
            self.seed,
            self.steps
        )
    }
}

/// Simulates a seed. `all`: keep the whole trace.
pub fn run(seed: u64, steps: u64, all: bool) -> Outcome {
    run_plan(seed, Plan::of(seed), steps, all)
}

/// Simulates a seed with a plan of its own.
pub fn run_plan(seed: u64, plan: Plan, steps: u64, all: bool) -> Outcome {
    in_virtual_time(async move {
        let mut world = World::new(seed, plan, all);
        let summary = live(&mut world, steps).await;
        world.processes.iter_mut().for_each(Process::kill);
        Outcome {
            seed,
            steps,
            findings: world.found(),
            hash: world.trace.hash(),
            events: world.trace.len(),
            summary,
            lines: world.trace.lines(),
        }
    })
}

/// Runs a future on one thread whose time passes only while everybody waits.
pub fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    match builder.enable_time().start_paused(true).build() {
        Ok(runtime) => runtime.block_on(tokio::task::unconstrained(work)),
        Err(e) => unreachable!("a runtime of one thread: {e}"),
    }
}

async fn live(world: &mut World, steps: u64) -> String {
    let mut readers = check::readers::Readers::default();
    for step in 0..steps {
        disturb(world).await;
        let writes = if world.dice.hits(850) { world.dice.below(8) } else { world.dice.below(60) };
        let traffic = world.plan.traffic.clone();
        for _ in 0..writes {
            traffic.step(&world.set, &world.dice);
        }
        let millis = match world.dice.below(100) {
            0..=59 => world.dice.below(300),
            60..=95 => world.dice.below(8_000),
            _ => world.dice.below(400_000),
        };
        world.pass(Duration::from_millis(millis)).await;
        readers.tend(world).await;
        if step % 25 == 24 {
            check::now(world).await;
        }
        if !world.found().is_empty() {
            return format!("stopped at step {step}");
        }
    }
    world.heal();
    let done = settle(world).await;
    readers.finish(world).await;
    check::now(world).await;
    check::end(world).await;
    done
}

/// Waits until everything written is backed up and a snapshot of it taken.
pub async fn settle(world: &mut World) -> String {
    world.set.write(|log, secs| {
        for index in log.undecided() {
            log.commit(secs, index, bygone_base::Ts::MAX);
        }
    });
    world.set.replicate_all();
    let goal = world.set.last().ts;
    // A stopped job tries again after five minutes, a snapshot comes after its interval.
    let limit = world.clock.monotonic()
        + world.plan.job.terms.schedule.interval * 2
        + Duration::from_secs(3600);
    while world.clock.monotonic() < limit && world.found().is_empty() {
        world.pass(Duration::from_secs(20)).await;
        let Some(part) = world.part().await else { continue };
        let newest = check::newest_of_current(&part).await;
        if let Some(manifest) = newest.filter(|m| m.at.ts >= goal) {
            let snapshots = part.snapshot_ids().await.map_or(0, |ids| ids.len());
            return format!(
                "{} entries, {} collections, {snapshots} snapshots, timeline {}, {:.0} s",
                world.set.moments().len(),
                manifest.stats.collections,
                manifest.timeline,
                world.clock.monotonic().as_secs_f64()
            );
        }
    }
    if world.found().is_empty() {
        world.find(format!("no snapshot at or after {goal} long after everything works again"));
    }
    "never settled".into()
}

async fn disturb(world: &mut World) {
    let weather = world.plan.weather;
    let dice = world.dice.clone();
    if dice.hits(weather.store) {
        store(world, &dice);
    }
    if dice.hits(weather.net) {
        net(world, &dice);
    }
    if dice.hits(weather.crash) {
        crash(world, &dice);
    }
    if dice.hits(weather.set) {
        members(world, &dice);
    }
    if dice.hits(weather.clock) {
        let millis = dice.below(14_400_000) as i64 - 7_200_000;
        world.trace.say("world", format_args!("the servers' clock steps by {millis} ms"));
        world.server_clock.step(millis);
    }
    if dice.hits(weather.put_back) {
        put_back(world, &dice).await;
    }
    if dice.hits(weather.roll_over) {
        roll_over(world, &dice).await;
    }
}

fn store(world: &World, dice: &Dice) {
    let plan = match dice.below(5) {
        0 | 1 => FaultPlan::default(),
        2 => FaultPlan {
            before: 30,
            lost_reply: 30,
            slow: 200,
            latency: Duration::from_secs(3),
            ..FaultPlan::default()
        },
        3 => FaultPlan {
            before: 300,
            lost_reply: 100,
            slow: 500,
            latency: Duration::from_secs(40),
            ..FaultPlan::default()
        },
        _ => FaultPlan { full_after: Some(dice.below(2_000_000)), ..FaultPlan::default() },
    };
    world.trace.say("world", format_args!("store: {plan:?}"));
    world.faulty.iter().for_each(|faulty| faulty.set_plan(plan));
}

fn net(world: &World, dice: &Dice) {
    for net in &world.nets {
        let (cut, one_of) = match dice.below(4) {
            0 => (true, 0),
            1 => (false, dice.between(3, 40)),
            _ => (false, 0),
        };
        world.trace.say("world", format_args!("net: cut {cut}, one of {one_of} lost"));
        net.cut.store(cut, Relaxed);
        net.lose_one_of.store(one_of, Relaxed);
    }
}

fn crash(world: &mut World, dice: &Dice) {
    let now = world.clock.monotonic();
    let at = dice.below(world.processes.len() as u64) as usize;
    let wait = if dice.hits(800) { dice.below(20_000) } else { dice.below(900_000) };
    let Some(process) = world.processes.get_mut(at) else { return };
    if dice.hits(200) {
        return process.stop();
    }
    process.kill();
    process.restart_at = now + Duration::from_millis(wait);
}

fn members(world: &World, dice: &Dice) {
    let set = &world.set;
    let n = set.lock().members.len() as u64;
    let member = dice.below(n) as usize;
    let what = match dice.below(6) {
        0 | 1 => format!("elect {member}: {}", set.elect(member)),
        2 => {
            let up = set.lock().members[member].state == MemberState::Unreadable;
            set.set_up(member, up);
            format!("member {member} up {up}")
        }
        3 => {
            let mut state = set.lock();
            let lags = !state.members[member].lags;
            state.members[member].lags = lags;
            format!("member {member} lags {lags}")
        }
        4 => {
            let one_of = if dice.hits(500) { 0 } else { dice.between(5, 60) };
            set.lock().cut_one_of = one_of;
            format!("one of {one_of} cursor reads fails")
        }
        _ => {
            set.start_all();
            "all members up".into()
        }
    };
    world.trace.say("set", what);
}

async fn put_back(world: &mut World, dice: &Dice) {
    let (keep, len) = {
        let state = world.set.lock();
        let len = state.log.entries.len() as u64;
        (dice.between(len * 2 / 3, len) as usize, len)
    };
    world.trace.say("set", format_args!("put back to entry {keep} of {len}"));
    world.set.stop_all();
    world.pass(Duration::from_millis(dice.below(30_000))).await;
    world.set.put_back(keep);
}

async fn roll_over(world: &mut World, dice: &Dice) {
    world.trace.say("set", "writes go on while nobody comes through, then the oplog rolls over");
    let rivals = world.plan.shape == Shape::Rivals;
    world.nets.iter().for_each(|net| net.cut.store(true, Relaxed));
    let traffic = world.plan.traffic.clone();
    for _ in 0..dice.between(5, 40) {
        traffic.step(&world.set, dice);
        world.pass(Duration::from_millis(dice.below(3000))).await;
    }
    world.set.replicate_all();
    world.set.roll_over(dice.between(1, if rivals { 5 } else { 30 }) as usize);
    world.nets.iter().for_each(|net| net.cut.store(false, Relaxed));
}
