//! A pack's table of contents: parsing without trust.

use bygone_base::{BlockId, Error, PackId, Result};
use bytes::{BufMut as _, Bytes};

use super::{Codec, HEADER, MAX_BLOCKS, MAX_PACK, MAX_RAW, max_stored};
use crate::{
    Repository,
    crypto::{self, Cipher, SALT, TAG, check_of},
    envelope::{array, mutable},
};

pub(super) const HEADER_MAGIC: &[u8; 8] = b"bygpack1";
pub(super) const FOOTER_MAGIC: &[u8; 8] = b"bygpend1";
pub(super) const ENCRYPTED: u8 = 1;
/// Bytes of an entry.
pub(super) const ENTRY: usize = 53;
/// The table's number among the blocks, for its nonce.
pub(super) const TABLE: u32 = u32::MAX;
/// Bytes after the table.
pub(crate) const FOOTER: usize = 48;
/// Bytes of the footer that its check sum covers.
const FOOTER_HEAD: usize = 24;

/// One block of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TocEntry {
    /// The block's name.
    pub id: BlockId,
    /// Where it starts in the pack.
    pub offset: u64,
    /// Its length there.
    pub stored: u32,
    /// Length of its raw content.
    pub raw: u32,
    /// How it is stored.
    pub codec: Codec,
    /// CRC-32C of the stored bytes.
    pub crc: u32,
}

impl TocEntry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_slice(&self.id.0);
        out.put_u64_le(self.offset);
        out.put_u32_le(self.stored);
        out.put_u32_le(self.raw);
        out.put_u8(self.codec as u8);
        out.put_u32_le(self.crc);
    }

    fn decode(bytes: &[u8; ENTRY]) -> Result<Self> {
        let codec = match bytes[48] {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            other => {
                return Err(Error::unsupported(format!("has a block of unknown codec {other}")));
            }
        };
        Ok(TocEntry {
            id: BlockId(array(&bytes[..32])),
            offset: u64::from_le_bytes(array(&bytes[32..40])),
            stored: u32::from_le_bytes(array(&bytes[40..44])),
            raw: u32::from_le_bytes(array(&bytes[44..48])),
            codec,
            crc: u32::from_le_bytes(array(&bytes[49..53])),
        })
    }

    /// The block's bytes within the pack.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + u64::from(self.stored)
    }
}

/// The table of contents of one pack, checked.
#[derive(Debug)]
pub struct Toc {
    pack: PackId,
    entries: Vec<TocEntry>,
    /// Numbers of the entries in order of their block ids.
    by_id: Vec<u32>,
    cipher: Option<Cipher>,
}

/// What stands in a pack's header.
struct Header {
    encrypted: bool,
    key_version: u32,
    salt: [u8; SALT],
}

/// What stands in a pack's footer, checked against the pack's size.
pub(crate) struct Footer {
    /// Where the table starts.
    pub(crate) offset: u64,
    /// The table's stored length.
    pub(crate) length: u32,
    count: u32,
    check: [u8; 16],
    head: [u8; FOOTER_HEAD],
}

fn parse_header(bytes: &[u8]) -> Result<Header> {
    if bytes.len() != HEADER || !bytes.starts_with(HEADER_MAGIC) {
        return Err(Error::damaged("is not a pack"));
    }
    if bytes[8] & !ENCRYPTED != 0 || bytes[9..12] != [0; 3] {
        return Err(Error::unsupported("has flags that this version does not know"));
    }
    Ok(Header {
        encrypted: bytes[8] & ENCRYPTED != 0,
        key_version: u32::from_le_bytes(array(&bytes[12..16])),
        salt: array(&bytes[16..48]),
    })
}

