//! Leases of readers: while one is in force, grooms delete nothing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bson::{RawDocument, rawdoc, spec::BinarySubtype};
use bygone_base::{Clock, ErrorKind, Result, UnixMillis};
use bygone_blockstore::{ObjectKind, Repository};
use tokio::task::JoinSet;

const FOLDER: &str = "readers/";
/// A lease that is not renewed counts so long, by the store's clock.
const LENGTH: Duration = Duration::from_secs(3600);
/// Renewed so often.
const RENEW: Duration = Duration::from_secs(900);

/// Names of a lease and its renewals.
type Names = Arc<Mutex<Vec<String>>>;

/// A lease held by this process, renewed until it is released or dropped; then it expires by itself.
#[derive(Debug)]
pub struct Lease {
    renewing: JoinSet<()>,
    repo: Repository,
    names: Names,
}

/// Takes a lease for a reader described by `what`. `None` when the store cannot be written: such a
/// reader relies on the groom delay.
pub async fn hold(repo: &Repository, clock: Arc<dyn Clock>, what: &str) -> Result<Option<Lease>> {
    let names = Names::default();
    match put(repo, clock.as_ref(), what, &names).await {
        Ok(()) => {}
        Err(e)
            if matches!(e.kind(), ErrorKind::Denied | ErrorKind::Unsupported | ErrorKind::Full) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    }
    let mut renewing = JoinSet::new();
    let (again, what, put_names) = (repo.clone(), what.to_owned(), names.clone());
    renewing.spawn(async move {
        loop {
            clock.sleep(RENEW).await;
            if let Err(error) = put(&again, clock.as_ref(), &what, &put_names).await {
                tracing::warn!(%error, "a reader's lease could not be renewed");
            }
        }
    });
    Ok(Some(Lease { renewing, repo: repo.clone(), names }))
}

impl Lease {
    /// Gives the lease back. One that cannot be deleted expires by itself.
    pub async fn release(mut self) {
        self.renewing.shutdown().await;
        let names = std::mem::take(&mut *lock(&self.names));
        for name in names {
            if let Err(error) = self.repo.store().delete(&name).await {
                tracing::warn!(%error, "a reader's lease stays until it expires");
            }
        }
    }
}

fn lock(names: &Names) -> std::sync::MutexGuard<'_, Vec<String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn put(repo: &Repository, clock: &dyn Clock, what: &str, names: &Names) -> Result<()> {
    let mut id = [0; 8];
    repo.rng().fill(&mut id);
    let name = format!("{FOLDER}{:016x}", u64::from_le_bytes(id));
    let expires = UnixMillis(clock.now().0 + LENGTH.as_millis() as i64);
    // Before it is written: it must be released even when the reply is lost.
    lock(names).push(name.clone());
    repo.put_object(ObjectKind::Reader, &name, &encode(&id, expires, what)).await?;
    Ok(())
}

pub(crate) fn encode(id: &[u8; 8], expires: UnixMillis, what: &str) -> Vec<u8> {
    let id = bson::Binary { subtype: BinarySubtype::Generic, bytes: id.to_vec() };
    let expires = bson::DateTime::from_millis(expires.0);
    rawdoc! { "id": id, "expires": expires, "what": what }.into_bytes()
}

/// Readers whose leases are in force at the store's moment `now`; expired ones are deleted when `clean`.
///
/// A lease counts for an hour from when it was written by the store's clock: that of the reader, which
/// `expires` tells, may be wrong. One that expired at the beginning of time never counts.
pub(crate) async fn in_force(
    repo: &Repository,
    now: UnixMillis,
    clean: bool,
) -> Result<Vec<String>> {
    let mut readers = Vec::new();
    for object in repo.store().list(FOLDER, None).await? {
        let plain = match repo.get_object(ObjectKind::Reader, &object.name).await {
            Ok(plain) => plain,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            // Somebody reads; who, cannot be told.
            Err(e) if e.kind() == ErrorKind::Damaged => Vec::new().into(),
            Err(e) => return Err(e),
        };
        let doc = RawDocument::from_bytes(&plain).ok();
        let probe = doc
            .and_then(|d| d.get_datetime("expires").ok())
            .is_some_and(|expires| expires.timestamp_millis() <= 0);
        let what = doc.and_then(|d| d.get_str("what").ok()).unwrap_or("a reader");
        if !probe && now.since(object.modified) < LENGTH.as_millis() as i64 {
            readers.push(what.to_owned());
        } else if clean {
            repo.store().delete(&object.name).await?;
        }
    }
    Ok(readers)
}

/// Readers of a repository whose leases are in force.
pub async fn readers(repo: &Repository) -> Result<Vec<String>> {
    // Where nobody reads the clock need not be asked, which a full store could not tell: what is old must go there.
    if repo.store().list(FOLDER, None).await?.is_empty() {
        return Ok(Vec::new());
    }
    let now = crate::record::store_now(repo).await?;
    in_force(repo, now, false).await
}
