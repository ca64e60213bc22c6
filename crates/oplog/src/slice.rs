//! Oplog slices: entries one after the other, compressed, with a header that
//! says where they stand. Bytes: docs/format.md section 9.

use bygone_base::{Error, OpTime, Result, Ts};
use bytes::Bytes;

use crate::{
    entry::Entry,
    raw::{self, MAX_ENTRY},
};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 80;
/// Largest payload before compression.
pub const MAX_RAW: usize = 256 * 1024 * 1024;

const MAGIC: [u8; 4] = *b"bgos";
const VERSION: u8 = 1;
const COMPACTED: u8 = 1;
/// Where the hash stands.
const HASH: std::ops::Range<usize> = 64..80;

/// What a slice says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceHeader {
    /// Made of several slices.
    pub compacted: bool,
    /// The entry that it continues from.
    pub prev: OpTime,
    /// Its first entry's timestamp.
    pub first: Ts,
    /// Its last entry.
    pub last: OpTime,
    /// Number of entries, at least 1.
    pub entries: u32,
    /// Length before compression.
    pub raw_len: u32,
}

fn damaged(what: &str) -> Error {
    Error::damaged(format!("oplog slice: {what}"))
}

/// Collects entries for one slice.
#[derive(Debug)]
pub struct SliceBuilder {
    prev: OpTime,
    compacted: bool,
    first: Ts,
    last: OpTime,
    entries: u32,
    raw: Vec<u8>,
}

impl SliceBuilder {
    /// A slice that continues from `prev`.
    pub fn new(prev: OpTime) -> Self {
        SliceBuilder {
            prev,
            compacted: false,
            first: Ts::MIN,
            last: prev,
            entries: 0,
            raw: Vec::new(),
        }
    }

    /// Adds the entry that stands at `at`. Usage when it does not come after the last one, Full when
    /// the slice cannot hold it: finish this one first.
    pub fn push(&mut self, entry: &[u8], at: OpTime) -> Result<()> {
        if at.ts <= self.last.ts {
            return Err(Error::usage(format!(
                "slice: entry {at} does not come after {}",
                self.last
            )));
        }
        if raw::read_len(entry) != Some(entry.len()) || entry.len() > MAX_ENTRY {
            return Err(damaged("entry with a wrong length"));
        }
        if self.raw.len() + entry.len() > MAX_RAW {
            return Err(Error::new(bygone_base::ErrorKind::Full, "the slice is full"));
        }
        if self.entries == 0 {
            self.first = at.ts;
        }
        self.raw.extend_from_slice(entry);
        self.last = at;
        self.entries += 1;
        Ok(())
    }

    /// Bytes of entries so far.
    pub fn raw_len(&self) -> usize {
        self.raw.len()
    }

    /// Number of entries so far.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Where the slice ends so far.
    pub fn last(&self) -> OpTime {
        self.last
    }

    /// Compresses with this zstd level. Usage when empty: slices never are.
    pub fn finish(self, level: i32) -> Result<Bytes> {
        if self.entries == 0 {
            return Err(Error::usage("a slice without entries"));
        }
        let header = SliceHeader {
            compacted: self.compacted,
            prev: self.prev,
            first: self.first,
            last: self.last,
            entries: self.entries,
            raw_len: u32::try_from(self.raw.len()).map_err(|_| damaged("too long"))?,
        };
        let payload = compress(&self.raw, level)?;
        let mut out = Vec::with_capacity(HEADER_LEN + payload.len());
        header.write(&mut out);
        let hash = hash(&out, &payload);
        out.extend_from_slice(&hash);
        out.extend_from_slice(&payload);
        Ok(out.into())
    }
}

fn compress(raw: &[u8], level: i32) -> Result<Vec<u8>> {
    let failed = |e| Error::internal("compress an oplog slice").source(e);
    let mut zstd = zstd::bulk::Compressor::new(level).map_err(failed)?;
    // The stored bytes are under our own hash; this one proves the way back to the raw ones.
    zstd.include_checksum(true).map_err(failed)?;
    zstd.compress(raw).map_err(failed)
}

fn hash(head: &[u8], payload: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    let mut out = [0; 16];
    hasher.finalize_xof().fill(&mut out);
    out
}

impl SliceHeader {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, if self.compacted { COMPACTED } else { 0 }, 0, 0]);
        out.extend_from_slice(&self.prev.ts.0.to_le_bytes());
        out.extend_from_slice(&self.prev.term.to_le_bytes());
        out.extend_from_slice(&self.first.0.to_le_bytes());
        out.extend_from_slice(&self.last.ts.0.to_le_bytes());
        out.extend_from_slice(&self.last.term.to_le_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&u64::from(self.raw_len).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }

    /// Reads and checks a header: magic, version, bounds, order.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let head: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or_else(|| damaged("cut short"))?;
        if head[..4] != MAGIC {
            return Err(damaged("not an oplog slice"));
        }
        if head[4] != VERSION {
            return Err(Error::unsupported(format!("oplog slice of version {}", head[4]))
                .hint("a newer bygone wrote it"));
        }
        let u64_at = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let time_at = |at| OpTime::new(Ts(u64_at(at)), u64_at(at + 8) as i64);
        let raw_len = usize::try_from(u64_at(52)).ok().filter(|len| *len <= MAX_RAW);
        let header = SliceHeader {
            compacted: head[5] == COMPACTED,
            prev: time_at(8),
            first: Ts(u64_at(24)),
            last: time_at(32),
            entries: u32::from_le_bytes([head[48], head[49], head[50], head[51]]),
            raw_len: raw_len
                .and_then(|len| u32::try_from(len).ok())
                .ok_or_else(|| damaged("raw length"))?,
        };
        let zero = head[6] == 0 && head[7] == 0 && head[60..64] == [0; 4];
        let order = header.prev.ts < header.first && header.first <= header.last.ts;
        // The smallest document has 5 bytes.
        let count =
            header.entries >= 1 && u64::from(header.raw_len) >= 5 * u64::from(header.entries);
        if head[5] & !COMPACTED != 0 || !zero || !order || !count {
            return Err(damaged("header contradicts itself"));
        }
        Ok(header)
    }
}

