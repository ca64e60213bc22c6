//! A part with one collection, filled through slices and a head.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bson::{Binary, RawDocumentBuf, Timestamp, rawdoc, spec::BinarySubtype};
use bygone_base::{
    Clock, CollectionId, Error, ErrorKind, OpTime, Result, Rng, SeededRng, SnapshotId, SyncId,
    TimelineId, Ts, UnixMillis, When,
};
use bygone_blockstore::{MemoryStore, ObjectKind, ObjectStat, Put, Repository, Store};
use bygone_groom::{GroomOptions, Groomed, groom};
use bygone_head::{Head, HeadOptions, View, ViewOptions};
use bygone_oplog::{
    filter::Filter,
    names::SliceName,
    slice::SliceBuilder,
    uplink::{Source, SyncPlan},
};
use bygone_snapshot::{
    Manifest, PartStore, Timeline,
    sync::{SyncEndRecord, end_name, plan_name},
};
use bygone_tree::KeyRange;
use bytes::Bytes;

/// Milliseconds that grooms wait.
pub(crate) const DELAY: i64 = 1_000_000;
const COLL: CollectionId = CollectionId([1; 16]);
const START: OpTime = OpTime { ts: Ts((1_000 << 32) + 1), term: 1 };

#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Relaxed);
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_795_150_800_000 + self.0.load(Relaxed))
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    async fn sleep(&self, _: Duration) {
        std::future::pending().await
    }
}

/// Documents by `_id`.
pub(crate) type Docs = BTreeMap<i32, RawDocumentBuf>;

pub(crate) struct Site {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: MemoryStore,
    pub(crate) part: PartStore,
    rng: SeededRng,
    head: Head,
    last: OpTime,
    pub(crate) docs: Docs,
    /// What every snapshot must hold, as long as it is there.
    pub(crate) truth: BTreeMap<SnapshotId, Docs>,
}

impl Site {
    pub(crate) async fn new(seed: u64) -> Site {
        let clock = Arc::new(TestClock::default());
        let store = MemoryStore::new(clock.clone());
        let rng = Arc::new(SeededRng::new(seed));
        let repo = Repository::create(Arc::new(store.clone()), None, rng, clock.as_ref()).await;
        let part = PartStore::new(repo.unwrap(), "job".parse().unwrap(), "rs0".parse().unwrap());
        begin(&part, 1, START).await;
        let options = HeadOptions { level: 1, ..HeadOptions::default() };
        let head = Head::open(part.clone(), part.clone(), options).await.unwrap().unwrap();
        let (docs, truth) = (Docs::new(), BTreeMap::new());
        let rng = SeededRng::new(seed + 1);
        let mut site = Site { clock, store, part, rng, head, last: START, docs, truth };
        site.entries(vec![rawdoc! { "op": "c", "ns": "d.$cmd", "o": { "create": "c" } }]).await;
        site
    }

    pub(crate) fn roll(&self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    async fn entries(&mut self, entries: Vec<RawDocumentBuf>) {
        let prev = self.last;
        let mut builder = SliceBuilder::new(prev);
        for mut entry in entries {
            let at = OpTime::new(Ts::new(self.last.ts.secs() + 1, 1), 1);
            let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: COLL.0.to_vec() };
            entry.append(bson::cstr!("ui"), uuid);
            entry.append(bson::cstr!("ts"), Timestamp { time: at.ts.secs(), increment: 1 });
            entry.append(bson::cstr!("t"), 1_i64);
            entry.append(bson::cstr!("v"), 2_i64);
            builder.push(entry.as_bytes(), at).unwrap();
            self.last = at;
        }
        let name = SliceName { timeline: self.head.timeline(), prev, last: None };
        let object = name.object(self.part.job(), self.part.part());
        let slice = builder.finish(1).unwrap();
        self.part.repository().put_object(ObjectKind::Slice, &object, &slice).await.unwrap();
    }

