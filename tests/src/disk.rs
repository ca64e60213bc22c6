//! A small file system that can be filled and made read-only, without being root: it is mounted in a
//! mount namespace of its own and goes with the process that holds that.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::process::Bygone;

/// A file system in memory; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
    holder: Child,
}

impl SmallDisk {
    /// One with room for `mb` MB.
    pub fn new(mb: u32) -> SmallDisk {
        let folder = tempfile::Builder::new().prefix("bygone-disk-").tempdir().expect("folder");
        let script = format!(
            "mount -t tmpfs -o size={mb}m none \"$0\" && echo mounted && exec cat >/dev/null"
        );
        let mut holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "-r", "-m", "sh", "-c", &script])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start unshare");
        let mut word = [0; 8];
        let said = holder.stdout.take().expect("stdout").read_exact(&mut word);
        assert!(said.is_ok(), "no file system can be mounted in a user namespace here");
        SmallDisk { folder, holder }
    }

    /// The path as processes inside see it; outside there is an empty folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path at which the test sees the same.
    pub fn seen(&self) -> PathBuf {
        let path = self.path().strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(path)
    }

    /// The command as a process that sees the file system.
    pub fn inside(&self, command: Bygone) -> Bygone {
        command.by(self.enter())
    }

    /// Takes all room but `left` bytes.
    pub fn fill(&self, left: usize) {
        self.free();
        fs::write(self.spare(), vec![1; left]).expect("room that is left");
        let mut filler = File::create(self.filler()).expect("the filler");
        let chunk = [2; 4096];
        loop {
            match filler.write_all(&chunk) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("fill the disk: {error}"),
            }
        }
        fs::remove_file(self.spare()).expect("room that is left");
    }

    /// Ends `fill`.
    pub fn free(&self) {
        // There may be none.
        let _ = fs::remove_file(self.filler());
    }

    /// Lets nothing be written any more.
    pub fn read_only(&self) {
        self.remount("remount,ro");
    }

    /// Ends `read_only`.
    pub fn writable(&self) {
        self.remount("remount,rw");
    }

    fn remount(&self, option: &str) {
        let enter = self.enter();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).args(["mount", "-o", option]).arg(self.path());
        let status = command.status().expect("start nsenter");
        assert!(status.success(), "{option} of {}", self.path().display());
    }

    /// What starts a process inside, in front of it.
    pub(crate) fn enter(&self) -> Vec<OsString> {
        let pid = self.holder.id().to_string();
        ["nsenter", "-t", &pid, "-U", "-m", "--preserve-credentials"].map(OsString::from).to_vec()
    }

    fn filler(&self) -> PathBuf {
        self.seen().join("filler")
    }

    fn spare(&self) -> PathBuf {
        self.seen().join("spare")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_filled_freed_and_protected() {
        let disk = SmallDisk::new(2);
        let path = disk.seen().join("x");
        disk.fill(64 * 1024);
        let full = fs::write(&path, vec![0; 512 * 1024]).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        fs::write(&path, vec![0; 32 * 1024]).unwrap();
        disk.free();
        fs::write(&path, vec![0; 512 * 1024]).unwrap();
        disk.read_only();
        let refused = fs::write(&path, b"x").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
        disk.writable();
        fs::write(&path, b"x").unwrap();
        assert!(fs::read_dir(disk.path()).unwrap().next().is_none(), "seen outside");
    }
}
