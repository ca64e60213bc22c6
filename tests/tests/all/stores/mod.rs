//! Every kind of store, with the real binary: encrypted by key file and by passphrase, in S3, spread over
//! three, and behind `up --listen`.

mod encrypted;
mod kept;
mod listen;

use bson::{Document, doc};
use bygone_tests::{
    ClusterState, ReplicaSet, Version, oracle,
    s3::{self, Weed},
};
use mongodb::Client;

use crate::{
    bad_input::{orders, says, told},
    spine::{Backup, complete, interrupted, mark},
};

/// Everything that can be done with a store, once: back up, follow, verify, restore several moments,
/// expire and groom; and the moments again.
pub async fn everything(backup: &Backup) {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    orders(&client, 0, 500).await;
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);
    let first = mark(&client, version).await;
    change(&client, 1).await;
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    let middle = followed(backup, &client, version).await;
    change(&client, 2).await;
    let last = followed(backup, &client, version).await;
    interrupted(up).await;
    backup.verify().await;
    for state in [&first, &middle, &last] {
        let restored = backup.restored(version, state.at.unwrap()).await;
        restored.equals((&client, version), state).await;
    }
    // Now only the newest snapshot is kept, and no window.
    change(&client, 3).await;
    let expire = backup.backup(&set.uri()).arg("--keep-last").arg("1").arg("--window").arg("0s");
    let _ = expire.run().await.expect_code(0);
    let newest = mark(&client, version).await;
    for _ in 0..2 {
        let groom = backup.command("groom").arg("--delay").arg("0s").run().await.expect_code(0);
        assert!(groom.stderr.starts_with("warning: with so short a delay"), "{}", groom.stderr);
    }
    backup.verify().await;
    let gone = first.at.unwrap().to_string();
    says(
        &told(&backup.restore(&set.uri(), gone).run().await, 1),
        &["cannot be restored; what can"],
    );
    let restored = backup.restored(version, "latest").await;
    restored.equals((&client, version), &newest).await;
}

/// Updates, deletes, and a collection dropped and made anew.
async fn change(client: &Client, round: i32) {
    let shop = client.database("shop");
    let coll = shop.collection::<Document>("orders");
    coll.update_many(doc! {"n": round}, doc! {"$inc": {"n": 10}}).await.unwrap();
    coll.delete_many(doc! {"n": 6 - round}).await.unwrap();
    orders(client, round * 1000, 300).await;
    let other = shop.collection::<Document>("other");
    other.drop().await.unwrap();
    other.insert_many((0..50).map(|id| doc! {"_id": id, "round": round})).await.unwrap();
}

async fn followed(backup: &Backup, client: &Client, version: Version) -> ClusterState {
    let state = mark(client, version).await;
    backup.wait_for(oracle::now(client).await).await;
    state
}

#[tokio::test]
async fn in_s3() {
    let weed = Weed::start().await;
    let keys = s3::environment();
    let backup = Backup::new().at(weed.url("some/prefix"));
    let backup = keys.iter().fold(backup, |backup, (name, value)| backup.env(name, value));
    everything(&backup).await;
    // A wrong secret, and no server at all.
    let wrong = backup.command("snapshots").env("AWS_SECRET_ACCESS_KEY", "wr0ng");
    let line = told(&wrong.run().await, 1);
    assert!(!line.contains("wr0ng"), "{line}");
}

#[tokio::test]
async fn in_s3_and_encrypted() {
    let weed = Weed::start().await;
    let keys = s3::environment();
    let backup = Backup::new().at(weed.url("encrypted"));
    let backup = keys.iter().fold(backup, |backup, (name, value)| backup.env(name, value));
    let key = encrypted::new_key(&backup, "key").await;
    everything(&backup.with("--key-file", key)).await;
}

/// Snapshots, oplog and records of syncs in three stores; each alone is not enough, and says so.
#[tokio::test]
async fn in_three_stores() {
    let backup = Backup::new();
    let url = |name: &str| format!("file://{}", backup.path(name).display());
    let (oplog, sync) = (url("oplog"), url("sync"));
    let backup = backup.with("--oplog-store", &oplog).with("--sync-store", &sync);
    everything(&backup).await;
    let there = |name: &str, part: &str| !crate::damage::named(&backup.path(name), part).is_empty();
    assert!(there("store", "packs/") && there("store", "/snapshots/"));
    assert!(!there("store", "/oplog/") && !there("store", "/timelines/"));
    assert!(there("oplog", "/oplog/") && there("oplog", "/timelines/"));
    assert!(!there("oplog", "packs/") && !there("oplog", "/snapshots/"));
    assert!(there("sync", "/sync/") && !there("sync", "packs/") && !there("sync", "/oplog/"));

    let set = ReplicaSet::single(Version::V8_2).await;
    let alone = |command: &str| {
        let command = bygone_tests::process::Bygone::new([command, "--store", &backup.url()]);
        command.env("BYGONE_SOURCE", set.uri()).env("BYGONE_TO", set.uri())
    };
    for command in ["backup", "up", "restore", "verify", "groom"] {
        let line = told(&alone(command).run().await, 2);
        says(&line, &[&backup.url(), "--oplog-store"]);
    }
    let without_sync = alone("backup").arg("--oplog-store").arg(&oplog);
    let line = told(&without_sync.run().await, 2);
    says(&line, &["--sync-store"]);
    backup.verify().await;
}
