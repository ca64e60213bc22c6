//! How fast runs are made, trees built, merged and folded, per CPU second, in memory:
//! `cargo run --release -p bygone-tree --example tree_speed [documents [operations]]`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

use std::{sync::Arc, time::Duration};

use bson::{RawDocumentBuf, oid::ObjectId, rawdoc};
use bygone_base::{Clock, CollectionId, Rng, SeededRng, SystemClock, Ts};
use bygone_blockstore::{BlockReader, BlockWriter, MemoryStore, Repository, WriterOptions};
use bygone_document::id_key;
use bygone_tree::{
    DocsBuilder, KeyRange, Merge, MergeOptions, OpKind, Position, RunBuffer, RunOp, RunRoot,
    TreeInfo,
    cutter::cut_for,
    density::density,
    docs::LeafStyle,
    fold::{Fold, fold},
    plan::{FoldPlan, FoldPolicy},
};

const COLL: CollectionId = CollectionId([7; 16]);
/// Operations per run: about what a head gathers in 64 MB.
const RUN: usize = 500_000;

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>().unwrap());
    let (docs, ops) = (args.next().unwrap_or(1_000_000), args.next().unwrap_or(1_000_000));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(measure(docs, ops));
}

/// Wall and CPU time of what is done between `start` and `show`.
struct Watch {
    clock: SystemClock,
    wall: Duration,
    cpu: f64,
}

impl Watch {
    fn start() -> Self {
        let clock = SystemClock::new();
        Watch { wall: clock.monotonic(), cpu: cpu_seconds(), clock }
    }

    fn show(&self, what: &str, amount: f64, unit: &str) {
        let wall = (self.clock.monotonic() - self.wall).as_secs_f64();
        let cpu = cpu_seconds() - self.cpu;
        println!(
            "{what:<34} wall {wall:6.2} s  cpu {cpu:6.2} s  {:8.2} {unit}/cpu-s",
            amount / cpu.max(0.01)
        );
    }
}

/// User and system time of this process, from /proc (100 ticks a second).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    let ticks = |n: usize| after.split_whitespace().nth(n).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// An ObjectId such as a driver makes: a thousand documents share a second.
fn id(index: u64) -> ObjectId {
    let mut bytes = [0x5a; 12];
    bytes[..4].copy_from_slice(&(1_700_000_000 + (index / 1000) as u32).to_be_bytes());
    bytes[9..].copy_from_slice(&(index as u32).to_be_bytes()[1..]);
    ObjectId::from_bytes(bytes)
}

/// About 500 bytes: words, numbers, and some that do not compress.
fn document(index: u64, rng: &SeededRng) -> RawDocumentBuf {
    let mut noise = [0; 60];
    rng.fill(&mut noise);
    let words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"];
    let text: Vec<&str> = noise.iter().take(40).map(|b| words[usize::from(b % 8)]).collect();
    rawdoc! {
        "_id": id(index), "customer": index as i64 % 5000, "total": index as f64 * 0.37,
        "state": words[index as usize % 8], "text": text.join(" "),
        "noise": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: noise.to_vec() },
    }
}

async fn measure(docs: usize, ops: usize) {
    let clock = Arc::new(SystemClock::new());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let rng = Arc::new(SeededRng::new(1));
    let repo = Repository::create(store, None, rng.clone(), clock.as_ref()).await.unwrap();
    let reader = BlockReader::new(repo.clone(), 16 << 20);
    let writer = |level| {
        let options = WriterOptions { level, ..WriterOptions::default() };
        Arc::new(BlockWriter::new(repo.clone(), options))
    };
    let all: Vec<(Vec<u8>, RawDocumentBuf)> = (0..docs as u64)
        .map(|index| document(index, &rng))
        .map(|doc| (id_key(doc.as_bytes()).unwrap(), doc))
        .collect();
    let mb = all.iter().map(|(_, doc)| doc.as_bytes().len()).sum::<usize>() as f64 / 1e6;
    println!("{docs} documents, {mb:.0} MB, {ops} updates");
    let base = build(&all, writer(1), mb).await;
    let runs = make_runs(&all, ops, &rng, writer(1)).await;
    read(&reader, &base, &[], "merge, nothing changed", mb).await;
    read(&reader, &base, &runs, "merge, with the updates", mb).await;
    let watch = Watch::start();
    let mut plan = FoldPlan::new(FoldPolicy::default());
    density(&reader, &base, &runs, COLL, Ts::MAX, |leaf| plan.push(leaf)).await.unwrap();
    watch.show("plan a fold", ops as f64 / 1e6, "M ops");
    for level in [1, 3] {
        let watch = Watch::start();
        let options = MergeOptions::new(COLL, Ts(u64::MAX - 1));
        let (base, runs, options) = (&base, &runs[..], &options);
        let input = Fold { reader: &reader, base, runs, options, trim: None };
        let writer = writer(level);
        fold(&input, &[KeyRange::all()], &writer).await.unwrap();
        writer.flush().await.unwrap();
        watch.show(&format!("fold, zstd-{level}"), ops as f64 / 1e6, "M ops");
    }
}

