//! Crash-safe files: the only rules for making bytes on disk durable.
//!
//! 1. Write to a temporary name in the same folder, fsync the file.
//! 2. Link or rename it to its name.
//! 3. fsync the folder: without it the name itself can be lost.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use crate::{Error, Result};

/// Makes the entries of `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io(format!("sync folder {}", dir.display()), e))
}

/// Creates `dir` with its parents and makes their names durable.
pub fn create_dir(dir: &Path) -> Result<()> {
    let mut missing = Vec::new();
    let mut at = Some(dir);
    while let Some(path) = at.filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
        missing.push(path.to_owned());
        at = path.parent();
    }
    fs::create_dir_all(dir)
        .map_err(|e| Error::io(format!("create folder {}", dir.display()), e))?;
    for path in missing {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
    }
    Ok(())
}

/// Makes a folder that only its owner may enter, or makes one that is there such.
pub fn private_dir(dir: &Path) -> Result<()> {
    let io = |e| Error::io(format!("create folder {}", dir.display()), e);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(io)
}

/// Makes a file that only its owner may read, empty where there was none.
pub fn private_file(file: &Path) -> Result<()> {
    let io = |e| Error::io(format!("create {}", file.display()), e);
    OpenOptions::new().append(true).create(true).mode(0o600).open(file).map_err(io)?;
    fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(io)
}

/// Writes `path` whole or not at all, replacing what was there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let what = || format!("write {}", path.display());
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    let temporary = Path::new(&temporary);
    let written = (|| {
        let mut file = File::create(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(temporary, path)
    })();
    if let Err(error) = written {
        // Best effort: the real error is the one to report.
        let _ = fs::remove_file(temporary);
        return Err(Error::io(what(), error));
    }
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_whole_files_into_new_folders() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        create_dir(&folder).unwrap();
        let path = folder.join("x");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
