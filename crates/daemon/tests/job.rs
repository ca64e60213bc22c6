//! A job over a store in memory, with slices put straight into it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bson::{Binary, RawDocumentBuf, Timestamp, rawdoc, spec::BinarySubtype};
use bygone_base::{Clock, OpTime, SeededRng, SyncId, TimelineId, Ts, UnixMillis};
use bygone_blockstore::{
    MemoryStore, ObjectKind, Repository, Store as _,
    store::{FaultPlan, Faulty},
};
use bygone_daemon::{
    Job, JobOptions, JobPhase, JobStatus, Terms, Tidied, keep, resynced_lately, tidy,
};
use bygone_ingest::{Ingest, Options};
use bygone_oplog::{
    filter::Filter,
    names::SliceName,
    slice::SliceBuilder,
    uplink::{PartKey, Source, SyncPlan},
};
use bygone_schedule::{Next, Retention, Schedule};
use bygone_snapshot::{
    Keep, PartStore, Parts, Policy, Stores, Timeline,
    sync::{SyncEndRecord, end_name, plan_name},
};
use bytes::Bytes;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Time passes only when somebody sleeps.
#[derive(Debug, Default)]
struct TestClock(AtomicU64);

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_795_150_800_000 + self.monotonic().as_millis() as i64)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Relaxed))
    }
    async fn sleep(&self, time: Duration) {
        tokio::task::yield_now().await;
        self.0.fetch_add(time.as_millis() as u64, Relaxed);
    }
}

const START: OpTime = OpTime { ts: Ts((1_000 << 32) + 1), term: 1 };

fn at(secs: u32) -> OpTime {
    OpTime::new(Ts::new(secs, 1), 1)
}

struct World {
    clock: Arc<TestClock>,
    store: MemoryStore,
    /// In front of `store`.
    faulty: Arc<Faulty>,
    part: PartStore,
    ingest: Arc<Ingest>,
    key: PartKey,
}

impl World {
    async fn new() -> World {
        let clock = Arc::new(TestClock::default());
        let store = MemoryStore::new(clock.clone());
        let rng = Arc::new(SeededRng::new(1));
        let (inner, plan) = (Arc::new(store.clone()), FaultPlan::default());
        let faulty = Arc::new(Faulty::new(inner, clock.clone(), rng.clone(), plan));
        let created = Repository::create(faulty.clone(), None, rng.clone(), clock.as_ref()).await;
        let repo = created.unwrap();
        let key = PartKey { job: "job".parse().unwrap(), part: "rs0".parse().unwrap() };
        let part = PartStore::new(repo.clone(), key.job.clone(), key.part.clone());
        let stores = Stores::one(repo);
        let ingest = Arc::new(Ingest::new(stores, clock.clone(), rng, Options::default()));
        let world = World { clock, store, faulty, part, ingest, key };
        world.history(1, START, "initial sync").await;
        world
    }

    async fn put(&self, kind: ObjectKind, name: &str, plain: &[u8]) {
        self.part.repository().put_object(kind, &self.part.name(name), plain).await.unwrap();
    }

    /// A timeline whose initial sync found nothing.
    async fn history(&self, id: u32, start: OpTime, reason: &str) {
        let sync = SyncId([id as u8; 8]);
        let timeline = Timeline {
            id: TimelineId(id),
            start,
            parent: (id > 1).then(|| (TimelineId(id - 1), start)),
            reason: reason.into(),
            sync: Some(sync),
            created: self.clock.now(),
        };
        let source = Source {
            set: "rs0".into(),
            version: "8.2.0".into(),
            fcv: "8.2".into(),
            identity: None,
        };
        let (collections, views, filter) = (Vec::new(), Vec::new(), Filter::all());
        let plan = SyncPlan { sync, start, settled: start.ts, collections, views, filter, source };
        let end = SyncEndRecord { end: start, listed: Vec::new() };
        self.put(ObjectKind::Sync, &plan_name(sync), plan.to_bson().as_bytes()).await;
        self.put(ObjectKind::Sync, &end_name(sync), &end.to_bson()).await;
        self.put(ObjectKind::Timeline, &format!("timelines/{id:08}"), &timeline.to_bson()).await;
    }

