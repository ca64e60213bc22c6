//! The ingest itself: parts, sessions, fencing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bygone_base::{Clock, Epoch, Error, ErrorKind, Result, Rng};
use bygone_blockstore::Repository;
use bygone_oplog::uplink::{AgentReport, Hello, PartKey, PartState, Session, SessionRef};
use bygone_snapshot::Stores;
use tokio::sync::{RwLock, RwLockReadGuard, Semaphore, SemaphorePermit};

use crate::{
    feed::{Event, Events},
    files::{Files, epoch_record},
    history::{self, History},
    part::{Live, Part, PartStatus},
    plan,
};

/// Unit of the memory semaphore.
const KIB: usize = 1024;
/// Epochs are raced for so often before it is called unavailable.
const EPOCH_TRIES: u32 = 16;

/// Knobs; the defaults are right for production.
#[derive(Debug, Clone)]
pub struct Options {
    /// A session that was heard from within this time keeps other agents out.
    pub lease: Duration,
    /// The store is asked for higher epochs at most this often.
    pub fence_check: Duration,
    /// Bytes of slices being checked at once; more wait. One slice that is
    /// larger than all of it is taken alone.
    pub memory: usize,
    /// Bytes of slices that wait for one slow subscriber.
    pub feed_bytes: usize,
    /// zstd level of slices that are cut or merged here.
    pub level: i32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            lease: Duration::from_secs(30),
            fence_check: Duration::from_secs(10),
            memory: 64 << 20,
            feed_bytes: 32 << 20,
            level: 3,
        }
    }
}

/// Takes what agents send, checks it, stores it, and only then says so.
/// Implements `bygone_oplog::uplink::Uplink` for callers in the same process.
#[derive(Debug)]
pub struct Ingest {
    stores: Stores,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) options: Options,
    parts: Mutex<HashMap<PartKey, Arc<Part>>>,
    memory: Semaphore,
    /// Whether nothing is taken any more; held by everything that is being taken.
    closed: RwLock<bool>,
}

impl Ingest {
    /// An ingest over these stores; reads nothing yet.
    pub fn new(
        stores: Stores,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: Options,
    ) -> Ingest {
        let memory = Semaphore::new((options.memory / KIB).clamp(1, Semaphore::MAX_PERMITS));
        let (parts, closed) = Default::default();
        Ingest { stores, clock, rng, options, parts, memory, closed }
    }

    /// Takes nothing any more, and waits for what is being taken: afterwards nothing is written by this ingest.
    pub async fn close(&self) {
        *self.closed.write().await = true;
    }

