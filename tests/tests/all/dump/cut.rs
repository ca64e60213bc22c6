//! Dumps whose cursor is cut go on where they were: the same bytes as without, or an error that says why not.

use std::process::Stdio;

use bson::{Document, RawDocument, Timestamp, doc};
use bygone_tests::{
    Options, ReplicaSet, Version,
    process::{self, Bygone},
    proxy::Proxy,
    wait::PATIENCE,
};
use mongodb::Client;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpStream, unix::pipe},
    process::{Child, ChildStdout, Command},
};

use super::{Folder, Tools};

on_both! {
    an_oplog_goes_on_where_it_was_cut
    a_crash_before_the_oplog_is_noticed
}

const DOCUMENTS: i32 = 30_000;

/// More than all buffers between a server and a pipe that nobody reads.
async fn large(client: &Client) {
    let coll = client.database("one").collection::<Document>("a");
    for from in (0..DOCUMENTS).step_by(1000) {
        let documents: Vec<Document> =
            (from..from + 1000).map(|n| doc! {"_id": n, "t": "x".repeat(1000)}).collect();
        coll.insert_many(documents).await.unwrap();
    }
}

/// A dump to standard output that has begun and waits for its reader.
pub(super) struct Waiting {
    child: Child,
    stdout: ChildStdout,
    first: Vec<u8>,
}

impl Waiting {
    pub(super) async fn start(uri: &str) -> Waiting {
        Waiting::with(uri, &["-d", "one", "-c", "a", "-o", "-"]).await
    }

    pub(super) async fn with(uri: &str, arguments: &[&str]) -> Waiting {
        let mut command = Command::new(process::binary());
        command.args(["mongodump", "-v", "--uri", uri]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut first = vec![0; 100_000];
        stdout.read_exact(&mut first).await.unwrap();
        Waiting { child, stdout, first }
    }

    /// Reads as far as this text; gives the place behind it.
    async fn until(&mut self, text: &[u8]) -> usize {
        let mut from = 0;
        loop {
            let fresh = self.first.get(from..).unwrap();
            if let Some(at) = fresh.windows(text.len()).position(|bytes| bytes == text) {
                return from + at + text.len();
            }
            from = self.first.len().saturating_sub(text.len());
            let mut more = vec![0; 1 << 20];
            let read = tokio::time::timeout(PATIENCE, self.stdout.read(&mut more)).await;
            let read = read.expect("more output").unwrap();
            assert!(read > 0, "the output ends before {text:?}");
            self.first.extend_from_slice(&more[..read]);
        }
    }

    /// Reads the rest: the whole output, the exit status and what was said.
    pub(super) async fn rest(mut self) -> (Vec<u8>, Option<i32>, String) {
        let read = tokio::time::timeout(PATIENCE * 2, self.stdout.read_to_end(&mut self.first));
        read.await.expect("an end").unwrap();
        let output = self.child.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (self.first, output.status.code(), said)
    }

    /// It was cut, and said so.
    async fn goes_on(self, want: &[u8]) {
        let said = self.whole(want).await;
        assert!(said.contains("going on where it was"), "{said}");
    }

    /// Whatever happened on the way. Gives what was said.
    async fn whole(self, want: &[u8]) -> String {
        let (found, code, said) = self.rest().await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("dumped {DOCUMENTS} documents")), "{said}");
        assert!(found == want, "{} bytes instead of {}", found.len(), want.len());
        said
    }

    async fn fails(self, why: &str) {
        let (_, code, said) = self.rest().await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("Failed: ") && said.contains(why), "not {why:?} in {said}");
    }
}

async fn uncut(uri: &str) -> Vec<u8> {
    let ended = Tools::Ours.dump(uri, &["-d", "one", "-c", "a", "-o", "-"]).await.expect(0);
    ended.stdout
}

/// A set, its client, and a way to it that can be cut.
async fn behind_proxy(version: Version) -> (ReplicaSet, Client, Proxy, String) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    large(&client).await;
    let proxy = Proxy::start(set.members[0].address()).await;
    let uri = format!("mongodb://{}/", proxy.address());
    (set, client, proxy, uri)
}

/// Cuts all connections; they are closed before a new one is.
pub(super) async fn cut(proxy: &Proxy) {
    proxy.cut();
    let mut fresh = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(!matches!(fresh.read(&mut [0]).await, Ok(1..)));
}

async fn connections_are_cut(version: Version) {
    let (_set, client, proxy, uri) = behind_proxy(version).await;
    let want = uncut(&uri).await;
    let dump = Waiting::start(&uri).await;
    cut(&proxy).await;
    proxy.heal();
    // A cursor outlives its connection, so that another one may go on without a word.
    dump.whole(&want).await;
    // Behind the cut there is another collection of that name.
    let dump = Waiting::start(&uri).await;
    cut(&proxy).await;
    client.database("one").collection::<Document>("a").drop().await.unwrap();
    large(&client).await;
    proxy.heal();
    dump.fails("was dropped or renamed meanwhile").await;
    // Behind the cut the document where it was is gone.
    let dump = Waiting::start(&uri).await;
    cut(&proxy).await;
    client.database("one").collection::<Document>("a").delete_many(doc! {}).await.unwrap();
    proxy.heal();
    let (found, code, said) = dump.rest().await;
    let lost = "the last document that was read has been deleted";
    // Only where the cursor was lost with its connection must older servers give up.
    let gives_up = code == Some(1) && version < Version::V8_2 && said.contains(lost);
    assert!(gives_up || code == Some(0), "{said}");
    assert!(found.len() < want.len() && want.starts_with(&found), "{said}");
}

