//! mongorestore on dumps that are not as today's tools make them, and its flags; each with the stock tool beside it where
//! both must do the same.
//!
//! Where the rest of the acceptance list of a restore is: `rounds` (round trips, names, time-series, views, clustered and
//! capped collections, validators), `behaviour` (namespaces, duplicates, options, users and roles, damaged archives),
//! `oplog` (replay), `halts` (restarts, cut connections), `flags` (contradictions), `acceptance` (the stock tools' own tests).

use std::{fs, os::unix, path::Path};

use bson::{Document, RawDocumentBuf, Timestamp, doc, rawdoc};
use bygone_tests::{ReplicaSet, Version, server::Cluster};
use mongodb::Client;

use super::{Folder, Tools, empty};

on_both! {
    old_dumps_are_taken
    indexes_keep_what_they_say
    a_directory_is_chosen_whole
    what_is_no_dump_is_refused
    flags_of_a_restore
    objcheck_refuses_what_is_not_bson
    links_and_tiny_documents
    timestamps_of_zero_stay
    indexes_are_built_together
    what_a_dump_says_of_its_server
}

/// Writes a collection of a dump by hand.
pub(super) fn write(
    folder: &Folder,
    db: &str,
    coll: &str,
    documents: &[RawDocumentBuf],
    metadata: &str,
) {
    let dir = folder.path(db);
    fs::create_dir_all(&dir).unwrap();
    let bytes: Vec<u8> = documents.iter().flat_map(|d| d.as_bytes().to_vec()).collect();
    fs::write(format!("{dir}/{coll}.bson"), bytes).unwrap();
    fs::write(format!("{dir}/{coll}.metadata.json"), metadata).unwrap();
}

pub(super) fn some(count: i32) -> Vec<RawDocumentBuf> {
    (0..count).map(|n| rawdoc! {"_id": n, "n": n}).collect()
}

pub(super) async fn count(client: &Client, db: &str, coll: &str) -> u64 {
    client.database(db).collection::<Document>(coll).count_documents(doc! {}).await.unwrap()
}

/// Names and keys of the indexes beside that of `_id`.
async fn indexes(client: &Client, coll: &str) -> Vec<(String, Document)> {
    let command = doc! {"listIndexes": coll};
    let reply = client.database("old").run_command(command).await.unwrap();
    let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap().clone();
    let all = batch.iter().map(|index| {
        let index = index.as_document().unwrap();
        let key = index.get_document("key").unwrap().clone();
        (index.get_str("name").unwrap().to_owned(), key)
    });
    let mut all: Vec<_> = all.filter(|(name, _)| name != "_id_").collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// What servers and tools of long ago left in metadata.
const LEGACY: &str = r#"{"options":{"autoIndexId":false,"create":"a"},"indexes":[
    {"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_","ns":"old.a"},
    {"v":{"$numberInt":"1"},"key":{"x":true},"name":"x_true","ns":"old.a","background":true},
    {"v":{"$numberInt":"1"},"key":{"y":{"$numberInt":"0"}},"name":"y_0","w":{"$numberInt":"1"}},
    {"v":{"$numberInt":"1"},"key":{"a.b":"hashed"},"name":"a.b_hashed"}],"collectionName":"a"}"#;

async fn old_dumps_are_taken(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    write(&folder, "old", "a", &some(3), LEGACY);
    let dir = folder.path("old");
    // Documents under the other ending with metadata of no bytes; a file of no bytes; what is no dump.
    let bytes: Vec<u8> = some(2).iter().flat_map(|d| d.as_bytes().to_vec()).collect();
    fs::write(format!("{dir}/b.bin"), &bytes).unwrap();
    fs::write(format!("{dir}/b.metadata.json"), "").unwrap();
    fs::write(format!("{dir}/empty.bson"), "").unwrap();
    fs::write(format!("{dir}/read.me"), "no dump").unwrap();
    fs::create_dir(format!("{dir}/inside")).unwrap();
    let place = Path::new(&dir).parent().unwrap().display().to_string();
    let flags = ["--convertLegacyIndexes", "--fixDottedHashIndex", "--drop", &place];
    let ended = Tools::Ours.restore(&uri, &flags).await.expect(0);
    let _ = ended.saying("don't know what to do with file").saying("5 document(s) restored");
    let one = |name: &str| doc! {name: 1};
    let found: Vec<_> = indexes(&client, "a").await;
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a.b_hashed", "x_true", "y_0"]);
    for ((_, key), want) in found.iter().zip([one("a.b"), one("x"), one("y")]) {
        let same = key.keys().eq(want.keys())
            && key.values().all(|v| v.as_i32() == Some(1) || v.as_f64() == Some(1.0));
        assert!(same, "{key}");
    }
    assert_eq!(count(&client, "old", "b").await, 2);
    // Without the flags the servers' refusals are ours.
    let _ = Tools::Ours
        .restore(&uri, &["--drop", &place])
        .await
        .expect(1)
        .saying("createIndex error: ");
}

