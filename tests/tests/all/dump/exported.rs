//! A moment of a store as a dump, which the stock mongorestore restores.

use bson::{Document, doc};
use bygone_tests::{ReplicaSet, Version, Workload, diff, process::Bygone, state_at};
use mongodb::Client;

use super::{Folder, Tools, empty, rounds::stock_loses};

async fn exported(version: Version) {
    let source = ReplicaSet::single(version).await;
    let target = ReplicaSet::single(version).await;
    let (from, to) = (source.client().await, target.client().await);
    let mut workload = Workload::new(31, version);
    workload.run(&from, 300).await;
    let scripts = |of: &Client| of.database("admin").collection::<Document>("system.js");
    scripts(&from).insert_one(doc! {"_id": "f", "value": "x"}).await.unwrap();
    let mark = workload.mark(&from).await;
    let folder = Folder::new();
    let store = format!("file://{}", folder.path("store"));
    let backup = Bygone::new(["backup", "--store", &store]).env("BYGONE_SOURCE", source.uri());
    let _ = backup.run().await.expect_code(0);
    workload.run(&from, 50).await;
    let backup = Bygone::new(["backup", "--store", &store]).env("BYGONE_SOURCE", source.uri());
    let _ = backup.run().await.expect_code(0);
    let at = mark.at.unwrap().to_string();
    let (out, archive) = (folder.path("d"), folder.path("a"));
    let export = |place: &[&str]| {
        let all = ["export", "--store", &store, "--at", &at];
        Bygone::new(all.iter().chain(place).copied())
    };
    let _ = export(&["--out", &out]).run().await.expect_code(0);
    let _ = export(&["--archive", &archive, "--gzip"]).run().await.expect_code(0);
    let archive = format!("--archive={archive}");
    let from_store = ["--store", store.as_str(), "--at", at.as_str()];
    for (tools, place) in [
        (Tools::Ours, from_store.to_vec()),
        (Tools::Stock, vec![out.as_str()]),
        (Tools::Stock, vec!["--gzip", &archive]),
        (Tools::Ours, vec!["--gzip", &archive]),
    ] {
        empty(&to).await;
        scripts(&to).delete_many(doc! {}).await.unwrap();
        let mut all = vec!["--drop", "--bypassDocumentValidation"];
        all.extend(place);
        let _ = tools.restore(&target.uri(), &all).await.expect(0);
        let there = scripts(&to).count_documents(doc! {}).await.unwrap();
        assert_eq!(there, 1, "{tools:?} {all:?}");
        let found = state_at(&to, version, None).await;
        let mut differences = diff(&mark, &found);
        differences.retain(|d| !(tools == Tools::Stock && stock_loses(d)));
        assert_eq!(differences, Vec::<String>::new(), "{tools:?} {all:?}");
    }
}

#[tokio::test]
async fn a_moment_is_a_dump_8_2() {
    exported(Version::V8_2).await;
}

#[tokio::test]
async fn a_moment_is_a_dump_4_4() {
    exported(Version::V4_4).await;
}
