//! A folder for one command's scratch files, of its own and gone afterwards.

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

impl Scratch {
    /// A folder of its own within `dir`, which is made where it is missing.
    pub fn within(dir: &Path) -> Result<Scratch> {
        let path = dir.join(format!("bygone-scratch-{:016x}", SystemRng.next_u64()));
        let made = fs::create_dir_all(&path);
        made.map_err(|e| Error::io(format!("make {}", path.display()), e))?;
        let path = path.canonicalize();
        let path = path.map_err(|e| Error::io(format!("find {}", dir.display()), e))?;
        Ok(Scratch { path })
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
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir(&dir).unwrap();
    }
}
