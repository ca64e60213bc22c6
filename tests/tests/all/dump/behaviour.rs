//! What scripts rely on: which namespaces, what is said, what ends with which status.

use bson::{Document, doc, rawdoc};
use bygone_tests::{Options, ReplicaSet, Version, server};
use mongodb::{Client, IndexModel};

use super::{Folder, Tools, empty};

on_both! {
    parts_of_a_server_are_dumped
    files_are_those_of_the_stock_tool
    duplicates_are_counted_or_stop
    namespaces_are_chosen_and_renamed
    options_and_indexes_can_be_left_out
    users_and_roles_come_back
    passwords_are_taken_from_everywhere
    damaged_archives_are_refused_with_the_place
}

async fn ids(client: &Client, db: &str, coll: &str) -> Vec<bson::Bson> {
    let find = doc! {"find": coll, "sort": {"_id": 1}, "projection": {"_id": 1}};
    let reply = client.database(db).run_command(find).await.unwrap();
    let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
    batch.iter().map(|d| d.as_document().unwrap().get("_id").unwrap().clone()).collect()
}

async fn insert(client: &Client, db: &str, coll: &str, count: i32) {
    let documents: Vec<Document> = (0..count).map(|n| doc! {"_id": n, "n": n}).collect();
    client.database(db).collection(coll).insert_many(documents).await.unwrap();
}

async fn names(client: &Client, db: &str) -> Vec<String> {
    let mut names = client.database(db).list_collection_names().await.unwrap();
    names.sort();
    names
}

async fn one_set(version: Version) -> (ReplicaSet, Client, String) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    (set, client, uri)
}

async fn parts_of_a_server_are_dumped(version: Version) {
    let (_set, client, uri) = one_set(version).await;
    for coll in ["a", "b", "tmp1", "tmp2"] {
        insert(&client, "one", coll, 10).await;
    }
    insert(&client, "two", "a", 5).await;
    let folder = Folder::new();
    let dumped = async |arguments: &[&str]| {
        let out = folder.path("d");
        // Each dump starts anew; the first finds nothing to remove.
        let _ = std::fs::remove_dir_all(&out);
        let mut all = vec!["--out", out.as_str()];
        all.extend(arguments);
        let ended = Tools::Ours.dump(&uri, &all).await.expect(0);
        let mut found: Vec<String> = walk(std::path::Path::new(&out));
        found.retain(|name| name.ends_with(".bson") && !name.starts_with("admin"));
        found.sort();
        (found, ended.stderr)
    };
    let (found, said) = dumped(&["-d", "one", "-c", "a"]).await;
    assert_eq!(found, ["one/a.bson"]);
    assert!(said.contains("done dumping one.a (10 documents)"), "{said}");
    let without =
        ["-d", "one", "--excludeCollection", "a", "--excludeCollectionsWithPrefix", "tmp"];
    assert_eq!(dumped(&without).await.0, ["one/b.bson"]);
    assert_eq!(dumped(&[]).await.0.len(), 5);
    let (found, said) = dumped(&["-d", "one", "-c", "none"]).await;
    assert!(found.is_empty() && said.contains("does not exist"), "{said}");
    assert!(dumped(&["-d", "none"]).await.0.is_empty());
    let query = ["-d", "one", "-c", "a", "-q", r#"{"_id": {"$lt": {"$numberInt": "3"}}}"#];
    assert!(dumped(&query).await.1.contains("(3 documents)"));
    let file = folder.path("query.json");
    std::fs::write(&file, r#"{"n": 4}"#).unwrap();
    assert!(
        dumped(&["-d", "one", "-c", "a", "--queryFile", &file]).await.1.contains("(1 document)")
    );
    let bad = ["--out", "x", "-d", "one", "-c", "a", "-q", "{n: 1}"];
    let _ = Tools::Ours.dump(&uri, &bad).await.expect(1).saying("error parsing query");
    let out = Tools::Ours.dump(&uri, &["-d", "one", "-c", "a", "-o", "-"]).await.expect(0);
    let stock = Tools::Stock.dump(&uri, &["-d", "one", "-c", "a", "-o", "-"]).await.expect(0);
    assert_eq!(out.stdout, stock.stdout);
}

pub fn walk(root: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()).into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            found.push(name);
        }
    }
    found
}

