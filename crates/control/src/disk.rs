//! How full the disks of file stores are. A disk that does not answer keeps nobody waiting.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bygone_base::Clock;
use tokio::task::JoinHandle;

/// Bytes used, and bytes in all.
pub(crate) type Used = Option<(u64, u64)>;

/// A disk that was not asked before is waited for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Disks as they were last seen.
#[derive(Debug, Default)]
pub(crate) struct Disks(Mutex<HashMap<String, Disk>>);

#[derive(Debug, Default)]
struct Disk {
    used: Used,
    /// One question to a disk at a time: a mount that hangs holds one thread, not one more with each look.
    asked: Option<JoinHandle<Used>>,
}

impl Disks {
    /// Of the file system under a `file://` store; `None` for other stores, and while it never answered.
    pub(crate) async fn used(&self, url: &str, clock: &dyn Clock) -> Used {
        let path = PathBuf::from(url.strip_prefix("file://")?);
        self.ask(url, clock, move || statvfs(&path)).await
    }

    async fn ask(
        &self,
        url: &str,
        clock: &dyn Clock,
        look: impl FnOnce() -> Used + Send + 'static,
    ) -> Used {
        let mut disk = self.lock().remove(url).unwrap_or_default();
        let patience = if disk.asked.is_some() { Duration::ZERO } else { PATIENCE };
        let mut asked = disk.asked.take().unwrap_or_else(|| tokio::task::spawn_blocking(look));
        tokio::select! {
            biased;
            answer = &mut asked => disk.used = answer.ok().flatten(),
            () = clock.sleep(patience) => disk.asked = Some(asked),
        }
        let used = disk.used;
        self.lock().insert(url.to_owned(), disk);
        used
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Disk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn statvfs(path: &Path) -> Used {
    let stat = rustix::fs::statvfs(path).ok()?;
    let all = stat.f_blocks.saturating_mul(stat.f_frsize);
    // What only root may still write does not help.
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Some((all.saturating_sub(free), all))
}

/// Bytes that may still be written into a folder; `None` where that cannot be told.
pub(crate) fn free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bygone_base::SystemClock;

    use super::*;

    #[tokio::test]
    async fn a_file_store_has_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (disks, clock) = (Disks::default(), SystemClock::new());
        let url = format!("file://{}", dir.path().display());
        let (used, all) = disks.used(&url, &clock).await.unwrap();
        assert!(used <= all && all > 0);
        assert_eq!(disks.used("s3://bucket/prefix", &clock).await, None);
        assert!(free(dir.path()).unwrap() <= all);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_asked_once() {
        let (disks, clock) = (Disks::default(), SystemClock::new());
        let (answer, hangs) = mpsc::channel();
        assert_eq!(disks.ask("x", &clock, move || hangs.recv().ok()).await, None);
        let began = clock.monotonic();
        for _ in 0..20 {
            assert_eq!(disks.ask("x", &clock, || Some((9, 9))).await, None);
        }
        assert!(clock.monotonic() - began < PATIENCE, "known to hang, it is not waited for");
        answer.send((1, 2)).unwrap();
        let mut seen = None;
        while seen.is_none() {
            seen = disks.ask("x", &clock, || None).await;
        }
        assert_eq!(seen, Some((1, 2)));
    }
}
