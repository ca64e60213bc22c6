//! The initial sync.

use bson::{RawDocumentBuf, rawdoc};
use bygone_base::{CollectionId, ErrorKind, OpTime, SyncId, Ts};
use bygone_blockstore::BlockReader;
use bygone_document::key::id_key;
use bygone_oplog::{
    filter::Filter,
    uplink::{
        Ack, CollectionPlan, PartState, SessionRef, Source, SyncBlock, SyncEnd, SyncPlan,
        SyncSlice, Uplink,
    },
};
use bygone_snapshot::{PartStore, Timeline, sync::SliceKey, sync::SyncSliceRecord};
use bygone_tree::{LeafBuilder, OpKind, Position, RunOp, run::RunLeafBuilder};
use bytes::Bytes;

use super::support::{World, at, slice};
use crate::{Ingest, files::Files};

const COLL: CollectionId = CollectionId([7; 16]);
/// Of the set that the plans are of.
pub(super) const IDENTITY: CollectionId = CollectionId([8; 16]);

fn doc(id: i32) -> RawDocumentBuf {
    rawdoc! { "_id": id, "text": "x".repeat(50) }
}

fn key(id: i32) -> Vec<u8> {
    id_key(rawdoc! { "_id": id }.as_bytes()).unwrap()
}

/// A leaf of these documents.
fn leaf(ids: &[i32]) -> SyncBlock {
    let mut builder = LeafBuilder::new(false);
    for id in ids {
        builder.push(doc(*id).as_bytes(), Position::default());
    }
    block(builder.finish(), ids.len(), key(ids[0]))
}

/// A run of these documents, in ascending order.
fn run(ids: &[i32]) -> SyncBlock {
    let mut builder = RunLeafBuilder::new();
    for id in ids {
        let (key, doc) = (key(*id), doc(*id));
        let (kind, value) = (OpKind::Scan, doc.as_bytes());
        builder.push(&RunOp { coll: COLL, key: &key, ts: at(0).ts, n: 0, kind, value });
    }
    block(builder.finish(), ids.len(), [&COLL.0[..], &key(ids[0])].concat())
}

fn block(raw: Vec<u8>, items: usize, first_key: Vec<u8>) -> SyncBlock {
    SyncBlock {
        raw_len: raw.len() as u32,
        items: items as u32,
        first_key,
        zstd: zstd::bulk::compress(&raw, 1).unwrap().into(),
    }
}

