//! Packs: many blocks in one object (docs/format.md section 4).

mod build;
mod toc;

use bygone_base::{BlockId, PackId, Result};
use bytes::Bytes;

use crate::{Repository, codec, crypto::TAG, envelope::mutable};

pub(crate) use build::PackBuilder;
pub(crate) use toc::{FOOTER, Footer};
pub use toc::{Toc, TocEntry};

/// Most bytes of a block's raw content: a document of 16 MiB and its framing, doubled.
pub const MAX_RAW: u32 = 33 << 20;
/// Most bytes of a pack.
pub const MAX_PACK: u64 = 1 << 30;
/// Most blocks of a pack.
pub const MAX_BLOCKS: u32 = 1 << 20;
/// Bytes before the first block.
pub const HEADER: usize = 48;

/// How a block is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// Where a block is: its name and the pack it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRef {
    /// The block.
    pub id: BlockId,
    /// The pack it was written to; a groom may have moved it since.
    pub pack: PackId,
}

impl BlockRef {
    /// Bytes of an encoded reference.
    pub const LEN: usize = BlockId::LEN + PackId::LEN;

    /// Block id, then pack id.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..BlockId::LEN].copy_from_slice(&self.id.0);
        out[BlockId::LEN..].copy_from_slice(&self.pack.0);
        out
    }

    /// From exactly [`BlockRef::LEN`] bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let (id, pack) = bytes.split_at_checked(BlockId::LEN)?;
        Some(BlockRef { id: BlockId::from_slice(id)?, pack: PackId::from_slice(pack)? })
    }
}

impl std::fmt::Display for BlockRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "block {} of pack {}", self.id, self.pack)
    }
}

/// Checks a stored block in every way and gives its raw content; `Err` says
/// what is wrong, without naming the block.
pub(crate) fn open_block(
    repo: &Repository,
    toc: &Toc,
    number: u32,
    entry: &TocEntry,
    stored: Bytes,
) -> Result<Bytes, &'static str> {
    if stored.len() != entry.stored as usize {
        return Err("its length is wrong");
    }
    if crc32c::crc32c(&stored) != entry.crc {
        return Err("its check sum is wrong");
    }
    let body = match toc.cipher() {
        None => stored,
        Some(cipher) => {
            let mut body = mutable(stored, Bytes::new());
            let plain = cipher.open(number, &entry.id.0, &mut body);
            body.truncate(plain.ok_or("its authentication tag is wrong")?);
            body.freeze()
        }
    };
    let raw = match entry.codec {
        Codec::Raw => body,
        Codec::Zstd => match codec::decompress(entry.raw as usize, &body) {
            Ok(raw) => raw.into(),
            Err(_) => return Err("it does not decompress"),
        },
    };
    if raw.len() != entry.raw as usize {
        return Err("its raw length is wrong");
    }
    if repo.block_id(&raw) != entry.id {
        return Err("its content is not what its name says");
    }
    Ok(raw)
}

/// Stored bytes that belong to `raw` bytes at most.
pub(crate) fn max_stored(raw: u32, encrypted: bool) -> u32 {
    raw.saturating_add(if encrypted { TAG as u32 } else { 0 })
}
