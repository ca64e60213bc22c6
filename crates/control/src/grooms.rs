//! Stores are groomed for all jobs that share them: by and by, and when somebody asks.

use bygone_base::{Error, Result, UnixMillis};
use bygone_catalog::{
    Page,
    record::{GroomDone, GroomRun, Job, Store, StoreShares},
};
use bygone_daemon::GROOM_DELAY;
use bygone_groom::{GroomOptions, Groomed, Places, groom_in, shares};

use crate::{By, Control, stores::groom_mark, usage};

/// A store in which snapshots come and go is groomed so often, as is one whose last groom could not do its work, ...
const EVERY_MS: i64 = 3_600_000;
/// ... and any other that jobs use so often.
const QUIET_MS: i64 = 86_400_000;
/// What is written in one go, a run or a snapshot, takes less than this.
const WRITE_MS: i64 = 3_600_000;
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

/// Grooms what is due: a store that does not answer keeps no other waiting.
pub(crate) async fn groom(control: &Control, jobs: &[Job]) -> Result<()> {
    let stores: Vec<Store> = control.catalog().all(None).await?;
    let each = stores.iter().map(|store| async move {
        let Some(_at) = control.attended.begin(format!("groom of {}", store.id)) else { return };
        let done = match next(control, jobs, &store.id).await {
            Ok(Some(run)) => run_one(control, jobs, run).await,
            nothing => nothing.map(|_| ()),
        };
        if let Err(error) = done {
            tracing::warn!(store = store.id, %error, "a groom was not noted");
        }
    });
    futures::future::join_all(each).await;
    Ok(())
}

/// What was asked for, or began and was cut off; else what is due by itself.
async fn next(control: &Control, jobs: &[Job], store: &str) -> Result<Option<GroomRun>> {
    let runs = control.grooms(store).await?;
    if let Some(run) = runs.iter().rev().find(|run| run.finished.is_none()) {
        return Ok(Some(run.clone()));
    }
    let now = control.now();
    // One of the future was done by a clock that was put back since.
    let last = runs.iter().find(|run| !run.dry_run && run.asked <= now);
    let store_now = seen(control, jobs, store);
    if !due(last, &store_now, now) {
        return Ok(None);
    }
    let run = GroomRun { newest: store_now.newest, ..new(control, store, false, 0) };
    control.catalog().insert(&run).await?;
    Ok(Some(run))
}

/// What there is to know of a store without looking into it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Whether a job keeps snapshots in it.
    used: bool,
    /// The newest of those of jobs that run.
    newest: u64,
    /// Packs go when nothing has needed them for so long.
    delay_ms: i64,
}

fn seen(control: &Control, jobs: &[Job], store: &str) -> Seen {
    let here = || jobs.iter().filter(|job| job.stores.snapshot == store && job.set.is_some());
    let newest = here().filter_map(|job| control.running(&job.id)?.status.borrow().snapshot_at);
    let own = here().filter_map(|job| job.keep.map(|keep| keep.groom_delay_secs)).max();
    let delay = own.unwrap_or(GROOM_DELAY.as_secs()).saturating_mul(1000);
    Seen {
        used: here().next().is_some(),
        newest: newest.map(|ts| ts.0).max().unwrap_or_default(),
        delay_ms: i64::try_from(delay).unwrap_or(i64::MAX),
    }
}

/// Whether a store is due: when snapshots came, when what waited has waited for long enough, when the last groom failed or
/// somebody read; else once a day. One that no job uses any more is groomed until nothing waits.
fn due(last: Option<&GroomRun>, seen: &Seen, now: UnixMillis) -> bool {
    let Some(last) = last else { return seen.used };
    let age = now.since(last.asked);
    let every = EVERY_MS.min(seen.delay_ms);
    let waits = last.done.as_ref().is_some_and(|done| done.waiting > 0);
    let ripe = now.since(last.finished.unwrap_or(last.asked)) >= seen.delay_ms;
    let held = last.done.as_ref().is_none_or(|done| waits && !done.readers.is_empty());
    waits && ripe
        || age >= every && (held || seen.newest > last.newest)
        || age >= QUIET_MS && seen.used
}

async fn run_one(control: &Control, jobs: &[Job], mut run: GroomRun) -> Result<()> {
    run.newest = run.newest.max(seen(control, jobs, &run.store).newest);
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
    let limit = control.settings().await?.upkeep.groom_mb_per_second;
    let blocks = control.throttled(&run.store, limit).await?;
    let mut places = Places::from(bygone_snapshot::Stores::one(blocks.clone()));
    for job in here() {
        let stores = control.stores_of(job).await?;
        let stores = bygone_snapshot::Stores { blocks: blocks.clone(), ..stores };
        places.jobs.insert(job.name.parse()?, stores);
    }
    let delay_ms = seen(control, jobs, &run.store).delay_ms;
    let running: Vec<_> = here().filter_map(|job| control.running(&job.id)).collect();
    let mut paused = Vec::new();
    if delay_ms < WRITE_MS {
        for running in &running {
            paused.push(running.job.pause().await);
        }
    }
    let unpublished: Vec<_> =
        running.iter().flat_map(|running| running.job.unpublished()).collect();
    let options = GroomOptions { delay_ms, dry_run: run.dry_run.then(|| control.now()) };
    groom_in(&places, &unpublished, options).await
}

