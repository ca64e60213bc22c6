//! Private keys behind a password, in the PEM files that certificates come in.
//!
//! Only PKCS#8 with PBES2 (RFC 5958, RFC 8018) is read: what `openssl pkcs8 -topk8` writes.

use std::{fs::File, io::Read as _, path::Path};

use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, pkcs5::pbes2::Kdf};

use crate::{Error, ErrorKind, Result};

/// Larger files, in bytes, are no certificates.
const LARGEST: u64 = 4 << 20;
/// More rounds than this nobody asks for, of PBKDF2.
const ROUNDS: u32 = 10_000_000;
/// More memory than this, in bytes, no key is worth, of scrypt.
const MEMORY: u64 = 1 << 30;
/// How to make of any other key one that can be read.
const CONVERT: &str = "convert it: openssl pkcs8 -topk8 -in OLD.pem -out NEW.pem";

/// The private key of a file, where a password protects it.
pub struct LockedKey {
    shown: String,
    /// An `EncryptedPrivateKeyInfo` (RFC 5958), DER.
    locked: Vec<u8>,
}

impl LockedKey {
    /// Looks into a PEM file; `None` where its key is open, or it has none.
    ///
    /// # Errors
    /// Unsupported: a key in OpenSSL's own encryption, which was before PKCS#8. As reading the file fails.
    pub fn read(path: &Path) -> Result<Option<LockedKey>> {
        let shown = format!("certificate and key {}", path.display());
        let mut text = Vec::new();
        let read = File::open(path).and_then(|f| f.take(LARGEST).read_to_end(&mut text));
        read.map_err(|e| Error::io(&shown, e))?;
        // What is no PEM file, the driver refuses.
        for part in pem::parse_many(&text).unwrap_or_default() {
            if part.tag() == "ENCRYPTED PRIVATE KEY" {
                return Ok(Some(LockedKey { shown, locked: part.into_contents() }));
            }
            if part.headers().get("Proc-Type").is_some_and(|kind| kind.contains("ENCRYPTED")) {
                let line = format!("{shown}: the key is encrypted in OpenSSL's old way");
                return Err(Error::unsupported(line).hint(CONVERT));
            }
        }
        Ok(None)
    }

    /// The key as PKCS#8, DER.
    ///
    /// # Errors
    /// Denied: the password is wrong. Unsupported: another encryption than PBES2 with AES or triple DES.
    pub fn open(&self, password: &[u8]) -> Result<Vec<u8>> {
        let strange = || {
            Error::unsupported(format!("{}: the key's encryption is unknown", self.shown))
                .hint(CONVERT)
        };
        let wrong = || {
            let line = format!("{}: the password of the key is wrong", self.shown);
            Error::new(ErrorKind::Denied, line)
        };
        let locked = EncryptedPrivateKeyInfoRef::try_from(self.locked.as_slice());
        let locked = locked.map_err(|_| strange())?;
        let scheme = locked.encryption_algorithm.pbes2();
        if !scheme.is_some_and(|scheme| affordable(&scheme.kdf)) {
            return Err(strange());
        }
        let opened = locked.decrypt(password).map_err(|error| match error {
            // Padding may look right by chance; what is within it does not.
            pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed)
            | pkcs8::Error::Asn1(_) => wrong(),
            _ => strange(),
        })?;
        PrivateKeyInfoRef::try_from(opened.as_bytes()).map_err(|_| wrong())?;
        Ok(opened.as_bytes().to_vec())
    }
}

/// Whether the way from password to key takes seconds at most; a damaged file may ask for anything.
fn affordable(way: &Kdf) -> bool {
    match way {
        Kdf::Pbkdf2(way) => way.iteration_count <= ROUNDS,
        Kdf::Scrypt(way) => {
            let memory = way.cost_parameter.saturating_mul(128 * u64::from(way.block_size));
            let times = memory.saturating_mul(way.parallelization.into());
            way.cost_parameter.is_power_of_two() && times <= MEMORY
        }
        _ => false,
    }
}

