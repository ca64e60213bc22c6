//! How far an initial sync got. Rebuilt from the sync store: its records are the truth.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bson::RawDocumentBuf;
use bygone_base::{CollectionId, Error, ErrorKind, OpTime, Result, SyncId};
use bygone_document::key::id_key;
use bygone_oplog::uplink::{RangeProgress, SyncPlan};
use bygone_snapshot::sync::{SliceKey, SyncSliceRecord};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::files::Files;

/// Records read at once while the progress is rebuilt.
const READ_AHEAD: usize = 16;

/// A range's state; whoever holds it stores the range's next slice.
pub(crate) type SharedRange = Arc<tokio::sync::Mutex<RangeState>>;
type Ranges = BTreeMap<(CollectionId, u32), SharedRange>;

/// The first key of a range and that of the next one, where there are such.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub lower: Option<Vec<u8>>,
    pub upper: Option<Vec<u8>>,
}

/// One initial sync.
#[derive(Debug)]
pub(crate) struct SyncState {
    pub id: SyncId,
    pub start: OpTime,
    plan: RwLock<Option<Arc<PlanIndex>>>,
    ended: AtomicBool,
    ranges: Mutex<Ranges>,
}

/// The plan, by collection.
#[derive(Debug)]
pub(crate) struct PlanIndex {
    pub plan: SyncPlan,
    by_id: HashMap<CollectionId, usize>,
}

impl PlanIndex {
    fn new(plan: SyncPlan) -> Self {
        let by_id = plan.collections.iter().enumerate().map(|(i, c)| (c.coll, i)).collect();
        PlanIndex { plan, by_id }
    }

    /// The bounds of a range of the plan.
    pub(crate) fn bounds(&self, coll: CollectionId, range: u32) -> Result<Bounds> {
        let planned = self.by_id.get(&coll).and_then(|i| self.plan.collections.get(*i));
        let planned = planned.ok_or_else(|| {
            Error::usage(format!("collection {coll} is not in the plan of the initial sync"))
        })?;
        let range = range as usize;
        if range > planned.ranges.len() {
            return Err(Error::usage(format!("collection {coll} has no range {range}")));
        }
        let lower = range.checked_sub(1).and_then(|before| planned.ranges.get(before));
        Ok(Bounds { lower: lower.cloned(), upper: planned.ranges.get(range).cloned() })
    }

    fn all(&self) -> impl Iterator<Item = (CollectionId, u32)> {
        self.plan.collections.iter().flat_map(|c| {
            (0..=u32::try_from(c.ranges.len()).unwrap_or(u32::MAX)).map(|range| (c.coll, range))
        })
    }
}

/// One range of one collection.
#[derive(Debug, Clone, Default)]
pub(crate) struct RangeState {
    /// The number of the slice that comes next.
    pub next_seq: u32,
    /// `{_id: x}` of the last document scanned.
    pub resume: Option<RawDocumentBuf>,
    /// Its key.
    pub last_key: Option<Vec<u8>>,
    pub done: bool,
    /// The collection was not found: the range may have ended anywhere.
    pub gone: bool,
    /// A try to store `next_seq` failed: it may be there all the same.
    pub uncertain: bool,
}

impl RangeState {
    /// The state after a stored slice.
    pub(crate) fn after(record: &SyncSliceRecord) -> Result<RangeState> {
        let last_key = match &record.resume {
            Some(resume) if !record.runs => Some(id_key(resume.as_bytes()).map_err(|e| {
                Error::damaged("a sync slice's resume position has no _id").source(e)
            })?),
            _ => None,
        };
        Ok(RangeState {
            next_seq: record.key.seq.saturating_add(1),
            resume: record.resume.clone(),
            last_key,
            done: record.done || record.gone,
            gone: record.gone,
            uncertain: false,
        })
    }
}

impl SyncState {
    /// A sync that has just begun.
    pub(crate) fn new(id: SyncId, start: OpTime) -> Self {
        SyncState {
            id,
            start,
            plan: RwLock::new(None),
            ended: AtomicBool::new(false),
            ranges: Mutex::default(),
        }
    }

