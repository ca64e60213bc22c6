//! The harness itself: servers start, the workload works, the oracle sees.

use std::time::Duration;

use bson::{Document, doc};
use bygone_tests::{
    Options, ReplicaSet, Tls, Traffic, Version, Workload,
    oracle::{self, diff, diff_moment, differing_documents},
    s3::Weed,
    server::{self, PASSWORD, Prepared},
    state_at,
    workload::Kind,
};
use mongodb::options::{Acknowledgment, WriteConcern};
use tokio::net::TcpStream;

async fn workload_and_oracle(version: Version) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let mut workload = Workload::new(7, version);
    workload.run(&client, 300).await;
    let mark = workload.mark(&client).await;
    assert!(mark.collections.len() > 5, "{mark}");
    let again = state_at(&client, version, None).await;
    assert_eq!(diff(&mark, &again), Vec::<String>::new());

    let flipped = client.database("w7_a").collection::<Document>("flipped");
    flipped.insert_one(doc! {"_id": 1, "bit": 0}).await.unwrap();
    let before = workload.mark(&client).await;
    flipped.update_one(doc! {}, doc! {"$bit": {"bit": {"xor": 1}}}).await.unwrap();
    let now = state_at(&client, version, None).await;
    let seen = diff(&before, &now);
    assert!(seen.len() == 1 && seen[0].starts_with("w7_a.flipped: documents differ"), "{seen:?}");
    let side = (&client, version);
    let (then, today) = ((side.0, side.1, before.at), (side.0, side.1, None));
    let why = differing_documents(then, today, "w7_a", "flipped").await;
    assert!(why[0].contains("1 documents, but 1") && why.len() == 2, "{why:?}");
}

#[tokio::test]
async fn oracle_sees_a_flipped_document_8_2() {
    workload_and_oracle(Version::V8_2).await;
}

#[tokio::test]
async fn oracle_sees_a_flipped_document_4_4() {
    workload_and_oracle(Version::V4_4).await;
}

/// Every kind of operation is done at least once, and most of them mostly.
async fn every_kind_works(version: Version) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let mut workload = Workload::new(11, version);
    // Enough that every kind of collection is among them.
    for _ in 0..60 {
        workload.perform(&client, Kind::Create).await;
    }
    for _ in 0..12 {
        for kind in Kind::ALL.iter().filter(|kind| kind.since() <= version) {
            workload.perform(&client, *kind).await;
        }
    }
    // 8.2 has no such command any more.
    let gone = |kind: &Kind| version == Version::V8_2 && *kind == Kind::EmptyCapped;
    let idle: Vec<_> = workload.tally().iter().filter(|(k, t)| t.done == 0 && !gone(k)).collect();
    assert!(idle.is_empty(), "never done: {idle:?}");
    let (done, refused) =
        workload.tally().values().fold((0, 0), |(d, r), t| (d + t.done, r + t.refused));
    assert!(done > 2 * refused, "{done} done, {refused} refused: {:#?}", workload.tally());
}

#[tokio::test]
async fn every_kind_of_operation_works_8_2() {
    every_kind_works(Version::V8_2).await;
}

#[tokio::test]
async fn every_kind_of_operation_works_4_4() {
    every_kind_works(Version::V4_4).await;
}

async fn moments_in_the_past(version: Version) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let workloads = (1..=2).map(|seed| Workload::new(seed, version));
    let mut traffic = Traffic::start(&client, version, workloads, Duration::ZERO);
    traffic.go_on(150).await;
    let mark = traffic.mark().await;
    // Where the server knows no catalogue of the past, little must change.
    traffic.go_on(if version.reads_catalogue_in_the_past() { 300 } else { 20 }).await;
    let workloads = traffic.stop().await;
    assert_eq!(workloads.len(), 2);

    let then = oracle::moment(&client, version, mark.at.unwrap()).await;
    let (differences, compared) = diff_moment(&then, &mark);
    assert_eq!(differences, Vec::<String>::new());
    assert!(compared > 2, "only {compared} compared, {} unknown", then.unknown.len());
    let now = state_at(&client, version, None).await;
    assert!(!diff(&mark, &now).is_empty());
}

#[tokio::test]
async fn oracle_knows_moments_in_the_past_8_2() {
    moments_in_the_past(Version::V8_2).await;
}