    /// Writes documents of 3 KB that do not compress, and stores the slice.
    pub(crate) async fn write(&mut self, ids: impl IntoIterator<Item = i32>) {
        let mut entries = Vec::new();
        for id in ids {
            let mut bytes = vec![0; 3_000];
            self.rng.fill(&mut bytes);
            let payload = Binary { subtype: BinarySubtype::Generic, bytes };
            let doc = rawdoc! { "_id": id, "x": payload };
            let known = self.docs.insert(id, doc.clone()).is_some();
            entries.push(match known {
                true => rawdoc! { "op": "u", "ns": "d.c", "o": doc, "o2": { "_id": id } },
                false => rawdoc! { "op": "i", "ns": "d.c", "o": doc },
            });
        }
        self.entries(entries).await;
    }

    pub(crate) async fn snapshot(&mut self) -> Manifest {
        self.head.catch_up().await.unwrap();
        let manifest = self.head.snapshot(self.clock.now()).await.unwrap();
        self.truth.insert(manifest.id.clone(), self.docs.clone());
        manifest
    }

    /// A new history begins so many seconds later, in which there is nothing yet.
    pub(crate) async fn resync(&mut self, later: u32) {
        let id = self.head.timeline().0 + 1;
        self.last = OpTime::new(Ts::new(self.last.ts.secs() + later, 1), 1);
        begin(&self.part, id, self.last).await;
        let options = HeadOptions { level: 1, ..HeadOptions::default() };
        let opened = Head::open(self.part.clone(), self.part.clone(), options).await;
        self.head = opened.unwrap().unwrap();
        self.docs.clear();
        self.entries(vec![rawdoc! { "op": "c", "ns": "d.$cmd", "o": { "create": "c" } }]).await;
    }

    pub(crate) async fn expire(&mut self, id: &SnapshotId) {
        self.part.expire(id).await.unwrap();
        self.truth.remove(id);
    }

    pub(crate) async fn groom(&self) -> Groomed {
        self.groom_over(self.part.repository()).await.unwrap()
    }

    pub(crate) async fn dry_run(&self, repo: &Repository) -> Groomed {
        let options = GroomOptions { delay_ms: DELAY, dry_run: Some(self.clock.now()) };
        groom(repo, self.head.unpublished(), options).await.unwrap()
    }

    pub(crate) async fn groom_over(&self, repo: &Repository) -> Result<Groomed> {
        let options = GroomOptions { delay_ms: DELAY, dry_run: None };
        groom(repo, self.head.unpublished(), options).await
    }

    pub(crate) async fn over(&self, store: Arc<dyn Store>) -> Repository {
        Repository::open(store, None, Arc::new(SeededRng::new(self.roll(u64::MAX)))).await.unwrap()
    }

    pub(crate) async fn view(&self, id: &SnapshotId) -> View {
        let (when, options) = (When::Snapshot(id.clone()), ViewOptions::default());
        View::open(&self.part, &self.part, &when, options, self.clock.clone()).await.unwrap()
    }

    /// Every snapshot holds what it held when it was taken.
    pub(crate) async fn check(&self) {
        for (id, docs) in &self.truth {
            assert_eq!(&read(&self.view(id).await).await, docs, "{id}");
        }
    }

    pub(crate) async fn names(&self, prefix: &str) -> Vec<String> {
        let objects = self.store.list(prefix, None).await.unwrap();
        objects.into_iter().map(|o| o.name).collect()
    }

    /// The same with a store of its own, whose objects are as old as this moment.
    pub(crate) async fn copy(&self) -> Site {
        let store = MemoryStore::new(self.clock.clone());
        for name in self.names("").await {
            store.put_new(&name, self.store.get(&name).await.unwrap()).await.unwrap();
        }
        let repo = self.over(Arc::new(store.clone())).await;
        let part = PartStore::new(repo, self.part.job().clone(), self.part.part().clone());
        let options = HeadOptions { level: 1, ..HeadOptions::default() };
        let head = Head::open(part.clone(), part.clone(), options).await.unwrap().unwrap();
        let (docs, truth) = (self.docs.clone(), self.truth.clone());
        let (clock, rng, last) =
            (self.clock.clone(), SeededRng::new(self.roll(1 << 40)), self.last);
        Site { clock, store, part, rng, head, last, docs, truth }
    }
}

