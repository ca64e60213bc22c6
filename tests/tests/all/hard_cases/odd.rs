//! Hard cases of namespaces and values (38, 51 to 57): everything odd goes the whole way, by the copy and by
//! the oplog.

use bson::{DateTime, Document, RawDocumentBuf, doc, rawdoc};
use bygone_tests::{ClusterState, Options, ReplicaSet, Version, state_at};
use mongodb::{Client, options::UpdateModifications};

use super::run;
use crate::{
    restore::odd::{collections, indexes, newer, values},
    spine::{Backup, complete, mark},
};

async fn everything(client: &Client, version: Version) {
    collections(client).await;
    newer(client, version).await;
    values(client).await;
    indexes(client, version).await;
    names(client).await;
    if version.has_time_series() {
        same_series_twice(client).await;
    }
    files(client).await;
}

/// Case 54.
async fn names(client: &Client) {
    let long = "n".repeat(180);
    let odd = [
        "new\nline",
        "a/b",
        "a..b",
        "100%2F",
        "with space",
        "dot.s",
        "ünïcödé 漢字",
        "*",
        "a\\b",
        &long,
    ];
    for (n, name) in odd.into_iter().enumerate() {
        let coll = client.database("odd-names_1").collection::<Document>(name);
        coll.insert_one(doc! {"_id": n as i32, "name": name}).await.unwrap();
        let index = doc! {"key": {"name": 1}, "name": format!("{name} of it")};
        run(client, "odd-names_1", doc! {"createIndexes": name, "indexes": [index]}).await;
    }
    let db = "d".repeat(60);
    client.database(&db).collection::<Document>("c").insert_one(doc! {"_id": 1}).await.unwrap();
}

/// Case 52.
async fn same_series_twice(client: &Client) {
    for db in ["one", "two"] {
        run(
            client,
            db,
            doc! {"create": "series", "timeseries": {"timeField": "t", "metaField": "m"}},
        )
        .await;
        let at = |i: i64| DateTime::from_millis(1_900_000_000_000 + i * 7000);
        let measured = (0..300).map(|i| doc! {"t": at(i), "m": db, "x": i as f64});
        client.database(db).collection::<Document>("series").insert_many(measured).await.unwrap();
    }
}

/// Case 53: GridFS is two plain collections with the indexes that drivers make.
async fn files(client: &Client) {
    let bucket = client.database("odd").gridfs_bucket(None);
    let mut upload = bucket.open_upload_stream("file").await.unwrap();
    futures::io::AsyncWriteExt::write_all(&mut upload, &vec![7; 700_000]).await.unwrap();
    futures::io::AsyncWriteExt::close(&mut upload).await.unwrap();
}

/// Filled before `up` copies it, or while it follows.
async fn goes_the_whole_way(version: Version, before: bool) {
    let set =
        ReplicaSet::start(Options::new(version).parameter("ttlMonitorEnabled", "false")).await;
    let client = set.client().await;
    if before {
        everything(&client, version).await;
    }
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    if !before {
        everything(&client, version).await;
    }
    let now = mark(&client, version).await;
    backup.stops_whole(up, now.at.unwrap()).await;
    backup.restored(version, now.at.unwrap()).await.equals((&client, version), &now).await;
}

/// Case 55: names that come twice in a document. The primary changes the first one; the entry in the oplog says
/// only the name, and secondaries change every one. The backup does what they do.
#[tokio::test]
async fn names_that_come_twice() {
    let version = Version::V8_2;
    let set = ReplicaSet::start(Options::new(version).members(3)).await;
    let client = set.client().await;
    let secondary = set.member_client((set.primary().await + 1) % 3).await;
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    let twice = client.database("odd").collection::<RawDocumentBuf>("twice");
    let document = |id| rawdoc! {"_id": id, "a": id, "b": {"c": 1, "c": 2}, "a": "again"};
    twice.insert_many((0..5).map(document)).await.unwrap();
    let merge = vec![doc! {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"merged": 1}]}}];
    let updates: [UpdateModifications; 4] = [
        doc! {"$inc": {"a": 5}}.into(),
        doc! {"$set": {"b.c": 7}}.into(),
        doc! {"$unset": {"a": ""}}.into(),
        merge.into(),
    ];
    let mut marks = Vec::new();
    for (id, update) in updates.into_iter().enumerate() {
        let done = twice.update_one(doc! {"_id": id as i32}, update).await.unwrap();
        assert_eq!(done.modified_count, 1);
        marks.push(mark(&client, version).await);
    }
    let last = marks[3].at.unwrap();
    set.replicated().await;
    backup.stops_whole(up, last).await;
    let hash = |state: &ClusterState| state.collections["odd.twice"].hash.clone();
    for (n, primary) in marks.into_iter().enumerate() {
        let expected = state_at(&secondary, version, primary.at).await;
        // Where members agree, random workloads may do this too.
        assert_ne!(hash(&expected), hash(&primary), "after update {n}");
        let restored = backup.restored(version, primary.at.unwrap()).await;
        restored.equals((&secondary, version), &expected).await;
    }
}

#[tokio::test]
async fn everything_odd_is_copied_8_2() {
    goes_the_whole_way(Version::V8_2, true).await;
}

#[tokio::test]
async fn everything_odd_is_copied_5_0() {
    goes_the_whole_way(Version::V5_0, true).await;
}

#[tokio::test]
async fn everything_odd_is_copied_4_4() {
    goes_the_whole_way(Version::V4_4, true).await;
}

#[tokio::test]
async fn everything_odd_is_followed_8_2() {
    goes_the_whole_way(Version::V8_2, false).await;
}

#[tokio::test]
async fn everything_odd_is_followed_5_0() {
    goes_the_whole_way(Version::V5_0, false).await;
}

#[tokio::test]
async fn everything_odd_is_followed_4_4() {
    goes_the_whole_way(Version::V4_4, false).await;
}