#[tokio::test]
async fn a_dump_goes_on_where_its_connection_was_cut_8_2() {
    connections_are_cut(Version::V8_2).await;
}

#[tokio::test]
async fn a_dump_goes_on_where_its_connection_was_cut_4_4() {
    connections_are_cut(Version::V4_4).await;
}

async fn servers_restart(version: Version) {
    let mut set = ReplicaSet::single(version).await;
    large(&set.client().await).await;
    let uri = set.uri();
    let want = uncut(&uri).await;
    let dump = Waiting::start(&uri).await;
    set.members[0].stop().await;
    set.restart(0).await;
    dump.goes_on(&want).await;
    // What it had read before a crash may not have been on disk.
    set.healthy().await;
    let dump = Waiting::start(&uri).await;
    set.members[0].kill();
    set.restart(0).await;
    dump.fails("ended without a shutdown").await;
}

#[tokio::test]
async fn a_dump_outlives_a_restart_of_its_server_8_2() {
    servers_restart(Version::V8_2).await;
}

#[tokio::test]
async fn a_dump_outlives_a_restart_of_its_server_4_4() {
    servers_restart(Version::V4_4).await;
}

/// Record ids mean nothing on the new primary: the dump stays with the member that it began with.
#[tokio::test]
async fn a_dump_outlives_an_election() {
    let set = ReplicaSet::start(Options::new(Version::V4_4).members(2)).await;
    large(&set.client().await).await;
    set.replicated().await;
    let uri = set.uri();
    let want = uncut(&uri).await;
    let old = set.primary().await;
    let dump = Waiting::start(&uri).await;
    set.step_down().await;
    // Its connections are closed, too.
    let admin = set.member_client(old).await.database("admin");
    let kill = doc! {"killAllSessionsByPattern": []};
    admin.run_command(kill).await.unwrap();
    dump.goes_on(&want).await;
}

/// Times of the entries that an archive ends with.
fn entries(mut archive: &[u8]) -> Vec<Timestamp> {
    let mut found = Vec::new();
    while let Some((head, behind)) = archive.split_first_chunk::<4>() {
        let Ok(length) = usize::try_from(i32::from_le_bytes(*head)) else {
            // The end of a block.
            archive = behind;
            continue;
        };
        let (document, behind) = archive.split_at(length);
        // Headers of blocks have no time.
        found.extend(RawDocument::from_bytes(document).unwrap().get_timestamp("ts"));
        archive = behind;
    }
    found
}

/// Servers give no token there that they would take: each entry comes once all the same.
async fn an_oplog_goes_on_where_it_was_cut(version: Version) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    large(&client).await;
    let mut dump = Waiting::with(&set.uri(), &["--oplog", "--archive"]).await;
    // More than all buffers again, while the dump waits in the collection before.
    let coll = client.database("two").collection::<Document>("b");
    for n in 0..120 {
        coll.insert_one(doc! {"_id": n, "t": "x".repeat(1_000_000)}).await.unwrap();
    }
    let hash = b"\x12CRC\0".len() + 8;
    let begin = dump.until(b"\x02collection\0\x06\0\0\0oplog\0\x08EOF\0\0").await + hash + 1;
    let admin = set.member_client(0).await.database("admin");
    admin.run_command(doc! {"killAllSessionsByPattern": []}).await.unwrap();
    let (archive, code, said) = dump.rest().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("local.oplog.rs: ") && said.contains("going on where it was"), "{said}");
    let found = entries(&archive[begin..]);
    let (first, last) = (*found.first().unwrap(), *found.last().unwrap());
    let find = doc! {
        "find": "oplog.rs", "filter": {"ts": {"$gte": first, "$lte": last}},
        "projection": {"ts": 1}, "batchSize": 100_000,
    };
    let reply = set.client().await.database("local").run_command(find).await.unwrap();
    let want = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
    let ts = |entry: &bson::Bson| entry.as_document().unwrap().get_timestamp("ts").unwrap();
    assert!(found.len() > 120);
    assert_eq!(found, want.iter().map(ts).collect::<Vec<_>>());
}

/// No cursor is open then that would be cut: what was read before may not have been on disk all the same.
async fn a_crash_before_the_oplog_is_noticed(version: Version) {
    let mut set = ReplicaSet::single(version).await;
    // One reply, and more than a pipe holds.
    let documents: Vec<Document> =
        (0..1000).map(|n| doc! {"_id": n, "t": "x".repeat(1000)}).collect();
    let length: usize = documents.iter().map(|d| bson::serialize_to_vec(d).unwrap().len()).sum();
    let coll = set.client().await.database("one").collection::<Document>("a");
    coll.insert_many(documents).await.unwrap();
    let folder = Folder::new();
    let out = folder.path("d");
    std::fs::create_dir_all(format!("{out}/one")).unwrap();
    let path = format!("{out}/one/a.bson");
    let made = Command::new("mkfifo").arg(&path).status().await.unwrap();
    assert!(made.success());
    let mut pipe = pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
    let uri = set.uri();
    let dump = Bygone::new(["mongodump", "--uri", &uri, "--oplog", "-o", &out]).start();
    let mut read = async |length: usize| {
        let mut bytes = vec![0; length];
        let read = tokio::time::timeout(PATIENCE, pipe.read_exact(&mut bytes)).await;
        read.expect("documents").unwrap();
    };
    read(1).await;
    set.members[0].kill();
    set.restart(0).await;
    read(length - 1).await;
    let output = dump.wait(PATIENCE).await.expect_code(1);
    assert!(output.stderr.contains("ended without a shutdown"), "{}", output.stderr);
}
