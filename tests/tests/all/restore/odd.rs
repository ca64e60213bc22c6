//! Every kind of index with every option, every option of collections, and odd
//! values byte for byte.

use std::{collections::BTreeMap, sync::Arc};

use bson::{Document, RawDocumentBuf, Timestamp, doc};
use bygone_base::ErrorKind;
use bygone_restore::{Documents as _, memory::MemoryDocuments};
use bygone_tests::{Options, ReplicaSet, Version, diff, server::PASSWORD, state_at};
use mongodb::Client;

use super::copy::{self, cursor, proven, restore};

async fn run(client: &Client, command: Document) {
    let shown = command.clone();
    let done = client.database("odd").run_command(command).await;
    done.unwrap_or_else(|e| panic!("{shown}: {e}"));
}

async fn index(client: &Client, coll: &str, key: Document, name: &str, options: Document) {
    let mut spec = doc! {"key": key, "name": name};
    spec.extend(options);
    run(client, doc! {"createIndexes": coll, "indexes": [spec]}).await;
}

pub async fn indexes(client: &Client, version: Version) {
    let on = |key: Document, name: &'static str, options: Document| async move {
        index(client, "indexed", key, name, options).await;
    };
    on(doc! {"a": 1, "b": -1}, "compound", doc! {"sparse": true, "unique": true}).await;
    on(doc! {"a": 1.5, "b.c": -7_i64}, "odd numbers", doc! {"v": 1}).await;
    on(doc! {"h": "hashed"}, "hashed", doc! {}).await;
    on(doc! {"_id": "hashed"}, "hashed _id", doc! {}).await;
    let weights = doc! {"weights": {"x": 5, "y": 1}, "default_language": "german",
    "language_override": "lang", "textIndexVersion": 2};
    on(doc! {"x": "text", "y": "text", "z": 1}, "text", weights).await;
    on(doc! {"p": "2dsphere", "a": 1}, "sphere", doc! {"2dsphereIndexVersion": 2}).await;
    on(doc! {"q": "2d"}, "flat", doc! {"bits": 20, "min": -500.0, "max": 500.0}).await;
    on(doc! {"$**": 1}, "all", doc! {"wildcardProjection": {"a": 1, "_id": 0}}).await;
    on(doc! {"w.$**": 1}, "some", doc! {}).await;
    on(doc! {"a": 1}, "part", doc! {"partialFilterExpression": {"a": {"$gt": 5}, "b": "x"}}).await;
    on(doc! {"a": 1}, "hidden", doc! {"hidden": true, "collation": {"locale": "fr"}}).await;
    on(doc! {"t": 1}, "ttl", doc! {"expireAfterSeconds": 0}).await;
    on(doc! {"n": 1}, &*"long ".repeat(20).leak(), doc! {}).await;
    index(client, "collated", doc! {"a": 1}, "inherits", doc! {}).await;
    let simple = doc! {"collation": {"locale": "simple"}};
    index(client, "collated", doc! {"a": 1}, "simple", simple.clone()).await;
    index(client, "collated", doc! {"s": "text"}, "text", simple).await;
    if version >= Version::V8_2 {
        on(doc! {"u": 1}, "soon unique", doc! {"prepareUnique": true}).await;
        on(doc! {"g": 1, "v.$**": 1}, "wildcard and more", doc! {}).await;
    }
}

pub async fn collections(client: &Client) {
    let create = async |options: Document| run(client, options).await;
    create(doc! {"create": "indexed"}).await;
    create(doc! {"create": "collated", "collation": {"locale": "de", "strength": 2, "numericOrdering": true}}).await;
    create(doc! {"create": "strict", "validator": {"$jsonSchema": {"required": ["never"]}},
    "validationLevel": "moderate", "validationAction": "error"})
    .await;
    create(doc! {"create": "capped", "capped": true, "size": 100_000, "max": 50}).await;
    create(doc! {"create": "engine", "storageEngine": {"wiredTiger": {"configString": "block_compressor=zlib"}}}).await;
    let collation = doc! {"locale": "de", "strength": 2, "numericOrdering": true};
    let on = |name: &str, on: &str| {
        doc! {"create": name, "viewOn": on, "pipeline": [{"$match": {"a": 1}}],
        "collation": collation.clone()}
    };
    // Named so that the order of names is not the order in which they must be made.
    create(on("z view", "collated")).await;
    create(on("view", "z view")).await;
}

