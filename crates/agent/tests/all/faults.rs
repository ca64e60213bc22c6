//! What the agent does when things go wrong.

use std::{sync::Arc, time::Duration};

use bygone_agent::{Agent, AgentOptions, Phase, Resync, source::MemberState};
use bygone_base::{ByteSize, Clock, ErrorKind, SeededRng};
use bygone_oplog::uplink::TimelineReason;
use tokio_util::sync::CancellationToken;

use crate::{
    uplink::Checker,
    world::{FakeSource, World},
};

fn options() -> AgentOptions {
    let mut options = AgentOptions::new("job".parse().unwrap());
    options.range = ByteSize(200_000);
    options.sync_slice = ByteSize(30_000);
    options
}

fn agent(world: &Arc<World>, checker: &Arc<Checker>, options: AgentOptions) -> Agent {
    let source = Arc::new(FakeSource(Arc::clone(world)));
    let rng = Arc::new(SeededRng::new(5));
    Agent::new(source, Arc::clone(checker) as _, world.clock.clone(), rng, options).0
}

/// Runs an agent while `script` goes on beside it, then waits until it has caught up.
async fn run_beside(
    world: &Arc<World>,
    checker: &Arc<Checker>,
    options: AgentOptions,
    script: impl AsyncFnOnce(),
) {
    let stop = CancellationToken::new();
    let agent = agent(world, checker, options);
    let beside = async {
        script().await;
        let mut caught_up = false;
        for _ in 0..4000 {
            world.clock.sleep(Duration::from_millis(100)).await;
            let stored = checker.stored.lock().unwrap();
            caught_up = stored.ended.is_some() && stored.chain == world.last();
            if caught_up {
                break;
            }
        }
        stop.cancel();
        assert!(caught_up, "the agent never caught up");
    };
    let (ended, ()) = tokio::join!(agent.run(&stop), beside);
    ended.unwrap();
}

