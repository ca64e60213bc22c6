//! What benches share: the source with its data, a folder, the binary.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bson::doc;
use bygone_tests::{ReplicaSet, Version, oracle, server::Options};
use mongodb::Client;
use tempfile::TempDir;

use crate::{
    data,
    measure::{self, Cost, Running, cpu_of, free_space},
};

/// No run starts with less than this free on the disk, in bytes.
const MIN_FREE: u64 = 12 << 30;
/// How long a step may take at most.
pub const LIMIT: Duration = Duration::from_secs(300);

/// A replica set with one member.
#[derive(Debug)]
pub struct Server {
    set: ReplicaSet,
    /// A client of it.
    pub client: Client,
}

impl Server {
    /// Starts one. Its history window is nothing and its oplog small, so that what is dropped frees its disk.
    pub async fn start() -> Server {
        let mut options = Options::new(Version::V8_2).oplog_mb(2048);
        options.cache_gb = 1.5;
        options.history = Duration::ZERO;
        let set = ReplicaSet::start(options).await;
        let client = set.client().await;
        Server { set, client }
    }

    /// Starts one that holds `1 / divisor` of the data.
    pub async fn loaded(divisor: u64) -> Server {
        let server = Server::start().await;
        data::load(&server.client, divisor).await;
        server.settle().await;
        server
    }

    /// Its URI.
    pub fn uri(&self) -> String {
        self.set.uri()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.set.members[0].pid().expect("the server runs")
    }

    /// CPU seconds so far.
    pub fn cpu(&self) -> f64 {
        cpu_of(self.pid())
    }

    /// Writes a checkpoint, so that what was done before does not disturb what is measured next.
    pub async fn settle(&self) {
        self.client.database("admin").run_command(doc! {"fsync": 1}).await.expect("fsync");
    }

    /// `dbHash` of the data.
    pub async fn hash(&self) -> String {
        let reply = self.client.database(data::DB).run_command(doc! {"dbHash": 1}).await;
        reply.expect("dbHash").get_str("md5").expect("md5").to_owned()
    }
}

/// What benches share.
#[derive(Debug)]
pub struct Context {
    folder: TempDir,
    source: Option<Server>,
    numbers: AtomicU32,
    /// How often each pair is run.
    pub rounds: u32,
}

impl Context {
    /// Nothing is started yet.
    pub fn new(rounds: u32) -> Context {
        let folder = tempfile::Builder::new().prefix("bygone-bench-").tempdir().expect("folder");
        Context { folder, source: None, numbers: AtomicU32::new(0), rounds }
    }

    /// Starts and loads the source, once.
    pub async fn prepare(&mut self) {
        let free = free_space(self.folder.path());
        assert!(
            free >= MIN_FREE,
            "only {} GB are free on the disk of {}",
            free >> 30,
            self.folder.path().display()
        );
        if self.source.is_none() {
            crate::say("loading the source");
            self.source = Some(Server::loaded(1).await);
        }
    }

    /// The source, with all the data.
    pub fn source(&self) -> &Server {
        self.source.as_ref().expect("prepared")
    }

    /// A path that nothing has yet.
    pub fn path(&self, name: &str) -> PathBuf {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("{number:03}-{name}"))
    }

    /// Runs a command, whose server has the process id `server`.
    pub async fn run(&self, command: Command, server: Option<u32>) -> (Cost, String) {
        measure::run(command, &self.path("log"), server).await
    }

    /// Starts a command.
    pub fn start(&self, command: Command) -> Running {
        Running::start(command, &self.path("log"))
    }

    /// A stock tool.
    pub fn tool(&self, name: &str) -> Command {
        Command::new(bygone_tests::version::program(name, "tools"))
    }

    /// `bygone backup` of `server` into `store`; its cost and the bytes that it says are new.
    pub async fn backup(&self, server: &Server, store: &Path) -> (Cost, u64) {
        let mut command = bygone("backup", store);
        command.env("BYGONE_SOURCE", server.uri()).arg("--json");
        let (cost, output) = self.run(command, Some(server.pid())).await;
        let result = output.lines().rev().find_map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            value.get("new_bytes")?.as_u64()
        });
        (cost, result.unwrap_or_else(|| panic!("no result in\n{output}")))
    }

    /// `bygone up` of `server` into `store`, without snapshots but the first; waits until it has read all.
    pub async fn up(&self, server: &Server, store: &Path) -> Running {
        let mut command = bygone("up", store);
        command.env("BYGONE_SOURCE", server.uri()).args(["--interval", "48h"]);
        let mut up = self.start(command);
        up.line("backup: complete", LIMIT).await;
        self.stored(server, store).await;
        up
    }

    /// Waits until everything that `server` has is in `store`.
    pub async fn stored(&self, server: &Server, store: &Path) {
        let now = oracle::now(&server.client).await;
        let mut wait = bygone("status", store);
        wait.args(["--wait-for", &now.to_string(), "--timeout", "300s"]);
        self.run(wait, None).await;
    }

    /// Stores what the source has written since, without a snapshot.
    pub async fn follow(&self, server: &Server, store: &Path) {
        let up = self.up(server, store).await;
        up.interrupt();
        up.end().await;
    }
}

/// `bygone NAME`, one of the drop-in tools.
pub fn tool(name: &str) -> Command {
    let binary = env::var_os("BYGONE_BIN").map_or_else(|| beside("bygone"), PathBuf::from);
    let mut process = Command::new(binary);
    process.arg(name);
    process
}

/// `bygone COMMAND --store file://STORE`
pub fn bygone(command: &str, store: &Path) -> Command {
    let mut process = tool(command);
    process.args(["--store", &url(store)]);
    process
}

/// One of this program's own parts, as another process.
pub fn part(name: &str) -> Command {
    let mut process = Command::new(env::current_exe().expect("the path of this program"));
    process.arg(name);
    process
}

/// The URL of a store in a folder.
pub fn url(store: &Path) -> String {
    format!("file://{}", store.display())
}

fn beside(name: &str) -> PathBuf {
    env::current_exe().expect("the path of this program").with_file_name(name)
}
