//! mongodump, mongorestore and bsondump beside the stock ones, on real servers: what one writes the other reads, and
//! both say the same.

/// Each as a test on the newest and on the oldest server; on the one between only by `make matrix`, whose profile takes
/// what the others leave out.
macro_rules! on_both {
    ($($name:ident)*) => {
        $(mod $name {
            #[tokio::test]
            async fn on_8_2() {
                super::$name(bygone_tests::Version::V8_2).await;
            }

            #[tokio::test]
            async fn on_4_4() {
                super::$name(bygone_tests::Version::V4_4).await;
            }

            #[tokio::test]
            async fn on_5_0() {
                super::$name(bygone_tests::Version::V5_0).await;
            }
        })*
    };
}

mod acceptance;
mod archives;
mod behaviour;
mod compressed;
mod cut;
mod damaged;
mod documents;
mod exported;
mod faults;
mod flags;
mod halts;
mod keys;
mod lenient;
mod lost;
mod members;
mod oplog;
mod people;
mod progress;
mod replaying;
mod restoring;
mod rounds;
mod same;
mod scripts;
mod several;

use std::{ffi::OsStr, process::Stdio};

use bygone_tests::{process, version};
use mongodb::Client;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// Whose tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tools {
    Stock,
    Ours,
}

/// What a tool left behind; its output may be an archive.
#[derive(Debug, Clone)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// Panics with what the tool said unless its exit status is `code`.
    #[must_use]
    pub fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self
    }

    /// Panics unless it said this.
    #[must_use]
    pub fn saying(self, text: &str) -> Ended {
        assert!(self.stderr.contains(text), "not {text:?} in:\n{}", self.stderr);
        self
    }
}

impl Tools {
    /// `name`, without arguments.
    pub fn command(self, name: &str) -> Command {
        match self {
            Tools::Stock => Command::new(version::program(name, "tools")),
            Tools::Ours => {
                let mut command = Command::new(process::binary());
                command.arg(name);
                command
            }
        }
    }

    /// Runs `name arguments..` with `input`.
    pub async fn run<S: AsRef<OsStr>>(
        self,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Ended {
        let mut command = self.command(name);
        command.args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start a tool");
        let mut stdin = child.stdin.take().expect("stdin");
        let write = async move {
            // It may end without reading all of it.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let ended = tokio::time::timeout(bygone_tests::wait::PATIENCE * 3, async {
            tokio::join!(write, child.wait_with_output()).1
        });
        let ended = ended.await.expect("a tool that ends").expect("output");
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        Ended { code: ended.status.code(), stdout: ended.stdout, stderr }
    }

    /// `mongodump --uri URI arguments..`
    pub async fn dump(self, uri: &str, arguments: &[&str]) -> Ended {
        self.run("mongodump", ["--uri", uri].iter().chain(arguments), b"").await
    }

    /// `mongorestore --uri URI arguments..`
    pub async fn restore(self, uri: &str, arguments: &[&str]) -> Ended {
        self.run("mongorestore", ["--uri", uri].iter().chain(arguments), b"").await
    }
}

/// Drops everything that tests made.
pub async fn empty(client: &Client) {
    for db in client.list_database_names().await.unwrap() {
        if !matches!(db.as_str(), "admin" | "config" | "local") {
            client.database(&db).drop().await.unwrap();
        }
    }
    // Users and roles live in admin, whatever database they are of.
    for (coll, command) in
        [("system.users", "dropAllUsersFromDatabase"), ("system.roles", "dropAllRolesFromDatabase")]
    {
        let find = bson::doc! {"find": coll, "projection": {"db": 1}};
        let reply = client.database("admin").run_command(find).await.unwrap();
        let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap().clone();
        for entry in batch {
            let db = entry.as_document().unwrap().get_str("db").unwrap().to_owned();
            client.database(&db).run_command(bson::doc! {command: 1}).await.unwrap();
        }
    }
}

/// A folder and paths within it as text.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        let mut builder = tempfile::Builder::new();
        Folder(builder.prefix("bygone-dump-").tempdir().expect("folder"))
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}
