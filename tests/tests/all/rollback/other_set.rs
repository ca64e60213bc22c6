//! Another replica set that answers under the name of the one backed up so far: an address given away, a set built anew.

use bygone_tests::{ReplicaSet, Version, Workload};

use super::timeline;
use crate::spine::{Backup, mark};

/// The name is the same, and the times of entries can be: both sets write when nobody else does, every ten seconds.
async fn another_set(version: Version) {
    let (first, second) = tokio::join!(ReplicaSet::single(version), ReplicaSet::single(version));
    let backup = Backup::new();
    let client = first.client().await;
    Workload::new(51, version).run(&client, 120).await;
    let run = async |set: &ReplicaSet| backup.backup(&set.uri()).run().await.expect_code(0).stderr;
    run(&first).await;
    let before = mark(&client, version).await;
    let same = run(&first).await;
    assert!(!same.contains("resync"), "{same}");
    assert_eq!(timeline(&backup).await, 1);

    let other = second.client().await;
    Workload::new(52, version).run(&other, 120).await;
    let told = run(&second).await;
    assert!(told.contains("another replica set of the name rs0"), "{told}");
    let now = mark(&other, version).await;
    let again = run(&second).await;
    assert!(!again.contains("resync"), "{again}");

    assert_eq!(timeline(&backup).await, 2);
    backup.verify().await;
    backup.restored(version, "latest").await.equals((&other, version), &now).await;
    backup.restored(version, before.at.unwrap()).await.equals((&client, version), &before).await;
}

#[tokio::test]
async fn another_set_of_the_same_name_is_copied_anew_8_2() {
    another_set(Version::V8_2).await;
}

#[tokio::test]
async fn another_set_of_the_same_name_is_copied_anew_4_4() {
    another_set(Version::V4_4).await;
}
