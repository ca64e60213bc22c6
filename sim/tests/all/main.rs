//! Seeds, the traces they give, and the sequences that a first design got wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails should stop")]

mod seeds;
mod sequences;
mod shared;
mod soak;

use std::time::Duration;

use bygone_agent::AgentOptions;
use bygone_daemon::{JobOptions, Terms};
use bygone_schedule::Schedule;
use bygone_sim::{
    check,
    dice::Dice,
    plan::{self, Plan, Shape, Weather},
    replica::traffic::Traffic,
    run::{in_virtual_time, settle},
    world::World,
};
use bygone_snapshot::Policy;

/// A world in which nothing happens by itself.
fn calm(shape: Shape) -> Plan {
    let dice = Dice::new(7, 7);
    let schedule = Schedule { interval: Duration::from_secs(60), ..Schedule::default() };
    let policy = Policy { keep_last: Some(20), keep_within_secs: None, window_secs: 3600 };
    let job = JobOptions {
        terms: Terms { schedule, policy, ..Terms::default() },
        groom_delay: Duration::from_secs(600),
        ..plan::job(&dice, shape)
    };
    let agent = AgentOptions { workers: 2, ..plan::agent(&dice, shape) };
    Plan {
        shape,
        encrypted: false,
        members: 3,
        version: "8.2.0",
        fill: (0, 0),
        traffic: Traffic { ddl: 0, transactions: (0, 0), ..Traffic::default() },
        weather: Weather::default(),
        agent,
        job,
    }
}

/// Runs a script in a world of `plan`; then everything must come to rest, and every promise be kept.
fn simulate(plan: Plan, script: impl AsyncFnOnce(&mut World)) {
    let found = in_virtual_time(async {
        let mut world = World::new(1, plan, true);
        script(&mut world).await;
        world.heal();
        settle(&mut world).await;
        check::now(&world).await;
        check::end(&mut world).await;
        let trace = world.trace.lines().join("\n");
        world.processes.iter_mut().for_each(|process| process.kill());
        (!world.found().is_empty()).then(|| format!("{trace}\n{}", world.found().join("\n")))
    });
    if let Some(found) = found {
        panic!("{found}");
    }
}

async fn pass(world: &mut World, secs: u64) {
    world.pass(Duration::from_secs(secs)).await;
}
