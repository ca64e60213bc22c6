//! Hard cases of following: holes in the oplog, and a source where nothing happens.

use std::time::Duration;

use bson::{Document, doc};
use bygone_base::{Clock as _, SystemClock};
use bygone_tests::{
    ReplicaSet, Version,
    wait::{self, PATIENCE},
};

use tokio::task::JoinSet;

use super::run;
use crate::spine::{Backup, complete, interrupted, kill::status, mark};

/// Case 23: an insert has its timestamp and is not committed yet, a later one is.
async fn a_hole(version: Version) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    for coll in ["slow", "quick"] {
        run(&client, "holes", doc! {"create": coll}).await;
    }
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    for round in 0..5 {
        let point = |mode: &str| {
            doc! {"configureFailPoint": "hangAfterCollectionInserts", "mode": mode,
            "data": {"collectionNS": "holes.slow"}}
        };
        run(&client, "admin", point("alwaysOn")).await;
        let slow = client.database("holes").collection::<Document>("slow");
        let mut hanging = JoinSet::new();
        hanging.spawn(async move { slow.insert_one(doc! {"_id": round}).await });
        wait::until("the insert to hang", PATIENCE, async || {
            let ops = doc! {"currentOp": 1, "op": "insert", "ns": "holes.slow"};
            let ops = run(&client, "admin", ops).await;
            (!ops.get_array("inprog").unwrap().is_empty()).then_some(())
        })
        .await;
        for id in 0..20 {
            let insert = doc! {"insert": "quick", "documents": [{"_id": round * 100 + id}], "writeConcern": {"w": 1}};
            run(&client, "holes", insert).await;
        }
        run(&client, "admin", point("off")).await;
        hanging.join_next().await.unwrap().unwrap().unwrap();
    }
    let now = mark(&client, version).await;
    backup.stops_whole(up, now.at.unwrap()).await;
    backup.restored(version, now.at.unwrap()).await.equals((&client, version), &now).await;
}

#[tokio::test]
async fn a_hole_in_the_oplog_is_waited_for_8_2() {
    a_hole(Version::V8_2).await;
}

#[tokio::test]
async fn a_hole_in_the_oplog_is_waited_for_4_4() {
    a_hole(Version::V4_4).await;
}

/// Case 24: the end moves on though nobody writes.
#[tokio::test]
async fn an_idle_set_advances() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    run(&client, "idle", doc! {"create": "c"}).await;
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    let clock = SystemClock::new();
    let asked = clock.now().0 / 1000 + 2;
    wait::until("the end to pass a moment of silence", Duration::from_secs(60), async || {
        let end = status(&backup).await?["end"].as_str()?.split_once(':')?.0.parse::<i64>().ok()?;
        (end > asked).then_some(())
    })
    .await;
    interrupted(up).await;
}
