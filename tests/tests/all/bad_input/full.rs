//! The store's disk is full in the middle of each stage: one line says so, and with room again the same
//! command goes on where it was.

use bson::{Document, doc};
use bygone_tests::{
    ReplicaSet, Version,
    disk::SmallDisk,
    oracle,
    process::{Output, Running},
    wait::PATIENCE,
};
use mongodb::Client;

use super::{orders, says, told};
use crate::spine::{Backup, Restored, complete, interrupted, kill::fill, mark};

const FULL: [&str; 2] = ["No space left on device", "free space"];

/// A store on a small disk, and every command on it inside.
struct Small {
    disk: SmallDisk,
    backup: Backup,
    set: ReplicaSet,
    client: Client,
}

impl Small {
    async fn new(mb: u32) -> Small {
        let disk = SmallDisk::new(mb);
        let backup = Backup::new().at(format!("file://{}/store", disk.path().display()));
        let set = ReplicaSet::single(Version::V8_2).await;
        let client = set.client().await;
        Small { disk, backup, set, client }
    }

    async fn backup(&self) -> Output {
        self.disk.inside(self.backup.backup(&self.set.uri())).run().await
    }

    fn up(&self) -> Running {
        self.disk.inside(self.backup.up(&self.set.uri())).start()
    }

    async fn run(&self, command: &str) -> Output {
        self.disk.inside(self.backup.command(command)).run().await
    }

    /// Everything in the store is whole, and its newest moment is the source now.
    async fn holds_the_source(&self) {
        let report = self.run("verify").await.expect_code(0);
        assert!(report.stdout.starts_with("WHOLE"), "{}", report.stdout);
        let expected = mark(&self.client, Version::V8_2).await;
        let done = self.backup().await.expect_code(0);
        assert!(!done.stderr.contains("resync"), "{}", done.stderr);
        let target = ReplicaSet::single(Version::V8_2).await;
        let restore = self.backup.restore(&target.uri(), "latest").arg("--verify");
        let output = self.disk.inside(restore).run().await.expect_code(0);
        let restored = Restored { target, output };
        restored.equals((&self.client, Version::V8_2), &expected).await;
    }
}

#[tokio::test]
async fn while_the_repository_is_made() {
    let small = Small::new(8).await;
    orders(&small.client, 0, 100).await;
    small.disk.fill(0);
    says(&told(&small.backup().await, 1), &FULL[..1]);
    small.disk.free();
    let _ = small.backup().await.expect_code(0);
    small.holds_the_source().await;
}

#[tokio::test]
async fn in_the_initial_sync() {
    let small = Small::new(64).await;
    fill(&small.client, "a", "large", 20_000, 1500).await;
    small.disk.fill(20 << 20);
    for _ in 0..2 {
        says(&told(&small.backup().await, 1), &FULL);
        let verified = small.run("verify").await;
        assert!(!verified.stdout.contains("DAMAGED"), "{}", verified.stdout);
    }
    let mut up = small.up();
    let said = up.line(PATIENCE, |line| line.contains(FULL[0])).await;
    says(&said, &FULL);
    small.disk.free();
    complete(&mut up).await;
    interrupted(up).await;
    let _ = small.backup().await.expect_code(0);
    small.holds_the_source().await;
}

/// `up` says it while it lasts, keeps on trying, and needs nobody once there is room.
#[tokio::test]
async fn while_the_oplog_is_followed() {
    let small = Small::new(32).await;
    orders(&small.client, 0, 100).await;
    let mut up = small.up();
    complete(&mut up).await;
    small.disk.fill(0);
    fill(&small.client, "a", "later", 2000, 1000).await;
    let said = up.line(PATIENCE, |line| line.contains(FULL[0])).await;
    says(&said, &FULL);
    let status = small.run("status").await.expect_code(0);
    assert!(status.stdout.contains("backed up"), "{}", status.stdout);
    small.disk.free();
    let at = oracle::now(&small.client).await;
    let wait = small.backup.command("status").arg("--wait-for").arg(at.to_string());
    let _ = small.disk.inside(wait.arg("--timeout").arg("60s")).run().await.expect_code(0);
    interrupted(up).await;
    small.holds_the_source().await;
}