/// One collection with the split point 100.
fn plan(sync: SyncId) -> SyncPlan {
    SyncPlan {
        sync,
        start: at(0),
        settled: at(0).ts,
        collections: vec![CollectionPlan {
            coll: COLL,
            db: "db".to_owned(),
            name: "c".to_owned(),
            options: rawdoc! {},
            indexes: vec![rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
            natural: false,
            cut: 1 << 40,
            docs: 10,
            bytes: 1000,
            ranges: vec![key(100)],
            bounds: vec![rawdoc! { "_id": 100 }],
        }],
        views: vec![],
        filter: Filter::all(),
        source: Source { identity: Some(IDENTITY), ..Source::default() },
    }
}

fn part_of(sync: SyncId, range: u32, seq: u32, ids: &[i32]) -> SyncSlice {
    SyncSlice {
        sync,
        coll: COLL,
        range,
        seq,
        runs: false,
        valid_from: at(2).ts,
        resume: ids.last().map(|id| rawdoc! { "_id": *id }.into_bytes()),
        done: false,
        gone: false,
        blocks: if ids.is_empty() { vec![] } else { vec![leaf(ids)] },
    }
}

async fn sync_id(w: &World, ingest: &Ingest) -> SyncId {
    match w.open(ingest, "probe").await.state {
        PartState::Syncing { sync, .. } => sync,
        other => panic!("{other:?}"),
    }
}

/// Ends the running sync with a plan of no collections.
pub(super) async fn complete(ingest: &Ingest, s: &SessionRef, end: OpTime) {
    let part = ingest.part(&s.key);
    let timelines = part.files.timelines().await.unwrap();
    let sync = timelines.last().and_then(|t: &Timeline| t.sync).unwrap();
    let plan = SyncPlan { collections: vec![], ..plan(sync) };
    ingest.plan_sync(s, plan).await.unwrap();
    ingest.end_sync(s, SyncEnd { sync, end, listed: vec![] }).await.unwrap();
}

struct Sync {
    w: World,
    ingest: std::sync::Arc<Ingest>,
    s: SessionRef,
    id: SyncId,
}

async fn planned() -> Sync {
    let w = World::new().await;
    let ingest = w.ingest();
    let mut s = w.begun(&ingest, "a").await;
    let id = sync_id(&w, &ingest).await;
    s.epoch.0 += 1;
    ingest.plan_sync(&s, plan(id)).await.unwrap();
    Sync { w, ingest, s, id }
}

impl Sync {
    async fn send(&self, slice: SyncSlice) -> bygone_base::Result<Ack> {
        self.ingest.sync_slice(&self.s, slice).await
    }

    async fn record(&self, range: u32, seq: u32) -> SyncSliceRecord {
        let files = Files::new(&bygone_snapshot::Stores::one(self.w.repo.clone()), &self.w.key);
        files.sync_record(self.id, SliceKey { coll: COLL, range, seq }).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_sync_is_stored_and_resumed_and_ends() {
    let t = planned().await;
    assert_eq!(t.send(part_of(t.id, 0, 0, &[1, 2, 3])).await.unwrap(), Ack::Stored);
    assert_eq!(t.send(part_of(t.id, 0, 0, &[1, 2, 3])).await.unwrap(), Ack::AlreadyStored);
    let end = || SyncEnd { sync: t.id, end: at(2), listed: vec![] };
    assert!(t.ingest.end_sync(&t.s, end()).await.unwrap_err().to_string().contains("range 0"));

    // Another process goes on where the store says.
    let ingest = t.w.ingest();
    let session = t.w.open(&ingest, "a").await;
    let s = t.w.session(&session);
    let PartState::Syncing { plan: Some(stored), progress, .. } = session.state else { panic!() };
    assert_eq!(*stored, plan(t.id));
    assert_eq!(progress.len(), 1);
    assert_eq!((progress[0].next_seq, progress[0].done), (1, false));
    assert_eq!(progress[0].resume.as_deref(), Some(rawdoc! { "_id": 3 }.as_bytes()));
    let last = SyncSlice { done: true, ..part_of(t.id, 0, 1, &[4, 99]) };
    assert_eq!(ingest.sync_slice(&s, last).await.unwrap(), Ack::Stored);
    let empty = SyncSlice { done: true, ..part_of(t.id, 1, 0, &[]) };
    assert_eq!(ingest.sync_slice(&s, empty).await.unwrap(), Ack::Stored);
    assert!(ingest.end_sync(&s, end()).await.unwrap_err().to_string().contains("oplog"));
    ingest.oplog_slice(&s, slice(0, 3)).await.unwrap();
    ingest.end_sync(&s, end()).await.unwrap();
    ingest.end_sync(&s, end()).await.unwrap();
    assert!(matches!(t.w.open(&ingest, "a").await.state, PartState::Tailing { .. }));
}

#[tokio::test]
async fn the_blocks_of_a_record_can_be_read() {
    let t = planned().await;
    let mut sent = part_of(t.id, 0, 0, &[1, 2]);
    sent.blocks.push(leaf(&[5, 6, 7]));
    sent.resume = Some(rawdoc! { "_id": 7 }.into_bytes());
    t.send(sent).await.unwrap();
    let record = t.record(0, 0).await;
    assert_eq!(record.entries.iter().map(|e| e.items).collect::<Vec<_>>(), [2, 3]);
    let entry = &record.entries[1];
    assert_eq!((entry.as_of, entry.valid_from, entry.max_ts), (at(0).ts, at(2).ts, Ts(0)));
    assert_eq!(entry.key, Bytes::from(key(5)));
    let reader = BlockReader::new(t.w.repo.clone(), 1 << 20);
    let leaf = bygone_tree::Leaf::parse(reader.read(&entry.block).await.unwrap()).unwrap();
    assert!(leaf.docs().eq([doc(5), doc(6), doc(7)].iter().map(|d| d.as_bytes())));
}

#[tokio::test]
async fn what_is_wrong_in_a_slice_is_refused() {
    let t = planned().await;
    t.send(part_of(t.id, 0, 0, &[1, 5])).await.unwrap();
    let good = || part_of(t.id, 0, 1, &[6, 7]);
    let with = |change: &dyn Fn(&mut SyncBlock)| {
        let mut slice = good();
        change(&mut slice.blocks[0]);
        slice
    };
    let other = CollectionId([8; 16]);
    let bad = [
        ("a hole", SyncSlice { seq: 2, ..good() }),
        ("an unknown collection", SyncSlice { coll: other, seq: 0, ..good() }),
        ("an unknown range", SyncSlice { range: 2, seq: 0, ..good() }),
        ("another sync", SyncSlice { sync: SyncId([9; 8]), ..good() }),
        ("documents stored before", part_of(t.id, 0, 1, &[5, 6])),
        ("descending documents", part_of(t.id, 0, 1, &[7, 6])),
        ("documents of the next range", part_of(t.id, 0, 1, &[6, 100])),
        ("documents of the range before", part_of(t.id, 1, 0, &[99, 100])),
        ("read before the start", SyncSlice { valid_from: Ts(1), ..good() }),
        ("another resume", SyncSlice { resume: Some(rawdoc! { "_id": 8 }.into_bytes()), ..good() }),
        ("no resume", SyncSlice { resume: None, ..good() }),
        ("runs that are leaves", SyncSlice { runs: true, ..good() }),
        ("leaves that are runs", SyncSlice { blocks: vec![run(&[6, 7])], ..good() }),
        ("wrong items", with(&|b| b.items += 1)),
        ("wrong first key", with(&|b| b.first_key[0] ^= 1)),
        ("too long", with(&|b| b.raw_len += 1)),
        ("too short", with(&|b| b.raw_len -= 1)),
        ("far too long", with(&|b| b.raw_len = u32::MAX)),
        ("not zstd", with(&|b| b.zstd = Bytes::from_static(b"no zstd"))),
    ];
    for (what, slice) in bad {
        let refused = t.send(slice).await;
        assert!(refused.is_err(), "{what}");
    }
    assert_eq!(t.send(good()).await.unwrap(), Ack::Stored);
    // Sent again with other content: neither stored nor acknowledged.
    let error = t.send(part_of(t.id, 0, 1, &[6, 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn documents_that_are_not_bson_are_refused() {
    let t = planned().await;
    let mut raw = doc(1).into_bytes();
    // The type of the second field.
    raw[13] = 0x77;
    let mut builder = LeafBuilder::new(false);
    builder.push(&raw, Position::default());
    let slice =
        SyncSlice { blocks: vec![block(builder.finish(), 1, key(1))], ..part_of(t.id, 0, 0, &[1]) };
    assert_eq!(t.send(slice).await.unwrap_err().kind(), ErrorKind::Damaged);
}

#[tokio::test]
async fn runs_are_stored_and_may_begin_again() {
    let t = planned().await;
    let runs = |seq, ids: &[i32]| SyncSlice {
        runs: true,
        resume: None,
        blocks: vec![run(ids)],
        ..part_of(t.id, 0, seq, &[])
    };
    t.send(runs(0, &[3, 200])).await.unwrap();
    t.send(runs(1, &[1, 3])).await.unwrap();
    let record = t.record(0, 1).await;
    let entry = &record.entries[0];
    assert_eq!((entry.as_of, entry.max_ts, entry.valid_from), (at(0).ts, at(0).ts, Ts(0)));
    assert_eq!(&entry.key[..16], &COLL.0);
    let gone = SyncSlice { gone: true, runs: true, ..part_of(t.id, 0, 2, &[]) };
    t.send(SyncSlice { resume: None, ..gone }).await.unwrap();
    // One range said that the collection is gone: the other one need not.
    t.ingest.oplog_slice(&t.s, slice(0, 3)).await.unwrap();
    let end = SyncEnd { sync: t.id, end: at(3), listed: vec![] };
    t.ingest.end_sync(&t.s, end).await.unwrap();
}

#[tokio::test]
async fn a_plan_that_does_not_hold_together_is_refused() {
    let w = World::new().await;
    let ingest = w.ingest();
    let mut s = w.begun(&ingest, "a").await;
    let id = sync_id(&w, &ingest).await;
    s.epoch.0 += 1;
    assert!(ingest.sync_slice(&s, part_of(id, 0, 0, &[1])).await.is_err(), "no plan yet");
    let mut bad = plan(id);
    bad.collections.push(bad.collections[0].clone());
    assert!(ingest.plan_sync(&s, bad).await.is_err(), "twice the same collection");
    let mut bad = plan(id);
    bad.collections[0].bounds = vec![rawdoc! { "_id": 101 }];
    assert!(ingest.plan_sync(&s, bad).await.is_err(), "bound of another key");
    let mut bad = plan(id);
    bad.start = at(1);
    assert!(ingest.plan_sync(&s, bad).await.is_err(), "another start");
    ingest.plan_sync(&s, plan(id)).await.unwrap();
    ingest.plan_sync(&s, plan(id)).await.unwrap();
    let other = SyncPlan { views: vec![rawdoc! { "_id": "db.v" }], ..plan(id) };
    assert_eq!(ingest.plan_sync(&s, other).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn slices_of_many_ranges_at_once_stay_within_the_memory_bound() {
    let t = planned().await;
    let mut tasks = tokio::task::JoinSet::new();
    for range in 0..2 {
        let (ingest, s, id) = (t.ingest.clone(), t.s.clone(), t.id);
        tasks.spawn(async move {
            for seq in 0..20 {
                let id0 = range as i32 * 100 + seq as i32 * 2;
                let slice = part_of(id, range, seq, &[id0, id0 + 1]);
                ingest.sync_slice(&s, slice).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(t.record(1, 19).await.key.seq, 19);
    let store = PartStore::new(t.w.repo.clone(), t.w.key.job.clone(), t.w.key.part.clone());
    assert_eq!(store.leaf_names(&format!("sync/{}/slices/", t.id)).await.unwrap().len(), 40);
}

/// A whole sync and six entries, through any uplink.
pub(super) async fn over_network(uplink: &dyn Uplink, s: &SessionRef, id: SyncId) {
    uplink.plan_sync(s, plan(id)).await.unwrap();
    let first = SyncSlice { done: true, ..part_of(id, 0, 0, &[1, 2, 3]) };
    assert_eq!(uplink.sync_slice(s, first).await.unwrap(), Ack::Stored);
    let second = SyncSlice { done: true, ..part_of(id, 1, 0, &[100, 101]) };
    assert_eq!(uplink.sync_slice(s, second).await.unwrap(), Ack::Stored);
    uplink.oplog_slice(s, slice(0, 6)).await.unwrap();
    uplink.end_sync(s, SyncEnd { sync: id, end: at(5), listed: vec![] }).await.unwrap();
}
