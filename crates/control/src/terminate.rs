//! Deleting what a job stored.

use bygone_base::{JobName, Result};
use bygone_blockstore::Repository;
use bygone_snapshot::Stores;
use futures::StreamExt as _;

/// Objects deleted at once.
const AT_ONCE: usize = 16;

/// Deletes every object of a job in its stores, manifests first: what is left after a crash restores nothing, and
/// is deleted by the next try. Blocks are shared; the groom frees them. Gives the number of objects.
pub(crate) async fn delete_all(stores: &Stores, job: &JobName) -> Result<u64> {
    let mut deleted = 0;
    for repository in stores.distinct() {
        deleted += delete_in(repository, job).await?;
    }
    Ok(deleted)
}

async fn delete_in(repository: &Repository, job: &JobName) -> Result<u64> {
    let store = repository.store();
    let prefix = format!("jobs/{job}/");
    let listed = store.list(&prefix, None).await?;
    let mut names: Vec<String> = listed.into_iter().map(|object| object.name).collect();
    // Snapshots before what they stand on.
    names.sort_by_key(|name| !name.contains("/snapshots/"));
    let snapshots = names.iter().take_while(|name| name.contains("/snapshots/")).count();
    let (first, rest) = names.split_at(snapshots);
    for names in [first, rest] {
        let mut deletions =
            futures::stream::iter(names).map(|name| store.delete(name)).buffer_unordered(AT_ONCE);
        while let Some(done) = deletions.next().await {
            done?;
        }
    }
    Ok(names.len() as u64)
}
