//! A source that is put back to an older data directory: what it did since is void.

use bygone_tests::{
    ClusterState, ReplicaSet, Version, Workload, state_at,
    wait::{self, PATIENCE},
};
use mongodb::Client;

use super::{snapshots, timeline, write};
use crate::spine::{Backup, complete, interrupted, kill::status, mark};

/// Until there is a snapshot at or after the mark; its id.
async fn snapshot_after(backup: &Backup, mark: &ClusterState) -> String {
    wait::until("a snapshot after the mark", PATIENCE, async || {
        let newest = snapshots(backup).await.pop()?;
        (newest.0 >= mark.at.unwrap()).then_some(newest.1)
    })
    .await
}

async fn some(client: &Client, version: Version, seed: u64, who: &str) -> ClusterState {
    Workload::new(seed, version).run(client, 120).await;
    write(client, who, 0..60).await;
    mark(client, version).await
}

async fn an_older_directory(version: Version, runs_on: bool) {
    let mut set = ReplicaSet::single(version).await;
    let client = set.client().await;
    Workload::new(41, version).run(&client, 120).await;
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    let before = some(&client, version, 42, "before").await;
    backup.wait_for(before.at.unwrap()).await;

    set.members[0].stop().await;
    let copy = set.members[0].copy_data();
    set.restart(0).await;
    set.healthy().await;
    let void = some(&client, version, 43, "void").await;
    backup.wait_for(void.at.unwrap()).await;
    let void_snapshot = snapshot_after(&backup, &void).await;
    if !runs_on {
        interrupted(up).await;
        up = backup.up(&set.uri()).start();
    }
    set.members[0].stop().await;
    set.members[0].put_back(&copy);
    set.restart(0).await;
    set.healthy().await;
    up.line(PATIENCE, |line| line.contains("went back: a new timeline from")).await;
    let now = some(&client, version, 44, "now").await;
    backup.wait_for(now.at.unwrap()).await;
    snapshot_after(&backup, &now).await;
    interrupted(up).await;

    assert_eq!(timeline(&backup).await, 2, "{}", status(&backup).await.unwrap());
    backup.verify().await;
    let source = (&client, version);
    backup.restored(version, "latest").await.equals(source, &now).await;
    backup.restored(version, before.at.unwrap()).await.equals(source, &before).await;
    // What is void is asked for by its snapshot's name, not by a moment.
    let restored = backup.restored(version, &void_snapshot).await;
    let there = state_at(&restored.target.client().await, version, None).await;
    assert_eq!(bygone_tests::diff(&void, &there), Vec::<String>::new());
    let refused = backup.restore(&set.uri(), void.at.unwrap()).arg("--dry-run").run().await;
    let refused = refused.expect_code(1);
    assert!(refused.stderr.contains("cannot be restored"), "{}", refused.stderr);
}

#[tokio::test]
async fn an_older_data_directory_put_back_opens_a_timeline_8_2() {
    an_older_directory(Version::V8_2, true).await;
}

#[tokio::test]
async fn an_older_data_directory_put_back_opens_a_timeline_4_4() {
    an_older_directory(Version::V4_4, true).await;
}
