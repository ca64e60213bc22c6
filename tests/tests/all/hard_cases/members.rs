//! Hard case 27: which member is read, and what is none to be read.

use bygone_tests::{Options, ReplicaSet, Version, server::Cluster, wait::PATIENCE};

use super::numbered;
use crate::spine::{Backup, complete, interrupted, mark};

/// `up` on that source ends with this exit status and a line with these words, and stores nothing.
async fn refused(uri: &str, code: i32, words: &[&str]) {
    for command in ["up", "backup"] {
        let backup = Backup::new();
        let command = if command == "up" { backup.up(uri) } else { backup.backup(uri) };
        let output = command.run().await.expect_code(code);
        let lines: Vec<&str> =
            output.stderr.lines().filter(|line| line.starts_with("bygone: ")).collect();
        assert_eq!(lines.len(), 1, "{}", output.stderr);
        for word in words {
            assert!(output.stderr.contains(word), "{word} is not in {}", output.stderr);
        }
        let status = backup.command("status").run().await;
        assert!(!status.stdout.contains("restorable"), "{}", status.stdout);
    }
}

#[tokio::test]
async fn routers_config_servers_and_shards_are_refused() {
    let cluster = Cluster::start(Version::V8_2).await;
    let router = format!("mongodb://{}/", cluster.address());
    refused(&router, 1, &["is a mongos", "name a replica set"]).await;
    refused(&cluster.config.uri(), 1, &["is a config server", "not backed up yet"]).await;
    refused(&cluster.shard.uri(), 1, &["is a shard of a cluster", "not backed up yet"]).await;
}

async fn standalone(version: Version) {
    let server = ReplicaSet::standalone(version).await;
    let uri = server.members[0].uri(None);
    refused(&uri, 1, &["is a standalone mongod", "no oplog", "rs.initiate"]).await;
}

#[tokio::test]
async fn a_standalone_is_refused_8_2() {
    standalone(Version::V8_2).await;
}

#[tokio::test]
async fn a_standalone_is_refused_4_4() {
    standalone(Version::V4_4).await;
}

/// A primary, a hidden member and a delayed one.
async fn set_with_odd_members(version: Version) -> ReplicaSet {
    let set = ReplicaSet::start(Options::new(version).hidden_member().delayed_member(3600)).await;
    numbered(&set.client().await, "m", "c", 50).await;
    set
}

async fn members(version: Version) {
    let set = set_with_odd_members(version).await;
    let client = set.client().await;
    let [primary, hidden, delayed] = [0, 1, 2].map(|n| set.members[n].address());
    // The driver's URI names the hidden and the delayed one too: neither is read unless it is named.
    for (named, read) in [(None, &primary), (Some(&hidden), &hidden)] {
        let backup = Backup::new();
        let mut up = backup.up(&set.uri());
        if let Some(named) = named {
            up = up.arg("--member").arg(named);
        }
        let mut up = up.start();
        let line = up.line(PATIENCE, |line| line.starts_with("agent: tailing")).await;
        assert!(line.contains(read.as_str()), "{line} instead of {read}");
        complete(&mut up).await;
        numbered(&client, "m", named.map_or("d", |_| "e"), 50).await;
        let now = mark(&client, version).await;
        backup.wait_for(now.at.unwrap()).await;
        interrupted(up).await;
        backup.restored(version, now.at.unwrap()).await.equals((&client, version), &now).await;
    }
    let backup = Backup::new();
    let named = backup.backup(&set.uri()).arg("--member").arg(&delayed).run().await.expect_code(1);
    assert!(named.stderr.contains("is delayed by 3600 s"), "{}", named.stderr);
}

#[tokio::test]
async fn hidden_and_delayed_members_are_left_alone_8_2() {
    members(Version::V8_2).await;
}

#[tokio::test]
async fn hidden_and_delayed_members_are_left_alone_4_4() {
    members(Version::V4_4).await;
}
