//! Oplogs put together by hand, with what an oplog seldom holds: ours replays what can be replayed, and tells of what cannot.

use std::fs;

use bson::{Document, RawDocumentBuf, Timestamp, doc};
use bygone_tests::{Options, ReplicaSet, Version};
use mongodb::Client;

use super::{
    Folder, Tools,
    damaged::fail,
    empty,
    restoring::{count, some, write},
};

on_both! {
    what_is_lost_is_told
    what_can_be_replayed_is
    renames_take_the_place_of_what_they_drop
    a_user_that_may_only_write
    replies_of_a_replay_that_are_lost
}

const PLAIN: &str = r#"{"options":{},"indexes":[]}"#;

pub(super) fn entry(second: u32, more: &Document) -> RawDocumentBuf {
    let ts = Timestamp { time: second, increment: 1 };
    let wall = bson::DateTime::from_millis(i64::from(second) * 1000);
    let mut entry = doc! {"ts": ts, "t": 1_i64, "v": 2, "wall": wall};
    entry.extend(more.clone());
    RawDocumentBuf::try_from(&entry).unwrap()
}

pub(super) fn insert(second: u32, document: Document) -> RawDocumentBuf {
    entry(second, &doc! {"op": "i", "ns": "one.a", "o": document})
}

pub(super) fn oplog(path: &str, entries: &[RawDocumentBuf]) {
    let bytes: Vec<u8> = entries.iter().flat_map(|e| e.as_bytes().to_vec()).collect();
    fs::write(path, bytes).unwrap();
}

fn command(o: Document) -> Document {
    doc! {"op": "c", "ns": "one.$cmd", "o": o}
}

/// Entries in their order.
fn oplog_of(folder: &Folder, entries: &[Document]) {
    let entries: Vec<_> = (1..).zip(entries).map(|(n, e)| entry(n, e)).collect();
    oplog(&folder.path("oplog.bson"), &entries);
}

/// An update of a document that is not there, as the server writes it.
fn update(version: Version) -> Document {
    let change = match version >= Version::V5_0 {
        true => doc! {"$v": 2, "diff": {"u": {"x": 1}}},
        false => doc! {"$v": 1, "$set": {"x": 1}},
    };
    doc! {"op": "u", "ns": "one.a", "o": change, "o2": {"_id": 99}}
}

async fn indexes(client: &Client, coll: &str) -> Vec<String> {
    let coll = client.database("one").collection::<Document>(coll);
    let mut names = coll.list_index_names().await.unwrap();
    names.sort();
    names
}

async fn names(client: &Client) -> Vec<String> {
    let mut names = client.database("one").list_collection_names().await.unwrap();
    names.sort();
    names
}

const INDEXED: &str = r#"{"options":{},"indexes":[
    {"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"},
    {"v":{"$numberInt":"2"},"key":{"n":{"$numberInt":"1"}},"name":"n_1"},
    {"v":{"$numberInt":"2"},"key":{"m":{"$numberInt":"1"}},"name":"m_1"}]}"#;

async fn what_is_lost_is_told(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    write(&folder, "one", "a", &some(3), INDEXED);
    let place = folder.path("");
    let rename = command(doc! {"renameCollection": "one.a", "to": "one.b"});
    let none = doc! {"op": "i", "ns": "one.none", "o": {"x": 1}};
    let hide = command(doc! {"collMod": "a", "index": {"name": "zz", "hidden": true}});
    let unhidden = command(doc! {"dropIndexes": "a", "index": "zz"});
    let dropped = command(doc! {"drop": "none"});
    let mut cases = vec![
        // Nothing that an operation lacks is forgotten by itself, or by another name.
        (vec![none.clone()], 1),
        (vec![none, dropped], 0),
        (vec![hide.clone()], 1),
        (vec![hide, unhidden], 0),
        (vec![doc! {"op": "i", "ns": "one.system.indexes", "o": {"_id": 5}}], 1),
    ];
    if version >= Version::V8_2 {
        // Servers before make such a document, and the stock tool lets them.
        let gone = command(doc! {"drop": "b"});
        cases.push((vec![update(version), rename.clone()], 1));
        cases.push((vec![update(version), rename, gone], 0));
    }
    for (entries, status) in cases {
        empty(&client).await;
        oplog_of(&folder, &entries);
        let ours = Tools::Ours.restore(&uri, &["--oplogReplay", &place]).await;
        assert_eq!(ours.code, Some(status), "{entries:?}: {}", ours.stderr);
        if status == 1 {
            empty(&client).await;
            let _ = Tools::Stock.restore(&uri, &["--oplogReplay", &place]).await.expect(1);
        }
    }
}

