//! What stores hold: of those with snapshots as their grooms see it, of others by looking.

use std::collections::BTreeMap;

use bygone_base::Result;
use bygone_blockstore::names;
use bygone_catalog::{
    Page,
    record::{Job, Store, UsageSample},
};

use crate::Control;

/// A sample of a store behind its grooms at most so often, ...
const EVERY_MS: i64 = 600_000;
/// ... and of one that is not groomed so often; ...
const UNGROOMED_MS: i64 = 3_600_000;
/// ... so many are kept of each.
const KEPT: usize = 2_000;

/// What a groom saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    /// Bytes of all packs that stayed.
    pub(crate) bytes: u64,
    /// Of living blocks.
    pub(crate) living: u64,
}

/// Looks at the stores that hold no snapshots of any job: no groom does.
pub(crate) async fn sample(control: &Control, jobs: &[Job]) -> Result<()> {
    let stores: Vec<Store> = control.catalog().all(None).await?;
    let uses = |store: &Store| jobs.iter().any(|job| job.stores.holds(&store.id));
    let groomed = |store: &Store| jobs.iter().any(|job| job.stores.snapshot == store.id);
    let each = stores.iter().filter(|store| uses(store) && !groomed(store));
    let each = each.map(|store| async move {
        if let Err(error) = look(control, jobs, &store.id).await {
            tracing::warn!(store = store.id, %error, "what a store holds could not be seen");
        }
    });
    futures::future::join_all(each).await;
    Ok(())
}

async fn look(control: &Control, jobs: &[Job], store: &str) -> Result<()> {
    let last = control.usage(store, 1).await?.pop();
    if last.is_some_and(|last| control.now().since(last.at) < UNGROOMED_MS) {
        return Ok(());
    }
    let repository = control.repository(store).await?;
    let packs = repository.store().list(names::PACKS, None).await?;
    let bytes = packs.iter().map(|pack| pack.size).sum();
    note(control, jobs, store, Blocks { bytes, living: bytes }).await
}

/// Notes what a store holds.
pub(crate) async fn note(
    control: &Control,
    jobs: &[Job],
    store: &str,
    blocks: Blocks,
) -> Result<()> {
    let at = control.now();
    let last = control.usage(store, 1).await?.pop();
    if last.is_some_and(|last| at.since(last.at) < EVERY_MS) {
        return Ok(());
    }
    let jobs = of_jobs(control, jobs, store).await?;
    let own: u64 = jobs.values().sum();
    let sample = UsageSample {
        id: control.new_id(),
        store: store.to_owned(),
        at,
        bytes: blocks.bytes + own,
        living: blocks.living + own,
        jobs: jobs.into_iter().collect(),
    };
    control.catalog().insert(&sample).await?;
    thin(control, store).await
}

/// Bytes of the objects that are one job's alone: manifests, slices, records. Blocks are shared by all.
async fn of_jobs(control: &Control, jobs: &[Job], store: &str) -> Result<BTreeMap<String, u64>> {
    let repository = control.repository(store).await?;
    let here = jobs.iter().filter(|job| job.stores.holds(store));
    let mut bytes: BTreeMap<String, u64> = here.map(|job| (job.name.clone(), 0)).collect();
    for object in repository.store().list(names::JOBS, None).await? {
        let job = object.name.strip_prefix(names::JOBS).and_then(|name| name.split('/').next());
        *bytes.entry(job.unwrap_or_default().to_owned()).or_default() += object.size;
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
