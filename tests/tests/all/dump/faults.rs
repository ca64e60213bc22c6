//! What happens to a dump whose reader or whose server goes away.

use std::process::Stdio;

use bson::{Document, doc};
use bygone_tests::{ReplicaSet, Version, process, wait::PATIENCE};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
};

use super::Tools;

/// More than all buffers between a server and a pipe that nobody reads.
pub(super) async fn large(set: &ReplicaSet) {
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
    assert!(
        said.contains("Failed: ") && said.contains("error writing archive on stdout"),
        "{said}"
    );
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
        let _ = ended.saying("Failed: ").saying("error writing archive '/dev/full'");
    }
}
