//! What is known of collections while an oplog is followed: the indexes that are built at its end, and when documents
//! expire, which is set last of all. Pure.
//!
//! A dump calls a time-series by its own name and an oplog by that of its buckets: what is said of the buckets is said of both.

use std::collections::{BTreeMap, BTreeSet};

use bygone_base::{Error, Result};
use bygone_restore::{
    Namespace,
    raw::{self, Build, Field, kind},
};

use super::Intent;
use crate::metadata::Kind;

/// The option of a collection, and of a collMod.
pub(super) const EXPIRY: &str = "expireAfterSeconds";

/// Collections by name.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// Indexes to build.
    pub(super) by_collection: BTreeMap<Namespace, Vec<Vec<u8>>>,
    /// Collections whose default collation is not simple.
    pub(super) collated: BTreeMap<Namespace, bool>,
    /// A document of [`EXPIRY`] alone, by the name that collMod takes.
    expiry: BTreeMap<Namespace, Vec<u8>>,
    /// Indexes that were changed and are not here: the dump may have been listed after they were dropped, which must
    /// come. A collection, and the index's name or key.
    unknown: BTreeSet<(Namespace, Vec<u8>)>,
}

fn bad(what: &str) -> Error {
    Error::damaged(format!("an oplog entry has {what}"))
}

/// The names under which there may be something of a collection that an oplog names.
fn names(coll: &Namespace) -> BTreeSet<Namespace> {
    BTreeSet::from([coll.clone(), coll.without_buckets()])
}

/// Whether an index is the one that an oplog names, or gives the key of.
fn is_named(index: &[u8], wanted: &Field<'_>) -> bool {
    match wanted.text() {
        Some(name) => raw::text(index, "name") == Some(name),
        None => {
            wanted.doc().is_some() && raw::get(index, "key").and_then(|k| k.doc()) == wanted.doc()
        }
    }
}

