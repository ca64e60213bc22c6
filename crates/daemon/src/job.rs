//! One part's job.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bygone_base::{Clock, Error, ErrorKind, Result, TimelineId, UnixMillis, work};
use bygone_groom::{GroomOptions, Groomed, groom_in};
use bygone_head::{Head, HeadOptions};
use bygone_ingest::{Event, Events, Ingest, compact::CompactOptions};
use bygone_oplog::{
    slice::Slice,
    uplink::{PartKey, TimelineReason},
};
use bygone_schedule::{Next, due};
use bygone_snapshot::{Manifest, PartStore, Parts, Timeline, oplog::Portion};
use bygone_tree::RunRoot;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Terms, Tidied, plan,
    status::{JobPhase, JobStatus},
    tidy::{give_time, tidy},
};

/// A resync is asked for at most this often after one that led to no snapshot, ...
const RESYNC_AGAIN: Duration = Duration::from_secs(3600);
/// ... and after one that did: what went wrong then is something else.
const RESYNC_ANEW: Duration = Duration::from_secs(600);
/// How long what nothing needs stays: whoever opened a snapshot before it expired can finish.
pub const GROOM_DELAY: Duration = Duration::from_secs(24 * 3600);
/// How often due work is looked for.
const TICK: Duration = Duration::from_secs(1);
/// How often small slices are compacted.
const COMPACT_EVERY: Duration = Duration::from_secs(60);

/// How often operations are applied to their documents for a check, and how many leaves that may read.
const VALIDATE_EVERY: Duration = Duration::from_secs(600);
const VALIDATE_LEAVES: u64 = 2_000;

/// How a job runs.
#[derive(Debug, Clone)]
pub struct JobOptions {
    /// When snapshots are taken, and how long they are kept, to begin with.
    pub terms: Terms,
    /// Packs go when unreachable for so long, where the job grooms its store ([`Job::groom`]).
    pub groom_delay: Duration,
    /// The head.
    pub head: HeadOptions,
    /// Compaction of small slices.
    pub compact: CompactOptions,
    /// Who compacts takes a permit: it holds what it merges in memory, several times over. A job that gets none looks
    /// again a moment later.
    pub compacting: Option<Arc<Semaphore>>,
}

impl Default for JobOptions {
    fn default() -> Self {
        JobOptions {
            terms: Terms::default(),
            groom_delay: GROOM_DELAY,
            head: HeadOptions::default(),
            compact: CompactOptions::default(),
            compacting: None,
        }
    }
}

/// The job of one part.
#[derive(Debug)]
pub struct Job {
    ingest: Arc<Ingest>,
    key: PartKey,
    part: PartStore,
    oplog_part: PartStore,
    clock: Arc<dyn Clock>,
    options: JobOptions,
    /// As they are now.
    terms: Mutex<Terms>,
    status: watch::Sender<JobStatus>,
    /// Requests for snapshots.
    asked: AtomicU64,
    /// Runs that the head has written and no manifest names yet.
    unpublished: Mutex<Vec<RunRoot>>,
    /// Slices are merged or expired, never both at once: a merged slice must not come after what it was made of is gone.
    slices: tokio::sync::Mutex<()>,
    /// Held while something is being written that neither a manifest nor [`Job::unpublished`] names yet.
    writing: tokio::sync::Mutex<()>,
}

/// What a running job has in hand.
struct Running {
    events: Events,
    head: Option<Head>,
    next_snapshot: Option<Next>,
    /// What was last heard of a change.
    announced: Option<Next>,
    next_compact: Duration,
    next_validate: Duration,
    /// Requests for snapshots that were served.
    served: u64,
}

impl Job {
    /// A job over the part in the repository of snapshots and in that of slices, and where its status is seen.
    pub fn new(
        ingest: Arc<Ingest>,
        key: PartKey,
        part: PartStore,
        oplog_part: PartStore,
        clock: Arc<dyn Clock>,
        options: JobOptions,
    ) -> (Job, watch::Receiver<JobStatus>) {
        let (status, receiver) = watch::channel(JobStatus::default());
        let asked = AtomicU64::new(0);
        let job = Job {
            ingest,
            key,
            part,
            oplog_part,
            clock,
            terms: Mutex::new(options.terms.clone()),
            options,
            status,
            asked,
            unpublished: Mutex::default(),
            slices: tokio::sync::Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        };
        (job, receiver)
    }

