//! Hard case 63: which operations belong to a moment. Hard case 44: expiry on the target.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use bygone_base::{Ts, UnixMillis};
use bygone_tests::{
    Options, ReplicaSet, Version, oracle,
    wait::{self, PATIENCE},
};

use super::run;
use crate::spine::{Backup, complete, interrupted, mark};

#[tokio::test]
async fn a_timestamp_includes_and_an_instant_excludes() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    run(&client, "t", doc! {"create": "c"}).await;
    let backup = Backup::new();
    let mut up = backup.up(&set.uri()).start();
    complete(&mut up).await;
    // Nothing before the first snapshot can be restored: the second of the insert must not be its second.
    let first = oracle::now(&client).await;
    wait::until("a second of its own", Duration::from_secs(10), async || {
        (oracle::now(&client).await.secs() > first.secs()).then_some(())
    })
    .await;
    let insert = doc! {"insert": "c", "documents": [{"_id": 1}]};
    let reply = run(&client, "t", insert).await;
    let at = bygone_tests::server::ts(reply.get_timestamp("operationTime").unwrap());
    // Until the second is over, nobody knows all that happened in it.
    wait::until("the next second", Duration::from_secs(10), async || {
        (oracle::now(&client).await.secs() > at.secs() + 1).then_some(())
    })
    .await;
    backup.wait_for(oracle::now(&client).await).await;
    interrupted(up).await;
    let second = |secs: u32| UnixMillis(i64::from(secs) * 1000).to_rfc3339_seconds();
    let cases = [
        (at.to_string(), 1),
        (at.prev().to_string(), 0),
        (second(at.secs()), 0),
        (second(at.secs() + 1), 1),
    ];
    for (when, documents) in cases {
        let restored = backup.restored(version, &when).await;
        let there = restored.target.client().await;
        let there = there.database("t").collection::<Document>("c");
        assert_eq!(there.count_documents(doc! {}).await.unwrap(), documents, "at {when} of {at}");
    }
    let future = Ts::new(at.secs() + 3600, 1);
    let refused = backup.restore(&set.uri(), future).run().await.expect_code(1);
    assert!(refused.stderr.contains("what can: "), "{}", refused.stderr);
}

/// The source keeps what has expired; a target that deletes it at once must still be proven first.
#[tokio::test]
async fn what_has_expired_is_proven_before_it_vanishes() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let index = doc! {"key": {"t": 1}, "name": "t", "expireAfterSeconds": 1};
    run(&client, "t", doc! {"createIndexes": "c", "indexes": [index]}).await;
    let old = (0..2000).map(|id| doc! {"_id": id, "t": DateTime::from_millis(1_000_000)});
    let coll = client.database("t").collection::<Document>("c");
    coll.insert_many(old).await.unwrap();
    let backup = Backup::new();
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);
    let now = mark(&client, version).await;
    assert_eq!(coll.count_documents(doc! {}).await.unwrap(), 2000, "this source does not expire");

    let mut options = Options::new(version);
    options.ttl = true;
    let target = ReplicaSet::start(options).await;
    let output = backup.restore(&target.uri(), "latest").arg("--verify").run().await;
    let output = output.expect_code(0);
    assert!(output.stdout.contains("\nPROVEN: "), "{}", output.stdout);
    let there = target.client().await;
    let kept = bygone_tests::state_at(&there, version, None).await;
    assert_eq!(kept.collections["t.c"].indexes, now.collections["t.c"].indexes);
    let coll = there.database("t").collection::<Document>("c");
    wait::until("the target to expire them", PATIENCE, async || {
        (coll.count_documents(doc! {}).await.unwrap() == 0).then_some(())
    })
    .await;
}
