//! Follows the oplog of one member and stores it, entry after entry.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bygone_base::{Clock, ErrorKind, OpTime, Result, Ts};
use bygone_oplog::{slice::SliceBuilder, uplink::SessionRef};
use bytes::Bytes;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    env::Env,
    gather::{Gather, Taken, too_long_behind},
    source::{Batch, Batches, Fault, Member, SourceError, SourceResult},
    watch::watch_member,
};

/// How long a member may take to show the entry that we continue from.
const REACH: Duration = Duration::from_secs(30);
/// Cursors that may die one after the other without a new entry between.
const REOPEN: u32 = 10;
/// Attempts to hand over one slice before the session is opened again.
const SEND: u32 = 5;

/// What is stored so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acked {
    /// The end of the chain.
    pub(crate) chain: OpTime,
    /// The newest entry up to there that changes the catalogue.
    pub(crate) last_ddl: Ts,
}

/// Why a tail ended; everything up to the chain's end is stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TailEnd {
    /// It was asked to.
    Stopped,
    /// The chain is at or past the goal.
    Reached,
    /// The source has entries after ours but not ours.
    Diverged,
    /// A collection came into coverage that was never scanned.
    Uncovered(String),
    /// Another member should be read.
    Rechoose(String),
}

/// Tells a tail to leave its member.
#[derive(Clone, Default)]
struct Leave {
    now: CancellationToken,
    reason: Arc<Mutex<String>>,
}

