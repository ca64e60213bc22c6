//! `bygone snapshots`: what there is to restore.

use std::{fmt::Write as _, process::ExitCode};

use bygone_base::{ByteSize, Result, UnixMillis};
use bygone_head::{Overview, describe, overview};
use bygone_snapshot::{Keep, Manifest, Parts};
use serde_json::json;

use crate::{access, args::SnapshotsArgs, output::Output};

/// Lists snapshots and ranges.
pub async fn run(args: SnapshotsArgs, output: &Output) -> Result<ExitCode> {
    let clock = access::clock();
    let stores = access::open(&args.store, clock, false).await?;
    for Parts { snapshots: part, oplog } in
        access::parts_of(&stores, args.job.job.as_deref()).await?
    {
        let Overview { snapshots, ranges, .. } = overview(&part, &oplog).await?;
        let manifests = snapshots.manifests;
        let keeps = part.keeps().await?;
        let ranges: Vec<_> = ranges.into_iter().flatten().collect();
        let mut text = format!("job {}, replica set {}\n", part.job(), part.part());
        let _ = writeln!(
            text,
            "{:26} {:21} {:>12} {:>10} {:>10} {:>10}",
            "snapshot", "moment", "documents", "bytes", "new", "pending"
        );
        for m in &manifests {
            let _ = writeln!(text, "{}", row(m, keeps.get(&m.id)));
        }
        for (id, why) in &snapshots.damaged {
            let _ = writeln!(text, "{:26} DAMAGED {why}", id.as_str());
        }
        for range in &ranges {
            let _ = writeln!(text, "restorable: {}", describe(range));
        }
        let value = json!({
            "job": part.job().as_str(), "part": part.part().as_str(),
            "snapshots": manifests.iter().map(|m| object(m, keeps.get(&m.id))).collect::<Vec<_>>(),
            "damaged": snapshots.damaged.iter().map(|(id, why)| json!({
                "id": id.as_str(), "why": why.to_string(),
            })).collect::<Vec<_>>(),
            "ranges": ranges.iter().map(|r| json!({
                "from": r.from.to_string(), "to": r.to.to_string(),
                "from_time": r.from.to_rfc3339(), "to_time": r.to.to_rfc3339(),
            })).collect::<Vec<_>>(),
        });
        output.result(text, &value);
    }
    Ok(ExitCode::SUCCESS)
}

/// A snapshot's own retention in words.
pub fn kept(keep: &Keep) -> String {
    match keep.until {
        None => "kept for ever".to_owned(),
        Some(until) => format!("kept until {}", instant(until)),
    }
}

/// Seconds as an instant.
fn instant(secs: u64) -> String {
    let ms = i64::try_from(secs).unwrap_or(i64::MAX / 1000).saturating_mul(1000);
    UnixMillis(ms).to_rfc3339_seconds()
}

fn row(m: &Manifest, keep: Option<&Keep>) -> String {
    let pending: u64 = m.runs.iter().map(|r| r.ops).sum();
    format!(
        "{:26} {:21} {:>12} {:>10} {:>10} {:>10}{}",
        m.id.as_str(),
        m.at.ts.to_rfc3339(),
        m.stats.documents,
        ByteSize(m.stats.bytes).to_string(),
        ByteSize(m.stats.new_bytes).to_string(),
        pending,
        keep.map(|keep| format!("  {}", kept(keep))).unwrap_or_default()
    )
}

fn object(m: &Manifest, keep: Option<&Keep>) -> serde_json::Value {
    json!({
        "id": m.id.as_str(), "at": m.at.ts.to_string(), "time": m.at.ts.to_rfc3339(),
        "timeline": m.timeline.0, "documents": m.stats.documents, "bytes": m.stats.bytes,
        "new_bytes": m.stats.new_bytes, "new_blocks": m.stats.new_blocks,
        "pending_operations": m.runs.iter().map(|r| r.ops).sum::<u64>(),
        "collections": m.stats.collections, "kept_for_ever": keep.is_some_and(|keep| keep.until.is_none()),
        "kept_until": keep.and_then(|keep| keep.until).map(instant),
        "source": { "set": m.source.set, "version": m.source.version, "fcv": m.source.fcv },
    })
}
