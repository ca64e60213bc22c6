//! Restores of dumps that are cut or damaged, or whose documents or indexes a server refuses: what was whole is in, what was
//! there stays, and the last line counts what happened. The stock tool is beside ours where it does the same.

use std::{fs, time::Duration};

use bson::{Document, RawDocumentBuf, Timestamp, doc, rawdoc};
use bygone_tests::{ReplicaSet, Version, process::Bygone, wait};
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
    collections_may_end_behind_the_oplog
    a_cut_archive_drops_no_more_than_it_must
    what_is_whole_is_in_and_counted
    indexes_that_fail_hold_nothing_up
    what_a_server_refuses_is_counted
    replies_that_are_lost
}

/// A set, a client of it, its URI, and an archive's file with the flag that names it.
async fn begun(version: Version) -> (ReplicaSet, Client, String, Folder, String, String) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    let file = folder.path("archive");
    let flag = format!("--archive={file}");
    (set, client, uri, folder, file, flag)
}

fn says(restored: u64, failed: u64) -> String {
    format!("{restored} document(s) restored successfully. {failed} document(s) failed to restore.")
}

/// The stock tool waits for ever.
async fn collections_may_end_behind_the_oplog(version: Version) {
    let (_set, client, uri, _folder, file, archive) = begun(version).await;
    let (a, b) = (some(10), some(5));
    let ts = Timestamp { time: 5, increment: 1 };
    let entry = [rawdoc! {"ts": ts, "op": "n", "ns": "", "o": {}, "v": 2}];
    let parts = [
        prelude(&[("d", "a", None), ("d", "b", None), ("d", "none", None), ("", "oplog", None)]),
        block("d", "a", &a),
        block("d", "b", &b),
        end("d", "b", &b),
        block("", "oplog", &entry),
        end("d", "a", &a),
        end("d", "none", &[]),
        end("", "oplog", &entry),
    ];
    fs::write(&file, parts.concat()).unwrap();
    for drop in [&[][..], &["--drop"]] {
        let flags = [drop, &["--oplogReplay", &archive]].concat();
        let ended = Tools::Ours.restore(&uri, &flags).await.expect(0).saying(&says(15, 0));
        let _ = ended.saying("finished restoring d.a (10 documents, 0 failures)");
        assert_eq!((count(&client, "d", "a").await, count(&client, "d", "b").await), (10, 5));
        assert_eq!(count(&client, "d", "none").await, 0);
        // What is in the way of the next round.
        for coll in ["a", "none"] {
            client.database("d").collection(coll).insert_one(doc! {"_id": "old"}).await.unwrap();
        }
    }
}

async fn a_cut_archive_drops_no_more_than_it_must(version: Version) {
    let (_set, client, uri, folder, file, archive) = begun(version).await;
    let names: Vec<String> = (0..6).map(|n| format!("c{n}")).collect();
    let entries: Vec<_> = names.iter().map(|name| ("d", name.as_str(), Some(PLAIN))).collect();
    let blocks = names.iter().map(|name| whole("d", name, &some(100)));
    let parts = [vec![prelude(&entries)], blocks.collect()].concat();
    let cut = parts[0].len() + parts[1].len() / 2;
    fs::write(&file, &parts.concat()[..cut]).unwrap();
    for name in &names {
        write(&folder, "d", name, &some(100), PLAIN);
    }
    // The largest is read first.
    let mut damaged = bytes(&some(200));
    damaged.truncate(damaged.len() - 1);
    fs::write(folder.path("d/c3.bson"), damaged).unwrap();
    let dir = folder.path("d");
    // The stock tool takes files in another order.
    for (tools, place, hit) in
        [(Tools::Ours, &archive, "c0"), (Tools::Stock, &archive, "c0"), (Tools::Ours, &dir, "c3")]
    {
        empty(&client).await;
        for name in &names {
            client.database("d").collection(name).insert_one(doc! {"_id": "old"}).await.unwrap();
        }
        let flags: &[&str] = match *place == archive {
            true => &["--drop", place],
            false => &["--drop", "-d", "d", place],
        };
        let _ = tools.restore(&uri, flags).await.expect(1).saying("Failed: ");
        for name in names.iter().filter(|name| *name != hit) {
            let coll = client.database("d").collection::<Document>(name);
            let old = coll.find_one(doc! {"_id": "old"}).await.unwrap();
            assert!(old.is_some(), "{tools:?} {place}: {name}");
        }
    }
}