async fn what_can_be_replayed_is(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    write(&folder, "one", "a", &some(3), INDEXED);
    let valid = r#"{"options":{"validator":{"x":{"$type":"int"}}},"indexes":[]}"#;
    write(&folder, "one", "v", &[], valid);
    let place = folder.path("");
    let index = doc! {"v": 2, "key": {"old": 1}, "name": "old_1", "ns": "one.a"};
    let entries = [
        doc! {"op": "n", "ns": "", "o": {"msg": "no change"}},
        // What servers with replicated record ids, and later ones, keep for themselves.
        doc! {"op": "cu", "ns": "one.a", "o": {"_id": 1}},
        command(doc! {"dropIdent": "collection-7"}),
        command(doc! {"dropIndexes": "a", "index": ["n_1", "m_1"]}),
        doc! {"op": "i", "ns": "one.system.indexes", "o": index},
        // It went in past the validator once.
        doc! {"op": "i", "ns": "one.v", "o": {"_id": 1, "x": "no"}},
    ];
    oplog_of(&folder, &entries);
    let ours = Tools::Ours.restore(&uri, &["--oplogReplay", &place]).await.expect(0);
    let _ = ours.saying("applied 4 oplog entries");
    assert_eq!(indexes(&client, "a").await, ["_id_", "old_1"]);
    assert_eq!(count(&client, "one", "v").await, 1);
    // One without a time comes before every limit.
    let late = insert(50, doc! {"_id": "late"});
    let timeless = doc! {"op": "i", "ns": "one.a", "o": {"_id": "timeless"}};
    oplog(&folder.path("oplog.bson"), &[RawDocumentBuf::try_from(&timeless).unwrap(), late]);
    for tools in [Tools::Ours, Tools::Stock] {
        for (limit, want) in [("50", 4), ("0", 5)] {
            empty(&client).await;
            let replay = ["--oplogReplay", "--oplogLimit", limit, &place];
            let _ = tools.restore(&uri, &replay).await.expect(0);
            assert_eq!(count(&client, "one", "a").await, want, "{tools:?} {limit}");
        }
    }
    named_files(&uri, &client).await;
}

/// With --gzip a file of its own may be compressed, and with ours need not be.
async fn named_files(uri: &str, client: &Client) {
    let folder = Folder::new();
    let dump = folder.path("dump");
    fs::create_dir(&dump).unwrap();
    let file = folder.path("entries");
    let made = command(doc! {"create": "a"});
    oplog(&file, &[entry(1, &made), insert(2, doc! {"_id": 1})]);
    let gzip = std::process::Command::new("gzip").args(["--keep", &file]).status().unwrap();
    assert!(gzip.success());
    let zipped = format!("{file}.gz");
    for (tools, file) in [(Tools::Ours, &zipped), (Tools::Stock, &zipped), (Tools::Ours, &file)] {
        empty(client).await;
        let replay = ["--gzip", "--oplogReplay", "--oplogFile", file, &dump];
        let _ = tools.restore(uri, &replay).await.expect(0);
        assert_eq!(count(client, "one", "a").await, 1, "{tools:?} {file}");
    }
}

/// What is sent again meets what it has done itself: the document that it changes is gone by its own later delete.
async fn replies_of_a_replay_that_are_lost(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    write(&folder, "one", "a", &some(3), PLAIN);
    let place = folder.path("");
    let mut change = update(version);
    change.insert("o2", doc! {"_id": 1});
    let gone = doc! {"op": "d", "ns": "one.a", "o": {"_id": 1}};
    oplog_of(&folder, &[change, gone]);
    for lost in [91, 64] {
        empty(&client).await;
        let late = doc! {"writeConcernError": {"code": lost, "errmsg": "not yet"}};
        fail(&client, "applyOps", late, doc! {"times": 1}).await;
        let ended = Tools::Ours.restore(&uri, &["--oplogReplay", &place]).await.expect(0);
        let _ = ended.saying("applied 2 oplog entries");
        assert_eq!(count(&client, "one", "a").await, 2, "{lost}");
    }
}

