//! The proof of a restore: what the target says it holds against what was meant to
//! arrive. Documents by hash, before anything can expire; then the catalogue.
//!
//! A user of the target could write meanwhile: the proof then fails, which is right.

mod compare;

use std::{collections::BTreeMap, fmt};

use bson::{Bson, Document, RawDocumentBuf, rawdoc};
use bygone_base::{Error, Result, Ts};

use crate::{
    error,
    facts::TargetFacts,
    hash::StreamHash,
    load::{Loaded, Shared},
    names::Namespace,
    plan::{CollectionPlan, Method},
    raw,
    target::{Target, denied_hint},
    users,
};

/// What was found about one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionProof {
    /// Its name on the target.
    pub name: Namespace,
    /// Documents that were loaded.
    pub documents: u64,
    /// How it was proven.
    pub method: Method,
    /// Hash of what was loaded.
    pub expected: String,
    /// Hash of what the target holds; empty where it does not have the collection.
    pub found: String,
}

impl CollectionProof {
    /// Whether the target holds what was loaded.
    pub fn holds(&self) -> bool {
        self.expected == self.found
    }
}

/// What was found about the whole restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The moment that was restored.
    pub at: Ts,
    /// Each collection.
    pub collections: Vec<CollectionProof>,
    /// Indexes, views, users and roles compared.
    pub compared: BTreeMap<&'static str, u64>,
    /// What is not as it should be in the catalogue.
    pub differences: Vec<String>,
}

impl Proof {
    /// Whether everything is as it should be.
    pub fn holds(&self) -> bool {
        self.differences.is_empty() && self.collections.iter().all(CollectionProof::holds)
    }

    /// The verdict in one line.
    pub fn verdict(&self) -> String {
        let wrong = self.collections.iter().filter(|c| !c.holds()).count();
        let documents: u64 = self.collections.iter().map(|c| c.documents).sum();
        let counts: Vec<_> = self.compared.iter().map(|(what, n)| format!("{n} {what}")).collect();
        let all = format!(
            "{} collections, {documents} documents, {}",
            self.collections.len(),
            counts.join(", ")
        );
        if self.holds() {
            format!("PROVEN: the target holds the state at {} ({all})", self.at)
        } else {
            format!(
                "NOT PROVEN: {wrong} collections and {} parts of the catalogue differ ({all})",
                self.differences.len()
            )
        }
    }

    /// For machines.
    pub fn to_json(&self) -> serde_json::Value {
        let collections = self.collections.iter().map(|c| {
            serde_json::json!({
                "name": c.name.to_string(), "documents": c.documents, "holds": c.holds(),
                "method": method(c.method), "expected": c.expected, "found": c.found,
            })
        });
        serde_json::json!({
            "holds": self.holds(),
            "at": self.at.to_string(),
            "collections": collections.collect::<Vec<_>>(),
            "compared": self.compared,
            "differences": self.differences,
        })
    }
}

fn method(method: Method) -> &'static str {
    match method {
        Method::DbHash | Method::DbHashNatural => "dbHash",
        Method::ReadNatural | Method::ReadAny => "read back",
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in &self.collections {
            let sign = if c.holds() { "equal " } else { "DIFFERS" };
            write!(
                f,
                "{sign} {} ({} documents, {} {})",
                c.name,
                c.documents,
                method(c.method),
                c.expected
            )?;
            let found = if c.found.is_empty() { "nothing" } else { &c.found };
            if c.holds() { writeln!(f)? } else { writeln!(f, ", the target has {found}")? }
        }
        for difference in &self.differences {
            writeln!(f, "DIFFERS {difference}")?;
        }
        f.write_str(&self.verdict())
    }
}

/// Compares the documents of all collections.
pub(crate) async fn documents(shared: &Shared, loaded: &[Loaded]) -> Result<Proof> {
    let plan = &shared.plan;
    let mut by_db: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for c in plan.collections.iter().filter(|c| by_server(c.method)) {
        by_db.entry(&c.target.db).or_default().push(&c.target.coll);
    }
    let mut hashes = BTreeMap::new();
    for (db, collections) in by_db {
        hashes.extend(db_hash(&shared.target, db, &collections).await?);
    }
    let mut proven = Vec::with_capacity(loaded.len());
    for (collection, loaded) in plan.collections.iter().zip(loaded) {
        let found = match by_server(collection.method) {
            true => hashes.remove(&collection.target).unwrap_or_default(),
            false => read_back(&shared.target, collection).await?,
        };
        // A first insert makes system.js; without one the empty hash stands for it.
        let missing =
            found.is_empty() && loaded.documents == 0 && collection.create.command.is_none();
        let expected = loaded.hash.clone().unwrap_or_default();
        proven.push(CollectionProof {
            name: collection.create.name.clone(),
            documents: loaded.documents,
            method: collection.method,
            found: if missing { expected.clone() } else { found },
            expected,
        });
    }
    Ok(Proof {
        at: plan.at,
        collections: proven,
        compared: BTreeMap::new(),
        differences: Vec::new(),
    })
}

