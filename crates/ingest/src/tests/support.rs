//! A part, its clock, and slices of a made-up history.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bson::rawdoc;
use bygone_base::{Clock, OpTime, SeededRng, SystemClock, TimelineId, Ts, UnixMillis};
use bygone_blockstore::{MemoryStore, ObjectKind, Repository, Store};
use bygone_oplog::{
    chain::plan_read,
    filter::Filter,
    names::{self, SliceName},
    slice::{Slice, SliceBuilder},
    uplink::{Hello, PartKey, Session, SessionRef, TimelineReason, Uplink as _},
};
use bytes::Bytes;

use bygone_snapshot::Stores;

use crate::{Ingest, Options};

/// Time that passes only when told to.
#[derive(Debug, Default)]
pub(super) struct TestClock(AtomicU64);

impl TestClock {
    pub(super) fn pass(&self, secs: u64) {
        self.0.fetch_add(secs * 1000, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_700_000_000_000 + self.0.load(Ordering::SeqCst) as i64)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, duration: Duration) {
        self.0.fetch_add(duration.as_millis() as u64, Ordering::SeqCst);
    }
}

pub(super) struct World {
    pub(super) clock: Arc<TestClock>,
    pub(super) store: Arc<dyn Store>,
    /// Opened without faults, for looking at what is there.
    pub(super) repo: Repository,
    pub(super) key: PartKey,
}

impl World {
    pub(super) async fn new() -> World {
        let clock = Arc::new(TestClock::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::<TestClock>::clone(&clock)));
        let rng = Arc::new(SeededRng::new(5));
        let repo = Repository::create(Arc::clone(&store), None, rng, &*clock).await.unwrap();
        let key = PartKey { job: "job".parse().unwrap(), part: "rs0".parse().unwrap() };
        World { clock, store, repo, key }
    }

    /// A server process over the store.
    pub(super) fn ingest(&self) -> Arc<Ingest> {
        self.ingest_over(self.repo.clone(), 1)
    }

    /// A server process over another view of the store.
    pub(super) fn ingest_over(&self, repo: Repository, seed: u64) -> Arc<Ingest> {
        Arc::new(Ingest::new(
            Stores::one(repo),
            Arc::<TestClock>::clone(&self.clock),
            Arc::new(SeededRng::new(seed)),
            Options::default(),
        ))
    }

    pub(super) fn hello(&self, agent: &str) -> Hello {
        Hello {
            key: self.key.clone(),
            agent: agent.to_owned(),
            host: "host".to_owned(),
            server_version: "8.2.0".to_owned(),
            fcv: "8.2".to_owned(),
            filter: Filter::all(),
            identity: None,
            take_over: false,
        }
    }

    pub(super) async fn open(&self, ingest: &Ingest, agent: &str) -> Session {
        ingest.open(Hello { take_over: true, ..self.hello(agent) }).await.unwrap()
    }

    /// A session with a begun sync whose chain starts at `at(0)`.
    pub(super) async fn begun(&self, ingest: &Ingest, agent: &str) -> SessionRef {
        let session = self.open(ingest, agent).await;
        let mut s = self.session(&session);
        let (timeline, _) =
            ingest.begin_sync(&s, at(0), TimelineReason::InitialSync).await.unwrap();
        s.timeline = timeline;
        s
    }

    pub(super) fn session(&self, session: &Session) -> SessionRef {
        SessionRef { key: self.key.clone(), epoch: session.epoch, timeline: session.timeline }
    }

    /// The names of the slices of a timeline.
    pub(super) async fn slice_names(&self, timeline: TimelineId) -> Vec<SliceName> {
        let prefix = names::prefix(&self.key.job, &self.key.part, timeline);
        let stats = self.store.list(&prefix, None).await.unwrap();
        stats.iter().map(|s| SliceName::parse(&s.name).unwrap().2).collect()
    }

    /// All entries that a reader of the store gets from `from` on; panics on
    /// any gap, fork or damage.
    pub(super) async fn entries(
        &self,
        timeline: TimelineId,
        from: OpTime,
    ) -> Vec<(OpTime, Vec<u8>)> {
        let mut found = Vec::new();
        let mut reached = from;
        for name in plan_read(&self.slice_names(timeline).await, from).unwrap() {
            let object = name.object(&self.key.job, &self.key.part);
            let bytes = self.repo.get_object(ObjectKind::Slice, &object).await.unwrap();
            let slice = Slice::parse(bytes).unwrap().decode().unwrap();
            if slice.header().last <= reached {
                continue;
            }
            for (position, entry) in slice.entries_after(reached).unwrap() {
                found.push((position, entry.to_vec()));
            }
            reached = slice.header().last;
        }
        found
    }
}

/// The n-th position of the made-up history.
pub(super) fn at(n: u32) -> OpTime {
    OpTime::new(Ts::new(1000 + n, 1), 1)
}

pub(super) fn entry(position: OpTime, salt: i32) -> Vec<u8> {
    let ts = bson::Timestamp { time: position.ts.secs(), increment: position.ts.inc() };
    rawdoc! { "op": "n", "ns": "", "o": { "x": salt }, "ts": ts, "t": position.term, "v": 2_i64 }
        .into_bytes()
}

/// The entries after `from`, up to and including `to`.
pub(super) fn slice(from: u32, to: u32) -> Bytes {
    salted(from, to, 0)
}

/// The same positions with other content.
pub(super) fn salted(from: u32, to: u32, salt: i32) -> Bytes {
    let mut builder = SliceBuilder::new(at(from));
    for n in from + 1..=to {
        builder.push(&entry(at(n), salt), at(n)).unwrap();
    }
    builder.finish(1).unwrap()
}

pub(super) fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}