/// While somebody reads nothing is deleted: that is no groom, unless there was nothing to delete.
fn is_held(done: &Groomed) -> bool {
    !done.readers.is_empty() && done.waiting > 0
}

async fn note(control: &Control, jobs: &[Job], run: &mut GroomRun, done: Groomed) -> Result<()> {
    let held = is_held(&done);
    let Groomed { packs, bytes, living, deleted, freed, rewritten, waiting, readers } = done;
    run.done =
        Some(GroomDone { packs, bytes, living, deleted, freed, rewritten, waiting, readers });
    if run.dry_run {
        return Ok(());
    }
    let at = control.now();
    if !held {
        let mark = groom_mark(&run.store);
        let set = |settings: &mut bygone_catalog::record::Settings| {
            settings.marks.insert(mark.clone(), at.0);
            Ok(())
        };
        control.change_settings(set).await?;
    }
    let blocks = usage::Blocks { bytes: bytes.saturating_sub(freed), living };
    usage::note(control, jobs, &run.store, blocks).await?;
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

    const NOW: UnixMillis = UnixMillis(10 * QUIET_MS);

    fn last(ago: i64, done: Option<(u64, &[&str])>) -> GroomRun {
        let done = done.map(|(waiting, readers)| {
            let (packs, bytes, living, deleted, freed, rewritten) = (0, 0, 0, 0, 0, 0);
            let readers = readers.iter().map(|&reader| reader.to_owned()).collect();
            GroomDone { packs, bytes, living, deleted, freed, rewritten, waiting, readers }
        });
        GroomRun {
            id: bygone_catalog::Id::new(NOW, &bygone_base::SeededRng::new(1)),
            store: "main".to_owned(),
            asked: UnixMillis(NOW.0 - ago),
            dry_run: false,
            newest: 5,
            finished: Some(UnixMillis(NOW.0 - ago)),
            failure: done.is_none().then(|| "no answer".to_owned()),
            done,
        }
    }

    fn is_due(last: &GroomRun, used: bool, newest: u64) -> bool {
        due(Some(last), &Seen { used, newest, delay_ms: QUIET_MS }, NOW)
    }

    #[test]
    fn is_due_when_snapshots_came_and_otherwise_once_a_day() {
        let done = Some((0, &[][..]));
        assert!(due(None, &Seen { used: true, newest: 1, delay_ms: QUIET_MS }, NOW));
        assert!(!is_due(&last(EVERY_MS - 1, done), true, 6));
        assert!(is_due(&last(EVERY_MS, done), true, 6));
        assert!(!is_due(&last(EVERY_MS, done), true, 5));
        assert!(is_due(&last(QUIET_MS, done), true, 5));
        // Whoever gave a shorter delay expects what it frees.
        let soon = Seen { used: true, newest: 6, delay_ms: 2_000 };
        assert!(due(Some(&last(2_000, done)), &soon, NOW));
        assert!(!due(Some(&last(1_999, done)), &soon, NOW));
    }

    #[test]
    fn what_waits_is_freed_also_where_no_job_is_left() {
        let none = Seen { used: false, newest: 0, delay_ms: QUIET_MS };
        assert!(!due(None, &none, NOW));
        assert!(!is_due(&last(QUIET_MS - 1, Some((9, &[]))), false, 0));
        assert!(is_due(&last(QUIET_MS, Some((9, &[]))), false, 0));
        assert!(!is_due(&last(9 * QUIET_MS, Some((0, &[]))), false, 0), "then it has peace");
        // Held up by a reader or by the store, it is tried again by the hour.
        assert!(is_due(&last(EVERY_MS, Some((9, &["a restore"]))), false, 0));
        assert!(is_due(&last(EVERY_MS, None), false, 0));
        assert!(!is_due(&last(EVERY_MS - 1, None), false, 0));
    }

    #[test]
    fn a_groom_that_a_reader_held_up_is_none() {
        let done = |waiting, readers: &[&str]| {
            let readers = readers.iter().map(|&reader| reader.to_owned()).collect();
            Groomed { waiting, readers, ..Groomed::default() }
        };
        assert!(is_held(&done(5, &["a restore"])));
        assert!(!is_held(&done(0, &["a restore"])), "there was nothing to free");
        assert!(!is_held(&done(5, &[])), "it only waits for the delay");
    }
}
