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
    let labels = format!("job=\"{}\",part=\"{}\"", key.job, key.part);
    let phase = |phase: &str| format!("{labels},phase=\"{phase}\"");
    let stored = agent.chain.ts.secs();
    let read = job.position.ts.secs();
    let taken = job.snapshot_at.map_or(0, |at| at.secs());
    let flag = |on: bool| u64::from(on);
    let rows: [(&str, &str, &str, String, u64); 14] = [
        (
            "info",
            "gauge",
            "Version of bygone.",
            format!("{labels},version=\"{}\"", env!("CARGO_PKG_VERSION")),
            1,
        ),
        ("agent_phase", "gauge", "What the agent does.", phase(agent.phase.as_str()), 1),
        ("backup_phase", "gauge", "Where the backup stands.", phase(job.phase.as_str()), 1),
        (
            "lag_seconds",
            "gauge",
            "How far what is stored is behind the source, in cluster time.",
            labels.clone(),
            agent.lag_secs().into(),
        ),
        (
            "stored_timestamp_seconds",
            "gauge",
            "Cluster time of the newest stored oplog entry.",
            labels.clone(),
            stored.into(),
        ),
        (
            "head_timestamp_seconds",
            "gauge",
            "Cluster time of the newest oplog entry that the head has read.",
            labels.clone(),
            read.into(),
        ),
        (
            "snapshot_timestamp_seconds",
            "gauge",
            "Cluster time of the newest snapshot; 0 before the first.",
            labels.clone(),
            taken.into(),
        ),
        (
            "snapshots_total",
            "counter",
            "Snapshots taken by this process.",
            labels.clone(),
            job.taken,
        ),
        (
            "pending_operations",
            "gauge",
            "Operations since the newest snapshot.",
            labels.clone(),
            job.pending_ops,
        ),
        (
            "oplog_entries_total",
            "counter",
            "Oplog entries stored by this process.",
            labels.clone(),
            agent.entries,
        ),
        (
            "sent_bytes_total",
            "counter",
            "Compressed bytes stored by this process.",
            labels.clone(),
            agent.sent,
        ),
        (
            "sync_bytes",
            "gauge",
            "Bytes of documents copied by the initial sync in this process.",
            labels.clone(),
            agent.bytes,
        ),
        (
            "failed",
            "gauge",
            "1 while the backup fails.",
            labels.clone(),
            flag(job.failure.is_some()),
        ),
        (
            "resync_required",
            "gauge",
            "1 while a new initial sync is asked for.",
            labels.clone(),
            flag(job.resync.is_some()),
        ),
    ];
    let mut text = String::new();
    for (name, kind, help, labels, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "# HELP bygone_{name} {help}\n# TYPE bygone_{name} {kind}\nbygone_{name}{{{labels}}} {value}"
        );
    }
    text
}
