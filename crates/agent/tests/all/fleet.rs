//! The fleet's talk with its server: what it does with wishes for a new initial sync, and what it says of them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bygone_agent::{
    Source,
    fleet::{Conf, ConfCall, Fleet, Hidden, Own, Sources, Work},
    source::MemberState,
};
use bygone_base::{Clock, Result, SeededRng};
use bygone_oplog::uplink::TimelineReason;
use tokio_util::sync::CancellationToken;

use crate::{
    uplink::Checker,
    world::{FakeSource, World},
};

/// Hands out one job and keeps what it was told.
#[derive(Debug)]
struct Server {
    work: Mutex<Work>,
    /// Resyncs begun, and failures in a row, call by call.
    told: Mutex<Vec<(u64, u32)>>,
}

#[async_trait]
impl Conf for Server {
    async fn conf(&self, call: &ConfCall) -> Result<Vec<Work>> {
        let mut work = self.work.lock().unwrap();
        if let Some(found) = call.found.first() {
            self.told.lock().unwrap().push((found.resync, found.failures));
            work.resync_done = work.resync_done.max(found.resync);
        }
        Ok(vec![work.clone()])
    }
}

#[derive(Debug)]
struct InMemory(Arc<World>);

#[async_trait]
impl Sources for InMemory {
    async fn open(&self, _: &str) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FakeSource(Arc::clone(&self.0))))
    }
}

fn work() -> Work {
    Work {
        job: "6553f1000000000000000001".to_owned(),
        name: "job".to_owned(),
        set: Some("rs0".to_owned()),
        uri: Hidden(String::new()),
        include: Vec::new(),
        exclude: Vec::new(),
        member: None,
        member_tag: None,
        throttle: None,
        workers: 2,
        resync: 0,
        resync_done: 0,
        reason: None,
    }
}

/// Runs a fleet on this work until `seen`.
async fn run(
    world: &Arc<World>,
    checker: &Arc<Checker>,
    work: Work,
    beside: impl AsyncFnOnce(&Server),
) -> Arc<Server> {
    let server = Arc::new(Server { work: Mutex::new(work), told: Mutex::default() });
    let fleet = Fleet {
        conf: server.clone(),
        uplink: Arc::clone(checker) as _,
        sources: Arc::new(InMemory(Arc::clone(world))),
        clock: world.clock.clone(),
        rng: Arc::new(SeededRng::new(5)),
        host: "here".to_owned(),
        own: Own::default(),
    };
    let stop = CancellationToken::new();
    let beside = async {
        beside(&server).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(fleet.run(&stop), beside);
    ended.unwrap();
    server
}

async fn until(world: &World, what: &str, seen: impl Fn() -> bool) {
    for _ in 0..4000 {
        if seen() {
            return;
        }
        world.noop();
        world.clock.sleep(Duration::from_millis(100)).await;
    }
    panic!("waited in vain for {what}");
}

fn reasons(checker: &Checker) -> Vec<TimelineReason> {
    checker.stored.lock().unwrap().reasons.clone()
}

#[tokio::test(start_paused = true)]
async fn a_resync_that_is_needed_when_the_agent_starts_is_begun_once() {
    let world = World::new(1, 1);
    world.create(1, false, 200);
    let checker = Checker::new(&world, 0);
    let ended = || checker.stored.lock().unwrap().ended.is_some();
    run(&world, &checker, work(), async |_| until(&world, "the first sync", ended).await).await;
    let needed = Work { reason: Some("a document is missing".to_owned()), ..work() };
    let second = || reasons(&checker).len() == 2 && ended();
    run(&world, &checker, needed, async |_| {
        until(&world, "the resync", second).await;
        // It is said until it is over; that begins no other.
        let chain = checker.stored.lock().unwrap().entries.len() + 100;
        let more = || checker.stored.lock().unwrap().entries.len() > chain;
        until(&world, "more of the oplog", more).await;
    })
    .await;
    assert_eq!(reasons(&checker), [TimelineReason::InitialSync, TimelineReason::Resync]);
}

#[tokio::test(start_paused = true)]
async fn a_resync_that_was_asked_for_counts_as_begun_when_its_sync_is() {
    let world = World::new(1, 2);
    world.create(1, false, 200);
    let checker = Checker::new(&world, 0);
    let ended = || checker.stored.lock().unwrap().ended.is_some();
    let server = run(&world, &checker, work(), async |server| {
        until(&world, "the first sync", ended).await;
        // The source is away when somebody asks.
        world.set_all(MemberState::Unreadable);
        world.clock.sleep(Duration::from_secs(20)).await;
        server.work.lock().unwrap().resync = 1;
        let calls = server.told.lock().unwrap().len() + 5;
        let more = || server.told.lock().unwrap().len() > calls;
        until(&world, "more calls", more).await;
        assert!(server.told.lock().unwrap().iter().all(|(begun, _)| *begun == 0));
        world.set_all(MemberState::Primary);
        until(&world, "the resync", || reasons(&checker).len() == 2 && ended()).await;
        let told = || server.told.lock().unwrap().iter().any(|(begun, _)| *begun == 1);
        until(&world, "the server to be told", told).await;
    })
    .await;
    assert_eq!(server.work.lock().unwrap().resync_done, 1);
    assert_eq!(reasons(&checker).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_away_is_told_of_as_failures_in_a_row() {
    let world = World::new(1, 3);
    world.create(1, false, 200);
    let checker = Checker::new(&world, 0);
    let ended = || checker.stored.lock().unwrap().ended.is_some();
    run(&world, &checker, work(), async |server| {
        until(&world, "the first sync", ended).await;
        world.set_all(MemberState::Unreadable);
        let failures = || server.told.lock().unwrap().last().is_some_and(|(_, n)| *n >= 3);
        until(&world, "three failures", failures).await;
    })
    .await;
}