/// A timeline whose initial sync found nothing, from `start` on.
async fn begin(part: &PartStore, id: u32, start: OpTime) {
    let sync = SyncId([u8::try_from(id).unwrap(); 8]);
    let timeline = Timeline {
        id: TimelineId(id),
        start,
        parent: (id > 1).then(|| (TimelineId(id - 1), start)),
        reason: "resync".into(),
        sync: Some(sync),
        created: UnixMillis(0),
    };
    let source =
        Source { set: "rs0".into(), version: "8.2.0".into(), fcv: "8.2".into(), identity: None };
    let (collections, views, filter) = (Vec::new(), Vec::new(), Filter::all());
    let plan = SyncPlan { sync, start, settled: start.ts, collections, views, filter, source };
    let end = SyncEndRecord { end: start, listed: Vec::new() };
    let objects = [
        (ObjectKind::Timeline, format!("timelines/{id:08}"), timeline.to_bson()),
        (ObjectKind::Sync, plan_name(sync), plan.to_bson().as_bytes().to_vec()),
        (ObjectKind::Sync, end_name(sync), end.to_bson()),
    ];
    for (kind, name, plain) in objects {
        part.repository().put_object(kind, &part.name(&name), &plain).await.unwrap();
    }
}

pub(crate) async fn read(view: &View) -> Docs {
    let mut docs = Docs::new();
    for id in view.catalogue.collections.keys() {
        let mut merge = view.merge(*id, KeyRange::all()).await.unwrap();
        while let Some(piece) = merge.next().await.unwrap() {
            for doc in piece.docs() {
                let doc = RawDocumentBuf::from_bytes(doc.to_vec()).unwrap();
                docs.insert(doc.get_i32("_id").unwrap(), doc);
            }
        }
    }
    docs
}

/// A store whose calls give way to other tasks, and fail for ever from a certain one on.
#[derive(Debug)]
pub(crate) struct Rough {
    inner: MemoryStore,
    left: AtomicU64,
    rng: SeededRng,
}

impl Rough {
    pub(crate) fn new(inner: MemoryStore, calls: u64, seed: u64) -> Arc<Rough> {
        Arc::new(Rough { inner, left: AtomicU64::new(calls), rng: SeededRng::new(seed) })
    }

    /// Every call after so many from now on fails.
    pub(crate) fn die_after(&self, calls: u64) {
        self.left.store(calls, Relaxed);
    }

    /// Whether every call fails now.
    pub(crate) fn died(&self) -> bool {
        self.left.load(Relaxed) == 0
    }

    async fn call(&self) -> Result<()> {
        for _ in 0..self.rng.next_u64() % 4 {
            tokio::task::yield_now().await;
        }
        let left = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "cut off")),
        }
    }
}

#[async_trait]
impl Store for Rough {
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put> {
        self.call().await?;
        self.inner.put_new(name, body).await
    }
    async fn get(&self, name: &str) -> Result<Bytes> {
        self.call().await?;
        self.inner.get(name).await
    }
    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.call().await?;
        self.inner.get_range(name, range).await
    }
    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        self.call().await?;
        self.inner.get_tail(name, max).await
    }
    async fn stat(&self, name: &str) -> Result<ObjectStat> {
        self.call().await?;
        self.inner.stat(name).await
    }
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        self.call().await?;
        self.inner.list(prefix, after).await
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.call().await?;
        self.inner.delete(name).await
    }
    fn location(&self) -> String {
        self.inner.location()
    }
}