impl Catalogue {
    /// What the dump has; without options nothing expires.
    pub(super) fn new(intents: &[Intent], no_options: bool) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for intent in intents {
            let options = &intent.metadata.options;
            catalogue.by_collection.insert(intent.to.clone(), intent.metadata.indexes.clone());
            catalogue.collated.insert(intent.to.clone(), is_collated(options));
            let expiry = raw::get(options, EXPIRY)
                .filter(|f| matches!(f.kind, kind::INT32 | kind::INT64 | kind::DOUBLE));
            let made = !intent.existed && intent.metadata.kind != Kind::View && !no_options;
            if let Some(expiry) = expiry.filter(|_| made) {
                catalogue.expire(&intent.to, &expiry);
            }
        }
        catalogue
    }

    /// Adds or replaces an index.
    pub(super) fn add(&mut self, coll: &Namespace, index: Vec<u8>) {
        let new = raw::text(&index, "name").map(str::to_owned);
        for name in names(coll) {
            if let Some(indexes) = self.by_collection.get_mut(&name) {
                indexes.retain(|old| raw::text(old, "name") != new.as_deref());
            }
        }
        self.by_collection.entry(coll.clone()).or_default().push(index);
    }

    /// Removes what a dropIndexes names: by a name, by a key, by an array of them, or by `*` all but that of `_id`.
    pub(super) fn drop_indexes(&mut self, coll: &Namespace, o: &[u8]) -> Result<()> {
        let wrong = || bad("an index to drop without a name or a key");
        let index = raw::get(o, "index").ok_or_else(wrong)?;
        if index.kind == kind::ARRAY {
            for one in raw::fields(index.value) {
                self.drop_index(coll, &one?);
            }
            return Ok(());
        }
        if index.text().is_none() && index.doc().is_none() {
            return Err(wrong());
        }
        self.drop_index(coll, &index);
        Ok(())
    }

    fn drop_index(&mut self, coll: &Namespace, index: &Field<'_>) {
        let all = index.text() == Some("*");
        for name in names(coll) {
            if let Some(indexes) = self.by_collection.get_mut(&name) {
                indexes.retain(|old| {
                    raw::text(old, "name") == Some("_id_") || !all && !is_named(old, index)
                });
            }
        }
        let coll = coll.without_buckets();
        self.unknown.retain(|(of, what)| *of != coll || !all && what != index.value);
    }

    /// Takes over what a collMod changes of an index.
    pub(super) fn modify_index(&mut self, coll: &Namespace, change: &[u8]) -> Result<()> {
        let wanted = raw::get(change, "name").or_else(|| raw::get(change, "keyPattern"));
        let wanted = wanted.ok_or_else(|| bad("an index to change without a name or a key"))?;
        let forms = names(coll);
        let mut known = self.by_collection.iter_mut().filter(|(name, _)| forms.contains(name));
        let found = known.find_map(|(_, all)| all.iter_mut().find(|i| is_named(i, &wanted)));
        let Some(index) = found else {
            self.unknown.insert((coll.without_buckets(), wanted.value.to_vec()));
            return Ok(());
        };
        let changed = raw::fields(change).collect::<Result<Vec<_>>>()?;
        let changed = changed.iter().filter(|f| !matches!(f.name, b"name" | b"keyPattern"));
        let names: Vec<&str> =
            changed.clone().filter_map(|f| std::str::from_utf8(f.name).ok()).collect();
        let kept = raw::without(index, &names)?;
        let mut out = Build::new();
        for field in raw::fields(&kept) {
            out = out.field(&field?);
        }
        for field in changed {
            let undone =
                matches!(field.name, b"unique" | b"prepareUnique" | b"hidden") && !field.is_true();
            out = if undone { out } else { out.field(field) };
        }
        *index = out.finish();
        Ok(())
    }

    /// What makes documents of a collection expire, or `off`.
    pub(super) fn expire(&mut self, coll: &Namespace, expiry: &Field<'_>) {
        let option = Build::new().field(expiry).finish();
        self.expiry.insert(coll.without_buckets(), option);
    }

    /// Collections and their [`EXPIRY`].
    pub(super) fn expiry(&self) -> impl Iterator<Item = (&Namespace, Field<'_>)> {
        self.expiry.iter().filter_map(|(name, option)| Some((name, raw::get(option, EXPIRY)?)))
    }

    /// A collection was made.
    pub(super) fn created(&mut self, coll: &Namespace, o: &[u8]) {
        self.collated.insert(coll.clone(), is_collated(o));
        self.by_collection.entry(coll.clone()).or_default();
        if let Some(expiry) = raw::get(o, EXPIRY) {
            self.expire(coll, &expiry);
        }
    }

    /// A collection was dropped.
    pub(super) fn dropped(&mut self, coll: &Namespace) {
        let gone = names(coll);
        self.forget(|name| gone.contains(name));
    }

    /// A database was dropped.
    pub(super) fn dropped_database(&mut self, db: &str) {
        self.forget(|name| name.db == db);
    }

    fn forget(&mut self, gone: impl Fn(&Namespace) -> bool) {
        self.by_collection.retain(|name, _| !gone(name));
        self.collated.retain(|name, _| !gone(name));
        self.expiry.retain(|name, _| !gone(name));
        self.unknown.retain(|(name, _)| !gone(name));
    }

    /// A collection got another name; what had that is gone. One that is not known is not there: then the rename does nothing.
    pub(super) fn renamed(&mut self, from: &Namespace, to: &Namespace) {
        if !self.by_collection.contains_key(from) || from == to {
            return;
        }
        self.dropped(to);
        rename(&mut self.by_collection, from, to);
        rename(&mut self.collated, from, to);
        rename(&mut self.expiry, from, to);
        let named = |(name, index)| (if name == *from { to.clone() } else { name }, index);
        self.unknown = std::mem::take(&mut self.unknown).into_iter().map(named).collect();
    }

    /// Nothing may be left that only a drop explains.
    pub(super) fn check(&self) -> Result<()> {
        let Some((name, index)) = self.unknown.first() else { return Ok(()) };
        let shown = String::from_utf8_lossy(index.get(4..).unwrap_or_default());
        Err(Error::damaged(format!(
            "the oplog changes an index of {name} that the dump does not have and that nothing drops: {:?}",
            shown.trim_end_matches('\0')
        ))
        .hint("the oplog does not belong to this dump, or entries before its first one are missing"))
    }
}

fn is_collated(options: &[u8]) -> bool {
    let collation = raw::get(options, "collation").and_then(|c| c.doc());
    collation.is_some_and(|c| raw::text(c, "locale") != Some("simple"))
}

