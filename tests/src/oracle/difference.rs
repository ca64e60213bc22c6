//! How two states differ, in words that say where to look.

use std::collections::{BTreeMap, BTreeSet};

use bson::{RawDocument, RawDocumentBuf, doc};
use bygone_base::Ts;
use mongodb::Client;

use super::{ClusterState, CollectionState, Moment, catalogue, hash};
use crate::Version;

/// What differs between `a` and `b`; empty when nothing does. Hashes, options,
/// indexes, users and roles are compared; UUIDs and the order of fields of
/// options are not, the order of index keys is.
pub fn diff(a: &ClusterState, b: &ClusterState) -> Vec<String> {
    let mut found = Vec::new();
    for (namespace, one, other) in pairs(&a.collections, &b.collections) {
        match (one, other) {
            (Some(one), Some(other)) => collection(namespace, one, other, &mut found),
            (Some(_), None) => found.push(format!("{namespace}: only on the left")),
            _ => found.push(format!("{namespace}: only on the right")),
        }
    }
    documents("user", &a.users, &b.users, &mut found);
    documents("role", &a.roles, &b.roles, &mut found);
    found
}

/// What differs between the data of a moment and a state (of a restore to that
/// moment), as far as the moment is known. Also says how many namespaces were compared.
pub fn diff_moment(moment: &Moment, state: &ClusterState) -> (Vec<String>, usize) {
    let stores = |(ns, c): (&String, &CollectionState)| Some((ns.clone(), c.hash.clone()?));
    let mut restored: BTreeMap<String, String> =
        state.collections.iter().filter_map(stores).collect();
    restored.retain(|namespace, _| !moment.unknown.contains(namespace));
    let mut found = Vec::new();
    let mut compared = 0;
    for (namespace, then, now) in pairs(&moment.hashes, &restored) {
        compared += 1;
        let equal = matches!((then, now), (Some(then), Some(now)) if then.contains(now));
        if !equal {
            found.push(format!("{namespace}: hash {then:?} at {}, but {now:?}", moment.at));
        }
    }
    (found, compared)
}

fn collection(ns: &str, a: &CollectionState, b: &CollectionState, found: &mut Vec<String>) {
    if a.kind != b.kind {
        found.push(format!("{ns}: {} on the left, {} on the right", a.kind, b.kind));
    }
    if a.hash != b.hash {
        found.push(format!("{ns}: documents differ: hash {:?}, but {:?}", a.hash, b.hash));
    }
    if fields(&a.options) != fields(&b.options) {
        found.push(format!("{ns}: options {:?}, but {:?}", a.options, b.options));
    }
    documents(&format!("{ns}: index"), &a.indexes, &b.indexes, found);
}

fn documents(
    what: &str,
    a: &BTreeMap<String, RawDocumentBuf>,
    b: &BTreeMap<String, RawDocumentBuf>,
    found: &mut Vec<String>,
) {
    for (name, one, other) in pairs(a, b) {
        match (one, other) {
            (Some(one), Some(other)) if fields(one) == fields(other) => {}
            (Some(one), Some(other)) => {
                found.push(format!("{what} {name}: {one:?}, but {other:?}"))
            }
            (Some(_), None) => found.push(format!("{what} {name}: only on the left")),
            _ => found.push(format!("{what} {name}: only on the right")),
        }
    }
}

/// All names of either side with what each side has under it.
fn pairs<'a, A, B>(
    a: &'a BTreeMap<String, A>,
    b: &'a BTreeMap<String, B>,
) -> impl Iterator<Item = (&'a String, Option<&'a A>, Option<&'a B>)> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names.into_iter().map(|name| (name, a.get(name), b.get(name)))
}

/// The fields of a document regardless of their order; values byte for byte. A number of seconds alone may
/// have another type: collMod leaves an int64 where createIndexes has an int32 (4.4). A wildcard projection has no
/// order: 5.0 shuffles it, another way in every process.
fn fields(document: &RawDocument) -> BTreeMap<String, String> {
    let field = |field: Result<(&bson::raw::CStr, bson::RawBsonRef<'_>), _>| {
        let (name, value) = field.expect("a listed document");
        let shown = match value {
            bson::RawBsonRef::Int64(n) if name.as_str() == "expireAfterSeconds" => {
                format!("{:?}", i32::try_from(n).map_or(value, bson::RawBsonRef::Int32))
            }
            bson::RawBsonRef::Document(projection) if name.as_str() == "wildcardProjection" => {
                format!("{:?}", fields(projection))
            }
            _ => format!("{value:?}"),
        };
        (name.as_str().to_owned(), shown)
    };
    document.iter().map(field).collect()
}

