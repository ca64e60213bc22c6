//! What long dumps and restores show meanwhile, beside the stock tools.

use std::process::Stdio;

use bson::{Document, doc};
use bygone_tests::{ReplicaSet, Version, wait::PATIENCE};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Child,
};

use super::Tools;

/// Runs a tool whose ends are held.
fn start(tools: Tools, name: &str, arguments: &[&str]) -> Child {
    let mut command = tools.command(name);
    command.args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Reads what it says until a line has this in it; gives the line without its time.
async fn line(said: &mut (impl tokio::io::AsyncBufRead + Unpin), part: &str) -> String {
    let found = async {
        loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).await.unwrap() > 0, "it ended without {part:?}");
            if line.contains(part) {
                return line.trim_end().split_once('\t').unwrap().1.to_owned();
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a line")
}

/// `[####....]  ns  done/all  (part%)` as its cells.
fn cells(line: &str) -> Vec<&str> {
    let cells: Vec<&str> = line.split("  ").collect();
    assert!(cells[0].starts_with('[') && cells[0].ends_with(']') && cells[0].len() == 26, "{line}");
    assert!(cells[3].starts_with('(') && cells[3].ends_with("%)") && cells.len() == 4, "{line}");
    cells
}

#[tokio::test]
async fn long_work_shows_bars() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    let coll = client.database("one").collection::<Document>("a");
    for from in (0..60_000).step_by(1000) {
        let documents: Vec<Document> =
            (from..from + 1000).map(|n| doc! {"_id": n, "t": "x".repeat(1000)}).collect();
        coll.insert_many(documents).await.unwrap();
    }
    let uri = set.uri();
    for tools in [Tools::Stock, Tools::Ours] {
        let mut dump = start(tools, "mongodump", &["--uri", &uri, "-d", "one", "--archive"]);
        let mut said = BufReader::new(dump.stderr.take().unwrap());
        // Nobody reads the archive until the bar was shown.
        let shown = line(&mut said, "]  one.a  ").await;
        let first = cells(&shown);
        assert!(first[2].ends_with("/60000"), "{shown}");
        let mut archive = Vec::new();
        let mut stdout = dump.stdout.take().unwrap();
        let (read, last) =
            tokio::join!(stdout.read_to_end(&mut archive), line(&mut said, "60000/60000"));
        read.unwrap();
        assert_eq!(cells(&last)[3], "(100.0%)");
        assert!(dump.wait().await.unwrap().success());

        let mut restore =
            start(tools, "mongorestore", &["--uri", &uri, "--drop", "--quiet", "--archive"]);
        let mut stdin = restore.stdin.take().unwrap();
        stdin.write_all(&archive).await.unwrap();
        drop(stdin);
        let output = restore.wait_with_output().await.unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{tools:?}");

        let mut restore = start(tools, "mongorestore", &["--uri", &uri, "--drop", "--archive"]);
        let mut stdin = restore.stdin.take().unwrap();
        let mut said = BufReader::new(restore.stderr.take().unwrap());
        stdin.write_all(&archive[..archive.len() / 2]).await.unwrap();
        let shown = line(&mut said, "one.a  ").await;
        let (name, size) = shown.trim_start().split_once("  ").unwrap();
        assert!(name == "one.a" && size.ends_with("MB"), "{shown}");
        let rest = async {
            stdin.write_all(&archive[archive.len() / 2..]).await.unwrap();
            drop(stdin);
        };
        let mut more = String::new();
        let (read, ()) = tokio::join!(said.read_to_string(&mut more), rest);
        read.unwrap();
        assert!(more.contains("60000 document(s) restored successfully"), "{more}");
        assert!(restore.wait().await.unwrap().success());
    }
}
