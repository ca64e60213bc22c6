//! Regular checks of what is stored: everything that snapshots need is read and its hashes are compared.

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{
    Id, Page,
    record::{Integrity, Job, JobState},
};
use bygone_groom::{
    lease,
    verify::{Depth, verify},
};

use bygone_snapshot::Parts;

use crate::{By, Control};

/// From one check of a job to the next: seven days, as Ops Manager has it.
const EVERY_MS: i64 = 7 * 86_400_000;
/// Does a check that was asked for, or was cut off; else that which is longest overdue, if one is.
pub(crate) async fn check(control: &Control, jobs: &[Job]) -> Result<()> {
    let now = control.now();
    let mut overdue = Vec::new();
    for job in jobs.iter().filter(|job| job.set.is_some()) {
        let since = match newest(control, job).await? {
            Some(begun) if begun.finished.is_none() => return check_job(control, job, begun).await,
            Some(last) => last.started,
            None => job.created,
        };
        if job.state == JobState::Active && now.since(since) >= EVERY_MS {
            overdue.push((since, job));
        }
    }
    overdue.sort_by_key(|(since, _)| *since);
    let Some((_, job)) = overdue.first() else { return Ok(()) };
    let check = new(control, job);
    control.catalog().insert(&check).await?;
    check_job(control, job, check).await
}

impl Control {
    /// The newest check of what a job stores.
    ///
    /// # Errors
    /// `NotFound`, also where the job is another project's.
    pub async fn newest_check(&self, project: &Id, job: &Id) -> Result<Option<Integrity>> {
        let job: Job = self.within(project, job.as_str()).await?;
        newest(self, &job).await
    }

    /// Asks for a check of everything that a job stores, now.
    ///
    /// # Errors
    /// `NotFound`, also where the job is another project's. `NotCovered`: it stores nothing yet.
    pub async fn request_check(&self, project: &Id, job: &Id, by: &By) -> Result<Integrity> {
        let job: Job = self.within(project, job.as_str()).await?;
        self.stored_parts(&job).await?;
        if let Some(begun) = newest(self, &job).await?.filter(|check| check.finished.is_none()) {
            return Ok(begun);
        }
        let check = new(self, &job);
        self.catalog().insert(&check).await?;
        let kind = "INTEGRITY_CHECK_REQUESTED_AUDIT";
        self.event(by, Some(project), Some(&job), kind, "integrity check asked for").await?;
        self.nudge();
        Ok(check)
    }
}

/// The newest check of a job.
async fn newest(control: &Control, job: &Job) -> Result<Option<Integrity>> {
    let page = Page {
        scope: Some(job.project.as_str().to_owned()),
        newest_first: true,
        ..Page::default()
    };
    let all: Vec<Integrity> = control.catalog().page(&page).await?;
    Ok(all.into_iter().find(|check| check.job == job.id))
}

fn new(control: &Control, job: &Job) -> Integrity {
    Integrity {
        id: control.new_id(),
        project: job.project.clone(),
        job: job.id.clone(),
        started: control.now(),
        finished: None,
        blocks: 0,
        bytes: 0,
        percent: 100,
        damage: Vec::new(),
        failure: None,
    }
}

/// Checks one job now.
async fn check_job(control: &Control, job: &Job, mut check: Integrity) -> Result<()> {
    let Parts { snapshots, oplog } = control.stored_parts(job).await?;
    let clock = control.clock().clone();
    let held = lease::hold(snapshots.repository(), clock.clone(), "an integrity check").await?;
    let report = verify(&snapshots, &oplog, Depth::Full, clock, |_, _, _| {}).await;
    if let Some(held) = held {
        held.release().await;
    }
    match report {
        Ok(report) => {
            (check.blocks, check.bytes) = (report.blocks, report.bytes);
            check.damage.clone_from(&report.damage);
            let lost = report.bad.iter().map(|(id, why)| format!("snapshot {id}: {why}"));
            check.damage.extend(lost);
        }
        Err(error) => check.failure = Some(error.to_string()),
    }
    check.finished = Some(UnixMillis(control.now().0));
    let ended = check.clone();
    let noted = control.catalog().change::<Integrity>(check.id.as_str(), |kept| {
        kept.clone_from(&ended);
        Ok(())
    });
    noted.await.map(|_| ())
}
