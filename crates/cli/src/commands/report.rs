//! What `up` and `backup` say while they run: one line per event.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bygone_agent::{Phase, Progress};
use bygone_base::{ByteSize, Clock};
use bygone_daemon::JobStatus;
use serde_json::json;
use tokio::sync::{mpsc::UnboundedReceiver, watch};

use crate::output::Output;

/// A line of progress at least this often while something goes on.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// What cannot be waited for is looked at so often.
const LOOK: Duration = Duration::from_secs(1);

/// Where the rest of what is said comes from.
#[async_trait]
pub trait Reported: Send + Sync {
    /// The daemon's part, while it runs.
    fn job(&self) -> Option<watch::Receiver<JobStatus>>;
    /// Why the job cannot be served now.
    async fn problem(&self) -> Option<String>;
}

/// One daemon, all the time.
#[async_trait]
impl Reported for watch::Receiver<JobStatus> {
    fn job(&self) -> Option<watch::Receiver<JobStatus>> {
        Some(self.clone())
    }

    async fn problem(&self) -> Option<String> {
        None
    }
}

/// Says what changes, for ever.
pub async fn report(
    output: Output,
    clock: Arc<dyn Clock>,
    mut agents: UnboundedReceiver<watch::Receiver<Progress>>,
    of: impl Reported,
) {
    let mut said = Said::default();
    let (mut agent, mut job) = (None, of.job());
    loop {
        tokio::select! {
            Some(next) = agents.recv() => {
                agent = Some(next);
                said.agent_is_new();
            }
            () = changed(&mut agent) => {}
            () = changed(&mut job) => {}
            () = clock.sleep(LOOK) => {
                // Stopped and started again, it is another.
                job = of.job();
                said.problem(&output, of.problem().await);
            }
        }
        if let Some(agent) = &agent {
            said.agent(&output, &agent.borrow().clone(), clock.monotonic());
        }
        if let Some(job) = &job {
            said.job(&output, &job.borrow().clone());
        }
    }
}

/// Until there is something new; for ever where nothing more can come.
async fn changed<T>(receiver: &mut Option<watch::Receiver<T>>) {
    let new = match receiver {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => false,
    };
    if !new {
        std::future::pending::<()>().await;
    }
}

#[derive(Default)]
struct Said {
    phase: Option<Phase>,
    transfer: Duration,
    agent_message: Option<String>,
    noticed: u64,
    job: JobStatus,
    problem: Option<String>,
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

    /// Another agent counts its notices from the beginning.
    fn agent_is_new(&mut self) {
        self.noticed = 0;
    }

    fn problem(&mut self, output: &Output, now: Option<String>) {
        if now != self.problem {
            if let Some(problem) = &now {
                let value = json!({"problem": problem});
                output.event("problem", format!("problem: {problem}; it is tried again"), value);
            }
            self.problem = now;
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

/// An agent's progress, for programs.
pub fn agent_json(p: &Progress) -> serde_json::Value {
    json!({
        "phase": p.phase.as_str(), "member": p.member,
        "collections_done": p.collections_done, "collections": p.collections,
        "documents": p.documents, "documents_total": p.documents_total,
        "bytes": p.bytes, "bytes_total": p.bytes_total, "bytes_per_second": p.bytes_per_second,
        "chain": p.chain.ts.to_string(), "lag_secs": p.lag_secs(),
    })
}
