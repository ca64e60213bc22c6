//! Capped collections: trimming that no oplog tells of, and the natural order.

use bygone_base::{Error, Result};

use crate::{
    leaf::Position,
    merge::{Merge, Piece},
};

/// The limits of a capped collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `size`: bytes of BSON.
    pub max_bytes: u64,
    /// `max`: documents.
    pub max_docs: Option<u64>,
}

impl Limits {
    /// Whether so many documents of so many bytes can be there together: one alone may be larger (from 5.0 on).
    pub fn hold(&self, docs: u64, bytes: u64) -> bool {
        docs <= 1 || bytes <= self.max_bytes && self.max_docs.is_none_or(|max| docs <= max)
    }
}

/// One document's place in the natural order and its size. 16 bytes, of which a capped collection has at most
/// its size / 16 or so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    ts: bygone_base::Ts,
    n: u32,
    size: u32,
}

impl Place {
    fn position(&self) -> Position {
        Position { ts: self.ts, n: self.n }
    }
}

/// The places of all documents that the server cannot have dropped unless for its limits, oldest first.
async fn places(mut merge: Merge) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    while let Some(piece) = merge.next().await? {
        for (index, doc) in piece.docs().enumerate() {
            let Position { ts, n } = piece.position(index).ok_or_else(|| {
                Error::damaged("a document of a capped collection has no position")
            })?;
            places.push(Place { ts, n, size: u32::try_from(doc.len()).unwrap_or(u32::MAX) });
        }
    }
    places.retain(|place| Some(place.position()) > merge.forgotten());
    places.sort_unstable();
    Ok(places)
}

/// How many of the oldest documents are beyond the limits: the server drops the oldest until both are kept.
fn beyond(places: &[Place], limits: &Limits) -> usize {
    let (mut bytes, mut docs) = (0u64, 0u64);
    let kept = places.iter().rev().take_while(|place| {
        bytes += u64::from(place.size);
        docs += 1;
        limits.hold(docs, bytes)
    });
    places.len() - kept.count()
}

/// The position of the oldest document within the limits. Reads all of `merge`.
pub async fn first_kept(merge: Merge, limits: &Limits) -> Result<Position> {
    let places = places(merge).await?;
    let first = places.get(beyond(&places, limits)).map(Place::position);
    Ok(first.unwrap_or(Position { ts: bygone_base::Ts::MAX, n: u32::MAX }))
}

/// Reads a capped collection in its natural order: once for the order, then once for each window of documents
/// that fits in memory.
#[derive(Debug)]
pub struct NaturalOrder {
    /// First position of each window, and the end.
    bounds: Vec<Position>,
    next: usize,
    docs: u64,
    bytes: u64,
}

impl NaturalOrder {
    /// Learns the order from `merge` (the whole collection); documents beyond `limits` are left out.
    /// A window holds at most `window` bytes of documents, or one document.
    pub async fn learn(merge: Merge, limits: Option<&Limits>, window: u64) -> Result<Self> {
        let places = places(merge).await?;
        let skip = limits.map_or(0, |limits| beyond(&places, limits));
        let places = &places[skip..];
        let (mut bounds, mut bytes) = (Vec::new(), 0u64);
        for place in places {
            bytes += u64::from(place.size);
            if bounds.is_empty() || bytes > window {
                bounds.push(place.position());
                bytes = u64::from(place.size);
            }
        }
        let bytes = places.iter().map(|place| u64::from(place.size)).sum();
        Ok(NaturalOrder { bounds, next: 0, docs: places.len() as u64, bytes })
    }

    /// Documents that are there.
    pub fn docs(&self) -> u64 {
        self.docs
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Windows not yet read.
    pub fn windows_left(&self) -> usize {
        self.bounds.len() - self.next
    }

    /// The documents of the next window in natural order, one after the other; `merge` must be the same
    /// collection at the same moment, from its beginning. `None` when no window is left.
    pub async fn next_window(&mut self, mut merge: Merge) -> Result<Option<Vec<u8>>> {
        let Some(from) = self.bounds.get(self.next).copied() else { return Ok(None) };
        let to = self.bounds.get(self.next + 1).copied();
        self.next += 1;
        let mut docs = Vec::new();
        let mut order = Vec::new();
        while let Some(piece) = merge.next().await? {
            gather(&piece, from, to, &mut docs, &mut order);
        }
        order.sort_unstable_by_key(|(position, start, _)| (*position, *start));
        let mut sorted = Vec::with_capacity(docs.len());
        for (_, start, end) in order {
            sorted.extend_from_slice(&docs[start..end]);
        }
        Ok(Some(sorted))
    }
}

/// Copies the documents of `piece` whose positions are in [from, to).
fn gather(
    piece: &Piece,
    from: Position,
    to: Option<Position>,
    docs: &mut Vec<u8>,
    order: &mut Vec<(Position, usize, usize)>,
) {
    for (index, doc) in piece.docs().enumerate() {
        let position = piece.position(index).unwrap_or_default();
        if position >= from && to.is_none_or(|to| position < to) {
            let start = docs.len();
            docs.extend_from_slice(doc);
            order.push((position, start, docs.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bygone_base::Ts;

    #[test]
    fn the_oldest_go_until_both_limits_are_kept() {
        let places: Vec<Place> = (0..10).map(|n| Place { ts: Ts(1), n, size: 100 }).collect();
        let limits = |max_bytes, max_docs| Limits { max_bytes, max_docs };
        assert_eq!(beyond(&places, &limits(1000, None)), 0);
        assert_eq!(beyond(&places, &limits(999, None)), 1);
        assert_eq!(beyond(&places, &limits(999, Some(3))), 7);
        assert_eq!(beyond(&places, &limits(50, None)), 9);
    }
}
