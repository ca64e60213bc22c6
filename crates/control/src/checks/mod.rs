//! Checks of what is stored. Stores are checked by and by, each for all its jobs; a job as soon as somebody asks.

mod reading;
mod stores;

use bygone_base::Result;
use bygone_catalog::{
    Id, Page,
    record::{Integrity, Job, StoreCheck, Upkeep},
};
use bygone_groom::{
    Report, lease,
    verify::{Depth, Packs, verify_with},
};
use bygone_snapshot::{Parts, Stores};
use futures::StreamExt as _;

pub(crate) use stores::of_stores;

use crate::{By, Control, restores::reading};

/// So many are kept of each job, and of each store.
const KEPT: usize = 100;
/// The newest check of a job is among so many.
const LOOK: u32 = 8;
/// Checks that were asked for are done so many at once.
const AT_ONCE: usize = 4;

impl Control {
    /// The newest check of what a job stores.
    ///
    /// # Errors
    /// `NotFound`, also where the job is another project's.
    pub async fn newest_check(&self, project: &Id, job: &Id) -> Result<Option<Integrity>> {
        let job: Job = self.within(project, job.as_str()).await?;
        newest(self, &job.id).await
    }

    /// The checks of what a job stores, newest first.
    ///
    /// # Errors
    /// `NotFound`, also where the job is another project's.
    pub async fn job_checks(&self, project: &Id, job: &Id) -> Result<Vec<Integrity>> {
        let job: Job = self.within(project, job.as_str()).await?;
        self.catalog().page(&page(job.id.as_str(), None)).await
    }

    /// The checks of a store, newest first.
    pub async fn store_checks(&self, store: &str) -> Result<Vec<StoreCheck>> {
        self.catalog().page(&page(store, None)).await
    }

    /// The newest check of a store that has ended.
    pub(crate) async fn newest_store_check(&self, store: &str) -> Result<Option<StoreCheck>> {
        let newest: Vec<StoreCheck> = self.catalog().page(&page(store, Some(LOOK))).await?;
        Ok(newest.into_iter().find(|check| check.finished.is_some()))
    }

