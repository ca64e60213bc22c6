//! `bygone backup`: one incremental backup, then exit.

use std::process::ExitCode;

use bygone_base::{ByteSize, ErrorKind, Result};
use bygone_daemon::{Job, resynced_lately};
use bygone_ingest::compact::CompactOptions;
use bygone_snapshot::Parts;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    report::report,
    source::{Wired, job_options, wire},
    up::taken_over,
};
use crate::{args::BackupArgs, output::Output};

/// Copies what is new since the last backup, takes a snapshot, keeps what the policy says.
pub async fn run(args: BackupArgs, output: &Output) -> Result<ExitCode> {
    let options = job_options(&args.keep, None)?;
    let Wired { agent, progress, ingest, key, part, clock } =
        wire(&args.source, &args.store, &options.terms.policy).await?;
    let mut tasks = JoinSet::new();
    let shutdown = super::on_signal(&mut tasks);
    let Parts { snapshots, oplog } = part;
    let (job, status) = Job::new(
        ingest.clone(),
        key.clone(),
        snapshots.clone(),
        oplog.clone(),
        clock.clone(),
        options,
    );
    let (started, agents) = mpsc::unbounded_channel();
    let _ = started.send(progress);
    let (out, told) = (*output, clock.clone());
    tasks.spawn(async move { report(out, told, agents, status).await });
    let started = clock.monotonic();
    let backup = async || {
        agent.run_until_now(&shutdown).await.map_err(|e| taken_over(e, &key))?;
        if shutdown.is_cancelled() {
            return Err(super::cancelled());
        }
        tokio::select! {
            done = job.once() => done,
            () = shutdown.cancelled() => Err(super::cancelled()),
        }
    };
    let manifest = match backup().await {
        Err(error) if error.kind() == ErrorKind::ResyncRequired => {
            if resynced_lately(&snapshots, &oplog, clock.now()).await.is_some() {
                return Err(error.within("a resync began only lately and did not help"));
            }
            let why = error.to_string();
            agent.request_resync(&why)?;
            backup().await?
        }
        done => done?,
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
