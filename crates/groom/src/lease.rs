//! Leases of readers: while one is in force, grooms delete nothing.

use std::{sync::Arc, time::Duration};

use bson::{RawDocument, rawdoc, spec::BinarySubtype};
use bygone_base::{Clock, ErrorKind, Result, UnixMillis};
use bygone_blockstore::{ObjectKind, Repository};
use tokio::task::JoinSet;

const FOLDER: &str = "readers/";
/// A lease that is not renewed counts so long.
const LENGTH: Duration = Duration::from_secs(3600);
/// Renewed so often.
const RENEW: Duration = Duration::from_secs(900);

/// A lease held by this process, renewed until it is dropped. Its objects expire by themselves.
#[derive(Debug)]
pub struct Lease {
    _renewing: JoinSet<()>,
    repo: Repository,
    name: String,
}

/// Takes a lease for a reader described by `what`. `None` when the store cannot be written: such a
/// reader relies on the groom delay.
pub async fn hold(repo: &Repository, clock: Arc<dyn Clock>, what: &str) -> Result<Option<Lease>> {
    let name = match put(repo, clock.as_ref(), what).await {
        Ok(name) => name,
        Err(e) if matches!(e.kind(), ErrorKind::Denied | ErrorKind::Unsupported) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let mut renewing = JoinSet::new();
    let (again, what) = (repo.clone(), what.to_owned());
    renewing.spawn(async move {
        loop {
            clock.sleep(RENEW).await;
            if let Err(error) = put(&again, clock.as_ref(), &what).await {
                tracing::warn!(%error, "a reader's lease could not be renewed");
            }
        }
    });
    Ok(Some(Lease { _renewing: renewing, repo: repo.clone(), name }))
}

impl Lease {
    /// Gives the first lease back; renewals expire by themselves.
    pub async fn release(self) -> Result<()> {
        self.repo.store().delete(&self.name).await
    }
}

async fn put(repo: &Repository, clock: &dyn Clock, what: &str) -> Result<String> {
    let mut id = [0; 8];
    repo.rng().fill(&mut id);
    let name = format!("{FOLDER}{:016x}", u64::from_le_bytes(id));
    let expires = UnixMillis(clock.now().0 + LENGTH.as_millis() as i64);
    repo.put_object(ObjectKind::Reader, &name, &encode(&id, expires, what)).await?;
    Ok(name)
}

pub(crate) fn encode(id: &[u8; 8], expires: UnixMillis, what: &str) -> Vec<u8> {
    let id = bson::Binary { subtype: BinarySubtype::Generic, bytes: id.to_vec() };
    let expires = bson::DateTime::from_millis(expires.0);
    rawdoc! { "id": id, "expires": expires, "what": what }.into_bytes()
}

/// Readers whose leases are in force at the store's moment `now`; expired ones are deleted.
pub(crate) async fn in_force(repo: &Repository, now: UnixMillis) -> Result<Vec<String>> {
    let mut readers = Vec::new();
    for object in repo.store().list(FOLDER, None).await? {
        let plain = match repo.get_object(ObjectKind::Reader, &object.name).await {
            Ok(plain) => plain,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let doc = RawDocument::from_bytes(&plain).ok();
        let expires = doc.and_then(|d| d.get_datetime("expires").ok());
        let what = doc.and_then(|d| d.get_str("what").ok()).unwrap_or("a reader");
        match expires {
            Some(expires) if expires.timestamp_millis() <= now.0 => {
                repo.store().delete(&object.name).await?;
            }
            _ => readers.push(what.to_owned()),
        }
    }
    Ok(readers)
}
