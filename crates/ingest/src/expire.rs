//! Deleting slices that nobody needs any more.

use bygone_base::{OpTime, Result, TimelineId};
use bygone_oplog::uplink::PartKey;

use crate::{Ingest, compact::StoredSlice, files::Files};

/// Younger slices stay: a rival or a retry may still be writing under their names.
const MIN_AGE: i64 = 60_000;
/// Epochs that are kept; only the highest counts.
const EPOCHS: usize = 16;

/// What an expiry did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Slices deleted.
    pub slices: u64,
    /// Their stored bytes.
    pub bytes: u64,
}

impl Ingest {
    /// Deletes the slices, of all timelines, that lie wholly at or before
    /// `before`. The caller makes sure that durable manifests cover them.
    ///
    /// Oldest first, so that after an interruption the chain from any position
    /// that is still stored is whole. The newest slice of the newest timeline
    /// stays in any case: the end of the chain is known from it alone. So does
    /// what was written less than a minute ago, until the next call.
    pub async fn expire(&self, key: &PartKey, before: OpTime) -> Result<Expired> {
        self.expire_each(key, |_| Some(before)).await
    }

    /// As [`Ingest::expire`], with a position for each timeline; `None`: all of its slices stay.
    pub async fn expire_each(
        &self,
        key: &PartKey,
        before: impl Fn(TimelineId) -> Option<OpTime> + Send,
    ) -> Result<Expired> {
        let part = self.part(key);
        let mut done = Expired::default();
        let timelines = part.files.timelines().await?;
        'timelines: for (at, timeline) in timelines.iter().enumerate() {
            let Some(before) = before(timeline.id) else { continue };
            let slices = part.files.slices(timeline.id).await?;
            let newest = at + 1 == timelines.len();
            let now = self.clock.now();
            for slice in due(&part.files, &slices, before, newest).await? {
                if now.since(slice.modified) < MIN_AGE {
                    // A later timeline goes on from this one: what is left must have no hole between them.
                    break 'timelines;
                }
                part.files.delete_slice(&slice.name).await?;
                done.slices += 1;
                done.bytes += slice.size;
            }
        }
        part.files.trim_epochs(EPOCHS).await?;
        Ok(done)
    }
}

/// The slices of one timeline that may go, oldest first.
async fn due<'a>(
    files: &Files,
    slices: &'a [StoredSlice],
    before: OpTime,
    newest: bool,
) -> Result<Vec<&'a StoredSlice>> {
    let tip = slices.iter().map(|s| s.prev).max();
    let mut due = Vec::new();
    for (at, slice) in slices.iter().enumerate() {
        let ended = if Some(slice.prev) == tip {
            // Only its content says where the last one ends.
            !newest && ends_by(files, slice, before).await?
        } else {
            // A plain slice ends where the next one begins, at the latest.
            let next = slices[at..].iter().map(|s| s.prev).find(|prev| *prev > slice.prev);
            let end = slice.last.or(next.map(|next| next.ts));
            end.is_some_and(|end| end <= before.ts)
        };
        // Nothing after one that stays: there must be no hole.
        if !ended {
            break;
        }
        due.push(slice);
    }
    Ok(due)
}

async fn ends_by(files: &Files, slice: &StoredSlice, before: OpTime) -> Result<bool> {
    if let Some(last) = slice.last {
        return Ok(last <= before.ts);
    }
    // Saves reading it on every call while it is not due by far.
    if slice.prev.ts >= before.ts {
        return Ok(false);
    }
    Ok(files.slice(&slice.name).await?.is_some_and(|s| s.header().last.ts <= before.ts))
}
