//! Verification tells exactly what is wrong and what still restores.

use bygone_blockstore::{Store as _, names};
use bygone_groom::verify::{Depth, Report, verify};
use bygone_snapshot::Policy;
use bytes::{Bytes, BytesMut};

use crate::site::Site;

async fn look(site: &Site, depth: Depth) -> Report {
    verify(&site.part, &site.part, depth, site.clock.clone(), |_, _, _| {}).await.unwrap()
}

async fn flip(site: &Site, name: &str, at: usize) -> Bytes {
    let good = site.store.get(name).await.unwrap();
    let mut bad = BytesMut::from(&good[..]);
    let at = at % bad.len();
    bad[at] ^= 0x40;
    site.store.overwrite(name, bad.freeze());
    good
}

/// Three snapshots; the second and third changed the first and the last documents.
async fn three(seed: u64) -> Site {
    let mut site = Site::new(seed).await;
    site.write(0..400).await;
    site.snapshot().await;
    site.write(0..60).await;
    site.snapshot().await;
    site.write(340..400).await;
    site.snapshot().await;
    site.write(0..5).await;
    site
}

#[tokio::test]
async fn a_whole_store_is_whole() {
    let site = three(1).await;
    for depth in [Depth::Quick, Depth::Full] {
        let report = look(&site, depth).await;
        assert!(report.is_clean(), "{report:?}");
        assert_eq!((report.good.len(), report.ranges.len()), (3, 1));
    }
    let (quick, full) = (look(&site, Depth::Quick).await, look(&site, Depth::Full).await);
    assert_eq!((quick.packs, quick.blocks), (full.packs, full.blocks));
    assert!(quick.operations == 0 && full.operations > 0 && quick.objects < full.objects);
}

#[tokio::test]
async fn a_lost_pack_costs_the_snapshots_that_need_it_and_no_other() {
    let site = three(2).await;
    for depth in [Depth::Quick, Depth::Full] {
        for name in site.names(names::PACKS).await {
            let body = site.store.get(&name).await.unwrap();
            site.store.delete(&name).await.unwrap();
            let report = look(&site, depth).await;
            let needed = report.good.len() < 3;
            assert_ne!(report.is_clean(), needed, "{name}");
            for (id, docs) in &site.truth {
                // What is said to restore restores, and the other way round.
                let good = report.good.contains(id);
                let (when, options) =
                    (bygone_base::When::Snapshot(id.clone()), bygone_head::ViewOptions::default());
                let restored = async {
                    let opened = bygone_head::View::open(
                        &site.part,
                        &site.part,
                        &when,
                        options,
                        site.clock.clone(),
                    );
                    let view = opened.await?;
                    let mut n = 0;
                    for id in view.catalogue.collections.keys() {
                        let mut merge = view.merge(*id, bygone_tree::KeyRange::all()).await?;
                        while let Some(piece) = merge.next().await? {
                            n += piece.len();
                        }
                    }
                    Ok::<_, bygone_base::Error>(n)
                };
                let restored = restored.await;
                assert_eq!(restored.is_ok(), good, "{name}: {id}: {report:?}");
                assert!(restored.is_err() || restored.unwrap() == docs.len());
            }
            assert_eq!(report.good.len() + report.bad.len(), 3);
            site.store.put_new(&name, body).await.unwrap();
        }
    }
}

#[tokio::test]
async fn every_damaged_object_is_found() {
    let site = three(3).await;
    for name in site.names("").await {
        if name == "bygone.repository" {
            continue;
        }
        let len = site.store.get(&name).await.unwrap().len();
        for at in [0, len / 3, len / 2, len - 1] {
            let good = flip(&site, &name, at).await;
            let report = look(&site, Depth::Full).await;
            assert!(!report.is_clean(), "{name} at {at} of {len}");
            site.store.overwrite(&name, good);
        }
    }
    assert!(look(&site, Depth::Full).await.is_clean());
}

#[tokio::test]
async fn a_lost_slice_ends_the_range_and_begins_none() {
    let mut site = Site::new(4).await;
    site.write(0..10).await;
    let first = site.snapshot().await;
    for n in 0..4 {
        site.write(n..n + 2).await;
    }
    let slices = site.names("jobs/job/rs0/oplog/").await;
    let (before, gone) = (&slices[2], &slices[3]);
    site.store.delete(gone).await.unwrap();
    let report = look(&site, Depth::Full).await;
    assert!(report.damage.iter().any(|d| d.contains("hole")), "{report:?}");
    assert_eq!((report.good.len(), report.ranges.len()), (1, 1));
    // The range ends with the slice before the hole: two more entries.
    let end = bygone_base::Ts::new(first.at.ts.secs() + 2, 1);
    assert!(report.ranges[0].ends_with(&format!("to {end})")), "{:?} {end}", report.ranges);
    flip(&site, before, 200).await;
    let report = look(&site, Depth::Full).await;
    assert!(!report.ranges[0].contains(" to "), "{:?}", report.ranges);
}

/// After a resync the old history's snapshots may outlive its slices, which go as they become old enough.
#[tokio::test]
async fn a_history_that_left_the_window_may_lose_its_slices() {
    let mut site = three(5).await;
    site.write(5..9).await;
    site.resync(5000).await;
    site.write(0..10).await;
    site.snapshot().await;
    site.write(10..20).await;
    let slices = site.names("jobs/job/rs0/oplog/00000001/").await;
    let (last, gone) = slices.split_last().unwrap();
    for name in gone {
        site.store.delete(name).await.unwrap();
    }
    let policy = |window_secs| Policy { keep_last: Some(9), keep_within_secs: None, window_secs };
    for (window, clean) in [(10, true), (100_000, false)] {
        site.part.set_policy(&policy(window)).await.unwrap();
        for depth in [Depth::Quick, Depth::Full] {
            let report = look(&site, depth).await;
            assert_eq!(report.is_clean(), clean, "{window} {last}: {report:?}");
            assert_eq!(report.good.len(), 4);
        }
    }
}
