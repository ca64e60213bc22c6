//! `bygone up`: everything in one process.

use std::{process::ExitCode, sync::Arc, time::Duration};

use bygone_agent::{Agent, Phase, Progress};
use bygone_base::{ByteSize, Error, ErrorKind, Result};
use bygone_daemon::{Job, JobStatus};
use bygone_ingest::http::TlsFiles;
use bygone_oplog::uplink::PartKey;
use bygone_snapshot::Parts;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use super::{
    shown::{Process, agent_json},
    source::{Wired, job_options, wire},
};
use crate::{args::UpArgs, output::Output};

/// A line of progress at least this often while something goes on.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Runs until Ctrl-C.
pub async fn run(args: UpArgs, output: &Output) -> Result<ExitCode> {
    let options = job_options(&args.keep, Some(args.interval))?;
    let Wired { agent, progress, ingest, key, part, clock } =
        wire(&args.source, &args.store, &options.policy, Some(args.flush)).await?;
    let mut signals = JoinSet::new();
    let shutdown = super::on_signal(&mut signals);
    warn_of_delay(&args, output);
    let Parts { snapshots, oplog } = part;
    let location = snapshots.repository().store().location();
    greet(output, &key, &location);
    let (job, status) =
        Job::new(ingest.clone(), key.clone(), snapshots, oplog, clock.clone(), options);
    let shown = Arc::new(Process::new(key.clone(), progress.clone(), status.clone()));
    let server = match &args.listen {
        Some(address) => {
            let tls = args.tls_cert.zip(args.tls_key);
            let tls = tls.map(|(certificate, key)| TlsFiles { certificate, key });
            Some(super::status::serve(address, tls, ingest, clock.clone(), shown).await?)
        }
        None => None,
    };
    let mut reporting = JoinSet::new();
    let out = *output;
    let asked = status.clone();
    reporting.spawn(async move { report(out, clock, progress, status).await });
    let agent_run = async {
        let ended = agent.run(&shutdown).await;
        shutdown.cancel();
        ended
    };
    let resyncs = async {
        tokio::select! {
            refused = resync_when_asked(&agent, asked) => {
                shutdown.cancel();
                Err(refused)
            }
            () = shutdown.cancelled() => Ok(()),
        }
    };
    let serving = async {
        match server {
            Some(server) => server.run(shutdown.cancelled()).await,
            None => Ok(()),
        }
    };
    let (agent_end, resync_end, job_end, serve_end) =
        tokio::join!(agent_run, resyncs, job.run(&shutdown), serving);
    reporting.abort_all();
    let chain = agent_end.map_err(|e| taken_over(e, &key))?;
    resync_end?;
    serve_end?;
    job_end?;
    output.event(
        "stopped",
        format!("stopped; stored up to {chain}"),
        json!({"chain": chain.ts.to_string()}),
    );
    Ok(ExitCode::SUCCESS)
}

fn greet(output: &Output, key: &PartKey, location: &str) {
    let (part, job) = (key.part.as_str(), key.job.as_str());
    output.event(
        "up",
        format!(
            "backing up {part} to {location} as job {job}; Ctrl-C stops, the next start resumes"
        ),
        json!({"part": part, "job": job, "store": location}),
    );
}

fn warn_of_delay(args: &UpArgs, output: &Output) {
    if args.interval >= args.keep.groom_delay {
        output.event(
            "warning",
            "warning: --interval is not below --groom-delay: another process that grooms this store \
             could delete what is written between two snapshots",
            json!({"warning": "short groom delay"}),
        );
    }
}

/// Hands the job's wish for a resync to the agent; gives the error when that refuses.
async fn resync_when_asked(agent: &Agent, mut job: watch::Receiver<JobStatus>) -> Error {
    let mut asked = None;
    loop {
        let wanted = job.borrow_and_update().resync.clone();
        if wanted != asked
            && let Some(reason) = &wanted
            && let Err(refused) = agent.request_resync(reason)
        {
            return refused;
        }
        asked = wanted;
        if job.changed().await.is_err() {
            // The job has ended, and with it the wishes.
            return std::future::pending().await;
        }
    }
}

