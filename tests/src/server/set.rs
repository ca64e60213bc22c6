//! Replica sets: members, users, clients, elections.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};
use bygone_base::{Rng, SystemRng, Ts};
use mongodb::{Client, options::ClientOptions};

use super::{Auth, Member, Mongod, Options, Pki, Tls, says, ts};
use crate::{Version, wait};

/// The user with the role `root`, where authentication is on.
pub const USER: &str = "admin";
/// Its password, and the default one of every other user that tests create.
pub const PASSWORD: &str = "not-a-secret";

/// A running replica set; stopped and removed when dropped.
#[derive(Debug)]
pub struct ReplicaSet {
    /// Its members, in the order of the options.
    pub members: Vec<Mongod>,
    options: Options,
    pki: Option<Pki>,
}

impl ReplicaSet {
    /// One member of `version` without authentication.
    pub async fn single(version: Version) -> ReplicaSet {
        ReplicaSet::start(Options::new(version)).await
    }

    /// Starts the members, initiates the set, waits for a primary and for every
    /// other member to follow it, and creates [`USER`] where there are users.
    pub async fn start(options: Options) -> ReplicaSet {
        let pki = (options.tls != Tls::Off).then(Pki::new);
        let key = key_file();
        let new = |_: &Member| Mongod::new(&options, Some(&key), pki.as_ref());
        let members = options.members.iter().map(new).collect();
        let mut set = ReplicaSet { members, options, pki };
        set.members.iter_mut().for_each(Mongod::start);
        for member in &mut set.members {
            member.answers().await;
        }
        let config = set.config();
        let initiated = set.members[0].admin(doc! {"replSetInitiate": config}).await;
        initiated.expect("replSetInitiate");
        set.healthy().await;
        if set.options.auth == Auth::On {
            set.create_first_user().await;
        }
        set
    }

    /// One server that belongs to no set.
    pub async fn standalone(version: Version) -> ReplicaSet {
        let options = Options::new(version);
        let mut server = Mongod::new(&options, None, None).alone();
        server.start();
        server.answers().await;
        ReplicaSet { members: vec![server], options, pki: None }
    }

    /// The version of its servers.
    pub fn version(&self) -> Version {
        self.options.version
    }

    /// The authority of its certificates, where it uses TLS.
    pub fn pki(&self) -> Option<&Pki> {
        self.pki.as_ref()
    }

    /// The URI of the set, for [`USER`] where there are users.
    pub fn uri(&self) -> String {
        match self.login() {
            Some((user, password)) => self.uri_as(user, password),
            None => self.uri_with(""),
        }
    }

    /// The URI of the set for another user of `admin`.
    pub fn uri_as(&self, user: &str, password: &str) -> String {
        self.uri_with(&format!("{user}:{password}@"))
    }

    /// A client of the set, as [`USER`] where there are users.
    pub async fn client(&self) -> Client {
        self.connect(&self.uri()).await
    }

    /// A client of the set as another user of `admin`.
    pub async fn client_as(&self, user: &str, password: &str) -> Client {
        self.connect(&self.uri_as(user, password)).await
    }

    /// A client of one member alone, as [`USER`] where there are users.
    pub async fn member_client(&self, member: usize) -> Client {
        self.members[member].direct(self.login()).await
    }

    /// Creates a user of `admin` with [`PASSWORD`]; roles as `createUser` takes them.
    pub async fn create_user(&self, name: &str, roles: Vec<Bson>) {
        let command = doc! {"createUser": name, "pwd": PASSWORD, "roles": roles};
        self.client().await.database("admin").run_command(command).await.expect("createUser");
    }

    /// The member that is primary; waits until there is one.
    pub async fn primary(&self) -> usize {
        let limit = self.options.version.patience(wait::PATIENCE);
        wait::until("a primary", limit, async || self.primary_now().await).await
    }

    /// Waits for a primary, and until every running member follows it.
    pub async fn healthy(&self) {
        self.primary().await;
        for (index, member) in self.members.iter().enumerate().filter(|(_, m)| m.pid().is_some()) {
            let limit = self.options.version.patience(wait::PATIENCE);
            wait::until(format!("member {index} in a working state"), limit, async || {
                let hello = member.hello().await?;
                let works = ["isWritablePrimary", "secondary", "arbiterOnly"];
                works.iter().any(|state| says(&hello, state)).then_some(())
            })
            .await;
        }
    }

    /// Makes the primary step down; returns the new one (of a single member, the same).
    pub async fn step_down(&self) -> usize {
        let old = self.primary().await;
        let client = self.member_client(old).await;
        let seconds = if self.members.len() == 1 { 1 } else { 60 };
        let command =
            doc! {"replSetStepDown": seconds, "secondaryCatchUpPeriodSecs": 0, "force": true};
        // The answer may be lost with the connection; what counts is the new primary.
        let _ = client.database("admin").run_command(command).await;
        let limit = self.options.version.patience(wait::PATIENCE);
        wait::until("another primary", limit, async || {
            self.primary_now().await.filter(|new| *new != old || self.members.len() == 1)
        })
        .await
    }

