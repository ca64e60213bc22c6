//! Runs one initial sync of a replica set into nothing and prints its figures:
//! `cargo run --release -p bygone-agent --example figures -- mongodb://127.0.0.1:27017`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bygone_agent::{Agent, AgentOptions, MongoSource, SourceUri};
use bygone_base::{Clock, Epoch, OpTime, Result, SyncId, SystemClock, SystemRng, TimelineId};
use bygone_oplog::uplink::{
    Ack, AgentReport, Hello, PartState, Session, SessionRef, SyncEnd, SyncPlan, SyncSlice,
    TimelineReason, Uplink,
};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// Counts and forgets.
#[derive(Default)]
struct Nothing {
    blocks: AtomicU64,
    scan: AtomicU64,
    oplog: AtomicU64,
}

#[async_trait]
impl Uplink for Nothing {
    async fn open(&self, _: Hello) -> Result<Session> {
        Ok(Session {
            epoch: Epoch(1),
            timeline: TimelineId(0),
            state: PartState::Empty { why: None },
        })
    }

    async fn begin_sync(
        &self,
        _: &SessionRef,
        _: OpTime,
        _: TimelineReason,
    ) -> Result<(TimelineId, SyncId)> {
        Ok((TimelineId(1), SyncId([1; 8])))
    }

    async fn plan_sync(&self, _: &SessionRef, plan: SyncPlan) -> Result<()> {
        let ranges: usize = plan.collections.iter().map(|c| c.ranges.len() + 1).sum();
        println!("{} collections, {ranges} ranges", plan.collections.len());
        Ok(())
    }

    async fn sync_slice(&self, _: &SessionRef, slice: SyncSlice) -> Result<Ack> {
        let bytes: usize = slice.blocks.iter().map(|b| b.zstd.len()).sum();
        self.blocks.fetch_add(slice.blocks.len() as u64, Ordering::Relaxed);
        self.scan.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(Ack::Stored)
    }

    async fn end_sync(&self, _: &SessionRef, _: SyncEnd) -> Result<()> {
        Ok(())
    }

    async fn oplog_slice(&self, _: &SessionRef, slice: Bytes) -> Result<Ack> {
        self.oplog.fetch_add(slice.len() as u64, Ordering::Relaxed);
        Ok(Ack::Stored)
    }

    async fn fork(&self, _: &SessionRef, _: OpTime) -> Result<TimelineId> {
        Ok(TimelineId(2))
    }

    async fn report(&self, _: &SessionRef, _: AgentReport) -> Result<()> {
        Ok(())
    }
}

/// CPU seconds and peak memory in MB of this process (Linux).
fn usage() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|p| p.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    ((ticks(11) + ticks(12)) / 100.0, kib.unwrap_or(0) / 1024)
}

#[tokio::main]
async fn main() {
    let uri = std::env::args().nth(1).unwrap();
    let clock = Arc::new(SystemClock::new());
    let source = MongoSource::new(SourceUri::parse(&uri).unwrap(), clock.clone()).await.unwrap();
    let uplink = Arc::new(Nothing::default());
    let options = AgentOptions::new("figures".parse().unwrap());
    let (agent, progress) = Agent::new(
        Arc::new(source),
        Arc::clone(&uplink) as _,
        clock.clone(),
        Arc::new(SystemRng),
        options,
    );
    let start = clock.monotonic();
    agent.run_until_now(&CancellationToken::new()).await.unwrap();
    let wall = (clock.monotonic() - start).as_secs_f64();
    let (cpu, rss) = usage();
    let p = progress.borrow();
    let mb = p.bytes as f64 / 1e6;
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    println!(
        "{} documents, {mb:.0} MB raw, {:.0} MB sent",
        p.documents,
        count(&uplink.scan) as f64 / 1e6
    );
    println!("{} blocks, {} bytes of oplog", count(&uplink.blocks), count(&uplink.oplog));
    println!("{wall:.2} s wall, {:.0} MB/s, {cpu:.2} s CPU, {rss} MB peak", mb / wall);
}
