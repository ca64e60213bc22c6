//! A store in a folder. The rules (bygone_base::disk): a body is written to a
//! temporary file and synced, linked to its name only if the name is free,
//! and the folder is synced. So a name is there with its whole content or not
//! at all, after a crash of the process or of the machine.
//!
//! Why not object_store's own local store: it does not sync the folder when a
//! name already exists (a put retried after a crash would be acknowledged
//! before it is durable), nor folders that another process has just made, and
//! its left-over staging files lie among the objects and are never removed.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bygone_base::{Error, ErrorKind, Result, Rng, SystemRng, UnixMillis, disk};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{ObjectStat, Put, Store, not_found, too_short};
use crate::names;

/// Folder of the temporary files; no object's name starts with a dot.
const TEMPORARY: &str = ".tmp";
/// A temporary file older than this belongs to nobody any more.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Requests of a store at once. A file system that stands still (a network mount) holds so many threads and no more.
const TURNS: usize = 12;

/// A store in a folder of a local or network file system.
#[derive(Debug, Clone)]
pub struct FileStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Part of temporary names, so that processes do not meet.
    instance: u64,
    next: AtomicU64,
    /// Folders whose names this process has made durable.
    durable: Mutex<HashSet<PathBuf>>,
    turns: Arc<Semaphore>,
}

impl FileStore {
    /// The store in the folder `root`, which need not exist yet: until it
    /// does, every put fails (a disk that is not mounted is not filled).
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let inner = Inner {
            root: root.into(),
            instance: SystemRng.next_u64(),
            next: AtomicU64::new(0),
            durable: Mutex::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
        };
        FileStore { inner: Arc::new(inner) }
    }

    /// Like [`FileStore::new`], and creates the folder with its parents.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        disk::create_dir(&root)?;
        Ok(FileStore::new(root))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.inner.clone();
        let turn = inner.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|e| Error::internal("a store is over").source(e))?;
        let work = move || {
            // Given back when it is done: who no longer waits has not ended it.
            let _turn = turn;
            work(&inner)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::internal("a store task was cut off").source(e))?
    }
}

impl Inner {
    fn path(&self, name: &str) -> Result<PathBuf> {
        names::check(name)?;
        Ok(self.root.join(name))
    }

    fn location(&self) -> String {
        format!("file://{}", self.root.display())
    }

    /// An error on an object: a missing file is named, a missing root too.
    fn error(&self, doing: &str, name: &str, error: io::Error) -> Error {
        let root_gone = !self.root.is_dir();
        if error.kind() == io::ErrorKind::NotFound && !root_gone {
            return not_found(name, &self.location());
        }
        if error.kind() == io::ErrorKind::NotFound {
            // Not NotFound: that would say that an object is lost.
            let root = self.root.display();
            return Error::usage(format!("the store's folder {root} does not exist"))
                .hint("check the path, and that its disk is mounted");
        }
        let error = Error::io(format!("{doing} {name} in {}", self.location()), error);
        match error.kind() {
            ErrorKind::Full => error.hint("free space on the store's disk, then run again"),
            ErrorKind::Denied => {
                error.hint("give this user permission to read and write the store's folder")
            }
            _ => error,
        }
    }

    fn put_new(&self, name: &str, body: &[u8]) -> Result<Put> {
        let path = self.path(name)?;
        let parent = path.parent().unwrap_or(&self.root);
        let put = self.publish(&path, parent, body).map_err(|e| self.error("write", name, e))?;
        // Also when the name existed: whoever made it may not have got this far.
        disk::sync_dir(parent).map(|()| put)
    }