async fn files_are_those_of_the_stock_tool(version: Version) {
    let (_set, client, uri) = one_set(version).await;
    insert(&client, "one", "a", 10).await;
    let db = client.database("one");
    let model = IndexModel::builder().keys(doc! {"n": -1, "a": 1}).build();
    db.collection::<Document>("a").create_index(model).await.unwrap();
    db.create_collection("v").view_on("a").pipeline([doc! {"$match": {"n": 1}}]).await.unwrap();
    let folder = Folder::new();
    for arguments in [&[][..], &["-d", "one"], &["--gzip"]] {
        let dump = async |tools: Tools, name: &str| {
            let out = folder.path(name);
            let _ = std::fs::remove_dir_all(&out);
            let mut all = vec!["-o", out.as_str()];
            all.extend(arguments);
            let _ = tools.dump(&uri, &all).await.expect(0);
            let mut files = walk(std::path::Path::new(&out));
            files.sort();
            (out, files)
        };
        let (ours, stock) = (dump(Tools::Ours, "o").await, dump(Tools::Stock, "s").await);
        assert_eq!(ours.1, stock.1, "{arguments:?}");
        let plain = |name: &&String| !name.contains("prelude") && !name.ends_with(".gz");
        for name in ours.1.iter().filter(plain) {
            let read = |root: &str| std::fs::read(format!("{root}/{name}")).unwrap();
            assert_eq!(read(&ours.0), read(&stock.0), "{name}");
        }
    }
}

async fn duplicates_are_counted_or_stop(version: Version) {
    let (_set, client, uri) = one_set(version).await;
    let target = client.database("one");
    let documents: Vec<u8> =
        [1, 2, 2, 3].iter().flat_map(|n| rawdoc! {"_id": *n}.into_bytes()).collect();
    let folder = Folder::new();
    let file = folder.path("a.bson");
    std::fs::write(&file, documents).unwrap();
    for tools in [Tools::Ours, Tools::Stock] {
        let restore = async |more: &[&str]| {
            target.drop().await.unwrap();
            let mut all = vec!["-d", "one", "-c", "a"];
            all.extend(more);
            all.push(&file);
            tools.restore(&uri, &all).await
        };
        let _ = restore(&[])
            .await
            .expect(0)
            .saying("3 document(s) restored successfully. 1 document(s) failed to restore.");
        let ended = restore(&["--maintainInsertionOrder"]).await.expect(1);
        let ended = ended.saying("2 document(s) restored successfully. ");
        assert_eq!(ids(&client, "one", "a").await, [1.into(), 2.into()], "{}", ended.stderr);
        let _ = restore(&["--stopOnError"]).await.expect(1).saying("Failed: ");
    }
    target.drop().await.unwrap();
    let strict = ["-d", "one", "-c", "a", "--strict", &file];
    let _ = Tools::Ours.restore(&uri, &strict).await.expect(1).saying("1 document(s) failed");
}

async fn namespaces_are_chosen_and_renamed(version: Version) {
    let (_set, client, uri) = one_set(version).await;
    for (db, coll) in [("one", "a.x"), ("one", "b"), ("two", "a.x"), ("two", "st*r")] {
        insert(&client, db, coll, 3).await;
    }
    let folder = Folder::new();
    let archive = format!("--archive={}", folder.path("a"));
    let out = folder.path("d");
    let _ = Tools::Ours.dump(&uri, &[&archive]).await.expect(0);
    let _ = Tools::Ours.dump(&uri, &["-o", &out]).await.expect(0);
    for place in [&archive, &out] {
        let restore = async |arguments: &[&str]| {
            empty(&client).await;
            let mut all = arguments.to_vec();
            all.push(place);
            Tools::Ours.restore(&uri, &all).await
        };
        let _ = restore(&["--nsInclude", "*.a.x"]).await.expect(0);
        assert_eq!(names(&client, "one").await, ["a.x"]);
        assert_eq!(names(&client, "two").await, ["a.x"]);
        let _ = restore(&["--nsInclude", "two.*", "--nsExclude", r"*.st\*r"]).await.expect(0);
        assert_eq!(names(&client, "two").await, ["a.x"]);
        let rename = ["--nsFrom", "$db$.$coll$", "--nsTo", "new.$coll$_$db$"];
        let _ = restore(&rename).await.expect(0);
        assert_eq!(names(&client, "new").await, ["a.x_one", "a.x_two", "b_one", "st*r_two"]);
        let clash = ["--nsFrom", "$db$.a.x", "--nsTo", "same.a"];
        let _ = restore(&clash).await.expect(1).saying("conflicting namespace destinations");
        let _ = restore(&["--dryRun"]).await.expect(0).saying("dry run completed");
        assert!(names(&client, "one").await.is_empty());
        let _ = restore(&["--nsInclude", "one.*", "--excludeCollection", "b"]).await.expect(0);
        assert_eq!(names(&client, "one").await, ["a.x"]);
    }
    empty(&client).await;
    let _ = Tools::Ours.restore(&uri, &["-d", "three", &format!("{out}/one")]).await.expect(0);
    assert_eq!(names(&client, "three").await, ["a.x", "b"]);
    let file = format!("{out}/two/a.x.bson");
    let _ = Tools::Ours.restore(&uri, &[&file]).await.expect(0);
    assert_eq!(names(&client, "two").await, ["a.x"]);
    let bytes = std::fs::read(&file).unwrap();
    let stdin = ["--uri", &uri, "-d", "four", "-c", "in", "--dir=-"];
    let _ = Tools::Ours.run("mongorestore", stdin, &bytes).await.expect(0);
    assert_eq!(ids(&client, "four", "in").await.len(), 3);
}

