//! Deleting what a job stored.

use std::{sync::Arc, time::Duration};

use bygone_base::{Clock, ErrorKind, JobName, Result, Rng};
use bygone_blockstore::Repository;
use bygone_ingest::{Ingest, Options};
use bygone_oplog::uplink::PartKey;
use bygone_snapshot::{Stores, parts};
use futures::StreamExt as _;

/// Objects deleted at once.
const AT_ONCE: usize = 16;
/// A request that another process has begun with is over by then.
const LATE: Duration = Duration::from_secs(5);

/// Deletes every object of a job in its stores: what is left after a crash restores nothing, and is deleted by the next
/// try. Blocks are shared; the groom frees them. Gives the number of objects.
///
/// Nothing comes after: another process that writes the job, such as a `bygone up` beside the server, is fenced first.
/// Until it has noticed, its fence stays.
pub(crate) async fn delete_all(
    stores: &Stores,
    job: &JobName,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> Result<u64> {
    let options = Options::default();
    let patience = options.fence_check.saturating_add(LATE);
    let ingest = Ingest::new(stores.clone(), clock.clone(), rng.clone(), options);
    let mut fenced = false;
    for (of, part) in parts(&stores.oplog).await? {
        if of == *job {
            fenced |= fence(stores, job, &ingest, &PartKey { job: of, part }).await?;
        }
    }
    let mut deleted = 0;
    if fenced {
        for repository in stores.distinct() {
            deleted += delete_in(repository, job, |name| !name.contains("/epochs/")).await?;
        }
        clock.sleep(patience).await;
    }
    for repository in stores.distinct() {
        deleted += delete_in(repository, job, |_| true).await?;
    }
    Ok(deleted)
}

/// Fences who writes a part; in a store that is full once there is room for that.
async fn fence(stores: &Stores, job: &JobName, ingest: &Ingest, key: &PartKey) -> Result<bool> {
    const WHY: &str = "the end of the job";
    match ingest.fence(key, WHY).await {
        Err(error) if error.kind() == ErrorKind::Full => {
            for repository in stores.distinct() {
                delete_in(repository, job, |name| !name.contains("/epochs/")).await?;
            }
            ingest.fence(key, WHY).await
        }
        fenced => fenced,
    }
}

async fn delete_in(
    repository: &Repository,
    job: &JobName,
    wanted: impl Fn(&str) -> bool,
) -> Result<u64> {
    let store = repository.store();
    let prefix = format!("jobs/{job}/");
    let listed = store.list(&prefix, None).await?;
    let listed = listed.into_iter().map(|object| object.name);
    let (first, rest): (Vec<String>, Vec<String>) =
        listed.filter(|name| wanted(name)).partition(|name| name.contains("/snapshots/"));
    // Snapshots before what they stand on.
    let deleted = (first.len() + rest.len()) as u64;
    for names in [first, rest] {
        let delete = |name: String| async move { store.delete(&name).await };
        let mut deletions = futures::stream::iter(names).map(delete).buffer_unordered(AT_ONCE);
        while let Some(done) = deletions.next().await {
            done?;
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use bygone_base::{SeededRng, SystemClock, UnixMillis};
    use bygone_blockstore::{MemoryStore, ObjectKind};

    use super::*;

    /// While the end of a job waits, somebody who was fenced writes a last time.
    #[derive(Debug)]
    struct Late(SystemClock, MemoryStore, AtomicBool);

    const LAST: &str = "jobs/shop/rs0/oplog/00000001/last";

    #[async_trait]
    impl Clock for Late {
        fn now(&self) -> UnixMillis {
            self.0.now()
        }

        fn monotonic(&self) -> Duration {
            self.0.monotonic()
        }

        async fn sleep(&self, _: Duration) {
            use bygone_blockstore::Store as _;
            let epochs = self.1.list("jobs/shop/rs0/epochs/", None).await.unwrap();
            assert_eq!(epochs.len(), 2, "the fence stands while it is waited for");
            assert!(self.1.list("jobs/shop/rs0/oplog/", None).await.unwrap().is_empty());
            self.1.put_new(LAST, bytes::Bytes::from_static(b"late")).await.unwrap();
            self.2.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_late_write_of_another_process_does_not_survive() {
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let late = Arc::new(Late(SystemClock::new(), store.clone(), AtomicBool::new(false)));
        let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) =
            (late.clone(), Arc::new(SeededRng::new(1)));
        let made = Repository::create(Arc::new(store), None, rng.clone(), &*clock).await;
        let repository = made.unwrap();
        let stores = Stores::one(repository.clone());
        for name in ["shop/rs0/epochs/0000000000000001", "shop/rs0/oplog/00000001/a", "other/rs0/b"]
        {
            let name = format!("jobs/{name}");
            repository.put_object(ObjectKind::Slice, &name, b"x").await.unwrap();
        }
        let job: JobName = "shop".parse().unwrap();
        // The last one and the fence come on top.
        assert_eq!(delete_all(&stores, &job, &clock, &rng).await.unwrap(), 4);
        assert!(late.2.load(Ordering::Relaxed));
        let left = repository.store().list("jobs/", None).await.unwrap();
        assert_eq!(left.len(), 1, "{left:?}");
        // Nobody ever wrote: nobody is waited for.
        let none: JobName = "none".parse().unwrap();
        assert_eq!(delete_all(&stores, &none, &clock, &rng).await.unwrap(), 0);
    }
}
