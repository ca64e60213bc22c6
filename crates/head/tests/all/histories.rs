//! Resyncs, forks before the oldest snapshot, damage.

use bson::rawdoc;
use bygone_base::{CollectionId, ErrorKind, OpTime, Ts, When};
use bygone_blockstore::{names, store::Store as _};
use bygone_head::overview;
use bytes::Bytes;

use crate::{
    entries::{Crud, command, crud, noop},
    world::{START, World, open},
};

const C: CollectionId = CollectionId([1; 16]);

fn at(secs: u32) -> OpTime {
    OpTime::new(Ts::new(secs, 1), 1)
}

async fn create(world: &World, prev: OpTime, secs: u32) {
    let entry = command(at(secs), C, rawdoc! { "create": "c" });
    world.slice(prev, &[(at(secs), entry)]).await;
}

async fn insert(world: &World, prev: OpTime, secs: u32) {
    let entry = crud(at(secs), C, "d.c", &Crud::Insert(secs as i32, 1));
    world.slice(prev, &[(at(secs), entry)]).await;
}

async fn count(world: &World, when: When) -> usize {
    world.state(when).await.unwrap().get("d.c").map_or(0, |docs| docs.len())
}

#[tokio::test]
async fn the_old_history_stays_restorable_through_a_resync() {
    let mut world = World::new(1, "8.2").await;
    create(&world, START, 1010).await;
    world.snapshot(&mut world.head(usize::MAX).await).await.unwrap();
    insert(&world, at(1010), 1020).await;
    insert(&world, at(1020), 1030).await;
    // The new history begins later; what lies between is lost.
    world.sync(at(1100), "8.2").await;
    assert_eq!(count(&world, When::Latest).await, 2, "until there is a newer snapshot");
    let entry = command(at(1110), C, rawdoc! { "create": "c" });
    world.slice(at(1100), &[(at(1110), entry)]).await;
    let mut head = world.head(usize::MAX).await;
    assert_eq!(head.taken(), None);
    world.snapshot(&mut head).await.unwrap();
    assert!(head.taken().is_some());
    insert(&world, at(1110), 1120).await;
    assert_eq!(count(&world, When::Latest).await, 1);
    assert_eq!(count(&world, When::Including(at(1020).ts)).await, 1);
    assert_eq!(count(&world, When::Including(at(1030).ts)).await, 2);
    let between = world.state(When::Including(at(1050).ts)).await.unwrap_err();
    assert_eq!(between.kind(), ErrorKind::NotCovered);
    let ranges = overview(&world.part, &world.part).await.unwrap().ranges;
    let ends: Vec<_> = ranges.iter().map(|r| (r[0].from, r[0].to)).collect();
    assert_eq!(ends, [(at(1110).ts, at(1120).ts), (at(1010).ts, at(1030).ts)]);
}

#[tokio::test]
async fn a_fork_before_the_oldest_snapshot_needs_a_resync_and_says_so() {
    let mut world = World::new(2, "8.2").await;
    create(&world, START, 1010).await;
    insert(&world, at(1010), 1020).await;
    world.snapshot(&mut world.head(usize::MAX).await).await.unwrap();
    world.fork(at(1010)).await;
    // The sync was of nothing: it is built again, and the slices since.
    world.slice(at(1010), &[(at(1011), noop(at(1011)))]).await;
    let head = world.head(usize::MAX).await;
    assert_eq!((head.taken(), head.position()), (None, at(1011)));
}

/// An entry that stops the part has no say in the moments before it, also those that no entry has.
#[tokio::test]
async fn moments_before_an_unknown_entry_restore() {
    let world = World::new(7, "8.2").await;
    create(&world, START, 1010).await;
    world.snapshot(&mut world.head(usize::MAX).await).await.unwrap();
    let known = crud(at(1020), C, "d.c", &Crud::Insert(1, 1));
    let unknown = command(at(1040), C, rawdoc! { "frobnicate": "c" });
    world.slice(at(1010), &[(at(1020), known), (at(1040), unknown)]).await;
    for moment in [at(1020), at(1030)] {
        assert_eq!(count(&world, When::Including(moment.ts)).await, 1);
    }
    let error = world.state(When::Including(at(1040).ts)).await.unwrap_err();
    assert!(error.to_string().contains("frobnicate"), "{error}");
}

#[tokio::test]
async fn slices_that_are_gone_are_a_hole_not_the_end() {
    let world = World::new(3, "8.2").await;
    create(&world, START, 1010).await;
    insert(&world, at(1010), 1020).await;
    let first = &world.store.list("jobs/job/rs0/oplog/", None).await.unwrap()[0];
    world.store.delete(&first.name).await.unwrap();
    let error = open(&world.part, usize::MAX).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
}

#[tokio::test]
async fn a_damaged_manifest_hides_no_other_and_stops_no_head() {
    let world = World::new(4, "8.2").await;
    create(&world, START, 1010).await;
    let mut head = world.head(usize::MAX).await;
    world.snapshot(&mut head).await.unwrap();
    insert(&world, at(1010), 1020).await;
    head.catch_up().await.unwrap();
    let second = world.snapshot(&mut head).await.unwrap();
    insert(&world, at(1020), 1030).await;
    let name = format!("jobs/job/rs0/snapshots/{}", second.id);
    world.store.overwrite(&name, Bytes::from_static(b"nonsense"));
    assert_eq!(count(&world, When::Latest).await, 2);
    let found = overview(&world.part, &world.part).await.unwrap().snapshots;
    assert_eq!((found.manifests.len(), found.damaged.len()), (1, 1));
    let mut head = world.head(usize::MAX).await;
    assert_eq!(head.base_at(), at(1010).ts);
    world.snapshot(&mut head).await.unwrap();
    assert_eq!(count(&world, When::Latest).await, 2);
    let error = world.state(When::Snapshot(second.id)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
}

#[tokio::test]
async fn a_lost_catalogue_falls_back_to_the_snapshot_before() {
    let world = World::new(5, "8.2").await;
    create(&world, START, 1010).await;
    let mut head = world.head(usize::MAX).await;
    world.snapshot(&mut head).await.unwrap();
    let packs = world.store.list(names::PACKS, None).await.unwrap();
    let entry = command(at(1015), CollectionId([2; 16]), rawdoc! { "create": "b" });
    world.slice(at(1010), &[(at(1015), entry)]).await;
    head.catch_up().await.unwrap();
    world.snapshot(&mut head).await.unwrap();
    for pack in world.store.list(names::PACKS, None).await.unwrap() {
        if !packs.contains(&pack) {
            world.store.delete(&pack.name).await.unwrap();
        }
    }
    let mut head = world.head(usize::MAX).await;
    assert_eq!(head.base_at(), at(1010).ts);
    world.snapshot(&mut head).await.unwrap();
    assert_eq!(world.state(When::Latest).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_the_catalogue_does_not_have_needs_a_resync() {
    let world = World::new(6, "8.2").await;
    insert(&world, START, 1010).await;
    let error = open(&world.part, usize::MAX).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResyncRequired, "{error}");
}

#[tokio::test]
async fn a_snapshot_of_another_repository_is_refused() {
    let one = World::new(7, "8.2").await;
    create(&one, START, 1010).await;
    one.snapshot(&mut one.head(usize::MAX).await).await.unwrap();
    insert(&one, at(1010), 1020).await;
    let two = World::new(8, "8.2").await;
    let options = bygone_head::ViewOptions::default();
    let opened =
        bygone_head::View::open(&one.part, &two.part, &When::Latest, options, one.clock.clone());
    let error = opened.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.hint_text().unwrap().contains("--oplog-store"), "{error}");
}
