//! Sets of several members: which of them is read, and what writes wait for.

use bson::{Bson, Document, doc};
use bygone_tests::{Options, ReplicaSet, Version, server::Cluster, wait};
use mongodb::Client;

use super::{
    Folder, Tools,
    restoring::{count, some, write},
};

on_both! {
    a_member_is_chosen_by_its_tags
    writes_wait_for_what_is_said
}

/// Documents that a member has given to clients and to other members.
async fn returned(set: &ReplicaSet, member: usize) -> i64 {
    let client = set.member_client(member).await;
    let status = client.database("admin").run_command(doc! {"serverStatus": 1}).await.unwrap();
    let metrics = status.get_document("metrics").unwrap().get_document("document").unwrap();
    let number = metrics.get("returned").unwrap();
    number.as_i64().or(number.as_i32().map(i64::from)).unwrap()
}

/// Gives one member a tag.
async fn tag(client: &Client, member: usize) {
    let admin = client.database("admin");
    let reply = admin.run_command(doc! {"replSetGetConfig": 1}).await.unwrap();
    let mut config = reply.get_document("config").unwrap().clone();
    let version = config.get_i32("version").unwrap();
    config.insert("version", version + 1);
    let members = config.get_array_mut("members").unwrap();
    let Bson::Document(chosen) = &mut members[member] else { panic!("a member") };
    chosen.insert("tags", doc! {"use": "backup"});
    admin.run_command(doc! {"replSetReconfig": config}).await.unwrap();
}

async fn a_member_is_chosen_by_its_tags(version: Version) {
    let set = ReplicaSet::start(Options::new(version).members(2)).await;
    let client = set.client().await;
    let documents: Vec<Document> = (0..3000).map(|n| doc! {"_id": n}).collect();
    client.database("one").collection("a").insert_many(documents).await.unwrap();
    let primary = set.primary().await;
    let secondary = 1 - primary;
    tag(&client, secondary).await;
    let _ = set.replicated().await;
    let folder = Folder::new();
    let uri = set.uri();
    for tools in [Tools::Ours, Tools::Stock] {
        let out = folder.path(&format!("{tools:?}"));
        let before = (returned(&set, primary).await, returned(&set, secondary).await);
        let chosen = r#"{"mode": "secondary", "tagSets": [{"use": "backup"}]}"#;
        let flags = ["-d", "one", "--readPreference", chosen, "-o", &out];
        let _ = tools.dump(&uri, &flags).await.expect(0);
        let read = returned(&set, secondary).await - before.1;
        let other = returned(&set, primary).await - before.0;
        assert!(read >= 3000 && other < 3000, "{tools:?}: {read} of it, {other} of the primary");
        let length = std::fs::metadata(format!("{out}/one/a.bson")).unwrap().len();
        assert_eq!(length, 3000 * 14, "{tools:?}");
    }
    let nobody = r#"{"mode": "secondary", "tagSets": [{"use": "none"}]}"#;
    let out = folder.path("none");
    let flags = ["--readPreference", nobody, "--serverSelectionTimeout=1", "-o", &out];
    let _ = Tools::Ours.dump(&uri, &flags).await.expect(1).saying("Failed: ");
}

/// Of the flag, of the connection string, or else for the majority; also what makes, drops and indexes collections.
async fn writes_wait_for_what_is_said(version: Version) {
    let set = ReplicaSet::start(Options::new(version).members(2)).await;
    let client = set.client().await;
    let folder = Folder::new();
    let index = r#"{"options":{},"indexes":[{"v":{"$numberInt":"2"},"key":{"n":{"$numberInt":"1"}},"name":"n_1"}]}"#;
    write(&folder, "one", "a", &some(10), index);
    let place = folder.path("");
    let more = format!("{}&w=5&wtimeoutMS=500", set.uri());
    for tools in [Tools::Ours, Tools::Stock] {
        let ended = tools.restore(&more, &["--drop", &place]).await.expect(1);
        let _ = ended.saying("Not enough data-bearing nodes");
    }
    // The flag is the later word. With the stock tool the connection string has it, which its manual denies.
    let _ = Tools::Ours.restore(&more, &["--writeConcern", "1", "--drop", &place]).await.expect(0);
    // Nobody but the primary gets it: what waits for one member goes on.
    let _ = set.replicated().await;
    set.hold_replication().await;
    let one = format!("{}&w=1", set.uri());
    // Indexes are built when the members that vote agree, whatever writes wait for.
    let _ = Tools::Ours.restore(&one, &["--drop", "--noIndexRestore", &place]).await.expect(0);
    let flags = ["--drop", "--noIndexRestore", "--writeConcern", "1", &place];
    let _ = Tools::Ours.restore(&set.uri(), &flags).await.expect(0);
    assert_eq!(count(&client, "one", "a").await, 10);
    set.resume_replication().await;
    let _ = Tools::Ours.restore(&one, &["--drop", &place]).await.expect(0);
    assert_eq!(count(&client, "one", "a").await, 10);
}

/// A collection gets another shard key: its shard cannot be dumped with an oplog meanwhile.
#[tokio::test]
async fn a_shard_is_not_dumped_while_it_reshards() {
    let cluster = Cluster::start(Version::V8_2).await;
    let router = Client::with_uri_str(format!("mongodb://{}/", cluster.address())).await.unwrap();
    let admin = router.database("admin");
    admin.run_command(doc! {"shardCollection": "one.a", "key": {"_id": 1}}).await.unwrap();
    let documents: Vec<Document> = (0..200).map(|n| doc! {"_id": n, "n": n}).collect();
    let coll = router.database("one").collection::<Document>("a");
    coll.insert_many(documents).await.unwrap();
    coll.create_index(mongodb::IndexModel::builder().keys(doc! {"n": 1}).build()).await.unwrap();
    let folder = Folder::new();
    let (out, uri) = (folder.path("d"), cluster.shard.uri());
    let dump = ["--oplog", "-o", &out];
    let _ = Tools::Ours.dump(&uri, &dump).await.expect(0);
    // It lasts for five minutes at least, unless it is told otherwise.
    let reshard = doc! {"reshardCollection": "one.a", "key": {"n": 1}, "numInitialChunks": 1};
    let resharding = admin.run_command(reshard);
    let shard = cluster.shard.client().await;
    let books = shard.database("config").collection::<Document>("localReshardingOperations.donor");
    let refused = async {
        let limit = Version::V8_2.patience(wait::PATIENCE);
        wait::until("the shard to reshard", limit, async || books.find_one(doc! {}).await.unwrap())
            .await;
        let _ = Tools::Ours.dump(&uri, &dump).await.expect(1).saying("resharded");
        let _ = Tools::Stock.dump(&uri, &dump).await.expect(1).saying("resharding");
    };
    tokio::select! {
        ended = resharding => panic!("it ended: {ended:?}"),
        () = refused => {}
    }
    let _ = admin.run_command(doc! {"abortReshardCollection": "one.a"}).await.unwrap();
}