/// What only newer servers have, and views, whose collations must agree.
pub async fn newer(client: &Client, version: Version) {
    if version.has_time_series() {
        run(
            client,
            doc! {"create": "weather", "expireAfterSeconds": 1_000_000_000_i64,
            "timeseries": {"timeField": "t", "metaField": "m", "granularity": "hours"}},
        )
        .await;
        index(client, "weather", doc! {"m.place": 1, "t": -1}, "by place", doc! {}).await;
        let at = |i: i64| bson::DateTime::from_millis(1_900_000_000_000 + i * 1000);
        let measured = (0..200).map(|i| doc! {"t": at(i), "m": {"place": i % 3}, "x": i as f64});
        let weather = client.database("odd").collection::<Document>("weather");
        weather.insert_many(measured).await.unwrap();
    }
    if version >= Version::V8_2 {
        let clustered = doc! {"key": {"_id": 1}, "unique": true, "name": "own name"};
        run(
            client,
            doc! {"create": "clustered", "clusteredIndex": clustered,
            "expireAfterSeconds": 1_000_000_000_i64},
        )
        .await;
        run(client, doc! {"create": "images", "changeStreamPreAndPostImages": {"enabled": true}})
            .await;
        let mixed = client.database("odd").collection::<Document>("weather");
        let at = bson::DateTime::from_millis(1_900_000_000_500);
        let odd = doc! {"t": at, "m": {"place": 1}, "x": "text"};
        mixed.insert_one(odd).await.unwrap();
        index(
            client,
            "weather",
            doc! {"x": 1},
            "measured",
            doc! {"partialFilterExpression": {"m.place": {"$gt": 0}}},
        )
        .await;
    }
}

/// Inserts, then puts the zero timestamps in by an update, which keeps them.
pub async fn values(client: &Client) {
    let db = client.database("odd");
    for coll in ["indexed", "collated", "capped", "engine"] {
        let documents = (0..120).map(|i| {
            doc! {"_id": format!("{}{i}", ["a", "B", "c"][i % 3]), "a": i as i64, "b": i as i64, "zero": Timestamp { time: 1, increment: 1 }}
        });
        db.collection::<Document>(coll).insert_many(documents).await.unwrap();
    }
    let strict =
        doc! {"insert": "strict", "documents": [{"_id": 1}], "bypassDocumentValidation": true};
    run(client, strict).await;
    let zero = Timestamp { time: 0, increment: 0 };
    for coll in ["indexed", "capped"] {
        let touched = doc! {"_id": {"$in": ["a102", "B103", "c119"]}};
        let set = doc! {"$set": {"zero": zero}};
        let done = db.collection::<Document>(coll).update_many(touched, set).await.unwrap();
        assert_eq!(done.modified_count, 3);
    }
    let raw: Vec<RawDocumentBuf> = bygone_document::corpus::ids()
        .into_iter()
        .map(|bytes| RawDocumentBuf::from_bytes(bytes).unwrap())
        .collect();
    let every = db.collection::<RawDocumentBuf>("every _id");
    for document in raw {
        // Equal ids stand in one group: the first one stays.
        let _ = every.insert_one(document).await;
    }
    let script = doc! {"_id": "f", "value": bson::Bson::JavaScriptCode("function() {}".into())};
    db.collection::<Document>("system.js").insert_one(script).await.unwrap();
}