    async fn slice(&self, timeline: u32, prev: OpTime, last: OpTime, entry: RawDocumentBuf) {
        let mut entry = entry;
        let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: vec![1; 16] };
        entry.append(bson::cstr!("ui"), uuid);
        let ts = Timestamp { time: last.ts.secs(), increment: last.ts.inc() };
        entry.append(bson::cstr!("ts"), ts);
        entry.append(bson::cstr!("t"), last.term);
        entry.append(bson::cstr!("v"), 2_i64);
        let mut builder = SliceBuilder::new(prev);
        builder.push(entry.as_bytes(), last).unwrap();
        let name = SliceName { timeline: TimelineId(timeline), prev, last: None };
        let object = name.object(self.part.job(), self.part.part());
        let slice = builder.finish(1).unwrap();
        self.part.repository().put_object(ObjectKind::Slice, &object, &slice).await.unwrap();
    }

    fn job(&self, options: JobOptions) -> (Job, watch::Receiver<JobStatus>) {
        let (ingest, key, part) = (self.ingest.clone(), self.key.clone(), self.part.clone());
        Job::new(ingest, key, part.clone(), part, self.clock.clone(), options)
    }

    /// Runs the job until its status is as wanted, then stops it; what it ended with.
    async fn run_until(
        &self,
        interval: u64,
        wanted: impl Fn(&JobStatus) -> bool,
    ) -> (JobStatus, bygone_base::Result<()>) {
        self.run_with(every(interval), wanted).await
    }

    async fn run_with(
        &self,
        options: JobOptions,
        wanted: impl Fn(&JobStatus) -> bool,
    ) -> (JobStatus, bygone_base::Result<()>) {
        let (job, mut status) = self.job(options);
        let shutdown = CancellationToken::new();
        let (mut tasks, stop) = (JoinSet::new(), shutdown.clone());
        tasks.spawn(async move { job.run(&stop).await });
        let seen = status.wait_for(wanted).await.unwrap().clone();
        shutdown.cancel();
        (seen, tasks.join_next().await.unwrap().unwrap())
    }

    fn parts(&self) -> Parts {
        Parts { snapshots: self.part.clone(), oplog: self.part.clone() }
    }

    /// Expiry without a job that runs.
    async fn tidy(&self, terms: &Terms) -> Tidied {
        let World { ingest, key, clock, .. } = self;
        tidy(ingest, key, &self.parts(), terms, false, clock.now()).await.unwrap()
    }

    async fn snapshots(&self) -> usize {
        self.part.snapshot_ids().await.unwrap().len()
    }
}

fn every(secs: u64) -> JobOptions {
    JobOptions { terms: Terms::every(Duration::from_secs(secs)), ..JobOptions::default() }
}

fn create() -> RawDocumentBuf {
    rawdoc! { "op": "c", "ns": "d.$cmd", "o": { "create": "c" } }
}

fn insert(id: i32) -> RawDocumentBuf {
    rawdoc! { "op": "i", "ns": "d.c", "o": { "_id": id } }
}

#[tokio::test]
async fn a_first_snapshot_at_once_and_the_next_after_the_interval() {
    let world = World::new().await;
    world.slice(1, START, at(1010), create()).await;
    let (status, ended) = world.run_until(3600, |s| s.taken == 1).await;
    assert_eq!((status.phase, status.position), (JobPhase::Complete, at(1010)));
    ended.unwrap();
    world.slice(1, at(1010), at(1020), insert(1)).await;
    let began = world.clock.monotonic();
    let (_, ended) = world.run_until(3600, |s| s.taken == 1).await;
    ended.unwrap();
    let waited = world.clock.monotonic() - began;
    assert!(
        waited > Duration::from_secs(3500),
        "a restart does not shift the schedule: {waited:?}"
    );
    assert_eq!(world.snapshots().await, 2);
}

#[tokio::test]
async fn a_first_snapshot_of_a_new_history_does_not_wait() {
    let world = World::new().await;
    let (_, ended) = world.run_until(360_000, |s| s.taken == 1).await;
    ended.unwrap();
    // At the very moment of the old history's snapshot: nothing happened since.
    world.history(2, START, "resync").await;
    let began = world.clock.monotonic();
    let (_, ended) = world.run_until(360_000, |s| s.taken == 1).await;
    ended.unwrap();
    assert!(world.clock.monotonic() - began < Duration::from_secs(60));
}

