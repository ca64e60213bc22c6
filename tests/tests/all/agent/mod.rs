//! The agent against real servers, into a real ingest.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]

mod recorder;
mod refused;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bson::{Document, doc, rawdoc};
use bygone_agent::{AgentOptions, ScanOrder};
use bygone_base::{ByteSize, Ts};
use bygone_document::id_key;
use bygone_oplog::uplink::{CollectionPlan, TimelineReason};
use bygone_tests::{Options, ReplicaSet, Version, Workload, server::Prepared, wait};
use futures::StreamExt as _;
use mongodb::{Client, options::WriteConcern};
use tokio_util::sync::CancellationToken;

use recorder::{Recorder, options};

/// Every document of a collection as the source has it now.
async fn source_docs(client: &Client, db: &str, coll: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let find = rawdoc! { "find": coll, "hint": { "$natural": 1 } };
    let cursor = client.database(db).run_raw_cursor_command(find).batch().await.unwrap();
    let mut cursor = std::pin::pin!(cursor);
    let mut docs = BTreeMap::new();
    while let Some(batch) = cursor.next().await {
        let batch = batch.unwrap();
        for doc in batch.doc_slices().unwrap() {
            let doc = doc.unwrap().as_document().unwrap().as_bytes().to_vec();
            docs.insert(id_key(&doc).unwrap(), doc);
        }
    }
    docs
}

fn shown(doc: &[u8]) -> String {
    let text = bson::RawDocument::from_bytes(doc).map(|doc| format!("{:?}", doc.get("_id")));
    text.unwrap_or_else(|e| e.to_string())
}

/// The scan took exactly what the quiet source holds.
async fn check_scan(client: &Client, recorder: &Recorder) -> Vec<CollectionPlan> {
    let (plan, scanned) = {
        let seen = recorder.seen.lock().unwrap();
        (seen.plan.clone().unwrap(), seen.docs.clone())
    };
    for coll in &plan.collections {
        // These change by themselves.
        if coll.db == "config" {
            continue;
        }
        let want = source_docs(client, &coll.db, &coll.name).await;
        let have: BTreeMap<_, _> = scanned
            .get(&coll.coll)
            .map(|docs| docs.iter().map(|(k, (_, doc))| (k.clone(), doc.clone())).collect())
            .unwrap_or_default();
        let name = format!("{}.{}", coll.db, coll.name);
        let missing: Vec<_> = want
            .iter()
            .filter(|(key, _)| !have.contains_key(*key))
            .map(|(_, doc)| shown(doc))
            .collect();
        let extra: Vec<_> = have
            .iter()
            .filter(|(key, _)| !want.contains_key(*key))
            .map(|(_, doc)| shown(doc))
            .collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{name}: missing {missing:?}, extra {extra:?}"
        );
        assert_eq!(have.len(), want.len(), "{name}: number of documents");
        assert!(have == want, "{name}: content");
    }
    plan.collections
}

/// Everything written so far is majority-committed: what is not would come by
/// the oplog, not by the scan.
async fn settled(client: &Client) {
    let majority = WriteConcern::builder().w(mongodb::options::Acknowledgment::Majority).build();
    let coll = client.database("settled").collection::<Document>("c");
    coll.insert_one(doc! {}).write_concern(majority).await.unwrap();
}

async fn a_quiet_source_is_copied(version: Version, change: impl Fn(&mut AgentOptions)) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let mut workload = Workload::new(22, version);
    workload.run(&client, 250).await;
    settled(&client).await;
    let recorder = Recorder::new().await;
    let mut options = options();
    change(&mut options);
    let first = recorder.backup(&set.uri(), options.clone()).await.unwrap();
    let collections = check_scan(&client, &recorder).await;
    assert!(collections.len() >= 4, "{} collections", collections.len());
    workload.run(&client, 60).await;
    settled(&client).await;
    let second = recorder.backup(&set.uri(), options).await.unwrap();
    assert!(second > first);
    let seen = recorder.seen.lock().unwrap();
    assert_eq!(seen.reasons, [TimelineReason::InitialSync]);
    assert!(seen.end.as_ref().unwrap().listed.len() >= collections.len() - 2);
    assert!(seen.entries.is_sorted() && seen.entries.last() == Some(&second));
}

