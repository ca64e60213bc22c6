//! A job that runs in this process.

use std::sync::{Arc, Mutex, PoisonError};

use bygone_base::UnixMillis;
use bygone_catalog::record::Job as JobRecord;
use bygone_daemon::{Job, JobPhase, JobStatus};
use bygone_ingest::Ingest;
use bygone_oplog::uplink::PartKey;
use tokio::sync::watch;

use crate::{
    health::lag_secs,
    views::{AgentLive, Live},
};

/// Its ingest, its daemon's job and where that stands.
#[derive(Debug)]
pub(crate) struct Running {
    /// The record it was started by.
    pub(crate) record: JobRecord,
    /// Part.
    pub(crate) key: PartKey,
    /// Takes what agents send.
    pub(crate) ingest: Arc<Ingest>,
    /// Head and snapshots.
    pub(crate) job: Arc<Job>,
    /// Status of that.
    pub(crate) status: watch::Receiver<JobStatus>,
    /// How far an initial sync had come when it was looked at, and since when.
    motion: Mutex<Option<(Motion, UnixMillis)>>,
}

/// What changes while an initial sync goes on: phase, percent, documents, bytes, entries.
type Motion = (&'static str, u8, u64, u64, u64);

impl Running {
    pub(crate) fn new(
        record: JobRecord,
        key: PartKey,
        ingest: Arc<Ingest>,
        job: Arc<Job>,
        status: watch::Receiver<JobStatus>,
    ) -> Running {
        Running { record, key, ingest, job, status, motion: Mutex::default() }
    }

    /// Whether it runs where the record has it now. (The source is the agent's; schedule and retention are handed over
    /// while it runs.)
    pub(crate) fn is_of(&self, record: &JobRecord) -> bool {
        self.record.stores == record.stores && self.record.set == record.set
    }

    /// Hands on a snapshot that was asked for; gives the count of requests that were served.
    pub(crate) fn serve_requests(&self, record: &JobRecord) -> u64 {
        if record.requests.snapshot > record.requests.snapshot_done {
            self.job.request_snapshot(record.requests.snapshot);
        }
        self.status.borrow().served
    }

    /// What it does now.
    pub(crate) fn live(&self, now: UnixMillis) -> Live {
        let backup = self.status.borrow().clone();
        let agent = self.agent(now);
        let (phase, percent) = phase(agent.as_ref(), &backup);
        match &agent {
            Some(agent) => {
                let (stored, lag_secs) = (agent.stored, lag_secs(agent.stored, agent.source, now));
                Live { stored, lag_secs, agent: Some(agent.clone()), backup, phase, percent }
            }
            // No agent was heard since this process began: the head knows how far what is stored reaches.
            None => {
                let stored = backup.position.ts.max(backup.snapshot_at.unwrap_or_default());
                let lag_secs = lag_secs(stored, stored, now);
                Live { stored, lag_secs, agent, backup, phase, percent }
            }
        }
    }

    /// Since when nothing was seen to change in what an initial sync has done. To be asked again and again.
    pub(crate) fn still_since(&self, live: &Live, now: UnixMillis) -> UnixMillis {
        let of = live.agent.as_ref().map_or((0, 0, 0), |a| (a.documents, a.bytes.0, a.entries));
        let motion = (live.phase, live.percent, of.0, of.1, of.2);
        let mut seen = self.motion.lock().unwrap_or_else(PoisonError::into_inner);
        match *seen {
            // Of the future is what a clock saw that was put back since.
            Some((before, since)) if before == motion && since <= now => since,
            _ => {
                *seen = Some((motion, now));
                now
            }
        }
    }

    fn agent(&self, now: UnixMillis) -> Option<AgentLive> {
        let part = self.ingest.status(&self.key)?;
        let report = part.report.unwrap_or_default();
        let source = report.source.ts.max(part.chain.ts);
        Some(AgentLive {
            host: part.holder.clone(),
            holder: part.holder,
            phase: report.phase,
            member: report.member,
            message: report.message,
            collections: (report.collections_done, report.collections_total),
            documents: report.documents,
            bytes: (report.bytes, report.bytes_total),
            bytes_per_second: report.bytes_per_second,
            entries: report.entries,
            sent: report.sent,
            stored: part.chain.ts,
            source,
            lag_secs: lag_secs(part.chain.ts, source, now).unwrap_or_default(),
            heard: part.heard,
            skew_ms: if report.at.0 == 0 { 0 } else { report.at.since(part.heard) },
        })
    }
}

/// The agent's phases first, then the daemon's; and how far that is within the initial sync.
fn phase(agent: Option<&AgentLive>, backup: &JobStatus) -> (&'static str, u8) {
    match backup.phase {
        JobPhase::Complete => ("complete", 100),
        JobPhase::Stopped => ("stopped", 0),
        JobPhase::Building => ("building", 80),
        JobPhase::ApplyingOplogs => ("applying oplogs", 85),
        JobPhase::FetchingMissing => ("fetching missing documents", 90),
        JobPhase::CreatingIndexes => ("creating indexes", 95),
        JobPhase::Waiting => match agent {
            Some(agent) if agent.phase == "transferring" => ("transferring", share(agent.bytes)),
            _ => ("starting", 0),
        },
    }
}

/// Transferring is what takes long: up to 75 of 100.
fn share((done, total): (u64, u64)) -> u8 {
    let percent = done.saturating_mul(75).checked_div(total).unwrap_or(0).min(75);
    u8::try_from(percent).unwrap_or(75)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_is_the_agents_until_its_data_is_there() {
        let agent =
            AgentLive { phase: "transferring".into(), bytes: (50, 100), ..AgentLive::default() };
        let mut backup = JobStatus::default();
        assert_eq!(phase(None, &backup), ("starting", 0));
        assert_eq!(phase(Some(&agent), &backup), ("transferring", 37));
        backup.phase = JobPhase::Building;
        assert_eq!(phase(Some(&agent), &backup), ("building", 80));
        backup.phase = JobPhase::Complete;
        assert_eq!(phase(Some(&agent), &backup), ("complete", 100));
        assert_eq!(share((5, 0)), 0);
    }
}
