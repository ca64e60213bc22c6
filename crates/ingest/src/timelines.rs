//! Opening timelines: for an initial sync, or where the source's history went back.

use std::sync::Arc;

use bygone_base::{Error, ErrorKind, OpTime, Result, SyncId, TimelineId};
use bygone_oplog::uplink::{SessionRef, TimelineReason};
use bygone_snapshot::{Timeline, timeline::lineage};

use crate::{
    Event, Ingest,
    chain_read::{Walk, boundaries},
    history::History,
    ingest::conflict,
    part::Part,
    sync::SyncState,
};

/// A rival can take the next number so often before it has fenced us.
const TRIES: usize = 4;

/// What a new timeline is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Sync { start: OpTime, reason: TimelineReason },
    Fork { common: OpTime },
}

impl Want {
    fn start(self) -> OpTime {
        match self {
            Want::Sync { start, .. } => start,
            Want::Fork { common } => common,
        }
    }

    /// Whether `newest` is what an earlier try of the same request made, and
    /// nothing was written to it since.
    fn is_done(self, newest: &Timeline, history: &History, s: &SessionRef) -> bool {
        let untouched = history.chain == newest.start && newest.start == self.start();
        let parent = newest.parent.map(|(parent, _)| parent).unwrap_or_default();
        let kind = match self {
            Want::Sync { reason, .. } => {
                newest.reason == reason.as_str()
                    && newest.sync.is_some()
                    && history.sync.as_ref().is_some_and(|s| s.plan().is_none())
            }
            Want::Fork { .. } => newest.sync.is_none(),
        };
        untouched && kind && parent == s.timeline && newest.id != s.timeline
    }
}

impl Ingest {
    pub(crate) async fn open_sync(
        &self,
        s: &SessionRef,
        start: OpTime,
        reason: TimelineReason,
    ) -> Result<(TimelineId, SyncId)> {
        let timeline = self.open_timeline(s, Want::Sync { start, reason }).await?;
        let sync =
            timeline.sync.ok_or_else(|| Error::internal("a sync's timeline without sync"))?;
        Ok((timeline.id, sync))
    }

    pub(crate) async fn open_fork(&self, s: &SessionRef, common: OpTime) -> Result<TimelineId> {
        Ok(self.open_timeline(s, Want::Fork { common }).await?.id)
    }

    async fn open_timeline(&self, s: &SessionRef, want: Want) -> Result<Timeline> {
        let part = self.part(&s.key);
        let _order = part.order.lock().await;
        for _ in 0..TRIES {
            let history = self.session(&part, s).await?;
            self.check_fence(&part, s).await?;
            if let Some(newest) = history.newest().filter(|t| want.is_done(t, &history, s)) {
                return Ok(newest.clone());
            }
            let history = self.session_at(&part, s).await?;
            if let Want::Fork { common } = want {
                check_common(&part, &history, common).await?;
            }
            let timeline = self.next_timeline(&history, want);
            if part.files.put_timeline(&timeline).await? {
                self.enter(&part, s, &history, &timeline).await?;
                return Ok(timeline);
            }
            // Taken: by an earlier try whose reply was lost, or by a rival.
            self.check_fence(&part, s).await?;
            self.advance(&part, s, History::load(&part.files).await?).await?;
            part.feed.send(&Event::Lagged);
        }
        Err(Error::new(ErrorKind::Unavailable, "timelines are opened faster than they can be read"))
    }

    fn next_timeline(&self, history: &History, want: Want) -> Timeline {
        let parent = history.newest().map(|t| t.id);
        let (fork, reason, sync) = match want {
            Want::Sync { reason, .. } => (history.chain, reason, Some(SyncId::random(&*self.rng))),
            Want::Fork { common } => (common, TimelineReason::Rollback, None),
        };
        Timeline {
            id: TimelineId(history.timeline().0.saturating_add(1)),
            start: want.start(),
            parent: parent.map(|parent| (parent, fork)),
            reason: reason.as_str().to_owned(),
            sync,
            created: self.clock.now(),
        }
    }

    async fn enter(
        &self,
        part: &Part,
        s: &SessionRef,
        history: &History,
        timeline: &Timeline,
    ) -> Result<()> {
        let mut timelines = history.timelines.clone();
        timelines.push(timeline.clone());
        let sync = match timeline.sync {
            Some(sync) => Some(Arc::new(SyncState::new(sync, timeline.start))),
            None => history.sync.clone(),
        };
        self.advance(part, s, History { timelines, chain: timeline.start, sync }).await?;
        tracing::info!(
            part = %part.key.part, timeline = %timeline.id, start = %timeline.start,
            reason = timeline.reason, "timeline opened"
        );
        part.feed.send(&Event::Timeline { timeline: timeline.id, start: timeline.start });
        Ok(())
    }
}

/// A fork must start at an entry that the history holds, and that can still be
/// read forward from.
async fn check_common(part: &Part, history: &History, common: OpTime) -> Result<()> {
    if !history.sync.as_ref().is_some_and(|sync| sync.ended()) {
        return Err(Error::new(
            ErrorKind::ResyncRequired,
            "the source's history went back while the initial sync was not finished",
        )
        .hint("a new initial sync has to begin"));
    }
    if common == history.chain {
        return Ok(());
    }
    for stretch in lineage(&history.timelines, history.timeline()).iter().rev() {
        if stretch.until.is_some_and(|until| common.ts > until.ts) {
            break;
        }
        let mut walk = Walk::new(&part.files, stretch.timeline).await?;
        let boundaries = boundaries(walk.slices());
        if boundaries.contains(&common) {
            return Ok(());
        }
        // Within a slice: reading on from it says whether the entry is there.
        if boundaries.first().is_some_and(|first| *first < common) {
            return match walk.next(common).await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(not_stored(common)),
                Err(e) if e.kind() == ErrorKind::Damaged => Err(not_stored(common).source(e)),
                Err(e) => Err(e),
            };
        }
        // What was expired can no longer be read forward from.
        if boundaries.first().is_some_and(|first| *first > stretch.after) {
            break;
        }
    }
    Err(not_stored(common))
}

fn not_stored(common: OpTime) -> Error {
    conflict(format!("fork refused: {common} is not an entry of the stored history"))
        .hint("open a new session and look for the common point among the positions it gives")
}
