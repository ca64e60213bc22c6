//! The sequences which a first design got wrong, one test each.

use std::{sync::Arc, time::Duration};

use bson::RawBson;
use bygone_agent::source::MemberState;
use bygone_base::{Clock, CollectionId, Ts, When};
use bygone_blockstore::{BlockReader, BlockWriter, WriterOptions};
use bygone_groom::{GroomOptions, groom};
use bygone_head::{View, ViewOptions, choose};
use bygone_sim::{
    check::{self, model, ranges},
    dice::Dice,
    plan::Shape,
    replica::{
        Log, Write,
        doc::{change, fresh},
        model::{id_of, key_of},
    },
    world::World,
};

use crate::{calm, pass, simulate};

const COLL: CollectionId = CollectionId([1; 16]);

/// A collection `d.a` with the `_id`s below `n`.
pub(super) fn fill(world: &World, n: i64, pad: u64, options: bson::RawDocumentBuf) {
    world.set.write(|log, secs| {
        log.create(secs, COLL, "d", "a", options);
        (0..n).for_each(|id| put(log, secs, id, pad));
    });
    world.set.replicate_all();
}

fn dice() -> Dice {
    Dice::new(5, 5)
}

fn new_doc(id: i64, pad: u64) -> Vec<u8> {
    fresh(&Dice::new(id as u64, 6), RawBson::Int64(id), pad)
}

/// Inserts, or updates what is there.
fn put(log: &mut Log, secs: u32, id: i64, pad: u64) {
    let write = write_of(log, id, pad);
    log.write(secs, &write);
}

fn write_of(log: &Log, id: i64, pad: u64) -> Write {
    let doc = new_doc(id, pad);
    let now = log.model.colls.get(&COLL).and_then(|coll| coll.doc(&key_of(&doc)));
    match now.and_then(|version| version.doc.clone()) {
        None => Write::Insert(COLL, doc),
        Some(before) => {
            let change = change(&dice(), &before, false, true);
            Write::Update(COLL, change.o, change.after)
        }
    }
}

fn delete(log: &mut Log, secs: u32, id: i64) {
    let doc = id_of(&new_doc(id, 1));
    log.write(secs, &Write::Delete(COLL, doc));
}

/// Waits for the first snapshot, and at least so long.
async fn first_snapshot(world: &mut World) {
    for _ in 0..600 {
        pass(world, 1).await;
        let Some(part) = world.part().await else { continue };
        if check::newest_of_current(&part).await.is_some() {
            return;
        }
    }
    panic!("no snapshot");
}

#[test]
fn a_prepare_before_and_its_commit_after_a_fold_and_a_snapshot() {
    simulate(calm(Shape::Together), async |world| {
        fill(world, 300, 400, bson::rawdoc! {});
        first_snapshot(world).await;
        // One that commits at its prepare's moment, one that commits later, one in several entries, one aborted.
        world.set.write(|log, secs| {
            for (ids, parts) in [(0..3, 1), (3..6, 1), (6..9, 3), (9..12, 1)] {
                let writes = ids.map(|id| write_of(log, id, 400)).collect();
                log.prepare(secs, writes, parts);
            }
        });
        for _ in 0..3 {
            // Dense enough to be folded, around what is locked.
            world.set.write(|log, secs| (12..300).for_each(|id| put(log, secs, id, 400)));
            pass(world, 70).await;
            check::now(world).await;
        }
        let part = world.part().await.unwrap();
        let newest = check::newest_of_current(&part).await.unwrap();
        world.set.write(|log, secs| {
            let first = log.prepared[0].at.ts;
            assert!(newest.at.ts < first, "no snapshot passes the oldest undecided prepare");
            assert!(newest.replay_from.ts <= newest.at.ts);
            log.commit(secs, 0, first);
            log.commit(secs, 2, Ts::MAX);
            log.abort(secs, 3);
        });
        pass(world, 130).await;
        check::now(world).await;
        world.set.write(|log, secs| log.commit(secs, 1, Ts::MAX));
        pass(world, 130).await;
    });
}

