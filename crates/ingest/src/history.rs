//! The history of a part as the store has it: timelines, the end of the chain,
//! and how far the initial sync got.

use std::sync::Arc;

use bygone_base::{Error, OpTime, Result, TimelineId};
use bygone_snapshot::{Timeline, timeline::lineage};

use crate::{
    chain_read::{self, Walk},
    compact::StoredSlice,
    files::Files,
    sync::SyncState,
};

/// Slices read in full at the end of the chain when a history is loaded.
const VERIFIED_SLICES: usize = 4;
/// Positions offered for finding the common point: so many in a row, then
/// every second, every fourth ...
const RECENT_STEP: usize = 16;
const RECENT_MAX: usize = 512;

/// A part's history; replaced as a whole when it changes.
#[derive(Debug, Clone)]
pub(crate) struct History {
    /// Ascending.
    pub timelines: Vec<Timeline>,
    /// The end of the chain of the newest timeline.
    pub chain: OpTime,
    /// The initial sync that fills the newest timeline's lineage.
    pub sync: Option<Arc<SyncState>>,
}

impl History {
    /// Reads it from the store and checks the last slices of the chain.
    pub(crate) async fn load(files: &Files) -> Result<History> {
        let timelines = files.timelines().await?;
        let Some(newest) = timelines.last() else {
            return Ok(History { timelines, chain: OpTime::default(), sync: None });
        };
        let chain = chain_end(files, newest).await?;
        let sync = match root(&timelines, newest.id).and_then(|t| t.sync.map(|s| (t, s))) {
            Some((root, sync)) => Some(Arc::new(SyncState::load(files, sync, root.start).await?)),
            None => {
                return Err(Error::damaged(format!(
                    "timeline {} does not go back to an initial sync",
                    newest.id
                )));
            }
        };
        Ok(History { timelines, chain, sync })
    }

    /// The newest timeline.
    pub(crate) fn newest(&self) -> Option<&Timeline> {
        self.timelines.last()
    }

    /// Its number, 0 when there is none.
    pub(crate) fn timeline(&self) -> TimelineId {
        self.newest().map_or(TimelineId(0), |t| t.id)
    }

    /// The same history with the chain ending at `chain`.
    pub(crate) fn at(&self, chain: OpTime) -> History {
        History { chain, ..self.clone() }
    }
}

/// The end of a timeline's chain; checks its last slices.
pub(crate) async fn chain_end(files: &Files, timeline: &Timeline) -> Result<OpTime> {
    let mut walk = Walk::new(files, timeline.id).await?;
    let boundaries = chain_read::boundaries(walk.slices());
    let Some(from) = boundaries.iter().rev().take(VERIFIED_SLICES).next_back().copied() else {
        return Ok(timeline.start);
    };
    let (mut end, mut reached) = (from, None);
    while let Some(slice) = walk.next(end).await? {
        end = slice.header().last;
        reached = Some(slice);
    }
    if reached.is_none() || boundaries.last().is_some_and(|last| end <= *last) {
        return Err(Error::damaged(format!(
            "the chain of timeline {} breaks after {end}: no stored slice continues from there",
            timeline.id
        ))
        .hint("restore the missing object, or start a new initial sync"));
    }
    Ok(end)
}

/// The timeline whose initial sync fills `id`.
fn root(timelines: &[Timeline], id: TimelineId) -> Option<&Timeline> {
    let first = lineage(timelines, id).first()?.timeline;
    timelines.iter().find(|t| t.id == first)
}

/// Ends of stored slices on the way back from the end of the chain, newest
/// first, thinning out backwards, through the timelines that this one forked from.
pub(crate) async fn recent(files: &Files, history: &History) -> Result<Vec<OpTime>> {
    let mut recent = Thinning::default();
    recent.push(history.chain);
    for stretch in lineage(&history.timelines, history.timeline()).iter().rev() {
        let until = stretch.until.unwrap_or(OpTime { ts: bygone_base::Ts::MAX, term: i64::MAX });
        let slices: Vec<StoredSlice> = files.slices(stretch.timeline).await?;
        let boundaries = chain_read::boundaries(&slices);
        for at in boundaries.iter().rev().filter(|at| at.ts <= until.ts) {
            recent.push(*at);
        }
        // What was expired can no longer be read forward from.
        if boundaries.first().is_some_and(|first| *first > stretch.after) {
            break;
        }
    }
    Ok(recent.finish())
}

#[derive(Default)]
struct Thinning {
    kept: Vec<OpTime>,
    seen: usize,
    last: Option<OpTime>,
}

impl Thinning {
    fn push(&mut self, at: OpTime) {
        if self.last.is_some_and(|last| at >= last) {
            return;
        }
        self.last = Some(at);
        let step = 1_usize.checked_shl((self.kept.len() / RECENT_STEP) as u32).unwrap_or(0);
        if step > 0 && self.seen.is_multiple_of(step) && self.kept.len() < RECENT_MAX {
            self.kept.push(at);
        }
        self.seen += 1;
    }

    /// With the oldest position in any case.
    fn finish(mut self) -> Vec<OpTime> {
        if let Some(oldest) = self.last
            && self.kept.last() != Some(&oldest)
        {
            self.kept.push(oldest);
        }
        self.kept
    }
}
