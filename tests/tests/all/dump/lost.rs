//! Connections that are lost outside of a cursor, and sets of which a member is away.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::{Document, doc};
use bygone_agent::source::{CollectionSize, Reader};
use bygone_base::{Clock, SystemClock, UnixMillis};
use bygone_tests::{Options, ReplicaSet, Version};
use mongodb::Client;

use super::{Folder, Tools};

async fn fill(client: &Client) {
    let documents: Vec<Document> = (0..50).map(|n| doc! {"_id": n}).collect();
    for name in ["a", "b"] {
        client.database("one").collection::<Document>(name).insert_many(&documents).await.unwrap();
    }
}

/// The next such command of the tool loses its connection, or meets a server that shuts down.
#[tokio::test]
async fn commands_that_are_lost_are_sent_again() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let (client, uri) = (set.client().await, set.uri());
    fill(&client).await;
    let folder = Folder::new();
    let lost = [doc! {"closeConnection": true}, doc! {"errorCode": 91}];
    for command in
        ["buildInfo", "listDatabases", "listCollections", "listIndexes", "collStats", "find"]
    {
        for how in &lost {
            let mut data = doc! {"failCommands": [command], "appName": "bygone"};
            data.extend(how.clone());
            let point = doc! {
                "configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data,
            };
            client.database("admin").run_command(point).await.unwrap();
            let out = folder.path("d");
            let ended = Tools::Ours.dump(&uri, &["-o", &out, "--oplog"]).await;
            assert_eq!(ended.code, Some(0), "{command} {how}: {}", ended.stderr);
            assert!(ended.stderr.contains("done dumping one.b (50 documents)"), "{}", ended.stderr);
        }
    }
    // A cursor that fails for good tells of what.
    let point = doc! {
        "configureFailPoint": "failCommand", "mode": "alwaysOn",
        "data": {"failCommands": ["getMore"], "errorCode": 2, "appName": "bygone"},
    };
    client.database("admin").run_command(point).await.unwrap();
    let documents: Vec<Document> =
        (0..200).map(|n| doc! {"_id": n, "x": "x".repeat(50_000)}).collect();
    client.database("one").collection("large").insert_many(documents).await.unwrap();
    let ended = Tools::Ours.dump(&uri, &["-d", "one", "-o", &folder.path("e")]).await.expect(1);
    let _ = ended.saying("Failed: error dumping one.large: ");
}

/// Nothing is asked of the primary that a secondary can answer; what is asked, one and the same is asked.
#[tokio::test]
async fn a_set_without_a_primary_is_dumped_from_a_secondary() {
    let mut set = ReplicaSet::start(Options::new(Version::V4_4).members(2)).await;
    fill(&set.client().await).await;
    set.replicated().await;
    let (uri, folder) = (set.uri(), Folder::new());
    set.members[0].stop().await;
    let uri = format!("{uri}&serverSelectionTimeoutMS=20000");
    for preference in ["secondary", "nearest", "{mode: 'secondaryPreferred'}"] {
        let out = folder.path(preference);
        let dump = ["--readPreference", preference, "--oplog", "-o", &out];
        let ended = Tools::Ours.dump(&uri, &dump).await.expect(0);
        let ended = ended.saying("done dumping one.a (50 documents)");
        let _ = ended.saying("done dumping one.b (50 documents)");
    }
}

/// Short waits are over at once, and long ones never.
#[derive(Debug)]
struct Hasty(SystemClock);

#[async_trait]
impl Clock for Hasty {
    fn now(&self) -> UnixMillis {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        if duration > Duration::from_secs(30) {
            std::future::pending::<()>().await;
        }
    }
}

/// A server that takes long to tell a size ends no dump.
#[tokio::test]
async fn a_size_that_takes_long_is_not_known() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    fill(&client).await;
    let size = async |clock: Arc<dyn Clock>| {
        let reader = Reader::new(client.clone(), "it".to_owned(), clock);
        reader.size("one", "a").await.unwrap()
    };
    assert_eq!(size(Arc::new(SystemClock::new())).await.docs, 50);
    assert_eq!(size(Arc::new(Hasty(SystemClock::new()))).await, CollectionSize::default());
}
