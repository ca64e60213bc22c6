//! Merging small stored slices into large ones. Safe to interrupt anywhere and
//! to run in two processes at once: a merged slice is put and read back before
//! anything that it holds is deleted, and a reader takes either.

mod plan;

use bygone_base::{Error, OpTime, Result, TimelineId, UnixMillis};
use bygone_oplog::{
    slice::{DecodedSlice, Slice, SliceBuilder, merge},
    uplink::PartKey,
};

pub use self::plan::{CompactOptions, CompactPlan, StoredSlice, plan};
use crate::{
    Ingest,
    chain_read::{blocking, decode},
    files::Files,
};

/// Raw bytes merged at once: bounds the memory of a merge to a few times this.
const MAX_RAW: u64 = 48 << 20;

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Small slices that were merged and deleted.
    pub merged: u64,
    /// Large slices that were written.
    pub written: u64,
    /// Remains of interrupted compactions that were deleted.
    pub leftovers: u64,
}

impl Ingest {
    /// Merges what is due in all timelines of a part; `now` by our clock.
    pub async fn compact(
        &self,
        key: &PartKey,
        now: UnixMillis,
        options: &CompactOptions,
    ) -> Result<Compacted> {
        let part = self.part(key);
        let mut done = Compacted::default();
        for timeline in part.files.timelines().await? {
            let slices = part.files.slices(timeline.id).await?;
            let plan = plan(&slices, now, options);
            for (leftover, by) in plan.leftovers {
                if let (Some(leftover), Some(by)) = (slices.get(leftover), slices.get(by)) {
                    done.leftovers += u64::from(remove_leftover(&part.files, leftover, by).await?);
                }
            }
            for group in plan.merges {
                let members = group.iter().filter_map(|i| slices.get(*i)).collect();
                self.merge_group(&part.files, timeline.id, members, &mut done).await?;
            }
        }
        Ok(done)
    }

    /// Merges neighbours, in several slices where they are too many bytes for one.
    async fn merge_group(
        &self,
        files: &Files,
        timeline: TimelineId,
        members: Vec<&StoredSlice>,
        done: &mut Compacted,
    ) -> Result<()> {
        let mut names: Vec<&str> = Vec::new();
        let mut slices: Vec<DecodedSlice> = Vec::new();
        let (mut raw, mut reached) = (0, None);
        for member in members {
            // Gone: another process is at it.
            let Some(slice) = files.slice(&member.name).await? else { return Ok(()) };
            let (header, len) = (*slice.header(), u64::from(slice.header().raw_len));
            // Held by what came before; a leftover once that is merged.
            if reached.is_some_and(|reached| header.last <= reached) {
                continue;
            }
            if raw + len > MAX_RAW {
                let full = std::mem::take(&mut slices);
                self.merge_slices(files, timeline, &names, full, done).await?;
                names.clear();
                raw = 0;
            }
            let decoded = decode(slice).await.map_err(|e| e.within(&member.name))?;
            slices.push(match reached.filter(|reached| header.prev < *reached) {
                Some(reached) => rest(decoded, reached).map_err(|e| e.within(&member.name))?,
                None => {
                    names.push(&member.name);
                    decoded
                }
            });
            raw += len;
            reached = Some(header.last);
        }
        self.merge_slices(files, timeline, &names, slices, done).await
    }

    async fn merge_slices(
        &self,
        files: &Files,
        timeline: TimelineId,
        names: &[&str],
        slices: Vec<DecodedSlice>,
        done: &mut Compacted,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (slices.first(), slices.last()) else { return Ok(()) };
        if slices.len() < 2 {
            return Ok(());
        }
        let name = files.slice_name(timeline, first.header().prev, Some(last.header().last.ts));
        let level = self.options.level;
        let (merged, slices) = blocking(move || Ok((merge(&slices, level)?, slices))).await?;
        files.put_slice(&name, &merged).await?;
        let stored = files
            .slice(&name)
            .await?
            .ok_or_else(|| Error::damaged(format!("{name} was written and is not there")))?;
        let stored = decode(stored).await.map_err(|e| e.within(&name))?;
        blocking(move || same_entries(&slices, &stored)).await.map_err(|e| e.within(&name))?;
        done.written += 1;
        for name in names {
            files.delete_slice(name).await?;
            done.merged += 1;
        }
        Ok(())
    }
}

/// What a slice that overlaps the one before adds to it. It is not deleted with
/// the others: as a leftover it is compared first.
fn rest(slice: DecodedSlice, reached: OpTime) -> Result<DecodedSlice> {
    let mut builder = SliceBuilder::new(reached);
    for (at, entry) in slice.entries_after(reached)? {
        builder.push(entry, at)?;
    }
    Slice::parse(builder.finish(1)?)?.decode()
}

/// Whether the merged slice holds exactly what the small ones do.
fn same_entries(slices: &[DecodedSlice], merged: &DecodedSlice) -> Result<()> {
    let prev = slices.first().map(|s| s.header().prev);
    if prev == Some(merged.header().prev)
        && slices.iter().flat_map(DecodedSlice::entries).eq(merged.entries())
    {
        return Ok(());
    }
    Err(Error::damaged("the merged slice does not hold what was merged"))
}

/// Deletes a slice that a merged one holds whole; leaves it where it does not.
async fn remove_leftover(files: &Files, leftover: &StoredSlice, by: &StoredSlice) -> Result<bool> {
    let Some(small) = files.slice(&leftover.name).await? else { return Ok(false) };
    let Some(large) = files.slice(&by.name).await? else { return Ok(false) };
    let small = decode(small).await.map_err(|e| e.within(&leftover.name))?;
    let large = decode(large).await.map_err(|e| e.within(&by.name))?;
    let held = blocking(move || {
        let Ok(mut rest) = large.entries_after(small.header().prev) else { return Ok(false) };
        Ok(small.entries().all(|entry| rest.next() == Some(entry)))
    })
    .await?;
    if held {
        files.delete_slice(&leftover.name).await?;
    } else {
        tracing::warn!(
            slice = leftover.name,
            by = by.name,
            "overlapping slices differ: both are kept"
        );
    }
    Ok(held)
}