/// And of what is not there change nothing.
async fn renames_take_the_place_of_what_they_drop(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    let uuid = r#"{"options":{},"indexes":[],"uuid":"00112233445546778899aabbccddee0"#;
    for (number, coll) in [(1, "a"), (2, "b"), (3, "c")] {
        let metadata = format!("{uuid}{number}\",\"collectionName\":\"{coll}\"}}");
        write(&folder, "one", coll, &some(number), &metadata);
    }
    let place = folder.path("");
    let other = bson::Uuid::from_bytes([7; 16]);
    let rename = |from: &str, to: &str| {
        command(doc! {"renameCollection": from, "to": to, "dropTarget": other})
    };
    oplog_of(&folder, &[rename("one.a", "one.b"), rename("one.none", "one.c")]);
    for flags in [&["--drop", "--preserveUUID"][..], &[]] {
        empty(&client).await;
        let all = [flags, &["--oplogReplay", &place]].concat();
        let _ = Tools::Ours.restore(&uri, &all).await.expect(0);
        assert_eq!(names(&client).await, ["b", "c"], "{flags:?}");
        let counts = (count(&client, "one", "b").await, count(&client, "one", "c").await);
        assert_eq!(counts, (1, 3), "{flags:?}");
    }
}

/// It may not replay, which is told in few words, and may not change collections: it gets its documents nevertheless.
async fn a_user_that_may_only_write(version: Version) {
    let set = ReplicaSet::start(Options::new(version).auth()).await;
    let client = set.client().await;
    let one = client.database("one");
    let user = doc! {"createUser": "u", "pwd": "p", "roles": ["readWrite"]};
    one.run_command(user).await.unwrap();
    let address = set.members[0].address();
    let login = ["--host", &address, "-u", "u", "-p", "p", "--authenticationDatabase", "one"];
    let folder = Folder::new();
    write(&folder, "one", "a", &some(3), PLAIN);
    oplog(&folder.path("oplog.bson"), &[insert(1, doc! {"_id": "of the oplog"})]);
    let root = folder.path("");
    let replay = login.iter().copied().chain(["--oplogReplay", &root]);
    let ended = Tools::Ours.run("mongorestore", replay, b"").await.expect(1);
    assert!(!ended.stderr.contains("lsid") && !ended.stderr.contains("of the oplog"), "{ended:?}");
    if !version.has_clustered() {
        // There is nothing else here that expires.
        return;
    }
    one.collection::<Document>("a").drop().await.unwrap();
    write(&folder, "one", "a", &some(3), &clustered(60));
    let place = folder.path("one");
    for (tools, expires) in [(Tools::Ours, false), (Tools::Stock, true)] {
        let restore = login.iter().copied().chain(["-d", "one", "--drop", &place]);
        let ended = tools.run("mongorestore", restore, b"").await.expect(0);
        assert_eq!(count(&client, "one", "a").await, 3, "{tools:?}");
        assert_eq!(expiry(&client, "a").await.is_some(), expires, "{tools:?}");
        if tools == Tools::Ours {
            let _ = ended.saying("one.a: its documents do not expire").saying("dbAdmin");
        }
    }
}

/// Metadata of a collection whose documents expire, and could already.
fn clustered(seconds: i32) -> String {
    format!(
        r#"{{"options":{{"clusteredIndex":{{"v":{{"$numberInt":"2"}},"key":{{"_id":{{"$numberInt":"1"}}}},
        "name":"_id_","unique":true}},"expireAfterSeconds":{{"$numberLong":"{seconds}"}}}},"indexes":[]}}"#
    )
}

