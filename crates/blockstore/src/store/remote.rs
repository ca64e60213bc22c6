//! Stores over HTTP: S3 and its kin, Google Cloud Storage, Azure Blob, through
//! object_store. Its own retries are off: [`super::Retrying`] does that, by
//! our clock.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bygone_base::{Error, ErrorKind, Result, Rng, SystemRng, UnixMillis};
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{
    Error as Remote, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutPayload, path::Path,
};

use super::{ObjectStat, Put, Store, too_short};
use crate::names;

/// Bodies above this are sent in parts.
const MULTIPART_ABOVE: usize = 64 << 20;
/// Size of the parts (S3: at least 5 MiB, at most 10,000 parts).
const PART: usize = 16 << 20;
/// Parts under way at once.
const PARTS_AT_ONCE: usize = 2;
/// Prefix of parts' objects that have not got their names yet; no object's
/// name starts with a dot.
const UPLOADS: &str = ".uploads";

/// A store behind object_store.
#[derive(Debug)]
pub struct RemoteStore {
    remote: Arc<dyn ObjectStore>,
    prefix: Path,
    location: String,
    hint: &'static str,
}

impl RemoteStore {
    /// Objects below `prefix` of `remote`. `location` is shown to people and
    /// `hint` is what they can do about refused access.
    pub fn new(
        remote: Arc<dyn ObjectStore>,
        prefix: &str,
        location: String,
        hint: &'static str,
    ) -> Result<Self> {
        let prefix = Path::parse(prefix)
            .map_err(|e| Error::usage(format!("{location}: not a valid prefix")).source(e))?;
        Ok(RemoteStore { remote, prefix, location, hint })
    }

    fn path(&self, name: &str) -> Result<Path> {
        names::check(name)?;
        self.raw_path(name)
    }

    fn raw_path(&self, name: &str) -> Result<Path> {
        let full = match self.prefix.as_ref() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        Path::parse(full).map_err(|e| Error::internal(format!("object name {name:?}")).source(e))
    }

