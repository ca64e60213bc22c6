//! Secrets in the catalog: AES-256-GCM under a key that lies beside it in a file of its own, so that a copy of the
//! catalog alone opens nothing.

use std::{fmt, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bygone_base::{Error, ErrorKind, Result, Rng};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A secret as it is kept: nonce and ciphertext, base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

/// Seals and opens secrets.
pub struct Seal {
    key: LessSafeKey,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// With the key in the file, which is made where there is none.
    ///
    /// # Errors
    /// Damaged: the file holds something else.
    pub fn in_file(file: &Path, rng: &dyn Rng) -> Result<Seal> {
        let io = |e| Error::io(format!("key of the catalog {}", file.display()), e);
        let mut made = Zeroizing::new([0; 32]);
        let mut options = fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(file) {
            Ok(mut out) => {
                rng.fill(made.as_mut());
                let text = Zeroizing::new(hex::encode(*made) + "\n");
                out.write_all(text.as_bytes()).map_err(io)?;
                out.sync_all().map_err(io)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let text = Zeroizing::new(fs::read_to_string(file).map_err(io)?);
                hex::decode_to_slice(text.trim(), made.as_mut()).map_err(|_| {
                    Error::damaged(format!("{} holds no key of 64 hex digits", file.display()))
                })?;
            }
            Err(e) => return Err(io(e)),
        }
        Seal::new(&made)
    }

    /// With this key.
    pub fn new(key: &[u8; 32]) -> Result<Seal> {
        let key = UnboundKey::new(&AES_256_GCM, key)
            .map_err(|_| Error::internal("a key of 32 bytes is refused"))?;
        Ok(Seal { key: LessSafeKey::new(key) })
    }

    /// Seals a secret for one place: what is sealed for `place` opens nowhere else.
    pub fn seal(&self, secret: &str, place: &str, rng: &dyn Rng) -> Result<Sealed> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill(&mut nonce);
        let mut sealed = secret.as_bytes().to_vec();
        let aad = Aad::from(place.as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| Error::internal("a secret could not be sealed"))?;
        Ok(Sealed(STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// Denied: it was sealed under another key, or for another place.
    pub fn open(&self, sealed: &Sealed, place: &str) -> Result<Zeroizing<String>> {
        let wrong = || {
            Error::new(ErrorKind::Denied, "a secret of the catalog does not open with its key")
                .hint("put the key file back that belongs to this catalog, or give the secret anew")
        };
        let bytes = STANDARD.decode(&sealed.0).map_err(|_| wrong())?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        let mut rest = Zeroizing::new(rest.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut rest)
            .map_err(|_| wrong())?;
        let text = std::str::from_utf8(plain).map_err(|_| wrong())?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use bygone_base::SeededRng;

    use super::*;

    #[test]
    fn a_secret_opens_with_its_key_and_at_its_place_only() {
        let rng = SeededRng::new(3);
        let seal = Seal::new(&[7; 32]).unwrap();
        let sealed = seal.seal("mongodb://u:p@h", "job/1", &rng).unwrap();
        assert_eq!(seal.open(&sealed, "job/1").unwrap().as_str(), "mongodb://u:p@h");
        assert!(seal.open(&sealed, "job/2").is_err());
        assert!(Seal::new(&[8; 32]).unwrap().open(&sealed, "job/1").is_err());
        assert!(seal.open(&Sealed("AAAA".into()), "job/1").is_err());
        assert!(!format!("{seal:?} {sealed:?}").contains("u:p"));
    }

    #[test]
    fn the_key_file_is_made_once_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("catalog.key");
        let rng = SeededRng::new(4);
        let first = Seal::in_file(&file, &rng).unwrap();
        let sealed = first.seal("s", "x", &rng).unwrap();
        assert_eq!(Seal::in_file(&file, &rng).unwrap().open(&sealed, "x").unwrap().as_str(), "s");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "nonsense").unwrap();
        assert!(Seal::in_file(&file, &rng).is_err());
    }
}
