//! Sources that cannot be backed up: one clear line each.

use bson::{Bson, doc};
use bygone_base::ErrorKind;
use bygone_tests::{Auth, Options, ReplicaSet, Tls, Version, server::PASSWORD};

use super::{
    recorder::{Recorder, options},
    refused,
};

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let error = refused("mongodb://127.0.0.1:1/").await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().starts_with("cannot reach mongod at 127.0.0.1:1: "), "{error}");
    assert!(!error.to_string().contains("Topology"), "{error}");
}

async fn users_and_roles(version: Version) {
    let set = ReplicaSet::start(Options::new(version).auth()).await;
    let error = refused(&set.uri_as("nobody", "s3cret")).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("refuses the user or password"), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");

    set.create_user("reader", vec![Bson::String("readAnyDatabase".into())]).await;
    let error = refused(&set.uri_as("reader", PASSWORD)).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.message().contains("reader@admin may not read the oplog"), "{error}");
    assert!(error.hint_text().unwrap().contains("\"backup\""), "{error}");

    let anybody = set.uri_as("x", "y").replacen("x:y@", "", 1);
    let error = refused(&anybody).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.hint_text().unwrap().contains("name a user"), "{error}");

    let client = set.client().await;
    client.database("shop").collection("a").insert_one(doc! { "_id": 1 }).await.unwrap();
    set.create_user("saver", vec![Bson::String("backup".into())]).await;
    let recorder = Recorder::new().await;
    recorder.backup(&set.uri_as("saver", PASSWORD), options()).await.unwrap();
    let seen = recorder.seen.lock().unwrap();
    let names: Vec<_> =
        seen.plan.as_ref().unwrap().collections.iter().map(|c| c.name.as_str()).collect();
    assert!(names.contains(&"a") && names.contains(&"system.users"), "{names:?}");
}

#[tokio::test]
async fn the_backup_role_is_enough_and_less_is_named_8_2() {
    users_and_roles(Version::V8_2).await;
}

#[tokio::test]
async fn the_backup_role_is_enough_and_less_is_named_4_4() {
    users_and_roles(Version::V4_4).await;
}

#[tokio::test]
async fn another_set_than_the_uri_says() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let uri = format!("mongodb://{}/?replicaSet=other", set.members[0].address());
    let error = refused(&uri).await;
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("belongs to the replica set rs0"), "{error}");
}

#[tokio::test]
async fn tls_with_an_authority_and_without() {
    let mut wanted = Options::new(Version::V8_2);
    (wanted.tls, wanted.auth) = (Tls::ClientCertificate, Auth::On);
    let set = ReplicaSet::start(wanted).await;
    let recorder = Recorder::new().await;
    recorder.backup(&set.uri(), options()).await.unwrap();
    let plain = format!("mongodb://{}/", set.members[0].address());
    let error = refused(&plain).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.hint_text().unwrap().contains("TLS"), "{error}");
}