#[test]
fn a_fuzzy_copy_resumed_on_a_lagging_member() {
    let mut plan = calm(Shape::Together);
    plan.agent.workers = 1;
    simulate(plan, async |world| {
        fill(world, 1500, 300, bson::rawdoc! {});
        // Member 1 is read; member 2 stays where it is now.
        let halt = world.set.lock().members[2].applied;
        world.pass(Duration::from_millis(20)).await;
        for round in 0..6_i64 {
            world.set.write(|log, secs| {
                (0..60).for_each(|i| put(log, secs, (round * 97 + i * 25) % 1500, 300));
                (0..20).for_each(|i| {
                    let id = 1500 + round * 20 + i;
                    put(log, secs, id, 300);
                });
            });
            {
                let mut state = world.set.lock();
                let len = state.log.entries.len();
                state.members[1].applied = len;
                state.majority = len;
                state.members[2].applied = halt;
            }
            world.clock.sleep(Duration::from_millis(15)).await;
        }
        // It shows less than was copied from the other one.
        world.set.set_up(1, false);
        {
            let mut state = world.set.lock();
            state.members[2].lags = true;
            state.members[2].applied = halt;
        }
        pass(world, 5).await;
        world.set.lock().members[2].lags = false;
        pass(world, 60).await;
        assert!(world.set.lock().members[1].state == MemberState::Unreadable);
    });
}

#[test]
fn a_folded_block_beside_an_older_neighbour_whose_boundary_document_is_deleted() {
    simulate(calm(Shape::Together), async |world| {
        // About ten leaves.
        fill(world, 2000, 1300, bson::rawdoc! {});
        first_snapshot(world).await;
        for round in 0..6_i64 {
            let from = 250 * round;
            world.set.write(|log, secs| {
                (from..from + 260).for_each(|id| put(log, secs, id, 1300));
                (from..from + 260).for_each(|id| put(log, secs, id, 1300));
                // Any of them may have been the last of a leaf; the range becomes empty at its ends.
                (from + 100..from + 260)
                    .filter(|id| id % 3 != 0 || *id > from + 200)
                    .for_each(|id| delete(log, secs, id));
            });
            pass(world, 65).await;
            // The older neighbours change afterwards.
            world.set.write(|log, secs| {
                (from + 255..from + 330).for_each(|id| put(log, secs, id, 1300))
            });
            check::now(world).await;
        }
        let part = world.part().await.unwrap();
        let folded: u64 = part.manifests().await.unwrap().iter().map(|m| m.stats.folded).sum();
        assert!(folded > 5, "{folded} leaves folded");
    });
}

#[test]
fn a_capped_collection_overrun_during_the_scan() {
    for version in ["8.2.0", "4.4.0"] {
        let plan = bygone_sim::plan::Plan { version, ..calm(Shape::Together) };
        simulate(plan, async |world| {
            let options = bson::rawdoc! { "capped": true, "size": 200_000_i64, "max": 400_i64 };
            fill(world, 400, 200, options);
            for round in 0..40 {
                // More than a reply's documents go before the next reply.
                world.set.write(|log, secs| {
                    (0..60).for_each(|i| put(log, secs, 1000 + round * 60 + i, 200))
                });
                world.set.replicate_all();
                world.processes.iter_mut().for_each(|process| process.tend());
                world.clock.sleep(Duration::from_millis(7)).await;
            }
        });
    }
}

#[test]
fn a_head_lost_just_before_a_snapshot_with_a_window_shorter_than_the_interval() {
    let mut plan = calm(Shape::Together);
    plan.job.terms.schedule.interval = Duration::from_secs(300);
    plan.job.terms.policy.window_secs = 5;
    plan.job.terms.policy.keep_last = Some(1);
    plan.job.groom_delay = Duration::ZERO;
    simulate(plan, async |world| {
        fill(world, 200, 300, bson::rawdoc! {});
        first_snapshot(world).await;
        for round in 0..3 {
            for _ in 0..29 {
                world
                    .set
                    .write(|log, secs| (0..40).for_each(|id| put(log, secs, id * 5 + round, 300)));
                pass(world, 10).await;
            }
            world.processes[0].kill();
            pass(world, 1).await;
            check::now(world).await;
        }
    });
}

