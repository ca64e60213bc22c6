//! Timelines, slices and ranges against a model: random appends, forks, compactions and holes.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::{Timestamp, rawdoc};
use bygone_base::{Clock, ErrorKind, OpTime, SeededRng, SyncId, TimelineId, Ts, UnixMillis};
use bygone_blockstore::{MemoryStore, ObjectKind, Repository};
use bygone_oplog::{
    names::SliceName,
    slice::{DecodedSlice, Slice, SliceBuilder, merge},
};
use bygone_snapshot::{
    Catalogue, Collection, PartStore, Timeline, TreeInfo, ViewDef, catalogue, histories,
    oplog::{OplogWalk, covered},
    ranges::{reach, restorable, segments},
    timeline::{includes, lineage},
};
use proptest::prelude::*;

#[derive(Debug)]
struct Standing;

#[async_trait]
impl Clock for Standing {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_795_150_800_000)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    async fn sleep(&self, _: Duration) {}
}

async fn repository() -> Repository {
    let store = Arc::new(MemoryStore::new(Arc::new(Standing)));
    Repository::create(store, None, Arc::new(SeededRng::new(1)), &Standing).await.unwrap()
}

fn noop(at: OpTime) -> Vec<u8> {
    let ts = Timestamp { time: at.ts.secs(), increment: at.ts.inc() };
    rawdoc! { "op": "n", "ns": "", "o": {}, "ts": ts, "t": at.term, "v": 2_i64 }.into_bytes()
}

/// A part whose oplog is known.
struct World {
    part: PartStore,
    timelines: Vec<Timeline>,
    /// What every timeline's history holds, forks considered.
    truth: Vec<Vec<OpTime>>,
    /// The slices of each timeline.
    slices: Vec<Vec<DecodedSlice>>,
    term: i64,
}

impl World {
    async fn new() -> World {
        let repo = repository().await;
        let part = PartStore::new(repo, "job".parse().unwrap(), "rs0".parse().unwrap());
        let start = OpTime::new(Ts::new(100, 1), 1);
        let root = Timeline {
            id: TimelineId(1),
            start,
            parent: None,
            reason: "initial sync".into(),
            sync: Some(SyncId([1; 8])),
            created: UnixMillis(0),
        };
        World {
            part,
            timelines: vec![root],
            truth: vec![vec![start]],
            slices: vec![Vec::new()],
            term: 1,
        }
    }

    fn newest(&self) -> TimelineId {
        self.timelines.last().unwrap().id
    }

    fn end(&self) -> OpTime {
        *self.truth.last().unwrap().last().unwrap()
    }

    async fn append(&mut self, entries: u32) {
        let prev = self.end();
        let mut builder = SliceBuilder::new(prev);
        for n in 1..=entries {
            let at = OpTime::new(Ts::new(prev.ts.secs() + n, n), self.term);
            builder.push(&noop(at), at).unwrap();
            self.truth.last_mut().unwrap().push(at);
        }
        let name = SliceName { timeline: self.newest(), prev, last: None };
        let bytes = builder.finish(1).unwrap();
        self.put(name, &bytes).await;
        self.slices.last_mut().unwrap().push(Slice::parse(bytes).unwrap().decode().unwrap());
    }

    fn object(&self, name: SliceName) -> String {
        name.object(self.part.job(), self.part.part())
    }

    async fn put(&self, name: SliceName, bytes: &[u8]) {
        let object = self.object(name);
        self.part.repository().put_object(ObjectKind::Slice, &object, bytes).await.unwrap();
    }

    async fn delete(&self, name: SliceName) {
        self.part.repository().store().delete(&self.object(name)).await.unwrap();
    }

    fn fork(&mut self, back: usize) {
        let history = self.truth.last().unwrap();
        let keep = history.len().saturating_sub(back).max(1);
        let history = history[..keep].to_vec();
        let common = *history.last().unwrap();
        self.term += 1;
        self.timelines.push(Timeline {
            id: TimelineId(self.newest().0 + 1),
            start: common,
            parent: Some((self.newest(), common)),
            reason: "rollback".into(),
            sync: None,
            created: UnixMillis(0),
        });
        self.truth.push(history);
        self.slices.push(Vec::new());
    }

    /// Merges two neighbouring slices; `clean` deletes the small ones.
    async fn compact(&mut self, at: usize, clean: bool) {
        let timeline = self.newest();
        let slices = self.slices.last().unwrap();
        let Some(two) = slices.get(at..at + 2) else { return };
        let bytes = merge(two, 1).unwrap();
        let (first, last) = (two[0].header().prev, two[1].header().last.ts);
        self.put(SliceName { timeline, prev: first, last: Some(last) }, &bytes).await;
        if clean {
            for slice in two {
                let prev = slice.header().prev;
                self.delete(SliceName { timeline, prev, last: None }).await;
            }
        }
    }