    /// Asks for a check of everything that a job stores, now.
    ///
    /// # Errors
    /// `NotFound`, also where the job is another project's. `NotCovered`: it stores nothing yet.
    pub async fn request_check(&self, project: &Id, job: &Id, by: &By) -> Result<Integrity> {
        let job: Job = self.within(project, job.as_str()).await?;
        self.stored_parts(&job).await?;
        if let Some(begun) = newest(self, &job.id).await?.filter(|check| check.finished.is_none()) {
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

/// The newest ones of a scope.
fn page(scope: &str, limit: Option<u32>) -> Page {
    Page { scope: Some(scope.to_owned()), newest_first: true, limit, ..Page::default() }
}

/// The newest check of a job.
async fn newest(control: &Control, job: &Id) -> Result<Option<Integrity>> {
    let all: Vec<Integrity> = control.catalog().page(&page(job.as_str(), Some(LOOK))).await?;
    // Those of the future are of a clock that was put back since.
    let (now, open) = (control.now(), all.iter().find(|check| check.finished.is_none()));
    let newest = || all.iter().find(|check| check.started <= now).or(all.first());
    Ok(open.or_else(newest).cloned())
}

/// The newest check of each of these jobs that has one.
pub(crate) async fn newest_of_all(control: &Control, jobs: &[Job]) -> Result<Vec<Integrity>> {
    let mut all = Vec::new();
    for job in jobs {
        all.extend(newest(control, &job.id).await?);
    }
    Ok(all)
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
        percent: 0,
        damage: Vec::new(),
        failure: None,
    }
}

/// Does the checks of jobs that were asked for, or were cut off.
pub(crate) async fn of_jobs(control: &Control, jobs: &[Job]) -> Result<()> {
    let open = newest_of_all(control, jobs).await?;
    let open = open.into_iter().filter(|check| check.finished.is_none());
    let of = |check: Integrity| jobs.iter().find(|job| job.id == check.job);
    futures::stream::iter(open.filter_map(of))
        .for_each_concurrent(AT_ONCE, |job| async move {
            if let Err(error) = of_job(control, job).await {
                tracing::warn!(job = job.name, %error, "a check was not noted");
            }
        })
        .await;
    Ok(())
}

/// Does the check of a job, unless another turn is at it, or ended it since it was looked for.
async fn of_job(control: &Control, job: &Job) -> Result<()> {
    let Some(_at) = control.attended.begin(format!("check of {}", job.id)) else { return Ok(()) };
    let open = newest(control, &job.id).await?.filter(|check| check.finished.is_none());
    let Some(check) = open else { return Ok(()) };
    let report = all_of(control, job).await;
    note(control, ended(control, check, report, |_| 100)).await
}

/// Everything that a job stores, read now. Somebody waits for it, so it holds up expiry and grooms meanwhile.
async fn all_of(control: &Control, job: &Job) -> Result<Report> {
    let parts = throttled(control, job, &control.settings().await?.upkeep).await?;
    held(control, &parts, Depth::Full, &Packs::Needed).await
}

/// Verifies a part as it is now.
async fn of_part(control: &Control, parts: &Parts, depth: Depth, packs: &Packs) -> Result<Report> {
    let Parts { snapshots, oplog } = parts;
    let (clock, scratch) = (control.clock().clone(), control.scratch()?);
    let views = reading(scratch.as_ref());
    verify_with(snapshots, oplog, depth, packs, &views, clock, |_, _, _| {}).await
}

/// Verifies a part while nothing of it goes.
async fn held(control: &Control, parts: &Parts, depth: Depth, packs: &Packs) -> Result<Report> {
    let snapshots = &parts.snapshots;
    let clock = control.clock().clone();
    let held = lease::hold(snapshots.repository(), clock, "an integrity check").await?;
    let report = of_part(control, parts, depth, packs).await;
    if let Some(held) = held {
        held.release().await;
    }
    report
}

/// The part of a job, read no faster than checks may.
async fn throttled(control: &Control, job: &Job, limits: &Upkeep) -> Result<Parts> {
    let mb = limits.check_mb_per_second;
    let whole = control.stored_parts(job).await?;
    let stores = Stores {
        blocks: control.throttled(&job.stores.snapshot, mb).await?,
        oplog: control.throttled(&job.stores.oplog, mb).await?,
        sync: control.throttled(&job.stores.sync, mb).await?,
    };
    Ok(stores.part(whole.oplog.job().clone(), whole.oplog.part().clone()))
}

/// A check of a job that has ended.
fn ended(
    control: &Control,
    check: Integrity,
    report: Result<Report>,
    percent: impl FnOnce(&Report) -> u32,
) -> Integrity {
    let check = Integrity { finished: Some(control.now()), ..check };
    match report {
        Ok(report) => {
            let lost = report.bad.iter().map(|(id, why)| format!("snapshot {id}: {why}"));
            Integrity {
                percent: percent(&report),
                blocks: report.blocks,
                bytes: report.needed_bytes,
                damage: report.damage.iter().cloned().chain(lost).collect(),
                ..check
            }
        }
        Err(error) => Integrity { failure: Some(error.to_string()), ..check },
    }
}

/// Keeps it in the place of how it began, or as the newest.
async fn note(control: &Control, ended: Integrity) -> Result<()> {
    let catalog = control.catalog();
    if catalog.find::<Integrity>(ended.id.as_str()).await?.is_none() {
        catalog.insert(&ended).await?;
    }
    let noted = catalog.change::<Integrity>(ended.id.as_str(), |kept| {
        kept.clone_from(&ended);
        Ok(())
    });
    noted.await?;
    let all: Vec<Integrity> = catalog.page(&page(ended.job.as_str(), None)).await?;
    for old in all.iter().skip(KEPT) {
        catalog.delete::<Integrity>(old.id.as_str()).await?;
    }
    Ok(())
}