#[test]
fn the_same_block_under_two_compression_levels_with_encryption_on() {
    let mut plan = calm(Shape::Together);
    plan.encrypted = true;
    simulate(plan, async |world| {
        fill(world, 300, 400, bson::rawdoc! {});
        first_snapshot(world).await;
        let part = world.part().await.unwrap();
        assert!(part.repository().is_encrypted());
        let raw: Vec<u8> = (0..40_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut refs = Vec::new();
        for level in [1, 19] {
            let options = WriterOptions { level, ..WriterOptions::default() };
            let writer = BlockWriter::new(part.repository().clone(), options);
            refs.push(writer.put(&raw).await.unwrap());
            writer.flush().await.unwrap();
        }
        assert_eq!(refs[0].id, refs[1].id, "one content, one name");
        assert_ne!(refs[0].pack, refs[1].pack);
        let reader = |of: usize| {
            let reader = BlockReader::new(part.repository().clone(), 0);
            let block = refs[of];
            async move { reader.read(&block).await.unwrap() }
        };
        assert!(reader(0).await == raw && reader(1).await == raw);
    });
}

#[test]
fn two_servers_on_one_bucket() {
    simulate(calm(Shape::Rivals), async |world| {
        fill(world, 300, 300, bson::rawdoc! {});
        let traffic = world.plan.traffic.clone();
        for _ in 0..300 {
            (0..5).for_each(|_| traffic.step(&world.set, &world.dice));
            world.pass(Duration::from_millis(900)).await;
        }
        check::now(world).await;
        assert!(world.ledger.lock().epochs.len() > 5, "they take over from each other");
        assert!(world.ledger.lock().slices > 50);
    });
}

#[test]
fn a_restore_running_while_snapshots_expire_and_packs_are_groomed() {
    for lease in [true, false] {
        let mut plan = calm(Shape::Together);
        if !lease {
            plan.job.groom_delay = Duration::from_secs(7200);
        }
        simulate(plan, async |world| {
            fill(world, 1200, 900, bson::rawdoc! {});
            first_snapshot(world).await;
            world.processes[0].kill();
            world.processes[0].restart_at = world.clock.monotonic() + Duration::from_secs(7200);
            let part = world.part().await.unwrap();
            let clock: Arc<dyn Clock> = world.clock.clone();
            let held = match lease {
                true => bygone_groom::lease::hold(part.repository(), clock.clone(), "test")
                    .await
                    .unwrap(),
                false => None,
            };
            let choice = choose(&part, &part, &When::Latest).await.unwrap();
            let truth = ranges::truth(world, &part, &choice).await.unwrap().unwrap();
            let options = ViewOptions { cache: 0, ..ViewOptions::default() };
            let view = View::of(&part, &part, choice, options, clock).await.unwrap();
            // Newer snapshots, whose folds leave little of the old packs alive; then the old one expires.
            world.processes[0].restart_at = Duration::ZERO;
            for _ in 0..3 {
                world.set.write(|log, secs| (0..1000).for_each(|id| put(log, secs, id, 900)));
                pass(world, 65).await;
            }
            let newest = check::newest_of_current(&part).await.unwrap();
            for id in part.snapshot_ids().await.unwrap().iter().filter(|id| **id != newest.id) {
                part.expire(id).await.unwrap();
            }
            // Without a lease the delay protects: a groom within it takes nothing away.
            let delay_ms = if lease { 0 } else { 3_600_000 };
            for _ in 0..4 {
                groom(part.repository(), &[], GroomOptions { delay_ms, dry_run: None })
                    .await
                    .unwrap();
                pass(world, 600).await;
            }
            let broken = model::compare(&view, &truth).await.unwrap();
            assert!(broken.is_empty(), "lease {lease}: {broken:?}");
            if let Some(held) = held {
                held.release().await;
            }
        });
    }
}
