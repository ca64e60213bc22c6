//! What goes wrong elsewhere, case by case, on real servers with the real binary. docs/hard-cases.md
//! lists all cases and where each is tested.

mod boundaries;
mod copying;
mod following;
mod members;
mod odd;
mod tail;
mod transactions;

use std::time::Duration;

use bson::{Bson, Document, doc};
use bygone_base::{Clock as _, SystemClock};
use bygone_tests::{ClusterState, ReplicaSet, Version};
use mongodb::Client;

use crate::spine::{Backup, complete, kill::fill, mark};

/// Runs a command on a database; a refusal fails the test.
async fn run(client: &Client, db: &str, command: Document) -> Document {
    let shown = command.clone();
    let done = client.database(db).run_command(command).await;
    done.unwrap_or_else(|e| panic!("{shown}: {e}"))
}

/// Changes one collection after the other while `up` copies them, then compares. `prepare` makes
/// collection `n` and `change` changes it.
async fn while_it_copies(
    version: Version,
    prepare: impl AsyncFn(&Client, i32),
    change: impl AsyncFn(&Client, i32),
) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let collections = 30;
    for n in 0..collections {
        prepare(&client, n).await;
    }
    // Something to copy beside them, so that the copy takes its time.
    fill(&client, "ballast", "b", 9000, 1500).await;
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).arg("--throttle").arg("2").start();
    up.line(Duration::from_secs(60), |line| line.contains("transferring")).await;
    let clock = SystemClock::new();
    let mut changed = 0;
    for n in 0..collections {
        change(&client, n).await;
        if up.stderr().contains("agent: tailing") {
            break;
        }
        changed += 1;
        clock.sleep(Duration::from_millis(40)).await;
    }
    assert!(changed >= 5, "only {changed} were changed while it copied:\n{}", up.stderr());
    complete(&mut up).await;
    let now = mark(&client, version).await;
    backup.stops_whole(up, now.at.unwrap()).await;
    backup.restored(version, now.at.unwrap()).await.equals((&client, version), &now).await;
}

/// Changes the source while `up` follows it, then compares what was before with what is after.
async fn while_it_follows(
    version: Version,
    prepare: impl AsyncFn(&Client),
    change: impl AsyncFn(&Client),
) -> ClusterState {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    prepare(&client).await;
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    let before = mark(&client, version).await;
    change(&client).await;
    let after = mark(&client, version).await;
    backup.stops_whole(up, after.at.unwrap()).await;
    let source = (&client, version);
    backup.restored(version, after.at.unwrap()).await.equals(source, &after).await;
    backup.restored(version, before.at.unwrap()).await.equals(source, &before).await;
    after
}

/// Documents with numbers as `_id` and as `u`.
async fn numbered(client: &Client, db: &str, coll: &str, n: i32) {
    let documents = (0..n).map(|id| {
        doc! {"_id": id, "u": id, "arr": [{"x": id}, id], "pad": "p".repeat(100), "s": format!("{id}")}
    });
    client.database(db).collection::<Document>(coll).insert_many(documents).await.unwrap();
}

/// The names of a collection's indexes.
fn indexes<'a>(state: &'a ClusterState, namespace: &str) -> Vec<&'a str> {
    state.collections[namespace].indexes.keys().map(String::as_str).collect()
}

/// An update of one document by its `_id`.
async fn update(client: &Client, db: &str, coll: &str, id: impl Into<Bson>, change: Document) {
    let coll = client.database(db).collection::<Document>(coll);
    let done = coll.update_one(doc! {"_id": id.into()}, change).await.unwrap();
    assert_eq!(done.matched_count, 1);
}
