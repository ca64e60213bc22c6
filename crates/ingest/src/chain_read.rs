//! Reading stored slices in the order of the chain, while others may compact them.

use bygone_base::{Error, ErrorKind, OpTime, Result, TimelineId};
use bygone_oplog::slice::{DecodedSlice, Slice};

use crate::{compact::StoredSlice, files::Files};

/// A listing is repeated so often when slices vanish under the reader.
const RELISTS: u32 = 8;

/// Positions at which stored slices begin, ascending: each is the end of what
/// came before.
pub(crate) fn boundaries(slices: &[StoredSlice]) -> Vec<OpTime> {
    let mut boundaries: Vec<OpTime> = slices.iter().map(|s| s.prev).collect();
    boundaries.sort_unstable();
    boundaries.dedup();
    boundaries
}

/// Goes along the slices of one timeline.
pub(crate) struct Walk<'a> {
    files: &'a Files,
    timeline: TimelineId,
    slices: Vec<StoredSlice>,
}

impl<'a> Walk<'a> {
    /// Lists the slices.
    pub(crate) async fn new(files: &'a Files, timeline: TimelineId) -> Result<Walk<'a>> {
        Ok(Walk { files, timeline, slices: files.slices(timeline).await? })
    }

    pub(crate) fn slices(&self) -> &[StoredSlice] {
        &self.slices
    }

    /// The slice that leads on from `at`, whole and checked; `None` when there
    /// is none. Damaged when the one that should lead on does not hold `at`.
    pub(crate) async fn next(&mut self, at: OpTime) -> Result<Option<DecodedSlice>> {
        for _ in 0..RELISTS {
            let Some(candidate) = pick(&self.slices, at) else { return Ok(None) };
            let Some(slice) = self.files.slice(&candidate.name).await? else {
                // Compacted or expired since it was listed.
                self.slices = self.files.slices(self.timeline).await?;
                continue;
            };
            let header = slice.header();
            if header.prev != candidate.prev
                || candidate.last.is_some_and(|last| last != header.last.ts)
            {
                return Err(Error::damaged(format!("{} is another slice", candidate.name)));
            }
            if header.last <= at {
                return Ok(None);
            }
            let name = candidate.name.clone();
            let decoded = decode(slice).await.map_err(|e| e.within(&name))?;
            // Refuses when the slice does not hold `at`.
            drop(decoded.entries_after(at).map_err(|e| e.within(&name))?);
            return Ok(Some(decoded));
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the stored slices change faster than they are read",
        ))
    }
}

/// The compacted slice that reaches furthest beyond `at`, else the plain one
/// that begins last.
fn pick(slices: &[StoredSlice], at: OpTime) -> Option<&StoredSlice> {
    let begun = || slices.iter().filter(|s| s.prev <= at);
    let compacted = begun().filter(|s| s.last.is_some_and(|last| last > at.ts));
    compacted
        .max_by_key(|s| s.last)
        .or_else(|| begun().filter(|s| s.last.is_none()).max_by_key(|s| s.prev))
}

/// Decompresses and checks a slice, off the async threads.
pub(crate) async fn decode(slice: Slice) -> Result<DecodedSlice> {
    blocking(move || slice.decode()).await
}

/// Runs CPU work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    bygone_base::work::run("a worker", work).await?
}
