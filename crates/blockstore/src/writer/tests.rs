use std::sync::Arc;

use bygone_base::{Clock, Rng, SeededRng, SystemClock};

use super::*;
use crate::{
    BlockReader, MemoryStore, Secret, Store,
    store::{FaultPlan, Faulty, Metered},
};

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn key() -> Secret {
    Secret::parse_key(&format!("bygone-key-1:{}", "07".repeat(32))).unwrap()
}

async fn on(store: Arc<dyn Store>, secret: Option<&Secret>) -> Repository {
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(3));
    Repository::open_or_create(store, secret, rng, clock().as_ref()).await.unwrap()
}

/// Content that compresses by about half.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let rng = SeededRng::new(seed);
    let mut out = vec![0; len];
    rng.fill(&mut out);
    out.iter_mut().for_each(|byte| *byte &= 0x0f);
    out
}

fn options(pack_bytes: usize) -> WriterOptions {
    WriterOptions { pack_bytes, ..WriterOptions::default() }
}

#[tokio::test]
async fn what_is_put_is_read_and_equal_content_is_stored_once() {
    for secret in [None, Some(key())] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
        let repo = on(store.clone(), secret.as_ref()).await;
        let writer = BlockWriter::new(repo.clone(), options(20_000));
        let mut blocks = Vec::new();
        for n in 0..60 {
            let raw = content(n % 40, 1 + 300 * (n as usize % 40) % 7000);
            blocks.push((writer.put(&raw).await.unwrap(), raw));
        }
        let stats = writer.flush().await.unwrap();
        assert_eq!(stats.blocks, 60);
        assert!(stats.new_blocks < 60 && stats.packs > 1 && stats.packs == stats.durable_packs);
        assert_eq!(store.list(names::PACKS, None).await.unwrap().len() as u64, stats.packs);
        for cache in [0, 1 << 20] {
            let reader = BlockReader::new(repo.clone(), cache);
            for (block, raw) in &blocks {
                assert_eq!(reader.read(block).await.unwrap(), raw);
            }
        }
        let again = writer.put(&blocks[0].1).await.unwrap();
        assert_eq!(again, blocks[0].0);
        assert_eq!(writer.flush().await.unwrap().packs, stats.packs);
    }
}

#[tokio::test]
async fn known_blocks_are_not_written() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let repo = on(store.clone(), None).await;
    let writer = BlockWriter::new(repo.clone(), WriterOptions::default());
    let known = BlockRef { id: repo.block_id(b"old"), pack: PackId([9; 16]) };
    writer.known(known);
    assert_eq!(writer.put(b"old").await.unwrap(), known);
    writer.flush().await.unwrap();
    assert!(store.list(names::PACKS, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn many_tasks_may_put_at_once() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let repo = on(store, Some(&key())).await;
    let writer = Arc::new(BlockWriter::new(repo.clone(), options(30_000)));
    let mut tasks = JoinSet::new();
    for task in 0..8_u64 {
        let writer = writer.clone();
        tasks.spawn(async move {
            let mut blocks = Vec::new();
            for n in 0..50 {
                // Every second block is everybody's.
                let seed = if n % 2 == 0 { n } else { 1000 * (task + 1) + n };
                let raw = content(seed, 2000);
                blocks.push((writer.put(&raw).await.unwrap(), raw));
                if n % 20 == task {
                    writer.flush().await.unwrap();
                }
            }
            writer.flush().await.unwrap();
            blocks
        });
    }
    let reader = BlockReader::new(repo, 0);
    for blocks in tasks.join_all().await {
        for (block, raw) in blocks {
            assert_eq!(reader.read(&block).await.unwrap(), raw);
        }
    }
    assert_eq!(writer.stats().new_blocks, 25 + 8 * 25);
}

#[tokio::test]
async fn blocks_that_do_not_shrink_are_stored_as_they_are() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let repo = on(store, None).await;
    let mut raw = vec![0; 5000];
    SeededRng::new(1).fill(&mut raw);
    let writer = BlockWriter::new(repo.clone(), WriterOptions::default());
    let one = writer.put(&raw).await.unwrap();
    let other = raw[1..].to_vec();
    let zstd = codec::compress_block(3, &other).unwrap();
    assert!(zstd.len() > other.len());
    let two = writer.put_compressed(repo.block_id(&other), 4999, zstd).await.unwrap();
    writer.flush().await.unwrap();
    let reader = BlockReader::new(repo, 0);
    let toc = reader.toc(one.pack).await.unwrap();
    assert!(toc.entries().iter().all(|entry| entry.codec == Codec::Raw));
    assert_eq!(reader.read(&one).await.unwrap(), raw);
    assert_eq!(reader.read(&two).await.unwrap(), other);
}

