//! Dumps with the oplog, while somebody writes: both tools replay them to the same state.

use bson::{Document, doc};
use bygone_tests::{ReplicaSet, Version, Workload, diff, state_at, workload::Kind};

use super::{Folder, Tools, empty};

on_both! {
    a_whole_history_is_replayed
    nothing_happened_to_a_part
}

/// Operations of a workload that a dump with oplog allows: no collection changes its name.
fn allowed(kind: Kind) -> bool {
    !format!("{kind:?}").contains("Rename")
}

async fn replays(version: Version) {
    let source = ReplicaSet::single(version).await;
    let target = ReplicaSet::single(version).await;
    let (from, to) = (source.client().await, target.client().await);
    let coll = from.database("busy").collection::<Document>("a");
    let documents: Vec<Document> =
        (0..20_000).map(|n| doc! {"_id": n, "n": 0, "t": "x".repeat(500)}).collect();
    coll.insert_many(documents).await.unwrap();
    let folder = Folder::new();
    let out = folder.path("d");
    let writer = async {
        for round in 0..40 {
            coll.update_many(doc! {"_id": {"$lt": 50}}, doc! {"$inc": {"n": 1}}).await.unwrap();
            coll.insert_one(doc! {"_id": format!("new{round}")}).await.unwrap();
            coll.delete_one(doc! {"_id": 10_000 + round}).await.unwrap();
            let fresh = from.database("busy").collection::<Document>(&format!("fresh{round}"));
            fresh.insert_one(doc! {"_id": round}).await.unwrap();
            let keys = doc! {format!("f{round}"): 1};
            coll_index(&fresh, keys).await;
        }
    };
    let uri = source.uri();
    let arguments = ["--oplog", "-o", out.as_str()];
    let dump = async { Tools::Ours.dump(&uri, &arguments).await };
    let (ended, ()) = tokio::join!(dump, writer);
    let _ = ended.expect(0).saying("writing captured oplog");
    let mut states = Vec::new();
    for tools in [Tools::Ours, Tools::Stock] {
        empty(&to).await;
        let _ = tools.restore(&target.uri(), &["--oplogReplay", "--drop", &out]).await.expect(0);
        states.push(state_at(&to, version, None).await);
    }
    assert_eq!(diff(&states[0], &states[1]), Vec::<String>::new());
    let limit = ["--oplogReplay", "--oplogLimit", "1:0", "--drop", &out];
    let _ = Tools::Ours.restore(&target.uri(), &limit).await.expect(0);
}

async fn coll_index(coll: &mongodb::Collection<Document>, keys: Document) {
    coll.create_index(mongodb::IndexModel::builder().keys(keys).build()).await.unwrap();
}

#[tokio::test]
async fn both_tools_replay_the_same_8_2() {
    replays(Version::V8_2).await;
}

#[tokio::test]
async fn both_tools_replay_the_same_4_4() {
    replays(Version::V4_4).await;
}

/// Everything that a workload does, replayed onto nothing: the state is the source's own.
async fn a_whole_history_is_replayed(version: Version) {
    let source = ReplicaSet::single(version).await;
    let target = ReplicaSet::single(version).await;
    let (from, to) = (source.client().await, target.client().await);
    let folder = Folder::new();
    let (out, archive) = (folder.path("d"), format!("--archive={}", folder.path("a")));
    let coll = from.database("first").collection::<Document>("a");
    coll.insert_one(doc! {"_id": 1}).await.unwrap();
    let _ = Tools::Ours.dump(&source.uri(), &["--oplog", "-o", &out]).await.expect(0);
    let _ = Tools::Ours.dump(&source.uri(), &["--oplog", &archive]).await.expect(0);
    let mut workload = Workload::new(5, version).only(allowed);
    workload.run(&from, 200).await;
    let later = folder.path("later");
    let entries = ["-d", "local", "-c", "oplog.rs", "-o", &later];
    let _ = Tools::Ours.dump(&source.uri(), &entries).await.expect(0);
    let file = format!("{later}/local/oplog.rs.bson");
    for place in [&out, &archive] {
        empty(&to).await;
        let _ =
            Tools::Ours.restore(&target.uri(), &["--oplogReplay", "--drop", place]).await.expect(0);
        assert_eq!(to.database("first").list_collection_names().await.unwrap(), ["a"]);
    }
    // A set that is new has it all in its oplog.
    let nothing = folder.path("nothing");
    std::fs::create_dir(&nothing).unwrap();
    empty(&to).await;
    let replay = ["--oplogReplay", "--oplogFile", &file, &nothing];
    let _ = Tools::Ours.restore(&target.uri(), &replay).await.expect(0);
    let (found, mark) = (state_at(&to, version, None).await, state_at(&from, version, None).await);
    assert_eq!(diff(&mark, &found), Vec::<String>::new());
}

