//! By whichever flags: the same files as the stock tool writes, byte by byte, and nothing else.

use std::{collections::BTreeMap, fs, path::Path};

use bson::{DateTime, Document, doc};
use bygone_tests::{ReplicaSet, Version};
use mongodb::Client;

use super::{Folder, Tools, behaviour::walk};

/// Files below a folder; of a prelude only that it is there, for it names the tool.
fn files(root: &str) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        let bytes = fs::read(Path::new(root).join(&name)).unwrap();
        let told = name.contains("prelude.json");
        (name, if told { Vec::new() } else { bytes })
    };
    walk(Path::new(root)).into_iter().map(read).collect()
}

async fn fill(client: &Client, version: Version) {
    let db = client.database("one");
    let documents: Vec<Document> =
        (0..300).map(|n| doc! {"_id": n, "n": n % 7, "s": {"b": 1, "a": n}}).collect();
    db.collection("a").insert_many(documents).await.unwrap();
    let create = doc! {"create": "order", "validator": {"z": {"$exists": true}, "a": 1}, "validationAction": "warn"};
    db.run_command(create).await.unwrap();
    db.run_command(doc! {"create": "capped", "capped": true, "size": 8192}).await.unwrap();
    let small: Vec<Document> = (0..200).map(|n| doc! {"_id": n, "t": "x".repeat(100)}).collect();
    db.collection("capped").insert_many(small).await.unwrap();
    let pipeline = [doc! {"$match": {"n": {"$lt": 3}}}, doc! {"$project": {"n": 1}}];
    db.create_collection("view").view_on("a").pipeline(pipeline).await.unwrap();
    // Operators of the query language that look like a regular expression of old dumps.
    let validator = doc! {"s": {"$regex": "^a", "$options": "i"}};
    let create = doc! {"create": "checked", "validator": validator, "validationAction": "warn"};
    db.run_command(create).await.unwrap();
    let literal = doc! {"l": {"$literal": {"$regex": "^x", "$options": "m"}}};
    let pipeline = [doc! {"$addFields": literal}];
    db.create_collection("literal").view_on("a").pipeline(pipeline).await.unwrap();
    client.database("two").collection("b").insert_one(doc! {"_id": 1}).await.unwrap();
    if version >= Version::V5_0 {
        let series = doc! {"create": "series", "timeseries": {"timeField": "t", "metaField": "m"}};
        db.run_command(series).await.unwrap();
        let points: Vec<Document> = (0..50)
            .map(|n| doc! {"t": DateTime::from_millis(n * 1000), "m": {"k": n % 3}, "v": n})
            .collect();
        db.collection("series").insert_many(points).await.unwrap();
    }
}

