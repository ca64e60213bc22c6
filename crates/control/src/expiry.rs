//! Expiry of snapshots and slices: one chore for each job that keeps any, by the clock.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use bygone_base::{Error, ErrorKind, Result, SnapshotId};
use bygone_catalog::{
    Id,
    record::{Job, JobState, Keeping, ScheduleSpec},
};
use bygone_daemon::{Tidied, tidy};
use bygone_ingest::{Ingest, Options};
use bygone_oplog::uplink::PartKey;
use futures::StreamExt as _;

use crate::{Control, schedules::terms};

/// A job's snapshots are looked at so often, ...
const EVERY: Duration = Duration::from_secs(3600);
/// ... and so soon again where somebody reads, or the store could not be reached.
const AGAIN: Duration = Duration::from_secs(60);
/// Jobs at once.
const AT_ONCE: usize = 8;
/// One that takes longer does not keep the others waiting.
const LIMIT: Duration = Duration::from_secs(600);

/// What was done last for each job.
#[derive(Debug, Default)]
pub(crate) struct Done(Mutex<HashMap<Id, Last>>);

#[derive(Debug, Clone, PartialEq)]
struct Last {
    at: Duration,
    /// Whether everything that was old went.
    whole: bool,
    /// What it was done by: where one of these is another, it is due again.
    by: Cause,
}

#[derive(Debug, Clone, PartialEq)]
struct Cause {
    newest: Option<SnapshotId>,
    schedule: ScheduleSpec,
    keep: Option<Keeping>,
}

fn is_due(last: Option<&Last>, by: &Cause, now: Duration) -> bool {
    let Some(last) = last else { return true };
    let again = if last.whole { EVERY } else { AGAIN };
    last.by != *by || now.saturating_sub(last.at) >= again
}

impl Control {
    /// What this job keeps is looked at soon.
    pub(crate) fn tidy_soon(&self, job: &Id) {
        self.tidied.lock().remove(job);
        self.nudge();
    }
}

impl Done {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Id, Last>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Expires what is old, of every job for which that is due.
pub(crate) async fn expire(control: &Control, jobs: &[Job]) -> Result<()> {
    control.tidied.lock().retain(|id, _| jobs.iter().any(|job| job.id == *id));
    let due = jobs.iter().filter_map(|job| {
        let by = cause(control, job)?;
        let now = control.clock().monotonic();
        is_due(control.tidied.lock().get(&job.id), &by, now).then_some((job, by))
    });
    futures::stream::iter(due.collect::<Vec<_>>())
        .for_each_concurrent(AT_ONCE, |(job, by)| async move {
            let done = tokio::select! {
                done = expire_of(control, job) => done,
                () = control.clock().sleep(LIMIT) => {
                    Err(Error::new(ErrorKind::Unavailable, "the store takes too long"))
                }
            };
            if let Err(error) = &done {
                tracing::warn!(job = job.name, %error, "what is old was not deleted");
            }
            let whole = matches!(done, Ok(Tidied::Done(_)));
            let last = Last { at: control.clock().monotonic(), whole, by };
            control.tidied.lock().insert(job.id.clone(), last);
        })
        .await;
    Ok(())
}

/// `None`: it keeps nothing, or that is for who runs it.
fn cause(control: &Control, job: &Job) -> Option<Cause> {
    job.set.as_ref()?;
    let newest = match job.state {
        JobState::Active => control.running(&job.id)?.status.borrow().snapshot.clone(),
        JobState::Stopped | JobState::Misconfigured => None,
        JobState::Inactive | JobState::Terminating => return None,
    };
    Some(Cause { newest, schedule: job.schedule.clone(), keep: job.keep })
}

async fn expire_of(control: &Control, job: &Job) -> Result<Tidied> {
    if let Some(running) = control.running(&job.id) {
        running.job.set_terms(terms(job)?);
        return running.job.tidy().await;
    }
    let parts = control.stored_parts(job).await?;
    let key = PartKey { job: parts.oplog.job().clone(), part: parts.oplog.part().clone() };
    let (clock, rng) = (control.clock().clone(), control.rng().clone());
    let ingest = Ingest::new(parts.stores(), clock, rng, Options::default());
    tidy(&ingest, &key, &parts, &terms(job)?, false, control.now()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_due_by_the_hour_at_once_behind_a_change_and_soon_where_somebody_reads() {
        let by = |n: u32| Cause {
            newest: (n > 0).then(|| SnapshotId::new(n, &bygone_base::SeededRng::new(1))),
            schedule: ScheduleSpec::default(),
            keep: None,
        };
        let last = |whole| Some(Last { at: EVERY, whole, by: by(1) });
        assert!(is_due(None, &by(0), Duration::ZERO));
        assert!(!is_due(last(true).as_ref(), &by(1), EVERY * 2 - AGAIN));
        assert!(is_due(last(true).as_ref(), &by(1), EVERY * 2));
        assert!(is_due(last(true).as_ref(), &by(2), EVERY), "a snapshot came");
        let longer = ScheduleSpec { weeks: 9, ..ScheduleSpec::default() };
        assert!(is_due(last(true).as_ref(), &Cause { schedule: longer, ..by(1) }, EVERY));
        assert!(!is_due(last(false).as_ref(), &by(1), EVERY + AGAIN / 2));
        assert!(is_due(last(false).as_ref(), &by(1), EVERY + AGAIN));
    }
}
