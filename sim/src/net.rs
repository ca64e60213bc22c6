//! The network between agents and servers: loses requests and replies, and notes every promise.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bygone_base::{Clock, Error, ErrorKind, OpTime, Result, SyncId, TimelineId};
use bygone_ingest::Ingest;
use bygone_oplog::uplink::{
    Ack, AgentReport, Hello, Session, SessionRef, SyncEnd, SyncPlan, SyncSlice, TimelineReason,
    Uplink,
};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{clock::SimClock, dice::Dice, ledger::Ledger, trace::Trace};

/// A server that runs: calls end when it is killed.
#[derive(Clone)]
pub struct Running {
    /// What answers.
    pub ingest: Arc<Ingest>,
    /// Set when it is killed.
    pub killed: CancellationToken,
}

/// A way to a server.
pub struct Net {
    /// The server at its end, if one runs.
    server: Mutex<Option<Running>>,
    /// One of so many requests or replies is lost; 0: none.
    pub lose_one_of: AtomicU64,
    /// Nothing comes through.
    pub cut: AtomicBool,
    ledger: Arc<Ledger>,
    clock: Arc<SimClock>,
    dice: Dice,
    trace: Trace,
    who: String,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}

fn lost(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("network: {what}"))
}

impl Net {
    /// A way to nowhere yet.
    pub fn new(
        ledger: Arc<Ledger>,
        clock: Arc<SimClock>,
        dice: Dice,
        trace: Trace,
        who: &str,
    ) -> Arc<Net> {
        Arc::new(Net {
            server: Mutex::default(),
            lose_one_of: AtomicU64::new(0),
            cut: AtomicBool::new(false),
            ledger,
            clock,
            dice,
            trace,
            who: who.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a server at the end, or takes it away.
    pub fn attach(&self, server: Option<Running>) {
        *self.lock() = server;
    }

    fn loses(&self) -> bool {
        let one_of = self.lose_one_of.load(Relaxed);
        self.cut.load(Relaxed) || (one_of > 0 && self.dice.below(one_of) == 0)
    }

    /// One call; what comes of it is noted whether or not the reply arrives.
    async fn call<T, F>(
        &self,
        what: &str,
        call: impl FnOnce(Arc<Ingest>) -> F,
        note: impl FnOnce(&T),
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        self.clock.sleep(Duration::from_micros(200 + self.dice.below(3000))).await;
        if self.loses() {
            return Err(lost("request lost"));
        }
        let Some(server) = self.lock().clone() else { return Err(lost("nobody answers")) };
        let done = tokio::select! {
            biased;
            () = server.killed.cancelled() => Err(lost("connection reset")),
            done = call(server.ingest) => done,
        };
        match &done {
            Ok(value) => note(value),
            Err(e) => self.trace.say(&self.who, format_args!("{what}: {:?} {e}", e.kind())),
        }
        if self.loses() {
            return Err(lost("reply lost"));
        }
        done
    }
}

#[async_trait]
impl Uplink for Net {
    async fn open(&self, hello: Hello) -> Result<Session> {
        let note = |session: &Session| {
            self.trace.say(
                &self.who,
                format_args!("session {} timeline {}", session.epoch, session.timeline),
            );
            let mut promises = self.ledger.lock();
            if promises.epochs.insert(session.epoch.0, self.clock.monotonic()).is_some() {
                let epoch = session.epoch;
                promises.broken.push(format!("epoch {epoch} was given twice"));
            }
        };
        self.call("open", |ingest| async move { ingest.open(hello).await }, note).await
    }

    async fn begin_sync(
        &self,
        s: &SessionRef,
        start: OpTime,
        reason: TimelineReason,
    ) -> Result<(TimelineId, SyncId)> {
        let note = |(timeline, _): &(TimelineId, SyncId)| {
            self.trace.say(&self.who, format_args!("sync begins: {timeline} {}", reason.as_str()));
        };
        let call = |ingest: Arc<Ingest>| async move { ingest.begin_sync(s, start, reason).await };
        self.call("begin_sync", call, note).await
    }

    async fn plan_sync(&self, s: &SessionRef, plan: SyncPlan) -> Result<()> {
        let call = |ingest: Arc<Ingest>| async move { ingest.plan_sync(s, plan).await };
        self.call("plan_sync", call, |_| {}).await
    }

    async fn sync_slice(&self, s: &SessionRef, slice: SyncSlice) -> Result<Ack> {
        let call = |ingest: Arc<Ingest>| async move { ingest.sync_slice(s, slice).await };
        self.call("sync_slice", call, |_| {}).await
    }

    async fn end_sync(&self, s: &SessionRef, end: SyncEnd) -> Result<()> {
        let at = end.end;
        let call = |ingest: Arc<Ingest>| async move { ingest.end_sync(s, end).await };
        self.call("end_sync", call, |()| {
            self.trace.say(&self.who, format_args!("sync ends at {at}"))
        })
        .await
    }

    async fn oplog_slice(&self, s: &SessionRef, slice: Bytes) -> Result<Ack> {
        let (bytes, began, epoch) = (slice.clone(), self.clock.monotonic(), s.epoch.0);
        let note = |_: &Ack| {
            self.ledger.acknowledged(s.timeline, bytes);
            crate::check::fence::acknowledged(&mut self.ledger.lock(), epoch, began);
        };
        let call = |ingest: Arc<Ingest>| async move { ingest.oplog_slice(s, slice).await };
        self.call("oplog_slice", call, note).await
    }

    async fn fork(&self, s: &SessionRef, common: OpTime) -> Result<TimelineId> {
        let note = |timeline: &TimelineId| {
            self.trace.say(&self.who, format_args!("timeline {timeline} forks at {common}"));
        };
        let call = |ingest: Arc<Ingest>| async move { ingest.fork(s, common).await };
        self.call("fork", call, note).await
    }

    async fn report(&self, s: &SessionRef, report: AgentReport) -> Result<()> {
        let call = |ingest: Arc<Ingest>| async move { ingest.report(s, report).await };
        self.call("report", call, |()| {}).await
    }
}
