//! The initial sync: its plan, its slices, its end.

mod check;
mod state;

use std::sync::Arc;

use bson::RawDocumentBuf;
use bygone_base::{Error, ErrorKind, OpTime, Result};
use bygone_blockstore::{Put, write_pack};
use bygone_oplog::uplink::{Ack, SessionRef, SyncEnd, SyncPlan, SyncSlice};
use bygone_snapshot::sync::{Listed, SliceKey, SyncEndRecord, SyncSliceRecord};

use self::{
    check::{Checked, Expect},
    state::{Bounds, PlanIndex, RangeState},
};
use crate::{Event, Ingest, chain_read::blocking, ingest::conflict, part::Part, plan};

pub(crate) use check::fuzz_block;
pub(crate) use state::SyncState;

impl Ingest {
    pub(crate) async fn store_plan(&self, s: &SessionRef, plan: SyncPlan) -> Result<()> {
        let part = self.part(&s.key);
        let history = self.session_at(&part, s).await?;
        let sync = running(history.sync.as_ref(), plan.sync)?;
        plan::check_plan(&plan, sync.id, sync.start)?;
        part.files.put_plan(&plan).await?;
        sync.set_plan(plan);
        part.feed.send(&Event::SyncProgress);
        Ok(())
    }

    pub(crate) async fn store_sync_slice(&self, s: &SessionRef, slice: SyncSlice) -> Result<Ack> {
        let part = self.part(&s.key);
        let largest = slice.blocks.iter().map(|b| b.raw_len as usize).max().unwrap_or(0);
        let compressed: usize = slice.blocks.iter().map(|b| b.zstd.len()).sum();
        let _memory = self.reserve(largest.saturating_add(compressed)).await?;
        let history = self.session_at(&part, s).await?;
        let sync = running(history.sync.as_ref(), slice.sync)?;
        let name = format!("sync slice {} of range {} of {}", slice.seq, slice.range, slice.coll);
        let range = sync.range(slice.coll, slice.range);
        let mut range = range.lock().await;
        let ack = self.store_in_range(&part, s, sync, &mut range, slice).await;
        if ack.is_err() {
            // It may be there all the same: the next try looks.
            range.uncertain = true;
        }
        let ack = ack.map_err(|e| e.within(name))?;
        part.feed.send(&Event::SyncProgress);
        Ok(ack)
    }

    async fn store_in_range(
        &self,
        part: &Part,
        s: &SessionRef,
        sync: &Arc<SyncState>,
        range: &mut RangeState,
        slice: SyncSlice,
    ) -> Result<Ack> {
        let key = SliceKey { coll: slice.coll, range: slice.range, seq: slice.seq };
        // Another process, or a try whose reply was lost, may have stored it.
        if slice.seq > range.next_seq || (range.uncertain && slice.seq == range.next_seq) {
            catch_up(part, sync, range, key).await?;
        }
        if slice.seq > range.next_seq {
            return Err(conflict(format!("refused: slice {} comes next", range.next_seq)));
        }
        if slice.seq < range.next_seq {
            return self.compare_with_stored(part, sync, key, slice).await;
        }
        if range.done {
            return Err(conflict("refused: the range is complete"));
        }
        let (record, blocks) = self.checked(part, sync, range, key, slice).await?;
        let record = pack(part, record, blocks).await?;
        let began = self.clock.monotonic();
        let put = part.files.put_sync_record(sync.id, &record).await?;
        if self.clock.monotonic().saturating_sub(began) >= self.options.fence_check {
            self.check_fence(part, s).await?;
        }
        let mut ack = Ack::Stored;
        if put == Put::Exists {
            self.check_fence(part, s).await?;
            same_record(part, sync, &record).await?;
            ack = Ack::AlreadyStored;
        }
        *range = RangeState::after(&record)?;
        Ok(ack)
    }

    /// Checks a slice and makes its record (without pack) and its blocks.
    async fn checked(
        &self,
        part: &Part,
        sync: &Arc<SyncState>,
        range: &RangeState,
        key: SliceKey,
        slice: SyncSlice,
    ) -> Result<(SyncSliceRecord, Checked)> {
        let plan = plan_of(part, sync).await?;
        let Bounds { lower, upper } = plan.bounds(key.coll, key.range)?;
        if slice.valid_from < sync.start.ts {
            return Err(Error::usage("refused: it was read before the sync began"));
        }
        let resume = slice.resume.as_deref().map(resume_doc).transpose()?;
        let record = SyncSliceRecord {
            key,
            entries: Vec::new(),
            runs: slice.runs,
            valid_from: slice.valid_from,
            resume,
            done: slice.done,
            gone: slice.gone,
        };
        let next = RangeState::after(&record)?;
        let expect = Expect {
            coll: key.coll,
            runs: slice.runs,
            start: sync.start.ts,
            valid_from: slice.valid_from,
            lower,
            upper,
            after: range.last_key.clone(),
        };
        let repository = self.blocks_of();
        let checked = blocking(move || check::check(&repository, &slice.blocks, &expect)).await?;
        // The next slice is checked against the resume position: it must be the last document's.
        if !record.runs && !next.done && next.last_key != checked.last_key {
            return Err(Error::damaged("the resume position is not that of the last document"));
        }
        Ok((record, checked))
    }