fn rename<T>(map: &mut BTreeMap<Namespace, T>, from: &Namespace, to: &Namespace) {
    if let Some(value) = map.remove(from) {
        map.insert(to.clone(), value);
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, doc};

    use super::*;

    fn bytes(document: Document) -> Vec<u8> {
        bson::serialize_to_vec(&document).unwrap()
    }

    fn name(coll: &str) -> Namespace {
        Namespace::new("a", coll)
    }

    fn with(coll: &str, indexes: &[&str]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for index in indexes {
            catalogue.add(&name(coll), bytes(doc! {"key": {*index: 1}, "name": *index}));
        }
        catalogue
    }

    fn left(catalogue: &Catalogue, coll: &str) -> Vec<String> {
        let indexes = catalogue.by_collection.get(&name(coll)).cloned().unwrap_or_default();
        indexes.iter().map(|i| raw::text(i, "name").unwrap().to_owned()).collect()
    }

    fn expire(catalogue: &mut Catalogue, coll: &str, seconds: impl Into<Bson>) {
        let option = bytes(doc! {EXPIRY: seconds.into()});
        catalogue.expire(&name(coll), &raw::get(&option, EXPIRY).unwrap());
    }

    fn expiry(catalogue: &Catalogue) -> Vec<(String, Option<f64>)> {
        catalogue.expiry().map(|(name, f)| (name.to_string(), f.number())).collect()
    }

    #[test]
    fn indexes_are_dropped_by_name_by_key_and_several_at_once() {
        let mut catalogue = with("b", &["_id_", "x", "y", "z", "x"]);
        assert_eq!(left(&catalogue, "b"), ["_id_", "y", "z", "x"]);
        let drop = doc! {"dropIndexes": "b", "index": ["z", "x"]};
        catalogue.drop_indexes(&name("b"), &bytes(drop)).unwrap();
        assert_eq!(left(&catalogue, "b"), ["_id_", "y"]);
        let by_key = doc! {"dropIndexes": "b", "index": {"y": 1}};
        catalogue.drop_indexes(&name("b"), &bytes(by_key)).unwrap();
        assert_eq!(left(&catalogue, "b"), ["_id_"]);
        let mut catalogue = with("b", &["_id_", "x", "y"]);
        let all = doc! {"dropIndexes": "b", "index": "*"};
        catalogue.drop_indexes(&name("b"), &bytes(all)).unwrap();
        assert_eq!(left(&catalogue, "b"), ["_id_"]);
        let odd = doc! {"dropIndexes": "b", "index": 5};
        assert!(catalogue.drop_indexes(&name("b"), &bytes(odd)).is_err());
    }

    #[test]
    fn a_change_of_an_index_that_is_not_there_must_be_explained() {
        let change = doc! {"name": "y", "hidden": true};
        let changed = || {
            let mut catalogue = with("b", &["x"]);
            catalogue.modify_index(&name("b"), &bytes(change.clone())).unwrap();
            assert!(catalogue.check().unwrap_err().message().contains("\"y\""));
            catalogue
        };
        let mut catalogue = changed();
        let drop = doc! {"dropIndexes": "b", "index": "y"};
        catalogue.drop_indexes(&name("b"), &bytes(drop)).unwrap();
        assert!(catalogue.check().is_ok());
        let mut catalogue = changed();
        catalogue.renamed(&name("b"), &name("c"));
        assert!(catalogue.check().is_err());
        catalogue.dropped(&name("c"));
        assert!(catalogue.check().is_ok());
    }

    #[test]
    fn a_time_series_goes_with_its_buckets() {
        let mut catalogue = with("s", &["m_1", "n_1"]);
        expire(&mut catalogue, "s", 3600);
        expire(&mut catalogue, "system.buckets.s", 7200);
        assert_eq!(expiry(&catalogue), [("a.s".to_owned(), Some(7200.0))]);
        let buckets = name("system.buckets.s");
        let drop = doc! {"dropIndexes": "system.buckets.s", "index": "n_1"};
        catalogue.drop_indexes(&buckets, &bytes(drop)).unwrap();
        assert_eq!(left(&catalogue, "s"), ["m_1"]);
        let hide = doc! {"name": "m_1", "hidden": true};
        catalogue.modify_index(&buckets, &bytes(hide)).unwrap();
        assert!(raw::is_true(&catalogue.by_collection[&name("s")][0], "hidden"));
        // As an oplog knows it: built once.
        let again = doc! {"key": {"meta": 1}, "name": "m_1"};
        catalogue.add(&buckets, bytes(again));
        assert!(left(&catalogue, "s").is_empty());
        assert_eq!(left(&catalogue, "system.buckets.s"), ["m_1"]);
        catalogue.dropped(&buckets);
        assert!(catalogue.by_collection.is_empty() && expiry(&catalogue).is_empty());
    }

    #[test]
    fn expiry_follows_its_collection() {
        let mut catalogue = with("b", &["x"]);
        expire(&mut catalogue, "b", 3600);
        expire(&mut catalogue, "b", "off");
        assert_eq!(expiry(&catalogue), [("a.b".to_owned(), None)]);
        expire(&mut catalogue, "b", 60);
        expire(&mut catalogue, "c", 5);
        catalogue.renamed(&name("b"), &name("c"));
        assert_eq!(expiry(&catalogue), [("a.c".to_owned(), Some(60.0))]);
        assert_eq!(left(&catalogue, "c"), ["x"]);
        catalogue.dropped(&name("c"));
        catalogue.created(&name("c"), &bytes(doc! {"create": "c"}));
        assert!(expiry(&catalogue).is_empty());
        let made = doc! {"create": "d", EXPIRY: 9_i64, "collation": {"locale": "de"}};
        catalogue.created(&name("d"), &bytes(made));
        assert_eq!(expiry(&catalogue), [("a.d".to_owned(), Some(9.0))]);
        assert!(catalogue.collated[&name("d")]);
        catalogue.dropped_database("a");
        assert!(expiry(&catalogue).is_empty() && catalogue.collated.is_empty());
    }

    #[test]
    fn a_rename_of_what_is_not_there_changes_nothing() {
        let mut catalogue = with("c", &["x"]);
        catalogue.renamed(&name("b"), &name("c"));
        assert_eq!(left(&catalogue, "c"), ["x"]);
    }
}
