//! What happens to a restore whose server or network fails in the middle: it goes on where it may, or it ends soon and says why.

use std::{future::Future, time::Duration};

use bson::{Document, doc};
use bygone_tests::{Options, ReplicaSet, Version, disk::SmallDisk, proxy::Proxy, wait::PATIENCE};
use mongodb::Client;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::{Ended, Folder, Tools, faults::large};

on_both! {
    a_restart_of_the_server
    cut_connections
    a_server_without_room
    a_disk_that_is_full
}

/// A dump of `one.a`, which is on its way into a target.
struct Dumped {
    folder: Folder,
}

impl Dumped {
    async fn new(version: Version) -> Dumped {
        let source = ReplicaSet::single(version).await;
        large(&source).await;
        let index = doc! {"createIndexes": "a", "indexes": [{"key": {"n": 1}, "name": "n_1"}]};
        source.client().await.database("one").run_command(index).await.unwrap();
        let folder = Folder::new();
        let out = folder.path("d");
        let _ = Tools::Ours.dump(&source.uri(), &["-d", "one", "-o", &out]).await.expect(0);
        Dumped { folder }
    }

    /// Restores it in small batches while `meanwhile` happens.
    async fn restored<T>(
        &self,
        uri: &str,
        more: &[&str],
        meanwhile: impl Future<Output = T>,
    ) -> (Ended, T) {
        let out = self.folder.path("d");
        let arguments = [&["--batchSize", "10", "--drop", &out], more].concat();
        let restore = timeout(PATIENCE * 3, Tools::Ours.restore(uri, &arguments));
        let (ended, meanwhile) = tokio::join!(restore, meanwhile);
        (ended.expect("an end"), meanwhile)
    }
}

/// Waits until so many documents are in.
async fn arrived(client: &Client, some: u64) {
    let coll = client.database("one").collection::<Document>("a");
    let begun = bygone_tests::wait::within(Duration::from_secs(60), || async {
        let count = coll.estimated_document_count().await.unwrap_or_default();
        (count > some).then_some(())
    });
    begun.await.expect("the restore goes on");
}

/// Every document is in exactly once, and was said to be.
async fn whole(ended: Ended, client: &Client) {
    let _ = ended.expect(0).saying("30000 document(s) restored successfully. 0 document(s) failed");
    let coll = client.database("one").collection::<Document>("a");
    assert_eq!(coll.count_documents(doc! {}).await.unwrap(), 30_000);
}

/// It failed, and said so in one line.
fn failed(ended: Ended) -> String {
    let ended = ended.expect(1);
    let lines: Vec<&str> = ended.stderr.lines().filter(|l| l.contains("Failed: ")).collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    lines[0].to_owned()
}

async fn a_restart_of_the_server(version: Version) {
    let dumped = Dumped::new(version).await;
    let mut target = ReplicaSet::single(version).await;
    let (uri, client) = (target.uri(), target.client().await);
    let restart = async {
        arrived(&client, 500).await;
        target.members[0].kill();
        target.restart(0).await;
    };
    let (ended, ()) = dumped.restored(&uri, &["-j", "1"], restart).await;
    whole(ended, &client).await;
}

#[tokio::test]
async fn a_server_that_stays_away_ends_a_restore() {
    let dumped = Dumped::new(Version::V8_2).await;
    let mut target = ReplicaSet::single(Version::V8_2).await;
    let (uri, client) = (target.uri(), target.client().await);
    let kill = async {
        arrived(&client, 500).await;
        target.members[0].kill();
    };
    let soon = ["--serverSelectionTimeout", "3"];
    let (ended, ()) = dumped.restored(&uri, &soon, kill).await;
    let line = failed(ended);
    assert!(line.contains("cannot reach"), "{line}");
}