async fn nothing_happened_to_a_part(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    for db in ["quiet", "busy"] {
        client.database(db).collection("a").insert_one(doc! {"_id": 1}).await.unwrap();
    }
    let folder = Folder::new();
    let (out, archive) = (folder.path("d"), format!("--archive={}", folder.path("a")));
    let _ = Tools::Ours.dump(&uri, &["--oplog", "-d", "quiet", "-o", &out]).await.expect(0);
    let _ = Tools::Ours.dump(&uri, &["--oplog", "-d", "quiet", &archive]).await.expect(0);
    for tools in [Tools::Ours, Tools::Stock] {
        for place in [&out, &archive] {
            empty(&client).await;
            let ended = tools.restore(&uri, &["--oplogReplay", place]).await.expect(0);
            let _ = ended.saying("1 document(s) restored successfully. 0 document(s) failed");
        }
    }
}

/// Transactions across databases; what is dumped of them is at one moment.
async fn one_database(version: Version) {
    let source = ReplicaSet::single(version).await;
    let target = ReplicaSet::single(version).await;
    let (from, to) = (source.client().await, target.client().await);
    let coll = |client: &mongodb::Client, ns: &str| {
        let (db, coll) = ns.split_once('.').unwrap();
        client.database(db).collection::<Document>(coll)
    };
    let names = ["busy.first", "other.between", "busy.last", "busy.not"];
    for ns in names {
        let documents: Vec<Document> =
            (0..8000).map(|n| doc! {"_id": n, "n": 0, "t": "x".repeat(500)}).collect();
        coll(&from, ns).insert_many(documents).await.unwrap();
    }
    let folder = Folder::new();
    let (out, archive) = (folder.path("d"), format!("--archive={}", folder.path("a")));
    let writer = async {
        for round in 0..60 {
            let mut session = from.start_session().await.unwrap();
            session.start_transaction().await.unwrap();
            for ns in names {
                let coll = coll(&from, ns);
                for id in [round * 130, 7999] {
                    let update = coll.update_one(doc! {"_id": id}, doc! {"$inc": {"n": 1}});
                    update.session(&mut session).await.unwrap();
                }
            }
            session.commit_transaction().await.unwrap();
            let fresh = format!("other.fresh{round}");
            coll(&from, &fresh).insert_one(doc! {"_id": 1}).await.unwrap();
            // Elsewhere collections may get other names.
            let rename =
                doc! {"renameCollection": &fresh, "to": "other.renamed", "dropTarget": true};
            from.database("admin").run_command(rename).await.unwrap();
        }
    };
    let uri = source.uri();
    let chosen = ["--oplog", "-d", "busy", "--excludeCollection", "not", "-o", out.as_str()];
    let ruled = ["--oplog", "--nsInclude", "busy.*", "--nsExclude", "*.not", archive.as_str()];
    let dumps = async {
        let _ = Tools::Ours.dump(&uri, &chosen).await.expect(0);
        let _ = Tools::Ours.dump(&uri, &ruled).await.expect(0);
    };
    tokio::join!(dumps, writer);
    for (tools, place) in
        [Tools::Ours, Tools::Stock].iter().flat_map(|t| [(t, &out), (t, &archive)])
    {
        empty(&to).await;
        let replay = ["--oplogReplay", "--drop", place];
        let _ = tools.restore(&target.uri(), &replay).await.expect(0);
        let mut found = to.database("busy").list_collection_names().await.unwrap();
        found.sort();
        assert_eq!(found, ["first", "last"], "{tools:?} {place}");
        assert!(to.database("other").list_collection_names().await.unwrap().is_empty());
        let last = async |ns| coll(&to, ns).find_one(doc! {"_id": 7999}).await.unwrap().unwrap();
        assert_eq!(last("busy.first").await, last("busy.last").await, "{tools:?} {place}");
    }
    // A new name within the dump cannot be repeated.
    let rename = async {
        for (a, b) in [("first", "moved"), ("moved", "first")].iter().cycle() {
            let rename = doc! {"renameCollection": format!("busy.{a}"), "to": format!("busy.{b}")};
            from.database("admin").run_command(rename).await.unwrap();
        }
    };
    tokio::select! {
        ended = Tools::Ours.dump(&uri, &chosen) => { let _ = ended.expect(1); }
        () = rename => {}
    }
}

#[tokio::test]
async fn one_database_at_one_moment_8_2() {
    one_database(Version::V8_2).await;
}

#[tokio::test]
async fn one_database_at_one_moment_4_4() {
    one_database(Version::V4_4).await;
}
