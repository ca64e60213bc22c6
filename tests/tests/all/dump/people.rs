//! Users and roles of dumps that are not whole, and of a store.

use bson::{Document, doc, rawdoc};
use bygone_tests::{ReplicaSet, Version, process::Bygone};
use mongodb::Client;

use super::{Folder, Tools, empty, restoring::write};

on_both! {
    versions_and_single_files
    one_database_of_a_store
}

async fn users(client: &Client) -> Vec<String> {
    let find = doc! {"find": "system.users", "sort": {"_id": 1}};
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
    let plain = r#"{"options":{},"indexes":[]}"#;
    for (number, taken) in [(1, false), (3, true), (4, false), (5, true)] {
        let version = rawdoc! {"_id": "authSchema", "currentVersion": number};
        let dir = Folder::new();
        write(&dir, "admin", "system.version", &[version], plain);
        let users_file = format!("{out}/admin/system.users.bson");
        let file = dir.path("admin/system.users.bson");
        std::fs::copy(users_file, &file).unwrap();
        for tools in [Tools::Ours, Tools::Stock] {
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