    async fn compare_with_stored(
        &self,
        part: &Part,
        sync: &Arc<SyncState>,
        key: SliceKey,
        slice: SyncSlice,
    ) -> Result<Ack> {
        let stored = stored_record(part, sync, key).await?;
        let repository = self.blocks_of();
        let same_end = stored.resume.as_ref().map(|r| r.as_bytes()) == slice.resume.as_deref()
            && (stored.runs, stored.done, stored.gone) == (slice.runs, slice.done, slice.gone)
            && stored.valid_from == slice.valid_from;
        let ids = blocking(move || check::block_ids(&repository, &slice.blocks)).await?;
        if same_end && ids.iter().eq(stored.entries.iter().map(|e| &e.block.id)) {
            return Ok(Ack::AlreadyStored);
        }
        Err(conflict("refused: it is stored with other content").hint("open a new session"))
    }

    pub(crate) async fn store_end(&self, s: &SessionRef, end: SyncEnd) -> Result<()> {
        let part = self.part(&s.key);
        let history = self.session_at(&part, s).await?;
        let sync = match &history.sync {
            Some(sync) if sync.id == end.sync => sync,
            _ => return Err(conflict(format!("initial sync {} is not the newest", end.sync))),
        };
        let plan = plan_of(&part, sync).await?;
        if !sync.ended() {
            if let Some((coll, range)) = sync.first_unfinished(&plan).await {
                return Err(Error::usage(format!(
                    "the initial sync is not complete: range {range} of collection {coll}"
                )));
            }
            check_reached(history.chain, end.end)?;
        }
        let listed = end.listed.into_iter().map(|c| Listed {
            coll: c.coll,
            db: c.db,
            name: c.name,
            indexes: c.indexes,
        });
        let record = SyncEndRecord { end: end.end, listed: listed.collect() };
        self.check_fence(&part, s).await?;
        part.files.put_end(sync.id, &record).await?;
        sync.set_ended();
        tracing::info!(part = %part.key.part, sync = %sync.id, "initial sync ended");
        part.feed.send(&Event::SyncEnded);
        Ok(())
    }
}

/// The plan; looked for in the store where another process stored it.
async fn plan_of(part: &Part, sync: &Arc<SyncState>) -> Result<Arc<PlanIndex>> {
    if sync.plan().is_none()
        && let Some(plan) = part.files.plan(sync.id).await?
    {
        sync.set_plan(plan);
    }
    sync.plan().ok_or_else(|| Error::usage("refused: the plan is not stored"))
}

/// The state is whole only when the oplog is stored up to the end of the scan.
fn check_reached(chain: OpTime, end: OpTime) -> Result<()> {
    if chain.ts < end.ts || (chain.ts == end.ts && chain.term != end.term) {
        return Err(Error::usage(format!(
            "the initial sync ends at {end}, but the oplog is stored only up to {chain}"
        )));
    }
    Ok(())
}

/// The sync that a message is about, if it is the one that runs.
fn running(sync: Option<&Arc<SyncState>>, id: bygone_base::SyncId) -> Result<&Arc<SyncState>> {
    match sync {
        Some(sync) if sync.id == id && !sync.ended() => Ok(sync),
        Some(sync) if sync.id == id => Err(conflict(format!("initial sync {id} has ended"))),
        _ => {
            Err(conflict(format!("initial sync {id} is not the newest")).hint("open a new session"))
        }
    }
}

fn resume_doc(bytes: &[u8]) -> Result<RawDocumentBuf> {
    RawDocumentBuf::from_bytes(bytes.to_vec())
        .map_err(|e| Error::damaged("the resume position is not BSON").source(e))
}

/// Writes the blocks; the record then says where they are.
async fn pack(part: &Part, record: SyncSliceRecord, checked: Checked) -> Result<SyncSliceRecord> {
    let mut record = record;
    record.entries = checked.entries;
    if !record.entries.is_empty() {
        let pack = write_pack(&part.files.blocks, checked.blocks).await?;
        record.entries.iter_mut().for_each(|entry| entry.block.pack = pack);
    }
    Ok(record)
}

/// After a failed try: goes on behind slices of the range that are there.
async fn catch_up(
    part: &Part,
    sync: &Arc<SyncState>,
    range: &mut RangeState,
    key: SliceKey,
) -> Result<()> {
    while range.next_seq <= key.seq {
        let next = SliceKey { seq: range.next_seq, ..key };
        let Some(record) = part.files.sync_record(sync.id, next).await? else { break };
        *range = RangeState::after(&record)?;
    }
    range.uncertain = false;
    Ok(())
}

async fn stored_record(
    part: &Part,
    sync: &Arc<SyncState>,
    key: SliceKey,
) -> Result<SyncSliceRecord> {
    part.files
        .sync_record(sync.id, key)
        .await?
        .ok_or_else(|| Error::new(ErrorKind::Conflict, "refused: it was stored, and is gone"))
}

async fn same_record(part: &Part, sync: &Arc<SyncState>, record: &SyncSliceRecord) -> Result<()> {
    let stored = stored_record(part, sync, record.key).await?;
    if stored.same_content(record) {
        return Ok(());
    }
    Err(conflict("refused: another writer stored it with other content").hint("open a new session"))
}