async fn everything_arrives(version: Version) {
    let source =
        ReplicaSet::start(Options::new(version).parameter("ttlMonitorEnabled", "false")).await;
    let client = source.client().await;
    collections(&client).await;
    newer(&client, version).await;
    values(&client).await;
    indexes(&client, version).await;
    let expected = state_at(&client, version, None).await;
    let documents = Arc::new(copy::documents(&client, version).await);
    let target =
        ReplicaSet::start(Options::new(version).parameter("ttlMonitorEnabled", "false")).await;
    let restored = restore(documents, &target.uri(), proven()).await.unwrap();
    let proof = restored.proof.unwrap();
    assert!(proof.holds(), "{proof}\n{:?}", restored.warnings);
    let there = target.client().await;
    let found = state_at(&there, version, None).await;
    assert_eq!(diff(&expected, &found), Vec::<String>::new());
    let natural = doc! {"find": "capped", "hint": {"$natural": 1}};
    let order = cursor(&client, "odd", natural.clone()).await;
    assert_eq!(order.len(), 50);
    assert_eq!(cursor(&there, "odd", natural).await, order);
}

#[tokio::test]
async fn everything_arrives_8_2() {
    everything_arrives(Version::V8_2).await;
}

#[tokio::test]
async fn everything_arrives_5_0() {
    everything_arrives(Version::V5_0).await;
}

#[tokio::test]
async fn everything_arrives_4_4() {
    everything_arrives(Version::V4_4).await;
}

#[tokio::test]
async fn zero_timestamps_need_a_privilege_on_old_servers() {
    let version = Version::V4_4;
    let source = ReplicaSet::single(version).await;
    let client = source.client().await;
    let zero = doc! {"$set": {"zero": Timestamp { time: 0, increment: 0 }}};
    let coll = client.database("odd").collection::<Document>("x");
    coll.insert_one(doc! {"_id": 1}).await.unwrap();
    coll.update_one(doc! {"_id": 1}, zero).await.unwrap();
    let documents = Arc::new(copy::documents(&client, version).await);
    let target = ReplicaSet::start(Options::new(version).auth()).await;
    target.create_user("loader", vec!["restore".into()]).await;
    let uri = target.uri_as("loader", PASSWORD);
    let denied = restore(documents, &uri, Default::default()).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied, "{denied}");
    assert!(denied.message().contains("keep Timestamp(0,0) in odd.x"), "{denied}");
    assert!(denied.hint_text().unwrap().contains("readWriteAnyDatabase"));
}

