//! One part's job.

use std::{sync::Arc, time::Duration};

use bygone_base::{Clock, Error, ErrorKind, OpTime, Result};
use bygone_groom::{GroomOptions, groom};
use bygone_head::{Head, HeadOptions};
use bygone_ingest::{Event, Events, Ingest, compact::CompactOptions};
use bygone_oplog::{slice::Slice, uplink::PartKey};
use bygone_snapshot::{Manifest, PartStore, Policy, oplog::Portion};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    keep::keep,
    plan,
    status::{JobPhase, JobStatus},
};

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
    /// Time between snapshots.
    pub interval: Duration,
    /// What is kept.
    pub policy: Policy,
    /// Packs go when unreachable for so long.
    pub groom_delay: Duration,
    /// The head.
    pub head: HeadOptions,
    /// Compaction of small slices.
    pub compact: CompactOptions,
}

impl Default for JobOptions {
    fn default() -> Self {
        JobOptions {
            interval: Duration::from_secs(6 * 3600),
            policy: Policy::default(),
            groom_delay: Duration::from_secs(24 * 3600),
            head: HeadOptions::default(),
            compact: CompactOptions::default(),
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
    status: watch::Sender<JobStatus>,
}

/// What a running job has in hand.
struct Running {
    events: Events,
    head: Option<Head>,
    next_snapshot: Option<Duration>,
    next_compact: Duration,
    next_validate: Duration,
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
        (Job { ingest, key, part, oplog_part, clock, options, status }, receiver)
    }

    /// Runs until `shutdown`. Transient failures are retried; one that needs a person is shown in the status
    /// and tried again every five minutes, for the agent goes on all the while.
    ///
    /// # Errors
    /// The failure that still lasted at shutdown.
    pub async fn run(&self, shutdown: &CancellationToken) -> Result<()> {
        let mut tries = 0;
        let mut failure = None;
        while !shutdown.is_cancelled() {
            let started = self.clock.monotonic();
            let Err(error) = self.follow(shutdown).await else {
                return failure.map_or(Ok(()), Err);
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
            self.stopped(&error);
            failure = Some(error);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = self.clock.sleep(wait) => {}
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Catches up with what is stored and takes one snapshot, then expires and grooms: `bygone backup`.
    pub async fn once(&self) -> Result<Manifest> {
        let mut head = self.open().await?.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the initial sync ended, but its data is not there")
        })?;
        head.catch_up().await?;
        let manifest = self.snapshot(&mut head).await?;
        self.tidy(&head).await?;
        Ok(manifest)
    }

    fn change(&self, change: impl FnOnce(&mut JobStatus)) {
        self.status.send_modify(change);
    }

    fn phase(&self, phase: JobPhase) {
        self.change(|s| {
            s.phase = phase;
            s.failure = None;
        });
    }

    fn stopped(&self, error: &Error) {
        let hint = error.hint_text().map(|h| format!(" ({h})")).unwrap_or_default();
        self.change(|s| {
            if !error.kind().is_transient() {
                s.phase = JobPhase::Stopped;
            }
            s.message = format!("{error}{hint}");
            s.failure = Some(s.message.clone());
        });
    }

    async fn follow(&self, shutdown: &CancellationToken) -> Result<()> {
        // Subscribed before the store is read, so nothing falls between.
        let events = self.ingest.subscribe(&self.key);
        let now = self.clock.monotonic();
        let mut run = Running {
            events,
            head: None,
            next_snapshot: None,
            next_compact: now + COMPACT_EVERY,
            next_validate: now + VALIDATE_EVERY,
        };
        self.reopen(&mut run).await?;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                event = run.events.next() => self.take(&mut run, event).await?,
                () = self.clock.sleep(TICK) => {}
            }
            self.due(&mut run).await?;
        }
    }

    /// Opens the head of what the store has now and reads on to its end.
    async fn open(&self) -> Result<Option<Head>> {
        if self.status.borrow().snapshot.is_none() {
            self.phase(JobPhase::Building);
        }
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
                    head.catch_up().await?;
                } else {
                    let at = head.position();
                    let decoded = Slice::parse(bytes)?.decode()?;
                    head.apply(&Portion::new(decoded, at)?).await?;
                }
                self.progress(head);
            }
            Event::Timeline { .. } | Event::SyncEnded => self.reopen(run).await?,
            Event::Lagged => match &mut run.head {
                Some(head) => {
                    head.catch_up().await?;
                    self.progress(head);
                }
                None => self.reopen(run).await?,
            },
            Event::SyncProgress => {}
        }
        Ok(())
    }

    fn progress(&self, head: &Head) {
        let progress = head.progress();
        self.change(|s| {
            s.position = progress.position;
            s.pending_ops = progress.ops;
        });
    }

    async fn due(&self, run: &mut Running) -> Result<()> {
        let now = self.clock.monotonic();
        if now >= run.next_compact {
            run.next_compact = now + COMPACT_EVERY;
            self.ingest.compact(&self.key, self.clock.now(), &self.options.compact).await?;
        }
        let Some(head) = &mut run.head else { return Ok(()) };
        if head.safe_point().is_none() {
            return Ok(());
        }
        if now >= run.next_validate {
            run.next_validate = now + VALIDATE_EVERY;
            head.validate(VALIDATE_LEAVES).await?;
        }
        let due = match run.next_snapshot {
            Some(due) => due,
            None => {
                let age = self.newest_age(head).await?;
                if age.is_some() {
                    self.phase(JobPhase::Complete);
                }
                *run.next_snapshot.insert(plan::first_due(now, age, self.options.interval))
            }
        };
        if now < due {
            return Ok(());
        }
        self.snapshot(head).await?;
        run.next_snapshot = Some(now + self.options.interval);
        self.tidy(head).await
    }

    /// Age of the newest snapshot of the history that the head follows.
    async fn newest_age(&self, head: &Head) -> Result<Option<Duration>> {
        let manifests = self.part.manifests().await?;
        let newest = manifests.iter().rev().find(|m| m.at.ts == head.base_at());
        Ok(newest.map(|m| plan::age(m.created.0, self.clock.now().0)))
    }

    async fn snapshot(&self, head: &mut Head) -> Result<Manifest> {
        if self.status.borrow().phase != JobPhase::Complete {
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

    /// Expiry and groom after a snapshot.
    async fn tidy(&self, head: &Head) -> Result<()> {
        let policy = &self.options.policy;
        self.part.set_policy(policy).await?;
        let end: OpTime = head.position();
        keep(&self.ingest, &self.key, &self.part, &self.oplog_part, policy, end.ts).await?;
        let options = GroomOptions {
            delay_ms: i64::try_from(self.options.groom_delay.as_millis()).unwrap_or(i64::MAX),
            dry_run: false,
        };
        let done = groom(self.part.repository(), head.unpublished(), options).await?;
        tracing::info!(%done, "groomed");
        Ok(())
    }
}