impl Leave {
    fn with(&self, reason: String) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        self.now.cancel();
    }

    fn why(&self) -> String {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One tail.
pub(crate) struct Tail {
    pub(crate) env: Arc<Env>,
    pub(crate) member: Arc<dyn Member>,
    pub(crate) session: SessionRef,
    pub(crate) acked: watch::Sender<Acked>,
    /// Part of an initial sync.
    pub(crate) syncing: bool,
    pub(crate) stop: CancellationToken,
    /// Stop when the chain is there.
    pub(crate) goal: Option<Ts>,
}

impl Tail {
    fn chain(&self) -> OpTime {
        self.acked.borrow().chain
    }

    /// The end of an initial sync waits for what the source has then.
    fn idle_flush(&self) -> Duration {
        if self.syncing { self.env.options.flush } else { self.env.options.idle_flush }
    }

    fn reached(&self) -> bool {
        self.goal.is_some_and(|goal| self.chain().ts >= goal)
    }

    /// Follows until something ends it.
    pub(crate) async fn run(&self) -> Result<TailEnd> {
        if self.reached() {
            return Ok(TailEnd::Reached);
        }
        let from = self.chain();
        self.env.progress.change(|p| p.chain = from);
        let mut gather = Gather::new(self.env.options.filter.clone(), from, self.syncing);
        let leave = Leave::default();
        let mut watcher = JoinSet::new();
        watcher.spawn({
            let (env, session) = (Arc::clone(&self.env), self.session.clone());
            let (host, acked) = (self.member.host().to_owned(), self.acked.subscribe());
            let (leave, syncing) = (leave.clone(), self.syncing);
            async move { leave.with(watch_member(env, session, host, acked, syncing).await) }
        });
        let mut dead = 0;
        loop {
            let before = gather.at();
            let ended = self.follow(&mut gather, &leave).await;
            match ended {
                Ok(end) => return Ok(end),
                Err(SourceError { fault: Fault::Cursor | Fault::PositionLost, error }) => {
                    dead = if gather.at() == before { dead + 1 } else { 0 };
                    if dead >= REOPEN {
                        return Err(error);
                    }
                    tracing::debug!(%error, "the oplog's cursor is opened again");
                    self.env.clock.sleep(self.env.options.pause).await;
                }
                Err(error) => return Err(error.error),
            }
        }
    }

    /// One cursor. Nothing here is dropped half way: a slice that is being
    /// handed over is handed over, then the tail ends.
    async fn follow(&self, gather: &mut Gather, leave: &Leave) -> SourceResult<TailEnd> {
        let options = &self.env.options;
        let clock = &self.env.clock;
        let mut cursor = self.member.tail(gather.at().ts, options.pause).await?;
        if let Some(end) = self.continuity(cursor.as_mut(), gather).await? {
            return Ok(end);
        }
        loop {
            if self.goal.is_some_and(|goal| gather.at().ts >= goal) {
                // Nothing more is wanted: there is nothing to wait for.
                self.flush(gather).await?;
            }
            if self.reached() {
                return Ok(TailEnd::Reached);
            }
            let due = gather.due(options.flush, self.idle_flush());
            let batch = tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    self.flush(gather).await?;
                    return Ok(TailEnd::Stopped);
                }
                () = leave.now.cancelled() => {
                    self.flush(gather).await?;
                    return Ok(TailEnd::Rechoose(leave.why()));
                }
                batch = cursor.next() => Some(batch?.ok_or_else(cursor_ended)?),
                () = until(clock.as_ref(), due) => None,
            };
            if let Some(batch) = batch
                && let Some(end) = self.take(gather, &batch, 0).await?
            {
                return Ok(end);
            }
            let due = gather.due(options.flush, self.idle_flush());
            if due.is_some_and(|due| due <= clock.monotonic()) {
                self.flush(gather).await?;
            }
        }
    }

    /// The first entry that the cursor shows must be the one that we continue
    /// from. A member that does not show it yet is behind and proves nothing.
    async fn continuity(
        &self,
        cursor: &mut dyn Batches,
        gather: &mut Gather,
    ) -> SourceResult<Option<TailEnd>> {
        let clock = &self.env.clock;
        let limit = clock.monotonic() + REACH;
        loop {
            let batch = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(Some(TailEnd::Stopped)),
                batch = cursor.next() => batch?.ok_or_else(cursor_ended)?,
                () = clock.sleep(limit.saturating_sub(clock.monotonic())) => {
                    return Err(too_long_behind(self.member.host(), gather.at()).into());
                }
            };
            let Some(first) = batch.docs().next() else { continue };
            let found = bygone_oplog::entry::Entry::parse(first)?.op_time;
            if found != gather.at() {
                tracing::debug!(%found, wanted = %gather.at(), "the source does not continue our chain");
                self.flush(gather).await?;
                return Ok(Some(TailEnd::Diverged));
            }
            return self.take(gather, &batch, 1).await;
        }
    }

    /// Gathers a reply's entries after the first `skip`.
    async fn take(
        &self,
        gather: &mut Gather,
        batch: &Batch,
        skip: usize,
    ) -> SourceResult<Option<TailEnd>> {
        let limit = self.env.options.oplog_slice.0;
        for entry in batch.docs().skip(skip) {
            let taken = gather.push(entry, self.env.clock.monotonic())?;
            if gather.bytes() as u64 >= limit {
                self.flush(gather).await?;
            }
            if let Taken::IntoCoverage(why) = taken {
                self.flush(gather).await?;
                return Ok(Some(TailEnd::Uncovered(why)));
            }
        }
        Ok(None)
    }

    async fn flush(&self, gather: &mut Gather) -> Result<()> {
        let (at, last_ddl) = (gather.at(), gather.last_ddl());
        let Some(builder) = gather.finish()? else { return Ok(()) };
        let entries = builder.entries();
        let slice = compress(builder, self.env.options.oplog_level).await?;
        let bytes = slice.len() as u64;
        self.send(slice).await?;
        self.acked.send_replace(Acked { chain: at, last_ddl });
        self.env.progress.change(|p| {
            (p.chain, p.newest) = (at, p.newest.max(at.ts));
            p.entries += u64::from(entries);
            p.sent += bytes;
        });
        Ok(())
    }

    /// The same slice again is harmless, so a lost reply is simply repeated.
    async fn send(&self, slice: Bytes) -> Result<()> {
        let mut wait = Duration::from_millis(200);
        for _ in 1..SEND {
            match self.env.uplink.oplog_slice(&self.session, slice.clone()).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::debug!(%error, "slice not stored, sent again");
                    self.env.clock.sleep(wait).await;
                    wait *= 2;
                }
                other => return other.map(|_| ()),
            }
        }
        self.env.uplink.oplog_slice(&self.session, slice).await.map(|_| ())
    }
}

/// Until `due`; for ever where nothing is: an idle source costs no timer.
async fn until(clock: &dyn Clock, due: Option<Duration>) {
    match due {
        Some(due) => clock.sleep(due.saturating_sub(clock.monotonic())).await,
        None => std::future::pending().await,
    }
}

fn cursor_ended() -> SourceError {
    SourceError::new(Fault::Cursor, ErrorKind::Unavailable, "the oplog's cursor ended")
}

async fn compress(builder: SliceBuilder, level: i32) -> Result<Bytes> {
    // Small ones are not worth the way to another thread.
    if builder.raw_len() < 64 << 10 {
        return builder.finish(level);
    }
    bygone_base::work::run("compressing a slice", move || builder.finish(level)).await?
}
