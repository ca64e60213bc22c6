//! What the stock mongorestore takes of dumps that no tool of today writes; ours takes it too.

use std::fs;

use bson::{Document, RawDocumentBuf, Timestamp, doc, rawdoc};
use bygone_tests::{ReplicaSet, Version};
use mongodb::Client;

use super::{
    Folder, Tools,
    archives::{block, bytes, end, prelude, whole},
    empty,
    restoring::{count, some, write},
};

const BOTH: [Tools; 2] = [Tools::Ours, Tools::Stock];
const PLAIN: &str = r#"{"options":{},"indexes":[]}"#;

on_both! {
    archives_of_old_tools
    metadata_of_all_kinds
    what_is_there_already
    scripts_come_back
}

async fn begun(version: Version) -> (ReplicaSet, Client, String, Folder) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    (set, client, uri, Folder::new())
}

async fn names(client: &Client, db: &str) -> Vec<String> {
    let mut names = client.database(db).list_collection_names().await.unwrap();
    names.sort();
    names
}

/// Preludes without all that is not needed; damage of what is not wanted; what nobody listed.
async fn archives_of_old_tools(version: Version) {
    let (_set, client, uri, folder) = begun(version).await;
    let (a, b) = (some(10), some(5));
    let file = folder.path("archive");
    let archive = format!("--archive={file}");
    let listed = prelude(&[("d", "a", None), ("d", "b", Some(""))]);
    let good = [listed.clone(), whole("d", "a", &a), whole("d", "b", &b)].concat();
    let wrong =
        [listed.clone(), whole("d", "a", &a), block("d", "b", &b), end("d", "b", &a)].concat();
    let foreign = [good.clone(), whole("d", "c", &b)].concat();
    let cases: [(&[u8], &[&str], i32, u64); 4] = [
        (&good, &[], 0, 5),
        (&wrong, &[], 1, 5),
        (&wrong, &["--nsExclude", "d.b"], 0, 0),
        (&foreign, &[], 1, 5),
    ];
    for (bytes, flags, code, in_b) in cases {
        fs::write(&file, bytes).unwrap();
        for tools in BOTH {
            empty(&client).await;
            let _ = tools.restore(&uri, &[flags, &[&archive]].concat()).await.expect(code);
            let found = (count(&client, "d", "a").await, count(&client, "d", "b").await);
            assert_eq!(found, (10, in_b), "{tools:?} {flags:?} {code}");
        }
    }
    // What is wrong is told with its place.
    let bad = prelude(&[("d", "a", Some("{\"options\""))]);
    for (bytes, says) in [
        (&foreign[..], "a block of d.c, which the archive does not list"),
        (&bad, " of the archive: "),
        (&[&good[..], &[0xff; 4]].concat(), "a block ends here, but none is open"),
        (&good[..20], "at byte 4"),
    ] {
        fs::write(&file, bytes).unwrap();
        let _ = Tools::Ours
            .restore(&uri, &["--drop", &archive])
            .await
            .expect(1)
            .saying(says)
            .saying("at byte ");
    }
}