/// A direction that is a decimal; a version that old servers did not write; a filter that leaves out nothing.
async fn indexes_keep_what_they_say(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    let odd = r#"{"options":{},"indexes":[
        {"v":{"$numberInt":"2"},"key":{"n":{"$numberDecimal":"-1"}},"name":"decimal"},
        {"v":{"$numberInt":"1"},"key":{"p":"2dsphere"},"name":"sphere"},
        {"v":{"$numberInt":"2"},"key":{"f":{"$numberInt":"1"}},"name":"whole","partialFilterExpression":{}}]}"#;
    write(&folder, "old", "a", &some(3), odd);
    let place = folder.path("");
    for tools in [Tools::Ours, Tools::Stock] {
        empty(&client).await;
        let _ = tools.restore(&uri, &["--convertLegacyIndexes", &place]).await.expect(0);
        let reply = client.database("old").run_command(doc! {"listIndexes": "a"}).await.unwrap();
        let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap().clone();
        let by_name = |name: &str| {
            let all = batch.iter().map(|i| i.as_document().unwrap());
            all.clone().find(|i| i.get_str("name").is_ok_and(|n| n == name)).unwrap().clone()
        };
        let decimal = by_name("decimal").get_document("key").unwrap().get("n").unwrap().clone();
        assert_eq!(decimal.to_string(), "-1", "{tools:?}");
        let sphere = by_name("sphere");
        assert_eq!(sphere.get("2dsphereIndexVersion").unwrap().to_string(), "1", "{tools:?}");
        assert!(!by_name("whole").contains_key("partialFilterExpression"), "{tools:?}");
    }
}

