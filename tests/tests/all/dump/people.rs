//! Users and roles of dumps that are not whole, and of a store.

use bson::{Document, doc, rawdoc};
use bygone_tests::{ReplicaSet, Version, process::Bygone};
use mongodb::Client;

use super::{
    Folder, Tools,
    archives::{prelude, whole},
    empty,
    restoring::{count, some, write},
};

const PLAIN: &str = r#"{"options":{},"indexes":[]}"#;

on_both! {
    versions_and_single_files
    one_database_of_a_store
    users_and_roles_by_their_own_names
    old_users_are_refused_before_anything_is_dropped
}

async fn users(client: &Client) -> Vec<String> {
    ids(client, "system.users").await
}

async fn ids(client: &Client, coll: &str) -> Vec<String> {
    let find = doc! {"find": coll, "sort": {"_id": 1}};
    let reply = client.database("admin").run_command(find).await.unwrap();
    let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
    let id = |user: &bson::Bson| user.as_document().unwrap().get_str("_id").unwrap().to_owned();
    batch.iter().map(id).collect()
}

async fn versions_and_single_files(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let user = doc! {"createUser": "u", "pwd": "p", "roles": ["readWrite"]};
    client.database("one").run_command(user).await.unwrap();
    let folder = Folder::new();
    let out = folder.path("d");
    let _ = Tools::Stock.dump(&uri, &["-d", "admin", "-o", &out]).await.expect(0);
    for (number, taken) in [(1, false), (3, true), (4, false), (5, true)] {
        let schema = rawdoc! {"_id": "authSchema", "currentVersion": number};
        let dir = Folder::new();
        write(&dir, "admin", "system.version", &[schema], PLAIN);
        let users_file = format!("{out}/admin/system.users.bson");
        let file = dir.path("admin/system.users.bson");
        std::fs::copy(users_file, &file).unwrap();
        for tools in [Tools::Ours, Tools::Stock] {
            // The stock tool gives this server one name, where it wants two.
            if tools == Tools::Stock && version == Version::V5_0 {
                continue;
            }
            empty(&client).await;
            let _ = tools.restore(&uri, &[&dir.path("")]).await.expect(i32::from(!taken));
            assert_eq!(users(&client).await.len(), usize::from(taken), "{tools:?} {number}");
        }
        // The file alone, with its version beside it: merged by the server, whose other users stay.
        empty(&client).await;
        let other = doc! {"createUser": "v", "pwd": "p", "roles": ["readWrite"]};
        client.database("two").run_command(other).await.unwrap();
        for flags in [&[file.as_str()][..], &["-d", "admin", "-c", "system.users", &file]] {
            let _ = Tools::Ours.restore(&uri, flags).await.expect(i32::from(!taken));
            let want: &[&str] = if taken { &["one.u", "two.v"] } else { &["two.v"] };
            assert_eq!(users(&client).await, want, "{number}");
        }
    }
}

/// Users of other databases stay as they are.
async fn one_database_of_a_store(version: Version) {
    let source = ReplicaSet::single(version).await;
    let target = ReplicaSet::single(version).await;
    let (from, to) = (source.client().await, target.client().await);
    for db in ["one", "two"] {
        let db = from.database(db);
        db.collection::<Document>("a").insert_one(doc! {"_id": 1}).await.unwrap();
        let user = doc! {"createUser": "u", "pwd": "p", "roles": ["readWrite"]};
        db.run_command(user).await.unwrap();
    }
    let folder = Folder::new();
    let store = format!("file://{}", folder.path("store"));
    let backup = Bygone::new(["backup", "--store", &store]).env("BYGONE_SOURCE", source.uri());
    let _ = backup.run().await.expect_code(0);
    let flags = ["--store", &store, "-d", "one", "--restoreDbUsersAndRoles"];
    let _ = Tools::Ours.restore(&target.uri(), &flags).await.expect(0);
    assert_eq!(users(&to).await, ["one.u"]);
    assert!(to.database("two").list_collection_names().await.unwrap().is_empty());
}

/// The rules are asked for each of them; one without the other is merged too.
async fn users_and_roles_by_their_own_names(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let one = client.database("one");
    one.run_command(doc! {"createRole": "r", "privileges": [], "roles": ["read"]}).await.unwrap();
    one.run_command(doc! {"createUser": "u", "pwd": "p", "roles": ["read"]}).await.unwrap();
    let folder = Folder::new();
    let (out, archive) = (folder.path("d"), format!("--archive={}", folder.path("a")));
    let _ = Tools::Ours.dump(&uri, &["-o", &out]).await.expect(0);
    let _ = Tools::Ours.dump(&uri, &[&archive]).await.expect(0);
    for place in [&out, &archive] {
        for (rule, user, role) in [
            ("--nsInclude=admin.system.roles", false, true),
            ("--nsInclude=admin.system.users", true, false),
            ("--nsExclude=admin.system.users", false, true),
            ("--nsExclude=admin.system.roles", true, false),
            ("--nsInclude=one.*", false, false),
        ] {
            empty(&client).await;
            let _ = Tools::Ours.restore(&uri, &[rule, place]).await.expect(0);
            let found = (users(&client).await, ids(&client, "system.roles").await);
            let want = |there: bool, name: &str| vec![name.to_owned(); usize::from(there)];
            assert_eq!(found, (want(user, "one.u"), want(role, "one.r")), "{rule} {place}");
        }
    }
}

/// An archive tells it before the documents of its collections, a directory at once.
async fn old_users_are_refused_before_anything_is_dropped(version: Version) {
    let set = ReplicaSet::single(version).await;
    let (client, uri) = (set.client().await, set.uri());
    let schema = [rawdoc! {"_id": "authSchema", "currentVersion": 1}];
    let user = [rawdoc! {"_id": "one.u", "user": "u", "db": "one", "roles": []}];
    let folder = Folder::new();
    write(&folder, "admin", "system.version", &schema, PLAIN);
    write(&folder, "admin", "system.users", &user, PLAIN);
    write(&folder, "d", "a", &some(5), PLAIN);
    let listed = [
        ("admin", "system.users", None),
        ("admin", "system.version", None),
        ("d", "a", Some(PLAIN)),
    ];
    let parts = [
        prelude(&listed),
        whole("admin", "system.users", &user),
        whole("admin", "system.version", &schema),
        whole("d", "a", &some(5)),
    ];
    let file = Folder::new();
    std::fs::write(file.path("archive"), parts.concat()).unwrap();
    let archive = format!("--archive={}", file.path("archive"));
    for place in [&folder.path(""), &archive] {
        empty(&client).await;
        let coll = client.database("d").collection::<Document>("a");
        coll.insert_one(doc! {"_id": "old"}).await.unwrap();
        let ended = Tools::Ours.restore(&uri, &["--drop", place]).await.expect(1);
        let _ = ended.saying("cannot restore users and roles of version 1");
        assert!(coll.find_one(doc! {"_id": "old"}).await.unwrap().is_some(), "{place}");
        // Who wants none of them is not held up.
        let rest = ["--drop", "--nsInclude=d.*", place];
        let _ = Tools::Ours.restore(&uri, &rest).await.expect(0);
        assert_eq!(count(&client, "d", "a").await, 5, "{place}");
    }
}