fn by_server(method: Method) -> bool {
    matches!(method, Method::DbHash | Method::DbHashNatural)
}

async fn db_hash(target: &Target, db: &str, names: &[&str]) -> Result<BTreeMap<Namespace, String>> {
    let what = format!("ask the target for the hashes of {db}");
    let names: Vec<Bson> = names.iter().map(|n| Bson::from(*n)).collect();
    let command = bson::doc! {"dbHash": 1, "collections": names};
    let command =
        RawDocumentBuf::try_from(&command).map_err(|e| Error::internal(what.as_str()).source(e))?;
    let reply = target.retry(&what, db, || Ok(command.clone())).await;
    let reply = reply.map_err(|e| denied_hint(e, "readAnyDatabase"))?.document;
    let found = reply.get_document("collections").cloned().unwrap_or_default();
    let entry =
        |(name, hash): (String, Bson)| Some((Namespace::new(db, name), hash.as_str()?.to_owned()));
    Ok(found.into_iter().filter_map(entry).collect())
}

/// Hashes what the target gives in natural order.
async fn read_back(target: &Target, plan: &CollectionPlan) -> Result<String> {
    let what = format!("read {} back", plan.target);
    let failed =
        |e: mongodb::error::Error| denied_hint(error::driver(&what, &e), "readAnyDatabase");
    let command =
        rawdoc! {"find": plan.target.coll.as_str(), "hint": {"$natural": 1}, "batchSize": 1000};
    let database = target.client().database(&plan.target.db);
    let mut cursor = database.run_raw_cursor_command(command).await.map_err(failed)?;
    let mut hash = StreamHash::new(plan.method);
    while cursor.advance().await.map_err(failed)? {
        hash.update(cursor.current().as_bytes());
    }
    Ok(hash.finish())
}

/// Compares options, indexes, views, users and roles.
pub(crate) async fn catalogue(
    shared: &Shared,
    facts: &TargetFacts,
    proof: &mut Proof,
) -> Result<()> {
    let plan = &shared.plan;
    let mut listed: BTreeMap<Namespace, RawDocumentBuf> = BTreeMap::new();
    let creates = plan.collections.iter().map(|c| &c.create).chain(&plan.views);
    let creates: Vec<_> = creates.collect();
    let mut dbs: Vec<_> = creates.iter().map(|c| c.name.db.as_str()).collect();
    dbs.sort_unstable();
    dbs.dedup();
    for db in dbs {
        for entry in shared.target.list_collections(db).await? {
            let name = raw::text(entry.as_bytes(), "name").unwrap_or_default();
            listed.insert(Namespace::new(db, name), entry);
        }
    }
    for create in &creates {
        let found = listed.get(&create.name);
        proof.differences.extend(compare::options(create, found.map(|f| f.as_bytes())));
    }
    for collection in &plan.collections {
        let found = list_indexes(&shared.target, &collection.target).await?;
        proof.differences.extend(compare::indexes(collection, &found)?);
    }
    let indexes = plan.collections.iter().map(|c| c.indexes.len() as u64).sum();
    proof.compared.insert("indexes", indexes);
    proof.compared.insert("views", plan.views.len() as u64);
    people(shared, facts, proof).await
}

async fn list_indexes(target: &Target, name: &Namespace) -> Result<Vec<RawDocumentBuf>> {
    let what = format!("list the indexes of {name}");
    let command = rawdoc! {"listIndexes": name.coll.as_str()};
    match target.cursor(&what, &name.db, command).await {
        Err(failed) if failed.kind() == bygone_base::ErrorKind::NotFound => Ok(Vec::new()),
        found => found.map_err(|e| denied_hint(e, "readAnyDatabase")),
    }
}