async fn options_and_indexes_can_be_left_out(version: Version) {
    let (_set, client, uri) = one_set(version).await;
    let db = client.database("one");
    let options = doc! {"create": "a", "capped": true, "size": 4096};
    db.run_command(options).await.unwrap();
    insert(&client, "one", "a", 3).await;
    let coll = db.collection::<Document>("a");
    coll.create_index(IndexModel::builder().keys(doc! {"n": 1}).build()).await.unwrap();
    let uuid = async || {
        let list = doc! {"listCollections": 1, "filter": {"name": "a"}};
        let reply = db.run_command(list).await.unwrap();
        let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap().clone();
        let entry = batch[0].as_document().unwrap().clone();
        (entry.get_document("info").unwrap().get("uuid").unwrap().clone(), entry)
    };
    let before = uuid().await.0;
    let folder = Folder::new();
    let out = folder.path("d");
    let _ = Tools::Ours.dump(&uri, &["-o", &out]).await.expect(0);
    let restore = async |arguments: &[&str]| {
        let mut all = vec!["--drop"];
        all.extend(arguments);
        all.push(&out);
        let _ = Tools::Ours.restore(&uri, &all).await.expect(0);
        let capped = uuid().await.1.get_document("options").unwrap().contains_key("capped");
        (capped, coll.list_index_names().await.unwrap().len())
    };
    assert_eq!(restore(&[]).await, (true, 2));
    assert_ne!(uuid().await.0, before);
    assert_eq!(restore(&["--noIndexRestore"]).await, (true, 1));
    assert_eq!(restore(&["--noOptionsRestore"]).await, (false, 2));
    assert_eq!(restore(&["--preserveUUID"]).await, (true, 2));
    assert_eq!(uuid().await.0, before);
    assert_eq!(restore(&["--writeConcern", "{w: 1, j: true}", "--objcheck"]).await, (true, 2));
    let again = Tools::Ours.restore(&uri, &[&out]).await.expect(0);
    let _ = again.saying("restoring to existing collection one.a without dropping");
}

