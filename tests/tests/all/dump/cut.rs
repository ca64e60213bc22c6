//! Dumps whose cursor is cut go on where they were: the same bytes as without, or an error that says why not.

use std::process::Stdio;

use bson::{Document, doc};
use bygone_tests::{Options, ReplicaSet, Version, process, proxy::Proxy, wait::PATIENCE};
use mongodb::Client;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};

use super::Tools;

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
        let mut command = Command::new(process::binary());
        command.args(["mongodump", "-v", "--uri", uri, "-d", "one", "-c", "a", "-o", "-"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut first = vec![0; 100_000];
        stdout.read_exact(&mut first).await.unwrap();
        Waiting { child, stdout, first }
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
