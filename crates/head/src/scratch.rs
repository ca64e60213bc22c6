//! A folder for scratch files of one piece of work, of its own and gone afterwards.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bygone_base::{Error, Result, Rng as _, SystemRng};

/// A fresh folder, removed with what is in it when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

/// What the folders are called.
const PREFIX: &str = "bygone-scratch-";

impl Scratch {
    /// A folder of its own within `dir`, which is made where it is missing.
    pub fn within(dir: &Path) -> Result<Scratch> {
        let path = dir.join(format!("{PREFIX}{:016x}", SystemRng.next_u64()));
        let made = fs::create_dir_all(&path);
        made.map_err(|e| Error::io(format!("make {}", path.display()), e))?;
        let path = path.canonicalize();
        let path = path.map_err(|e| Error::io(format!("find {}", dir.display()), e))?;
        Ok(Scratch { path })
    }

    /// Removes what processes left in `dir` that were killed, for who knows that none is at work there.
    pub fn clear(dir: &Path) -> Result<()> {
        let failed = |e| Error::io(format!("clear {}", dir.display()), e);
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The folder as a store.
    pub fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "scratch files stay behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_once_do_not_meet_and_nothing_stays() {
        let dir = std::env::temp_dir().join(format!("bygone-test-{:x}", SystemRng.next_u64()));
        let (a, b) = (Scratch::within(&dir).unwrap(), Scratch::within(&dir).unwrap());
        assert_ne!(a.url(), b.url());
        fs::write(a.path.join("x"), b"x").unwrap();
        drop((a, b));
        let left = Scratch::within(&dir).unwrap();
        fs::write(dir.join("another's"), b"x").unwrap();
        std::mem::forget(left);
        Scratch::clear(&dir).unwrap();
        Scratch::clear(&dir.join("missing")).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_file(dir.join("another's")).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir(&dir).unwrap();
    }
}
