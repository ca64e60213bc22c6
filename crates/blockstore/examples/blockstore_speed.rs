//! How fast blocks go in and out, one task, against plain libzstd on the same
//! data: `cargo run --release -p bygone-blockstore --example blockstore_speed [FOLDER]`

use std::{sync::Arc, time::Duration};

use bygone_base::{Clock as _, Result, Rng, SeededRng, SystemClock, SystemRng};
use bygone_blockstore::{
    BlockReader, BlockRef, BlockWriter, FileStore, MemoryStore, Repository, Secret, Store,
    WriterOptions, compress_block, decompress_block,
};

const BLOCKS: usize = 2000;
const BLOCK: usize = 128 << 10;

/// Something like documents: words, numbers, ids; zstd-3 makes 0.3 of it.
fn document_like(rng: &dyn Rng) -> Vec<u8> {
    let words = ["status", "active", "customer", "order", "city", "Berlin", "amount", "created"];
    let mut out = Vec::with_capacity(BLOCK + 64);
    while out.len() < BLOCK {
        let n = rng.next_u64();
        out.extend_from_slice(words[(n % 8) as usize].as_bytes());
        out.extend_from_slice(words[(n / 8 % 8) as usize].as_bytes());
        out.extend_from_slice(&n.to_le_bytes()[..3]);
        out.extend_from_slice(b"\x00\x00\x00\x00\x10_id\x00");
        out.extend_from_slice(words[(n / 64 % 8) as usize].as_bytes());
    }
    out.truncate(BLOCK);
    out
}

#[allow(clippy::print_stdout, reason = "an example talks to people")]
fn show(what: &str, took: Duration) {
    let mb = (BLOCKS * BLOCK) as f64 / 1e6;
    println!("{what:<44} {:>7.0} MB/s", mb / took.as_secs_f64());
}

async fn put_all(
    repo: &Repository,
    level: i32,
    data: &[Vec<u8>],
    clock: &SystemClock,
    what: &str,
) -> Result<Vec<BlockRef>> {
    let options = WriterOptions { level, ..WriterOptions::default() };
    let writer = BlockWriter::new(repo.clone(), options);
    let start = clock.monotonic();
    let mut blocks = Vec::with_capacity(data.len());
    for raw in data {
        blocks.push(writer.put(raw).await?);
    }
    writer.flush().await?;
    show(&format!("{what}: put, level {level}"), clock.monotonic() - start);
    Ok(blocks)
}

async fn run(repo: Repository, what: &str, data: &[Vec<u8>], clock: &SystemClock) -> Result<()> {
    for level in [1, 3] {
        let blocks = put_all(&repo, level, data, clock, what).await?;
        let reader = BlockReader::new(repo.clone(), 32 << 20);
        let start = clock.monotonic();
        for block in &blocks {
            reader.read(block).await?;
        }
        show(&format!("{what}: read one by one"), clock.monotonic() - start);
        let reader = BlockReader::new(repo.clone(), 32 << 20);
        let start = clock.monotonic();
        for batch in blocks.chunks(64) {
            reader.read_many(batch).await?;
        }
        show(&format!("{what}: read 64 at a time"), clock.monotonic() - start);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let clock = Arc::new(SystemClock::new());
    let rng = SeededRng::new(1);
    let data: Vec<Vec<u8>> = (0..BLOCKS).map(|_| document_like(&rng)).collect();
    for level in [1, 3] {
        let start = clock.monotonic();
        let packed =
            data.iter().map(|raw| compress_block(level, raw)).collect::<Result<Vec<_>>>()?;
        show(&format!("libzstd alone: compress, level {level}"), clock.monotonic() - start);
        let start = clock.monotonic();
        for zstd in &packed {
            decompress_block(BLOCK as u32, zstd)?;
        }
        show("libzstd alone: decompress", clock.monotonic() - start);
    }
    let folder = std::env::args().nth(1);
    for encrypted in [false, true] {
        let store: Arc<dyn Store> = match &folder {
            Some(path) => Arc::new(FileStore::create(format!("{path}/{encrypted}"))?),
            None => Arc::new(MemoryStore::new(clock.clone())),
        };
        let text = format!("bygone-key-1:{}", "07".repeat(32));
        let secret = Secret::parse_key(&text).filter(|_| encrypted);
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let repo = Repository::create(store, secret.as_ref(), rng, clock.as_ref()).await?;
        run(repo, if encrypted { "encrypted" } else { "plain" }, &data, &clock).await?;
    }
    Ok(())
}
