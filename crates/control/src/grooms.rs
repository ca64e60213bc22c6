//! Stores are groomed for all jobs that share them: by and by, and when somebody asks.

use bygone_base::{Error, Result, UnixMillis};
use bygone_catalog::{
    Page,
    record::{GroomDone, GroomRun, Job, Store, StoreShares},
};
use bygone_daemon::GROOM_DELAY;
use bygone_groom::{GroomOptions, Groomed, Places, groom_in, shares};

use crate::{By, Control, usage};

/// A store in which snapshots come and go is groomed so often, ...
const EVERY_MS: i64 = 3_600_000;
/// ... and any other so often.
const QUIET_MS: i64 = 86_400_000;
/// So many runs are kept of each store.
const KEPT: usize = 100;

impl Control {
    /// Grooms of a store, newest first.
    pub async fn grooms(&self, store: &str) -> Result<Vec<GroomRun>> {
        let page = Page { scope: Some(store.to_owned()), newest_first: true, ..Page::default() };
        self.catalog().page(&page).await
    }

    /// Asks for a groom now; `dry_run` only finds out what it would free.
    ///
    /// # Errors
    /// `NotFound`: there is no such store.
    pub async fn request_groom(&self, store: &str, dry_run: bool, by: &By) -> Result<GroomRun> {
        self.catalog().get::<Store>(store).await?;
        let waiting = self.grooms(store).await?;
        let same = |run: &GroomRun| run.finished.is_none() && run.dry_run == dry_run;
        if let Some(run) = waiting.into_iter().find(same) {
            return Ok(run);
        }
        let run = new(self, store, dry_run, 0);
        self.catalog().insert(&run).await?;
        let message = format!("groom of store {store} asked for");
        self.event(by, None, None, "STORE_GROOM_REQUESTED_AUDIT", message).await?;
        self.nudge();
        Ok(run)
    }

    /// Who holds the bytes of a store, as of its last groom.
    pub async fn shares(&self, store: &str) -> Result<Option<StoreShares>> {
        Ok(self.catalog().find::<StoreShares>(store).await?.map(|row| row.value))
    }
}

fn new(control: &Control, store: &str, dry_run: bool, newest: u64) -> GroomRun {
    GroomRun {
        id: control.new_id(),
        store: store.to_owned(),
        asked: control.now(),
        dry_run,
        newest,
        finished: None,
        done: None,
        failure: None,
    }
}

/// Grooms what is due.
pub(crate) async fn groom(control: &Control, jobs: &[Job]) -> Result<()> {
    for store in control.catalog().all::<Store>(None).await? {
        if let Some(run) = next(control, jobs, &store.id).await? {
            run_one(control, jobs, run).await?;
        }
    }
    Ok(())
}

/// What was asked for, or began and was cut off; else what is due by itself.
async fn next(control: &Control, jobs: &[Job], store: &str) -> Result<Option<GroomRun>> {
    let runs = control.grooms(store).await?;
    if let Some(run) = runs.iter().rev().find(|run| run.finished.is_none()) {
        return Ok(Some(run.clone()));
    }
    // Jobs that groom behind their own snapshots need nobody.
    let newest = jobs
        .iter()
        .filter(|job| job.stores.snapshot == store && job.keep.is_none())
        .filter_map(|job| control.running(&job.id)?.status.borrow().snapshot_at)
        .map(|ts| ts.0)
        .max();
    let Some(newest) = newest else { return Ok(None) };
    let last = runs.iter().find(|run| !run.dry_run);
    if !due(last, newest, control.now()) {
        return Ok(None);
    }
    let run = new(control, store, false, newest);
    control.catalog().insert(&run).await?;
    Ok(Some(run))
}

/// `newest`: the newest snapshot in the store.
fn due(last: Option<&GroomRun>, newest: u64, now: UnixMillis) -> bool {
    let Some(last) = last else { return true };
    let age = now.since(last.asked);
    age >= QUIET_MS || age >= EVERY_MS && newest > last.newest
}

