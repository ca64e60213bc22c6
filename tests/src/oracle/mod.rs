//! What a cluster's state is, by its own words, and how two states differ.
//!
//! A `ClusterState` is data and catalogue of all user collections, views,
//! users and roles. The data can be asked for a moment in the past; the
//! catalogue is always today's, so the catalogue of a moment is known only
//! where nothing changed it since: at a *mark*, when all writers pause.
//! A `Moment` is the data of a moment in the past without the catalogue.

mod catalogue;
mod difference;
mod hash;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bson::{RawDocumentBuf, doc};
use bygone_base::Ts;
use mongodb::Client;

pub use difference::{diff, diff_moment, differing_documents};

use crate::{Version, server};

/// `database.collection`
pub type Namespace = String;

/// What a collection or view is besides its documents.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionState {
    /// `collection`, `view` or `timeseries`.
    pub kind: String,
    /// As listed, in the server's own order.
    pub options: RawDocumentBuf,
    /// As listed, by name.
    pub indexes: BTreeMap<String, RawDocumentBuf>,
    /// The server's hash of all documents; views and time-series views have none of their own.
    pub hash: Option<String>,
    /// The collection's UUID in hex; restores need not keep it, so it is not compared.
    pub uuid: Option<String>,
}

/// Everything that a backup must bring back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterState {
    /// The moment of the data; `None` is the moment of asking.
    pub at: Option<Ts>,
    /// User collections and views by namespace.
    pub collections: BTreeMap<Namespace, CollectionState>,
    /// `admin.system.users` by `_id`, credentials included.
    pub users: BTreeMap<String, RawDocumentBuf>,
    /// `admin.system.roles` by `_id`.
    pub roles: BTreeMap<String, RawDocumentBuf>,
}

/// The data of a moment in the past.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    /// The moment.
    pub at: Ts,
    /// The hash of each collection that existed then. Where the server answers
    /// with documents instead of a hash: one for each order that they may be hashed in.
    pub hashes: BTreeMap<Namespace, BTreeSet<String>>,
    /// Namespaces whose catalogue changed since so that this server can say nothing about them.
    pub unknown: BTreeSet<Namespace>,
}

impl ClusterState {
    /// Without the users of these names, such as the one that a test logs in with.
    #[must_use]
    pub fn without_users(mut self, names: &[&str]) -> Self {
        self.users.retain(|id, _| !names.iter().any(|name| id.ends_with(&format!(".{name}"))));
        self
    }

    /// Only the namespaces that `keep` accepts; no users and roles.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.collections.retain(|namespace, _| keep(namespace));
        self.users.clear();
        self.roles.clear();
        self
    }
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indexes: usize = self.collections.values().map(|c| c.indexes.len()).sum();
        write!(f, "{} namespaces, {indexes} indexes, ", self.collections.len())?;
        write!(f, "{} users, {} roles", self.users.len(), self.roles.len())
    }
}

/// The state of the cluster: data at `at` (or now), catalogue of now. Right
/// for `at` only if the catalogue has not changed since. Needs the role `root`.
pub async fn state_at(client: &Client, version: Version, at: Option<Ts>) -> ClusterState {
    let mut state = ClusterState { at, ..ClusterState::default() };
    for db in databases(client).await {
        let mut collections = catalogue::collections(client, &db).await;
        let hashed = hash::hashes(client, version, &db, at).await;
        let mut hashes = hashed.unwrap_or_else(|e| panic!("dbHash of {db} at {at:?}: {e}"));
        for (name, collection) in &mut collections {
            collection.hash = hashes.remove(name);
            let namespace = format!("{db}.{name}");
            let stores = collection.kind == "collection";
            if stores && collection.hash.is_none() && at.is_some() {
                // It came after the moment: an operation whose reply was lost was still running.
                continue;
            }
            assert!(!stores || collection.hash.is_some(), "no dbHash of {namespace} at {at:?}");
            state.collections.insert(namespace, collection.clone());
        }
    }
    state.users = catalogue::users(client).await;
    state.roles = catalogue::roles(client).await;
    state
}

/// The data at `at`, also when the catalogue has changed since, and while it changes.
///
/// `dbHash` lists the collections of today even when asked for the past. So
/// what changed since is read document by document where the server sees the
/// catalogue of that moment, and is unknown where it does not.
pub async fn moment(client: &Client, version: Version, at: Ts) -> Moment {
    let mut answers = BTreeMap::new();
    let mut forgotten = BTreeSet::new();
    for db in databases(client).await {
        for (name, capped) in catalogue::names(client, &db).await {
            if capped && !version.reads_capped_in_the_past() {
                forgotten.insert(format!("{db}.{name}"));
                continue;
            }
            let answer = hash::hash_of(client, version, &db, &name, at).await;
            answers.insert(format!("{db}.{name}"), answer);
        }
    }
    // Only now: what changed while the hashes were taken counts as changed too.
    let changed = catalogue::changed_since(client, at).await;
    let mut moment = Moment { at, hashes: BTreeMap::new(), unknown: forgotten };
    for (namespace, answer) in answers.into_iter().filter(|(ns, _)| !changed.contains(ns)) {
        let hash = answer.unwrap_or_else(|e| panic!("dbHash of {namespace} at {at}: {e}"));
        moment.hashes.extend(hash.map(|hash| (namespace, BTreeSet::from([hash]))));
    }
    for namespace in changed {
        let (db, name) = namespace.split_once('.').expect("a namespace");
        if is_bookkeeping(db, name) || db == "config" || db == "local" {
            continue;
        }
        let read = match version.reads_catalogue_in_the_past() {
            true => hash::hashes_of_documents(client, version, db, name, at).await,
            false => None,
        };
        match read {
            Some(hashes) => drop(moment.hashes.insert(namespace, hashes)),
            None => drop(moment.unknown.insert(namespace)),
        }
    }
    moment
}

/// A moment at which everything that was acknowledged before this call is
/// visible and durable on a majority: marks the oplog, so that no other write
/// shares the timestamp.
pub async fn now(client: &Client) -> Ts {
    let note = doc! {
        "appendOplogNote": 1,
        "data": {"test": "a moment"},
        "writeConcern": {"w": "majority", "wtimeout": 60_000},
    };
    let reply = client.database("admin").run_command(note).await.expect("appendOplogNote");
    server::ts(reply.get_timestamp("operationTime").expect("operationTime"))
}

/// Databases with user collections or users.
async fn databases(client: &Client) -> Vec<String> {
    let names = client.list_database_names().await.expect("listDatabases");
    names.into_iter().filter(|name| name != "local" && name != "config").collect()
}

/// Collections of the server's own bookkeeping, which a restore does not bring
/// back as documents: users and roles are compared by themselves, views by their options.
/// Temporary ones go when a server starts; 4.4 leaves some behind when a convertToCapped is refused.
fn is_bookkeeping(db: &str, name: &str) -> bool {
    let of_a_conversion = name.starts_with("tmp") && name.contains(".convertToCapped.");
    let admin =
        ["system.users", "system.roles", "system.version", "system.keys", "system.new_users"];
    let temporary = of_a_conversion || name.starts_with("tmp.agg_out.");
    temporary
        || matches!(name, "system.views" | "system.profile")
        || (db == "admin" && admin.contains(&name))
}