#[tokio::test]
async fn a_quiet_source_is_copied_8_2() {
    a_quiet_source_is_copied(Version::V8_2, |_| {}).await;
}

#[tokio::test]
async fn a_quiet_source_is_copied_in_small_ranges_8_2() {
    a_quiet_source_is_copied(Version::V8_2, |options| {
        options.range = ByteSize(500);
        options.sync_slice = ByteSize(2000);
        options.batch = ByteSize(1000);
    })
    .await;
}

#[tokio::test]
async fn a_quiet_source_is_copied_in_natural_order_8_2() {
    a_quiet_source_is_copied(Version::V8_2, |options| options.scan_order = ScanOrder::Natural)
        .await;
}

#[tokio::test]
async fn a_quiet_source_is_copied_in_small_ranges_5_0() {
    a_quiet_source_is_copied(Version::V5_0, |options| options.range = ByteSize(500)).await;
}

#[tokio::test]
async fn a_quiet_source_is_copied_in_small_ranges_4_4() {
    a_quiet_source_is_copied(Version::V4_4, |options| options.range = ByteSize(500)).await;
}

async fn fill(client: &Client, name: &str, docs: usize, size: usize) {
    let coll = client.database("big").collection::<Document>(name);
    for start in (0..docs).step_by(1000) {
        let batch = (start..docs.min(start + 1000))
            .map(|id| doc! { "_id": id as i64, "n": 0, "pad": "z".repeat(size + id % 7) });
        coll.insert_many(batch).await.unwrap();
    }
}

#[tokio::test]
async fn a_quiet_source_is_copied_4_4() {
    a_quiet_source_is_copied(Version::V4_4, |_| {}).await;
}

/// Two members are killed one after the other while the copy goes on.
#[tokio::test]
async fn a_sync_survives_the_death_of_the_member_that_is_read() {
    let mut set = ReplicaSet::start(Options::new(Version::V8_2).members(3)).await;
    let client = set.client().await;
    fill(&client, "a", 20_000, 500).await;
    fill(&client, "b", 20_000, 500).await;
    settled(&client).await;
    let recorder = Recorder::new().await;
    let mut options = options();
    options.sync_slice = ByteSize(1);
    options.range = ByteSize::mib(2);
    options.throttle = Some(ByteSize::mib(2));
    let agent = recorder.agent(&set.uri(), options).await.unwrap();
    let stop = CancellationToken::new();
    let run = agent.run_until_now(&stop);
    let kill = async {
        for slices in [6, 60] {
            let limit = Duration::from_secs(60);
            wait::until("slices", limit, async || {
                (recorder.seen.lock().unwrap().sync_slices >= slices).then_some(())
            })
            .await;
            let read = recorder.seen.lock().unwrap().member.clone();
            let victim = set.members.iter().position(|m| m.address() == read).unwrap();
            set.members[victim].kill();
            set.restart(victim).await;
        }
    };
    let (ended, ()) = tokio::join!(run, kill);
    ended.unwrap();
    check_scan(&client, &recorder).await;
    let seen = recorder.seen.lock().unwrap();
    assert_eq!(seen.reasons, [TimelineReason::InitialSync], "it never began anew");
    assert!(seen.sessions >= 2 && seen.resumed > 0, "it resumed");
}

/// The oplog is read from before a transaction that is prepared.
#[tokio::test]
async fn the_start_is_before_a_prepared_transaction() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    client.database("p").create_collection("c").await.unwrap();
    let mut prepared = Prepared::begin(&client).await.unwrap();
    prepared.run("p", doc! { "insert": "c", "documents": [{ "_id": 1 }] }).await.unwrap();
    let at: Ts = prepared.prepare().await.unwrap();
    client.database("p").collection("d").insert_one(doc! { "_id": 2 }).await.unwrap();
    let recorder = Recorder::new().await;
    recorder.backup(&set.uri(), options()).await.unwrap();
    prepared.commit(at).await.unwrap();
    let start = recorder.seen.lock().unwrap().plan.as_ref().unwrap().start;
    assert!(start.ts < at, "{start} is not before {at}");
}

