use std::sync::Arc;

use bygone_base::{Rng, SeededRng, SystemClock};

use super::*;
use crate::{BlockReader, BlockRef, BlockWriter, MemoryStore, Secret, Store, WriterOptions};

struct World {
    raw: MemoryStore,
    repo: Repository,
    pack: PackId,
    blocks: Vec<(BlockRef, Vec<u8>)>,
}

async fn world(secret: Option<&Secret>) -> World {
    let clock = Arc::new(SystemClock::new());
    let raw = MemoryStore::new(clock.clone());
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(8));
    let store: Arc<dyn Store> = Arc::new(raw.clone());
    let repo = Repository::create(store, secret, rng, clock.as_ref()).await.unwrap();
    let writer = BlockWriter::new(repo.clone(), WriterOptions::default());
    let mut blocks = Vec::new();
    for content in [&b"incompressible"[..], &b"zstd ".repeat(20), b"x"] {
        blocks.push((writer.put(content).await.unwrap(), content.to_vec()));
    }
    writer.flush().await.unwrap();
    World { raw, repo, pack: blocks[0].0.pack, blocks }
}

fn key() -> Secret {
    Secret::parse_key(&format!("bygone-key-1:{}", "07".repeat(32))).unwrap()
}

/// Damage is reported, and no block is ever read with other content.
async fn assert_seen(world: &World, what: &str) {
    let found = check_pack(&world.repo, world.pack).await.unwrap();
    assert!(!found.is_empty(), "{what} is not seen");
    let reader = BlockReader::new(world.repo.clone(), 0);
    for (block, raw) in &world.blocks {
        if let Ok(got) = reader.read(block).await {
            assert_eq!(got, raw, "{what}");
        }
    }
}

#[tokio::test]
async fn every_changed_or_missing_byte_of_a_pack_is_seen() {
    for secret in [None, Some(key())] {
        let world = world(secret.as_ref()).await;
        let name = names::pack(world.pack);
        assert_eq!(check_pack(&world.repo, world.pack).await.unwrap(), []);
        let good = world.repo.store().get(&name).await.unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << bit;
                world.raw.overwrite(&name, bad.into());
                assert_seen(&world, &format!("byte {at} bit {bit}")).await;
            }
            world.raw.overwrite(&name, good.slice(..at));
            assert_seen(&world, &format!("cut at {at}")).await;
        }
        world.raw.overwrite(&name, [&good[..], b"x"].concat().into());
        assert_seen(&world, "a byte too many").await;
        world.repo.store().delete(&name).await.unwrap();
        assert_seen(&world, "no pack").await;
    }
}

#[tokio::test]
async fn one_bad_block_is_named_and_the_others_stay_readable() {
    let world = world(Some(&key())).await;
    let name = names::pack(world.pack);
    let mut bad = world.repo.store().get(&name).await.unwrap().to_vec();
    bad[48] ^= 1;
    world.raw.overwrite(&name, bad.into());
    let found = check_pack(&world.repo, world.pack).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].block, Some(world.blocks[0].0.id));
    assert!(found[0].to_string().contains("check sum"), "{}", found[0]);
    let reader = BlockReader::new(world.repo.clone(), 0);
    let error = reader.read(&world.blocks[0].0).await.expect_err("bad");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(reader.read(&world.blocks[1].0).await.unwrap(), world.blocks[1].1);
}

#[tokio::test]
async fn an_encrypted_pack_under_another_name_is_seen() {
    let world = world(Some(&key())).await;
    let body = world.repo.store().get(&names::pack(world.pack)).await.unwrap();
    let other = PackId([1; 16]);
    world.raw.overwrite(&names::pack(other), body);
    assert_eq!(check_pack(&world.repo, other).await.unwrap().len(), 1);
}

#[tokio::test]
async fn objects_and_keyrings_are_looked_at() {
    let world = world(Some(&key())).await;
    let repo = &world.repo;
    let kind = ObjectKind::Timeline;
    repo.put_object(kind, "jobs/a/b/timelines/1", b"content").await.unwrap();
    assert_eq!(check_object(repo, kind, "jobs/a/b/timelines/1").await.unwrap(), None);
    assert!(check_object(repo, kind, "jobs/a/b/timelines/2").await.unwrap().is_some());
    assert_eq!(check_keyrings(repo).await.unwrap(), []);
    let ring = repo.store().get("keys/00000001").await.unwrap();
    for at in 0..ring.len() {
        let mut bad = ring.to_vec();
        bad[at] ^= 1;
        world.raw.overwrite("keys/00000001", bad.into());
        assert_eq!(check_keyrings(repo).await.unwrap().len(), 1, "byte {at}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_is_an_error_and_no_damage() {
    use crate::store::{FaultPlan, Faulty};
    let world = world(None).await;
    let clock = Arc::new(SystemClock::new());
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(1));
    let faulty = Arc::new(Faulty::new(
        Arc::new(world.raw.clone()),
        clock,
        rng.clone(),
        FaultPlan::default(),
    ));
    let repo = Repository::open(faulty.clone(), None, rng).await.unwrap();
    faulty.set_plan(FaultPlan { before: 1000, ..FaultPlan::default() });
    let error = check_pack(&repo, world.pack).await.expect_err("unreachable");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