#[tokio::test]
async fn an_older_target_is_refused_before_anything_is_written() {
    let source = ReplicaSet::single(Version::V5_0).await;
    let client = source.client().await;
    run(&client, doc! {"create": "plain"}).await;
    run(&client, doc! {"create": "weather", "timeseries": {"timeField": "t"}}).await;
    let documents = Arc::new(copy::documents(&client, Version::V5_0).await);
    let target = ReplicaSet::single(Version::V4_4).await;
    let refused = restore(documents, &target.uri(), proven()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let expected =
        "odd.system.buckets.weather has a time-series, which needs MongoDB 5.0; the target is 4.4";
    assert_eq!(refused.message(), expected);
    assert!(!target.databases().await.contains("odd"));
}

/// What the source holds arrives whole and proven. Gives how many documents that were.
async fn arrives(client: &Client, version: Version) -> u64 {
    let expected = state_at(client, version, None).await;
    let documents = Arc::new(copy::documents(client, version).await);
    let target = ReplicaSet::single(version).await;
    let restored = restore(documents, &target.uri(), proven()).await.unwrap();
    let proof = restored.proof.unwrap();
    assert!(proof.holds(), "{proof}");
    let found = state_at(&target.client().await, version, None).await;
    assert_eq!(diff(&expected, &found), Vec::<String>::new());
    restored.documents
}

/// After a collMod a capped collection holds more than it may until something is inserted.
#[tokio::test]
async fn a_capped_collection_that_holds_more_than_it_may() {
    let version = Version::V8_2;
    let source = ReplicaSet::single(version).await;
    let client = source.client().await;
    let odd = client.database("odd");
    for (name, create, modify) in [
        ("max", doc! {"size": 1 << 20, "max": 40}, doc! {"cappedMax": 7}),
        ("size", doc! {"size": 1 << 20}, doc! {"cappedSize": 300}),
        ("both", doc! {"size": 1 << 20, "max": 40}, doc! {"cappedSize": 300, "cappedMax": 7}),
    ] {
        let command = |name: &str, with: Document, verb: &str| {
            let mut command = doc! {verb: name};
            command.extend(with);
            command
        };
        let mut create = create.clone();
        create.insert("capped", true);
        run(&client, command(name, create, "create")).await;
        let documents = (0..50).map(|i| doc! {"_id": i, "filler": "x".repeat(30)});
        odd.collection::<Document>(name).insert_many(documents).await.unwrap();
        run(&client, command(name, modify, "collMod")).await;
    }
    assert_eq!(arrives(&client, version).await, 40 + 50 + 40);
}

/// From 5.0 on, one document may be larger than its capped collection; nothing else is in it then.
#[tokio::test]
async fn a_document_larger_than_its_capped_collection() {
    for version in [Version::V8_2, Version::V5_0] {
        let source = ReplicaSet::single(version).await;
        let client = source.client().await;
        run(&client, doc! {"create": "small", "capped": true, "size": 4096}).await;
        let small = client.database("odd").collection::<Document>("small");
        for (id, size) in [(1, 10), (2, 10), (3, 20_000)] {
            small.insert_one(doc! {"_id": id, "filler": "x".repeat(size)}).await.unwrap();
        }
        assert_eq!(arrives(&client, version).await, 1);
    }
}

/// The index that comes with a time-series was hidden on the source.
#[tokio::test]
async fn an_index_that_the_server_makes_by_itself_was_changed() {
    let version = Version::V8_2;
    let source = ReplicaSet::single(version).await;
    let client = source.client().await;
    let series = doc! {"timeField": "t", "metaField": "m"};
    run(&client, doc! {"create": "series", "timeseries": series}).await;
    let hide = doc! {"name": "m_1_t_1", "hidden": true};
    run(&client, doc! {"collMod": "series", "index": hide}).await;
    arrives(&client, version).await;
}

/// `create` refuses a capped clustered collection, convertToCapped makes one, and collMod limits its documents.
#[tokio::test]
async fn a_clustered_collection_that_was_made_capped() {
    let version = Version::V8_2;
    let source = ReplicaSet::single(version).await;
    let client = source.client().await;
    let by_id = doc! {"key": {"_id": 1}, "unique": true, "name": "by id"};
    run(&client, doc! {"create": "clustered", "clusteredIndex": by_id}).await;
    let coll = client.database("odd").collection::<Document>("clustered");
    coll.insert_many((0..50).map(|i| doc! {"_id": 50 - i, "x": i})).await.unwrap();
    run(&client, doc! {"convertToCapped": "clustered", "size": 30_000}).await;
    coll.insert_one(doc! {"_id": -1, "x": "after"}).await.unwrap();
    assert_eq!(arrives(&client, version).await, 51);
    // It drops nothing for that.
    for max in [7, 0] {
        let limits = doc! {"collMod": "clustered", "cappedSize": 20_000, "cappedMax": max};
        run(&client, limits).await;
        assert_eq!(arrives(&client, version).await, 51);
    }
}

/// A moment between the drop of a time-series and that of its buckets: they stand alone, and the index that the server
/// makes with them had been dropped.
#[tokio::test]
async fn buckets_alone_get_no_index_of_the_servers_own() {
    for version in [Version::V8_2, Version::V5_0] {
        let source = ReplicaSet::single(version).await;
        let client = source.client().await;
        let series = doc! {"timeField": "t", "metaField": "m"};
        run(&client, doc! {"create": "series", "timeseries": series}).await;
        let _ = client
            .database("odd")
            .run_command(doc! {"dropIndexes": "series", "index": "m_1_t_1"})
            .await;
        let mut contents = copy::documents(&client, version).await.contents().clone();
        contents.views.clear();
        let documents = Arc::new(MemoryDocuments::new(contents, BTreeMap::new()));
        let target = ReplicaSet::single(version).await;
        let proof = restore(documents, &target.uri(), proven()).await.unwrap().proof.unwrap();
        assert!(proof.holds() && proof.collections.len() == 1, "{proof}");
    }
}