/// A conflict of the agent means one thing to people, however it shows.
pub fn taken_over(error: Error, key: &PartKey) -> Error {
    if error.kind() != ErrorKind::Conflict {
        return error;
    }
    let PartKey { job, part } = key;
    error
        .within(format!("another bygone backs up job {job}, replica set {part}; this one stops"))
        .hint(
            "run only one `bygone up` or `bygone backup` for a job, or give them names with --name",
        )
}

/// Says what changes, one line per event.
async fn report(
    output: Output,
    clock: Arc<dyn bygone_base::Clock>,
    mut agent: watch::Receiver<Progress>,
    mut job: watch::Receiver<JobStatus>,
) {
    let mut said = Said::default();
    loop {
        tokio::select! {
            Ok(()) = agent.changed() => {}
            Ok(()) = job.changed() => {}
            () = clock.sleep(SAY_EVERY) => {}
            else => return,
        }
        said.agent(&output, &agent.borrow().clone(), clock.monotonic());
        said.job(&output, &job.borrow().clone());
    }
}

#[derive(Default)]
struct Said {
    phase: Option<Phase>,
    transfer: Duration,
    agent_message: Option<String>,
    noticed: u64,
    job: JobStatus,
}

impl Said {
    fn agent(&mut self, output: &Output, now: &Progress, at: Duration) {
        for notice in now.notices_after(self.noticed) {
            output.event("notice", format!("agent: {notice}"), json!({"notice": notice}));
        }
        self.noticed = now.noticed;
        let changed = self.phase != Some(now.phase);
        let due = at.saturating_sub(self.transfer) >= SAY_EVERY;
        if changed || (now.phase == Phase::Transferring && due) {
            self.phase = Some(now.phase);
            self.transfer = at;
            output.event("agent", agent_line(now), agent_json(now));
        }
        if now.message != self.agent_message {
            self.agent_message.clone_from(&now.message);
            if let Some(message) = &now.message {
                output.event("agent", format!("agent: {message}"), json!({"message": message}));
            }
        }
    }

    fn job(&mut self, output: &Output, now: &JobStatus) {
        if now.phase != self.job.phase {
            let word = now.phase.as_str();
            output.event("job", format!("backup: {word}"), json!({"phase": word}));
        }
        if now.message != self.job.message && !now.message.is_empty() {
            let value = json!({"message": now.message, "failed": now.failure.is_some()});
            output.event("job", format!("backup: {}", now.message), value);
        }
        self.job = now.clone();
    }
}

fn agent_line(p: &Progress) -> String {
    match p.phase {
        Phase::Transferring => {
            let left = p.bytes_total.saturating_sub(p.bytes);
            let eta = left.checked_div(p.bytes_per_second).map(|s| format!(", {s} s left"));
            format!(
                "initial sync: transferring, {} of {} collections, {} of {} documents, {} of {}, {}{}",
                p.collections_done,
                p.collections,
                p.documents,
                p.documents_total,
                ByteSize(p.bytes),
                ByteSize(p.bytes_total),
                crate::output::rate(p.bytes_per_second as f64),
                eta.unwrap_or_default()
            )
        }
        Phase::Starting => format!("agent: starting {}", p.member),
        phase => format!("agent: {} {}, stored up to {}", phase.as_str(), p.member, p.chain.ts),
    }
}

/// For `backup`: the same lines.
pub fn spawn_report(
    tasks: &mut JoinSet<()>,
    output: Output,
    clock: Arc<dyn bygone_base::Clock>,
    agent: watch::Receiver<Progress>,
    job: watch::Receiver<JobStatus>,
) {
    tasks.spawn(async move { report(output, clock, agent, job).await });
}

/// The failure of a cancelled command.
pub fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "stopped before the end")
        .hint("the next run goes on from what is stored")
}