/// A slice as it is stored and sent; the header is checked, the rest not yet.
#[derive(Debug, Clone)]
pub struct Slice {
    header: SliceHeader,
    bytes: Bytes,
}

impl Slice {
    /// Checks the header.
    pub fn parse(bytes: Bytes) -> Result<Self> {
        Ok(Slice { header: SliceHeader::parse(&bytes)?, bytes })
    }

    /// The header.
    pub fn header(&self) -> &SliceHeader {
        &self.header
    }

    /// The whole slice.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Checks hash, framing and order, and gives the entries.
    pub fn decode(&self) -> Result<DecodedSlice> {
        let (head, payload) =
            self.bytes.split_at_checked(HEADER_LEN).ok_or_else(|| damaged("cut short"))?;
        if hash(&head[..HASH.start], payload) != head[HASH] {
            return Err(damaged("hash differs"));
        }
        let len = self.header.raw_len as usize;
        let raw =
            zstd::bulk::decompress(payload, len).map_err(|e| damaged("decompress").source(e))?;
        if raw.len() != len {
            return Err(damaged("raw length differs"));
        }
        let index = index(&raw, &self.header)?;
        Ok(DecodedSlice { header: self.header, raw, index })
    }
}

/// Where each entry begins and which it is.
fn index(raw: &[u8], header: &SliceHeader) -> Result<Vec<(u32, OpTime)>> {
    let mut index = Vec::with_capacity(header.entries as usize);
    let mut at = 0usize;
    let mut last = header.prev;
    while at < raw.len() {
        let len = raw::read_len(&raw[at..]).filter(|len| (5..=MAX_ENTRY).contains(len));
        let end = len.map(|len| at + len).filter(|end| *end <= raw.len());
        let end = end.ok_or_else(|| damaged("framing of an entry"))?;
        let position = Entry::position(&raw[at..end])?;
        if position.ts <= last.ts {
            return Err(damaged("entries out of order"));
        }
        let start = u32::try_from(at).map_err(|_| damaged("too long"))?;
        index.push((start, position));
        (at, last) = (end, position);
    }
    let first = index.first().map(|(_, position)| position.ts);
    if index.len() != header.entries as usize || first != Some(header.first) || last != header.last
    {
        return Err(damaged("entries are not those of the header"));
    }
    Ok(index)
}

/// A slice whose entries are checked.
#[derive(Debug, Clone)]
pub struct DecodedSlice {
    header: SliceHeader,
    raw: Vec<u8>,
    index: Vec<(u32, OpTime)>,
}

impl DecodedSlice {
    /// The header.
    pub fn header(&self) -> &SliceHeader {
        &self.header
    }

    /// The entries in order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (OpTime, &[u8])> + '_ {
        self.index.iter().enumerate().map(|(i, (start, position))| {
            let end = self.index.get(i + 1).map_or(self.raw.len(), |(next, _)| *next as usize);
            (*position, &self.raw[*start as usize..end])
        })
    }

    /// The entries after `from`. Damaged when `from` is neither the entry that the slice continues from nor one in it:
    /// then what lies before the slice is not what the reader has seen.
    pub fn entries_after(
        &self,
        from: OpTime,
    ) -> Result<impl ExactSizeIterator<Item = (OpTime, &[u8])> + '_> {
        let skip = if from == self.header.prev {
            0
        } else {
            let found = self.index.binary_search_by_key(&from.ts, |(_, position)| position.ts);
            let at = found.ok().filter(|at| self.index[*at].1 == from);
            at.ok_or_else(|| {
                Error::damaged(format!(
                    "oplog slice from {}: {from} is not in it",
                    self.header.prev
                ))
            })? + 1
        };
        Ok(self.entries().skip(skip))
    }
}

/// One compacted slice of several that follow each other without a gap.
pub fn merge(slices: &[DecodedSlice], level: i32) -> Result<Bytes> {
    let first = slices.first().ok_or_else(|| Error::usage("merge of no slices"))?;
    let mut merged = SliceBuilder::new(first.header.prev);
    merged.compacted = true;
    for slice in slices {
        if slice.header.prev != merged.last {
            return Err(Error::damaged(format!(
                "oplog slices do not follow each other: {} ends one, {} begins the next",
                merged.last, slice.header.prev
            )));
        }
        for (at, entry) in slice.entries() {
            merged.push(entry, at)?;
        }
    }
    merged.finish(level)
}

#[cfg(test)]
mod tests;