/// With a database that it goes to, --nsInclude chooses nothing, and --nsExclude does.
async fn a_directory_is_chosen_whole(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    for coll in ["a", "b"] {
        write(&folder, "d", coll, &some(3), r#"{"options":{},"indexes":[]}"#);
    }
    let place = folder.path("d");
    let cases: [(&[&str], &[&str]); 3] = [
        (&["--nsInclude", "d.a", "-j", "0"], &["a", "b"]),
        (&["--nsInclude", "y.*", "--nsExclude", "x.b", "-j=-1"], &["a"]),
        (&["--writeConcern", "{w: 1, foo: 2}"], &["a", "b"]),
    ];
    for tools in [Tools::Ours, Tools::Stock] {
        for (flags, want) in cases {
            empty(&client).await;
            let all = [flags, &["-d", "x", &place]].concat();
            let _ = tools.restore(&uri, &all).await.expect(0);
            let mut found = client.database("x").list_collection_names().await.unwrap();
            found.sort();
            assert_eq!(found, want, "{tools:?} {flags:?}");
        }
    }
}

async fn what_is_no_dump_is_refused(version: Version) {
    let set = ReplicaSet::single(version).await;
    let uri = set.uri();
    let folder = Folder::new();
    let none = folder.path("none");
    let text = folder.path("a.txt");
    fs::write(&text, "x").unwrap();
    write(&folder, "d", "a", &some(1), "{\"options\":{");
    let bad_metadata = folder.path("");
    let cases: [(&[&str], &str); 6] = [
        (&[&none], "invalid"),
        (&[&text], "does not have .bson extension"),
        (&["-d", "x", "-c", "y", &bad_metadata], "is a directory"),
        (&[&bad_metadata], "metadata"),
        (&["--gzip", "-d", "x", "-c", "y", &format!("{bad_metadata}/d/a.bson")], ".bson.gz"),
        (&[&format!("--archive={none}")], "error opening archive"),
    ];
    for (arguments, says) in cases {
        let _ = Tools::Ours.restore(&uri, arguments).await.expect(1).saying(says);
        let _ = Tools::Stock.restore(&uri, arguments).await.expect(1);
    }
}

async fn flags_of_a_restore(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    for coll in ["a", "tmp1", "tmp2"] {
        let uuid = r#"{"options":{},"indexes":[],"uuid":"00112233445566778899aabbccddee0"#;
        let last = coll.len();
        write(
            &folder,
            "one",
            coll,
            &some(500),
            &format!("{uuid}{last}\",\"collectionName\":\"{coll}\"}}"),
        );
    }
    let place = folder.path("");
    let restore = async |arguments: &[&str]| {
        empty(&client).await;
        let mut all = arguments.to_vec();
        all.push(&place);
        Tools::Ours.restore(&uri, &all).await
    };
    let workers = ["-j", "2", "--numInsertionWorkersPerCollection", "4", "--batchSize", "7"];
    let _ = restore(&workers).await.expect(0).saying("1500 document(s) restored successfully. 0");
    let _ = restore(&["--excludeCollectionsWithPrefix", "tmp"]).await.expect(0);
    assert_eq!(client.database("one").list_collection_names().await.unwrap(), ["a"]);
    let quiet = restore(&["--quiet"]).await.expect(0);
    assert!(quiet.stderr.is_empty(), "{}", quiet.stderr);
    let (loud, plain) = (restore(&["-vv", "--drop"]).await, restore(&["--drop"]).await);
    assert!(loud.stderr.lines().count() > plain.stderr.lines().count(), "{}", loud.stderr);
    for concern in ["1", "majority", "{w: 1, j: true, wtimeout: 5000}", "{\"w\": \"majority\"}"] {
        let _ = restore(&["--writeConcern", concern]).await.expect(0).saying("1500 document(s)");
        assert_eq!(count(&client, "one", "a").await, 500, "{concern}");
    }
    // Nobody waits; the stock tool fails at --drop.
    let _ = restore(&["--writeConcern", "0"]).await.expect(0);
    let _ = Tools::Ours.restore(&uri, &["--drop", "--writeConcern={w: 0}", &place]).await.expect(0);
    let temporary = ["--tempUsersColl", "u", "--tempRolesColl", "r"];
    let _ = restore(&temporary).await.expect(0);
}

/// A document whose inside is not BSON: with --objcheck it is refused before it is sent.
async fn objcheck_refuses_what_is_not_bson(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    let file = folder.path("a.bson");
    let mut bytes = some(1)[0].as_bytes().to_vec();
    bytes.extend([9, 0, 0, 0, 0x99, b'a', 0, 0, 0]);
    fs::write(&file, &bytes).unwrap();
    for tools in [Tools::Ours, Tools::Stock] {
        empty(&client).await;
        let arguments = ["--objcheck", "-d", "one", "-c", "a", &file];
        let _ = tools.restore(&uri, &arguments).await.expect(1).saying("Failed: ");
    }
}

async fn links_and_tiny_documents(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    write(&folder, "one", "a", &some(60_000), r#"{"options":{},"indexes":[]}"#);
    let links = folder.path("links");
    fs::create_dir(&links).unwrap();
    unix::fs::symlink(folder.path("one"), format!("{links}/two")).unwrap();
    let _ = Tools::Ours.restore(&uri, &[&links]).await.expect(0);
    assert_eq!(count(&client, "two", "a").await, 60_000);
    for (from, to) in [(Tools::Stock, Tools::Ours), (Tools::Ours, Tools::Stock)] {
        let archive = from.dump(&uri, &["-d", "two", "--archive", "--gzip"]).await.expect(0);
        empty(&client).await;
        let arguments = ["--uri", &uri, "--archive", "--gzip"];
        let _ = to.run("mongorestore", arguments, &archive.stdout).await.expect(0);
        assert_eq!(count(&client, "two", "a").await, 60_000, "{from:?} to {to:?}");
    }
}

async fn timestamps_of_zero_stay(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    let zero = Timestamp { time: 0, increment: 0 };
    let document = rawdoc! {"_id": 1, "t": zero, "in": {"t": zero}};
    write(&folder, "one", "a", std::slice::from_ref(&document), r#"{"options":{},"indexes":[]}"#);
    let _ = Tools::Ours.restore(&uri, &[&folder.path("")]).await.expect(0);
    let coll = client.database("one").collection::<RawDocumentBuf>("a");
    assert_eq!(coll.find_one(doc! {}).await.unwrap(), Some(document));
    // Nobody says then whether it went in: what is there already is not replaced by it.
    let there = rawdoc! {"_id": 1, "old": true};
    coll.drop().await.unwrap();
    coll.insert_one(&there).await.unwrap();
    let careless = ["--writeConcern", "0", &folder.path("")];
    let _ = Tools::Ours.restore(&uri, &careless).await.expect(0);
    assert_eq!(coll.find_one(doc! {}).await.unwrap(), Some(there));
}

/// The collection is read once for all of them.
async fn indexes_are_built_together(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    let one = r#"{"$numberInt":"1"}"#;
    let index = |name: &str| format!(r#"{{"key":{{"{name}":{one}}},"name":"{name}_1"}}"#);
    let metadata = format!(r#"{{"options":{{}},"indexes":[{},{}]}}"#, index("n"), index("m"));
    write(&folder, "old", "a", &some(30), &metadata);
    let _ = Tools::Ours.restore(&uri, &[&folder.path("")]).await.expect(0);
    let names: Vec<_> = indexes(&client, "a").await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["m_1", "n_1"]);
    let find = doc! {"find": "oplog.rs", "filter": {"ns": "old.$cmd", "o.startIndexBuild": "a"}};
    let reply = client.database("local").run_command(find).await.unwrap();
    let builds = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
    assert_eq!(builds.len(), 1, "{builds:?}");
    let build = builds[0].as_document().unwrap().get_document("o").unwrap();
    assert_eq!(build.get_array("indexes").unwrap().len(), 2);
}

/// That it is of another version, and that it has what servers keep of themselves.
async fn what_a_dump_says_of_its_server(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    let none = r#"{"options":{},"indexes":[]}"#;
    write(&folder, "one", "a", &some(3), none);
    for coll in ["chunks", "tags"] {
        write(&folder, "config", coll, &some(3), none);
    }
    let place = folder.path("");
    let prelude = folder.path("prelude.json");
    fs::write(&prelude, r#"{"ServerVersion":"3.6.8","ToolVersion":"100.13.0"}"#).unwrap();
    let ended = Tools::Ours.restore(&uri, &["--drop", &place]).await.expect(0);
    let ended = ended.saying("the dump is of a server of version 3.6.8");
    assert_eq!(ended.stderr.matches("not restoring collections of config").count(), 1);
    assert_eq!(count(&client, "config", "chunks").await, 0);
    // Of the same version nothing is said.
    let out = folder.path("d");
    let _ = Tools::Ours.dump(&uri, &["-d", "one", "-o", &out]).await.expect(0);
    let ended = Tools::Ours.restore(&uri, &["--drop", &out]).await.expect(0);
    assert!(!ended.stderr.contains("the dump is of a server"), "{}", ended.stderr);
    let named = ["--nsInclude=config.*", "--dryRun", &place];
    let ended = Tools::Ours.restore(&uri, &named).await.expect(0);
    assert!(!ended.stderr.contains("not restoring"), "{}", ended.stderr);
}

/// A plain dump and a plain restore through a router, between the tools.
#[tokio::test]
async fn through_a_router() {
    let cluster = Cluster::start(Version::V8_2).await;
    let uri = format!("mongodb://{}/", cluster.address());
    let client = Client::with_uri_str(&uri).await.unwrap();
    let coll = client.database("one").collection::<Document>("a");
    let documents: Vec<Document> = (0..5000).map(|n| doc! {"_id": n, "n": n % 7}).collect();
    coll.insert_many(documents).await.unwrap();
    coll.create_index(mongodb::IndexModel::builder().keys(doc! {"n": 1}).build()).await.unwrap();
    for (from, to) in
        [(Tools::Ours, Tools::Ours), (Tools::Stock, Tools::Ours), (Tools::Ours, Tools::Stock)]
    {
        let folder = Folder::new();
        let out = folder.path("d");
        let _ = from.dump(&uri, &["-d", "one", "-o", &out]).await.expect(0);
        client.database("one").drop().await.unwrap();
        let ended = to.restore(&uri, &[&out]).await.expect(0);
        let _ = ended.saying("5000 document(s) restored successfully. 0 document(s) failed");
        assert_eq!(count(&client, "one", "a").await, 5000, "{from:?} to {to:?}");
        assert_eq!(coll.list_index_names().await.unwrap().len(), 2, "{from:?} to {to:?}");
    }
    let _ = Tools::Ours.dump(&uri, &["--oplog", "-o", "x"]).await.expect(1).saying("Failed: ");
    let whole = Folder::new();
    let out = whole.path("d");
    let _ = Tools::Ours.dump(&uri, &["-o", &out]).await.expect(0);
    fs::write(format!("{out}/oplog.bson"), "").unwrap();
    let replay = Tools::Ours.restore(&uri, &["--oplogReplay", &out]).await.expect(1);
    let _ = replay.saying("mongos");
}