#[tokio::test]
async fn a_resync_is_asked_for_once_an_hour() {
    let world = World::new().await;
    world.slice(1, START, at(1010), insert(1)).await;
    let (status, ended) = world.run_until(3600, |s| s.resync.is_some()).await;
    assert_eq!(status.phase, JobPhase::Stopped);
    assert!(status.resync.unwrap().contains("does not have"));
    assert_eq!(ended.unwrap_err().kind(), bygone_base::ErrorKind::ResyncRequired);
    // The resync did not help.
    world.history(2, at(1020), "resync").await;
    world.slice(2, at(1020), at(1030), insert(1)).await;
    let (status, _) = world.run_until(3600, |s| s.failure.is_some()).await;
    assert_eq!(status.resync, None);
    assert!(status.message.contains("a resync began only at"), "{}", status.message);
    assert!(resynced_lately(&world.part, &world.part, world.clock.now()).await.is_some());
    // It tries on, and an hour later asks again.
    let (status, _) = world.run_until(3600, |s| s.resync.is_some()).await;
    assert!(status.failure.is_some());
    assert!(resynced_lately(&world.part, &world.part, world.clock.now()).await.is_none());
}

#[tokio::test]
async fn an_old_failure_does_not_make_a_clean_stop_fail() {
    let world = World::new().await;
    world.slice(1, START, at(1010), create()).await;
    // A hole, until somebody brings the object back.
    world.slice(1, at(1020), at(1030), insert(2)).await;
    let (job, mut status) = world.job(every(3600));
    let shutdown = CancellationToken::new();
    let (mut tasks, stop) = (JoinSet::new(), shutdown.clone());
    tasks.spawn(async move { job.run(&stop).await });
    let failed = status.wait_for(|s| s.failure.is_some()).await.unwrap().clone();
    assert!(failed.message.contains("hole"), "{}", failed.message);
    world.slice(1, at(1010), at(1020), insert(1)).await;
    status.wait_for(|s| s.taken > 0 && s.position == at(1030)).await.unwrap();
    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_freed_takes_nothing_from_the_backup() {
    let world = World::new().await;
    world.slice(1, START, at(1010), create()).await;
    let bad = world.part.name("snapshots/20200101T000000Z-00000000");
    world.store.put_new(&bad, Bytes::from_static(b"nonsense")).await.unwrap();
    for n in 0..3 {
        let (status, ended) = world.run_until(10, |s| s.taken == 1).await;
        ended.unwrap();
        assert_eq!(status.failure, None);
        world.slice(1, at(1010 + n * 10), at(1020 + n * 10), insert(n as i32)).await;
    }
    assert_eq!(world.snapshots().await, 4);
}

#[tokio::test]
async fn what_a_snapshot_shows_already_is_not_taken_again() {
    let world = World::new().await;
    world.slice(1, START, at(1010), create()).await;
    let (job, status) = world.job(every(10));
    let shutdown = CancellationToken::new();
    let hour = async {
        for _ in 0..3600 {
            world.clock.sleep(Duration::from_secs(1)).await;
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
    };
    let (ended, ()) = tokio::join!(job.run(&shutdown), hour);
    ended.unwrap();
    assert_eq!(status.borrow().taken, 1);
    assert_eq!(world.snapshots().await, 1);
}

#[tokio::test]
async fn once_is_done_when_it_returns_and_checks_no_listing_of_long_ago() {
    let world = World::new().await;
    for n in 0..3 {
        let secs = 1010 + n * 10;
        let prev = if n == 0 { START } else { at(secs - 10) };
        let entry = if n == 0 { create() } else { insert(n as i32) };
        world.slice(1, prev, at(secs), entry).await;
        let (job, _) = world.job(every(3600));
        assert_eq!(job.once().await.unwrap().at, at(secs));
    }
    assert_eq!(world.snapshots().await, 3);
}

#[tokio::test]
async fn keeping_respects_what_a_resync_ended() {
    let world = World::new().await;
    world.slice(1, START, at(1010), create()).await;
    for secs in [1020, 1030, 1040] {
        world.slice(1, at(secs - 10), at(secs), insert(secs as i32)).await;
        let (job, _) = world.job(every(3600));
        job.once().await.unwrap();
    }
    world.slice(1, at(1040), at(1045), insert(1)).await;
    world.history(2, at(1050), "resync").await;
    world.slice(2, at(1050), at(1060), create()).await;
    let (job, _) = world.job(every(3600));
    job.once().await.unwrap();
    world.clock.sleep(Duration::from_secs(600)).await;
    let expire = async |window_secs: u64| {
        let policy = Policy { keep_last: Some(1), keep_within_secs: None, window_secs };
        let World { ingest, key, part, .. } = &world;
        let parts = world.parts();
        keep(ingest, key, &parts, &policy, at(1060).ts, UnixMillis(0)).await.unwrap();
        let moments = part.manifests().await.unwrap().iter().map(|m| m.at.ts.secs()).collect();
        let old = world.store.list("jobs/job/rs0/oplog/00000001/", None).await.unwrap();
        (moments, old.len())
    };
    let (kept, slices): (Vec<u32>, usize) = expire(30).await;
    assert_eq!((kept, slices), (vec![1030, 1060], 2));
    let (kept, slices): (Vec<u32>, usize) = expire(5).await;
    assert_eq!((kept, slices), (vec![1060], 0));
}

/// Ten days of a snapshot every six hours: all of the last day, the first of each of three days, and what an operator
/// has pinned. What was there before there were tiers is given its time, not deleted.
#[tokio::test]
async fn tiers_keep_the_first_of_a_day_longer() {
    let world = World::new().await;
    let wall = || at(u32::try_from(world.clock.now().0 / 1000).unwrap());
    let mut prev = START;
    let take = async |options: &JobOptions, prev: OpTime, n: i32| {
        let next = wall();
        let entry = if n == 0 { create() } else { insert(n) };
        world.slice(1, prev, next, entry).await;
        let (_, ended) = world.run_with(options.clone(), |s| s.taken == 1).await;
        ended.unwrap();
        world.tidy(&options.terms).await;
        next
    };
    let mut plain = every(6 * 3600);
    plain.terms.policy =
        Policy { keep_last: None, keep_within_secs: Some(864_000), window_secs: 0 };
    for n in 0..8 {
        prev = take(&plain, prev, n).await;
    }
    assert_eq!(world.snapshots().await, 8);
    let first = world.part.snapshot_ids().await.unwrap().remove(0);
    let retention =
        Retention { base: Duration::from_secs(24 * 3600), days: 3, weeks: 0, months: 0, years: 0 };
    let mut tiers = plain;
    tiers.terms = Terms {
        schedule: Schedule { retention, ..tiers.terms.schedule },
        tiers: true,
        policy: Policy { keep_last: None, keep_within_secs: None, window_secs: 0 },
        announced: None,
    };
    prev = take(&tiers, prev, 8).await;
    let left = world.snapshots().await;
    assert!((5..9).contains(&left), "those of the last day, and the first of each day: {left}");
    world.part.set_keep(&first, &Keep { due: None, until: None }).await.unwrap();
    for n in 9..40 {
        prev = take(&tiers, prev, n).await;
    }
    let ids = world.part.snapshot_ids().await.unwrap();
    assert_eq!(ids[0], first, "kept for ever");
    let keeps = world.part.keeps().await.unwrap();
    assert_eq!(keeps.keys().collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    let end = u64::from(prev.ts.secs());
    assert!(keeps.values().all(|keep| keep.until.is_none_or(|until| until > end)));
    // Of the last day four or five, of the two days before it one each.
    assert!((7..=9).contains(&ids.len()), "{ids:?}");
    let days = keeps.values().filter(|keep| {
        keep.until.zip(keep.due).is_some_and(|(until, due)| until - due == 3 * 86_400)
    });
    assert_eq!(days.count(), 3, "{keeps:?}");
    // Stopped, with nothing coming any more: by the clock they go, all but the pinned one and the newest.
    world.clock.sleep(Duration::from_secs(9 * 86_400)).await;
    world.tidy(&tiers.terms).await;
    let left = world.part.snapshot_ids().await.unwrap();
    assert_eq!(left, [ids[0].clone(), ids.last().unwrap().clone()]);
}

/// What was asked for while somebody read is done as soon as nobody does.
#[tokio::test]
async fn a_reader_puts_expiry_off() {
    let world = World::new().await;
    world.slice(1, START, at(1010), create()).await;
    let (job, _) = world.job(every(3600));
    job.once().await.unwrap();
    world.slice(1, at(1010), at(1020), insert(1)).await;
    job.once().await.unwrap();
    let policy = Policy { keep_last: Some(1), keep_within_secs: None, window_secs: 0 };
    let terms = Terms { policy, ..Terms::default() };
    let held = bygone_groom::lease::hold(world.part.repository(), world.clock.clone(), "a test");
    let held = held.await.unwrap().unwrap();
    assert_eq!(world.tidy(&terms).await, Tidied::Held(vec!["a test".to_owned()]));
    assert_eq!(world.snapshots().await, 2);
    held.release().await;
    assert!(matches!(world.tidy(&terms).await, Tidied::Done(done) if done.expire.len() == 1));
    assert_eq!(world.snapshots().await, 1);
}

/// A schedule that changes while the job runs: nothing is taken before what was announced, and nothing begins anew.
#[tokio::test]
async fn another_schedule_is_taken_over_while_it_runs() {
    let world = World::new().await;
    world.slice(1, START, at(1010), create()).await;
    let day = every(86_400).terms;
    let (job, mut status) = world.job(JobOptions { terms: day.clone(), ..JobOptions::default() });
    let job = Arc::new(job);
    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    let (running, stop) = (job.clone(), shutdown.clone());
    tasks.spawn(async move { running.run(&stop).await });
    let first = status.wait_for(|s| s.next_snapshot.is_some()).await.unwrap().clone();
    let often = Terms::every(Duration::from_secs(120));
    let next = first.next_snapshot.unwrap();
    let announced = Next::announced(&day.schedule, &often.schedule, next, world.clock.now());
    assert_eq!(announced.unwrap().at.since(next), 120_000);
    let often = Terms { announced, ..often };
    job.set_terms(often.clone());
    let then = status.wait_for(|s| s.next_snapshot != Some(next)).await.unwrap().clone();
    assert_eq!(then.next_snapshot, announced.map(|next| next.at));
    assert_eq!((then.taken, then.phase), (1, JobPhase::Complete), "nothing at once");
    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    // After a restart too.
    world.slice(1, at(1010), at(1020), insert(1)).await;
    let options = JobOptions { terms: often, ..JobOptions::default() };
    let (_, ended) = world.run_with(options, |s| s.taken == 1).await;
    ended.unwrap();
    let late = world.clock.now().since(announced.unwrap().at);
    assert!((0..60_000).contains(&late), "{late} ms after its moment");
}

/// A job at work whose first snapshot is taken.
struct AtWork {
    job: Arc<Job>,
    status: watch::Receiver<JobStatus>,
    tasks: JoinSet<bygone_base::Result<()>>,
    shutdown: CancellationToken,
}

impl AtWork {
    async fn on(world: &World) -> AtWork {
        world.slice(1, START, at(1010), create()).await;
        let (job, status) = world.job(every(360_000));
        let (job, shutdown) = (Arc::new(job), CancellationToken::new());
        let (mut tasks, stop, run) = (JoinSet::new(), shutdown.clone(), job.clone());
        tasks.spawn(async move { run.run(&stop).await });
        let mut at_work = AtWork { job, status, tasks, shutdown };
        at_work.until(|s| s.taken == 1).await;
        at_work
    }

    async fn until(&mut self, wanted: impl FnMut(&JobStatus) -> bool) -> JobStatus {
        self.status.wait_for(wanted).await.unwrap().clone()
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        self.tasks.join_next().await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_that_was_asked_for_is_taken_once_whatever_fails_afterwards() {
    let world = World::new().await;
    let mut work = AtWork::on(&world).await;
    work.job.request_snapshot(1);
    for (prev, last) in [(1010, 1020), (1020, 1030)] {
        // What comes while the store is down is read by the try that follows.
        world.slice(1, at(prev), at(last), insert(last as i32)).await;
        world.faulty.set_plan(FaultPlan { before: 1000, ..FaultPlan::default() });
        work.until(|s| s.failure.is_some()).await;
        world.faulty.set_plan(FaultPlan::default());
        let well = |s: &JobStatus| s.phase == JobPhase::Complete && s.position == at(last);
        work.until(|s| well(s) && s.failure.is_none() && s.served == 1).await;
    }
    let later = world.clock.monotonic() + Duration::from_secs(30);
    while world.clock.monotonic() < later {
        tokio::task::yield_now().await;
    }
    work.stop().await;
    assert_eq!(world.snapshots().await, 2);
}

#[tokio::test]
async fn a_store_that_is_away_stops_nothing_for_longer_than_it_is_away() {
    let world = World::new().await;
    let mut work = AtWork::on(&world).await;
    world.faulty.set_plan(FaultPlan { before: 1000, ..FaultPlan::default() });
    work.until(|s| s.failure.is_some()).await;
    // Its disk is not mounted: nothing is found, the repository neither.
    world.faulty.set_plan(FaultPlan { absent: 1000, ..FaultPlan::default() });
    let says = |s: &JobStatus| s.failure.as_ref().is_some_and(|f| f.contains("no repository"));
    let away = work.until(says).await;
    assert_ne!(away.phase, JobPhase::Stopped);
    world.slice(1, at(1010), at(1020), insert(1)).await;
    world.faulty.set_plan(FaultPlan::default());
    let began = world.clock.monotonic();
    work.until(|s| s.failure.is_none() && s.position == at(1020)).await;
    let waited = world.clock.monotonic() - began;
    assert!(waited < Duration::from_secs(120), "{waited:?}");
    work.stop().await;
}
