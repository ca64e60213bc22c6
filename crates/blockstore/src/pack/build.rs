//! Building a pack in memory, block by block.

use bygone_base::{BlockId, Error, PackId, Result};
use bytes::{BufMut as _, Bytes};

use super::{
    Codec, HEADER, MAX_BLOCKS, MAX_PACK, MAX_RAW,
    toc::{ENCRYPTED, ENTRY, FOOTER, FOOTER_MAGIC, HEADER_MAGIC, TABLE, TocEntry},
};
use crate::{
    Repository,
    crypto::{self, Cipher, SALT, TAG, check_of},
};

/// A pack that is being filled. Encrypted blocks are encrypted as they come.
#[derive(Debug)]
pub(crate) struct PackBuilder {
    id: PackId,
    cipher: Option<Cipher>,
    body: Vec<u8>,
    entries: Vec<TocEntry>,
}

impl PackBuilder {
    /// An empty pack with room for about `capacity` bytes of blocks.
    pub(crate) fn new(repo: &Repository, capacity: usize) -> Result<Self> {
        let id = PackId::random(repo.rng().as_ref());
        // The table of contents of blocks of a few KB, so that nothing is moved in the end.
        let mut body = Vec::with_capacity(HEADER + capacity + capacity / 64 + FOOTER);
        let mut salt = [0; SALT];
        let (flags, version, cipher) = match repo.newest_key() {
            None => (0, 0, None),
            Some((version, key)) => {
                repo.rng().fill(&mut salt);
                (ENCRYPTED, version, Some(Cipher::new(crypto::PACK, key, &salt)?))
            }
        };
        body.put_slice(HEADER_MAGIC);
        body.put_slice(&[flags, 0, 0, 0]);
        body.put_u32_le(version);
        body.put_slice(&salt);
        Ok(PackBuilder { id, cipher, body, entries: Vec::new() })
    }

    pub(crate) fn id(&self) -> PackId {
        self.id
    }

    /// Bytes so far, without the table of contents.
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    pub(crate) fn blocks(&self) -> usize {
        self.entries.len()
    }

    /// Whether a block of `bytes` still fits into the limits of a pack.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        let table = (self.entries.len() + 2) * ENTRY;
        let whole = self.body.len() + bytes + table + 2 * TAG + FOOTER;
        self.entries.len() < MAX_BLOCKS as usize && whole as u64 <= MAX_PACK
    }

    /// Adds a block: `body` is `raw_len` raw bytes as `codec` stores them.
    pub(crate) fn push(
        &mut self,
        id: BlockId,
        raw_len: u32,
        codec: Codec,
        body: &[u8],
    ) -> Result<()> {
        let right = body.len() <= raw_len as usize && (1..=MAX_RAW).contains(&raw_len);
        if !right || !self.fits(body.len()) {
            return Err(Error::internal(format!(
                "block {id} of {raw_len} bytes is over the limit"
            )));
        }
        let offset = self.body.len();
        let number = self.entries.len() as u32;
        self.body.extend_from_slice(body);
        if let Some(cipher) = &self.cipher {
            cipher.seal(number, &id.0, &mut self.body, offset)?;
        }
        let stored = &self.body[offset..];
        self.entries.push(TocEntry {
            id,
            offset: offset as u64,
            stored: stored.len() as u32,
            raw: raw_len,
            codec,
            crc: crc32c::crc32c(stored),
        });
        Ok(())
    }

    /// The finished pack.
    pub(crate) fn finish(self) -> Result<(PackId, Bytes)> {
        let PackBuilder { id, cipher, mut body, entries } = self;
        let offset = body.len();
        body.reserve(entries.len() * ENTRY + TAG + FOOTER);
        for entry in &entries {
            entry.encode(&mut body);
        }
        if let Some(cipher) = &cipher {
            cipher.seal(TABLE, &id.0, &mut body, offset)?;
        }
        let footer = body.len();
        body.put_u64_le(offset as u64);
        body.put_u32_le((footer - offset) as u32);
        body.put_u32_le(entries.len() as u32);
        body.put_u64_le(0);
        let check = check_of(&[&body[..HEADER], &body[offset..]]);
        body.put_slice(&check);
        body.put_slice(FOOTER_MAGIC);
        Ok((id, body.into()))
    }
}
