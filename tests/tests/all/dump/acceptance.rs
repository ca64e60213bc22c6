//! What the stock tools' own tests ask of a restore and no other file here asks; both tools must do the same.

use std::fs;

use bson::{Document, doc, rawdoc};
use bygone_tests::{Options, ReplicaSet, Version};
use mongodb::Client;

use super::{
    Folder, Tools, empty,
    restoring::{count, some, write},
};

const BOTH: [Tools; 2] = [Tools::Ours, Tools::Stock];
const PLAIN: &str = r#"{"options":{},"indexes":[]}"#;

on_both! {
    majorities_are_waited_for
    a_collection_without_an_id_gets_another
    indexes_with_odd_names
    collections_of_the_system_are_left_out
    haystacks
    archives_with_an_oplog_need_no_replay
    a_user_of_one_database
}

async fn names(client: &Client, db: &str) -> Vec<String> {
    let mut names = client.database(db).list_collection_names().await.unwrap();
    names.sort();
    names
}

/// Unless asked for something else.
async fn majorities_are_waited_for(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    write(&folder, "one", "a", &some(10), PLAIN);
    let place = folder.path("");
    for (flags, want) in [(&[][..], "majority"), (&["--writeConcern", "1"], "1")] {
        for tools in BOTH {
            empty(&client).await;
            let one = client.database("one");
            one.run_command(doc! {"profile": 2}).await.unwrap();
            let _ = tools.restore(&uri, &[flags, &[&place]].concat()).await.expect(0);
            one.run_command(doc! {"profile": 0}).await.unwrap();
            let seen = one.collection::<Document>("system.profile");
            let seen = seen.find_one(doc! {"op": "insert", "ns": "one.a"}).await.unwrap();
            let command = seen.unwrap().get_document("command").unwrap().clone();
            let concern = command.get_document("writeConcern").unwrap().get("w").unwrap().clone();
            assert_eq!(concern.to_string().trim_matches('"'), want, "{tools:?}");
        }
    }
}

async fn a_collection_without_an_id_gets_another(version: Version) {
    let set = ReplicaSet::single(version).await;
    let folder = Folder::new();
    write(&folder, "one", "a", &some(1), PLAIN);
    let flags = ["--drop", "--preserveUUID", &folder.path("")];
    for tools in BOTH {
        let ended = tools.restore(&set.uri(), &flags).await.expect(0);
        let _ = ended.saying("--preserveUUID used but no UUID found in");
    }
}

async fn indexes_with_odd_names(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    let long = "n".repeat(200);
    let indexes = format!(
        r#"{{"options":{{}},"indexes":[
        {{"v":{{"$numberInt":"2"}},"key":{{"_id":{{"$numberInt":"1"}}}},"name":"_id_"}},
        {{"v":{{"$numberInt":"2"}},"key":{{"n":{{"$numberInt":"1"}}}},"name":"{long}"}},
        {{"v":{{"$numberInt":"1"}},"key":{{"x":{{"$numberInt":"1"}}}},"name":"x_1"}},
        {{"v":{{"$numberInt":"1"}},"key":{{"x":""}},"name":"x_"}}]}}"#
    );
    write(&folder, "one", "a", &some(3), &indexes);
    let place = folder.path("");
    for tools in BOTH {
        empty(&client).await;
        let flags = ["--convertLegacyIndexes", &place];
        let _ = tools.restore(&uri, &flags).await.expect(0);
        let coll = client.database("one").collection::<Document>("a");
        let mut found = coll.list_index_names().await.unwrap();
        found.sort();
        // Of two that are the same one is made.
        assert_eq!(found.len(), 3, "{tools:?}: {found:?}");
        assert!(found.contains(&long) && found[2].starts_with("x_"), "{tools:?}: {found:?}");
    }
}

async fn collections_of_the_system_are_left_out(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    for coll in ["a", "system.profile"] {
        write(&folder, "one", coll, &some(2), PLAIN);
    }
    let script = rawdoc! {"_id": "f", "value": "x"};
    write(&folder, "one", "system.js", &[script], PLAIN);
    let place = folder.path("");
    for tools in BOTH {
        empty(&client).await;
        let _ = tools.restore(&uri, &[&place]).await.expect(0);
        assert_eq!(names(&client, "one").await, ["a", "system.js"], "{tools:?}");
    }
    let _ =
        Tools::Ours.restore(&uri, &["--drop", &place]).await.expect(0).saying("one.system.profile");
}