/// Documents before a damaged place, in every kind of dump.
async fn what_is_whole_is_in_and_counted(version: Version) {
    let (_set, client, uri, folder, file, archive) = begun(version).await;
    let many = some(5300);
    write(&folder, "d", "a", &many, PLAIN);
    let _ = Tools::Stock.restore(&uri, &[&folder.path("")]).await.expect(0);
    let zipped = folder.path("z");
    let _ = Tools::Stock.dump(&uri, &["--gzip", "-d", "d", "-o", &zipped]).await.expect(0);
    let zipped = format!("{zipped}/d/a.bson.gz");
    let cut = |path: &str, bytes: usize| {
        let mut whole = fs::read(path).unwrap();
        whole.truncate(whole.len() - bytes);
        fs::write(path, whole).unwrap();
    };
    // Only the hash at the end of the compressed file is missing.
    cut(&zipped, 8);
    let plain = folder.path("d/a.bson");
    cut(&plain, 1);
    let listed = prelude(&[("d", "a", Some(PLAIN))]);
    let whole = [listed.clone(), whole("d", "a", &many)].concat();
    let wrong = [listed, block("d", "a", &many), end("d", "a", &many[1..])].concat();
    let place = ["-d", "d", "-c", "a"];
    let cases = [
        ([&place[..], &[&plain]].concat(), vec![], 5299),
        ([&["--gzip"], &place[..], &[&zipped]].concat(), vec![], 5300),
        (vec![archive.as_str()], [&whole[..], b"junk at the end"].concat(), 5300),
        (vec![archive.as_str()], wrong, 5300),
    ];
    for (flags, bytes, want) in cases {
        fs::write(&file, bytes).unwrap();
        for tools in BOTH {
            empty(&client).await;
            let ended = tools.restore(&uri, &flags).await.expect(1).saying("Failed: ");
            assert_eq!(count(&client, "d", "a").await, want, "{tools:?} {flags:?}");
            if tools == Tools::Ours {
                let _ = ended.saying(&says(want, 0)).saying(" at byte ");
            }
        }
    }
}

/// The stock tool builds them when everything is in.
async fn indexes_that_fail_hold_nothing_up(version: Version) {
    let (_set, client, uri, folder, ..) = begun(version).await;
    let bad = r#"{"options":{},"indexes":[
        {"v":{"$numberInt":"2"},"key":{"same":{"$numberInt":"1"}},"name":"same_1","unique":true},
        {"v":{"$numberInt":"2"},"key":{"n":{"$numberInt":"1"}},"name":"n_1"}]}"#;
    let same: Vec<_> = (0..2000).map(|n| rawdoc! {"_id": n, "n": n, "same": 1}).collect();
    write(&folder, "d", "a", &same, bad);
    for name in ["b", "c", "e"] {
        write(&folder, "d", name, &some(1000), PLAIN);
    }
    let place = folder.path("");
    for tools in BOTH {
        empty(&client).await;
        let ended = tools.restore(&uri, &[&place]).await.expect(1).saying("Failed: ");
        let _ = ended.saying(&says(5000, 0));
        for name in ["b", "c", "e"] {
            assert_eq!(count(&client, "d", name).await, 1000, "{tools:?} {name}");
        }
        if tools == Tools::Ours {
            let coll = client.database("d").collection::<Document>("a");
            assert_eq!(coll.list_index_names().await.unwrap(), ["_id_", "n_1"]);
        }
    }
}

/// An `_id` that none may have; a write concern that is not met in time; one that nobody waits for.
async fn what_a_server_refuses_is_counted(version: Version) {
    let (set, client, uri, folder, ..) = begun(version).await;
    let mut documents = some(900);
    documents.insert(450, rawdoc! {"_id": [1]});
    write(&folder, "d", "a", &documents, PLAIN);
    write(&folder, "d", "b", &some(20), PLAIN);
    let place = folder.path("");
    let ended = Tools::Ours.restore(&uri, &[&place]).await.expect(1).saying("Failed: ");
    // Whether the other collection had begun is a matter of time.
    let (in_a, in_b) = (count(&client, "d", "a").await, count(&client, "d", "b").await);
    assert_eq!(in_a, 900);
    let _ = ended.saying(&says(in_a + in_b, 1));
    fail(
        &client,
        "insert",
        doc! {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}},
        "alwaysOn",
    )
    .await;
    empty(&client).await;
    let file = folder.path("d/b.bson");
    let concern = ["-d", "d", "-c", "b", "--writeConcern", "{w: 1, wtimeout: 300}", &file];
    let late = tokio::time::timeout(Duration::from_secs(60), Tools::Ours.restore(&uri, &concern));
    let late = late.await.expect("an end").expect(1);
    let _ = late.saying("waiting for replication timed out").saying(&says(20, 0));
    assert_eq!(count(&client, "d", "b").await, 20);
    fail(&client, "insert", doc! {}, "off").await;
    for tools in BOTH {
        empty(&client).await;
        let ended = tools
            .restore(&uri, &["--writeConcern", "0", "-d", "d", "-c", "b", &file])
            .await
            .expect(0);
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert!(last.ends_with("\tdone"), "{tools:?}: {}", ended.stderr);
    }
    interrupted(&set, &folder).await;
}