/// Sees to it that a driver gets a password exactly where the key of `file` needs one, and the right one: what a driver
/// itself says names neither the file nor what to do.
///
/// # Errors
/// As [`LockedKey::read`] and [`LockedKey::open`]; Denied where a password is missing.
pub fn unlock(file: Option<&Path>, password: &mut Option<Vec<u8>>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let Some(key) = LockedKey::read(file)? else {
        *password = None;
        return Ok(());
    };
    let Some(password) = password else {
        let line = format!("{}: the key wants a password", key.shown);
        return Err(Error::new(ErrorKind::Denied, line)
            .hint("give it as tlsCertificateKeyFilePassword in the URI"));
    };
    key.open(password).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    // One key in OpenSSL 3.0's ways of encrypting it; the password is "swordfish".
    /// As `openssl pkcs8 -topk8` does it.
    const AES: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgYKy78Dl7KNwICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEAGEvPTR8cgZCZ+ygWgkE28EgZAV
M3oqp8t+2Lza9ntfEmZyt9CK912VDyXvicIgisC2RAkz+w1vxOSX3XLJAj9Stl0e
x3RgaHaCibrYTsFl3q/WoPhHkHFI3ykXoi0TG9gdf0mInrSbyb9+iZ2tZDDNYi7H
KF0H1DYh6cBxJXHBwJ1dQH0mLyKr9bWMaZdtaegkmrkiSVL2VdNrL6a+XuhjkaY=
-----END ENCRYPTED PRIVATE KEY-----
";
    /// `-v2 des3 -v2prf hmacWithSHA1`
    const DES: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHVMEAGCSqGSIb3DQEFDTAzMBsGCSqGSIb3DQEFDDAOBAiCG3fR6oAYdAICCAAw
FAYIKoZIhvcNAwcECHVkrDx8kelSBIGQ7v7vC0Ktza1kEJK1f86qnKTjpC4WdPuT
/XJ6AahESYnkkHM7cpAShq+P4rEhJU3Hev0RBZgNIatQHLfB71Qz+x+0aabE/Rhs
M6lnmiQe6fDLfR9hLzOakCwVhVC9xnPnTZXQA58qemL36tftYGYdSHH8JX76e/PV
zp7duuBbwrujcvsJJOYwhVNTrfZDTxRx
-----END ENCRYPTED PRIVATE KEY-----
";
    /// `-scrypt`
    const SCRYPT: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAjZHyGPiw/pCAICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBCoHFKcuhyghCNBvc9p02iUBIGQb22/t04JlLPe
ZlkpIXlPpuy3cO2BdtsXvgCjYEQ8lII29XGNk/cKoXFtx25DOSNS0iNGqMa/UsLB
lJ1hlUdd/1MT7Z8s5RXf/uKfyUnwCpSvHDL0YHEyPQhYJmCOVLlL42E9jFJqgzkf
E63Hzc6sahghSL6M7ERwZ4GWa9Y8EQgQa1ZOwRWweYgNVeWVl9U1
-----END ENCRYPTED PRIVATE KEY-----
";
    /// `-v1 PBE-SHA1-3DES`
    const FIRST: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGxMBwGCiqGSIb3DQEMAQMwDgQIaubOBAT8BmsCAggABIGQCcWVO/vVJuNt6ILz
94ti485pel7JPgSYb1C26b8KK+f2x1dGhKITVk3Ji+wYaYRuuDyhhT+jZUo/PjRB
eEsYoo6BXShJOo97A7196vP15tkD9u1vNdwsqCpBv2y0JSLi381qUYxet0cak8H2
+1E0OBKUyoRGFZw98DJEPuugjN9nd3QX2JEAyzjf9HnNG8e6
-----END ENCRYPTED PRIVATE KEY-----
";
    /// `openssl ec -aes256`
    const OLD: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,77E9536519381CB11CDFBB2659EAA655

ZjlNS1eiZPqDpNYEHnnuCZw3HFZhUdNoEVytleD41e4HFGUZNt994mukyv8ZN1ep
VIeLJqT4hxUfOZZSlDRpdmbYaEdbgUNjrwLDPHYdyoA5Dj7k9w7YWPWdxjsDHS1q
k/yDeMABe4t2ldmjXrBWx0dUxUnACx88/yJAktiS8Qg=
-----END EC PRIVATE KEY-----
";

    fn file(text: &[u8]) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("client.pem");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn unlocked(text: &str, password: Option<&str>) -> Result<Option<Vec<u8>>> {
        let (_folder, path) = file(text.as_bytes());
        let mut password = password.map(|p| p.as_bytes().to_vec());
        unlock(Some(&path), &mut password).map(|()| password)
    }

    #[test]
    fn what_openssl_encrypts_is_the_same_key() {
        let opened = [AES, DES, SCRYPT].map(|text| {
            let (_folder, path) = file(text.as_bytes());
            LockedKey::read(&path).unwrap().unwrap().open(b"swordfish").unwrap()
        });
        assert!(opened[0] == opened[1] && opened[1] == opened[2]);
        assert!(opened[0].len() > 100);
    }

    #[test]
    fn a_password_is_handed_on_where_it_opens_something() {
        assert_eq!(unlocked(AES, Some("swordfish")).unwrap().as_deref(), Some(&b"swordfish"[..]));
        assert_eq!(unlocked("no key at all", Some("swordfish")).unwrap(), None);
        assert_eq!(unlocked("", None).unwrap(), None);
        unlock(None, &mut None).unwrap();
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        for text in [AES, DES, SCRYPT] {
            let error = unlocked(text, Some("mackerel")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.message().ends_with("the password of the key is wrong"), "{error}");
            assert!(!error.to_string().contains("mackerel"));
        }
        let error = unlocked(AES, None).unwrap_err();
        assert!(error.message().contains("client.pem: the key wants a password"), "{error}");
        for text in [OLD, FIRST] {
            let error = unlocked(text, Some("swordfish")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.hint_text().unwrap().contains("openssl pkcs8 -topk8"));
        }
        let gone = unlock(Some(Path::new("/nowhere/client.pem")), &mut None).unwrap_err();
        assert!(gone.to_string().contains("/nowhere/client.pem"), "{gone}");
    }

    #[test]
    fn a_key_that_asks_for_too_much_is_refused() {
        let contents = pem::parse(SCRYPT).unwrap().into_contents();
        // N is the last number before r and p: 0x4000.
        let at = contents.windows(4).position(|w| w == [2, 2, 0x40, 0]).unwrap();
        for cost in [[0, 0], [0x40, 1], [0x7f, 0xff]] {
            let mut changed = contents.clone();
            changed[at + 2..at + 4].copy_from_slice(&cost);
            let key = LockedKey { shown: "x".to_owned(), locked: changed };
            let error = key.open(b"swordfish").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_key_makes_it_panic(at in 0_usize..90, byte: u8, cut in 0_usize..230) {
            let mut locked = pem::parse(AES).unwrap().into_contents();
            locked[at] = byte;
            locked.truncate(cut.max(at + 1));
            let _ = LockedKey { shown: String::new(), locked }.open(b"swordfish");
        }
    }
}
