//! How full the disk of a file store is.

use std::path::Path;

/// Bytes used and bytes in all of the file system under a `file://` store; `None` for other stores.
pub(crate) fn used(url: &str) -> Option<(u64, u64)> {
    let path = url.strip_prefix("file://")?;
    let stat = rustix::fs::statvfs(Path::new(path)).ok()?;
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
    use super::*;

    #[test]
    fn a_file_store_has_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (used, all) = used(&format!("file://{}", dir.path().display())).unwrap();
        assert!(used <= all && all > 0);
        assert_eq!(super::used("s3://bucket/prefix"), None);
        assert!(free(dir.path()).unwrap() <= all);
    }
}