impl Footer {
    /// From the last bytes of a pack of `size` bytes.
    pub(crate) fn parse(bytes: &[u8], size: u64) -> Result<Self> {
        if bytes.len() != FOOTER || !bytes.ends_with(FOOTER_MAGIC) {
            return Err(Error::damaged("has no end: it is cut off, or not a pack"));
        }
        let footer = Footer {
            offset: u64::from_le_bytes(array(&bytes[..8])),
            length: u32::from_le_bytes(array(&bytes[8..12])),
            count: u32::from_le_bytes(array(&bytes[12..16])),
            check: array(&bytes[FOOTER_HEAD..40]),
            head: array(&bytes[..FOOTER_HEAD]),
        };
        let table = u64::from(footer.count) * ENTRY as u64;
        let length = u64::from(footer.length);
        let exact = footer.offset.checked_add(length + FOOTER as u64) == Some(size);
        let right = size <= MAX_PACK
            && footer.count <= MAX_BLOCKS
            && (length == table || length == table + TAG as u64)
            && footer.offset >= HEADER as u64
            && exact
            && bytes[16..FOOTER_HEAD] == [0; 8];
        if right { Ok(footer) } else { Err(Error::damaged("its end contradicts its size")) }
    }
}

impl Toc {
    /// Opens the table of pack `pack`: `header` and `footer` as parsed from
    /// `raw_header` and the pack's end, `table` the bytes in between.
    pub(crate) fn open(
        repo: &Repository,
        pack: PackId,
        raw_header: &[u8],
        footer: &Footer,
        table: Bytes,
    ) -> Result<Self> {
        let header = parse_header(raw_header)?;
        if table.len() != footer.length as usize
            || check_of(&[raw_header, &table, &footer.head]) != footer.check
        {
            return Err(Error::damaged("the check sum of its table of contents is wrong"));
        }
        if header.encrypted != repo.is_encrypted() {
            return Err(Error::damaged(
                "encrypted and plain packs are mixed: it is not of this repository",
            ));
        }
        let (cipher, table) = match header.encrypted {
            false => (None, table),
            true => {
                let key = repo.data_key(header.key_version)?;
                let cipher = Cipher::new(crypto::PACK, key, &header.salt)?;
                let mut table = mutable(table, Bytes::new());
                let plain = cipher.open(TABLE, &pack.0, &mut table).ok_or_else(|| {
                    Error::damaged("the authentication tag of its table of contents is wrong")
                })?;
                table.truncate(plain);
                (Some(cipher), table.freeze())
            }
        };
        let entries = parse_entries(&table, footer, header.encrypted)?;
        Ok(Toc { pack, by_id: order(&entries), entries, cipher })
    }

    /// The pack.
    pub fn pack(&self) -> PackId {
        self.pack
    }

    /// The blocks in order of their offsets.
    pub fn entries(&self) -> &[TocEntry] {
        &self.entries
    }

    /// A block and its number in the pack.
    pub fn find(&self, id: BlockId) -> Option<(u32, &TocEntry)> {
        let at = |number: u32| self.entries.get(number as usize);
        let found = self.by_id.binary_search_by(|number| at(*number).map(|e| e.id).cmp(&Some(id)));
        let number = *self.by_id.get(found.ok()?)?;
        Some((number, at(number)?))
    }

    pub(crate) fn cipher(&self) -> Option<&Cipher> {
        self.cipher.as_ref()
    }

    /// Bytes of memory, about.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + 512 + self.entries.len() * (size_of::<TocEntry>() + 4)
    }
}

fn order(entries: &[TocEntry]) -> Vec<u32> {
    let mut by_id: Vec<u32> = (0..).take(entries.len()).collect();
    by_id.sort_unstable_by_key(|number| entries.get(*number as usize).map(|e| e.id));
    by_id
}

/// The blocks must follow each other without gaps from header to table.
fn parse_entries(table: &[u8], footer: &Footer, encrypted: bool) -> Result<Vec<TocEntry>> {
    let (chunks, rest) = table.as_chunks::<ENTRY>();
    if chunks.len() != footer.count as usize || !rest.is_empty() {
        return Err(Error::damaged("its table of contents has the wrong length"));
    }
    let mut entries = Vec::with_capacity(chunks.len());
    let mut end = HEADER as u64;
    for chunk in chunks {
        let entry = TocEntry::decode(chunk)?;
        let most = max_stored(entry.raw, encrypted);
        let exact = entry.codec == Codec::Zstd || entry.stored == most;
        let sized = (1..=MAX_RAW).contains(&entry.raw) && entry.stored <= most && exact;
        if entry.offset != end || !sized {
            return Err(Error::damaged("its table of contents contradicts itself"));
        }
        end = entry.range().end;
        entries.push(entry);
    }
    if end != footer.offset {
        return Err(Error::damaged("its table of contents contradicts its size"));
    }
    Ok(entries)
}