fn series(name: &str) -> String {
    format!(
        r#"{{"options":{{"timeseries":{{"timeField":"t","metaField":"m","granularity":"seconds",
        "bucketMaxSpanSeconds":{{"$numberInt":"3600"}}}},"expireAfterSeconds":{{"$numberLong":"3600"}}}},
        "indexes":[{{"v":{{"$numberInt":"2"}},"key":{{"m":{{"$numberInt":"1"}},"x":{{"$numberInt":"1"}}}},"name":"m_1_x_1"}}],
        "collectionName":"{name}","type":"timeseries"}}"#
    )
}

/// After how many seconds documents of a collection expire.
async fn expiry(client: &Client, coll: &str) -> Option<i64> {
    let list = doc! {"listCollections": 1, "filter": {"name": coll}};
    let reply = client.database("one").run_command(list).await.unwrap();
    let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
    let options = batch[0].as_document().unwrap().get_document("options").unwrap();
    options.get("expireAfterSeconds").and_then(|s| s.as_i64().or(s.as_i32().map(i64::from)))
}

/// Where a restore ends before it is set, it is told: nothing else would.
#[tokio::test]
async fn expiry_that_is_not_set_is_told() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    write(&folder, "one", "a", &some(2), &clustered(3600));
    // Nothing can be inserted there.
    oplog_of(&folder, &[doc! {"op": "i", "ns": "one.system.indexes", "o": {"_id": 5}}]);
    let place = folder.path("");
    let ended = Tools::Ours.restore(&uri, &["--oplogReplay", &place]).await.expect(1);
    let told = ended.saying("one.a: what was restored of it does not expire");
    let _ = told.saying(r#"{"collMod":"a","expireAfterSeconds":{"$numberLong":"3600"}}"#);
    assert_eq!((count(&client, "one", "a").await, expiry(&client, "a").await), (2, None));
    // The same where the setting itself fails.
    empty(&client).await;
    fail(&client, "collMod", doc! {"errorCode": 2}, doc! {"times": 1}).await;
    let ended = Tools::Ours.restore(&uri, &["--drop", &folder.path("")]).await.expect(1);
    let _ = ended.saying("one.a: what was restored of it does not expire");
}

/// It is set when all is in, and is what the oplog said of it last.
#[tokio::test]
async fn expiry_is_what_the_oplog_says() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    for coll in ["changed", "kept", "gone", "moved", "remade", "same"] {
        write(&folder, "one", coll, &some(2), &clustered(3600));
    }
    for coll in ["s", "t"] {
        write(&folder, "one", coll, &[], &series(coll));
        let dir = folder.path("one");
        fs::rename(format!("{dir}/{coll}.bson"), format!("{dir}/system.buckets.{coll}.bson"))
            .unwrap();
    }
    let rename = doc! {"renameCollection": "one.moved", "to": "one.here", "stayTemp": false};
    let made = doc! {"create": "new", "expireAfterSeconds": 50_i64, "clusteredIndex":
    {"v": 2, "key": {"_id": 1}, "name": "_id_", "unique": true}};
    let entries = [
        command(doc! {"collMod": "changed", "expireAfterSeconds": 7200_i64}),
        command(doc! {"collMod": "kept", "expireAfterSeconds": "off"}),
        command(doc! {"drop": "gone"}),
        command(rename),
        command(doc! {"drop": "remade"}),
        command(doc! {"create": "remade"}),
        command(made),
        command(doc! {"collMod": "system.buckets.s", "expireAfterSeconds": 7200_i64}),
        doc! {"op": "d", "ns": "one.system.views", "o": {"_id": "one.t"}},
        command(doc! {"drop": "system.buckets.t"}),
    ];
    oplog_of(&folder, &entries);
    let place = folder.path("");
    let _ = Tools::Ours.restore(&uri, &["--oplogReplay", &place]).await.expect(0);
    let mut found = Vec::new();
    let all = names(&client).await;
    for coll in all.iter().filter(|name| !name.starts_with("system.")) {
        found.push((coll.as_str(), expiry(&client, coll).await));
    }
    let want = [
        ("changed", Some(7200)),
        ("here", Some(3600)),
        ("kept", None),
        ("new", Some(50)),
        ("remade", None),
        ("s", Some(7200)),
        ("same", Some(3600)),
    ];
    assert_eq!(found, want);
    assert_eq!(indexes(&client, "s").await, ["m_1_x_1"]);
}
