//! Hard cases of transactions: nothing of them shows before the moment that decided them.

use bson::{Document, doc};
use bygone_base::Ts;
use bygone_tests::{
    ReplicaSet, Version, oracle,
    server::{self, Prepared},
};
use mongodb::Client;

use crate::spine::{Backup, complete, mark};

const DB: &str = "bank";

async fn accounts(client: &Client) {
    let documents = (0..20).map(|id| doc! {"_id": id, "has": 100});
    client.database(DB).collection::<Document>("accounts").insert_many(documents).await.unwrap();
    client.database(DB).create_collection("ledger").await.unwrap();
}

/// How many documents a query finds on the target of a restore to `at`.
async fn found(backup: &Backup, version: Version, at: Ts, coll: &str, query: Document) -> u64 {
    let restored = backup.restored(version, at).await;
    let client = restored.target.client().await;
    client.database(DB).collection::<Document>(coll).count_documents(query).await.unwrap()
}

/// The timestamps of the entries of transactions in the source's oplog, ascending.
async fn entries(client: &Client) -> Vec<Ts> {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let of = doc! {"op": "c", "o.applyOps": {"$exists": true}, "txnNumber": {"$exists": true}, "multiOpType": {"$exists": false}};
    let mut cursor = oplog.find(of).projection(doc! {"ts": 1}).await.unwrap();
    let mut all = Vec::new();
    while cursor.advance().await.unwrap() {
        all.push(server::ts(cursor.deserialize_current().unwrap().get_timestamp("ts").unwrap()));
    }
    all
}

/// Cases 31 and 32: a transaction of many entries is there at its last one, whole.
async fn a_large_one(version: Version) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    accounts(&client).await;
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let ledger = client.database(DB).collection::<Document>("ledger");
    for id in 0..5 {
        let large = doc! {"_id": id, "pad": "l".repeat(9 << 20)};
        ledger.insert_one(large).session(&mut session).await.unwrap();
    }
    let accounts = client.database(DB).collection::<Document>("accounts");
    accounts.update_many(doc! {}, doc! {"$inc": {"has": -1}}).session(&mut session).await.unwrap();
    session.commit_transaction().await.unwrap();
    let entries = entries(&client).await;
    assert!(entries.len() >= 3, "{entries:?}");
    let now = mark(&client, version).await;
    backup.stops_whole(up, now.at.unwrap()).await;
    let (first, last) = (entries[0], entries[entries.len() - 1]);
    for at in [first, last.prev()] {
        assert_eq!(found(&backup, version, at, "ledger", doc! {}).await, 0, "at {at}");
    }
    assert_eq!(found(&backup, version, last, "ledger", doc! {}).await, 5);
    assert_eq!(found(&backup, version, last, "accounts", doc! {"has": 99}).await, 20);
    backup.restored(version, "latest").await.equals((&client, version), &now).await;
}

#[tokio::test]
async fn a_transaction_of_many_entries_is_there_at_its_last_8_2() {
    a_large_one(Version::V8_2).await;
}

#[tokio::test]
async fn a_transaction_of_many_entries_is_there_at_its_last_4_4() {
    a_large_one(Version::V4_4).await;
}

async fn prepared(client: &Client, from: i32) -> (Prepared, Ts) {
    let mut prepared = Prepared::begin(client).await.unwrap();
    let updates = (from..from + 5).map(|id| doc! {"q": {"_id": id}, "u": {"$inc": {"has": 1}}});
    let updates: Vec<Document> = updates.collect();
    prepared.run(DB, doc! {"update": "accounts", "updates": updates}).await.unwrap();
    let insert = doc! {"insert": "ledger", "documents": [{"_id": from}]};
    prepared.run(DB, insert).await.unwrap();
    let at = prepared.prepare().await.unwrap();
    (prepared, at)
}

/// Cases 2, 3 and 33: prepared before the copy or after it, decided much later or not at all.
async fn prepared_ones(version: Version) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    accounts(&client).await;
    let (early, early_at) = prepared(&client, 0).await;
    let others = client.database(DB).collection::<Document>("others");
    others.insert_one(doc! {"_id": "after the first prepare"}).await.unwrap();
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    up.line(bygone_tests::wait::PATIENCE, |line| line.starts_with("agent: tailing")).await;
    others.insert_one(doc! {"_id": "after the copy"}).await.unwrap();
    early.commit(early_at).await.unwrap();
    complete(&mut up).await;

    let (late, late_at) = prepared(&client, 5).await;
    let (aborted, _) = prepared(&client, 10).await;
    for n in 0..50 {
        others.insert_one(doc! {"_id": n}).await.unwrap();
    }
    let between = oracle::now(&client).await;
    for n in 50..70 {
        others.insert_one(doc! {"_id": n}).await.unwrap();
    }
    late.commit(between).await.unwrap();
    aborted.abort().await.unwrap();
    let now = mark(&client, version).await;
    backup.stops_whole(up, now.at.unwrap()).await;
    assert!(late_at < between);
    let ledger = async |at| found(&backup, version, at, "ledger", doc! {}).await;
    assert_eq!(ledger(between.prev()).await, 1, "the early one, which is decided");
    assert_eq!(ledger(between).await, 2, "the moment that the commit names");
    backup.restored(version, "latest").await.equals((&client, version), &now).await;
}

#[tokio::test]
async fn prepared_transactions_count_from_the_moment_that_the_commit_names_8_2() {
    prepared_ones(Version::V8_2).await;
}

#[tokio::test]
async fn prepared_transactions_count_from_the_moment_that_the_commit_names_4_4() {
    prepared_ones(Version::V4_4).await;
}

/// Cases 48 and 58: what belongs to the source's sessions stays behind.
#[tokio::test]
async fn sessions_of_the_source_are_not_restored() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    accounts(&client).await;
    let table = async |client: &Client| {
        let rows = client.database("config").collection::<Document>("transactions");
        rows.distinct("_id.id", doc! {}).await.unwrap()
    };
    let backup = Backup::new();
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);
    let here = table(&client).await;
    assert!(!here.is_empty(), "a retryable write leaves a row");
    let restored = backup.restored(version, "latest").await;
    let there = table(&restored.target.client().await).await;
    assert!(there.iter().all(|row| !here.contains(row)), "{there:?}");
}