    /// Held while something is taken.
    ///
    /// # Errors
    /// Unavailable: nothing is taken any more.
    pub(crate) async fn admit(&self) -> Result<RwLockReadGuard<'_, bool>> {
        let closed = self.closed.read().await;
        if *closed {
            return Err(Error::new(ErrorKind::Unavailable, "the job was stopped"));
        }
        Ok(closed)
    }

    /// Takes the epoch from whoever writes the part, in whatever process: he notices within [`Options::fence_check`].
    /// False: nobody ever wrote it.
    pub async fn fence(&self, key: &PartKey, by: &str) -> Result<bool> {
        let part = self.part(key);
        if part.files.highest_epoch().await? == Epoch::default() {
            return Ok(false);
        }
        self.take_epoch(&part, by).await.map(|_| true)
    }

    /// New slices, timelines and syncs of a part from now on.
    pub fn subscribe(&self, key: &PartKey) -> Events {
        self.part(key).feed.subscribe(self.options.feed_bytes)
    }

    /// What is known of a part since this process started; `None` when no
    /// agent has opened it.
    pub fn status(&self, key: &PartKey) -> Option<PartStatus> {
        self.part(key).status()
    }

    pub(crate) fn part(&self, key: &PartKey) -> Arc<Part> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts
            .entry(key.clone())
            .or_insert_with(|| Arc::new(Part::new(key.clone(), Files::new(&self.stores, key))));
        Arc::clone(part)
    }

    /// The repository that the blocks of initial syncs go to.
    pub(crate) fn blocks_of(&self) -> Repository {
        self.stores.blocks.clone()
    }

    /// Waits until `bytes` may be taken into memory.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<SemaphorePermit<'_>> {
        let most = (self.options.memory / KIB).max(1);
        let units = u32::try_from(bytes.div_ceil(KIB).clamp(1, most)).unwrap_or(u32::MAX);
        let permit = self.memory.acquire_many(units).await;
        permit.map_err(|e| Error::internal("the memory bound is gone").source(e))
    }

    pub(crate) async fn open_session(&self, hello: Hello) -> Result<Session> {
        plan::check_agent(&hello)?;
        let part = self.part(&hello.key);
        let _order = part.order.lock().await;
        self.check_lease(&part, &hello).await?;
        let holder = format!("{}@{}", hello.agent, hello.host);
        // The epoch first: whoever wrote before is fenced when the history is read. What is
        // known of the store is as old as the beginning of the look at it, which may take long.
        let (epoch, checked) = self.take_epoch(&part, &holder).await?;
        let confirmed = self.clock.monotonic();
        *part.live.lock().await = None;
        let history = Arc::new(History::load(&part.files).await.map_err(|e| within(&part, e))?);
        let state = self.state(&part, &hello, &history).await?;
        let now = self.clock.monotonic();
        let timeline = history.timeline();
        tracing::info!(part = %part.key.part, %epoch, holder, chain = %history.chain, "session opened");
        self.note(&part, &holder, epoch, &history);
        *part.live.lock().await = Some(Live {
            epoch,
            agent: hello.agent,
            holder,
            heard: now,
            checked,
            confirmed,
            history,
        });
        Ok(Session { epoch, timeline, state })
    }

    /// Refuses a second agent while the first is alive.
    async fn check_lease(&self, part: &Part, hello: &Hello) -> Result<()> {
        let live = part.live.lock().await;
        let Some(live) = live.as_ref().filter(|l| l.agent != hello.agent) else { return Ok(()) };
        let quiet = self.clock.monotonic().saturating_sub(live.heard);
        if hello.take_over || quiet >= self.options.lease {
            return Ok(());
        }
        Err(conflict(format!(
            "part {} is being backed up by agent {}, heard from {} s ago",
            part.key.part,
            live.holder,
            quiet.as_secs()
        ))
        .hint("stop that agent, or tell this one to take over"))
    }

    /// The epoch, and when there was none higher.
    async fn take_epoch(&self, part: &Part, holder: &str) -> Result<(Epoch, Duration)> {
        for _ in 0..EPOCH_TRIES {
            let began = self.clock.monotonic();
            let next = Epoch(part.files.highest_epoch().await?.0 + 1);
            let record = epoch_record(next, holder.to_owned(), &*self.clock);
            if part.files.take_epoch(&record).await? {
                return Ok((next, began));
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("part {}: too many agents open it at once", part.key.part),
        ))
    }

    async fn state(&self, part: &Part, hello: &Hello, history: &History) -> Result<PartState> {
        let Some(sync) = &history.sync else { return Ok(PartState::Empty { why: None }) };
        let plan = sync.plan();
        if let Some(why) = plan.as_ref().and_then(|plan| plan::needs_sync(&plan.plan, hello)) {
            tracing::warn!(part = %part.key.part, "a new initial sync is needed: {why}");
            return Ok(PartState::Empty { why: Some(why) });
        }
        if sync.ended() {
            let recent = history::recent(&part.files, history).await?;
            return Ok(PartState::Tailing { chain: history.chain, recent });
        }
        Ok(PartState::Syncing {
            plan: plan.map(|plan| Box::new(plan.plan.clone())),
            sync: sync.id,
            start: sync.start,
            chain: history.chain,
            progress: sync.progress().await,
            ended: false,
        })
    }

    /// The history that the session may write to; refuses one that is fenced.
    /// A session that another process opened is taken over from the store, so
    /// that a restarted or a second server goes on with it.
    pub(crate) async fn session(&self, part: &Part, s: &SessionRef) -> Result<Arc<History>> {
        let now = self.clock.monotonic();
        let (history, due) = {
            let mut live = part.live.lock().await;
            if live.as_ref().is_none_or(|l| l.epoch < s.epoch) {
                *live = Some(self.adopt(part, s).await?);
            }
            let Some(live) = live.as_mut().filter(|l| l.epoch == s.epoch) else {
                let holder = live.as_ref().map_or("", |l| l.holder.as_str());
                return Err(fenced(part, s, holder));
            };
            live.heard = now;
            (Arc::clone(&live.history), now.saturating_sub(live.checked))
        };
        if due >= self.options.fence_check {
            self.check_fence(part, s).await?;
        }
        part.set_status(|status| status.heard = self.clock.now());
        Ok(history)
    }

    /// As [`Ingest::session`], for writes that belong to the newest timeline.
    pub(crate) async fn session_at(&self, part: &Part, s: &SessionRef) -> Result<Arc<History>> {
        let mut history = self.session(part, s).await?;
        if history.timeline() < s.timeline {
            // Opened by another process that serves the same session.
            let loaded = History::load(&part.files).await.map_err(|e| within(part, e))?;
            self.advance(part, s, loaded).await?;
            part.feed.send(&Event::Lagged);
            history = self.session(part, s).await?;
        }
        if history.timeline() == s.timeline {
            return Ok(history);
        }
        Err(conflict(format!(
            "part {}: timeline {} is not open, {} is",
            part.key.part,
            s.timeline,
            history.timeline()
        ))
        .hint("open a new session"))
    }

    /// Whether the end of the chain was seen in the store lately enough to
    /// append to it: slices are compacted and expired under their old names
    /// only when they are much older.
    pub(crate) async fn is_confirmed(&self, part: &Part) -> bool {
        let live = part.live.lock().await;
        let now = self.clock.monotonic();
        live.as_ref().is_some_and(|l| now.saturating_sub(l.confirmed) < self.options.fence_check)
    }

    async fn adopt(&self, part: &Part, s: &SessionRef) -> Result<Live> {
        let began = self.clock.monotonic();
        let highest = part.files.highest_epoch().await?;
        if highest != s.epoch {
            let holder = self.holder(part, highest).await;
            return Err(fenced(part, s, &holder));
        }
        let history = Arc::new(History::load(&part.files).await.map_err(|e| within(part, e))?);
        let holder = self.holder(part, highest).await;
        self.note(part, &holder, highest, &history);
        let now = self.clock.monotonic();
        let agent = holder.split_once('@').map_or(holder.as_str(), |(agent, _)| agent).to_owned();
        Ok(Live {
            epoch: highest,
            agent,
            holder,
            heard: now,
            checked: began,
            confirmed: began,
            history,
        })
    }

    /// Asks the store for a higher epoch than the session's.
    pub(crate) async fn check_fence(&self, part: &Part, s: &SessionRef) -> Result<()> {
        let now = self.clock.monotonic();
        let highest = part.files.highest_epoch().await?;
        let mut live = part.live.lock().await;
        if highest > s.epoch {
            if live.as_ref().is_some_and(|l| l.epoch < highest) {
                *live = None;
            }
            drop(live);
            let holder = self.holder(part, highest).await;
            return Err(fenced(part, s, &holder));
        }
        if let Some(live) = live.as_mut().filter(|l| l.epoch == s.epoch) {
            live.checked = now;
        }
        Ok(())
    }

    /// Puts a changed history in place of the session's.
    pub(crate) async fn advance(
        &self,
        part: &Part,
        s: &SessionRef,
        history: History,
    ) -> Result<()> {
        let mut live = part.live.lock().await;
        let Some(live) = live.as_mut().filter(|l| l.epoch == s.epoch) else {
            return Err(fenced(part, s, ""));
        };
        part.set_status(|status| {
            status.timeline = history.timeline();
            status.chain = history.chain;
        });
        live.history = Arc::new(history);
        live.confirmed = self.clock.monotonic();
        Ok(())
    }

    pub(crate) async fn take_report(&self, s: &SessionRef, report: AgentReport) -> Result<()> {
        let part = self.part(&s.key);
        self.session(&part, s).await?;
        part.set_status(|status| status.report = Some(report));
        Ok(())
    }

    fn note(&self, part: &Part, holder: &str, epoch: Epoch, history: &History) {
        part.set_status(|status| {
            status.holder = holder.to_owned();
            status.epoch = epoch;
            status.timeline = history.timeline();
            status.chain = history.chain;
            status.heard = self.clock.now();
        });
    }

    /// For messages only: what cannot be read is left out.
    async fn holder(&self, part: &Part, epoch: Epoch) -> String {
        part.files.epoch_holder(epoch).await.unwrap_or_default()
    }
}

/// [`ErrorKind::Conflict`].
pub(crate) fn conflict(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, message)
}

fn fenced(part: &Part, s: &SessionRef, holder: &str) -> Error {
    let by = if holder.is_empty() { String::new() } else { format!(" by agent {holder}") };
    conflict(format!(
        "part {}: the session of epoch {} was taken over{by}",
        part.key.part, s.epoch.0
    ))
    .hint("only one agent may write a part: stop one of them")
}

fn within(part: &Part, error: Error) -> Error {
    error.within(format!("job {}, part {}", part.key.job, part.key.part))
}