    fn publish(&self, path: &Path, parent: &Path, body: &[u8]) -> io::Result<Put> {
        self.make_folder(&self.root.join(TEMPORARY))?;
        self.make_folder(parent)?;
        if path.exists() {
            // Spares the write; the link below is what decides.
            return Ok(Put::Exists);
        }
        let temporary = self.root.join(TEMPORARY).join(format!(
            "{:016x}-{}",
            self.instance,
            self.next.fetch_add(1, Ordering::Relaxed)
        ));
        let result = write_synced(&temporary, body).and_then(|()| link_new(&temporary, path));
        let removed = fs::remove_file(&temporary);
        let put = result?;
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(put),
        }
    }

    /// Makes a folder below the root, durably, once per process; somebody
    /// else's folder may exist without being durable yet.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let known = |p: &Path| lock(&self.durable).contains(p);
        let mut missing = Vec::new();
        let mut at = folder;
        while at != self.root && !(known(at) && at.is_dir()) {
            missing.push(at.to_owned());
            at = at.parent().ok_or(io::ErrorKind::NotFound)?;
        }
        for path in missing.into_iter().rev() {
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
            File::open(parent)?.sync_all()?;
            lock(&self.durable).insert(path);
        }
        Ok(())
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> Result<Bytes> {
        let path = self.path(name)?;
        let (bytes, size) =
            read_file(&path, range.clone()).map_err(|e| self.error("read", name, e))?;
        match range {
            Some(range) if bytes.len() as u64 != range.end.saturating_sub(range.start) => {
                Err(too_short(name, size, range.end))
            }
            _ => Ok(bytes),
        }
    }

    fn read_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        let path = self.path(name)?;
        let size = fs::metadata(&path).map_err(|e| self.error("read", name, e))?.len();
        Ok((self.read(name, Some(size.saturating_sub(max)..size))?, size))
    }

    fn stat(&self, name: &str) -> Result<ObjectStat> {
        let path = self.path(name)?;
        let meta = fs::metadata(path).map_err(|e| self.error("read", name, e))?;
        if !meta.is_file() {
            return Err(not_found(name, &self.location()));
        }
        Ok(ObjectStat { name: name.to_owned(), size: meta.len(), modified: modified(&meta) })
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        names::check_prefix(prefix)?;
        if !self.root.is_dir() {
            return Err(self.error("list", prefix, io::ErrorKind::NotFound.into()));
        }
        let mut found = Vec::new();
        let mut folders = vec![prefix.to_owned()];
        while let Some(folder) = folders.pop() {
            self.list_folder(&folder, &mut folders, &mut found)
                .map_err(|e| self.error("list", &folder, e))?;
        }
        found.retain(|stat| after.is_none_or(|after| stat.name.as_str() > after));
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Folders that became empty are not removed: each is looked into for a first object.
    fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        names::check_prefix(prefix)?;
        if !self.root.is_dir() {
            return Err(self.error("list", prefix, io::ErrorKind::NotFound.into()));
        }
        let (mut folders, mut ignored) = (Vec::new(), Vec::new());
        self.list_folder(prefix, &mut folders, &mut ignored)
            .map_err(|e| self.error("list", prefix, e))?;
        let mut found = Vec::new();
        for folder in folders {
            if self.holds_any(&folder).map_err(|e| self.error("list", &folder, e))? {
                let name = folder.strip_prefix(prefix).and_then(|name| name.strip_suffix('/'));
                found.extend(name.map(str::to_owned));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn holds_any(&self, folder: &str) -> io::Result<bool> {
        let mut folders = vec![folder.to_owned()];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            self.list_folder(&folder, &mut folders, &mut found)?;
            if !found.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn list_folder(
        &self,
        folder: &str,
        folders: &mut Vec<String>,
        found: &mut Vec<ObjectStat>,
    ) -> io::Result<()> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // Files that somebody else put there are none of the store's.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = format!("{folder}{name}");
            if names::check(&name).is_err() {
                continue;
            }
            match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_dir() => folders.push(format!("{name}/")),
                Ok(meta) => {
                    found.push(ObjectStat { name, size: meta.len(), modified: modified(&meta) });
                }
                // Deleted in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes temporary files that a killed process left, judged by the file
    /// system's own clock.
    fn sweep(&self) -> io::Result<()> {
        let folder = self.root.join(TEMPORARY);
        self.make_folder(&folder)?;
        let mark = folder.join(format!("{:016x}-now", self.instance));
        write_synced(&mark, b"")?;
        let now = fs::metadata(&mark)?.modified()?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let age = fs::metadata(&path).and_then(|m| m.modified()).map(|m| now.duration_since(m));
            if matches!(age, Ok(Ok(age)) if age > ABANDONED) {
                fs::remove_file(&path)?;
            }
        }
        fs::remove_file(&mark)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn write_synced(path: &Path, body: &[u8]) -> io::Result<()> {
    // Backups are nobody else's business: no access for other users.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
    file.write_all(body)?;
    file.sync_all()
}

/// Gives `temporary` the name `path` if that is free.
fn link_new(temporary: &Path, path: &Path) -> io::Result<Put> {
    use rustix::{fs::RenameFlags, io::Errno};
    let linked = match rustix::fs::link(temporary, path) {
        // File systems without hard links (FAT, some network ones).
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
            let here = rustix::fs::CWD;
            rustix::fs::renameat_with(here, temporary, here, path, RenameFlags::NOREPLACE)
        }
        linked => linked,
    };
    match linked {
        Ok(()) => Ok(Put::Created),
        Err(Errno::EXIST) => Ok(Put::Exists),
        Err(error) => Err(error.into()),
    }
}

fn read_file(path: &Path, range: Option<Range<u64>>) -> io::Result<(Bytes, u64)> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let size = meta.len();
    let range = range.unwrap_or(0..size);
    // What the file has, whatever was asked for: nothing large is allocated for a wrong range.
    let want = range.end.min(size).saturating_sub(range.start);
    let mut bytes = Vec::with_capacity(usize::try_from(want).map_err(io::Error::other)?);
    if want > 0 {
        file.seek(SeekFrom::Start(range.start))?;
        file.take(want).read_to_end(&mut bytes)?;
    }
    Ok((bytes.into(), size))
}

fn modified(meta: &fs::Metadata) -> UnixMillis {
    let since = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(UNIX_EPOCH);
    UnixMillis(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
}

#[async_trait]
impl Store for FileStore {
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.put_new(&name, &body)).await
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.read(&name, None)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.read(&name, Some(range))).await
    }

    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.read_tail(&name, max)).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectStat> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.stat(&name)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.blocking(move |inner| inner.list(&prefix, after.as_deref())).await
    }

    /// Not synced: an object that comes back after a power cut is deleted again.
    async fn delete(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |inner| match fs::remove_file(inner.path(&name)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(inner.error("delete", &name, error))
            }
            _ => Ok(()),
        })
        .await
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        let prefix = prefix.to_owned();
        self.blocking(move |inner| inner.list_folders(&prefix)).await
    }

    /// What is more than a day old.
    async fn sweep_leftovers(&self) -> Result<()> {
        self.blocking(|inner| inner.sweep().map_err(|e| inner.error("clean", TEMPORARY, e))).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

#[cfg(test)]
mod tests;
