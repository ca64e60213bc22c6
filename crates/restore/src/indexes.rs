//! How the indexes of a collection are built on the target: their specifications
//! verbatim, with every option and in the order of their fields, except
//!
//! - `ns` (old servers) and the version inside `collation` are left out;
//! - an index of simple order in a collection with a default collation says so, or it would
//!   inherit that collation;
//! - indexes that let documents expire come last of all, when everything is proven;
//! - the `_id` index and a clustered collection's own come with the collection.

use bygone_base::Result;

use crate::{
    create::{self, Command},
    model::SourceCollection,
    names::Namespace,
    raw::{self, Build},
};

/// One index to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPlan {
    /// Its name.
    pub name: String,
    /// The specification as createIndexes takes it.
    pub spec: Vec<u8>,
    /// The specification as listIndexes should show it, versions of collations aside.
    pub expected: Vec<u8>,
    /// Whether documents expire by it.
    pub expires: bool,
}

impl IndexPlan {
    /// The command that builds it alone; several at once build faster than one command with several.
    pub fn command(&self, coll: &Namespace) -> Command {
        let body = Build::new()
            .str("createIndexes", &coll.coll)
            .docs("indexes", &[&self.spec])
            .majority()
            .finish();
        Command { db: coll.db.clone(), body }
    }
}

/// The indexes of `source` to build once its documents are there.
pub fn plan(source: &SourceCollection) -> Result<Vec<IndexPlan>> {
    let inherits = create::default_collation(source.options.as_bytes()).is_some();
    let mut plans = Vec::with_capacity(source.indexes.len());
    for index in &source.indexes {
        let index = index.as_bytes();
        let name = raw::text(index, "name").unwrap_or_default();
        if name == "_id_" || raw::is_true(index, "clustered") {
            continue;
        }
        let expected = plain(index)?;
        let spec = match raw::get(index, "collation") {
            None if inherits => with_simple_collation(&expected)?,
            _ => expected.clone(),
        };
        let expires = raw::get(index, "expireAfterSeconds").is_some();
        plans.push(IndexPlan { name: name.to_owned(), spec, expected, expires });
    }
    Ok(plans)
}

/// A specification without what a server fills in by itself.
pub(crate) fn plain(index: &[u8]) -> Result<Vec<u8>> {
    let mut out = Build::new();
    for field in raw::fields(index) {
        let field = field?;
        out = match field.name {
            b"ns" => out,
            b"collation" => out.doc("collation", &create::collation(field.value)?),
            _ => out.field(&field),
        };
    }
    Ok(out.finish())
}

fn with_simple_collation(spec: &[u8]) -> Result<Vec<u8>> {
    let mut out = Build::new();
    for field in raw::fields(spec) {
        out = out.field(&field?);
    }
    Ok(out.doc("collation", &Build::new().str("locale", "simple").finish()).finish())
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    fn planned(options: RawDocumentBuf, indexes: Vec<RawDocumentBuf>) -> Vec<IndexPlan> {
        plan(&SourceCollection {
            id: Default::default(),
            name: Namespace::new("a", "b"),
            options,
            indexes,
            capped: false,
            documents: 0,
            bytes: 0,
        })
        .unwrap()
    }

    #[test]
    fn specifications_go_over_verbatim() {
        let odd = rawdoc! {"v": 1, "key": {"a.b": -1.5, "c": "2dsphere"}, "name": "odd", "sparse": true,
        "2dsphereIndexVersion": 3, "hidden": true, "partialFilterExpression": {}};
        let mut stored = odd.clone();
        stored.append(bson::cstr!("ns"), "a.b");
        let plans =
            planned(rawdoc! {}, vec![rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_"}, stored]);
        assert_eq!(plans.len(), 1);
        assert_eq!(plans[0].spec, odd.as_bytes());
        assert_eq!(plans[0].expected, odd.as_bytes());
        assert!(!plans[0].expires);
    }

    #[test]
    fn collations_are_neither_inherited_nor_tied_to_a_version() {
        let plans = planned(
            rawdoc! {"collation": {"locale": "de"}},
            vec![
                rawdoc! {"v": 2, "key": {"a": 1}, "name": "simple"},
                rawdoc! {"v": 2, "key": {"a": 1}, "name": "de", "collation": {"locale": "de", "version": "57.1"}},
            ],
        );
        assert_eq!(
            plans[0].spec,
            rawdoc! {"v": 2, "key": {"a": 1}, "name": "simple", "collation": {"locale": "simple"}}
                .as_bytes()
        );
        assert!(raw::get(&plans[0].expected, "collation").is_none());
        assert_eq!(
            plans[1].spec,
            rawdoc! {"v": 2, "key": {"a": 1}, "name": "de", "collation": {"locale": "de"}}
                .as_bytes()
        );
    }

    #[test]
    fn expiring_indexes_are_known_and_clustered_ones_left_out() {
        let plans = planned(
            rawdoc! {},
            vec![
                rawdoc! {"v": 2, "key": {"t": 1}, "name": "ttl", "expireAfterSeconds": 0},
                rawdoc! {"v": 2, "key": {"_id": 1}, "name": "foo", "clustered": true},
            ],
        );
        assert_eq!(plans.len(), 1);
        assert!(plans[0].expires);
    }
}
