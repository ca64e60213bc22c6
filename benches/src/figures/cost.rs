//! What the source pays while `up` follows it.

use std::{path::Path, sync::Arc, time::Duration};

use bson::{RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use bygone_base::{Clock, SystemClock};
use mongodb::Client;
use tokio::task::JoinSet;

use crate::{
    context::{Context, Server},
    data::{KINDS, document},
    measure::middle,
    report::Report,
};

/// Seconds per measurement.
const SINGLE: Duration = Duration::from_secs(12);
const BULK: Duration = Duration::from_secs(6);
/// Writers at once.
const WRITERS: u64 = 2;

/// How somebody writes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Single,
    Bulk,
}

/// Writes until `until`; how many documents.
async fn writer(
    client: Client,
    way: Way,
    seed: u64,
    clock: Arc<SystemClock>,
    until: Duration,
) -> u64 {
    let db = client.database("cost");
    let docs: Vec<RawDocumentBuf> =
        (0..1000).map(|i| document(&KINDS[2], seed * 1000 + i)).collect();
    let without_id = |doc: &RawDocumentBuf| {
        let mut out = rawdoc! {};
        let rest = doc.iter().map(|e| e.expect("element")).filter(|(key, _)| *key != "_id");
        rest.for_each(|(key, value)| out.append(key, value));
        out
    };
    let mut array = RawArrayBuf::new();
    docs.iter().for_each(|doc| array.push(without_id(doc)));
    let bulk = rawdoc! {"insert": "bulk", "documents": array};
    let single: Vec<RawDocumentBuf> = docs.iter().map(without_id).collect();
    let mut written = 0;
    while clock.monotonic() < until {
        if way == Way::Bulk {
            db.run_raw_command(bulk.clone()).await.expect("insert");
            written += 1000;
        } else {
            let mut one = RawArrayBuf::new();
            one.push(single[written as usize % single.len()].clone());
            db.run_raw_command(rawdoc! {"insert": "single", "documents": one})
                .await
                .expect("insert");
            written += 1;
        }
    }
    written
}

/// What one measurement found.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    per_second: f64,
    server_micros: f64,
    up_micros: f64,
}

async fn measure(context: &Context, source: &Server, way: Way, store: Option<&Path>) -> Found {
    let up = match store {
        Some(store) => Some(context.up(source, store).await),
        None => None,
    };
    source.settle().await;
    let clock = Arc::new(SystemClock::new());
    let took = if way == Way::Single { SINGLE } else { BULK };
    let (server, own) = (source.cpu(), up.as_ref().map_or(0.0, |up| up.cpu()));
    let mut writers = JoinSet::new();
    for seed in 0..WRITERS {
        writers.spawn(writer(source.client.clone(), way, seed, clock.clone(), took));
    }
    let mut written = 0.0;
    while let Some(done) = writers.join_next().await {
        written += done.expect("a writer") as f64;
    }
    let seconds = clock.monotonic().as_secs_f64();
    let found = Found {
        per_second: written / seconds,
        server_micros: (source.cpu() - server) * 1e6 / written,
        up_micros: (up.as_ref().map_or(0.0, |up| up.cpu()) - own) * 1e6 / written,
    };
    if let (Some(up), Some(store)) = (up, store) {
        context.stored(source, store).await;
        up.interrupt();
        up.end().await;
    }
    source.client.database("cost").run_command(doc! {"dropDatabase": 1}).await.expect("drop");
    found
}

fn medians(found: &[Found]) -> Found {
    let of = |field: fn(&Found) -> f64| middle(found.iter().map(field).collect());
    Found {
        per_second: of(|f| f.per_second),
        server_micros: of(|f| f.server_micros),
        up_micros: of(|f| f.up_micros),
    }
}

/// Writers with and without `up`.
pub async fn cost(context: &Context) -> Report {
    let (source, store) = (context.source(), context.path("store"));
    context.backup(source, &store).await;
    let mut report = Report::default();
    report.details += "\n| writers | `up` | documents/s | x | server CPU us/document | x | `up` CPU us/document |\n|---|---|---|---|---|---|---|\n";
    for (way, name) in [(Way::Single, "single inserts"), (Way::Bulk, "batches of 1000")] {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..context.rounds {
            without.push(measure(context, source, way, None).await);
            with.push(measure(context, source, way, Some(&store)).await);
        }
        let (without, with) = (medians(&without), medians(&with));
        let (speed, cpu) =
            (with.per_second / without.per_second, with.server_micros / without.server_micros);
        if way == Way::Single {
            report.at_least("cost/single", "two writers of single inserts keep", 0.95, speed, "");
            report.at_most("cost/cpu", "the same: CPU of the source per document", 1.10, cpu, "x");
        } else {
            report.at_least(
                "cost/bulk",
                "two bulk writers on the same two cores keep",
                0.6,
                speed,
                "",
            );
        }
        report.details += &format!(
            "| {WRITERS} x {name} | no | {:.0} | 1.00 | {:.1} | 1.00 | - |\n| | yes | {:.0} | {speed:.2} | {:.1} | {cpu:.2} | {:.1} |\n",
            without.per_second,
            without.server_micros,
            with.per_second,
            with.server_micros,
            with.up_micros
        );
    }
    std::fs::remove_dir_all(store).expect("remove");
    report
}
