//! What goes and what stays.

use std::sync::Arc;

use bygone_base::{Clock as _, PackId};
use bygone_blockstore::{
    BlockReader, BlockRef, BlockWriter, Store as _, WriterOptions, names, relocation::Relocation,
};
use bygone_groom::{groom_in, lease};
use bygone_snapshot::Stores;
use bygone_snapshot::{Manifest, catalogue};
use bygone_tree::{KeyRange, Tree, TreeBuilder};

use crate::site::{DELAY, Site, read};

#[tokio::test]
async fn what_no_snapshot_needs_goes_after_the_delay_and_nothing_else() {
    let mut site = Site::new(1).await;
    site.write(0..200).await;
    let first = site.snapshot().await;
    site.write(0..200).await;
    site.snapshot().await;
    // Runs that a fold made needless are dead from the beginning.
    let before = site.groom().await;
    assert_eq!((before.deleted, before.rewritten), (0, 0));
    site.expire(&first.id).await;
    let noticed = site.groom().await;
    assert_eq!(noticed.deleted, 0);
    assert!(noticed.waiting > before.waiting + 500_000, "{noticed}");
    site.clock.pass(DELAY - 1);
    assert_eq!(site.groom().await.deleted, 0);
    site.clock.pass(1);
    let metered = Arc::new(bygone_blockstore::store::Metered::new(Arc::new(site.store.clone())));
    let said = site.dry_run(&site.over(metered.clone()).await).await;
    let usage = metered.usage();
    assert_eq!((usage.created, usage.existed, usage.deletes), (0, 0, 0));
    let done = site.groom().await;
    assert_eq!(said, done, "a dry run says what will be done");
    assert_eq!((done.deleted > 0, done.freed), (true, noticed.waiting));
    site.check().await;
    let after = site.groom().await;
    assert_eq!((after.waiting, after.deleted), (0, 0));
    assert!(site.names("groom/").await.len() == 1);
    assert!(site.names("readers/").await.is_empty());
}

/// A damaged record of what is dead costs time, not the groom: it is found out anew.
#[tokio::test]
async fn a_damaged_record_is_made_anew() {
    let mut site = Site::new(3).await;
    site.write(0..200).await;
    let first = site.snapshot().await;
    site.write(0..200).await;
    site.snapshot().await;
    site.expire(&first.id).await;
    assert!(site.groom().await.waiting > 0);
    let record = site.names("groom/").await.pop().unwrap();
    let good = site.store.get(&record).await.unwrap();
    let mut bad = good.to_vec();
    bad[good.len() - 20] ^= 1;
    site.store.overwrite(&record, bad.into());
    site.clock.pass(DELAY);
    let again = site.groom().await;
    assert!(again.deleted == 0 && again.waiting > 0, "{again}");
    assert!(!site.names("groom/").await.contains(&record));
    site.clock.pass(DELAY);
    assert!(site.groom().await.deleted > 0);
    site.check().await;
}

/// Snapshots come and go for a long time; blocks move and move again.
#[tokio::test]
async fn nothing_needed_is_ever_lost_and_the_store_does_not_grow() {
    let mut moved_twice = false;
    for seed in 0..4 {
        let mut site = Site::new(seed).await;
        site.write(0..150).await;
        site.snapshot().await;
        for _ in 0..40 {
            let from = site.roll(150) as i32;
            let len = 1 + site.roll(40) as i32;
            site.write((from..from + len).map(|id| id % 150)).await;
            site.snapshot().await;
            while site.truth.len() > 4 {
                let at = site.roll(site.truth.len() as u64 - 1) as usize;
                let id = site.truth.keys().nth(at).unwrap().clone();
                site.expire(&id).await;
            }
            site.clock.pass(DELAY / 2 + site.roll(DELAY as u64) as i64);
            site.groom().await;
            site.check().await;
            for name in site.names(names::MOVED).await {
                let pack: PackId = name.strip_prefix(names::MOVED).unwrap().parse().unwrap();
                let record = Relocation::read(site.part.repository(), pack).await.unwrap();
                let again = |b: BlockRef| names::moved(b.pack);
                let moved = site.names(names::MOVED).await;
                moved_twice |= record.blocks().any(|b| moved.contains(&again(b)));
            }
        }
        let bytes = site.groom().await.bytes;
        assert!(bytes < 10_000_000, "{bytes} of 40 snapshots that changed 60 KB each");
        // In the end, when only one is left, little more than it stays.
        let ids: Vec<_> = site.truth.keys().cloned().collect();
        for id in &ids[..ids.len() - 1] {
            site.expire(id).await;
        }
        for _ in 0..4 {
            site.groom().await;
            site.clock.pass(DELAY);
        }
        let last = site.groom().await;
        assert!(last.living * 2 >= last.bytes && last.waiting == 0, "{last}");
        site.check().await;
    }
    assert!(moved_twice, "the test does not test what it says");
}

