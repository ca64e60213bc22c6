//! What a running `up` shows of itself: as JSON to `status --server`, as metrics to Prometheus, as readiness to probes.

use std::fmt::Write as _;

use bygone_agent::{Phase, Progress};
use bygone_daemon::{JobPhase, JobStatus};
use bygone_ingest::http::Shown;
use bygone_oplog::uplink::PartKey;
use serde_json::json;
use tokio::sync::watch;

/// An agent further behind than this is not ready. (Ops Manager alerts after 75 minutes; nobody restores to a second
/// from a backup that is an hour old.)
const BEHIND_SECS: u32 = 300;

/// One part's agent and job in this process.
#[derive(Debug)]
pub struct Process {
    key: PartKey,
    agent: watch::Receiver<Progress>,
    job: watch::Receiver<JobStatus>,
}

impl Process {
    pub fn new(
        key: PartKey,
        agent: watch::Receiver<Progress>,
        job: watch::Receiver<JobStatus>,
    ) -> Process {
        Process { key, agent, job }
    }
}

impl Shown for Process {
    fn status(&self) -> String {
        let mut value = agent_json(&self.agent.borrow());
        if let Some(object) = value.as_object_mut() {
            object.insert("job".into(), self.key.job.as_str().into());
            object.insert("part".into(), self.key.part.as_str().into());
            object.insert("backup".into(), job_json(&self.job.borrow()));
        }
        value.to_string()
    }

    fn metrics(&self) -> String {
        metrics(&self.key, &self.agent.borrow(), &self.job.borrow())
    }

    fn ready(&self) -> bool {
        let (agent, job) = (self.agent.borrow(), self.job.borrow());
        let follows = agent.phase == Phase::Tailing && agent.lag_secs() <= BEHIND_SECS;
        follows && job.phase == JobPhase::Complete && job.failure.is_none()
    }
}

pub fn agent_json(p: &Progress) -> serde_json::Value {
    json!({
        "phase": p.phase.as_str(), "member": p.member,
        "collections_done": p.collections_done, "collections": p.collections,
        "documents": p.documents, "documents_total": p.documents_total,
        "bytes": p.bytes, "bytes_total": p.bytes_total, "bytes_per_second": p.bytes_per_second,
        "chain": p.chain.ts.to_string(), "lag_secs": p.lag_secs(),
    })
}

fn job_json(s: &JobStatus) -> serde_json::Value {
    json!({
        "phase": s.phase.as_str(), "position": s.position.ts.to_string(),
        "pending_operations": s.pending_ops, "snapshots_taken": s.taken,
        "snapshot": s.snapshot.as_ref().map(|id| id.as_str()), "failure": s.failure,
    })
}

/// Names and units as Prometheus wants them: seconds, bytes, `_total` for what only grows.
fn metrics(key: &PartKey, agent: &Progress, job: &JobStatus) -> String {
    let mut m = Metrics::new(key);
    m.labelled("info", "version", env!("CARGO_PKG_VERSION"), "Version of bygone.");
    m.labelled("agent_phase", "phase", agent.phase.as_str(), "What the agent does.");
    m.labelled("backup_phase", "phase", job.phase.as_str(), "Where the backup stands.");
    let lag = agent.lag_secs().into();
    m.gauge("lag_seconds", lag, "How far what is stored is behind the source, in cluster time.");
    let stored = agent.chain.ts.secs().into();
    m.gauge("stored_timestamp_seconds", stored, "Cluster time of the newest stored oplog entry.");
    let read = job.position.ts.secs().into();
    m.gauge(
        "head_timestamp_seconds",
        read,
        "Cluster time of the newest entry that the head has read.",
    );
    let taken = job.snapshot_at.map_or(0, |at| at.secs().into());
    m.gauge(
        "snapshot_timestamp_seconds",
        taken,
        "Cluster time of the newest snapshot; 0 before it.",
    );
    m.counter("snapshots_total", job.taken, "Snapshots taken by this process.");
    m.gauge("pending_operations", job.pending_ops, "Operations since the newest snapshot.");
    m.counter("oplog_entries_total", agent.entries, "Oplog entries stored by this process.");
    m.counter("sent_bytes_total", agent.sent, "Compressed bytes stored by this process.");
    m.gauge("sync_bytes", agent.bytes, "Bytes of documents copied by this process's initial sync.");
    m.gauge("failed", job.failure.is_some().into(), "1 while the backup fails.");
    m.gauge(
        "resync_required",
        job.resync.is_some().into(),
        "1 while an initial sync is asked for.",
    );
    m.text
}

/// The text format of Prometheus.
struct Metrics {
    labels: String,
    text: String,
}

impl Metrics {
    fn new(key: &PartKey) -> Metrics {
        // Names of jobs and parts hold nothing that would have to be escaped.
        let labels = format!("job=\"{}\",part=\"{}\"", key.job, key.part);
        Metrics { labels, text: String::new() }
    }

    fn labelled(&mut self, name: &str, label: &str, value: &str, help: &str) {
        let labels = format!("{},{label}=\"{value}\"", self.labels);
        self.row("gauge", name, &labels, 1, help);
    }

    fn gauge(&mut self, name: &str, value: u64, help: &str) {
        self.row("gauge", name, &self.labels.clone(), value, help);
    }

    fn counter(&mut self, name: &str, value: u64, help: &str) {
        self.row("counter", name, &self.labels.clone(), value, help);
    }

    fn row(&mut self, kind: &str, name: &str, labels: &str, value: u64, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP bygone_{name} {help}\n# TYPE bygone_{name} {kind}");
        let _ = writeln!(self.text, "bygone_{name}{{{labels}}} {value}");
    }
}
