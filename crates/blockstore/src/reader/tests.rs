use bygone_base::{Clock, Rng, SeededRng, SystemClock};
use proptest::prelude::*;

use super::*;
use crate::{BlockWriter, MemoryStore, Store, WriterOptions, store::Metered};

struct World {
    metered: Arc<Metered>,
    repo: Repository,
    blocks: Vec<(BlockRef, Vec<u8>)>,
}

/// Blocks `0..count` of some 1,000 bytes in packs of some `pack_bytes`.
async fn world(count: usize, pack_bytes: usize) -> World {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let metered = Arc::new(Metered::new(Arc::new(MemoryStore::new(clock.clone()))));
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(5));
    let repo =
        Repository::create(metered.clone(), None, rng.clone(), clock.as_ref()).await.unwrap();
    let writer =
        BlockWriter::new(repo.clone(), WriterOptions { pack_bytes, ..WriterOptions::default() });
    let mut blocks = Vec::new();
    for n in 0..count {
        let mut raw = vec![0; 900 + n % 200];
        rng.fill(&mut raw);
        blocks.push((writer.put(&raw).await.unwrap(), raw));
    }
    writer.flush().await.unwrap();
    World { metered, repo, blocks }
}

/// Moves blocks of a pack to a new one as a groom does.
async fn move_blocks(repo: &Repository, pack: PackId, keep: &[(BlockRef, Vec<u8>)]) -> PackId {
    let blocks = keep
        .iter()
        .map(|(block, raw)| (block.id, raw.len() as u32, crate::compress_block(1, raw).unwrap()));
    let new = crate::write_pack(repo, blocks.collect()).await.unwrap();
    let moved = keep.iter().map(|(block, _)| BlockRef { id: block.id, pack: new });
    Relocation::new(pack, moved.collect()).write(repo).await.unwrap();
    repo.store().delete(&names::pack(pack)).await.unwrap();
    new
}

#[tokio::test]
async fn blocks_are_followed_from_pack_to_pack() {
    let world = world(10, 1 << 20).await;
    let (repo, blocks) = (&world.repo, &world.blocks);
    let warm = BlockReader::new(repo.clone(), 2 * 1024 * 10);
    warm.toc(blocks[0].0.pack).await.unwrap();
    let mut pack = blocks[0].0.pack;
    for _ in 0..5 {
        pack = move_blocks(repo, pack, &blocks[..8]).await;
    }
    for reader in [warm, BlockReader::new(repo.clone(), 0)] {
        for (block, raw) in &blocks[..8] {
            assert_eq!(reader.read(block).await.unwrap(), raw);
        }
        let refs: Vec<BlockRef> = blocks[..8].iter().map(|(block, _)| *block).collect();
        assert_eq!(reader.read_many(&refs).await.unwrap().len(), 8);
        for (block, _) in &blocks[8..] {
            let error = reader.read(block).await.expect_err("not moved");
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.to_string().contains("removed without it"), "{error}");
        }
    }
}

#[tokio::test]
async fn lost_packs_and_circles_are_damage() {
    let world = world(3, 1 << 20).await;
    let (block, _) = &world.blocks[0];
    let reader = BlockReader::new(world.repo.clone(), 0);
    let elsewhere = BlockRef { id: BlockId([0; 32]), pack: block.pack };
    let error = reader.read(&elsewhere).await.expect_err("not in there");
    assert!(error.to_string().contains("is not in pack"), "{error}");
    world.repo.store().delete(&names::pack(block.pack)).await.unwrap();
    let error = reader.read(block).await.expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("is lost"), "{error}");
    Relocation::new(block.pack, vec![*block]).write(&world.repo).await.unwrap();
    let error = reader.read(block).await.expect_err("circle");
    assert!(error.to_string().contains("without end"), "{error}");
}

#[tokio::test]
async fn caches_spare_the_store_and_stay_small() {
    let world = world(200, 20_000).await;
    let before = world.metered.usage().gets;
    let reader = BlockReader::new(world.repo.clone(), 1 << 20);
    for _ in 0..3 {
        for (block, raw) in &world.blocks {
            assert_eq!(reader.read(block).await.unwrap(), raw);
        }
    }
    let packs = world.repo.store().list(names::PACKS, None).await.unwrap().len() as u64;
    assert_eq!(world.metered.usage().gets - before, 200 + 2 * packs);
}

#[tokio::test]
async fn neighbours_are_read_together_and_tables_loaded_once() {
    let world = world(500, 1 << 30).await;
    let refs: Vec<BlockRef> = world.blocks.iter().map(|(block, _)| *block).collect();
    let reader = BlockReader::new(world.repo.clone(), 16 << 20);
    let before = world.metered.usage().gets;
    let all = reader.read_many(&refs).await.unwrap();
    assert!(all.iter().zip(&world.blocks).all(|(got, (_, raw))| got == raw));
    assert_eq!(world.metered.usage().gets - before, 3, "header, table, blocks");
    // All at once, cold: still one load of the table.
    let reader = BlockReader::new(world.repo.clone(), 16 << 20);
    let before = world.metered.usage().gets;
    futures::future::try_join_all(refs.iter().map(|block| reader.read(block))).await.unwrap();
    assert_eq!(world.metered.usage().gets - before, 2 + 500);
}

#[tokio::test]
async fn a_table_longer_than_the_first_guess_is_read_whole() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(5));
    let repo = Repository::create(store, None, rng, clock.as_ref()).await.unwrap();
    let writer = BlockWriter::new(repo.clone(), WriterOptions::default());
    let mut blocks = Vec::new();
    for n in 0..5000_u32 {
        blocks.push(writer.put(&n.to_le_bytes()).await.unwrap());
    }
    writer.flush().await.unwrap();
    let reader = BlockReader::new(repo, 0);
    assert!(reader.toc(blocks[0].pack).await.unwrap().entries().len() as u64 * 53 > TAIL);
    for (n, block) in blocks.iter().enumerate().step_by(499) {
        assert_eq!(reader.read(block).await.unwrap(), (n as u32).to_le_bytes()[..]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_selection_in_any_order_comes_back(
        picks in prop::collection::vec(0..60_usize, 0..80),
        pack_bytes in 2000..40_000_usize,
        cache in 0..40_000_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = world(60, pack_bytes).await;
            let reader = BlockReader::new(world.repo.clone(), cache);
            let refs: Vec<BlockRef> = picks.iter().map(|n| world.blocks[*n].0).collect();
            let all = reader.read_many(&refs).await.unwrap();
            for (got, n) in all.iter().zip(&picks) {
                assert_eq!(got, &world.blocks[*n].1);
            }
            assert_eq!(all.len(), picks.len());
        });
    }
}
