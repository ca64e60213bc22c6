//! A part in a store in memory, written as ingest writes it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bson::RawDocumentBuf;
use bygone_base::{
    Clock, CollectionId, Error, OpTime, Result, Rng, SeededRng, SyncId, TimelineId, Ts, UnixMillis,
    When,
};
use bygone_blockstore::{MemoryStore, ObjectKind, Repository, Store};
use bygone_head::{Head, HeadOptions, View, ViewOptions};
use bygone_oplog::{
    filter::Filter,
    names::SliceName,
    slice::SliceBuilder,
    uplink::{Source as PlanSource, SyncPlan},
};
use bygone_snapshot::{
    PartStore, Timeline,
    sync::{SyncEndRecord, end_name, plan_name},
};
use bygone_tree::KeyRange;

#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicI64);

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_795_150_800_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    async fn sleep(&self, _: Duration) {}
}

/// Documents by `_id`, by namespace.
pub(crate) type State = BTreeMap<String, BTreeMap<i32, RawDocumentBuf>>;

pub(crate) struct World {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: MemoryStore,
    pub(crate) part: PartStore,
    pub(crate) timelines: Vec<Timeline>,
}

pub(crate) const START: OpTime = OpTime { ts: Ts((1_000 << 32) + 1), term: 1 };

impl World {
    /// With an initial sync of nothing that ended where it started.
    pub(crate) async fn new(seed: u64, fcv: &str) -> World {
        let clock = Arc::new(TestClock::default());
        let store = MemoryStore::new(clock.clone());
        let repo = repository(Arc::new(store.clone()), clock.as_ref(), seed).await;
        let part = PartStore::new(repo, "job".parse().unwrap(), "rs0".parse().unwrap());
        let mut world = World { clock, store, part, timelines: Vec::new() };
        world.sync(START, fcv).await;
        world
    }

    /// A repository of the same store over another one that may fail.
    pub(crate) async fn over(&self, store: Arc<dyn Store>) -> PartStore {
        let rng = Arc::new(SeededRng::new(99));
        let repo = Repository::open(store, None, rng).await.unwrap();
        PartStore::new(repo, self.part.job().clone(), self.part.part().clone())
    }

    /// Begins a new history by a sync of nothing.
    pub(crate) async fn sync(&mut self, start: OpTime, fcv: &str) {
        let id = TimelineId(self.timelines.len() as u32 + 1);
        let sync = SyncId([id.0 as u8; 8]);
        let parent = self.timelines.last().map(|t| (t.id, start));
        self.timeline(Timeline {
            id,
            start,
            parent,
            reason: "initial sync".into(),
            sync: Some(sync),
            created: self.clock.now(),
        })
        .await;
        let source = PlanSource {
            set: "rs0".into(),
            version: format!("{fcv}.0"),
            fcv: fcv.into(),
            identity: None,
        };
        let (collections, views, filter) = (Vec::new(), Vec::new(), Filter::all());
        let plan = SyncPlan { sync, start, settled: start.ts, collections, views, filter, source };
        self.put(ObjectKind::Sync, &plan_name(sync), plan.to_bson().as_bytes()).await;
        let end = SyncEndRecord { end: start, listed: Vec::new() };
        self.put(ObjectKind::Sync, &end_name(sync), &end.to_bson()).await;
    }

    pub(crate) async fn fork(&mut self, common: OpTime) {
        let newest = self.newest();
        self.timeline(Timeline {
            id: TimelineId(newest.0 + 1),
            start: common,
            parent: Some((newest, common)),
            reason: "rollback".into(),
            sync: None,
            created: self.clock.now(),
        })
        .await;
    }

    async fn timeline(&mut self, timeline: Timeline) {
        let name = format!("timelines/{}", timeline.id);
        self.put(ObjectKind::Timeline, &name, &timeline.to_bson()).await;
        self.timelines.push(timeline);
    }

    pub(crate) fn newest(&self) -> TimelineId {
        self.timelines.last().unwrap().id
    }

    async fn put(&self, kind: ObjectKind, name: &str, plain: &[u8]) {
        self.part.repository().put_object(kind, &self.part.name(name), plain).await.unwrap();
    }

    /// Stores a slice after `prev`.
    pub(crate) async fn slice(&self, prev: OpTime, entries: &[(OpTime, Vec<u8>)]) {
        let mut builder = SliceBuilder::new(prev);
        for (at, entry) in entries {
            builder.push(entry, *at).unwrap();
        }
        let name = SliceName { timeline: self.newest(), prev, last: None };
        let object = name.object(self.part.job(), self.part.part());
        let bytes = builder.finish(1).unwrap();
        self.part.repository().put_object(ObjectKind::Slice, &object, &bytes).await.unwrap();
    }

    /// A head that has read everything stored.
    pub(crate) async fn head(&self, memory: usize) -> Head {
        open(&self.part, memory).await.unwrap()
    }

    pub(crate) async fn snapshot(&self, head: &mut Head) -> Result<bygone_snapshot::Manifest> {
        head.snapshot(self.clock.now()).await
    }

    pub(crate) async fn view(&self, when: When) -> Result<View> {
        let options = ViewOptions { memory: 4_000, ..ViewOptions::default() };
        View::open(&self.part, &self.part, &when, options, self.clock.clone()).await
    }

    pub(crate) async fn state(&self, when: When) -> Result<State> {
        state_of(&self.view(when).await?).await
    }
}

pub(crate) async fn open(part: &PartStore, memory: usize) -> Result<Head> {
    let options = HeadOptions { memory, level: 1, ..HeadOptions::default() };
    let head = Head::open(part.clone(), part.clone(), options).await?;
    let mut head = head.ok_or_else(|| Error::internal("there is no head"))?;
    head.catch_up().await?;
    Ok(head)
}

pub(crate) async fn repository(store: Arc<dyn Store>, clock: &dyn Clock, seed: u64) -> Repository {
    Repository::create(store, None, Arc::new(SeededRng::new(seed)), clock).await.unwrap()
}

/// Every document of a view.
pub(crate) async fn state_of(view: &View) -> Result<State> {
    let mut state = State::new();
    for (id, collection) in &view.catalogue.collections {
        let documents = state.entry(collection.namespace()).or_default();
        for doc in documents_of(view, *id).await? {
            let key = doc.get_i32("_id").unwrap();
            assert!(documents.insert(key, doc).is_none(), "_id {key} twice");
        }
    }
    Ok(state)
}

pub(crate) async fn documents_of(view: &View, id: CollectionId) -> Result<Vec<RawDocumentBuf>> {
    let mut merge = view.merge(id, KeyRange::all()).await?;
    let mut documents = Vec::new();
    while let Some(piece) = merge.next().await? {
        for doc in piece.docs() {
            documents.push(RawDocumentBuf::from_bytes(doc.to_vec()).unwrap());
        }
    }
    Ok(documents)
}

/// Choices by a seed.
pub(crate) struct Dice(SeededRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(SeededRng::new(seed))
    }

    /// Below `n`.
    pub(crate) fn roll(&self, n: u64) -> u64 {
        self.0.next_u64() % n.max(1)
    }

    pub(crate) fn one_in(&self, n: u64) -> bool {
        self.roll(n) == 0
    }
}
