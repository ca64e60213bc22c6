//! Everything is killed as a power cut would, at random points, and nothing acknowledged is lost.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use bson::{Document, doc};
use bygone_base::{Rng as _, SeededRng, Ts};
use bygone_tests::{
    Options, ReplicaSet, Traffic, Version, Workload, oracle,
    wait::{self, PATIENCE},
    workload::Kind,
};
use mongodb::Client;
use serde_json::Value;

use super::{Backup, PACE, complete, interrupted, number};

/// Documents of about `size` bytes that compress badly.
pub async fn fill(client: &Client, db: &str, name: &str, documents: usize, size: usize) {
    let coll = client.database(db).collection::<Document>(name);
    let rng = SeededRng::new(7);
    let mut batch = Vec::new();
    for id in 0..documents as i64 {
        let mut pad = vec![0; size];
        rng.fill(&mut pad);
        let bytes = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: pad };
        batch.push(doc! {"_id": id, "n": 0, "pad": bytes});
        if batch.len() == 1000 {
            coll.insert_many(std::mem::take(&mut batch)).await.unwrap();
        }
    }
    if !batch.is_empty() {
        coll.insert_many(batch).await.unwrap();
    }
}

/// What `status` says, if there is anything to say yet.
pub async fn status(backup: &Backup) -> Option<Value> {
    let status = backup.command("status").arg("--json").run().await;
    (status.code == Some(0)).then(|| serde_json::from_str(&status.stdout).unwrap())
}

/// How far a restore could go now.
async fn end(backup: &Backup) -> Option<Ts> {
    let status = status(backup).await?;
    let (secs, inc) = status["end"].as_str()?.split_once(':').unwrap();
    Some(Ts::new(secs.parse().unwrap(), inc.parse().unwrap()))
}

/// Rounds of kill -9 under load; then every round's end is still there and the last state is right.
pub async fn up_is_killed(version: Version, rounds: u64) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let rng = SeededRng::new(number("BYGONE_TEST_SEED", 5));
    let workloads = [61, 62].map(|seed| Workload::new(seed, version));
    let mut traffic = Traffic::start(&client, version, workloads, PACE);
    traffic.go_on(100).await;
    let backup = Backup::new();
    let (mut ends, mut middle) = (Vec::new(), None);
    for round in 0..rounds {
        let mut up = backup.up(&set.uri()).start();
        // Some rounds end in the initial sync, most of them later.
        if round >= 3 && !rng.next_u64().is_multiple_of(3) {
            up.line(PATIENCE * 3, |line| line.starts_with("agent: tailing")).await;
        }
        traffic.go_on(1 + rng.next_u64() % 60).await;
        if round == rounds / 2 {
            complete(&mut up).await;
            middle = Some(traffic.moment().await);
            backup.wait_for(middle.unwrap()).await;
        }
        let ended = up.kill().await;
        assert_eq!(ended.code, None, "{}", ended.stderr);
        ends.extend(end(&backup).await);
    }
    assert!(ends.is_sorted(), "something acknowledged was lost: {ends:?}");
    let distinct: BTreeSet<&Ts> = ends.iter().collect();
    assert!(distinct.len() as u64 > rounds / 4, "hardly anything went on: {ends:?}");

    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    let mark = traffic.mark().await;
    traffic.stop().await;
    backup.stops_whole(up, mark.at.unwrap()).await;
    let now = status(&backup).await.unwrap();
    assert_eq!(now["timeline"], 1, "it began anew: {now}");
    let source = (&client, version);
    backup.restored(version, mark.at.unwrap()).await.equals(source, &mark).await;
    let at = middle.unwrap();
    let moment = oracle::moment(&client, version, at).await;
    backup.restored(version, at).await.equals_moment(source, &moment).await;
}

#[tokio::test]
async fn up_is_killed_at_random_points() {
    up_is_killed(Version::V8_2, number("BYGONE_TEST_ROUNDS", 20)).await;
}

/// The primary dies under load twice, and comes back each time.
#[tokio::test]
async fn the_primary_is_killed() {
    let version = Version::V8_2;
    let mut set = ReplicaSet::start(Options::new(version).members(3)).await;
    let client = set.client().await;
    // An index build on documents waits for every voting member, the dead one too.
    let waits = |kind| kind == Kind::CreateIndexes;
    let writer = |seed| Workload::new(seed, version).tolerant().only(|kind| !waits(kind));
    let workloads = [71, 72].map(writer);
    let mut traffic = Traffic::start(&client, version, workloads, PACE);
    traffic.go_on(100).await;
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    for _ in 0..2 {
        traffic.go_on(60).await;
        let primary = set.primary().await;
        set.members[primary].kill();
        set.primary().await;
        traffic.go_on(60).await;
        set.restart(primary).await;
    }
    set.healthy().await;
    traffic.go_on(60).await;
    let mark = traffic.mark().await;
    traffic.stop().await;
    backup.stops_whole(up, mark.at.unwrap()).await;
    assert_eq!(status(&backup).await.unwrap()["timeline"], 1);
    backup.restored(version, mark.at.unwrap()).await.equals((&client, version), &mark).await;
}

