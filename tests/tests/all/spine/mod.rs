//! The whole way with the real binary: `bygone up` follows a real replica set,
//! `bygone restore` brings moments back into another, and the servers say
//! whether they are equal.

pub mod kill;
mod pitr;

use std::{path::PathBuf, time::Duration};

use bson::doc;
use bygone_base::Ts;
use bygone_tests::{
    ClusterState, Moment, ReplicaSet, Version, diff,
    oracle::{self, diff_moment, differing_documents},
    process::{Bygone, Output, Running},
    state_at,
    wait::PATIENCE,
};
use mongodb::Client;
use tempfile::TempDir;

/// A folder with a store in it, and the commands on it.
pub struct Backup {
    folder: TempDir,
    /// The URL of the store, where it is not in the folder.
    url: Option<String>,
    /// Arguments of every command.
    arguments: Vec<String>,
    /// The environment of every command.
    environment: Vec<(String, String)>,
}

impl Backup {
    pub fn new() -> Backup {
        let keep = std::env::var_os("BYGONE_TEST_KEEP").is_some();
        let mut folder = tempfile::Builder::new();
        folder.prefix("bygone-store-").disable_cleanup(keep);
        let folder = folder.tempdir().expect("folder");
        Backup { folder, url: None, arguments: Vec::new(), environment: Vec::new() }
    }

    /// With the store somewhere else.
    pub fn at(mut self, url: impl Into<String>) -> Backup {
        self.url = Some(url.into());
        self
    }

    /// With one more option for every command.
    pub fn with(mut self, option: &str, value: impl ToString) -> Backup {
        self.arguments.extend([option.to_owned(), value.to_string()]);
        self
    }