    /// Starts a member that was stopped or killed, and waits until it answers.
    pub async fn restart(&mut self, member: usize) {
        self.members[member].start();
        self.members[member].answers().await;
    }

    /// Makes the secondaries stop reading the primary's oplog: what is written
    /// from now on with `w: 1` is rolled back when the primary is killed.
    pub async fn hold_replication(&self) {
        self.fail_point_of_secondaries("alwaysOn").await;
    }

    /// Ends `hold_replication`.
    pub async fn resume_replication(&self) {
        self.fail_point_of_secondaries("off").await;
    }

    /// Waits until all members have the primary's newest entry.
    pub async fn replicated(&self) -> Ts {
        let client = self.client().await;
        let note = doc! {
            "appendOplogNote": 1,
            "data": {"test": "replicated"},
            "writeConcern": {"w": i32::try_from(self.members.len()).unwrap(), "wtimeout": 60_000},
        };
        let reply = client.database("admin").run_command(note).await.expect("appendOplogNote");
        ts(reply.get_timestamp("operationTime").expect("operationTime"))
    }

    fn login(&self) -> Option<(&'static str, &'static str)> {
        (self.options.auth == Auth::On).then_some((USER, PASSWORD))
    }

    async fn connect(&self, uri: &str) -> Client {
        let mut options = ClientOptions::parse(uri).await.expect("URI");
        options.server_selection_timeout = Some(self.options.version.patience(wait::PATIENCE));
        Client::with_options(options).expect("client")
    }

    fn uri_with(&self, login: &str) -> String {
        let hosts: Vec<String> = self.members.iter().map(Mongod::address).collect();
        let tls = self.pki.as_ref().map_or(String::new(), Pki::query);
        let name = &self.options.name;
        format!("mongodb://{login}{}/?replicaSet={name}{tls}", hosts.join(","))
    }

    async fn primary_now(&self) -> Option<usize> {
        for (index, member) in self.members.iter().enumerate().filter(|(_, m)| m.pid().is_some()) {
            let hello = member.hello().await;
            if hello.is_some_and(|hello| says(&hello, "isWritablePrimary")) {
                return Some(index);
            }
        }
        None
    }

    async fn fail_point_of_secondaries(&self, mode: &str) {
        for (index, member) in self.members.iter().enumerate().filter(|(_, m)| m.pid().is_some()) {
            let hello = member.hello().await;
            if hello.is_some_and(|hello| says(&hello, "secondary")) {
                let command = doc! {"configureFailPoint": "stopReplProducer", "mode": mode};
                let client = self.member_client(index).await;
                client.database("admin").run_command(command).await.expect("configureFailPoint");
            }
        }
    }

    fn config(&self) -> Document {
        let timeout = i64::try_from(self.options.election_timeout.as_millis()).unwrap();
        let delay =
            if self.version() < Version::V5_0 { "slaveDelay" } else { "secondaryDelaySecs" };
        let mut members = Vec::new();
        for (index, (member, process)) in self.options.members.iter().zip(&self.members).enumerate()
        {
            let apart = member.hidden || member.delay > 0;
            let mut config = doc! {
                "_id": i32::try_from(index).unwrap(),
                "host": process.address(),
                "priority": if apart || member.arbiter { 0.0 } else { member.priority },
                "hidden": apart,
                "arbiterOnly": member.arbiter,
            };
            if member.delay > 0 {
                config.insert(delay, i64::from(member.delay));
            }
            members.push(config);
        }
        let settings = doc! {
            "electionTimeoutMillis": timeout,
            "heartbeatIntervalMillis": (timeout / 4).min(2000),
            // A set with an arbiter or a delayed member must not wait for it here.
            "chainingAllowed": true,
        };
        let name = &self.options.name;
        let mut config = doc! {"_id": name, "members": members, "settings": settings};
        if self.options.arguments.iter().any(|argument| argument == "--configsvr") {
            config.insert("configsvr", true);
        }
        config
    }

    async fn create_first_user(&self) {
        let primary = self.primary().await;
        let command = doc! {"createUser": USER, "pwd": PASSWORD, "roles": ["root"]};
        // Allowed once without a login, from the same host.
        self.members[primary].admin(command).await.expect("create the first user");
    }

    /// Databases that exist, without `local`.
    pub async fn databases(&self) -> BTreeSet<String> {
        let names = self.client().await.list_database_names().await.expect("listDatabases");
        names.into_iter().filter(|name| name != "local").collect()
    }
}

/// A key that only this set's members share.
fn key_file() -> String {
    (0..16).map(|_| format!("{:016x}", SystemRng.next_u64())).collect()
}
