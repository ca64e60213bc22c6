//! Targets that cannot be restored into.

use bson::{Bson, Document, doc};
use bygone_tests::{
    Options, ReplicaSet, Version,
    server::PASSWORD,
    wait::{self, PATIENCE},
};

use super::{orders, says, told};
use crate::spine::{Backup, Restored, kill::fill, mark};

#[tokio::test]
async fn not_there_not_empty_not_allowed_or_the_source_itself() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    orders(&client, 0, 50).await;
    let backup = Backup::new();
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);

    let nowhere = backup.restore("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500", "latest");
    let line = told(&nowhere.run().await, 1);
    says(&line, &["cannot reach 127.0.0.1:1", "hosts"]);
    assert!(!line.contains("Topology"), "{line}");
    let line = told(&backup.restore(&set.uri(), "latest").arg("--drop").run().await, 2);
    says(&line, &["the target is the source", "--allow-source-as-target"]);
    assert_eq!(count(&client).await, 50, "nothing of the source was dropped");

    let target = ReplicaSet::start(Options::new(Version::V8_2).auth()).await;
    let there = target.client().await;
    orders(&there, 1000, 5).await;
    target.create_user("reader", vec![Bson::String("readAnyDatabase".into())]).await;
    let line = told(&backup.restore(&target.uri_as("x", "wr0ng"), "latest").run().await, 1);
    says(&line, &["password"]);
    assert!(!line.contains("wr0ng"), "{line}");
    let reader = backup.restore(&target.uri_as("reader", PASSWORD), "latest").arg("--drop");
    let line = told(&reader.run().await, 1);
    says(&line, &["not authorized", "the role restore"]);
    let line = told(&backup.restore(&target.uri(), "latest").run().await, 2);
    says(&line, &["already has shop.orders", "--drop"]);
    assert_eq!(count(&there).await, 5, "what was there is untouched");
    let line = told(
        &backup.restore(&target.uri(), "latest").arg("--ns-include").arg("a$*").run().await,
        2,
    );
    says(&line, &["$", "pattern"]);
    let renamed = ["--ns-from", "shop.*", "--ns-to", "till.*"];
    let renamed =
        renamed.iter().fold(backup.restore(&target.uri(), "latest"), |r, word| r.arg(word));
    let _ = renamed.run().await.expect_code(0);
    assert_eq!(count(&there).await, 5);
}

async fn count(client: &mongodb::Client) -> u64 {
    let orders = client.database("shop").collection::<Document>("orders");
    orders.count_documents(doc! {}).await.unwrap()
}

/// What an older server does not know is named before anything is written.
#[tokio::test]
async fn older_than_the_data() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    orders(&client, 0, 5).await;
    let shop = client.database("shop");
    let series = doc! {"create": "weather", "timeseries": {"timeField": "t"}};
    shop.run_command(series).await.unwrap();
    let clustered =
        doc! {"create": "clustered", "clusteredIndex": {"key": {"_id": 1}, "unique": true}};
    shop.run_command(clustered).await.unwrap();
    let backup = Backup::new();
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);
    let target = ReplicaSet::single(Version::V4_4).await;
    let line = told(&backup.restore(&target.uri(), "latest").run().await, 1);
    says(&line, &["shop.", "which needs MongoDB", "the target is 4.4", "--ns-exclude"]);
    let there = target.client().await;
    assert_eq!(there.database("shop").list_collection_names().await.unwrap(), [""; 0]);
    let without = ["--ns-exclude", "shop.weather", "--ns-exclude", "shop.clustered", "--verify"];
    let without =
        without.iter().fold(backup.restore(&target.uri(), "latest"), |r, word| r.arg(word));
    let done = without.run().await.expect_code(0);
    assert!(done.stdout.contains("PROVEN: "), "{}", done.stdout);
    assert_eq!(count(&there).await, 5);
}

/// The target goes away in the middle and comes back: the same run ends well.
#[tokio::test]
async fn restarted_in_the_middle() {
    let version = Version::V8_2;
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    fill(&client, "a", "large", 40_000, 1000).await;
    let backup = Backup::new();
    let _ = backup.backup(&set.uri()).run().await.expect_code(0);
    let expected = mark(&client, version).await;
    let mut target = ReplicaSet::single(version).await;
    let there = target.client().await;
    let large = there.database("a").collection::<Document>("large");
    let running = backup.restore(&target.uri(), "latest").arg("--verify").start();
    wait::until("a part of the documents", PATIENCE, async || {
        (large.estimated_document_count().await.ok()? > 2000).then_some(())
    })
    .await;
    target.members[0].kill();
    target.restart(0).await;
    let output = running.wait(PATIENCE * 5).await.expect_code(0);
    Restored { target, output }.equals((&client, version), &expected).await;
}