/// Nothing beyond the majority point is taken, and all of it once it is.
#[tokio::test]
async fn only_the_majority_is_stored() {
    let set = ReplicaSet::start(Options::new(Version::V8_2).members(3)).await;
    let client = set.client().await;
    fill(&client, "a", 100, 10).await;
    set.replicated().await;
    let recorder = Recorder::new().await;
    recorder.backup(&set.uri(), options()).await.unwrap();
    set.hold_replication().await;
    let coll = client.database("big").collection::<Document>("a");
    let one = WriteConcern::builder().w(mongodb::options::Acknowledgment::Nodes(1)).build();
    for id in 1000..1010_i64 {
        coll.insert_one(doc! { "_id": id }).write_concern(one.clone()).await.unwrap();
    }
    let primary = set.members[set.primary().await].hello().await.unwrap();
    let applied = primary.get_document("lastWrite").unwrap().get_document("opTime").unwrap();
    let applied = applied.get_timestamp("ts").unwrap();
    let applied = Ts::new(applied.time, applied.increment);
    let held = recorder.backup(&set.uri(), options()).await.unwrap();
    assert!(held.ts < applied, "{held} is beyond the majority, {applied} not");
    set.resume_replication().await;
    set.replicated().await;
    wait::until("the rest", Duration::from_secs(60), async || {
        let end = recorder.backup(&set.uri(), options()).await.unwrap();
        (end.ts >= applied).then_some(())
    })
    .await;
    assert_eq!(recorder.seen.lock().unwrap().reasons.len(), 1);
}

/// Documents of 16 MB, one per reply, one per leaf; the oplog's entries are larger than 16 MiB.
#[tokio::test]
async fn the_largest_documents_pass() {
    let mut large_cache = Options::new(Version::V8_2);
    large_cache.cache_gb = 1.0;
    let set = ReplicaSet::start(large_cache).await;
    let client = set.client().await;
    let coll = client.database("big").collection::<Document>("huge");
    let large = |id: i32| doc! { "_id": id, "x": "q".repeat((16 << 20) - 27) };
    for id in 0..3 {
        coll.insert_one(large(id)).await.unwrap();
    }
    let recorder = Recorder::new().await;
    recorder.backup(&set.uri(), options()).await.unwrap();
    check_scan(&client, &recorder).await;
    coll.insert_one(large(3)).await.unwrap();
    let end = recorder.backup(&set.uri(), options()).await.unwrap();
    assert_eq!(recorder.seen.lock().unwrap().entries.last(), Some(&end));
}

/// Ctrl-C in the middle, then a new process.
#[tokio::test]
async fn a_stopped_sync_is_resumed_by_the_next_agent() {
    let set = ReplicaSet::single(Version::V5_0).await;
    let client = set.client().await;
    fill(&client, "a", 20_000, 300).await;
    let recorder = Recorder::new().await;
    let mut options = options();
    options.sync_slice = ByteSize(1);
    options.throttle = Some(ByteSize::mib(1));
    let agent = recorder.agent(&set.uri(), options.clone()).await.unwrap();
    let stop = CancellationToken::new();
    let (ended, ()) = tokio::join!(agent.run(&stop), async {
        wait::until("slices", Duration::from_secs(60), async || {
            (recorder.seen.lock().unwrap().sync_slices >= 4).then_some(())
        })
        .await;
        stop.cancel();
    });
    ended.unwrap();
    assert!(recorder.seen.lock().unwrap().end.is_none());
    options.throttle = None;
    recorder.backup(&set.uri(), options).await.unwrap();
    check_scan(&client, &recorder).await;
    let seen = recorder.seen.lock().unwrap();
    assert!(seen.resumed >= 4);
    assert_eq!(seen.reasons.len(), 1);
}

/// Shared by the module's tests that only need some recorder.
async fn refused(uri: &str) -> bygone_base::Error {
    let recorder: Arc<Recorder> = Recorder::new().await;
    recorder.backup(uri, options()).await.unwrap_err()
}