    /// Reads plan, end and, while it is not ended, the progress of every range.
    pub(crate) async fn load(files: &Files, id: SyncId, start: OpTime) -> Result<SyncState> {
        let state = SyncState::new(id, start);
        if let Some(plan) = files.plan(id).await? {
            state.set_plan(plan);
        }
        if files.end(id).await?.is_some() {
            state.set_ended();
            return Ok(state);
        }
        let newest = newest_slices(&files.sync_slices(id).await?)?;
        let records: Vec<SyncSliceRecord> = stream::iter(newest)
            .map(|key| record(files, id, key))
            .buffer_unordered(READ_AHEAD)
            .try_collect()
            .await?;
        for record in records {
            let range = RangeState::after(&record)?;
            let slot = (record.key.coll, record.key.range);
            state.lock_ranges().insert(slot, Arc::new(tokio::sync::Mutex::new(range)));
        }
        Ok(state)
    }

    pub(crate) fn plan(&self) -> Option<Arc<PlanIndex>> {
        self.plan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_plan(&self, plan: SyncPlan) {
        let index = Some(Arc::new(PlanIndex::new(plan)));
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = index;
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// A range's state; slices of one range come one after the other.
    pub(crate) fn range(&self, coll: CollectionId, range: u32) -> SharedRange {
        Arc::clone(self.lock_ranges().entry((coll, range)).or_default())
    }

    /// Every range of which something is stored, in order.
    pub(crate) async fn progress(&self) -> Vec<RangeProgress> {
        let ranges: BTreeMap<_, _> =
            self.lock_ranges().iter().map(|(key, range)| (*key, Arc::clone(range))).collect();
        let mut progress = Vec::new();
        for ((coll, range), state) in ranges {
            let state = state.lock().await;
            if state.next_seq > 0 {
                progress.push(RangeProgress {
                    coll,
                    range,
                    next_seq: state.next_seq,
                    resume: state.resume.as_ref().map(|r| r.as_bytes().to_vec()),
                    done: state.done,
                });
            }
        }
        progress
    }

    /// The first range of the plan that is not complete. Where the collection was
    /// not found any more, its other ranges need not be.
    pub(crate) async fn first_unfinished(&self, plan: &PlanIndex) -> Option<(CollectionId, u32)> {
        let mut states = HashMap::new();
        let ranges: Vec<_> =
            self.lock_ranges().iter().map(|(key, range)| (*key, Arc::clone(range))).collect();
        for (key, state) in ranges {
            let state = state.lock().await;
            states.insert(key, (state.done, state.gone));
        }
        let gone: HashSet<CollectionId> =
            states.iter().filter(|(_, (_, gone))| *gone).map(|((coll, _), _)| *coll).collect();
        plan.all()
            .find(|key| !states.get(key).is_some_and(|(done, _)| *done) && !gone.contains(&key.0))
    }

    fn lock_ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn record(files: &Files, sync: SyncId, key: SliceKey) -> Result<SyncSliceRecord> {
    let record = files.sync_record(sync, key).await?;
    record.ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            format!("sync slice {} vanished while it was read", key.leaf()),
        )
    })
}

/// The newest slice of each range; slices must be numbered without a hole.
fn newest_slices(keys: &[SliceKey]) -> Result<Vec<SliceKey>> {
    let mut newest: Vec<SliceKey> = Vec::new();
    for key in keys {
        let last = newest.last_mut().filter(|l| (l.coll, l.range) == (key.coll, key.range));
        let expected = last.as_ref().map_or(0, |last| last.seq + 1);
        if key.seq != expected {
            return Err(Error::damaged(format!(
                "sync slice {expected} of range {} of collection {} is missing",
                key.range, key.coll
            ))
            .hint("start a new initial sync"));
        }
        match last {
            Some(last) => *last = *key,
            None => newest.push(*key),
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_sync_slice_is_named() {
        let key = |coll: u8, range, seq| SliceKey { coll: CollectionId([coll; 16]), range, seq };
        let good = [key(1, 0, 0), key(1, 0, 1), key(1, 1, 0), key(2, 1, 0)];
        assert_eq!(newest_slices(&good).unwrap(), [key(1, 0, 1), key(1, 1, 0), key(2, 1, 0)]);
        let bad = newest_slices(&[key(1, 0, 0), key(1, 0, 2)]).unwrap_err();
        assert!(bad.to_string().contains("sync slice 1 of range 0"));
        assert!(newest_slices(&[key(1, 0, 1)]).is_err());
    }
}