/// The oplog fits, the snapshot's blocks do not.
#[tokio::test]
async fn while_a_snapshot_is_written() {
    let small = Small::new(64).await;
    fill(&small.client, "a", "large", 5000, 1000).await;
    let _ = small.backup().await.expect_code(0);
    let large = small.client.database("a").collection::<Document>("large");
    let mut failed = 0;
    for round in 0..6_i32 {
        // Longer documents than before: their run is larger than their oplog.
        let set = doc! {"$set": {"more": "y".repeat(40), "round": round}};
        large.update_many(doc! {}, set).await.unwrap();
        small.disk.fill(60_000 << round);
        let done = small.backup().await;
        if done.code != Some(0) {
            says(&told(&done, 1), &FULL);
            failed += 1;
        }
        let report = small.run("verify").await.expect_code(0);
        assert!(report.stdout.contains("restorable: "), "{}", report.stdout);
    }
    assert!(failed > 0, "there was always room");
    small.disk.free();
    let _ = small.backup().await.expect_code(0);
    small.holds_the_source().await;
}

/// A groom must have room to move what lives before it frees what does not.
#[tokio::test]
async fn while_a_groom_moves_blocks() {
    let small = Small::new(64).await;
    fill(&small.client, "a", "large", 4000, 1000).await;
    let _ = small.backup().await.expect_code(0);
    let large = small.client.database("a").collection::<Document>("large");
    large.delete_many(doc! {"_id": {"$gte": 300}}).await.unwrap();
    let expire = async || {
        let backup = small.backup.backup(&small.set.uri()).arg("--keep-last").arg("1");
        small.disk.inside(backup.arg("--window").arg("0s")).run().await.expect_code(0)
    };
    for _ in 0..3 {
        large.update_many(doc! {}, doc! {"$inc": {"n": 1}}).await.unwrap();
        expire().await;
    }
    small.disk.fill(1000);
    let groom = || small.disk.inside(small.backup.command("groom").arg("--delay").arg("0s"));
    let first = groom().run().await;
    if first.code != Some(0) {
        says(&told(&first, 1), &FULL);
    }
    let report = small.run("verify").await.expect_code(0);
    assert!(report.stdout.starts_with("WHOLE"), "{}", report.stdout);
    small.disk.free();
    let _ = groom().run().await.expect_code(0);
    let _ = groom().run().await.expect_code(0);
    small.holds_the_source().await;
}

/// A restore whose scratch folder is full says which, and leaves the store as it is.
#[tokio::test]
async fn while_a_restore_sorts() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    orders(&client, 0, 10).await;
    let backup = Backup::new();
    let mut up = backup.up_every("1h", &set.uri()).start();
    complete(&mut up).await;
    fill(&client, "a", "later", 60_000, 1500).await;
    let at = oracle::now(&client).await;
    backup.wait_for(at).await;
    interrupted(up).await;
    let disk = SmallDisk::new(4);
    disk.fill(0);
    let target = ReplicaSet::single(version).await;
    let restore = backup.restore(&target.uri(), at).arg("--data").arg(disk.path().join("scratch"));
    let line = told(&disk.inside(restore).run().await, 1);
    says(&line, &FULL[..1]);
    says(&line, &["scratch"]);
    let expected = mark(&client, version).await;
    let restore = backup.restore(&target.uri(), at).arg("--data").arg(backup.path("scratch"));
    let output = restore.arg("--verify").arg("--drop").run().await.expect_code(0);
    assert_eq!(std::fs::read_dir(backup.path("scratch")).unwrap().count(), 0);
    Restored { target, output }.equals((&client, version), &expected).await;
}
