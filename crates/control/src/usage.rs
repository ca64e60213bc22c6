//! What stores hold, as the grooms that follow snapshots see it.

use std::collections::BTreeMap;

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{
    Page,
    record::{Job, UsageSample},
};
use bygone_daemon::Grooming;

use crate::{Control, stores::groom_mark};

/// A sample of a store at most so often ...
const EVERY_MS: i64 = 600_000;
/// ... and so many are kept of each.
const KEPT: usize = 2_000;

/// What a groom saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) at: UnixMillis,
    pub(crate) bytes: u64,
    pub(crate) living: u64,
}

/// Notes what grooms behind snapshots found.
pub(crate) async fn sample(control: &Control, jobs: &[Job]) -> Result<()> {
    let mut newest = BTreeMap::new();
    for job in jobs {
        let groomed = control.running(&job.id).and_then(|r| r.status.borrow().groomed);
        if let Some(groomed) = groomed {
            let seen = newest.entry(job.stores.snapshot.clone()).or_insert(groomed);
            if groomed.at > seen.at {
                *seen = groomed;
            }
        }
    }
    for (store, groomed) in newest {
        let Grooming { at, bytes, living } = groomed;
        note(control, jobs, &store, Seen { at, bytes, living }).await?;
    }
    Ok(())
}

/// Notes when a store was groomed, and what it holds.
pub(crate) async fn note(control: &Control, jobs: &[Job], store: &str, seen: Seen) -> Result<()> {
    let mark = groom_mark(store);
    let known = control.settings().await?.marks.get(&mark).copied();
    if known.is_some_and(|known| seen.at.0 <= known) {
        return Ok(());
    }
    let set = |settings: &mut bygone_catalog::record::Settings| {
        settings.marks.insert(mark.clone(), seen.at.0);
        Ok(())
    };
    control.change_settings(set).await?;
    let last = control.usage(store, 1).await?.pop();
    if last.is_some_and(|last| seen.at.since(last.at) < EVERY_MS) {
        return Ok(());
    }
    let sample = UsageSample {
        id: control.new_id(),
        store: store.to_owned(),
        at: seen.at,
        bytes: seen.bytes,
        living: seen.living,
        jobs: of_jobs(control, jobs, store).await?,
    };
    control.catalog().insert(&sample).await?;
    thin(control, store).await
}

/// Bytes of the objects that are one job's alone: manifests, slices, records. Blocks are shared by all.
async fn of_jobs(control: &Control, jobs: &[Job], store: &str) -> Result<Vec<(String, u64)>> {
    let repository = control.repository(store).await?;
    let mut bytes = Vec::new();
    for job in jobs.iter().filter(|job| job.stores.holds(store)) {
        let objects = repository.store().list(&format!("jobs/{}/", job.name), None).await?;
        bytes.push((job.name.clone(), objects.iter().map(|object| object.size).sum()));
    }
    Ok(bytes)
}

/// Forgets samples beyond those kept.
async fn thin(control: &Control, store: &str) -> Result<()> {
    let page = Page { scope: Some(store.to_owned()), newest_first: true, ..Page::default() };
    let all: Vec<UsageSample> = control.catalog().page(&page).await?;
    for old in all.iter().skip(KEPT) {
        control.catalog().delete::<UsageSample>(old.id.as_str()).await?;
    }
    Ok(())
}