    /// Runs until `shutdown`, which may fall anywhere: whatever is cut off is found again. Transient failures are
    /// retried; one that needs a person is shown in the status and tried again every five minutes, for the
    /// agent goes on all the while. One that needs a resync asks for it in the status.
    ///
    /// # Errors
    /// The failure that still lasted at shutdown.
    pub async fn run(&self, shutdown: &CancellationToken) -> Result<()> {
        let mut tries = 0;
        let mut failure = None;
        loop {
            let started = self.clock.monotonic();
            let error = tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.still_failing(failure),
                Err(error) = self.guarded() => error,
            };
            let away = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(error),
                away = self.away(&error) => away,
            };
            let error = match away {
                Some(away) => away.source(error),
                None => error,
            };
            if self.clock.monotonic().saturating_sub(started) > Duration::from_secs(600) {
                tries = 0;
            }
            tries += 1;
            let wait = if error.kind().is_transient() {
                plan::back_off(tries)
            } else {
                plan::back_off(u32::MAX)
            };
            let events = self.ingest.subscribe(&self.key);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(error),
                () = self.stopped(&error) => {}
            }
            failure = Some(error);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.still_failing(failure),
                () = another_history(events) => {}
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    /// A panic is a failure of this job alone.
    async fn guarded(&self) -> Result<std::convert::Infallible> {
        work::guarded("a job", self.follow()).await?
    }

    /// While a store is away (its disk is not mounted, its server is down), what is missing there says nothing of what
    /// is stored: it is tried again as soon as after any other trouble that passes.
    async fn away(&self, error: &Error) -> Option<Error> {
        if error.kind().is_transient() {
            return None;
        }
        for repository in [self.part.repository(), self.oplog_part.repository()] {
            if let Err(away) = repository.check_there().await {
                return Some(Error::new(ErrorKind::Unavailable, away.to_string()));
            }
        }
        None
    }

    fn still_failing(&self, failure: Option<Error>) -> Result<()> {
        let lasts = self.status.borrow().failure.is_some();
        failure.filter(|_| lasts).map_or(Ok(()), Err)
    }

    /// What holds from now on. The next snapshot stays as it was, or is what was announced with the change.
    pub fn set_terms(&self, terms: Terms) {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = terms;
    }

    fn terms(&self) -> Terms {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Catches up with what is stored and takes one snapshot, then expires and grooms: `bygone backup`.
    pub async fn once(&self) -> Result<Manifest> {
        let mut head = self.open().await?.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the initial sync ended, but its data is not there")
        })?;
        head.catch_up().await?;
        let now = self.clock.now();
        let manifest = self.snapshot(&mut head).await?;
        self.give_time(&manifest, now).await;
        // A failure takes nothing from the backup: it is said, and the next call does what is left.
        let tidied = self.tidy().await;
        if tidied.is_ok()
            && let Err(error) = self.groom().await
        {
            self.not_freed(&error);
        }
        Ok(manifest)
    }

    fn change(&self, change: impl FnOnce(&mut JobStatus)) {
        self.status.send_modify(change);
    }

    fn phase(&self, phase: JobPhase) {
        self.change(|s| {
            s.phase = phase;
            s.failure = None;
            s.resync = None;
        });
    }

    /// Shows a failure, and asks for a resync where that helps.
    async fn stopped(&self, error: &Error) {
        let mut message = error.to_string();
        let mut resync = None;
        if error.kind() == ErrorKind::ResyncRequired {
            match resynced_lately(&self.part, &self.oplog_part, self.clock.now()).await {
                Some(when) => {
                    message += &format!(
                        ": a resync began only at {}; the next may begin an hour after it, or ten minutes if it led to a snapshot",
                        when.to_rfc3339_seconds()
                    );
                }
                None => resync = Some(message.clone()),
            }
        }
        if let Some(hint) = error.hint_text() {
            message += &format!("; {hint}");
        }
        self.change(|s| {
            if !error.kind().is_transient() {
                s.phase = JobPhase::Stopped;
            }
            s.message.clone_from(&message);
            s.failure = Some(message);
            s.resync = resync;
        });
    }

    async fn follow(&self) -> Result<std::convert::Infallible> {
        // Subscribed before the store is read, so nothing falls between.
        let events = self.ingest.subscribe(&self.key);
        let now = self.clock.monotonic();
        let mut run = Running {
            events,
            head: None,
            next_snapshot: None,
            announced: self.terms().announced,
            next_compact: now + COMPACT_EVERY,
            next_validate: now + VALIDATE_EVERY,
            // What was served before a failure is not asked for again.
            served: self.status.borrow().served,
        };
        {
            let _writing = self.writing.lock().await;
            self.reopen(&mut run).await?;
        }
        loop {
            let event = tokio::select! {
                biased;
                event = run.events.next() => Some(event),
                () = self.clock.sleep(TICK) => None,
            };
            let _writing = self.writing.lock().await;
            if let Some(event) = event {
                self.take(&mut run, event).await?;
            }
            self.due(&mut run).await?;
        }
    }

    /// Opens the head of what the store has now and reads on to its end.
    async fn open(&self) -> Result<Option<Head>> {
        if self.status.borrow().snapshot.is_none() {
            self.phase(JobPhase::Building);
        }
        let newest = self.oplog_part.timelines().await?.pop();
        self.change(|s| s.timeline = newest);
        let head =
            Head::open(self.part.clone(), self.oplog_part.clone(), self.options.head.clone())
                .await?;
        if head.is_none() {
            self.phase(JobPhase::Waiting);
        }
        Ok(head)
    }

    async fn reopen(&self, run: &mut Running) -> Result<()> {
        run.head = self.open().await?;
        run.next_snapshot = None;
        if let Some(head) = &mut run.head {
            self.phase(JobPhase::ApplyingOplogs);
            head.catch_up().await?;
            self.progress(head);
        }
        Ok(())
    }

    async fn take(&self, run: &mut Running, event: Event) -> Result<()> {
        match event {
            Event::Slice { timeline, header, bytes } => {
                let Some(head) = &mut run.head else { return Ok(()) };
                if timeline != head.timeline() {
                    return self.reopen(run).await;
                }
                if header.last <= head.position() {
                    return Ok(());
                }
                if header.prev > head.position() {
                    return self.catch_up(run).await;
                }
                let at = head.position();
                let decoded = Slice::parse(bytes)?.decode()?;
                head.apply(&Portion::new(decoded, at)?).await?;
                self.progress(head);
            }
            Event::Timeline { .. } | Event::SyncEnded => self.reopen(run).await?,
            Event::Lagged => match &run.head {
                // What was dropped may have been another history.
                Some(head) if self.newest_timeline().await? == Some(head.timeline()) => {
                    self.catch_up(run).await?;
                }
                _ => self.reopen(run).await?,
            },
            Event::SyncProgress => {}
        }
        Ok(())
    }

    /// Reads what was missed. Where a rival let expire what a head that stood still needs, its newer snapshot
    /// is what to go on from.
    async fn catch_up(&self, run: &mut Running) -> Result<()> {
        let Some(head) = &mut run.head else { return Ok(()) };
        match head.catch_up().await {
            Ok(_) => self.progress(head),
            Err(error) if error.kind() == ErrorKind::Damaged => {
                tracing::info!(%error, "opening the head anew");
                return self.reopen(run).await;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn newest_timeline(&self) -> Result<Option<TimelineId>> {
        Ok(self.oplog_part.timelines().await?.last().map(|t| t.id))
    }

    /// While this is held nothing is written: what is stored is named, by a manifest or by [`Job::unpublished`]. For a groom
    /// whose delay may be shorter than a write takes.
    pub async fn pause(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writing.lock().await
    }

    /// Blocks that a groom of the store must keep though no manifest names them yet.
    pub fn unpublished(&self) -> Vec<RunRoot> {
        self.unpublished.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn progress(&self, head: &Head) {
        let mut unpublished = self.unpublished.lock().unwrap_or_else(PoisonError::into_inner);
        *unpublished = head.unpublished().to_vec();
        drop(unpublished);
        let progress = head.progress();
        self.change(|s| {
            s.position = progress.position;
            s.pending_ops = progress.ops;
            s.snapshot_at = head.taken().map(|_| head.base_at());
        });
    }

    async fn due(&self, run: &mut Running) -> Result<()> {
        let now = self.clock.monotonic();
        if now >= run.next_compact && self.compact().await? {
            run.next_compact = now + COMPACT_EVERY;
        }
        let Some(head) = &mut run.head else { return Ok(()) };
        if head.safe_point().is_none() {
            return Ok(());
        }
        let wall = self.clock.now();
        let Terms { schedule, announced, .. } = self.terms();
        if run.announced != announced {
            run.announced = announced;
            run.next_snapshot = run.next_snapshot.map(|next| announced.unwrap_or(next));
        }
        if run.next_snapshot.is_none()
            && let Some(taken) = head.taken()
        {
            self.phase(JobPhase::Complete);
            run.next_snapshot = Some(Next::after(&schedule, announced, taken, wall));
        }
        let mut decided = due(&schedule, run.next_snapshot, wall);
        if run.served < self.asked.load(Ordering::Relaxed) && head.taken().is_some() {
            decided.now = Some(wall);
        }
        let work = now >= run.next_validate || decided.now.is_some();
        if work && !head.stands().await? {
            return self.reopen(run).await;
        }
        if now >= run.next_validate {
            run.next_validate = now + VALIDATE_EVERY;
            let validated = head.validate(VALIDATE_LEAVES).await;
            // It writes what is in memory: a groom has to know of that.
            self.progress(head);
            validated?;
        }
        let Some(moment) = decided.now else {
            self.plan_next(run, decided.next);
            return Ok(());
        };
        let asked = self.asked.load(Ordering::Relaxed);
        // What a snapshot shows already needs no other: with `--keep-last` it would push a real one out. It
        // stays due until something comes.
        let shown =
            head.taken().is_some() && head.safe_point().is_some_and(|at| at.ts <= head.base_at());
        if shown {
            return Ok(());
        }
        let manifest = self.snapshot(head).await?;
        self.give_time(&manifest, moment).await;
        run.served = asked;
        self.change(|s| s.served = asked);
        self.plan_next(run, decided.next);
        Ok(())
    }

    /// Whether it was this job's turn, and no slices were being expired.
    async fn compact(&self) -> Result<bool> {
        let Ok(_slices) = self.slices.try_lock() else { return Ok(false) };
        let turns = self.options.compacting.as_ref();
        let Ok(_turn) = turns.map(|turns| turns.try_acquire()).transpose() else {
            return Ok(false);
        };
        self.ingest.compact(&self.key, self.clock.now(), &self.options.compact).await?;
        Ok(true)
    }

    fn plan_next(&self, run: &mut Running, next: Next) {
        if run.next_snapshot != Some(next) {
            run.next_snapshot = Some(next);
            self.change(|s| s.next_snapshot = Some(next.at));
        }
    }

    /// Asks for a snapshot beside the schedule: taken as soon as there is anything new to show. Requests are counted,
    /// from 1, by who asks; [`JobStatus::served`] tells him the count that was served.
    pub fn request_snapshot(&self, count: u64) {
        self.asked.fetch_max(count, Ordering::Relaxed);
    }

    async fn snapshot(&self, head: &mut Head) -> Result<Manifest> {
        if head.taken().is_none() {
            self.phase(JobPhase::FetchingMissing);
            head.validate(VALIDATE_LEAVES).await?;
            self.phase(JobPhase::CreatingIndexes);
            head.check_listing().await?;
        }
        let manifest = head.snapshot(self.clock.now()).await?;
        let line = format!(
            "snapshot {} of {}: {} collections, {} documents, {} new",
            manifest.id,
            manifest.at.ts.to_rfc3339(),
            manifest.stats.collections,
            manifest.stats.documents,
            bygone_base::ByteSize(manifest.stats.new_bytes)
        );
        self.change(|s| {
            s.phase = JobPhase::Complete;
            s.failure = None;
            s.snapshot = Some(manifest.id.clone());
            s.taken += 1;
            s.message = line;
        });
        self.progress(head);
        Ok(manifest)
    }

    /// Gives the newest snapshot its time, and others that have none: they were taken before there were tiers, or just
    /// before a crash. What that fails at is done by the next [`Job::tidy`].
    async fn give_time(&self, taken: &Manifest, moment: UnixMillis) {
        let Terms { schedule, tiers, .. } = self.terms();
        if !tiers {
            return;
        }
        let of = |m: &Manifest| Some(if m.id == taken.id { moment } else { m.created });
        if let Err(error) = give_time(&self.part, &schedule, of).await {
            tracing::warn!(%error, "a snapshot was not given its time");
        }
    }

    /// Expires what is old. A failure takes nothing from the backup: it is shown in the status.
    ///
    /// # Errors
    /// Those of the store. Damaged: a manifest cannot be read; nothing is expired by a list that is not whole.
    pub async fn tidy(&self) -> Result<Tidied> {
        let _slices = self.slices.lock().await;
        let parts = self.parts();
        let tidied =
            tidy(&self.ingest, &self.key, &parts, &self.terms(), true, self.clock.now()).await;
        if let Err(error) = &tidied {
            self.not_freed(error);
        }
        tidied
    }

    /// Grooms the store of the snapshots for this job alone. Where jobs share stores, somebody grooms for all of them,
    /// who knows of what is not published yet by [`Job::unpublished`].
    pub async fn groom(&self) -> Result<Groomed> {
        let delay_ms = i64::try_from(self.options.groom_delay.as_millis()).unwrap_or(i64::MAX);
        let options = GroomOptions { delay_ms, dry_run: None };
        let _paused = self.pause().await;
        let done = groom_in(&self.parts().stores().into(), &self.unpublished(), options).await?;
        tracing::info!(%done, "groomed");
        Ok(done)
    }

    fn parts(&self) -> Parts {
        Parts { snapshots: self.part.clone(), oplog: self.oplog_part.clone() }
    }

    fn not_freed(&self, error: &Error) {
        tracing::warn!(%error, "nothing was freed");
        let hint = error.hint_text().map(|h| format!("; {h}")).unwrap_or_default();
        self.change(|s| s.message = format!("what is old was not freed: {error}{hint}"));
    }
}

/// Until a new timeline is opened.
async fn another_history(mut events: Events) {
    while !matches!(events.next().await, Event::Timeline { .. } | Event::Lagged) {}
}

/// When a resync began, if that is so short a time ago that another one would hardly do better: an hour, or ten
/// minutes when it led to a snapshot. A resync is remembered in the store, so restarting does not begin one after
/// the other either.
pub async fn resynced_lately(
    part: &PartStore,
    oplog_part: &PartStore,
    now: UnixMillis,
) -> Option<UnixMillis> {
    // Without the lists nothing is begun by mistake: the failure stays and is looked at again.
    let (timelines, found) = match (oplog_part.timelines().await, part.find_manifests().await) {
        (Ok(timelines), Ok(found)) => (timelines, found),
        _ => return Some(now),
    };
    let resync = |t: &&Timeline| t.sync.is_some() && t.reason == TimelineReason::Resync.as_str();
    let newest = timelines.iter().rev().find(resync)?;
    let helped = found.manifests.iter().any(|m| m.timeline >= newest.id);
    let again = if helped { RESYNC_ANEW } else { RESYNC_AGAIN };
    (plan::age(newest.created.0, now.0) < again).then_some(newest.created)
}
