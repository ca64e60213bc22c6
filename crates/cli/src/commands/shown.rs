//! What a running process shows of its jobs: as JSON to `status --server`, as metrics to Prometheus, as readiness to probes.

use std::sync::Arc;

use bygone_agent::{Phase, Progress};
use bygone_catalog::record::Job;
use bygone_control::{
    Control,
    views::{AgentLive, Live},
};
use bygone_daemon::{JobPhase, JobStatus};
use bygone_ingest::http::Shown;
use serde_json::json;

/// An agent further behind than this is not ready. (Ops Manager alerts after 75 minutes; nobody restores to a second
/// from a backup that is an hour old.)
const BEHIND_SECS: u64 = 300;

/// All jobs of a process.
#[derive(Debug)]
pub struct Board {
    control: Arc<Control>,
    /// The process is there for its jobs: it is ready while they follow their sources.
    strict: bool,
}

impl Board {
    /// Of a server: ready as soon as it answers.
    pub fn new(control: Arc<Control>) -> Board {
        Board { control, strict: false }
    }

    /// Of `up`: ready while every job follows its source.
    pub fn of_jobs(control: Arc<Control>) -> Board {
        Board { control, strict: true }
    }
}

impl Shown for Board {
    fn status(&self) -> String {
        let jobs = self.control.live();
        let job = |(record, live): &(Job, Live)| {
            json!({
                "job": record.name, "part": record.set, "phase": live.phase, "percent": live.percent,
                "agent": live.agent.as_ref().map(live_json), "backup": job_json(&live.backup),
            })
        };
        json!({"jobs": jobs.iter().map(job).collect::<Vec<_>>()}).to_string()
    }

    fn metrics(&self) -> String {
        let mut m = Metrics::default();
        m.labelled("", "info", "version", env!("CARGO_PKG_VERSION"), "Version of bygone.");
        for (record, live) in self.control.live() {
            let labels = labels(&record.name, record.set.as_deref().unwrap_or_default());
            if let Some(agent) = &live.agent {
                agent_metrics(&mut m, &labels, agent);
            }
            backup_metrics(&mut m, &labels, &live.backup);
        }
        m.text()
    }

    fn ready(&self) -> bool {
        let jobs = self.control.live();
        !self.strict || !jobs.is_empty() && jobs.iter().all(|(_, live)| follows(live))
    }
}

fn follows(live: &Live) -> bool {
    let current = live.agent.as_ref().is_some_and(|agent| {
        agent.phase == Phase::Tailing.as_str() && agent.lag_secs <= BEHIND_SECS
    });
    current && live.backup.phase == JobPhase::Complete && live.backup.failure.is_none()
}

fn live_json(a: &AgentLive) -> serde_json::Value {
    json!({
        "phase": a.phase, "member": a.member, "message": a.message,
        "collections_done": a.collections.0, "collections": a.collections.1, "documents": a.documents,
        "bytes": a.bytes.0, "bytes_total": a.bytes.1, "bytes_per_second": a.bytes_per_second,
        "chain": a.stored.to_string(), "lag_secs": a.lag_secs,
    })
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
fn agent_metrics(m: &mut Metrics, labels: &str, agent: &AgentLive) {
    m.labelled(labels, "agent_phase", "phase", &agent.phase, "What the agent does.");
    let help = "How far what is stored is behind the source, in cluster time.";
    m.gauge(labels, "lag_seconds", agent.lag_secs, help);
    let help = "Cluster time of the newest stored oplog entry.";
    m.gauge(labels, "stored_timestamp_seconds", agent.stored.secs().into(), help);
    let help = "Oplog entries stored by this agent.";
    m.counter(labels, "oplog_entries_total", agent.entries, help);
    let help = "Compressed bytes stored by this agent.";
    m.counter(labels, "sent_bytes_total", agent.sent, help);
    let help = "Bytes of documents copied by this agent's initial sync.";
    m.gauge(labels, "sync_bytes", agent.bytes.0, help);
}

fn backup_metrics(m: &mut Metrics, labels: &str, job: &JobStatus) {
    m.labelled(labels, "backup_phase", "phase", job.phase.as_str(), "Where the backup stands.");
    let read = job.position.ts.secs().into();
    let help = "Cluster time of the newest entry that the head has read.";
    m.gauge(labels, "head_timestamp_seconds", read, help);
    let taken = job.snapshot_at.map_or(0, |at| at.secs().into());
    let help = "Cluster time of the newest snapshot; 0 before it.";
    m.gauge(labels, "snapshot_timestamp_seconds", taken, help);
    m.counter(labels, "snapshots_total", job.taken, "Snapshots taken by this process.");
    let help = "Operations since the newest snapshot.";
    m.gauge(labels, "pending_operations", job.pending_ops, help);
    m.gauge(labels, "failed", job.failure.is_some().into(), "1 while the backup fails.");
    let help = "1 while an initial sync is asked for.";
    m.gauge(labels, "resync_required", job.resync.is_some().into(), help);
}

/// Names of jobs and parts hold nothing that would have to be escaped.
fn labels(job: &str, part: &str) -> String {
    format!("job=\"{job}\",part=\"{part}\"")
}

/// The text format of Prometheus: all rows of a name stand together.
#[derive(Default)]
struct Metrics {
    rows: Vec<(String, String)>,
}

impl Metrics {
    fn labelled(&mut self, labels: &str, name: &str, label: &str, value: &str, help: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let labels = format!("{labels}{comma}{label}=\"{value}\"");
        self.row("gauge", name, &labels, 1, help);
    }

    fn gauge(&mut self, labels: &str, name: &str, value: u64, help: &str) {
        self.row("gauge", name, labels, value, help);
    }

    fn counter(&mut self, labels: &str, name: &str, value: u64, help: &str) {
        self.row("counter", name, labels, value, help);
    }

    fn row(&mut self, kind: &str, name: &str, labels: &str, value: u64, help: &str) {
        let head = format!("# HELP bygone_{name} {help}\n# TYPE bygone_{name} {kind}\n");
        let row = format!("bygone_{name}{{{labels}}} {value}\n");
        match self.rows.iter_mut().find(|(known, _)| *known == head) {
            Some((_, rows)) => rows.push_str(&row),
            None => self.rows.push((head, row)),
        }
    }

    fn text(&self) -> String {
        self.rows.iter().flat_map(|(head, rows)| [head.as_str(), rows.as_str()]).collect()
    }
}