    fn error(&self, doing: &str, name: &str, error: Remote) -> Error {
        let text = error.to_string();
        let kind = match kind_of(&error, &text) {
            // Only reading one object can find that it is not there.
            ErrorKind::NotFound if doing != "read" => ErrorKind::Usage,
            kind => kind,
        };
        let what = format!("{doing} {name} in {}", self.location);
        let hint = match kind {
            ErrorKind::Usage => Some("check that the bucket exists, its region and endpoint"),
            ErrorKind::Denied => Some(self.hint),
            ErrorKind::Full => Some("free space in the store, or raise its quota"),
            _ => None,
        };
        let error = Error::new(kind, what).source(error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn stat_of(&self, name: String, meta: &ObjectMeta) -> ObjectStat {
        let modified = UnixMillis(meta.last_modified.timestamp_millis());
        ObjectStat { name, size: meta.size, modified }
    }

    async fn read(&self, path: &Path, range: Option<GetRange>) -> Result<(Bytes, u64), Remote> {
        let options = GetOptions { range, ..GetOptions::default() };
        let found = self.remote.get_opts(path, options).await?;
        let size = found.meta.size;
        Ok((found.bytes().await?, size))
    }

    /// Sends the parts under a name of their own, then gives them the name if
    /// it is free: completing an upload in parts is not conditional everywhere.
    async fn put_parts(&self, name: &str, body: Bytes) -> Result<Put> {
        if self.stat(name).await.is_ok() {
            return Ok(Put::Exists);
        }
        let path = self.path(name)?;
        let staged = self.raw_path(&format!("{UPLOADS}/{:016x}", SystemRng.next_u64()))?;
        let sent = self.send_parts(&staged, body).await;
        let named = match sent {
            Ok(()) => existing(self.remote.copy_if_not_exists(&staged, &path).await),
            Err(error) => Err(error),
        };
        // Best effort: what stays behind is not an object of the store.
        let _ = self.remote.delete(&staged).await;
        named.map_err(|e| self.error("write", name, e))
    }

    async fn send_parts(&self, staged: &Path, body: Bytes) -> Result<(), Remote> {
        let mut upload = self.remote.put_multipart(staged).await?;
        let sent = send_all(upload.as_mut(), body).await;
        match sent {
            Ok(()) => upload.complete().await.map(drop),
            Err(error) => {
                // Best effort: the first error is the one to report.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }
}

async fn send_all(upload: &mut dyn MultipartUpload, body: Bytes) -> Result<(), Remote> {
    let mut rest = body;
    while !rest.is_empty() {
        let mut batch = Vec::with_capacity(PARTS_AT_ONCE);
        while batch.len() < PARTS_AT_ONCE && !rest.is_empty() {
            let part = rest.split_to(rest.len().min(PART));
            batch.push(upload.put_part(PutPayload::from_bytes(part)));
        }
        futures::future::try_join_all(batch).await?;
    }
    Ok(())
}

/// Where the server may start so that nothing after `after` is left out. Not
/// simply there: servers that keep folders (SeaweedFS) sort `a/x` as `a`, before
/// `a+1`, where the order of bytes has it after. So the start is before every
/// folder whose name `after` begins with, and what is too much is dropped here.
fn offset<'a>(prefix: &str, after: &'a str) -> Option<&'a str> {
    let rest = after.strip_prefix(prefix)?;
    if rest.contains('/') {
        return None;
    }
    let end = rest.bytes().position(|b| b < b'/').unwrap_or(rest.len());
    let end = end.checked_sub(1).filter(|end| *end > 0)?;
    after.get(..prefix.len() + end)
}

fn existing(created: Result<(), Remote>) -> Result<Put, Remote> {
    match created {
        Ok(()) => Ok(Put::Created),
        Err(Remote::AlreadyExists { .. } | Remote::Precondition { .. }) => Ok(Put::Exists),
        Err(error) => Err(error),
    }
}

/// object_store has kinds for the commonest answers only; the others have the
/// status in their text (`Server returned non-2xx status code: 507 ..`).
fn kind_of(error: &Remote, text: &str) -> ErrorKind {
    let status = |code: &str| text.contains(&format!("status code: {code}"));
    match error {
        _ if text.contains("NoSuchBucket") || text.contains("ContainerNotFound") => {
            ErrorKind::Usage
        }
        Remote::NotFound { .. } => ErrorKind::NotFound,
        Remote::PermissionDenied { .. } | Remote::Unauthenticated { .. } => ErrorKind::Denied,
        Remote::AlreadyExists { .. } | Remote::Precondition { .. } => ErrorKind::Conflict,
        Remote::NotSupported { .. } | Remote::NotImplemented { .. } => ErrorKind::Unsupported,
        Remote::InvalidPath { .. } | Remote::UnknownConfigurationKey { .. } => ErrorKind::Usage,
        _ if status("401") || status("403") => ErrorKind::Denied,
        _ if status("507") || text.contains("QuotaExceeded") => ErrorKind::Full,
        _ if status("400") || status("301") => ErrorKind::Usage,
        _ if status("405") || status("501") => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    }
}

#[async_trait]
impl Store for RemoteStore {
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put> {
        if body.len() > MULTIPART_ABOVE {
            return self.put_parts(name, body).await;
        }
        let path = self.path(name)?;
        let body = PutPayload::from_bytes(body);
        let created = self.remote.put_opts(&path, body, PutMode::Create.into()).await;
        existing(created.map(drop)).map_err(|e| self.error("write", name, e))
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        let path = self.path(name)?;
        let (body, _) = self.read(&path, None).await.map_err(|e| self.error("read", name, e))?;
        Ok(body)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        if range.start >= range.end {
            return Ok(Bytes::new());
        }
        let path = self.path(name)?;
        match self.read(&path, Some(GetRange::Bounded(range.clone()))).await {
            Ok((body, _)) if body.len() as u64 == range.end - range.start => Ok(body),
            Ok((_, size)) => Err(too_short(name, size, range.end)),
            Err(error) => {
                // A range beyond the end is refused in as many ways as there are servers.
                match self.stat(name).await {
                    Ok(stat) if stat.size < range.end => Err(too_short(name, stat.size, range.end)),
                    _ => Err(self.error("read", name, error)),
                }
            }
        }
    }

    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        let path = self.path(name)?;
        if max > 0
            && let Ok((body, size)) = self.read(&path, Some(GetRange::Suffix(max))).await
            && body.len() as u64 == size.min(max)
        {
            return Ok((body, size));
        }
        // Azure has no suffix ranges, and empty objects have no ranges at all.
        let size = self.stat(name).await?.size;
        Ok((self.get_range(name, size.saturating_sub(max)..size).await?, size))
    }

    async fn stat(&self, name: &str) -> Result<ObjectStat> {
        let path = self.path(name)?;
        let meta = self.remote.head(&path).await.map_err(|e| self.error("read", name, e))?;
        Ok(self.stat_of(name.to_owned(), &meta))
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        names::check_prefix(prefix)?;
        let folder = match prefix.trim_end_matches('/') {
            "" => self.prefix.clone(),
            name => self.path(name)?,
        };
        let listing = match after.and_then(|after| offset(prefix, after)) {
            Some(offset) => self.remote.list_with_offset(Some(&folder), &self.path(offset)?),
            None => self.remote.list(Some(&folder)),
        };
        let skip = match self.prefix.as_ref() {
            "" => 0,
            own => own.len() + 1,
        };
        let mut found: Vec<ObjectStat> = listing
            .try_filter_map(async |meta| {
                let name = meta.location.as_ref().get(skip..).unwrap_or_default().to_owned();
                // Files that somebody else put there are none of the store's.
                let ours = names::check(&name).is_ok() && name.starts_with(prefix);
                Ok(ours.then(|| self.stat_of(name, &meta)))
            })
            .try_collect()
            .await
            .map_err(|e| self.error("list", prefix, e))?;
        found.retain(|stat| after.is_none_or(|after| stat.name.as_str() > after));
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        names::check_prefix(prefix)?;
        let folder = match prefix.trim_end_matches('/') {
            "" => self.prefix.clone(),
            name => self.path(name)?,
        };
        let listing = self.remote.list_with_delimiter(Some(&folder)).await;
        let listing = listing.map_err(|e| self.error("list", prefix, e))?;
        let mut found: Vec<String> = listing
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename())
            .filter(|name| names::check(&format!("{prefix}{name}")).is_ok())
            .map(str::to_owned)
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self.remote.delete(&self.path(name)?).await {
            Ok(()) | Err(Remote::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("delete", name, error)),
        }
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::conformance;

    #[tokio::test]
    async fn conforms_over_a_foreign_store_with_and_without_a_prefix() {
        for prefix in ["", "a/b"] {
            let remote = Arc::new(InMemory::new());
            let store = RemoteStore::new(remote, prefix, "memory".to_owned(), "").unwrap();
            let store: Arc<dyn Store> = Arc::new(store);
            conformance::run(store.clone()).await.unwrap();
            conformance::run_large(store.clone()).await.unwrap();
            conformance::run_large_race(store).await.unwrap();
        }
    }

    #[test]
    fn a_listing_starts_before_folders_that_sort_elsewhere() {
        assert_eq!(offset("o/", "o/00ff-12"), Some("o/00f"));
        assert_eq!(offset("o/", "o/a+1"), None);
        assert_eq!(offset("o/", "o/a/b"), None);
        assert_eq!(offset("o/", "n"), None);
        assert_eq!(offset("", "keys"), Some("key"));
    }

    #[test]
    fn answers_have_the_kind_that_tells_what_to_do() {
        let of = |text: &str| {
            let error = Remote::Generic { store: "S3", source: text.into() };
            kind_of(&error, &error.to_string())
        };
        let status = |code: &str| of(&format!("Server returned non-2xx status code: {code}: x"));
        assert_eq!(status("403 Forbidden"), ErrorKind::Denied);
        assert_eq!(status("507 Insufficient Storage"), ErrorKind::Full);
        assert_eq!(status("503 Slow Down"), ErrorKind::Unavailable);
        assert_eq!(status("500 Internal"), ErrorKind::Unavailable);
        assert_eq!(status("404: <Code>NoSuchBucket</Code>"), ErrorKind::Usage);
        assert_eq!(of("connection reset"), ErrorKind::Unavailable);
    }
}
