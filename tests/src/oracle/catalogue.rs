//! Collections, options, indexes, users and roles as the server lists them.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Document, RawDocumentBuf, Utf8Lossy, doc};
use bygone_base::Ts;
use futures::TryStreamExt as _;
use mongodb::{Client, error::Result};

use super::{CollectionState, Namespace, is_bookkeeping};
use crate::server;

/// Everything that `listCollections` shows of `db`, by name, with its indexes.
pub(super) async fn collections(client: &Client, db: &str) -> BTreeMap<String, CollectionState> {
    let mut collections = BTreeMap::new();
    for listed in cursor(client, db, doc! {"listCollections": 1}).await {
        let name = listed.get_str("name").expect("name").to_owned();
        if is_bookkeeping(db, &name) {
            continue;
        }
        let kind = listed.get_str("type").unwrap_or("collection").to_owned();
        let mut options = listed.get_document("options").expect("options").to_owned();
        if let Ok(index) = listed.get_document("idIndex") {
            options.append(bson::cstr!("idIndex"), index.to_owned());
        }
        let info = listed.get_document("info").expect("info");
        let uuid = info.get_binary("uuid").ok().map(|uuid| hex(uuid.bytes));
        let indexes = match kind.as_str() {
            "view" => BTreeMap::new(),
            _ => indexes(client, db, &name).await,
        };
        let state = CollectionState { kind, options, indexes, hash: None, uuid };
        collections.insert(name, state);
    }
    collections
}

/// Names of what `db` stores documents in, and whether each is capped.
pub(super) async fn names(client: &Client, db: &str) -> Vec<(String, bool)> {
    let listed = cursor(client, db, doc! {"listCollections": 1}).await;
    let stores = listed.iter().filter(|listed| listed.get_str("type").ok() == Some("collection"));
    let name_and_form = |listed: &RawDocumentBuf| {
        let options = listed.get_document("options").expect("options");
        let capped = options.get_bool("capped").unwrap_or_default();
        (listed.get_str("name").expect("name").to_owned(), capped)
    };
    stores.map(name_and_form).filter(|(name, _)| !is_bookkeeping(db, name)).collect()
}

async fn indexes(client: &Client, db: &str, name: &str) -> BTreeMap<String, RawDocumentBuf> {
    let listed = cursor(client, db, doc! {"listIndexes": name}).await;
    let by_name = |index: RawDocumentBuf| (index.get_str("name").expect("name").to_owned(), index);
    listed.into_iter().map(by_name).collect()
}

/// `admin.system.users` by `_id`.
pub(super) async fn users(client: &Client) -> BTreeMap<String, RawDocumentBuf> {
    by_id(client, "system.users").await
}

/// `admin.system.roles` by `_id`.
pub(super) async fn roles(client: &Client) -> BTreeMap<String, RawDocumentBuf> {
    by_id(client, "system.roles").await
}

async fn by_id(client: &Client, name: &str) -> BTreeMap<String, RawDocumentBuf> {
    let found = cursor(client, "admin", doc! {"find": name}).await;
    let by_id =
        |document: RawDocumentBuf| (document.get_str("_id").expect("_id").to_owned(), document);
    found.into_iter().map(by_id).collect()
}

/// All documents that a command's cursor gives.
pub(super) async fn cursor(client: &Client, db: &str, command: Document) -> Vec<RawDocumentBuf> {
    let shown = command.clone();
    try_cursor(client, db, command).await.unwrap_or_else(|e| panic!("{shown} on {db}: {e}"))
}

/// All documents that a command's cursor gives, or why it gives none.
pub(super) async fn try_cursor(
    client: &Client,
    db: &str,
    command: Document,
) -> Result<Vec<RawDocumentBuf>> {
    let mut cursor = client.database(db).run_cursor_command(command).await?;
    let mut documents = Vec::new();
    while cursor.advance().await? {
        documents.push(cursor.current().to_owned());
    }
    Ok(documents)
}

/// Namespaces whose catalogue entry changed after `at`, by the server's own oplog.
pub(super) async fn changed_since(client: &Client, at: Ts) -> BTreeSet<Namespace> {
    let mut changed = BTreeSet::new();
    for entry in commands_since(client, at).await {
        let db = entry.get_str("ns").expect("ns").trim_end_matches(".$cmd").to_owned();
        note_changes(&db, entry.get_document("o").expect("o"), &mut changed);
    }
    changed
}

async fn commands_since(client: &Client, at: Ts) -> Vec<Document> {
    let oplog = client.database("local").collection::<RawDocumentBuf>("oplog.rs");
    let filter = doc! {"ts": {"$gt": server::timestamp(at)}, "op": "c"};
    // Documents inside a transaction are of no interest, and need not be valid UTF-8.
    let fields = doc! {"ns": 1, "o": {"$cond": [
        {"$isArray": "$o.applyOps"},
        {"applyOps": {"$filter": {"input": "$o.applyOps", "cond": {"$eq": ["$$this.op", "c"]}}}},
        "$o",
    ]}};
    let found = oplog.find(filter).projection(fields).await.expect("read the oplog");
    let found: Vec<RawDocumentBuf> = found.try_collect().await.expect("read the oplog");
    let lossy = |entry| Utf8Lossy::<Document>::try_from(entry).expect("an oplog entry").0;
    found.into_iter().map(lossy).collect()
}

/// Collects the namespaces that a command entry's `o` names.
fn note_changes(db: &str, o: &Document, changed: &mut BTreeSet<Namespace>) {
    let Some((command, argument)) = o.iter().next() else { return };
    match command.as_str() {
        "applyOps" => {
            for operation in argument.as_array().into_iter().flatten() {
                let Some(operation) = operation.as_document() else { continue };
                let ns = operation.get_str("ns").unwrap_or_default();
                if let Ok(o) = operation.get_document("o") {
                    note_changes(ns.trim_end_matches(".$cmd"), o, changed);
                }
            }
        }
        "renameCollection" => {
            changed.extend(argument.as_str().map(str::to_owned));
            changed.extend(o.get_str("to").ok().map(str::to_owned));
        }
        // Its collections' drops stand before it.
        "dropDatabase" | "commitTransaction" | "abortTransaction" => {}
        _ => changed.extend(argument.as_str().map(|name| format!("{db}.{name}"))),
    }
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_namespace_that_a_command_touches() {
        let mut changed = BTreeSet::new();
        note_changes("a", &doc! {"create": "x"}, &mut changed);
        note_changes("a", &doc! {"renameCollection": "a.y", "to": "b.z"}, &mut changed);
        let inside = doc! {"op": "c", "ns": "c.$cmd", "o": {"createIndexes": "w.1"}};
        note_changes("admin", &doc! {"applyOps": [inside]}, &mut changed);
        note_changes("a", &doc! {"dropDatabase": 1}, &mut changed);
        let expected = ["a.x", "a.y", "b.z", "c.w.1"].map(str::to_owned);
        assert_eq!(changed, BTreeSet::from(expected));
    }
}
