//! The figures: bygone and its peers side by side, in turn, in one run.
//!
//! ```text
//! make bench [ONLY=sync,lag] ──▶ figures/*  (what is compared)  ──▶ report ──▶ screen, docs/performance.md
//!                                   │    └─ data (what on), context (servers, binaries)
//!                                   └─ measure (processes from outside)   parts (pieces of bygone as a process)
//! ```
//!
//! Invariants:
//! 1. Pairs are measured in turn, several rounds, and medians are compared: the machine is never quiet for long.
//! 2. Everything measured is a process of its own, seen from outside: wall, CPU, peak memory.
//! 3. The disk stays bounded: no history on the servers, what was measured is removed.
//!
//! Not here: tests of correctness, except that what was restored is compared with the source.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    reason = "a measuring program, which ends by panicking"
)]

mod context;
mod data;
mod figures;
mod idle;
mod measure;
mod parts;
mod report;

use std::{fs, path::PathBuf};

use bygone_base::{Clock as _, SystemClock};

use crate::{context::Context, report::Figure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is measured, in this order: what changes the data comes later.
const BENCHES: [&str; 13] = [
    "sync",
    "network",
    "dump",
    "restore-dump",
    "bsondump",
    "head",
    "snapshot",
    "growth",
    "pitr",
    "lag",
    "cost",
    "jobs",
    "jobs-soak",
];

/// These have sources of their own, and one round.
const APART: [&str; 2] = ["jobs", "jobs-soak"];

/// Only when it is asked for: it takes long, and compares with nothing.
const ASKED: &str = "jobs-soak";

/// Says what goes on.
fn say(what: &str) {
    eprintln!("bench: {what}");
}

/// What was asked for.
struct Asked {
    benches: Vec<&'static str>,
    rounds: u32,
    date: String,
    document: Option<PathBuf>,
    words: String,
}

/// `[--only a,b] [--rounds N] [--date D] [--document FILE]`
fn asked(args: &[String]) -> Asked {
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).filter(|value| !value.is_empty()).cloned()
    };
    let only = value("--only");
    let wanted = |bench: &&str| {
        only.as_ref().map_or(*bench != ASKED, |only| only.split(',').any(|o| o == *bench))
    };
    let known = ["--only", "--rounds", "--date", "--document"];
    let strange = args.iter().step_by(2).find(|arg| !known.contains(&arg.as_str()));
    assert!(
        strange.is_none() && args.len().is_multiple_of(2),
        "bygone-bench [--only A,B] [--rounds N] [--date D] [--document FILE]"
    );
    for name in only.iter().flat_map(|only| only.split(',')) {
        assert!(BENCHES.contains(&name), "{name:?} is none of {BENCHES:?}");
    }
    Asked {
        benches: BENCHES.into_iter().filter(wanted).collect(),
        rounds: value("--rounds").map_or(3, |n| n.parse().expect("--rounds N")),
        date: value("--date").unwrap_or_default(),
        document: value("--document").map(PathBuf::from),
        words: only.map_or("make bench".to_owned(), |only| format!("make bench ONLY={only}")),
    }
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("part-ingest") => parts::ingest(&args[1]).await,
        Some("part-agent") => parts::agent(&args[1], &args[2]).await,
        Some("part-head") => parts::head(&args[1]).await,
        _ => bench(&asked(&args)).await,
    }
}

async fn bench(asked: &Asked) {
    let clock = SystemClock::new();
    let mut context = Context::new(asked.rounds);
    let mut all: Vec<Figure> = Vec::new();
    for name in &asked.benches {
        let apart = APART.contains(name);
        if !apart {
            context.prepare().await;
        }
        say(name);
        let (began, before) = (clock.monotonic(), load());
        let report = figures::run(name, &context).await;
        let took = (clock.monotonic() - began).as_secs();
        print!("{}{}", report::table(&report.figures), report.details);
        let header = format!(
            "`{}` on {}, {}; {} in {took} s, load average {before} before and {} after.",
            asked.words,
            asked.date,
            machine(),
            if apart { "one round".to_owned() } else { format!("{} rounds", asked.rounds) },
            load()
        );
        if let Some(document) = &asked.document {
            report::write(document, name, &report, &header);
        }
        all.extend(report.figures);
    }
    println!("\n{}", report::table(&all));
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names: Vec<&str> = text.lines().filter(|l| l.starts_with("model name")).collect();
    let name = names.first().and_then(|l| l.split_once(':')).map_or("?", |(_, name)| name.trim());
    format!("{} cores of {name}", names.len())
}