/// Servers since 5.0 have no such index.
async fn haystacks(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let folder = Folder::new();
    let index = r#"{"options":{},"indexes":[{"v":{"$numberInt":"2"},"key":{"p":"geoHaystack","n":{"$numberInt":"1"}},
        "name":"p_geoHaystack","bucketSize":{"$numberInt":"5"}}]}"#;
    write(&folder, "one", "a", &some(2), index);
    let place = folder.path("");
    for tools in BOTH {
        empty(&client).await;
        let ended = tools.restore(&uri, &[&place]).await;
        if version < Version::V5_0 {
            let _ = ended.expect(0);
            let coll = client.database("one").collection::<Document>("a");
            assert_eq!(coll.list_index_names().await.unwrap().len(), 2, "{tools:?}");
        } else {
            let _ = ended.expect(1).saying("geoHaystack");
            assert!(names(&client, "one").await.is_empty(), "{tools:?}");
        }
        empty(&client).await;
        let _ = tools.restore(&uri, &["--noIndexRestore", &place]).await.expect(0);
        assert_eq!(count(&client, "one", "a").await, 2, "{tools:?}");
    }
}

async fn archives_with_an_oplog_need_no_replay(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    for db in ["one", "admin"] {
        let documents: Vec<Document> = (0..100).map(|n| doc! {"_id": n}).collect();
        client.database(db).collection("mine").insert_many(documents).await.unwrap();
    }
    for dump in BOTH {
        let archive = dump.dump(&uri, &["--oplog", "--archive"]).await.expect(0);
        for restore in BOTH {
            empty(&client).await;
            let arguments = ["--uri", &uri, "--drop", "--archive"];
            let ended = restore.run("mongorestore", arguments, &archive.stdout).await.expect(0);
            let _ = ended.saying(" 0 document(s) failed to restore.");
            assert_eq!(count(&client, "one", "mine").await, 100, "{dump:?} to {restore:?}");
            assert_eq!(count(&client, "admin", "mine").await, 100, "{dump:?} to {restore:?}");
        }
    }
}

/// It may write to that database and see nothing else.
async fn a_user_of_one_database(version: Version) {
    let set = ReplicaSet::start(Options::new(version).auth()).await;
    let client = set.client().await;
    let one = client.database("one");
    let roles = ["readWrite", "dbAdmin"];
    let user = doc! {"createUser": "u", "pwd": "p", "roles": roles.as_slice()};
    one.run_command(user).await.unwrap();
    let folder = Folder::new();
    let index = r#"{"options":{},"indexes":[{"v":{"$numberInt":"2"},"key":{"n":{"$numberInt":"1"}},"name":"n_1"}]}"#;
    write(&folder, "one", "a", &some(50), index);
    let address = set.members[0].address();
    let place = folder.path("one");
    let login = ["--host", &address, "-u", "u", "-p", "p", "--authenticationDatabase", "one"];
    for tools in BOTH {
        let arguments = login.iter().copied().chain(["-d", "one", "--drop", &place]);
        let ended = tools.run("mongorestore", arguments, b"").await.expect(0);
        let _ = ended.saying("50 document(s) restored successfully. 0 document(s) failed");
        let coll = one.collection::<Document>("a");
        assert_eq!(coll.list_index_names().await.unwrap().len(), 2, "{tools:?}");
        let out = folder.path("d");
        let arguments = login.iter().copied().chain(["-d", "one", "-o", &out]);
        let _ = tools.run("mongodump", arguments, b"").await.expect(0);
    }
}