/// Users and roles, but those that the restore must not touch.
async fn people(shared: &Shared, facts: &TargetFacts, proof: &mut Proof) -> Result<()> {
    let users = users::gather(shared, shared.plan.users).await?;
    let mut found = BTreeMap::new();
    if !users.is_empty() {
        let command = rawdoc! {"find": "system.users"};
        let read = shared.target.cursor("read the target's users", "admin", command).await;
        for document in read.map_err(|e| denied_hint(e, "readAnyDatabase"))? {
            let id = raw::text(document.as_bytes(), "_id").unwrap_or_default().to_owned();
            found.insert(id, document);
        }
    }
    for (id, expected) in users.iter().filter(|(id, _)| !facts.logged_in.contains(id)) {
        let same = found.get(id).map(|found| same_person(expected, found));
        proof.differences.extend(told("user", id, same));
    }
    let roles = users::gather(shared, shared.plan.roles).await?;
    for (id, expected) in roles.iter().filter(|(id, _)| !facts.held_roles.contains(id)) {
        let found = role(&shared.target, expected.as_bytes()).await?;
        let same = found.map(|found| same_role(expected, &found));
        proof.differences.extend(told("role", id, same));
    }
    proof.compared.insert("users", users.len() as u64);
    proof.compared.insert("roles", roles.len() as u64);
    Ok(())
}

fn told(what: &str, id: &str, same: Option<bool>) -> Option<String> {
    match same {
        Some(true) => None,
        Some(false) => Some(format!("{what} {id} differs")),
        None => Some(format!("{what} {id} is missing")),
    }
}

/// What the target says of a role; nobody may read where roles are stored.
async fn role(target: &Target, stored: &[u8]) -> Result<Option<Document>> {
    let name = raw::text(stored, "role").unwrap_or_default();
    let db = raw::text(stored, "db").unwrap_or_default();
    let body = rawdoc! {
        "rolesInfo": {"role": name, "db": db}, "showPrivileges": true, "showAuthenticationRestrictions": true,
    };
    let what = format!("ask the target about role {db}.{name}");
    let reply = target.retry(&what, db, || Ok(body.clone())).await?.document;
    let first = reply.get_array("roles").ok().and_then(|roles| roles.first());
    Ok(first.and_then(|role| role.as_document()).cloned())
}

fn same_role(stored: &RawDocumentBuf, found: &Document) -> bool {
    let Ok(stored) = Document::try_from(stored.clone()) else { return false };
    let part = |role: &Document, name| match role.get(name) {
        Some(Bson::Array(list)) if !list.is_empty() => unordered(&Bson::from(list.clone())),
        _ => String::new(),
    };
    let parts = ["privileges", "roles", "authenticationRestrictions"];
    parts.iter().all(|name| part(&stored, name) == part(found, name))
}

/// Equal, whatever the order of fields and of lists: the server orders privileges anew.
fn same_person(expected: &RawDocumentBuf, found: &RawDocumentBuf) -> bool {
    let decoded = |raw: &RawDocumentBuf| Document::try_from(raw.clone()).ok().map(Bson::from);
    match (decoded(expected), decoded(found)) {
        (Some(a), Some(b)) => unordered(&a) == unordered(&b),
        _ => false,
    }
}

fn unordered(value: &Bson) -> String {
    match value {
        Bson::Document(document) => {
            let mut parts: Vec<_> =
                document.iter().map(|(k, v)| format!("{k:?}:{}", unordered(v))).collect();
            parts.sort_unstable();
            format!("{{{}}}", parts.join(","))
        }
        Bson::Array(items) => {
            let mut parts: Vec<_> = items.iter().map(unordered).collect();
            parts.sort_unstable();
            format!("[{}]", parts.join(","))
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(found: &str) -> Proof {
        let collection = CollectionProof {
            name: Namespace::new("a", "b"),
            documents: 3,
            method: Method::DbHash,
            expected: "x".to_owned(),
            found: found.to_owned(),
        };
        Proof {
            at: Ts::new(5, 1),
            collections: vec![collection],
            compared: BTreeMap::from([("indexes", 2)]),
            differences: Vec::new(),
        }
    }

    #[test]
    fn the_verdict_is_one_line() {
        assert_eq!(
            proof("x").verdict(),
            "PROVEN: the target holds the state at 5:1 (1 collections, 3 documents, 2 indexes)"
        );
        assert!(proof("y").verdict().starts_with("NOT PROVEN: 1 collections and 0 parts"));
        assert!(proof("").to_string().contains("the target has nothing"));
        assert_eq!(proof("y").to_json()["holds"], false);
    }

    #[test]
    fn roles_are_equal_whatever_the_order() {
        let raw = |d: Document| RawDocumentBuf::try_from(&d).unwrap();
        let a = raw(bson::doc! {"_id": "a", "privileges": [{"actions": ["x", "y"]}]});
        let b = raw(bson::doc! {"privileges": [{"actions": ["y", "x"]}], "_id": "a"});
        let c = raw(bson::doc! {"_id": "a", "privileges": [{"actions": ["x"]}]});
        assert!(same_person(&a, &b) && !same_person(&a, &c));
    }
}
