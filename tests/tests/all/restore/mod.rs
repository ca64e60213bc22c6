//! The restore against real servers: what arrives is what was meant, the proof
//! sees what is not, and bad luck on the way does no harm.

mod copy;
pub mod odd;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bson::{Document, doc};
use bygone_base::{CollectionId, ErrorKind, SystemClock};
use bygone_restore::{
    Contents, DocumentStream, Documents, InOrder, NameRules, PlanOptions, Progress, RunOptions,
    Target, memory::MemoryDocuments,
};
use bygone_tests::{
    Options, ReplicaSet, Version, Workload, diff, server::PASSWORD, state_at, wait,
};
use futures::future::BoxFuture;
use mongodb::Client;

use copy::{proven, restore};

/// What a workload left behind arrives whole, on the same or a newer version.
async fn a_workloads_state_arrives(seed: u64, from: Version, to: Version) {
    let source = ReplicaSet::single(from).await;
    let client = source.client().await;
    let mut workload = Workload::new(seed, from);
    workload.run(&client, 400).await;
    let expected = state_at(&client, from, None).await;
    let documents = Arc::new(copy::documents(&client, from).await);
    let target = ReplicaSet::single(to).await;
    let restored = restore(documents.clone(), &target.uri(), proven()).await.unwrap();
    let proof = restored.proof.unwrap();
    assert!(proof.holds(), "{proof}");
    assert!(restored.documents > 50 && proof.collections.len() > 3, "{proof}");
    if from == to {
        // Temporary collections are not restored: a server removes its own when it starts.
        let temporary =
            |ns: &str| {
                documents.contents().collections.iter().any(|c| {
                    c.name.to_string() == ns && c.options.get_bool("temp").unwrap_or(false)
                })
            };
        let mut expected = expected;
        expected.collections.retain(|ns, _| !temporary(ns));
        let found = state_at(&target.client().await, to, None).await;
        assert_eq!(diff(&expected, &found), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_workloads_state_arrives_8_2() {
    a_workloads_state_arrives(21, Version::V8_2, Version::V8_2).await;
}

#[tokio::test]
async fn a_workloads_state_arrives_5_0() {
    a_workloads_state_arrives(22, Version::V5_0, Version::V5_0).await;
}

#[tokio::test]
async fn a_workloads_state_arrives_4_4() {
    a_workloads_state_arrives(23, Version::V4_4, Version::V4_4).await;
}

#[tokio::test]
async fn a_workloads_state_arrives_on_a_newer_server() {
    a_workloads_state_arrives(24, Version::V4_4, Version::V8_2).await;
}

/// `n` documents of about a kilobyte in `shop.orders`, a few in `shop.small`.
async fn shop(client: &Client, n: i32) {
    let filler = "x".repeat(1000);
    let documents = (0..n).map(|i| doc! {"_id": i, "n": i % 10, "filler": &filler});
    let orders = client.database("shop").collection::<Document>("orders");
    orders.insert_many(documents).await.unwrap();
    orders.create_index(mongodb::IndexModel::builder().keys(doc! {"n": 1}).build()).await.unwrap();
    let small = client.database("shop").collection::<Document>("small");
    small.insert_many((0..5).map(|i| doc! {"_id": i})).await.unwrap();
}

/// Calls something once, when a collection is opened.
struct Meddler {
    inner: MemoryDocuments,
    collection: &'static str,
    done: AtomicBool,
    act: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

#[async_trait]
impl Documents for Meddler {
    fn contents(&self) -> &Contents {
        self.inner.contents()
    }

    async fn open(&self, id: CollectionId) -> bygone_base::Result<Box<dyn DocumentStream>> {
        let opened = self.contents().collections.iter().find(|c| c.id == id).unwrap();
        if opened.name.coll == self.collection && !self.done.swap(true, Ordering::Relaxed) {
            (self.act)().await;
        }
        self.inner.open(id).await
    }

    async fn open_in_order(&self, id: CollectionId) -> bygone_base::Result<InOrder> {
        self.inner.open_in_order(id).await
    }
}

/// Waits for document 7 of the target's orders, and changes it.
async fn flip(there: Client) {
    let orders = there.database("shop").collection::<Document>("orders");
    wait::until("the document to arrive", Duration::from_secs(30), async || {
        let flipped = orders.update_one(doc! {"_id": 7}, doc! {"$inc": {"n": 1}}).await;
        flipped.is_ok_and(|f| f.modified_count == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_proof_sees_a_flipped_document() {
    let source = ReplicaSet::single(Version::V8_2).await;
    let client = source.client().await;
    shop(&client, 3000).await;
    let inner = copy::documents(&client, Version::V8_2).await;
    let target = ReplicaSet::single(Version::V8_2).await;
    let there = target.client().await;
    let act = Box::new(move || Box::pin(flip(there.clone())) as BoxFuture<'static, ()>);
    let done = AtomicBool::new(false);
    let documents = Arc::new(Meddler { inner, collection: "small", done, act });
    let restored = restore(documents, &target.uri(), proven()).await.unwrap();
    let proof = restored.proof.unwrap();
    let wrong: Vec<_> = proof.collections.iter().filter(|c| !c.holds()).collect();
    assert_eq!(wrong.len(), 1, "{proof}");
    assert_eq!(wrong[0].name.to_string(), "shop.orders");
    assert!(proof.verdict().starts_with("NOT PROVEN: 1 collections"), "{proof}");
}

#[tokio::test]
async fn a_target_killed_in_the_middle_is_waited_for() {
    let source = ReplicaSet::single(Version::V8_2).await;
    let client = source.client().await;
    shop(&client, 60_000).await;
    let capped = doc! {"create": "capped", "capped": true, "size": 1 << 20};
    client.database("shop").run_command(capped).await.unwrap();
    let documents = Arc::new(copy::documents(&client, Version::V8_2).await);
    let mut set = ReplicaSet::single(Version::V8_2).await;
    let target = Target::connect(&set.uri(), Arc::new(SystemClock::new())).await.unwrap();
    let facts = target.facts().await.unwrap();
    let plan = bygone_restore::plan(documents.contents(), &facts, &proven()).unwrap();
    let (progress, mut watch) = tokio::sync::watch::channel(Progress::default());
    let options = RunOptions { verify: true, ..RunOptions::default() };
    let restoring = bygone_restore::run(documents, &target, &facts, plan, options, progress);
    let killing = async {
        watch.wait_for(|p| p.documents > 5000).await.unwrap();
        set.members[0].kill();
        set.restart(0).await;
    };
    let (restored, ()) = tokio::join!(restoring, killing);
    let restored = restored.unwrap();
    let proof = restored.proof.unwrap();
    assert!(proof.holds(), "{proof}");
    assert_eq!(restored.documents, 60_005);
}

#[tokio::test]
async fn names_are_selected_changed_and_not_overwritten() {
    let source = ReplicaSet::single(Version::V8_2).await;
    let client = source.client().await;
    shop(&client, 50).await;
    let series = doc! {"create": "weather", "timeseries": {"timeField": "t", "metaField": "m"}};
    let db = client.database("shop");
    db.run_command(series).await.unwrap();
    let measured = doc! {"t": bson::DateTime::from_millis(1_700_000_000_000), "m": 1, "x": 2};
    db.collection::<Document>("weather").insert_one(measured).await.unwrap();
    db.run_command(doc! {"create": "view", "viewOn": "orders", "pipeline": []}).await.unwrap();
    let documents = Arc::new(copy::documents(&client, Version::V8_2).await);
    let target = ReplicaSet::single(Version::V8_2).await;
    let rules = || NameRules::new(&["shop.*"], &["*.small"], &[("shop.*", "till.new_*")]).unwrap();
    let options = || PlanOptions { rules: rules(), ..proven() };
    let restored = restore(documents.clone(), &target.uri(), options()).await.unwrap();
    assert!(restored.proof.unwrap().holds());
    let there = target.client().await;
    let mut names = there.database("till").list_collection_names().await.unwrap();
    names.sort();
    let expected =
        ["new_orders", "new_view", "new_weather", "system.buckets.new_weather", "system.views"];
    assert_eq!(names, expected);
    let count = there.database("till").collection::<Document>("new_weather");
    assert_eq!(count.count_documents(doc! {}).await.unwrap(), 1);

    let refused = restore(documents.clone(), &target.uri(), options()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert!(refused.message().contains("till.new_orders, till.new_view"), "{refused}");
    let again = PlanOptions { drop: true, ..options() };
    let restored = restore(documents.clone(), &target.uri(), again).await.unwrap();
    assert!(restored.proof.unwrap().holds());

    let onto_itself = PlanOptions { drop: true, ..options() };
    let refused = restore(documents, &source.uri(), onto_itself).await.unwrap_err();
    assert!(refused.message().contains("the target is the source"), "{refused}");
}

/// Users and roles arrive with their passwords; the built-in role `restore` is enough
/// to restore, and `readAnyDatabase` beside it to prove.
async fn users_and_roles_arrive(version: Version) {
    let source = ReplicaSet::start(Options::new(version).auth()).await;
    let client = source.client().await;
    shop(&client, 20).await;
    let admin = client.database("admin");
    let privilege =
        doc! {"resource": {"db": "shop", "collection": "orders"}, "actions": ["find", "update"]};
    for (role, parents) in
        [("base", vec![]), ("clerk", vec!["base"]), ("boss", vec!["clerk", "read"])]
    {
        let create = doc! {"createRole": role, "privileges": [privilege.clone()], "roles": parents};
        admin.run_command(create).await.unwrap();
    }
    source.create_user("ann", vec!["boss".into()]).await;
    source.create_user("restorer", vec!["root".into()]).await;
    let documents = Arc::new(copy::documents(&client, version).await);

    let target = ReplicaSet::start(Options::new(version).auth()).await;
    target.create_user("restorer", vec!["restore".into(), "readAnyDatabase".into()]).await;
    target.create_user("loader", vec!["restore".into()]).await;
    target.create_user("reader", vec!["readAnyDatabase".into()]).await;
    let uri = |user: &str| target.uri_as(user, PASSWORD);
    let denied = restore(documents.clone(), &uri("reader"), proven()).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied, "{denied}");
    assert!(denied.hint_text().unwrap().contains("the role restore"), "{denied}");
    let denied = restore(documents.clone(), &uri("loader"), proven()).await.unwrap_err();
    assert!(denied.hint_text().unwrap().contains("readAnyDatabase"), "{denied}");
    let plain = PlanOptions::default();
    assert!(restore(documents.clone(), &uri("loader"), plain).await.unwrap().proof.is_none());

    let again = PlanOptions { drop: true, ..proven() };
    let restored = restore(documents, &uri("restorer"), again).await.unwrap();
    let proof = restored.proof.unwrap();
    assert!(proof.holds(), "{proof}");
    let kept = "user admin.restorer does this restore and is kept as it is";
    assert!(restored.warnings.iter().any(|w| w == kept), "{:?}", restored.warnings);
    let ann = target.client_as("ann", PASSWORD).await;
    let orders = ann.database("shop").collection::<Document>("orders");
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 20);
    let gone = target.client_as("loader", PASSWORD).await;
    let refused = gone.list_database_names().await.unwrap_err();
    assert!(refused.to_string().contains("uthentication"), "{refused}");
    let mut expected = state_at(&client, version, None).await.without_users(&["restorer"]);
    let mut found =
        state_at(&target.client().await, version, None).await.without_users(&["restorer"]);
    // Servers store the parents of a role in any order: the proof has compared them.
    assert_eq!(found.roles.len(), 3);
    (expected.roles, found.roles) = Default::default();
    assert_eq!(diff(&expected, &found), Vec::<String>::new());
}

#[tokio::test]
async fn users_and_roles_arrive_8_2() {
    users_and_roles_arrive(Version::V8_2).await;
}

#[tokio::test]
async fn users_and_roles_arrive_4_4() {
    users_and_roles_arrive(Version::V4_4).await;
}

#[tokio::test]
async fn a_target_that_cannot_be_used_is_told_in_one_line() {
    let set = ReplicaSet::start(Options::new(Version::V8_2).auth()).await;
    let told = async |uri: String| {
        let target = Target::connect(&uri, Arc::new(SystemClock::new())).await.unwrap();
        let failed = target.facts().await.unwrap_err();
        assert!(!failed.to_string().contains('\n') && !failed.to_string().contains("secret"));
        (failed.kind(), format!("{failed}; {}", failed.hint_text().unwrap()))
    };
    let (kind, hint) = told(set.uri_as("nobody", "secret")).await;
    assert_eq!(kind, ErrorKind::Denied);
    assert!(hint.contains("password"), "{hint}");
    let nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300".to_owned();
    let (kind, hint) = told(nowhere).await;
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(hint.contains("hosts"), "{hint}");
}