/// Under another name, onto one that is there, without its options, and a part of it.
#[tokio::test]
async fn time_series() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let (client, uri) = (set.client().await, set.uri());
    let one = client.database("one");
    let series = doc! {"create": "s", "timeseries": {"timeField": "t", "metaField": "m"}};
    one.run_command(series).await.unwrap();
    let at = |n: i64| bson::DateTime::from_millis(1_700_000_000_000 + n * 1000);
    let documents: Vec<Document> =
        (0..100).map(|n| doc! {"t": at(n), "m": n % 3, "x": n}).collect();
    one.collection("s").insert_many(documents).await.unwrap();
    let folder = Folder::new();
    let (out, archive) = (folder.path("d"), format!("--archive={}", folder.path("a")));
    let _ = Tools::Stock.dump(&uri, &["-d", "one", "-o", &out]).await.expect(0);
    let _ = Tools::Stock.dump(&uri, &["-d", "one", &archive]).await.expect(0);
    for tools in BOTH {
        for place in [&out, &archive] {
            let there = tools.restore(&uri, &[place]).await.expect(1);
            let _ = there.saying("one.s");
            let bare =
                tools.restore(&uri, &["--drop", "--noOptionsRestore", place]).await.expect(1);
            let _ = bare.saying("noOptionsRestore");
            if tools == Tools::Stock && *place == archive {
                // It looks for one of the old name.
                continue;
            }
            let rename = ["--nsFrom", "one.s", "--nsTo", "two.t", place];
            let _ = tools.restore(&uri, &rename).await.expect(0);
            assert_eq!(count(&client, "two", "t").await, 100, "{tools:?} {place}");
            let listed = client.database("two").list_collections().await.unwrap();
            let listed: Vec<_> = futures::TryStreamExt::try_collect(listed).await.unwrap();
            let kind = listed.iter().find(|c| c.name == "t").map(|c| c.collection_type.clone());
            let kind = kind.unwrap();
            assert!(matches!(kind, mongodb::results::CollectionType::Timeseries), "{tools:?}");
            client.database("two").drop().await.unwrap();
        }
    }
}

mod replay {
    //! An oplog put together by hand.

    use bson::Bson;

    use super::{
        super::replaying::{entry, insert, oplog},
        *,
    };

    on_both! {
        what_an_oplog_may_hold
        a_limit_and_another_file
        what_was_said_is_repeated
    }

    async fn ids(client: &Client) -> Vec<Bson> {
        let find = doc! {"find": "a", "sort": {"_id": 1}, "projection": {"_id": 1}};
        let reply = client.database("one").run_command(find).await.unwrap();
        let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
        batch.iter().map(|d| d.as_document().unwrap().get("_id").unwrap().clone()).collect()
    }

    /// No-ops, an `_id` whose fields have an order, an entry larger than a document may be, a document that is there already.
    async fn what_an_oplog_may_hold(version: Version) {
        let set = ReplicaSet::single(version).await;
        let (client, uri) = (set.client().await, set.uri());
        let folder = Folder::new();
        write(&folder, "one", "a", &some(3), PLAIN);
        let around = rawdoc! {"_id": "large", "t": ""}.as_bytes().len();
        let large = "x".repeat((16 << 20) - around);
        let entries = [
            entry(1, &doc! {"op": "n", "ns": "", "o": {"msg": "periodic noop"}}),
            insert(2, doc! {"_id": {"b": 1, "a": 2}}),
            insert(3, doc! {"_id": {"a": 2, "b": 1}}),
            insert(4, doc! {"_id": 1, "n": "again"}),
            insert(5, doc! {"_id": "large", "t": large}),
            entry(6, &doc! {"op": "d", "ns": "one.a", "o": {"_id": {"b": 1, "a": 2}}}),
            entry(7, &doc! {"op": "n", "ns": "one.a", "o": {}}),
        ];
        assert!(entries[4].as_bytes().len() > 16 << 20);
        oplog(&folder.path("oplog.bson"), &entries);
        for tools in BOTH {
            empty(&client).await;
            let place = folder.path("");
            let _ = tools.restore(&uri, &["--oplogReplay", &place]).await.expect(0);
            let want: [Bson; 5] =
                [0.into(), 1.into(), 2.into(), "large".into(), doc! {"a": 2, "b": 1}.into()];
            assert_eq!(ids(&client).await, want, "{tools:?}");
            let coll = client.database("one").collection::<Document>("a");
            let again = coll.find_one(doc! {"_id": 1}).await.unwrap().unwrap();
            assert_eq!(again.get_str("n").unwrap(), "again", "{tools:?}");
        }
    }

