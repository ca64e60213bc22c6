//! Measures the loader alone: documents come from memory.
//!
//! `load_alone URI MEGABYTES [--verify] [--connections N]` makes three collections of
//! documents of about a kilobyte, restores them with `drop`, and prints the time
//! and the processor time that the load took. `load_alone URI DIR ..` takes the `*.bson` files of one
//! database of a dump instead (into the database `bench`).

#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bson::{RawDocumentBuf, rawdoc};
use bygone_base::{Clock as _, CollectionId, Error, Result, Rng as _, SeededRng, SystemClock, Ts};
use bygone_restore::{
    Chunk, Contents, Namespace, PlanOptions, Progress, RunOptions, Target,
    memory::MemoryDocuments,
    model::{Source, SourceCollection},
};
use bytes::Bytes;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHUNK: usize = 256 << 10;

/// Processor time of this process in seconds, as Linux counts it (100 ticks a second).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn document(rng: &SeededRng, n: u32) -> RawDocumentBuf {
    let mut id = [0; 12];
    id[..4].copy_from_slice(&(1_700_000_000 + n / 50).to_be_bytes());
    id[8..].copy_from_slice(&n.to_be_bytes());
    let mut noise = [0; 500];
    rng.fill(&mut noise[..120]);
    let word = |i: usize| format!("word{:05}", u16::from_le_bytes([noise[i], noise[i + 1]]));
    let words: Vec<_> = (0..40).map(|i| word(i * 2)).collect();
    rawdoc! {
        "_id": bson::oid::ObjectId::from_bytes(id), "customer": i64::from(n % 9973), "total": f64::from(n) * 1.25,
        "status": word(0), "created": bson::DateTime::from_millis(1_700_000_000_000 + i64::from(n)),
        "text": words.join(" "), "noise": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: noise.to_vec() },
    }
}

fn chunks(documents: impl Iterator<Item = Vec<u8>>) -> Data {
    let (mut chunks, mut open, mut count, mut total, mut bytes) = (Vec::new(), Vec::new(), 0, 0, 0);
    for document in documents {
        bytes += document.len() as u64;
        total += 1;
        count += 1;
        open.extend_from_slice(&document);
        if open.len() > CHUNK {
            chunks.push(Chunk { documents: Bytes::from(std::mem::take(&mut open)), count });
            count = 0;
        }
    }
    chunks.push(Chunk { documents: open.into(), count });
    (chunks, total, bytes)
}

fn split(file: Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = u32::from_le_bytes(*file.get(at..)?.first_chunk::<4>()?) as usize;
        let document = file.get(at..at + length)?.to_vec();
        at += length;
        Some(document)
    })
}

/// Chunks of a collection, how many documents, how many bytes.
type Data = (Vec<Chunk>, u64, u64);

fn sources(from: &str) -> Result<Vec<(String, Data)>> {
    if let Ok(megabytes) = from.parse::<u32>() {
        let rng = SeededRng::new(1);
        let share = |part: u32| {
            chunks(
                (0..megabytes * part / 10)
                    .flat_map(|mb| (0..1024).map(move |i| mb * 1024 + i))
                    .map(|n| document(&rng, n).into_bytes()),
            )
        };
        return Ok(vec![
            ("orders".into(), share(5)),
            ("events".into(), share(3)),
            ("users".into(), share(2)),
        ]);
    }
    let listed = std::fs::read_dir(Path::new(from)).map_err(|e| Error::io(from, e))?;
    let mut found = Vec::new();
    for entry in
        listed.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "bson"))
    {
        let name = entry.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file = std::fs::read(&entry).map_err(|e| Error::io(entry.display(), e))?;
        found.push((name, chunks(split(file))));
    }
    Ok(found)
}

fn memory(from: &str) -> Result<MemoryDocuments> {
    let (mut collections, mut data) = (Vec::new(), BTreeMap::new());
    for (n, (name, (chunks, documents, bytes))) in (1_u8..).zip(sources(from)?) {
        let id = CollectionId([n; 16]);
        data.insert(id, chunks);
        let indexes = vec![rawdoc! {"v": 2, "key": {"customer": 1}, "name": "customer_1"}];
        let name = Namespace::new("bench", name);
        collections.push(SourceCollection {
            id,
            name,
            options: rawdoc! {},
            indexes,
            capped: false,
            documents,
            bytes,
        });
    }
    let version = bygone_restore::ServerVersion::new(4, 4);
    let source = Source { set: "memory".to_owned(), version, fcv: version };
    let contents =
        Contents { at: Ts::new(1, 1), source, collections, views: vec![], operations: 0 };
    Ok(MemoryDocuments::new(contents, data))
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [uri, from, flags @ ..] = args.as_slice() else {
        return Err(Error::usage("load_alone URI (MEGABYTES | DIR) [--verify] [--connections N]"));
    };
    let verify = flags.iter().any(|f| f == "--verify");
    let connections = flags.iter().skip_while(|f| *f != "--connections").nth(1);
    let connections = connections.and_then(|n| n.parse().ok()).unwrap_or(2);
    let documents = Arc::new(memory(from)?);
    let clock = Arc::new(SystemClock::new());
    let target = Target::connect(uri, clock.clone()).await?;
    let facts = target.facts().await?;
    let options = PlanOptions { drop: true, verify, ..PlanOptions::default() };
    let plan =
        bygone_restore::plan(bygone_restore::Documents::contents(&*documents), &facts, &options)?;
    println!("{plan}");
    let (progress, _watch) = tokio::sync::watch::channel(Progress::default());
    let (cpu, start) = (cpu_seconds(), clock.monotonic());
    let options = RunOptions { connections, verify };
    let restored = bygone_restore::run(documents, &target, &facts, plan, options, progress).await?;
    let wall = clock.monotonic().saturating_sub(start).as_secs_f64();
    println!(
        "{} documents, {} bytes: wall {wall:.2} s (load {:.2} s), cpu {:.2} s",
        restored.documents,
        restored.bytes,
        restored.elapsed.as_secs_f64(),
        cpu_seconds() - cpu
    );
    if let Some(proof) = restored.proof {
        println!("{proof}");
    }
    Ok(())
}