#[tokio::test]
async fn a_pack_at_once_is_durable_when_it_returns() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let repo = on(store, Some(&key())).await;
    let raws: Vec<Vec<u8>> = (0..20).map(|n| content(n, 3000)).collect();
    let blocks = raws
        .iter()
        .map(|raw| (repo.block_id(raw), raw.len() as u32, codec::compress_block(1, raw).unwrap()));
    let pack = write_pack(&repo, blocks.collect()).await.unwrap();
    let reader = BlockReader::new(repo.clone(), 1 << 20);
    for raw in &raws {
        let block = BlockRef { id: repo.block_id(raw), pack };
        assert_eq!(reader.read(&block).await.unwrap(), raw);
    }
}

/// Issue: the same content under two levels must never share key and nonce.
#[tokio::test]
async fn one_block_under_two_levels_never_shares_key_and_nonce() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let repo = on(store.clone(), Some(&key())).await;
    let raw = content(1, 20_000);
    let mut packs = Vec::new();
    for level in [1, 19, 1] {
        let options = WriterOptions { level, ..WriterOptions::default() };
        let writer = BlockWriter::new(repo.clone(), options);
        let block = writer.put(&raw).await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!(BlockReader::new(repo.clone(), 0).read(&block).await.unwrap(), raw);
        packs.push(store.get(&names::pack(block.pack)).await.unwrap());
    }
    let salts: Vec<&[u8]> = packs.iter().map(|pack| &pack[16..48]).collect();
    assert!(salts[0] != salts[1] && salts[1] != salts[2] && salts[0] != salts[2]);
    // Equal plain bytes (both level 1) came out different throughout.
    let same = packs[0][48..].iter().zip(&packs[2][48..]).filter(|(a, b)| a == b).count();
    assert!(same < packs[0].len() / 100, "{same} of {} bytes are equal", packs[0].len());
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_put_nothing_is_said_to_be_durable() {
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let repo = on(inner.clone(), None).await;
    let full = repo.store().list("", None).await.unwrap().len() as u64;
    let plan = FaultPlan { full_after: Some(20_000), ..FaultPlan::default() };
    let faulty = Arc::new(Faulty::new(inner, clock(), Arc::new(SeededRng::new(1)), plan));
    let repo = on(faulty, None).await;
    let writer = BlockWriter::new(repo.clone(), options(10_000));
    let mut failed = None;
    for n in 0..200 {
        if let Err(error) = writer.put(&content(n, 3000)).await {
            failed = Some(error);
            break;
        }
    }
    let failed = failed.expect("put fails before everything is accepted");
    assert_eq!(failed.kind(), ErrorKind::Full);
    assert_eq!(writer.flush().await.expect_err("flush").kind(), ErrorKind::Full);
    assert_eq!(writer.put(&content(0, 3000)).await.expect_err("put").kind(), ErrorKind::Full);
    assert!(writer.stats().durable_packs < writer.stats().packs);
    assert!(full > 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_holds_the_caller_back() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let slow = crate::store::Throttled::new(memory.clone(), clock(), 10_000);
    let metered = Arc::new(Metered::new(Arc::new(slow)));
    on(memory, None).await;
    let repo = on(metered.clone(), None).await;
    let writer = BlockWriter::new(repo, options(10_000));
    for n in 0..100 {
        writer.put(&content(n, 3000)).await.unwrap();
        let stats = writer.stats();
        assert!(stats.packs - stats.durable_packs <= 3, "{stats:?}");
    }
    writer.flush().await.unwrap();
    assert_eq!(metered.usage().created, writer.stats().packs);
}

#[tokio::test]
async fn blocks_outside_the_limits_are_refused() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let repo = on(store, None).await;
    let writer = BlockWriter::new(repo.clone(), options(1 << 20));
    assert!(writer.put(b"").await.is_err());
    assert!(writer.put(&vec![0; MAX_RAW as usize + 1]).await.is_err());
    // The largest, in a pack that is meant to be smaller.
    let largest = vec![1; MAX_RAW as usize];
    let block = writer.put(&largest).await.unwrap();
    writer.flush().await.unwrap();
    assert!(BlockReader::new(repo, 0).read(&block).await.unwrap() == largest);
}

#[test]
fn references_go_to_bytes_and_back() {
    let block = BlockRef { id: BlockId([1; 32]), pack: PackId([2; 16]) };
    assert_eq!(BlockRef::from_slice(&block.to_bytes()), Some(block));
    assert_eq!(BlockRef::from_slice(&block.to_bytes()[1..]), None);
    assert_eq!(BlockRef::from_slice(b""), None);
}