    /// With a variable in the environment of every command.
    pub fn env(mut self, name: &str, value: impl ToString) -> Backup {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// A file or folder beside the store.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The URL of the store.
    pub fn url(&self) -> String {
        self.url.clone().unwrap_or_else(|| format!("file://{}", self.store().display()))
    }

    /// The folder of the store.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// `bygone command --store URL`
    pub fn command(&self, command: &str) -> Bygone {
        let url = self.url();
        let words = command.split(' ').chain(["--store", &url]);
        let command = Bygone::new(words.chain(self.arguments.iter().map(String::as_str)));
        self.environment.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    /// `bygone up` with an interval so short that folds and snapshots happen all the time.
    pub fn up(&self, source: &str) -> Bygone {
        self.up_every("2s", source)
    }

    /// `bygone up` with another interval between snapshots.
    pub fn up_every(&self, interval: &str, source: &str) -> Bygone {
        self.source(self.command("up"), source).arg("--interval").arg(interval)
    }

    /// `bygone backup`
    pub fn backup(&self, source: &str) -> Bygone {
        self.source(self.command("backup"), source)
    }

    /// The URI goes by the environment: it may hold a password.
    fn source(&self, command: Bygone, source: &str) -> Bygone {
        command.env("BYGONE_SOURCE", source)
    }

    /// Waits until `at` is durable.
    pub async fn wait_for(&self, at: Ts) {
        let wait = self.command("status").arg("--wait-for").arg(at.to_string());
        let _ = wait.arg("--timeout").arg("120s").run().await.expect_code(0);
    }

    /// `bygone restore --to TARGET --at WHEN`
    pub fn restore(&self, target: &str, at: impl ToString) -> Bygone {
        let restore = self.command("restore").arg("--at").arg(at.to_string());
        restore.env("BYGONE_TO", target).limit(PATIENCE * 10)
    }

    /// Restores into a new set of `version` with proof, and gives the set.
    pub async fn restored(&self, version: Version, at: impl ToString) -> Restored {
        let target = ReplicaSet::single(version).await;
        let output = self.restore(&target.uri(), at).arg("--verify").run().await;
        let proven = output.code == Some(0) && output.stdout.contains("\nPROVEN: ");
        let tried = proven || output.stdout.contains("NOT PROVEN");
        assert!(tried, "{}\n{}", output.stdout, output.stderr);
        Restored { target, output }
    }

    /// Waits until `at` is durable, then stops `up`; the store is whole.
    pub async fn stops_whole(&self, up: Running, at: Ts) {
        self.wait_for(at).await;
        interrupted(up).await;
        self.verify().await;
    }

    /// `bygone verify`, which must find nothing.
    pub async fn verify(&self) -> Output {
        let report = self.command("verify").run().await.expect_code(0);
        assert!(report.stdout.starts_with("WHOLE"), "{}", report.stdout);
        report
    }
}

/// A target with the result of a restore in it.
pub struct Restored {
    pub target: ReplicaSet,
    pub output: Output,
}

impl Restored {
    /// Panics with the documents that differ unless the target is what the source was at a mark.
    pub async fn equals(&self, source: Side<'_>, mark: &ClusterState) {
        equal(source, mark, &self.target).await;
        self.is_proven().await;
    }

    /// The same for a moment between marks: returns how many collections were compared.
    pub async fn equals_moment(&self, source: Side<'_>, moment: &Moment) -> usize {
        let compared = equal_moment(source, moment, &self.target).await;
        self.is_proven().await;
        compared
    }

    /// Where the server's order of a collection's `_id`s is not ours.
    async fn disorder(&self, namespace: &str) -> Vec<String> {
        let (db, name) = namespace.split_once('.').expect("a namespace");
        let client = self.target.client().await;
        let find = doc! {"find": name, "sort": {"_id": 1}, "allowDiskUse": true};
        let mut cursor = client.database(db).run_cursor_command(find).await.expect("find");
        let (mut before, mut found, mut count) = ((Vec::new(), String::new()), Vec::new(), 0);
        while cursor.advance().await.expect("find") {
            let document = cursor.current();
            let key = bygone_document::id_key(document.as_bytes()).expect("a key");
            let shown = format!("{:?}", document.get("_id"));
            if key < before.0 {
                found.push(format!("the server has {} before {shown}", before.1));
            }
            before = (key, shown);
            count += 1;
        }
        let state = state_at(&client, self.target.version(), None).await;
        found.push(format!("{count} documents; {:?}", state.collections[namespace]));
        found
    }

    async fn is_proven(&self) {
        let unequal = self.output.stdout.lines().filter(|line| line.starts_with("DIFFERS"));
        let mut unequal: Vec<String> = unequal.map(str::to_owned).collect();
        for line in unequal.clone() {
            let name = line.trim_start_matches("DIFFERS ");
            // Other lines tell of the catalogue.
            if let Some((name, _)) = name.split_once(" (") {
                unequal.extend(self.disorder(name).await);
            }
        }
        assert_eq!(self.output.code, Some(0), "{}", unequal.join("\n"));
    }
}

/// Until the first snapshot is there.
pub async fn complete(up: &mut Running) {
    let limit = PATIENCE * 5;
    up.line(limit, |line| line == "backup: complete").await;
}

/// Ctrl-C, and a clean end.
pub async fn interrupted(up: Running) -> Output {
    up.interrupt();
    let ended = up.wait(PATIENCE).await.expect_code(0);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(
        ended.stderr.lines().any(|l| l.starts_with("stopped; stored up to ")),
        "{}",
        ended.stderr
    );
    ended
}

/// The state of a source that nobody writes to.
pub async fn mark(client: &Client, version: Version) -> ClusterState {
    let at = oracle::now(client).await;
    state_at(client, version, Some(at)).await
}

/// A source and its version, to explain differences with.
pub type Side<'a> = (&'a Client, Version);

/// Panics with the documents that differ unless the target is what the source was at a mark.
async fn equal(source: Side<'_>, mark: &ClusterState, target: &ReplicaSet) {
    let client = target.client().await;
    let found = state_at(&client, target.version(), None).await;
    let differences = diff(mark, &found);
    let namespaces = differences.iter().filter(|d| d.contains("documents differ"));
    let namespaces =
        namespaces.filter_map(|d| d.split_once(": documents differ").map(|(ns, _)| ns));
    explain(source, mark.at, (&client, target.version()), namespaces, &differences).await;
}

/// The same for a moment between marks: returns how many collections were compared.
async fn equal_moment(source: Side<'_>, moment: &Moment, target: &ReplicaSet) -> usize {
    let client = target.client().await;
    let found = state_at(&client, target.version(), None).await;
    let (differences, compared) = diff_moment(moment, &found);
    let namespaces = differences.iter().filter_map(|d| d.split_once(": hash").map(|(ns, _)| ns));
    let target = (&client, target.version());
    explain(source, Some(moment.at), target, namespaces, &differences).await;
    compared
}

async fn explain(
    source: Side<'_>,
    at: Option<Ts>,
    target: Side<'_>,
    namespaces: impl Iterator<Item = &str>,
    differences: &[String],
) {
    if differences.is_empty() {
        return;
    }
    let mut why = String::new();
    for namespace in namespaces.take(4) {
        let (db, name) = namespace.split_once('.').expect("a namespace");
        let sides = ((source.0, source.1, at), (target.0, target.1, None));
        why += &differing_documents(sides.0, sides.1, db, name).await.join("\n");
        why.push('\n');
    }
    panic!("at {at:?}:\n{}\n{why}", differences.join("\n"));
}

/// A number from the environment, for soaks.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect(name))
}

/// A pause between the steps of writers, so that they leave the machine to the rest.
pub const PACE: Duration = Duration::from_millis(10);
