//! Several jobs in one store with their oplogs apart: one groom for all of them keeps what any of them reaches, and in the
//! end frees the rest, under kills at every step.

use std::{sync::Arc, time::Duration};

use bygone_base::{Clock, Result};
use bygone_blockstore::{MemoryStore, Repository};
use bygone_groom::{GroomOptions, Groomed, Places, groom_in, verify, verify::Depth};
use bygone_sim::{plan::Shape, run::in_virtual_time, world::World};
use bygone_snapshot::{Parts, Policy, Stores};

use super::{calm, sequences::fill};

const BESIDE: &str = "beside";

/// Where everything of both jobs is; `None` before all of it is there.
async fn places(world: &World, oplog: &Arc<MemoryStore>) -> Option<Places> {
    let open = async |store: &Arc<MemoryStore>| {
        let (store, rng) = (Arc::clone(store), world.looking.rng());
        Repository::open(store, world.secret.as_deref(), rng).await.ok()
    };
    let (blocks, oplog) = (open(&world.store).await?, open(oplog).await?);
    let mut places = Places::from(Stores::one(blocks.clone()));
    let apart = Stores { blocks, sync: oplog.clone(), oplog };
    places.jobs.insert(BESIDE.parse().unwrap(), apart);
    Some(places)
}

/// As a server grooms: with what no manifest names yet of all jobs that run.
async fn groom(world: &World, places: &Places, delay: Duration) -> Result<Groomed> {
    let running: Vec<_> =
        world.jobs.lock().unwrap().iter().filter_map(|job| job.upgrade()).collect();
    let unpublished: Vec<_> = running.iter().flat_map(|job| job.unpublished()).collect();
    let delay_ms = i64::try_from(delay.as_millis()).unwrap();
    groom_in(places, &unpublished, GroomOptions { delay_ms, dry_run: None }).await
}

/// The parts of both jobs.
fn parts(world: &World, places: &Places) -> Vec<Parts> {
    let (own, part) = (world.key.job.clone(), &world.key.part);
    let beside = places.jobs.iter().map(|(job, stores)| stores.part(job.clone(), part.clone()));
    beside.chain([places.usual.part(own, part.clone())]).collect()
}

async fn broken(world: &World, parts: &[Parts]) -> Vec<String> {
    let mut broken = Vec::new();
    for Parts { snapshots, oplog } in parts {
        let clock: Arc<dyn Clock> = world.clock.clone();
        let report = verify(snapshots, oplog, Depth::Full, clock, |_, _, _| {}).await.unwrap();
        broken.extend(report.damage);
        broken.extend(report.bad.into_iter().map(|(id, why)| format!("snapshot {id}: {why}")));
    }
    broken
}

/// Writes, kills and grooms; gives how many packs were freed.
async fn live(world: &mut World, oplog: &Arc<MemoryStore>) -> u64 {
    let traffic = world.plan.traffic.clone();
    let mut freed = 0;
    for _ in 0..400 {
        (0..8).for_each(|_| traffic.step(&world.set, &world.dice));
        if world.dice.hits(40) {
            let which = world.dice.below(world.processes.len() as u64) as usize;
            world.processes[which].kill();
        }
        world.pass(Duration::from_secs(4)).await;
        if !world.dice.hits(250) {
            continue;
        }
        // A job whose first timeline is not there yet is a reason to wait.
        if let Some(places) = places(world, oplog).await
            && let Ok(done) = groom(world, &places, Duration::from_secs(300)).await
        {
            freed += done.deleted + done.rewritten;
        }
    }
    freed
}

#[test]
fn one_groom_for_jobs_whose_oplogs_are_apart() {
    let mut freed = 0;
    for seed in 1..4 {
        freed += in_virtual_time(async {
            let mut plan = calm(Shape::Together);
            plan.job.terms.policy =
                Policy { keep_last: Some(2), keep_within_secs: None, window_secs: 60 };
            let mut world = World::new(seed, plan, false);
            let oplog = world.beside(BESIDE);
            fill(&world, 300, 300, bson::rawdoc! {});
            let freed = live(&mut world, &oplog).await;
            world.heal();
            world.pass(Duration::from_secs(600)).await;
            let places = places(&world, &oplog).await.expect("both jobs have run");
            let parts = parts(&world, &places);
            assert_eq!(broken(&world, &parts).await, Vec::<String>::new(), "seed {seed}");
            world.processes.iter_mut().for_each(|process| process.kill());
            for Parts { snapshots, .. } in &parts {
                let mut ids = snapshots.snapshot_ids().await.unwrap();
                ids.pop().expect("each job has a snapshot");
                for id in ids {
                    snapshots.expire(&id).await.unwrap();
                }
            }
            let mut last = Groomed::default();
            for _ in 0..6 {
                last = groom(&world, &places, Duration::ZERO).await.unwrap();
                assert_eq!(broken(&world, &parts).await, Vec::<String>::new(), "seed {seed}");
            }
            assert_eq!(
                (last.deleted, last.rewritten, last.waiting),
                (0, 0, 0),
                "seed {seed} {last}"
            );
            assert!(last.bytes <= last.living * 2 + 400 * last.packs, "too much is left: {last}");
            assert_eq!(world.found(), Vec::<String>::new(), "seed {seed}");
            freed
        });
    }
    assert!(freed > 20, "grooms freed only {freed} packs while jobs ran");
}