async fn pause(world: &World, millis: u64) {
    world.clock.sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_sync_under_writes_is_whole() {
    let world = World::new(1, 1);
    let colls =
        [world.create(1, false, 2500), world.create(2, true, 900), world.create(3, false, 0)];
    let checker = Checker::new(&world, 0);
    run_beside(&world, &checker, options(), async || {
        for _ in 0..600 {
            world.write(&colls);
            pause(&world, 3).await;
        }
    })
    .await;
    checker.check_end();
    let stored = checker.stored.lock().unwrap();
    assert_eq!((stored.opened, stored.timeline), (1, 1));
    let plan = stored.plan.as_ref().unwrap();
    assert!(plan.collections[0].ranges.len() > 3, "several ranges");
    assert!(stored.ranges.values().any(|r| r.next_seq > 3), "several slices");
}

#[tokio::test(start_paused = true)]
async fn cuts_elections_and_lost_replies_lose_nothing() {
    for seed in 0..12 {
        let world = World::new(3, 100 + seed);
        let colls =
            [world.create(1, false, 2500), world.create(2, true, 300), world.create(3, false, 40)];
        world.state.lock().unwrap().cut_one_of = 25;
        let checker = Checker::new(&world, 40);
        run_beside(&world, &checker, options(), async || {
            for i in 0..500 {
                world.write(&colls);
                pause(&world, 5).await;
                if i % 60 == 59 {
                    world.elect(i / 60 % 3);
                    let mut state = world.state.lock().unwrap();
                    state.members[i % 3].state = MemberState::Unreadable;
                    let back = &mut state.members[(i + 1) % 3];
                    if back.state == MemberState::Unreadable {
                        back.state = MemberState::Secondary;
                    }
                }
            }
        })
        .await;
        checker.check_end();
        assert_eq!(checker.stored.lock().unwrap().timeline, 1, "seed {seed}: started over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_capped_scan_that_loses_its_place_starts_again_and_the_last_reading_wins() {
    let world = World::new(1, 3);
    let capped = world.create(2, true, 900);
    world.state.lock().unwrap().position_lost = 3;
    let checker = Checker::new(&world, 0);
    run_beside(&world, &checker, options(), async || {
        // The oldest go while the scan is under way.
        for id in 0..200 {
            world.delete(capped, id);
            world.put(capped, 1000 + id, id);
            pause(&world, 2).await;
        }
    })
    .await;
    checker.check_end();
    let stored = checker.stored.lock().unwrap();
    let mut order: Vec<(u32, i64)> =
        stored.scanned[&capped].iter().map(|(id, (n, _))| (*n, *id)).collect();
    order.sort_unstable();
    let ids: Vec<i64> = order.into_iter().map(|(_, id)| id).collect();
    assert!(ids.is_sorted(), "natural order is kept over the attempts");
}

#[tokio::test(start_paused = true)]
async fn a_collection_dropped_during_the_scan_is_reported_as_gone() {
    let world = World::new(1, 4);
    let colls = [world.create(1, false, 2500), world.create(2, false, 2500)];
    let checker = Checker::new(&world, 0);
    run_beside(&world, &checker, options(), async || {
        pause(&world, 60).await;
        world.drop_coll(colls[1]);
    })
    .await;
    checker.check_end();
    let stored = checker.stored.lock().unwrap();
    assert!(stored.gone.contains(&colls[1]));
    let listed = &stored.ended.as_ref().unwrap().listed;
    assert_eq!(listed.len(), 1, "the listing is that of the end");
}

#[tokio::test(start_paused = true)]
async fn a_history_that_went_back_forks_at_the_common_point() {
    let world = World::new(2, 5);
    let colls = [world.create(1, false, 500)];
    let checker = Checker::new(&world, 0);
    let mut common = None;
    run_beside(&world, &checker, options(), async || {
        for _ in 0..10 {
            pause(&world, 500).await;
            world.write(&colls);
        }
        let before = world.last();
        let docs = world.state.lock().unwrap().colls[&colls[0]].docs.clone();
        for id in 0..20 {
            world.put(colls[0], id, 77);
            pause(&world, 300).await;
        }
        common = Some(before);
        // An older data directory is put back.
        world.set_all(MemberState::Unreadable);
        {
            let mut state = world.state.lock().unwrap();
            state.oplog.retain(|(at, _)| at.ts <= before.ts);
            state.colls.get_mut(&colls[0]).unwrap().docs = docs;
            state.term += 1;
        }
        world.set_all(MemberState::Secondary);
        world.elect(0);
        world.put(colls[0], 9999, 1);
        pause(&world, 2000).await;
    })
    .await;
    checker.check_end();
    let stored = checker.stored.lock().unwrap();
    assert_eq!(stored.forks.len(), 1);
    assert!(stored.forks[0].ts <= common.unwrap().ts);
    assert_eq!(stored.timeline, 2);
}

/// The oplog is cut off behind the agent's chain while it sees nobody.
async fn roll_over(world: &World, coll: bygone_base::CollectionId) {
    pause(world, 5000).await;
    world.set_all(MemberState::Unreadable);
    for id in 0..50 {
        world.put(coll, id, 5);
    }
    {
        let mut state = world.state.lock().unwrap();
        let keep = state.oplog.len() - 10;
        state.oplog.drain(..keep);
    }
    world.set_all(MemberState::Secondary);
    world.elect(0);
}

#[tokio::test(start_paused = true)]
async fn a_roll_over_is_never_bridged_but_synced_anew() {
    let world = World::new(1, 6);
    let coll = world.create(1, false, 500);
    let checker = Checker::new(&world, 0);
    run_beside(&world, &checker, options(), async || roll_over(&world, coll).await).await;
    checker.check_end();
    let stored = checker.stored.lock().unwrap();
    assert_eq!(stored.reasons, [TimelineReason::InitialSync, TimelineReason::RollOver]);
}

#[tokio::test(start_paused = true)]
async fn a_roll_over_stops_an_agent_that_is_told_so() {
    let world = World::new(1, 7);
    let coll = world.create(1, false, 500);
    let checker = Checker::new(&world, 0);
    let mut options = options();
    options.resync = Resync::Stop;
    let agent = agent(&world, &checker, options);
    let stop = CancellationToken::new();
    let (ended, ()) = tokio::join!(agent.run(&stop), roll_over(&world, coll));
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ResyncRequired);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_falls_behind_is_left_and_proves_nothing() {
    let world = World::new(2, 8);
    let colls = [world.create(1, false, 300)];
    let checker = Checker::new(&world, 0);
    run_beside(&world, &checker, options(), async || {
        pause(&world, 3000).await;
        // The secondary, which is read, stops to replicate.
        for _ in 0..200 {
            world.write(&colls);
            world.state.lock().unwrap().members[1].behind += 1;
            pause(&world, 200).await;
        }
    })
    .await;
    checker.check_end();
    let stored = checker.stored.lock().unwrap();
    assert!(stored.forks.is_empty() && stored.timeline == 1);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_id_that_changed_discards_what_was_read_and_goes_on() {
    let world = World::new(1, 9);
    let _ = world.create(1, false, 2500);
    let checker = Checker::new(&world, 0);
    run_beside(&world, &checker, options(), async || {
        pause(&world, 50).await;
        world.state.lock().unwrap().members[0].rbid = 2;
    })
    .await;
    checker.check_end();
    assert!(checker.stored.lock().unwrap().opened >= 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_set_advances_by_noops() {
    let world = World::new(1, 10);
    let _ = world.create(1, false, 10);
    let checker = Checker::new(&world, 0);
    run_beside(&world, &checker, options(), async || pause(&world, 125_000).await).await;
    let notes = world.state.lock().unwrap().notes;
    assert!((3..=7).contains(&notes), "{notes} notes");
    let stored = checker.stored.lock().unwrap();
    assert!(stored.slices <= notes + 2, "{} slices", stored.slices);
    assert!(stored.reports > 3);
}

#[tokio::test(start_paused = true)]
async fn a_run_until_now_ends_and_the_next_one_continues() {
    let world = World::new(3, 11);
    let colls = [world.create(1, false, 800)];
    let checker = Checker::new(&world, 0);
    let stop = CancellationToken::new();
    for round in 0..4 {
        let at = agent(&world, &checker, options()).run_until_now(&stop).await.unwrap();
        assert!(at >= world.last(), "round {round}");
        checker.check_end();
        for _ in 0..30 * round {
            world.write(&colls);
        }
    }
    assert_eq!(checker.stored.lock().unwrap().timeline, 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_is_given_up_with_its_error() {
    let world = World::new(1, 12);
    world.set_all(MemberState::Unreadable);
    let checker = Checker::new(&world, 0);
    let agent = agent(&world, &checker, options());
    let error = agent.run(&CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.message(), "nobody answers");
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_the_sync_is_clean_and_the_next_start_resumes() {
    let world = World::new(1, 13);
    let colls = [world.create(1, false, 2500), world.create(2, false, 2500)];
    let checker = Checker::new(&world, 0);
    let mut scanned = Vec::new();
    for round in 0..50 {
        let stop = CancellationToken::new();
        let source = Arc::new(FakeSource(Arc::clone(&world)));
        let rng = Arc::new(SeededRng::new(round));
        let (agent, progress) =
            Agent::new(source, Arc::clone(&checker) as _, world.clock.clone(), rng, options());
        let (ended, ()) = tokio::join!(agent.run(&stop), async {
            for _ in 0..6 {
                pause(&world, 10).await;
                world.write(&colls);
            }
            stop.cancel();
        });
        ended.unwrap();
        assert_eq!(progress.borrow().phase, Phase::Stopped);
        let stored = checker.stored.lock().unwrap();
        scanned.push(stored.scanned.values().map(|docs| docs.len()).sum::<usize>());
        if stored.ended.is_some() {
            break;
        }
    }
    assert!(scanned.len() > 3 && scanned.is_sorted(), "{scanned:?}");
    let stop = CancellationToken::new();
    agent(&world, &checker, options()).run_until_now(&stop).await.unwrap();
    checker.check_end();
    assert_eq!(checker.stored.lock().unwrap().timeline, 1);
}

#[tokio::test(start_paused = true)]
async fn what_keeps_it_from_its_source_is_told_while_it_lasts() {
    let world = World::new(1, 14);
    let _ = world.create(1, false, 50);
    let checker = Checker::new(&world, 0);
    let agent = agent(&world, &checker, options());
    let stop = CancellationToken::new();
    let script = async {
        pause(&world, 5000).await;
        assert_eq!(agent.stuck(), None);
        world.set_all(MemberState::Unreadable);
        // An election is no problem.
        pause(&world, 3000).await;
        assert_eq!(agent.stuck(), None);
        pause(&world, 60_000).await;
        let why = agent.stuck().expect("the source is away");
        assert!(why.contains("nobody answers"), "{why}");
        world.set_all(MemberState::Secondary);
        world.elect(0);
        pause(&world, 60_000).await;
        assert_eq!(agent.stuck(), None);
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(agent.run(&stop), script);
    ended.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_is_of_one_initial_sync() {
    let world = World::new(1, 15);
    let _ = world.create(1, false, 500);
    let checker = Checker::new(&world, 0);
    let source = Arc::new(FakeSource(Arc::clone(&world)));
    let rng = Arc::new(SeededRng::new(5));
    let (agent, progress) =
        Agent::new(source, Arc::clone(&checker) as _, world.clock.clone(), rng, options());
    let stop = CancellationToken::new();
    let synced = async || {
        pause(&world, 30_000).await;
        let now = progress.borrow().clone();
        assert_eq!(now.phase, Phase::Tailing);
        (now.documents, now.bytes, now.collections_done)
    };
    let script = async {
        let first = synced().await;
        agent.request_resync("somebody asked").unwrap();
        assert_eq!(synced().await, first);
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(agent.run(&stop), script);
    ended.unwrap();
    assert_eq!(checker.stored.lock().unwrap().timeline, 2);
}
