//! `bygone backup`: one incremental backup, then exit.

use std::process::ExitCode;

use bygone_base::{ByteSize, Result};
use bygone_daemon::{Job, JobOptions};
use bygone_ingest::compact::CompactOptions;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    source::{Wired, policy, wire},
    up::{cancelled, spawn_report},
};
use crate::{args::BackupArgs, output::Output};

/// Copies what is new since the last backup, takes a snapshot, keeps what the policy says.
pub async fn run(args: BackupArgs, output: &Output) -> Result<ExitCode> {
    let Wired { agent, progress, ingest, key, part, clock } =
        wire(&args.source, &args.store, None).await?;
    let mut tasks = JoinSet::new();
    let shutdown = super::on_signal(&mut tasks);
    let options = JobOptions {
        policy: policy(&args.keep),
        groom_delay: args.keep.groom_delay,
        ..JobOptions::default()
    };
    let (job, status) =
        Job::new(ingest.clone(), key.clone(), part.clone(), part, clock.clone(), options);
    spawn_report(&mut tasks, *output, clock.clone(), progress, status);
    let started = clock.monotonic();
    agent.run_until_now(&shutdown).await?;
    if shutdown.is_cancelled() {
        return Err(cancelled());
    }
    let manifest = tokio::select! {
        done = job.once() => done?,
        () = shutdown.cancelled() => return Err(cancelled()),
    };
    ingest.compact(&key, clock.now(), &CompactOptions::default()).await?;
    let took = clock.monotonic().saturating_sub(started);
    output.result(
        format!(
            "{} holds {} ({}): {} new in {:.1} s",
            manifest.id,
            manifest.at.ts.to_rfc3339(),
            manifest.at.ts,
            ByteSize(manifest.stats.new_bytes),
            took.as_secs_f64()
        ),
        &json!({
            "snapshot": manifest.id.as_str(), "at": manifest.at.ts.to_string(),
            "documents": manifest.stats.documents, "new_bytes": manifest.stats.new_bytes,
            "seconds": took.as_secs_f64(),
        }),
    );
    Ok(ExitCode::SUCCESS)
}
