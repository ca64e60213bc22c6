//! Schedules: changed without a snapshot being lost or brought forward, and applied to what is there when asked.

use bygone_base::{Result, SnapshotId};
use bygone_catalog::{
    Id,
    record::{Announced, Job, JobState, ScheduleSpec},
};
use bygone_daemon::{Terms, retimed};
use bygone_schedule::Next;
use bygone_snapshot::{Keep, Policy};

use crate::{By, Control, snapshots::millis};

/// How a job's daemon runs.
pub(crate) fn terms(job: &Job) -> Result<Terms> {
    Ok(Terms {
        schedule: job.schedule.schedule()?,
        tiers: job.keep.is_none_or(|keep| keep.tiers),
        policy: Policy {
            window_secs: job.schedule.window_secs,
            keep_last: job.keep.and_then(|keep| keep.last),
            keep_within_secs: job.keep.and_then(|keep| keep.within_secs),
        },
        announced: job.announced.map(|Announced { at, seen }| Next { at, seen }),
    })
}

impl Control {
    /// What is announced of the next snapshot when `schedule` takes its place in an active job; `None`: what was so far.
    pub(crate) fn announce(&self, job: &Job, schedule: &ScheduleSpec) -> Result<Option<Announced>> {
        if job.state != JobState::Active {
            return Ok(None);
        }
        let (old, new, now) = (job.schedule.schedule()?, schedule.schedule()?, self.now());
        let next = match self.running(&job.id) {
            // Its first snapshot is taken as soon as that can be.
            Some(running) => match running.status.borrow().next_snapshot {
                Some(next) => next,
                None => return Ok(None),
            },
            None => old.next_after(now),
        };
        // Announced a moment ago, it may not have been heard yet.
        let said = job.announced.filter(|said| said.seen <= now && said.at > now);
        let next = said.map_or(next, |said| said.at.max(next));
        let announced = Next::announced(&old, &new, next, now);
        Ok(announced.map(|Next { at, seen }| Announced { at, seen }).or(job.announced))
    }

    /// Applies the retention of a job's schedule to the snapshots that are there, as if it had held when they were taken;
    /// those kept for ever stay so. Gives those whose time changes, with what it is then; with `dry_run` only that.
    ///
    /// # Errors
    /// `NotFound`, also where the job is another project's.
    pub async fn apply_schedule(
        &self,
        project: &Id,
        job: &Id,
        dry_run: bool,
        by: &By,
    ) -> Result<Vec<(SnapshotId, bygone_base::UnixMillis)>> {
        let job: Job = self.within(project, job.as_str()).await?;
        let parts = self.stored_parts(&job).await?;
        let given: Vec<(SnapshotId, Keep)> = parts.snapshots.keeps().await?.into_iter().collect();
        let changed = retimed(&job.schedule.schedule()?, &given);
        if !dry_run {
            for (id, keep) in &changed {
                parts.snapshots.set_keep(id, keep).await?;
            }
            let n = changed.len();
            let message = format!("retention of {} applied to {n} snapshots", job.cluster);
            let kind = "SNAPSHOT_EXPIRY_UPDATED_AUDIT";
            self.event(by, Some(project), Some(&job), kind, message).await?;
            self.tidy_soon(&job.id);
        }
        Ok(changed.into_iter().filter_map(|(id, keep)| Some((id, millis(keep.until?)))).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bygone_base::{SeededRng, SystemClock};
    use bygone_catalog::{Catalog, Seal, Sqlite};

    use super::*;
    use crate::{Action, JobEdit, NewJob, NewSource, NewStore};

    #[tokio::test]
    async fn a_changed_schedule_announces_what_comes_and_other_edits_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::new(Arc::new(Sqlite::in_memory().unwrap()));
        let rng = Arc::new(SeededRng::new(1));
        let clock = Arc::new(SystemClock::new());
        let control = Control::new(catalog, Seal::new(&[7; 32]).unwrap(), clock, rng);
        let by = By::system();
        let url = format!("file://{}", folder.path().join("store").display());
        control.add_store(NewStore::new("main", url), &by).await.unwrap();
        let project = control.create_project("p", &by).await.unwrap().id;
        let uri = "mongodb://localhost:1/".to_owned();
        let source = NewSource { uri, ..NewSource::default() };
        let new = NewJob { cluster: "c".to_owned(), source, ..NewJob::default() };
        let job = control.create_job(&project, new, &by).await.unwrap();
        control.act(&project, &job.id, Action::Start, &by).await.unwrap();
        let edit = async |change: &dyn Fn(&mut ScheduleSpec)| {
            let mut schedule = control.job(&project, &job.id).await.unwrap().job.schedule;
            change(&mut schedule);
            let edit = JobEdit { schedule: Some(schedule), ..JobEdit::default() };
            control.edit_job(&project, &job.id, edit, &by).await.unwrap().announced
        };
        assert_eq!(edit(&|s| s.weeks = 9).await, None);
        let next = ScheduleSpec::default().schedule().unwrap().next_after(control.now());
        let said = edit(&|s| s.interval_secs = 120).await.unwrap();
        assert_eq!(said.at.since(next), 120_000, "not earlier than it was to be");
        assert_eq!(edit(&|s| s.weeks = 8).await, Some(said));
        let again = edit(&|s| s.interval_secs = 60).await.unwrap();
        assert_eq!(again.at.since(said.at), 60_000);
        let terms = terms(&control.job(&project, &job.id).await.unwrap().job).unwrap();
        assert_eq!(terms.announced, Some(Next { at: again.at, seen: again.seen }));
    }
}
