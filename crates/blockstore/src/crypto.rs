//! Keys and the one cipher. Every key made here is derived from a fresh salt
//! and used for one object or one pack, so fixed nonces are safe.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bygone_base::{Error, Result};
use zeroize::Zeroizing;

/// Bytes that sealing adds.
pub(crate) const TAG: usize = 16;
/// Bytes of a salt.
pub(crate) const SALT: usize = 32;

/// Key of an object: `derive_key(OBJECT, data key ‖ salt)`.
pub(crate) const OBJECT: &str = "bygone 2026 object v1";
/// Key of a pack.
pub(crate) const PACK: &str = "bygone 2026 pack v1";
/// Key that wraps a keyring.
pub(crate) const WRAP: &str = "bygone 2026 wrap v1";

/// 32 secret bytes: wiped when dropped, never printed.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Key(Zeroizing::new(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// First 16 bytes of the BLAKE3 hash of `parts`, one after the other.
pub(crate) fn check_of(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut check = [0; 16];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    check
}

/// AES-256-GCM under a key derived for one purpose and one salt.
pub(crate) struct Cipher(LessSafeKey);

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(..)")
    }
}

impl Cipher {
    pub(crate) fn new(purpose: &str, key: &Key, salt: &[u8; SALT]) -> Result<Self> {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(key.bytes());
        hasher.update(salt);
        let derived = Key::new(*hasher.finalize().as_bytes());
        let unbound = UnboundKey::new(&AES_256_GCM, derived.bytes())
            .map_err(|_| Error::internal("a cipher key was refused"))?;
        Ok(Cipher(LessSafeKey::new(unbound)))
    }

    /// Encrypts `buffer[from..]` in place and appends the tag.
    pub(crate) fn seal(
        &self,
        number: u32,
        aad: &[u8],
        buffer: &mut Vec<u8>,
        from: usize,
    ) -> Result<()> {
        let plain = buffer.get_mut(from..).unwrap_or_default();
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(number), Aad::from(aad), plain)
            .map_err(|_| Error::internal("encryption failed"))?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts in place; `None` when anything is not as it was sealed. Gives
    /// the length of the plain bytes, which stand at the front of `buffer`.
    pub(crate) fn open(&self, number: u32, aad: &[u8], buffer: &mut [u8]) -> Option<usize> {
        let plain = self.0.open_in_place(nonce(number), Aad::from(aad), buffer).ok()?;
        Some(plain.len())
    }
}

fn nonce(number: u32) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
