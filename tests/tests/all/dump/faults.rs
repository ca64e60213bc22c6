//! What happens to a dump whose reader or whose server goes away, and to a restore whose server comes back.

use std::{process::Stdio, time::Duration};

use bson::{Document, doc};
use bygone_tests::{ReplicaSet, Version, process, proxy::Proxy, wait::PATIENCE};
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    process::{Child, Command},
};

use super::{Folder, Tools};

/// More than all buffers between a server and a pipe that nobody reads.
async fn large(set: &ReplicaSet) {
    let coll = set.client().await.database("one").collection::<Document>("a");
    for round in 0..30 {
        let documents: Vec<Document> =
            (0..1000).map(|n| doc! {"_id": round * 1000 + n, "t": "x".repeat(1000)}).collect();
        coll.insert_many(documents).await.unwrap();
    }
}

fn start(uri: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(process::binary());
    command.args(["mongodump", "--uri", uri]).args(arguments).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

async fn ended(child: Child) -> (Option<i32>, String) {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("an end").unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_reader_that_goes_away_fails_the_dump() {
    let set = ReplicaSet::single(Version::V8_2).await;
    large(&set).await;
    let mut child = start(&set.uri(), &["--archive"]);
    let mut stdout = child.stdout.take().unwrap();
    let mut some = vec![0; 100_000];
    stdout.read_exact(&mut some).await.unwrap();
    drop(stdout);
    let (code, said) = ended(child).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Failed: error writing archive on stdout"), "{said}");
}

#[tokio::test]
async fn a_server_that_goes_away_fails_the_dump() {
    let mut set = ReplicaSet::single(Version::V8_2).await;
    large(&set).await;
    let mut child = start(&set.uri(), &["--archive", "--serverSelectionTimeout", "3"]);
    let mut stdout = child.stdout.take().unwrap();
    let mut some = vec![0; 100_000];
    stdout.read_exact(&mut some).await.unwrap();
    set.members[0].kill();
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).await.unwrap();
    let (code, said) = ended(child).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Failed: "), "{said}");
}

#[tokio::test]
async fn a_full_disk_fails_the_dump() {
    let set = ReplicaSet::single(Version::V8_2).await;
    large(&set).await;
    for arguments in [&["--archive=/dev/full"][..], &["--gzip", "--archive=/dev/full"]] {
        let ended = Tools::Ours.dump(&set.uri(), arguments).await.expect(1);
        let _ = ended.saying("Failed: error writing archive '/dev/full'");
    }
}

/// Every document is in exactly once.
#[tokio::test]
async fn a_restore_outlives_a_restart_of_its_server() {
    let source = ReplicaSet::single(Version::V8_2).await;
    large(&source).await;
    let mut target = ReplicaSet::single(Version::V8_2).await;
    let folder = Folder::new();
    let out = folder.path("d");
    let _ = Tools::Ours.dump(&source.uri(), &["-d", "one", "-o", &out]).await.expect(0);
    let uri = target.uri();
    let arguments = ["-j", "1", "--batchSize", "10", "--drop", &out];
    let restore = async { Tools::Ours.restore(&uri, &arguments).await };
    let client = target.client().await;
    let restart = async {
        let coll = client.database("one").collection::<Document>("a");
        let some = bygone_tests::wait::within(Duration::from_secs(60), || async {
            let count = coll.estimated_document_count().await.unwrap_or_default();
            (count > 500).then_some(())
        });
        some.await.expect("the restore has begun");
        target.members[0].kill();
        target.restart(0).await;
    };
    let (ended, ()) = tokio::join!(restore, restart);
    let _ = ended.expect(0).saying("30000 document(s) restored successfully. 0 document(s) failed");
    let client = target.client().await;
    let coll = client.database("one").collection::<Document>("a");
    assert_eq!(coll.count_documents(doc! {}).await.unwrap(), 30_000);
}

/// The connections are cut in the middle, again and again: every document is in exactly once.
#[tokio::test]
async fn a_restore_outlives_cut_connections() {
    let source = ReplicaSet::single(Version::V8_2).await;
    large(&source).await;
    let target = ReplicaSet::single(Version::V8_2).await;
    let folder = Folder::new();
    let out = folder.path("d");
    let _ = Tools::Ours.dump(&source.uri(), &["-d", "one", "-o", &out]).await.expect(0);
    let proxy = Proxy::start(target.members[0].address()).await;
    let uri = format!("mongodb://{}/?directConnection=true", proxy.address());
    let arguments = ["--batchSize", "10", "--drop", &out];
    let restore = async { Tools::Ours.restore(&uri, &arguments).await };
    let client = target.client().await;
    let coll = client.database("one").collection::<Document>("a");
    let cuts = async {
        for some in [500, 2000, 4000] {
            let begun = bygone_tests::wait::within(Duration::from_secs(60), || async {
                let count = coll.estimated_document_count().await.unwrap_or_default();
                (count > some).then_some(())
            });
            begun.await.expect("the restore goes on");
            proxy.cut();
            // Those that are open are closed before a new one is.
            let mut new = TcpStream::connect(proxy.address()).await.unwrap();
            let _ = new.read(&mut [0]).await;
            proxy.heal();
        }
    };
    let (ended, ()) = tokio::join!(restore, cuts);
    let _ = ended.expect(0).saying("30000 document(s) restored successfully. 0 document(s) failed");
    assert_eq!(coll.count_documents(doc! {}).await.unwrap(), 30_000);
}