/// The connections are cut in the middle, again and again.
async fn cut_connections(version: Version) {
    let dumped = Dumped::new(version).await;
    let target = ReplicaSet::single(version).await;
    let proxy = Proxy::start(target.members[0].address()).await;
    let uri = format!("mongodb://{}/?directConnection=true", proxy.address());
    let client = target.client().await;
    let cuts = async {
        for some in [500, 2000, 4000] {
            arrived(&client, some).await;
            proxy.cut();
            // Those that are open are closed before a new one is.
            let mut new = TcpStream::connect(proxy.address()).await.unwrap();
            let _ = new.read(&mut [0]).await;
            proxy.heal();
        }
    };
    let (ended, ()) = dumped.restored(&uri, &[], cuts).await;
    whole(ended, &client).await;
}

/// Nothing passes any more, and nobody closes anything. It takes its time, as the next one: one version each.
#[tokio::test]
async fn a_network_that_stalls() {
    let dumped = Dumped::new(Version::V8_2).await;
    let target = ReplicaSet::single(Version::V8_2).await;
    let proxy = Proxy::start(target.members[0].address()).await;
    let uri = format!("mongodb://{}/?directConnection=true", proxy.address());
    let client = target.client().await;
    let stall = async {
        arrived(&client, 500).await;
        proxy.stall();
    };
    let soon = ["--serverSelectionTimeout", "3"];
    let (ended, ()) = dumped.restored(&uri, &soon, stall).await;
    let line = failed(ended);
    assert!(line.contains("insert into one.a"), "{line}");
}

/// The connections that there are carry nothing any more, as behind a firewall that forgot them; new ones work.
#[tokio::test]
async fn connections_that_are_forgotten() {
    let dumped = Dumped::new(Version::V4_4).await;
    let target = ReplicaSet::single(Version::V4_4).await;
    let proxy = Proxy::start(target.members[0].address()).await;
    let uri = format!("mongodb://{}/?directConnection=true", proxy.address());
    let client = target.client().await;
    let strand = async {
        arrived(&client, 500).await;
        proxy.strand();
    };
    let (ended, ()) = dumped.restored(&uri, &[], strand).await;
    whole(ended, &client).await;
}

/// The server says that it has no room: nothing that waiting helps against.
async fn a_server_without_room(version: Version) {
    let dumped = Dumped::new(version).await;
    let target = ReplicaSet::single(version).await;
    let (uri, client) = (target.uri(), target.client().await);
    let fast = ["--batchSize", "500"];
    for (command, skip) in [("insert", 10), ("createIndexes", 0)] {
        let refuse = doc! {
            "configureFailPoint": "failCommand", "mode": {"skip": skip},
            "data": {"failCommands": [command], "errorCode": 14031, "appName": "bygone"},
        };
        client.database("admin").run_command(refuse).await.unwrap();
        let (ended, ()) = dumped.restored(&uri, &fast, async {}).await;
        let line = failed(ended);
        assert!(line.contains("one.a") && line.contains("(code 14031)"), "{line}");
    }
    let off = doc! {"configureFailPoint": "failCommand", "mode": "off"};
    client.database("admin").run_command(off).await.unwrap();
    let (ended, ()) = dumped.restored(&uri, &fast, async {}).await;
    whole(ended, &client).await;
}

/// The disk is really full: the server ends itself, and does not start again.
async fn a_disk_that_is_full(version: Version) {
    let dumped = Dumped::new(version).await;
    let disk = SmallDisk::new(600);
    let target = ReplicaSet::start(Options::new(version).disk(&disk)).await;
    let (uri, client) = (target.uri(), target.client().await);
    let fill = async {
        arrived(&client, 500).await;
        disk.fill(0);
    };
    let soon = ["--serverSelectionTimeout", "3"];
    let (ended, ()) = dumped.restored(&uri, &soon, fill).await;
    let line = failed(ended);
    // Where all documents had arrived by then, it is the index that finds no room.
    let said = line.contains("insert into one.a") || line.contains("(code 14031)");
    assert!(said && line.contains("one.a"), "{line}");
}
