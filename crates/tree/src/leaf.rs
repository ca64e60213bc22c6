//! Leaves of documents: block kinds 1 (documents) and 2 (capped documents with their positions).

use bygone_base::{Error, Result, Ts};
use bytes::Bytes;

use crate::codec::Input;

pub(crate) const KIND_DOCS: u8 = 1;
pub(crate) const KIND_CAPPED: u8 = 2;
const HEAD: usize = 5;
const POSITION: usize = 12;
/// Largest document: the server's internal limit of 16 MiB + 16 KiB.
const MAX_DOC: usize = (16 << 20) + (16 << 10);

/// Where a document entered its capped collection: the natural order is the order of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The moment of the insert; 0 for documents of the initial scan.
    pub ts: Ts,
    /// The position within that moment, or within the scan.
    pub n: u32,
}

/// A parsed leaf; shares the block's bytes.
#[derive(Debug, Clone)]
pub struct Leaf {
    raw: Bytes,
    count: usize,
    docs_at: usize,
}

impl Leaf {
    /// Checks framing (count, length and end of every document; not their inside) and takes the block.
    pub fn parse(raw: Bytes) -> Result<Leaf> {
        let mut input = Input::new(&raw, 0);
        let kind = input.u8()?;
        let count = usize::try_from(input.u32()?).unwrap_or(usize::MAX);
        let per_doc = match kind {
            KIND_DOCS => 0,
            KIND_CAPPED => POSITION,
            other => return Err(Error::damaged(format!("block of kind {other} is not a leaf"))),
        };
        // An empty document takes 5 bytes, which bounds the count before anything is multiplied.
        if count > input.left() / (5 + per_doc) {
            return Err(Error::damaged(format!(
                "leaf of {} bytes says {count} documents",
                raw.len()
            )));
        }
        let docs_at = HEAD + count * per_doc;
        check_framing(&raw[docs_at..], count)?;
        Ok(Leaf { raw, count, docs_at })
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the leaf holds no document (a folded range that became empty).
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether positions are kept (kind 2).
    pub fn is_capped(&self) -> bool {
        self.raw.first() == Some(&KIND_CAPPED)
    }

    /// The documents one after the other, raw BSON, in ascending key order.
    pub fn docs_bytes(&self) -> Bytes {
        self.raw.slice(self.docs_at..)
    }

    /// The same, borrowed.
    pub fn docs_slice(&self) -> &[u8] {
        &self.raw[self.docs_at..]
    }

    /// The whole raw block.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Each document, in ascending key order.
    pub fn docs(&self) -> Docs<'_> {
        Docs { rest: &self.raw[self.docs_at..] }
    }

    /// The position of document `index`, in a capped leaf.
    pub fn position(&self, index: usize) -> Option<Position> {
        if !self.is_capped() || index >= self.count {
            return None;
        }
        let mut input = Input::new(&self.raw, HEAD + index * POSITION);
        Some(Position { ts: input.ts().ok()?, n: input.u32().ok()? })
    }
}

/// Documents one after the other; framing was checked.
#[derive(Debug, Clone)]
pub struct Docs<'a> {
    rest: &'a [u8],
}

impl<'a> Docs<'a> {
    /// Over concatenated documents whose framing was checked before; stops at the first that does not fit.
    pub fn over(rest: &'a [u8]) -> Self {
        Docs { rest }
    }

    /// What is not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Docs<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(self.rest.first_chunk().copied()?);
        let (doc, rest) = self.rest.split_at_checked(usize::try_from(len).ok()?)?;
        if doc.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(doc)
    }
}

fn check_framing(docs: &[u8], count: usize) -> Result<()> {
    let mut input = Input::new(docs, 0);
    for index in 0..count {
        let at = input.at();
        let len = usize::try_from(input.u32()?).unwrap_or(usize::MAX);
        if !(5..=MAX_DOC).contains(&len) {
            return Err(Error::damaged(format!("document {index} of a leaf says {len} bytes")));
        }
        if input.take(len - 4)?.last() != Some(&0) {
            return Err(Error::damaged(format!("document {index} of a leaf, at {at}, has no end")));
        }
    }
    match input.left() {
        0 => Ok(()),
        left => Err(Error::damaged(format!("{left} bytes follow the documents of a leaf"))),
    }
}

/// Gathers the documents of one leaf.
#[derive(Debug)]
pub struct LeafBuilder {
    capped: bool,
    count: u32,
    positions: Vec<u8>,
    docs: Vec<u8>,
}

impl LeafBuilder {
    /// An empty leaf of kind 2 (`capped`) or 1.
    pub fn new(capped: bool) -> Self {
        // The head's place is kept free, so that a leaf without positions is finished without a copy.
        LeafBuilder { capped, count: 0, positions: Vec::new(), docs: vec![0; HEAD] }
    }

    /// Appends a document (raw BSON, key above the last one's); `position` counts in capped leaves only.
    pub fn push(&mut self, doc: &[u8], position: Position) {
        if self.capped {
            self.positions.extend_from_slice(&position.ts.0.to_le_bytes());
            self.positions.extend_from_slice(&position.n.to_le_bytes());
        }
        self.docs.extend_from_slice(doc);
        self.count += 1;
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the documents so far.
    pub fn bytes(&self) -> usize {
        self.docs.len() - HEAD
    }

    /// The raw block; the builder is empty again.
    pub fn finish(&mut self) -> Vec<u8> {
        let next = Vec::with_capacity(self.docs.len());
        let mut docs = std::mem::replace(&mut self.docs, next);
        self.docs.resize(HEAD, 0);
        docs[0] = if self.capped { KIND_CAPPED } else { KIND_DOCS };
        docs[1..HEAD].copy_from_slice(&self.count.to_le_bytes());
        if self.capped {
            docs.splice(HEAD..HEAD, self.positions.drain(..));
        }
        self.count = 0;
        docs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &[u8] = &[5, 0, 0, 0, 0];

    fn position(ts: u64, n: u32) -> Position {
        Position { ts: Ts(ts), n }
    }

    #[test]
    fn a_capped_leaf_keeps_positions() {
        let mut builder = LeafBuilder::new(true);
        for i in 0..3 {
            builder.push(DOC, position(7, i));
        }
        let leaf = Leaf::parse(builder.finish().into()).unwrap();
        assert!(leaf.is_capped() && builder.is_empty());
        assert_eq!(leaf.position(2), Some(position(7, 2)));
        assert_eq!(leaf.position(3), None);
        assert_eq!(leaf.docs().count(), 3);
        assert_eq!(leaf.docs_bytes().len(), 15);
    }

    #[test]
    fn every_truncation_and_every_flipped_header_byte_is_refused_or_harmless() {
        let mut builder = LeafBuilder::new(false);
        builder.push(DOC, Position::default());
        builder.push(DOC, Position::default());
        let raw = builder.finish();
        for len in 0..raw.len() {
            assert!(Leaf::parse(Bytes::copy_from_slice(&raw[..len])).is_err(), "{len}");
        }
        for at in 0..raw.len() {
            let mut bad = raw.clone();
            bad[at] ^= 0x40;
            assert!(Leaf::parse(bad.into()).is_err(), "{at}");
        }
    }

    #[test]
    fn a_leaf_may_be_empty() {
        let leaf = Leaf::parse(LeafBuilder::new(false).finish().into()).unwrap();
        assert!(leaf.is_empty() && leaf.docs().next().is_none());
    }
}