/// Reads a collection from two servers, each at a moment or now, and names the
/// first few documents that differ: to explain a difference of hashes.
pub async fn differing_documents(
    (a, a_version, a_at): (&Client, Version, Option<Ts>),
    (b, b_version, b_at): (&Client, Version, Option<Ts>),
    db: &str,
    name: &str,
) -> Vec<String> {
    let right = read(b, b_version, b_at, db, name).await.expect("the right side");
    let mut found = Vec::new();
    let left = match read(a, a_version, a_at, db, name).await {
        Ok(left) => left,
        Err(error) => {
            found.push(format!("left as it is now, for: {error}"));
            read(a, a_version, None, db, name).await.unwrap_or_default()
        }
    };
    found.push(format!("{db}.{name}: {} documents, but {}", left.len(), right.len()));
    for (one, other) in
        left.iter().zip(&right).filter(|(a, b)| a.as_bytes() != b.as_bytes()).take(3)
    {
        found.push(format!("{}\n   but {}", shown(one), shown(other)));
    }
    let longer = if left.len() > right.len() { &left } else { &right };
    let extra = longer.iter().skip(left.len().min(right.len())).take(3);
    found.extend(extra.map(|document| format!("on one side only: {}", shown(document))));
    found
}

async fn read(
    client: &Client,
    version: Version,
    at: Option<Ts>,
    db: &str,
    name: &str,
) -> mongodb::error::Result<Vec<RawDocumentBuf>> {
    let mut command = doc! {"find": name, "sort": {"_id": 1}, "allowDiskUse": true};
    if let Some(at) = at {
        hash::read_at(&mut command, version, at);
    }
    catalogue::try_cursor(client, db, command).await
}

fn shown(document: &RawDocument) -> String {
    let mut text = format!("{document:?}");
    if let Some((cut, _)) = text.char_indices().nth(1000) {
        text.truncate(cut);
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn state(hash: &str, options: RawDocumentBuf, key: RawDocumentBuf) -> ClusterState {
        let index = rawdoc! {"v": 2, "key": key, "name": "i"};
        let collection = CollectionState {
            kind: "collection".to_owned(),
            options,
            indexes: BTreeMap::from([("i".to_owned(), index)]),
            hash: Some(hash.to_owned()),
            uuid: None,
        };
        let collections = BTreeMap::from([("db.c".to_owned(), collection)]);
        ClusterState { collections, ..ClusterState::default() }
    }

    #[test]
    fn says_what_differs() {
        let options = || rawdoc! {"capped": true, "size": 1};
        let keys = || rawdoc! {"a": 1, "b": 1};
        let one = state("h", options(), keys());
        assert_eq!(diff(&one, &one), Vec::<String>::new());
        let reordered = state("h", rawdoc! {"size": 1, "capped": true}, keys());
        assert_eq!(diff(&one, &reordered), Vec::<String>::new());
        assert!(diff(&one, &state("i", options(), keys()))[0].contains("documents differ"));
        let order = diff(&one, &state("h", options(), rawdoc! {"b": 1, "a": 1}));
        assert!(order[0].starts_with("db.c: index i:"), "{order:?}");
        let typed = diff(&one, &state("h", rawdoc! {"capped": true, "size": 1_i64}, keys()));
        assert!(typed[0].starts_with("db.c: options"), "{typed:?}");
        assert_eq!(diff(&one, &ClusterState::default()), ["db.c: only on the left"]);
    }

    #[test]
    fn a_moment_is_compared_as_far_as_it_is_known() {
        let state = state("h", rawdoc! {}, rawdoc! {"a": 1});
        let hash = || BTreeSet::from(["h".to_owned()]);
        let hashes = BTreeMap::from([("db.c".to_owned(), hash())]);
        let mut moment = Moment { hashes, ..Moment::default() };
        assert_eq!(diff_moment(&moment, &state), (vec![], 1));
        moment.hashes.insert("db.d".to_owned(), hash());
        assert_eq!(diff_moment(&moment, &state).0.len(), 1);
        moment.hashes.clear();
        moment.unknown.insert("db.c".to_owned());
        assert_eq!(diff_moment(&moment, &state), (vec![], 0));
    }
}