/// Objects below a folder of the store whose path contains `part`.
fn objects(folder: &Path, part: &str) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let count = |path: &Path| usize::from(path.to_string_lossy().contains(part));
    let paths = entries.flatten().map(|entry| entry.path());
    paths.map(|path| if path.is_dir() { objects(&path, part) } else { count(&path) }).sum()
}

/// Documents that the server has given to anybody so far.
async fn returned(client: &Client) -> i64 {
    let status = client.database("admin").run_command(doc! {"serverStatus": 1}).await.unwrap();
    let document = status.get_document("metrics").unwrap().get_document("document").unwrap();
    let n = document.get("returned").unwrap();
    n.as_i64().or(n.as_i32().map(i64::from)).unwrap()
}

/// An initial sync is killed, stopped by Ctrl-C, killed again: it goes on where it was.
#[tokio::test]
async fn an_initial_sync_that_is_killed_goes_on() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let documents = 60_000;
    fill(&client, "a", "large", documents, 2000).await;
    let backup = Backup::new();
    let before = returned(&client).await;
    let mut stored = 0;
    for round in 0..3 {
        let up = backup.up(&set.uri()).arg("--throttle").arg("40").start();
        wait::until("three more sync slices", PATIENCE * 2, async || {
            (objects(&backup.store(), "/slices/") >= stored + 3).then_some(())
        })
        .await;
        match round {
            1 => drop(interrupted(up).await),
            _ => drop(up.kill().await),
        }
        stored = objects(&backup.store(), "/slices/");
    }
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    let read = returned(&client).await - before;
    let most = documents as i64 * 3 / 2;
    assert!(read < most, "{read} documents were read, of {documents}");
    let mark = super::mark(&client, version).await;
    backup.stops_whole(up, mark.at.unwrap()).await;
    assert_eq!(status(&backup).await.unwrap()["timeline"], 1);
    backup.restored(version, mark.at.unwrap()).await.equals((&client, version), &mark).await;
}

/// A restore is killed half way: it is refused without `--drop`, and whole with it.
#[tokio::test]
async fn a_restore_that_is_killed_is_repeated() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    fill(&client, "a", "large", 40_000, 1500).await;
    fill(&client, "a", "small", 100, 50).await;
    let backup = Backup::new();
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);
    let mark = super::mark(&client, version).await;

    let target = ReplicaSet::single(version).await;
    let there = target.client().await;
    let large = there.database("a").collection::<Document>("large");
    let running = backup.restore(&target.uri(), "latest").start();
    wait::until("a part of the documents", PATIENCE, async || {
        (large.estimated_document_count().await.unwrap() > 2000).then_some(())
    })
    .await;
    running.kill().await;
    let refused = backup.restore(&target.uri(), "latest").run().await.expect_code(2);
    assert!(refused.stderr.contains("already has a.large") && refused.stderr.contains("--drop"));
    let again = backup.restore(&target.uri(), "latest").arg("--drop").arg("--verify").run().await;
    let output = again.expect_code(0);
    super::Restored { target, output }.equals((&client, version), &mark).await;
}

/// Ctrl-C while following: a clean end, and the next start goes on.
#[tokio::test]
async fn ctrl_c_stops_cleanly_and_the_next_start_goes_on() {
    let version = Version::V4_4;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let mut traffic = Traffic::start(&client, version, [Workload::new(81, version)], PACE);
    traffic.go_on(50).await;
    let backup = Backup::new();
    for round in 0..4 {
        let mut up = backup.up(&set.uri()).start();
        if round != 1 {
            complete(&mut up).await;
        }
        traffic.go_on(20).await;
        let ended = match round {
            2 => {
                up.terminate();
                up.wait(Duration::from_secs(20)).await.expect_code(0)
            }
            _ => interrupted(up).await,
        };
        assert!(!ended.stderr.contains("bygone: "), "{}", ended.stderr);
    }
    let mut up = backup.up(&set.uri()).start();
    let mark = traffic.mark().await;
    traffic.stop().await;
    complete(&mut up).await;
    backup.wait_for(mark.at.unwrap()).await;
    interrupted(up).await;
    assert_eq!(status(&backup).await.unwrap()["timeline"], 1);
    backup.restored(version, mark.at.unwrap()).await.equals((&client, version), &mark).await;
}
