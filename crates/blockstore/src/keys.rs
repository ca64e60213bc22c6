//! Secrets that people hold: key files and passphrases.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use bygone_base::{Error, ErrorKind, Result, Rng, disk};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::{Repository, crypto::Key, repository};

const PREFIX: &str = "bygone-key-1:";
/// Longest key file that is read, in bytes.
const MAX_FILE: u64 = 4096;

/// What a person gives to open an encrypted repository. Never printed, wiped
/// when dropped.
#[derive(Clone)]
pub enum Secret {
    /// The key of a key file.
    KeyFile(KeyBytes),
    /// A passphrase.
    Passphrase(SecretString),
}

/// The 32 bytes of a key file.
#[derive(Clone)]
pub struct KeyBytes(pub(crate) Key);

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes(..)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::KeyFile(_) => f.write_str("Secret::KeyFile(..)"),
            Secret::Passphrase(_) => f.write_str("Secret::Passphrase(..)"),
        }
    }
}

impl Secret {
    /// A passphrase; an empty one is refused.
    pub fn passphrase(text: String) -> Result<Self> {
        let text = Zeroizing::new(text);
        if text.is_empty() {
            return Err(Error::usage("the passphrase is empty"));
        }
        Ok(Secret::Passphrase(SecretString::from(text.as_str())))
    }

    /// The key in a key file made by [`new_key_file`].
    pub fn from_key_file(path: &Path) -> Result<Self> {
        let what = || format!("key file {}", path.display());
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path).map_err(|e| Error::io(what(), e))?;
        file.take(MAX_FILE).read_to_string(&mut text).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => bad_file(path),
            _ => Error::io(what(), e),
        })?;
        Secret::parse_key(&text).ok_or_else(|| bad_file(path))
    }

    /// The key in the text of a key file: one line.
    pub fn parse_key(text: &str) -> Option<Self> {
        let hex = text.trim().strip_prefix(PREFIX)?;
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(hex, bytes.as_mut()).ok()?;
        Some(Secret::KeyFile(KeyBytes(Key::new(*bytes))))
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Secret::KeyFile(_) => "key-file",
            Secret::Passphrase(_) => "passphrase",
        }
    }

    /// The passphrase's bytes.
    pub(crate) fn phrase(secret: &SecretString) -> &[u8] {
        secret.expose_secret().as_bytes()
    }
}

fn bad_file(path: &Path) -> Error {
    Error::usage(format!("{} is not a key file", path.display()))
        .hint(format!("a key file is one line, {PREFIX} and 64 hex digits: bygone key new"))
}

/// Writes a fresh key to a new file that only its owner can read. A file that
/// is there is left alone: [`ErrorKind::Conflict`].
pub fn new_key_file(path: &Path, rng: &dyn Rng) -> Result<Secret> {
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill(bytes.as_mut());
    let line = Zeroizing::new(format!("{PREFIX}{}\n", hex::encode(bytes.as_ref())));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        let error = Error::io(format!("write key file {}", path.display()), error);
        match error.kind() {
            ErrorKind::Conflict => error.hint("a key is never overwritten: choose another name"),
            _ => error,
        }
    })?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk::sync_dir(folder)?;
    Ok(Secret::KeyFile(KeyBytes(Key::new(*bytes))))
}

/// Starts a new data key, and wraps all keys with `next` from now on (which
/// may be the same secret). Objects written before stay readable; programs
/// that hold the repository open go on writing with the old key until they
/// open it again. Gives the repository with the new keys.
pub async fn rotate(repo: &Repository, current: &Secret, next: &Secret) -> Result<Repository> {
    repository::rotate(repo, current, next).await
}

#[cfg(test)]
mod tests {
    use bygone_base::SeededRng;

    use super::*;

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        new_key_file(&path, &SeededRng::new(1)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let before = std::fs::read(&path).unwrap();
        let again = new_key_file(&path, &SeededRng::new(2)).expect_err("exists");
        assert_eq!(again.kind(), ErrorKind::Conflict);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert!(Secret::from_key_file(&path).is_ok());
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = format!("{PREFIX}{}", "ab".repeat(32));
        let key = Secret::parse_key(&text).unwrap();
        let phrase = Secret::passphrase("correct horse".to_owned()).unwrap();
        let shown = format!("{key:?} {phrase:?}");
        assert!(!shown.contains("abab") && !shown.contains("171") && !shown.contains("horse"));
    }

    #[test]
    fn what_is_no_key_file_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for bad in ["", "hunter2", "bygone-key-1:abcd", &"x".repeat(10_000)] {
            std::fs::write(&path, bad).unwrap();
            let error = Secret::from_key_file(&path).expect_err("bad");
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(!error.to_string().contains("hunter2"));
        }
        std::fs::write(&path, [0xff; 90]).unwrap();
        assert_eq!(Secret::from_key_file(&path).expect_err("bad").kind(), ErrorKind::Usage);
        let gone = Secret::from_key_file(&dir.path().join("none")).expect_err("missing");
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }
}
