//! A small sharded cluster: a config server, one shard, a router.

use std::process::{Child, Command, Stdio};

use bson::doc;
use mongodb::{Client, options::ClientOptions};
use tempfile::TempDir;

use super::{Options, ReplicaSet};
use crate::{Version, ports::Port, wait};

/// A running cluster; stopped and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The config servers.
    pub config: ReplicaSet,
    /// The only shard.
    pub shard: ReplicaSet,
    port: Port,
    router: Child,
    /// Its log.
    _folder: TempDir,
}

impl Cluster {
    /// Starts all of it and adds the shard.
    pub async fn start(version: Version) -> Cluster {
        let config = ReplicaSet::start(member(version, "config0", "--configsvr")).await;
        let shard = ReplicaSet::start(member(version, "shard0", "--shardsvr")).await;
        let folder = tempfile::Builder::new().prefix("bygone-mongos-").tempdir().expect("folder");
        let port = Port::reserve();
        let router = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(version.program("mongos"))
            .arg(format!("--port={}", port.number()))
            .arg(format!("--configdb=config0/{}", config.members[0].address()))
            .arg(format!("--logpath={}", folder.path().join("log").display()))
            .args(["--bind_ip=127.0.0.1", "--nounixsocket"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start mongos");
        let cluster = Cluster { config, shard, port, router, _folder: folder };
        cluster.add_shard(version).await;
        cluster
    }

    /// `127.0.0.1:PORT` of the router.
    pub fn address(&self) -> String {
        self.port.address()
    }

    async fn add_shard(&self, version: Version) {
        let uri = format!("mongodb://{}/?directConnection=true", self.address());
        let mut options = ClientOptions::parse(&uri).await.expect("URI");
        options.server_selection_timeout = Some(version.patience(wait::PATIENCE));
        let client = Client::with_options(options).expect("client");
        let shard = format!("shard0/{}", self.shard.members[0].address());
        let limit = version.patience(wait::PATIENCE);
        wait::until("the shard to be added", limit, async || {
            let added = client.database("admin").run_command(doc! {"addShard": &shard}).await;
            added.ok()
        })
        .await;
    }
}

fn member(version: Version, name: &str, role: &str) -> Options {
    let mut options = Options::new(version);
    options.name = name.to_owned();
    options.arguments.push(role.to_owned());
    options
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to stop.
        let _ = self.router.kill();
        let _ = self.router.wait();
    }
}
