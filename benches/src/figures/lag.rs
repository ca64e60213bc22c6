//! How long after its majority commit a write is durable in the store.

use std::{sync::Arc, time::Duration};

use bson::{Document, doc};
use bygone_base::{Clock, OpTime, SystemClock, Ts};
use bygone_snapshot::{PartStore, oplog};
use mongodb::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::percentile;
use crate::{
    context::{Context, url},
    data::Dice,
    parts::part_store,
    report::Report,
};

/// Writes per second.
const RATE: u64 = 5000;
/// Writes per batch, half of them inserts and half updates.
const BATCH: u64 = 250;
/// How long.
const SECONDS: u64 = 120;
/// How often the store is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A batch: its last operation, when it was sent, and when its majority commit was known.
type Written = (Ts, Duration, Duration);

/// Writes at the rate until the time is over.
async fn write(client: Client, clock: Arc<SystemClock>) -> Vec<Written> {
    let db = client.database("lag");
    let (began, every) = (clock.monotonic(), Duration::from_secs(1) * BATCH as u32 / RATE as u32);
    let mut dice = Dice::new(5);
    let mut written = Vec::new();
    for batch in 0..SECONDS * RATE / BATCH {
        let due = began + every * batch as u32;
        clock.sleep(due.saturating_sub(clock.monotonic())).await;
        let sent = clock.monotonic();
        let half = BATCH / 2;
        let docs: Vec<Document> = (0..half)
            .map(|i| doc! {"_id": (batch * half + i) as i64, "n": 0, "text": format!("{:0>200}", dice.next())})
            .collect();
        let insert = doc! {"insert": "writes", "documents": docs};
        db.run_command(insert).await.expect("insert");
        let updates: Vec<Document> = (0..half)
            .map(|_| doc! {"q": {"_id": dice.below((batch + 1) * half) as i64}, "u": {"$inc": {"n": 1}}})
            .collect();
        let concern = doc! {"w": "majority"};
        let update = doc! {"update": "writes", "updates": updates, "writeConcern": concern};
        let reply = db.run_command(update).await.expect("update");
        let at = reply.get_timestamp("operationTime").expect("operationTime");
        written.push((Ts::new(at.time, at.increment), sent, clock.monotonic()));
    }
    written
}

/// Notes when the store's chain reached which entry.
async fn watch(
    part: PartStore,
    clock: Arc<SystemClock>,
    stop: CancellationToken,
) -> Vec<(Ts, Duration)> {
    let timelines = part.timelines().await.expect("timelines");
    let timeline = timelines.last().expect("a timeline").id;
    let mut seen: Vec<(Ts, Duration)> = Vec::new();
    let mut newest = OpTime::default();
    while !stop.is_cancelled() {
        let names = oplog::names(&part, timeline).await.expect("names");
        let last = names.iter().rfind(|name| name.last.is_none());
        if let Some(name) = last.filter(|name| name.prev > newest) {
            newest = name.prev;
            if let Some(slice) = oplog::read(&part, name).await.expect("slice") {
                seen.push((slice.header().last.ts, clock.monotonic()));
            }
        }
        clock.sleep(LOOK).await;
    }
    seen
}

/// 5,000 writes a second for two minutes.
pub async fn lag(context: &Context) -> Report {
    let (source, store) = (context.source(), context.path("store"));
    let clock = Arc::new(SystemClock::new());
    let up = context.up(source, &store).await;
    let part = part_store(&url(&store), clock.clone()).await;
    let stop = CancellationToken::new();
    let mut watching = JoinSet::new();
    watching.spawn(watch(part, clock.clone(), stop.clone()));
    let (before, cpu, began) = (source.cpu(), up.cpu(), clock.monotonic());
    let written = write(source.client.clone(), clock.clone()).await;
    let took = (clock.monotonic() - began).as_secs_f64();
    context.stored(source, &store).await;
    stop.cancel();
    let seen = watching.join_next().await.expect("a task").expect("a task");
    let (server, own) = (source.cpu() - before, up.cpu() - cpu);
    up.interrupt();
    let (cost, _) = up.end().await;
    let lags = |since: fn(&Written) -> Duration| {
        let mut all: Vec<f64> = written
            .iter()
            .map(|batch| {
                let durable = seen.iter().find(|(ts, _)| *ts >= batch.0);
                durable
                    .map_or(f64::INFINITY, |(_, at)| at.saturating_sub(since(batch)).as_secs_f64())
            })
            .collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let (known, sent) = (lags(|b| b.2), lags(|b| b.1));
    let mut report = Report::default();
    let what = "5,000 writes/s: durable after majority commit, p99";
    report.at_most("lag/p99", what, 1.0, percentile(&known, 99), "s");
    report.note(format!(
        "{:.0} writes/s in batches of {BATCH} for {took:.0} s. After the majority commit was known to the writer: p50 {:.3}, \
         p99 {:.3}, most {:.3} s; after the batch was sent: p50 {:.3}, p99 {:.3} s. {} slices. CPU: bygone {own:.1} s, server \
         {server:.1} s; peak memory of `up` (with its initial sync) {:.0} MB. A slice counts as durable when its name is seen, \
         looked for every {} ms; the folder's fsync ends a moment later.",
        written.len() as f64 * BATCH as f64 / took,
        percentile(&known, 50), percentile(&known, 99), percentile(&known, 100),
        percentile(&sent, 50), percentile(&sent, 99),
        seen.len(), cost.rss, LOOK.as_millis()
    ));
    source.client.database("lag").drop().await.expect("drop");
    std::fs::remove_dir_all(store).expect("remove");
    report
}