async fn run_one(control: &Control, jobs: &[Job], mut run: GroomRun) -> Result<()> {
    match groomed(control, jobs, &run).await {
        Ok(done) => note(control, jobs, &mut run, done).await?,
        Err(error) => {
            tracing::warn!(store = run.store, %error, "a groom failed");
            let hint = error.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
            run.failure = Some(format!("{error}{hint}"));
        }
    }
    run.finished = Some(control.now());
    let ended = run.clone();
    let kept = control.catalog().change::<GroomRun>(run.id.as_str(), |kept| {
        kept.clone_from(&ended);
        Ok(())
    });
    kept.await?;
    for old in control.grooms(&run.store).await?.iter().skip(KEPT) {
        control.catalog().delete::<GroomRun>(old.id.as_str()).await?;
    }
    Ok(())
}

async fn groomed(control: &Control, jobs: &[Job], run: &GroomRun) -> Result<Groomed> {
    let here = || jobs.iter().filter(|job| job.stores.snapshot == run.store);
    let mut places =
        Places::from(bygone_snapshot::Stores::one(control.repository(&run.store).await?));
    for job in here() {
        places.jobs.insert(job.name.parse()?, control.stores_of(job).await?);
    }
    let unpublished: Vec<_> = here()
        .filter_map(|job| control.running(&job.id))
        .flat_map(|running| running.job.unpublished())
        .collect();
    let own = here().filter_map(|job| job.keep.map(|keep| keep.groom_delay_secs)).max();
    let delay = own.unwrap_or(GROOM_DELAY.as_secs());
    let options = GroomOptions {
        delay_ms: i64::try_from(delay.saturating_mul(1000)).unwrap_or(i64::MAX),
        dry_run: run.dry_run.then(|| control.now()),
    };
    groom_in(&places, &unpublished, options).await
}

async fn note(control: &Control, jobs: &[Job], run: &mut GroomRun, done: Groomed) -> Result<()> {
    let Groomed { packs, bytes, living, deleted, freed, rewritten, waiting, readers } = done;
    run.done =
        Some(GroomDone { packs, bytes, living, deleted, freed, rewritten, waiting, readers });
    if run.dry_run {
        return Ok(());
    }
    let at = control.now();
    let sample = usage::Seen { at, bytes: bytes.saturating_sub(freed), living };
    usage::note(control, jobs, &run.store, sample).await?;
    note_shares(control, &run.store, at).await
}

async fn note_shares(control: &Control, store: &str, at: UnixMillis) -> Result<()> {
    let found = shares(&control.repository(store).await?).await?;
    let snapshots = found.snapshots.into_iter();
    let record = StoreShares {
        store: store.to_owned(),
        at,
        snapshots: snapshots
            .map(|((job, id), bytes)| (job.as_str().to_owned(), id.as_str().to_owned(), bytes))
            .collect(),
        jobs: found.jobs.into_iter().map(|(job, b)| (job.as_str().to_owned(), b)).collect(),
        shared: found.shared,
    };
    if control.shares(store).await?.is_none() {
        return control.catalog().insert(&record).await;
    }
    let changed = control.catalog().change::<StoreShares>(store, |kept| {
        kept.clone_from(&record);
        Ok(())
    });
    changed.await.map(|_| ())
}

/// What a store freed is not known until it is groomed: after a job's end that is done soon.
pub(crate) async fn soon(control: &Control, job: &Job) -> Result<()> {
    let asked = control.request_groom(&job.stores.snapshot, false, &By::system()).await;
    asked.map(|_: GroomRun| ()).map_err(|e: Error| e.within("a groom"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_due_when_snapshots_came_and_otherwise_once_a_day() {
        let now = UnixMillis(10 * QUIET_MS);
        let last = |ago: i64| GroomRun {
            id: bygone_catalog::Id::new(now, &bygone_base::SeededRng::new(1)),
            store: "main".to_owned(),
            asked: UnixMillis(now.0 - ago),
            dry_run: false,
            newest: 5,
            finished: None,
            done: None,
            failure: None,
        };
        assert!(due(None, 1, now));
        assert!(!due(Some(&last(EVERY_MS - 1)), 6, now));
        assert!(due(Some(&last(EVERY_MS)), 6, now));
        assert!(!due(Some(&last(EVERY_MS)), 5, now));
        assert!(due(Some(&last(QUIET_MS)), 5, now));
    }
}