    async fn walk(&self, timeline: TimelineId, from: OpTime) -> bygone_base::Result<Vec<OpTime>> {
        let history = lineage(&self.timelines, timeline);
        let mut walk = OplogWalk::new(self.part.clone(), &history, from)?;
        let mut seen = Vec::new();
        while let Some(portion) = walk.next().await? {
            seen.extend(portion.entries()?.map(|(at, _)| at));
        }
        Ok(seen)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(u32),
    Fork(usize),
    Compact(usize, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u32..5).prop_map(Step::Append),
        2 => (0usize..9).prop_map(Step::Fork),
        1 => (0usize..4, any::<bool>()).prop_map(|(at, clean)| Step::Compact(at, clean)),
    ];
    prop::collection::vec(step, 1..20)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_timeline_reads_as_its_history(steps in steps()) {
        block_on(async {
            let mut world = World::new().await;
            for step in steps {
                match step {
                    Step::Append(n) => world.append(n).await,
                    Step::Fork(back) => world.fork(back),
                    Step::Compact(at, clean) => world.compact(at, clean).await,
                }
            }
            for (timeline, truth) in world.timelines.iter().zip(&world.truth) {
                let history = lineage(&world.timelines, timeline.id);
                for from in truth {
                    let seen = world.walk(timeline.id, *from).await.unwrap();
                    let want: Vec<OpTime> = truth.iter().filter(|at| *at > from).copied().collect();
                    assert_eq!(seen, want, "timeline {} from {from}", timeline.id);
                }
                let covered = covered(&world.part, &history).await.unwrap();
                let segments = segments(&history, &covered);
                assert!(segments.len() <= 1, "{segments:?}");
                let end = truth.last().unwrap().ts;
                for at in truth {
                    let whole = segments.is_empty() || reach(&segments, *at, *at) == end;
                    assert!(whole, "{at} reaches only {:?}", reach(&segments, *at, *at));
                }
            }
            assert_eq!(histories(&world.timelines).len(), 1);
        });
    }

    #[test]
    fn what_a_history_includes_is_what_it_holds(steps in steps()) {
        block_on(async {
            let mut world = World::new().await;
            // The moments that a snapshot was taken of, and when.
            let mut taken: Vec<(TimelineId, OpTime)> = Vec::new();
            for step in steps {
                match step {
                    Step::Append(n) => {
                        world.append(n).await;
                        taken.push((world.newest(), world.end()));
                    }
                    Step::Fork(back) => world.fork(back),
                    Step::Compact(..) => {}
                }
            }
            let history = lineage(&world.timelines, world.newest());
            for (timeline, at) in taken {
                let held = world.truth.last().unwrap().contains(&at);
                assert_eq!(includes(&history, timeline, at), held, "{timeline} {at}");
            }
        });
    }
}

#[tokio::test]
async fn a_hole_is_never_the_end() {
    let mut world = World::new().await;
    let mut prevs = Vec::new();
    for _ in 0..4 {
        prevs.push(world.end());
        world.append(3).await;
    }
    let timeline = world.newest();
    for gone in 0..3 {
        let name = SliceName { timeline, prev: prevs[gone], last: None };
        let bytes = world.slices[0][gone].clone();
        world.delete(name).await;
        let error = world.walk(timeline, prevs[0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{gone}");
        assert!(error.to_string().contains("hole"), "{error}");
        let again = SliceBuilder::new(bytes.header().prev);
        let builder = bytes.entries().fold(again, |mut builder, (at, entry)| {
            builder.push(entry, at).unwrap();
            builder
        });
        world.put(name, &builder.finish(1).unwrap()).await;
    }
    assert_eq!(world.walk(timeline, prevs[0]).await.unwrap().len(), 12);
    assert_eq!(world.walk(timeline, world.end()).await.unwrap(), []);
}

#[test]
fn a_snapshot_beyond_a_hole_still_restores_itself() {
    let at = |s| OpTime::new(Ts::new(s, 0), 1);
    let segments = [(at(10), at(30))];
    assert_eq!(reach(&segments, at(40), at(40)), at(40).ts);
    assert_eq!(restorable(&segments, &[(at(20), at(5))], &[])[0].to, at(20).ts);
}

#[tokio::test]
async fn a_catalogue_reads_back_and_shares_what_is_equal() {
    use bygone_blockstore::{BlockReader, BlockWriter, WriterOptions};
    let repo = repository().await;
    let reader = BlockReader::new(repo.clone(), 1 << 20);
    let mut all = Catalogue::default();
    for n in 0..400_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let id = bygone_base::CollectionId(id);
        let collection = Collection {
            id,
            db: format!("d{}", n % 3),
            name: format!("c.{n}"),
            options: rawdoc! { "capped": n % 2 == 0, "size": 4096 },
            indexes: vec![rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
            tree: TreeInfo::of(None, u64::MAX - u64::from(n), Ts::new(n, 1), Ts::new(n, 2)),
            truncated: (n % 5 == 0).then_some(Ts::new(n, 3)),
        };
        all.collections.insert(id, collection);
    }
    let doc = rawdoc! { "_id": "d0.v", "viewOn": "c.1", "pipeline": [] };
    all.views.insert("d0.v".into(), ViewDef { db: "d0".into(), name: "v".into(), doc });
    let save = async |all: &Catalogue, old: Option<(bygone_blockstore::BlockRef, u8)>| {
        let writer = Arc::new(BlockWriter::new(repo.clone(), WriterOptions::default()));
        let old = old.map(|root| catalogue::tree(&reader, root));
        let root = catalogue::save(all, Ts::new(1, 1), old.as_ref(), &writer).await.unwrap();
        let stats = writer.flush().await.unwrap();
        (root.map(|root| (root.block, root.level)), stats.new_blocks)
    };
    let (first, blocks) = save(&all, None).await;
    assert_eq!(catalogue::load(&reader, first).await.unwrap(), all);
    let (same, none) = save(&all, first).await;
    assert_eq!((same, none), (first, 0));
    let id = *all.collections.keys().next().unwrap();
    all.collections.remove(&id);
    let (next, few) = save(&all, first).await;
    assert!(few < blocks, "{few} of {blocks}");
    assert_eq!(catalogue::load(&reader, next).await.unwrap(), all);
    let (nothing, _) = save(&Catalogue::default(), next).await;
    assert_eq!(nothing, None);
    assert_eq!(catalogue::load(&reader, None).await.unwrap(), Catalogue::default());
}