#[tokio::test]
async fn who_reads_an_expired_snapshot_under_a_lease_can_finish() {
    let mut site = Site::new(5).await;
    site.write(0..200).await;
    let first = site.snapshot().await;
    let docs = site.docs.clone();
    // Most of the first packs dies, some of it lives on: they are rewritten.
    for _ in 0..6 {
        site.write(20..200).await;
        let old = site.truth.keys().next().unwrap().clone();
        site.snapshot().await;
        if old != first.id {
            site.expire(&old).await;
        }
    }
    let held = lease::hold(site.part.repository(), site.clock.clone(), "a test").await.unwrap();
    let view = site.view(&first.id).await;
    site.expire(&first.id).await;
    for _ in 0..5 {
        // The lease counts an hour.
        site.clock.pass(600_000);
        let done = site.groom().await;
        assert_eq!((done.deleted, &done.readers[..]), (0, &["a test".to_owned()][..]));
        assert_eq!(read(&view).await, docs);
    }
    held.unwrap().release().await;
    assert!(site.names("readers/").await.is_empty());
    let mut deleted = 0;
    for _ in 0..3 {
        site.clock.pass(DELAY);
        deleted += site.groom().await.deleted;
    }
    assert!(deleted > 0);
    site.check().await;
}

#[tokio::test]
async fn a_lease_expires_by_the_clock_of_the_store() {
    let mut site = Site::new(6).await;
    site.write(0..10).await;
    site.snapshot().await;
    let held = lease::hold(site.part.repository(), site.clock.clone(), "a test").await.unwrap();
    assert_eq!(lease::readers(site.part.repository()).await.unwrap(), ["a test"]);
    site.clock.pass(3_600_000);
    assert!(lease::readers(site.part.repository()).await.unwrap().is_empty());
    site.groom().await;
    assert!(site.names("readers/").await.is_empty());
    drop(held);
}

/// Content-addressed: the same node written by two sessions lies in two packs.
#[tokio::test]
async fn a_node_in_two_packs_lives_in_both() {
    let mut site = Site::new(7).await;
    site.write(0..100).await;
    let first = site.snapshot().await;
    let reader = BlockReader::new(site.part.repository().clone(), 1 << 20);
    let mut all = catalogue::load(&reader, first.catalogue).await.unwrap();
    let writer = BlockWriter::new(site.part.repository().clone(), WriterOptions::default());
    let writer = Arc::new(writer);
    let tree = &mut all.collections.values_mut().next().unwrap().tree;
    let old = tree.root.clone().unwrap();
    let mut leaves = Tree::new(old.clone(), reader.clone()).leaves(KeyRange::all());
    let mut again = TreeBuilder::new(writer.clone());
    while let Some(span) = leaves.next().await.unwrap() {
        again.push_leaf(span.entry).await.unwrap();
    }
    let new = again.finish().await.unwrap().unwrap();
    assert_eq!(new.block.id, old.block.id);
    assert_ne!(new.block.pack, old.block.pack);
    tree.root = Some(new);
    let root = catalogue::save(&all, first.at.ts, None, &writer).await.unwrap().unwrap();
    writer.flush().await.unwrap();
    let id = "20261120T103000Z-1a2b3c4d".parse().unwrap();
    let second = Manifest { id, catalogue: Some((root.block, root.level)), ..first.clone() };
    site.part.publish(&second).await.unwrap();
    site.truth.insert(second.id.clone(), site.docs.clone());
    for _ in 0..3 {
        site.clock.pass(DELAY);
        site.groom().await;
    }
    site.check().await;
    site.expire(&first.id).await;
    for _ in 0..3 {
        site.clock.pass(DELAY);
        site.groom().await;
    }
    site.check().await;
}

#[tokio::test]
async fn an_initial_sync_elsewhere_must_be_shown() {
    let mut site = Site::new(8).await;
    site.write(0..10).await;
    site.snapshot().await;
    let other = Site::new(9).await;
    let blocks = site.part.repository().clone();
    let elsewhere = other.part.repository().clone();
    let stores = Stores { blocks, oplog: elsewhere.clone(), sync: elsewhere };
    let options = bygone_groom::GroomOptions { delay_ms: DELAY, dry_run: Some(other.clock.now()) };
    let error = groom_in(&stores.into(), &[], options).await.unwrap_err();
    assert_eq!(error.kind(), bygone_base::ErrorKind::Usage);
}
