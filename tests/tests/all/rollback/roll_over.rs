//! An oplog that has rolled over while nobody followed it: entries are lost, and that is said.

use std::time::Duration;

use bson::{Document, doc};
use bygone_base::Ts;
use bygone_tests::{ClusterState, Options, ReplicaSet, Version, oracle, server, state_at};
use mongodb::Client;

use super::{snapshots, stored_entries, timeline, write};
use crate::spine::{Backup, complete, interrupted};

/// A set whose oplog holds a megabyte, and gives old entries up at each checkpoint, every second.
pub async fn forgetful(version: Version) -> ReplicaSet {
    let mut options = Options::new(version).oplog_mb(1);
    options.history = Duration::ZERO;
    options.arguments.push("--syncdelay=1".to_owned());
    ReplicaSet::start(options).await
}

/// The oldest entry of the source's oplog.
async fn oldest(client: &Client) -> Ts {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let first = oplog.find_one(doc! {}).await.unwrap().unwrap();
    server::ts(first.get_timestamp("ts").unwrap())
}

/// Writes until everything up to `at` is gone from the oplog.
pub async fn roll_over(client: &Client, at: Ts) {
    let coll = client.database("told").collection::<Document>("churn");
    for round in 0..2000 {
        let whole = doc! {"round": round, "pad": "y".repeat(100_000)};
        coll.replace_one(doc! {"_id": 1}, whole).upsert(true).await.unwrap();
        if oldest(client).await > at {
            return;
        }
    }
    panic!("the oplog did not roll over");
}

/// The state now, of a source that forgets its past at once.
async fn quiet(client: &Client, version: Version) -> ClusterState {
    let at = oracle::now(client).await;
    ClusterState { at: Some(at), ..state_at(client, version, None).await }
}

async fn restores(backup: &Backup, version: Version, mark: &ClusterState) {
    let restored = backup.restored(version, mark.at.unwrap()).await;
    let there = state_at(&restored.target.client().await, version, None).await;
    assert_eq!(bygone_tests::diff(mark, &there), Vec::<String>::new());
}

/// The stored slices have nothing between the two histories.
async fn gap_is_not_bridged(backup: &Backup, before: &ClusterState, lost_until: Ts) {
    let entries = stored_entries(backup).await;
    let within = entries.iter().any(|(at, _)| before.at.unwrap() < at.ts && at.ts < lost_until);
    assert!(!within, "entries that nobody could read are stored");
}

async fn up_resyncs(version: Version) {
    let set = forgetful(version).await;
    let client = set.client().await;
    write(&client, "before", 0..50).await;
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    let before = quiet(&client, version).await;
    backup.wait_for(before.at.unwrap()).await;
    let stopped = interrupted(up).await;
    write(&client, "meanwhile", 20..70).await;
    let end = oracle::now(&client).await;
    roll_over(&client, end).await;
    let lost_until = oldest(&client).await;

    let mut up = backup.up(&set.uri()).start();
    let line = up.line(Duration::from_secs(60), |line| line.contains("requires a resync")).await;
    assert!(line.contains("entries are lost"), "{line}");
    complete(&mut up).await;
    let now = quiet(&client, version).await;
    backup.wait_for(now.at.unwrap()).await;
    let ended = interrupted(up).await;
    let told = ended.stderr.lines().filter(|line| line.contains("requires a resync")).count();
    assert_eq!(told, 1, "{}\n{}", stopped.stderr, ended.stderr);

    assert_eq!(timeline(&backup).await, 2);
    backup.verify().await;
    gap_is_not_bridged(&backup, &before, lost_until).await;
    restores(&backup, version, &now).await;
    restores(&backup, version, &before).await;
    let refused = backup.restore(&set.uri(), end).arg("--dry-run").run().await.expect_code(1);
    assert!(refused.stderr.contains("cannot be restored"), "{}", refused.stderr);
}

#[tokio::test]
async fn an_oplog_that_rolled_over_is_synced_anew_8_2() {
    up_resyncs(Version::V8_2).await;
}

#[tokio::test]
async fn an_oplog_that_rolled_over_is_synced_anew_4_4() {
    up_resyncs(Version::V4_4).await;
}

#[tokio::test]
async fn a_backup_after_a_roll_over_is_a_full_copy_and_says_so() {
    let version = Version::V8_2;
    let set = forgetful(version).await;
    let client = set.client().await;
    write(&client, "before", 0..50).await;
    let backup = Backup::new();
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);
    let (first, id) = snapshots(&backup).await.pop().unwrap();
    write(&client, "meanwhile", 20..70).await;
    roll_over(&client, first).await;

    let output = backup.backup(&set.uri()).run().await.expect_code(0);
    assert!(output.stderr.contains("requires a resync"), "{}", output.stderr);
    assert!(output.stderr.contains("entries are lost"), "{}", output.stderr);
    let now = quiet(&client, version).await;
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);
    restores(&backup, version, &now).await;
    let old = backup.restored(version, &id).await;
    let there = old.target.client().await;
    let told = there.database("told").collection::<Document>("by");
    assert_eq!(told.count_documents(doc! {"who": "before"}).await.unwrap(), 50);
    backup.verify().await;
}
