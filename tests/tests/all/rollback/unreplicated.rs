//! Writes that a majority never had: the primary that took them dies, another goes on without them.

use bson::{Document, doc};
use bygone_tests::{
    Options, ReplicaSet, Version, Workload,
    wait::{self, PATIENCE},
};
use mongodb::{
    Client,
    options::{Acknowledgment, WriteConcern},
};

use super::{stored_entries, tells_of, timeline, write};
use crate::spine::{Backup, complete, interrupted, mark};

/// What only the lost writes say.
const LOST: &str = "never happened";

/// All that a primary does alone: documents, indexes, collections.
async fn lose(alone: &Client) {
    let db = alone.database("told");
    let coll = db.collection::<Document>("by");
    let one = || WriteConcern::builder().w(Acknowledgment::Nodes(1)).journal(true).build();
    for id in 0..20 {
        let insert = doc! {"_id": format!("{LOST} {id}"), "who": LOST};
        coll.insert_one(insert).write_concern(one()).await.unwrap();
        let set = doc! {"$set": {"who": LOST}};
        coll.update_one(doc! {"_id": id}, set).write_concern(one()).await.unwrap();
    }
    coll.delete_many(doc! {"_id": {"$lt": 10}}).write_concern(one()).await.unwrap();
    let concern = doc! {"w": 1};
    for command in [
        doc! {"create": LOST, "writeConcern": &concern},
        doc! {"createIndexes": LOST, "indexes": [{"key": {"a": 1}, "name": "a"}], "writeConcern": &concern},
        doc! {"drop": "to be dropped", "writeConcern": &concern},
    ] {
        db.run_command(command).await.unwrap();
    }
}

/// Replies that a member has given to cursors that go on: whoever follows its oplog asks again and again.
async fn asked(member: &Client) -> i64 {
    let status = member.database("admin").run_command(doc! {"serverStatus": 1}).await.unwrap();
    let counters = status.get_document("opcounters").unwrap();
    counters.get_i64("getmore").or_else(|_| counters.get_i32("getmore").map(i64::from)).unwrap()
}

/// `up` reads from the primary that is cut off itself, or from where it likes.
async fn nothing_of_it_is_stored(version: Version, from_the_primary: bool) {
    let mut set = ReplicaSet::start(Options::new(version).members(3)).await;
    let client = set.client().await;
    Workload::new(31, version).run(&client, 60).await;
    write(&client, "before", 0..50).await;
    client.database("told").create_collection("to be dropped").await.unwrap();
    set.replicated().await;

    let old = set.primary().await;
    let backup = Backup::new();
    let mut up = backup.up(&set.uri());
    if from_the_primary {
        up = up.arg("--member").arg(set.members[old].address());
    }
    let mut up = up.start();
    complete(&mut up).await;
    let before = mark(&client, version).await;
    backup.wait_for(before.at.unwrap()).await;

    set.hold_replication().await;
    let alone = set.member_client(old).await;
    lose(&alone).await;
    // It had every chance to take them.
    let then = asked(&alone).await;
    if from_the_primary {
        wait::until("the tail to ask again", PATIENCE, async || {
            (asked(&alone).await > then + 5).then_some(())
        })
        .await;
    }
    set.members[old].kill();
    set.resume_replication().await;
    set.primary().await;
    write(&client, "after", 30..70).await;
    set.restart(old).await;
    set.healthy().await;
    set.replicated().await;
    let removed = set.members[old].data().join("rollback");
    assert!(removed.is_dir(), "nothing was rolled back");
    write(&client, "later", 60..80).await;

    let now = mark(&client, version).await;
    backup.wait_for(now.at.unwrap()).await;
    interrupted(up).await;
    let entries = stored_entries(&backup).await;
    assert!(entries.iter().any(|(_, entry)| tells_of(entry, "later")));
    let lost: Vec<_> = entries.iter().filter(|(_, entry)| tells_of(entry, LOST)).collect();
    assert!(lost.is_empty(), "{} entries that never happened are stored", lost.len());
    assert_eq!(timeline(&backup).await, 1, "nothing that was stored went back");
    backup.verify().await;
    let source = (&client, version);
    backup.restored(version, now.at.unwrap()).await.equals(source, &now).await;
    backup.restored(version, before.at.unwrap()).await.equals(source, &before).await;
}

#[tokio::test]
async fn writes_that_are_rolled_back_are_never_stored_8_2() {
    nothing_of_it_is_stored(Version::V8_2, true).await;
}

#[tokio::test]
async fn writes_that_are_rolled_back_are_never_stored_4_4() {
    nothing_of_it_is_stored(Version::V4_4, true).await;
}

#[tokio::test]
async fn writes_that_are_rolled_back_are_never_stored_from_a_secondary() {
    nothing_of_it_is_stored(Version::V8_2, false).await;
}