async fn users_and_roles_come_back(version: Version) {
    let (_set, client, uri) = one_set(version).await;
    insert(&client, "one", "a", 3).await;
    let db = client.database("one");
    let role = doc! {"createRole": "r", "privileges": [], "roles": ["read"]};
    db.run_command(role).await.unwrap();
    let user = doc! {"createUser": "u", "pwd": "secret", "roles": ["r"]};
    db.run_command(user).await.unwrap();
    let all = doc! {"createUser": "all", "pwd": "secret", "roles": ["readAnyDatabase"]};
    client.database("admin").run_command(all).await.unwrap();
    let users = async || ids(&client, "admin", "system.users").await;
    let (both, one) = (vec!["admin.all".into(), "one.u".into()], vec!["one.u".into()]);
    assert_eq!(users().await, both);
    for (dump, restore) in
        [(Tools::Ours, Tools::Ours), (Tools::Stock, Tools::Ours), (Tools::Ours, Tools::Stock)]
    {
        let folder = Folder::new();
        let (whole, part) = (folder.path("whole"), folder.path("part"));
        let archive = format!("--archive={}", folder.path("archive"));
        let _ = dump.dump(&uri, &["-o", &whole]).await.expect(0);
        let _ =
            dump.dump(&uri, &["-d", "one", "--dumpDbUsersAndRoles", "-o", &part]).await.expect(0);
        let _ = dump.dump(&uri, &[&archive]).await.expect(0);
        for place in [&whole, &archive] {
            empty(&client).await;
            assert!(users().await.is_empty());
            let _ = restore.restore(&uri, &["--drop", place]).await.expect(0);
            assert_eq!(users().await, both, "{dump:?} {restore:?} {place}");
            let left = names(&client, "admin").await;
            assert!(!left.iter().any(|name| name.starts_with("temp")), "{left:?}");
        }
        empty(&client).await;
        let place = format!("{part}/one");
        let arguments = ["-d", "one", "--restoreDbUsersAndRoles", &place];
        let _ = restore.restore(&uri, &arguments).await.expect(0);
        assert_eq!(users().await, one, "{dump:?} {restore:?}");
        let roles = ids(&client, "admin", "system.roles").await;
        assert_eq!(roles, ["one.r".into()]);
        // The password is what it was.
        client
            .database("admin")
            .run_command(doc! {"createUser": "all", "pwd": "secret",
            "roles": ["readAnyDatabase"]})
            .await
            .unwrap();
        let none = format!("{whole}/one");
        let arguments = ["-d", "one", "--restoreDbUsersAndRoles", &none];
        let _ = Tools::Ours.restore(&uri, &arguments).await.expect(1).saying("users and roles");
    }
}

async fn passwords_are_taken_from_everywhere(version: Version) {
    let set = ReplicaSet::start(Options::new(version).auth()).await;
    let client = set.client().await;
    insert(&client, "one", "a", 3).await;
    let address = set.members[0].address();
    let folder = Folder::new();
    let out = folder.path("d");
    let login = ["--host", &address, "-u", server::USER, "--authenticationDatabase", "admin"];
    let dump = async |more: &[&str], input: &[u8]| {
        let mut all = login.to_vec();
        all.extend(["-d", "one", "-o", &out]);
        all.extend(more);
        Tools::Ours.run("mongodump", all, input).await
    };
    let _ = dump(&["-p", server::PASSWORD], b"").await.expect(0);
    let _ = dump(&[], format!("{}\n", server::PASSWORD).as_bytes()).await.expect(0);
    let config = folder.path("config.yaml");
    std::fs::write(&config, format!("password: {}\n", server::PASSWORD)).unwrap();
    let _ = dump(&["--config", &config], b"").await.expect(0);
    let wrong = dump(&["-p", "wrong"], b"").await.expect(1);
    assert!(!wrong.stderr.contains("wrong\""), "{}", wrong.stderr);
    let uri = set.uri();
    let _ = Tools::Ours.restore(&uri, &["--drop", &out.clone()]).await.expect(0);
}

async fn damaged_archives_are_refused_with_the_place(version: Version) {
    let (_set, client, uri) = one_set(version).await;
    insert(&client, "one", "a", 2000).await;
    let folder = Folder::new();
    let path = folder.path("a");
    let archive = format!("--archive={path}");
    let _ = Tools::Stock.dump(&uri, &[&archive]).await.expect(0);
    let whole = std::fs::read(&path).unwrap();
    let restore = async |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Tools::Ours.restore(&uri, &["--drop", &archive]).await
    };
    let _ = restore(&whole).await.expect(0);
    for at in [2, 20, 300, whole.len() / 2, whole.len() - 1] {
        let ended = restore(&whole[..at]).await.expect(1);
        assert!(ended.stderr.contains("Failed: "), "{}", ended.stderr);
    }
    let mut flipped = whole.clone();
    let at = whole.len() / 2;
    flipped[at] ^= 1;
    let ended = restore(&flipped).await.expect(1);
    assert!(ended.stderr.contains(" at byte "), "{}", ended.stderr);
    let _ = restore(b"not an archive")
        .await
        .expect(1)
        .saying("does not appear to be a mongodump archive");
}
