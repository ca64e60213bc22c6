//! Every parser of bytes from a store as a plain function: no input may panic,
//! hang, or take memory beyond its own size and the format's limits.

use std::sync::Arc;

use bygone_base::{PackId, RepositoryId, Result, Rng, SeededRng, SystemClock};
use bytes::Bytes;

use crate::{
    MemoryStore, ObjectKind, Repository, Secret, decompress_block, keyring,
    keyring::RepositoryFile,
    names,
    pack::{FOOTER, Footer, HEADER, Toc, open_block},
    relocation::Relocation,
};

/// A repository that is not encrypted, in memory.
pub async fn repository() -> Result<Repository> {
    let clock = Arc::new(SystemClock::new());
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(1));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    Repository::create(store, None, rng, clock.as_ref()).await
}

/// A whole pack: header, table of contents, footer, all blocks.
pub fn pack(repo: &Repository, data: &[u8]) -> Result<()> {
    let size = data.len() as u64;
    let footer_at = data.len().saturating_sub(FOOTER);
    let footer = Footer::parse(&data[footer_at..], size)?;
    let header = &data[..HEADER.min(data.len())];
    let table = Bytes::copy_from_slice(&data[footer.offset as usize..footer_at]);
    let toc = Toc::open(repo, PackId::default(), header, &footer, table)?;
    for (number, entry) in toc.entries().iter().enumerate() {
        let range = entry.range();
        let stored = Bytes::copy_from_slice(&data[range.start as usize..range.end as usize]);
        // Whether it opens does not matter here, only that it returns.
        let _ = open_block(repo, &toc, number as u32, entry, stored);
    }
    Ok(())
}

/// An envelope of any kind.
pub fn envelope(repo: &Repository, data: &[u8]) -> Result<()> {
    repo.unseal(ObjectKind::Manifest, "fuzz", Bytes::copy_from_slice(data)).map(drop)
}

/// A block's zstd frame; its first four bytes are the raw length claimed.
pub fn frame(data: &[u8]) -> Result<()> {
    match data.split_first_chunk::<4>() {
        Some((len, zstd)) => decompress_block(u32::from_le_bytes(*len), zstd).map(drop),
        None => Ok(()),
    }
}

/// The plain bytes of a relocation record.
pub fn relocation(data: &[u8]) -> Result<()> {
    let record = Relocation::parse(data)?;
    for block in record.blocks() {
        debug_assert_eq!(record.find(block.id), Some(block.pack));
    }
    Ok(())
}

/// A repository file.
pub fn repository_file(data: &[u8]) -> Result<()> {
    RepositoryFile::parse(data).map(drop)
}

/// A keyring, locked with a key file.
pub fn keyring(data: &[u8]) -> Result<()> {
    let text = format!("bygone-key-1:{}", "00".repeat(32));
    match Secret::parse_key(&text) {
        Some(secret) => keyring::Keyring::unwrap(data, RepositoryId::default(), &secret).map(drop),
        None => Ok(()),
    }
}

/// Names of objects found in a listing.
pub fn names(data: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(data).unwrap_or_default();
    names::parse_pack(text);
    names::parse_keyring(text);
    names::check(text)
}