#[tokio::test]
async fn oracle_knows_moments_in_the_past_4_4() {
    moments_in_the_past(Version::V4_4).await;
}

#[tokio::test]
async fn a_set_with_users_and_certificates_elects_another_primary() {
    let options = Options::new(Version::V8_2).members(3).auth().tls(Tls::Required);
    let mut set = ReplicaSet::start(options).await;
    set.create_user("backup", vec!["backup".into(), "clusterMonitor".into()]).await;
    let client = set.client_as("backup", PASSWORD).await;
    let refused = client.database("db").collection("c").insert_one(doc! {"_id": 1}).await;
    assert_eq!(refused.as_ref().err().and_then(server::code), Some(13), "{refused:?}");

    let old = set.primary().await;
    let new = set.step_down().await;
    assert_ne!(old, new);
    set.members[new].kill();
    let third = set.primary().await;
    assert_ne!(third, new);
    set.restart(new).await;
    set.healthy().await;
    set.replicated().await;
}

#[tokio::test]
async fn unreplicated_writes_are_rolled_back() {
    let mut set = ReplicaSet::start(Options::new(Version::V8_2).members(3)).await;
    let old = set.primary().await;
    let client = set.client().await;
    let collection = client.database("db").collection::<Document>("c");
    collection.insert_one(doc! {"_id": "kept"}).await.unwrap();
    set.replicated().await;

    set.hold_replication().await;
    let direct = set.member_client(old).await;
    let concern = WriteConcern::builder().w(Acknowledgment::Nodes(1)).journal(true).build();
    let lost = direct.database("db").collection::<Document>("c");
    lost.insert_one(doc! {"_id": "lost"}).write_concern(concern).await.unwrap();
    set.members[old].kill();
    set.resume_replication().await;
    set.primary().await;
    collection.insert_one(doc! {"_id": "after"}).await.unwrap();
    set.restart(old).await;
    set.healthy().await;
    set.replicated().await;
    let ids = collection.distinct("_id", doc! {}).await.unwrap();
    assert_eq!(ids, ["after".into(), "kept".into()] as [bson::Bson; 2]);
}

#[tokio::test]
async fn a_prepared_transaction_shows_at_its_commit() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    let collection = client.database("db").collection::<Document>("c");
    collection.insert_one(doc! {"_id": 0}).await.unwrap();
    let mut prepared = Prepared::begin(&client).await.unwrap();
    prepared.run("db", doc! {"insert": "c", "documents": [{"_id": 1}]}).await.unwrap();
    let at = prepared.prepare().await.unwrap();
    collection.insert_one(doc! {"_id": 2}).await.unwrap();
    assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 2);
    prepared.commit(at).await.unwrap();
    assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 3);
}

#[tokio::test]
async fn seaweedfs_keeps_its_data_when_it_is_killed() {
    let mut weed = Weed::start().await;
    weed.kill();
    weed.restart().await;
    assert!(weed.url("p").starts_with("s3://backups/p?endpoint=http://127.0.0.1:"));
    assert!(TcpStream::connect(weed.address()).await.is_ok());
}

#[tokio::test]
async fn a_tolerant_workload_lives_through_elections() {
    let version = Version::V8_2;
    let mut set = ReplicaSet::start(Options::new(version).members(3)).await;
    let client = set.client().await;
    let workloads = (21..=22).map(|seed| Workload::new(seed, version).tolerant());
    let mut traffic = Traffic::start(&client, version, workloads, Duration::ZERO);
    traffic.go_on(60).await;
    set.step_down().await;
    traffic.go_on(60).await;
    let primary = set.primary().await;
    set.members[primary].kill();
    traffic.go_on(60).await;
    set.restart(primary).await;
    set.healthy().await;
    let mark = traffic.mark().await;
    traffic.stop().await;
    set.replicated().await;
    for member in 0..3 {
        let client = set.member_client(member).await;
        let there = state_at(&client, version, mark.at).await;
        // Writers went on for at most a step after the mark, and the data is that of the mark.
        let documents = |d: &String| d.contains("documents differ");
        let differences: Vec<_> = diff(&mark, &there).into_iter().filter(documents).collect();
        assert_eq!(differences, Vec::<String>::new(), "member {member}");
    }
}