async fn metadata_of_all_kinds(version: Version) {
    let (_set, client, uri, folder) = begun(version).await;
    let index = |more: &str| format!(r#"{{"v":{{"$numberInt":"2"}},{more}}}"#);
    let n = index(r#""key":{"n":{"$numberInt":"1"}},"name":"n_1""#);
    let twice = index(r#""key":{"m":{"$numberInt":"1"}},"name":"n_1""#);
    let nameless = index(r#""key":{"m":{"$numberInt":"1"}}"#);
    let id = |v: i32| {
        format!(
            r#"{{"v":{{"$numberInt":"{v}"}},"key":{{"_id":{{"$numberInt":"1"}}}},"name":"_id_"}}"#
        )
    };
    let cases = [
        (r#"{"options":null,"indexes":null,"uuid":null}"#.to_owned(), 1),
        (r#"{"uuid":"01020304-0506-0708-090a-0b0c0d0e0f10"}"#.to_owned(), 1),
        (r#"{"uuid":"no","indexes":[]} and more"#.to_owned(), 1),
        (format!(r#"{{"indexes":[{nameless},{n}]}}"#), 2),
        (format!(r#"{{"indexes":[{twice},{n}]}}"#), 2),
        (format!(r#"{{"indexes":[{}]}}"#, id(0)), 1),
        (format!(r#"{{"indexes":[{}]}}"#, id(1)), 1),
    ];
    let place = folder.path("");
    for (text, indexes) in &cases {
        write(&folder, "d", "a", &some(3), text);
        for tools in BOTH {
            empty(&client).await;
            let _ = tools.restore(&uri, &[&place]).await.expect(0);
            let reply = client.database("d").run_command(doc! {"listIndexes": "a"}).await.unwrap();
            let found = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
            assert_eq!(found.len(), *indexes, "{tools:?} {text}");
            for index in found.iter().map(|i| i.as_document().unwrap()) {
                assert_eq!(index.get_i32("v").unwrap(), 2, "{tools:?} {text}");
                let key = index.get_document("key").unwrap();
                assert!(key.contains_key("_id") || key.contains_key("n"), "{tools:?} {text}");
            }
        }
    }
    write(&folder, "d", "a", &some(3), &cases[1].0);
    for tools in BOTH {
        let _ = tools.restore(&uri, &["--drop", "--preserveUUID", &place]).await.expect(1);
    }
}

/// Nothing, a collection under a view's name, and what is given by its file alone.
async fn what_is_there_already(version: Version) {
    let (_set, client, uri, folder) = begun(version).await;
    let view = r#"{"options":{"viewOn":"a","pipeline":[]},"indexes":[],"collectionName":"v"}"#;
    write(&folder, "d", "a", &some(3), PLAIN);
    fs::write(folder.path("d/v.metadata.json"), view).unwrap();
    fs::write(folder.path("d/empty.bson"), "").unwrap();
    let d = client.database("d");
    let place = folder.path("");
    for tools in BOTH {
        empty(&client).await;
        d.collection("v").insert_one(doc! {"_id": "old"}).await.unwrap();
        let _ = tools.restore(&uri, &[&place]).await.expect(0);
        assert_eq!((count(&client, "d", "a").await, count(&client, "d", "v").await), (3, 1));
        assert_eq!(names(&client, "d").await, ["a", "empty", "v"], "{tools:?}");
        let stdin = ["--uri", &uri, "-d", "d", "-c", "nothing", "--dir", "-"];
        let _ = tools.run("mongorestore", stdin, b"").await.expect(0);
        assert!(names(&client, "d").await.contains(&"nothing".to_owned()), "{tools:?}");
    }
    // A view in the place of a collection is told before anything is made.
    empty(&client).await;
    d.run_command(doc! {"create": "a", "viewOn": "x", "pipeline": []}).await.unwrap();
    let _ = Tools::Ours.restore(&uri, &[&place]).await.expect(1).saying("is a view");
    assert_eq!(names(&client, "d").await.iter().filter(|n| !n.starts_with("system.")).count(), 1);
    // Zero timestamps of documents that have no `_id`.
    let zero = Timestamp { time: 0, increment: 0 };
    let bare: Vec<RawDocumentBuf> = vec![rawdoc! {"t": zero}, rawdoc! {"n": 1}];
    fs::write(folder.path("bare.bson"), bytes(&bare)).unwrap();
    empty(&client).await;
    let one = ["-d", "d", "-c", "bare", &folder.path("bare.bson")];
    let _ = Tools::Ours.restore(&uri, &one).await.expect(0);
    let kept = d.collection::<Document>("bare").find_one(doc! {"t": zero}).await.unwrap();
    assert!(kept.unwrap().get_object_id("_id").is_ok());
    if version.has_time_series() {
        buckets_by_their_file(&client, &uri, &folder).await;
    }
}

/// A time-series whose buckets are named as such.
async fn buckets_by_their_file(client: &Client, uri: &str, folder: &Folder) {
    empty(client).await;
    let one = client.database("d");
    let series = doc! {"create": "ts", "timeseries": {"timeField": "t"}};
    one.run_command(series).await.unwrap();
    let at = |n: i64| bson::DateTime::from_millis(1_700_000_000_000 + n * 1000);
    let documents: Vec<Document> = (0..10).map(|n| doc! {"t": at(n)}).collect();
    one.collection("ts").insert_many(documents).await.unwrap();
    let out = folder.path("out");
    let _ = Tools::Stock.dump(uri, &["-d", "d", "-o", &out]).await.expect(0);
    let file = format!("{out}/d/system.buckets.ts.bson");
    for tools in BOTH {
        empty(client).await;
        let one = ["-d", "x", "-c", "system.buckets.ts", &file];
        let _ = tools.restore(uri, &one).await.expect(0);
        assert_eq!(count(client, "x", "ts").await, 10, "{tools:?}");
    }
    // Without their metadata they would be documents like any others.
    fs::remove_file(format!("{out}/d/ts.metadata.json")).unwrap();
    for place in [&["-d", "x", &file][..], &[&file], &[&out]] {
        empty(client).await;
        let ended = Tools::Ours.restore(uri, place).await.expect(1);
        let _ = ended.saying("could not find the timeseries collection metadata file");
    }
}

/// `system.js`, also of `admin`, out of archives and directories; the system's own collections are told.
async fn scripts_come_back(version: Version) {
    let (_set, client, uri, folder) = begun(version).await;
    let archive = format!("--archive={}", folder.path("archive"));
    let script = [rawdoc! {"_id": "f", "value": "x"}];
    let listed = [
        ("admin", "system.js", Some(PLAIN)),
        ("d", "system.js", Some(PLAIN)),
        ("d", "system.profile", None),
    ];
    let parts = listed.map(|(db, coll, _)| whole(db, coll, &script));
    fs::write(folder.path("archive"), [prelude(&listed), parts.concat()].concat()).unwrap();
    let admin = client.database("admin").collection::<Document>("system.js");
    for tools in BOTH {
        empty(&client).await;
        admin.delete_many(doc! {}).await.unwrap();
        let ended = tools.restore(&uri, &[&archive]).await;
        if tools == Tools::Ours {
            let _ = ended.expect(0).saying("not restoring d.system.profile: it is the system's");
        }
        let found =
            (count(&client, "admin", "system.js").await, count(&client, "d", "system.js").await);
        assert_eq!(found, (1, 1), "{tools:?}");
    }
}
