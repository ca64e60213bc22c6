//! `dbHash`, also of a moment in the past.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Document, doc};
use bygone_base::Ts;
use md5::{Digest as _, Md5};
use mongodb::{Client, error::Result};

use super::{
    catalogue::{hex, try_cursor},
    is_bookkeeping,
};
use crate::{Version, server};

/// The hash of each collection of `db` by name.
pub(super) async fn hashes(
    client: &Client,
    version: Version,
    db: &str,
    at: Option<Ts>,
) -> Result<BTreeMap<String, String>> {
    ask(client, version, db, doc! {"dbHash": 1}, at).await
}

/// The hash of one collection; `None` when it did not exist.
pub(super) async fn hash_of(
    client: &Client,
    version: Version,
    db: &str,
    name: &str,
    at: Ts,
) -> Result<Option<String>> {
    let command = doc! {"dbHash": 1, "collections": [name]};
    Ok(ask(client, version, db, command, Some(at)).await?.remove(name))
}

/// The hash of each order that the server may hash a collection's documents in
/// (by `_id`, and for capped collections the order of insertion), from the
/// documents themselves. `None` when the server refuses, and when there are none: then
/// nothing tells an empty collection from one that did not exist.
pub(super) async fn hashes_of_documents(
    client: &Client,
    version: Version,
    db: &str,
    name: &str,
    at: Ts,
) -> Option<BTreeSet<String>> {
    let mut hashes = BTreeSet::new();
    for order in [doc! {"sort": {"_id": 1}, "allowDiskUse": true}, doc! {"hint": {"$natural": 1}}] {
        let mut command = doc! {"find": name};
        command.extend(order);
        read_at(&mut command, version, at);
        // 7.0 does not read capped collections in the past at all.
        let documents = try_cursor(client, db, command).await.ok()?;
        if documents.is_empty() {
            return None;
        }
        let mut md5 = Md5::new();
        documents.iter().for_each(|document| md5.update(document.as_bytes()));
        hashes.insert(hex(&md5.finalize()));
    }
    Some(hashes)
}

async fn ask(
    client: &Client,
    version: Version,
    db: &str,
    mut command: Document,
    at: Option<Ts>,
) -> Result<BTreeMap<String, String>> {
    if let Some(at) = at {
        read_at(&mut command, version, at);
    }
    let reply = client.database(db).run_command(command).await?;
    let mut hashes = BTreeMap::new();
    for (name, hash) in reply.get_document("collections").expect("collections") {
        if !is_bookkeeping(db, name) {
            hashes.insert(name.clone(), hash.as_str().expect("md5").to_owned());
        }
    }
    Ok(hashes)
}

/// Makes `command` read the state at `at`. 4.4 refuses `atClusterTime` here and
/// 8.2 silently ignores the internal form, so each gets its own.
pub(super) fn read_at(command: &mut Document, version: Version, at: Ts) {
    let at = server::timestamp(at);
    if version < Version::V5_0 {
        command.insert("$_internalReadAtClusterTime", at);
    } else {
        command.insert("readConcern", doc! {"level": "snapshot", "atClusterTime": at});
    }
}
