//! Which bytes of a pack to fetch together.

use std::{ops::Range, sync::Arc};

use bygone_base::PackId;

use crate::{Toc, TocEntry};

/// Most bytes fetched together (one larger block alone excepted).
pub(crate) const MOST: u64 = 4 << 20;
/// Bytes nobody asked for that are cheaper to fetch than to leave out.
const GAP: u64 = 64 << 10;

/// A block that somebody wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Its place in the caller's list.
    pub(super) at: usize,
    /// Its number in the pack.
    pub(super) number: u32,
    pub(super) entry: TocEntry,
}

/// Bytes of one pack to fetch together.
#[derive(Debug)]
pub(super) struct FetchRange {
    pub(super) toc: Arc<Toc>,
    pub(super) bytes: Range<u64>,
    pub(super) wanted: Vec<Wanted>,
}

impl FetchRange {
    /// For an order that does not depend on hashing: the earliest asked first.
    pub(super) fn first(&self) -> (usize, PackId) {
        let first = self.wanted.iter().map(|want| want.at).min().unwrap_or(usize::MAX);
        (first, self.toc.pack())
    }
}

/// Puts blocks of one pack that lie close together into common ranges.
pub(super) fn coalesce(toc: &Arc<Toc>, mut wanted: Vec<Wanted>, out: &mut Vec<FetchRange>) {
    wanted.sort_unstable_by_key(|want| want.entry.offset);
    let mut current: Option<FetchRange> = None;
    for want in wanted {
        let bytes = want.entry.range();
        if let Some(range) = current.as_mut()
            && bytes.start <= range.bytes.end + GAP
            && bytes.end - range.bytes.start <= MOST
        {
            range.bytes.end = range.bytes.end.max(bytes.end);
            range.wanted.push(want);
            continue;
        }
        out.extend(current.replace(FetchRange { toc: toc.clone(), bytes, wanted: vec![want] }));
    }
    out.extend(current);
}
