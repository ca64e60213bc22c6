//! `/status`: what `bygone status --server` shows.

use bygone_control::views::{AgentLive, JobView, Live};
use serde_json::{Value, json};

/// All of it, as JSON.
pub(super) fn text(jobs: &[JobView]) -> String {
    json!({"jobs": jobs.iter().map(job).collect::<Vec<_>>()}).to_string()
}

fn job(view: &JobView) -> Value {
    let live = view.live.as_ref();
    json!({
        "job": view.job.name, "part": view.job.set, "state": view.standing.as_str(),
        "problem": view.problem, "lag_secs": live.and_then(|live| live.lag_secs),
        "phase": live.map(|live| live.phase), "percent": live.map(|live| live.percent),
        "agent": live.and_then(|live| live.agent.as_ref()).map(agent),
        "backup": live.map(backup),
    })
}

fn agent(a: &AgentLive) -> Value {
    json!({
        "phase": a.phase, "member": a.member, "message": a.message,
        "collections_done": a.collections.0, "collections": a.collections.1, "documents": a.documents,
        "bytes": a.bytes.0, "bytes_total": a.bytes.1, "bytes_per_second": a.bytes_per_second,
        "chain": a.stored.to_string(), "lag_secs": a.lag_secs,
    })
}

fn backup(live: &Live) -> Value {
    let s = &live.backup;
    json!({
        "phase": s.phase.as_str(), "position": s.position.ts.to_string(),
        "pending_operations": s.pending_ops, "snapshots_taken": s.taken,
        "snapshot": s.snapshot.as_ref().map(|id| id.as_str()), "failure": s.failure,
    })
}