    async fn a_limit_and_another_file(version: Version) {
        let set = ReplicaSet::single(version).await;
        let (client, uri) = (set.client().await, set.uri());
        let folder = Folder::new();
        write(&folder, "one", "a", &some(1), PLAIN);
        let entries = [1, 2, 3].map(|n| insert(n * 10, doc! {"_id": n}));
        let elsewhere = Folder::new();
        let other = elsewhere.path("other");
        oplog(&other, &entries);
        let place = folder.path("");
        let cases: [(&[&str], &[i32]); 5] = [
            (&["--oplogFile", &other], &[0, 1, 2, 3]),
            (&["--oplogFile", &other, "--oplogLimit", "30"], &[0, 1, 2]),
            (&["--oplogFile", &other, "--oplogLimit", "30:1"], &[0, 1, 2]),
            (&["--oplogFile", &other, "--oplogLimit", "30:2"], &[0, 1, 2, 3]),
            (&["--oplogFile", &other, "--oplogLimit", "5"], &[0]),
        ];
        for tools in BOTH {
            for (flags, want) in cases {
                empty(&client).await;
                let all = [&["--oplogReplay"], flags, &[&place]].concat();
                let _ = tools.restore(&uri, &all).await.expect(0);
                let want: Vec<Bson> = want.iter().map(|n| Bson::from(*n)).collect();
                assert_eq!(ids(&client).await, want, "{tools:?} {flags:?}");
            }
            for limit in ["x", "1:y", "1:2:3"] {
                let all = ["--oplogReplay", "--oplogLimit", limit, &place];
                let _ = tools.restore(&uri, &all).await.expect(1);
            }
            let none = ["--oplogReplay", "--oplogFile", &folder.path("none"), &place];
            let _ = tools.restore(&uri, &none).await.expect(1);
        }
        // Which of the two is meant?
        oplog(&folder.path("oplog.bson"), &entries[..1]);
        for tools in BOTH {
            let two = ["--oplogReplay", "--oplogFile", &other, &place];
            let _ = tools.restore(&uri, &two).await.expect(1).saying("cannot provide both");
        }
    }

    /// What a server wrote of many inserts at once, an index, a TTL that was changed, and a collection that went.
    async fn what_was_said_is_repeated(version: Version) {
        let set = ReplicaSet::single(version).await;
        let (client, uri) = (set.client().await, set.uri());
        let one = client.database("one");
        let from = one.run_command(doc! {"create": "a"}).await.unwrap();
        let from = from.get_timestamp("operationTime").unwrap();
        let documents: Vec<Document> = (0..600).map(|n| doc! {"_id": n, "n": n}).collect();
        one.collection("a").insert_many(documents).await.unwrap();
        for command in [
            doc! {"createIndexes": "a", "indexes": [{"key": {"at": 1}, "name": "at_1", "expireAfterSeconds": 100}]},
            doc! {"createIndexes": "a", "indexes": [{"key": {"n": 1}, "name": "n_1", "unique": true}]},
            doc! {"collMod": "a", "index": {"name": "at_1", "expireAfterSeconds": 200}},
            doc! {"update": "a", "updates": [{"q": {"n": {"$gt": 400}}, "u": {"$set": {"more": true}}, "multi": true}]},
            doc! {"delete": "a", "deletes": [{"q": {"n": {"$lt": 10}}, "limit": 0}]},
            doc! {"create": "gone"},
            doc! {"drop": "gone"},
        ] {
            one.run_command(command).await.unwrap();
        }
        let folder = Folder::new();
        let out = folder.path("d");
        let since = format!(
            r#"{{"ts":{{"$gte":{{"$timestamp":{{"t":{},"i":{}}}}}}},"ns":{{"$regex":"^(one\\.|admin)"}}}}"#,
            from.time, from.increment
        );
        let entries = ["-d", "local", "-c", "oplog.rs", "-q", &since, "-o", &out];
        let _ = Tools::Ours.dump(&uri, &entries).await.expect(0);
        let bare = folder.path("bare");
        fs::create_dir(&bare).unwrap();
        let file = format!("{out}/local/oplog.rs.bson");
        for tools in BOTH {
            empty(&client).await;
            let replay = ["--oplogReplay", "--oplogFile", &file, &bare];
            let _ = tools.restore(&uri, &replay).await.expect(0);
            assert_eq!(names(&client, "one").await, ["a"], "{tools:?}");
            assert_eq!(count(&client, "one", "a").await, 590, "{tools:?}");
            let coll = one.collection::<Document>("a");
            let more = coll.count_documents(doc! {"more": true}).await.unwrap();
            assert_eq!(more, 199, "{tools:?}");
            let indexes = one.run_command(doc! {"listIndexes": "a"}).await.unwrap();
            let indexes = indexes.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
            let texts: Vec<String> = indexes.iter().map(ToString::to_string).collect();
            assert_eq!(texts.len(), 3, "{tools:?}: {texts:?}");
            assert!(
                texts.iter().any(|t| t.contains("at_1") && t.contains("200")),
                "{tools:?}: {texts:?}"
            );
            assert!(texts.iter().any(|t| t.contains("unique")), "{tools:?}: {texts:?}");
        }
    }
}