async fn build(all: &[(Vec<u8>, RawDocumentBuf)], writer: Arc<BlockWriter>, mb: f64) -> TreeInfo {
    let watch = Watch::start();
    let cut = cut_for((mb * 1e6) as u64 / all.len() as u64);
    let style = LeafStyle { cut, capped: false, as_of: Ts(1), valid_from: Ts(1) };
    let mut builder = DocsBuilder::new(writer.clone(), style);
    for (key, doc) in all {
        builder.push(key, doc.as_bytes(), Position::default()).await.unwrap();
    }
    let root = builder.finish().await.unwrap();
    writer.flush().await.unwrap();
    watch.show("build a tree, zstd-1", mb, "MB");
    TreeInfo::of(root, cut, Ts(1), Ts(1))
}

async fn make_runs(
    all: &[(Vec<u8>, RawDocumentBuf)],
    ops: usize,
    rng: &SeededRng,
    writer: Arc<BlockWriter>,
) -> Vec<RunRoot> {
    // In the order of the operations, as an oplog has them: what is measured is not the lookup.
    let chosen: Vec<Vec<u8>> =
        (0..ops).map(|_| all[(rng.next_u64() % all.len() as u64) as usize].0.clone()).collect();
    let mut diff = rawdoc! {
        "$v": 2, "diff": { "u": { "total": 1.5, "at": bson::DateTime::from_millis(1) } }
    }
    .into_bytes();
    let watch = Watch::start();
    let clock = SystemClock::new();
    let mut parts = [Duration::ZERO; 3];
    let mut runs = Vec::new();
    for (part, chosen) in chosen.chunks(RUN).enumerate() {
        let start = clock.monotonic();
        let mut buffer = RunBuffer::new();
        for (index, key) in chosen.iter().enumerate() {
            let ts = (part * RUN + index + 2) as u64;
            let place = diff.len() - 11;
            diff[place..place + 8].copy_from_slice(&ts.to_le_bytes());
            let (coll, kind) = (COLL, OpKind::Update);
            buffer.push(&RunOp { coll, key, ts: Ts(ts), n: 0, kind, value: &diff });
        }
        let pushed = clock.monotonic();
        let sorted = buffer.sort();
        let end = clock.monotonic();
        runs.extend(sorted.write(&writer).await.unwrap());
        let times = [pushed - start, end - pushed, clock.monotonic() - end];
        parts.iter_mut().zip(times).for_each(|(sum, time)| *sum += time);
    }
    writer.flush().await.unwrap();
    watch.show("push, sort, write runs, zstd-1", ops as f64 / 1e6, "M ops");
    println!("    push {:.2?}, sort {:.2?}, write {:.2?}", parts[0], parts[1], parts[2]);
    let (raw, stored) = (runs.iter().map(|run| run.bytes).sum::<u64>(), writer.stats());
    println!("    {} bytes raw per operation; {stored:?}", raw / ops.max(1) as u64);
    runs
}

async fn read(reader: &BlockReader, base: &TreeInfo, runs: &[RunRoot], what: &str, mb: f64) {
    let watch = Watch::start();
    let options = MergeOptions::new(COLL, Ts(u64::MAX - 1));
    let mut merge = Merge::open(reader, base, runs, options).await.unwrap();
    let mut bytes = 0;
    while let Some(piece) = merge.next().await.unwrap() {
        bytes += piece.docs_bytes().len();
    }
    assert!(bytes > 0);
    watch.show(what, mb, "MB");
}
