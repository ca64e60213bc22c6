//! The promise of the format: what version 1 wrote is read for ever, byte for
//! byte as it is in `fixtures/v1`, and written the same. To make the files of
//! a new version: remove its folder and run this test twice.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bygone_base::{Clock, Rng, SeededRng, UnixMillis};
use bygone_blockstore::{
    BlockReader, BlockRef, BlockWriter, FileStore, MemoryStore, ObjectKind, Repository, Secret,
    Store, WriterOptions, audit, names, relocation::Relocation,
};
use bytes::Bytes;

#[derive(Debug)]
struct Standing;

#[async_trait]
impl Clock for Standing {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_795_150_800_000)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    async fn sleep(&self, _: Duration) {}
}

fn secret() -> Secret {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1/key");
    Secret::from_key_file(&path).expect("key file")
}

fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(kind)
}

/// Too short to be worth compressing: the bytes do not depend on zstd.
const RAW: [&[u8]; 3] = [b"\x01one", b"\x01second", b"\x03"];

fn compressible() -> Vec<u8> {
    (0..20_000_u32).map(|n| (n % 251) as u8).collect()
}

const SLICE: &str = "jobs/prod/rs0/oplog/00000001/0000000000000001-0000000000000001";
const MANIFEST: &str = "jobs/prod/rs0/snapshots/20261120T103000Z-1a2b3c4d";

/// Writes everything; gives the blocks and the names of the objects whose
/// bytes depend on zstd's version.
async fn write(store: Arc<dyn Store>, secret: Option<&Secret>) -> (Vec<BlockRef>, Vec<String>) {
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(2026));
    let repo = Repository::create(store, secret, rng, &Standing).await.expect("create");
    let mut blocks = Vec::new();
    let writer = BlockWriter::new(repo.clone(), WriterOptions::default());
    for raw in RAW {
        blocks.push(writer.put(raw).await.expect("put"));
    }
    writer.flush().await.expect("flush");
    let writer = BlockWriter::new(repo.clone(), WriterOptions::default());
    blocks.push(writer.put(&compressible()).await.expect("put"));
    writer.flush().await.expect("flush");
    repo.put_object(ObjectKind::Slice, SLICE, b"a slice").await.expect("slice");
    repo.put_object(ObjectKind::Manifest, MANIFEST, &compressible()).await.expect("manifest");
    let gone = bygone_base::PackId([0x55; 16]);
    Relocation::new(gone, blocks[..2].to_vec()).write(&repo).await.expect("relocation");
    let by_zstd = vec![names::pack(blocks[3].pack), MANIFEST.to_owned(), names::moved(gone)];
    (blocks, by_zstd)
}

async fn all(store: &dyn Store) -> BTreeMap<String, Bytes> {
    let mut all = BTreeMap::new();
    for stat in store.list("", None).await.expect("list") {
        all.insert(stat.name.clone(), store.get(&stat.name).await.expect("get"));
    }
    all
}

async fn check(kind: &str, secret: Option<Secret>) {
    let fresh: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(Standing)));
    let (blocks, by_zstd) = write(fresh.clone(), secret.as_ref()).await;
    let written = all(fresh.as_ref()).await;
    let kept: Arc<dyn Store> = Arc::new(FileStore::new(folder(kind)));
    if !folder(kind).exists() {
        let kept = FileStore::create(folder(kind)).expect("folder");
        for (name, body) in written {
            kept.put_new(&name, body).await.expect("keep");
        }
        panic!("the fixture was missing and has been written: look at it and keep it");
    }
    let fixture = all(kept.as_ref()).await;
    assert_eq!(
        fixture.keys().collect::<Vec<_>>(),
        written.keys().collect::<Vec<_>>(),
        "other objects are written"
    );
    for (name, body) in &fixture {
        if !by_zstd.contains(name) {
            assert_eq!(body, &written[name], "{kind}: {name} is written differently");
        }
    }
    read(kept, secret, blocks).await;
}

async fn read(kept: Arc<dyn Store>, secret: Option<Secret>, blocks: Vec<BlockRef>) {
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(1));
    let repo = Repository::open(kept, secret.as_ref(), rng).await.expect("open");
    let reader = BlockReader::new(repo.clone(), 1 << 20);
    let long = compressible();
    let contents = RAW.iter().copied().chain([long.as_slice()]);
    for (block, raw) in blocks.iter().zip(contents) {
        assert_eq!(repo.block_id(raw), block.id, "names of blocks changed");
        assert_eq!(reader.read(block).await.expect("read"), raw);
        assert_eq!(audit::check_pack(&repo, block.pack).await.expect("audit"), []);
    }
    let moved = BlockRef { id: blocks[1].id, pack: bygone_base::PackId([0x55; 16]) };
    assert_eq!(reader.read(&moved).await.expect("moved"), RAW[1]);
    let slice = repo.get_object(ObjectKind::Slice, SLICE).await.expect("slice");
    assert_eq!(slice, "a slice");
    let manifest = repo.get_object(ObjectKind::Manifest, MANIFEST).await.expect("manifest");
    assert_eq!(manifest, compressible());
}

#[tokio::test]
async fn version_1_plain() {
    check("plain", None).await;
}

#[tokio::test]
async fn version_1_encrypted() {
    check("encrypted", Some(secret())).await;
}