/// Also where a signal ends it, the last line counts. The dump is a pipe that nobody closes.
async fn interrupted(set: &ReplicaSet, folder: &Folder) {
    let client = set.client().await;
    empty(&client).await;
    let pipe = folder.path("pipe.bson");
    let made = tokio::process::Command::new("mkfifo").arg(&pipe).status().await.unwrap();
    assert!(made.success());
    let held = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let uri = set.uri();
    let arguments = ["mongorestore", "--uri", &uri, "-d", "d", "-c", "piped", &pipe];
    let running = Bygone::new(arguments).start();
    wait::until("the collection is made", wait::PATIENCE, || async {
        let names = client.database("d").list_collection_names().await.unwrap();
        names.contains(&"piped".to_owned()).then_some(())
    })
    .await;
    running.interrupt();
    let output = running.wait(wait::PATIENCE).await.expect_code(1);
    let last = output.stderr.lines().last().unwrap_or_default();
    assert!(last.ends_with(&says(0, 0)), "{}", output.stderr);
    drop(held);
}

/// Makes a command of the tool answer something else than it did.
pub(super) async fn fail(
    client: &Client,
    command: &str,
    data: Document,
    mode: impl Into<bson::Bson>,
) {
    let mut all = doc! {"failCommands": [command], "appName": "bygone"};
    all.extend(data);
    let fail = doc! {"configureFailPoint": "failCommand", "mode": mode.into(), "data": all};
    client.database("admin").run_command(fail).await.unwrap();
}

/// An insert is repeated that had happened: documents without `_id` come once, and what was there before is not taken for
/// what was inserted.
async fn replies_that_are_lost(version: Version) {
    let (_set, client, uri, folder, ..) = begun(version).await;
    let once = doc! {"times": 1};
    let stops = doc! {"writeConcernError": {"code": 91, "errmsg": "going down"}};
    let bare: Vec<RawDocumentBuf> = (0..7).map(|n| rawdoc! {"n": n}).collect();
    write(&folder, "d", "a", &bare, PLAIN);
    let place = folder.path("");
    fail(&client, "insert", stops.clone(), once.clone()).await;
    let _ = Tools::Ours.restore(&uri, &[&place]).await.expect(0).saying(&says(7, 0));
    assert_eq!(count(&client, "d", "a").await, 7);
    empty(&client).await;
    fail(&client, "listCollections", doc! {"errorCode": 91}, once.clone()).await;
    let _ = Tools::Ours.restore(&uri, &[&place]).await.expect(0).saying(&says(7, 0));
    empty(&client).await;
    fail(&client, "create", stops.clone(), once.clone()).await;
    let _ = Tools::Ours.restore(&uri, &[&place]).await.expect(0).saying(&says(7, 0));
    write(&folder, "d", "a", &some(5), PLAIN);
    let coll = client.database("d").collection::<Document>("a");
    let cases: [(&[&str], i32, &str); 3] = [
        (&[], 0, "4 document(s) restored successfully. 1 document(s) failed"),
        (&["--stopOnError"], 1, "4 document(s) restored successfully. 1 document(s) failed"),
        (&["--maintainInsertionOrder"], 1, "2 document(s) restored successfully. "),
    ];
    for (flags, code, says) in cases {
        empty(&client).await;
        coll.insert_one(doc! {"_id": 2, "n": "old"}).await.unwrap();
        fail(&client, "insert", stops.clone(), once.clone()).await;
        let all = [flags, &[&place]].concat();
        let _ = Tools::Ours.restore(&uri, &all).await.expect(code).saying(says);
        let old = coll.find_one(doc! {"_id": 2}).await.unwrap().unwrap();
        assert_eq!(old.get_str("n").unwrap(), "old");
    }
}