async fn same_files(version: Version) {
    let set = ReplicaSet::single(version).await;
    fill(&set.client().await, version).await;
    let uri = set.uri();
    let mut cases: Vec<Vec<&str>> = vec![
        vec!["-d", "one", "--viewsAsCollections"],
        vec!["-d", "one", "-c", "view", "--viewsAsCollections"],
        vec!["-d", "one", "-c", "checked", "--viewsAsCollections"],
        vec!["-d", "one", "-c", "view"],
        vec!["-d", "one", "-c", "a", "--forceTableScan"],
        vec!["-d", "one", "-j", "1"],
        vec!["-d", "one", "-c", "a", "-q", r#"{"s.a": {"$gte": 5, "$lt": 20}, "n": {"$ne": 2}}"#],
        vec!["-d", "one", "-c", "a", "-q", r#"{"s": {"b": 1, "a": 7}}"#],
        vec!["-d", "one", "-c", "a", "-q", r#"{"s": {"a": 7, "b": 1}}"#],
        vec!["-d", "one", "-c", "a", "--readPreference", "nearest"],
        vec!["-d", "one", "-c", "a", "--readPreference", r#"{mode: "primaryPreferred"}"#],
        vec!["-d", "one", "-c", "a", "--gzip"],
        vec!["-d", "none"],
        vec!["-d", "one", "-c", "none"],
        vec!["-d", "one", "--excludeCollection", "a", "--excludeCollectionsWithPrefix", "ca"],
        vec!["-d", "local", "-c", "startup_log"],
        vec!["-d", "config"],
        vec!["-d", "admin"],
        vec!["--oplog"],
    ];
    if version >= Version::V5_0 {
        cases.push(vec!["-d", "one", "-c", "series"]);
        cases.push(vec!["-d", "one", "-c", "series", "--viewsAsCollections"]);
        cases.push(vec!["-d", "one", "--excludeCollection", "series"]);
        cases.push(vec!["-d", "one", "-c", "series", "-q", r#"{"m.k": 1}"#]);
    }
    let folder = Folder::new();
    for (number, case) in cases.iter().enumerate() {
        let dump = async |tools: Tools| {
            let out = folder.path(&format!("{number}{tools:?}"));
            let mut arguments = vec!["-o", out.as_str()];
            arguments.extend(case);
            let _ = tools.dump(&uri, &arguments).await.expect(0);
            files(&out)
        };
        let (mut ours, mut stock) = (dump(Tools::Ours).await, dump(Tools::Stock).await);
        // The bookkeeping of servers, which the role "backup" may not read.
        stock.retain(|name, _| {
            !name.starts_with("config/system.index") && !name.starts_with("config/system.pre")
        });
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&stock), "{case:?}");
        // What goes on by itself: the oplog, sessions; and gzip is as good in another way.
        for files in [&mut ours, &mut stock] {
            files.retain(|name, _| {
                !name.ends_with("oplog.bson")
                    && !name.starts_with("config/")
                    && !name.ends_with(".gz")
            });
        }
        for (name, bytes) in &ours {
            assert!(*bytes == stock[name], "{case:?}: {name}");
        }
    }
    if version >= Version::V5_0 {
        let out = folder.path("refused");
        let query = ["-d", "one", "-c", "series", "-q", r#"{"v": 1}"#, "-o", &out];
        let _ = Tools::Stock.dump(&uri, &query).await.expect(1);
        let _ = Tools::Ours
            .dump(&uri, &query)
            .await
            .expect(1)
            .saying("only processes queries on metadata");
    }
}

/// What both refuse: queries that mean nothing to a server, and metadata that Extended JSON would change.
async fn same_refusals(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri, folder) = (set.client().await, set.uri(), Folder::new());
    let db = client.database("one");
    db.collection("a").insert_one(doc! {"_id": 1, "r": "abc1"}).await.unwrap();
    let pipeline = [doc! {"$addFields": {"l": {"$literal": {"$numberLong": "5"}}}}];
    db.create_collection("v").view_on("a").pipeline(pipeline).await.unwrap();
    let (out, archive) = (folder.path("d"), format!("--archive={}", folder.path("a")));
    let nested = r#"{"r": {"$in": [{"$regex": "^abc1", "$options": ""}]}}"#;
    let changed = "marshaling BSON to ExtJSON and back resulted in discrepancies";
    for (arguments, text) in [
        (&["-d", "one", "-c", "a", "-o", "-", "-q", nested][..], "cannot nest $ under $in"),
        (&["-d", "one", "-o", &out], changed),
        (&["-d", "one", &archive], changed),
        (&["-d", "one", "-c", "v", "-o", &out], changed),
    ] {
        for tools in [Tools::Ours, Tools::Stock] {
            let ended = tools.dump(&uri, arguments).await.expect(1).saying(text);
            assert!(text != changed || ended.stderr.contains("`"), "{}", ended.stderr);
        }
    }
    let plain = r#"{"r": {"$regex": "^abc1", "$options": ""}}"#;
    let plain = ["-d", "one", "-c", "a", "-o", "-", "-q", plain];
    let _ = Tools::Ours.dump(&uri, &plain).await.expect(0).saying("dumped 1 document");
}

#[tokio::test]
async fn both_refuse_the_same_8_2() {
    same_refusals(Version::V8_2).await;
}

#[tokio::test]
async fn both_refuse_the_same_4_4() {
    same_refusals(Version::V4_4).await;
}

#[tokio::test]
async fn the_same_files_8_2() {
    same_files(Version::V8_2).await;
}

#[tokio::test]
async fn the_same_files_4_4() {
    same_files(Version::V4_4).await;
}

/// The server is named in every way there is; what is compressed our own way comes back.
#[tokio::test]
async fn servers_are_named_in_every_way() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    fill(&client, Version::V8_2).await;
    let (address, uri) = (set.members[0].address(), set.uri());
    let port = address.rsplit_once(':').unwrap().1;
    let folder = Folder::new();
    let (config, with_set) = (folder.path("config.yaml"), format!("rs0/{address}"));
    fs::write(&config, format!("uri: \"{uri}\"\n")).unwrap();
    let to_stdout = ["-d", "one", "-c", "a", "-o", "-"];
    let ways: [&[&str]; 5] = [
        &[&uri],
        &["--config", &config],
        &["--host", "127.0.0.1", "--port", port],
        &["-h", &address],
        &["--host", &with_set],
    ];
    let want = Tools::Stock.dump(&uri, &to_stdout).await.expect(0).stdout;
    for way in ways {
        let arguments = way.iter().chain(&to_stdout);
        let ended = Tools::Ours.run("mongodump", arguments, b"").await.expect(0);
        assert!(ended.stdout == want, "{way:?}");
    }
    let (out, archive) = (folder.path("z"), format!("--archive={}", folder.path("za")));
    let _ = Tools::Ours.dump(&uri, &["--zstd", "-d", "one", "-o", &out]).await.expect(0);
    let _ = Tools::Ours.dump(&uri, &["--zstd", "-d", "one", &archive]).await.expect(0);
    for place in [&out, &archive] {
        client.database("one").drop().await.unwrap();
        let _ = Tools::Ours.restore(&uri, &["--zstd", place]).await.expect(0);
        let back = Tools::Stock.dump(&uri, &to_stdout).await.expect(0).stdout;
        assert!(back == want, "{place}");
    }
}
