//! The catalogue: every collection and view at one moment, and how DDL entries
//! change it. Applying an entry is an assignment, so entries of the initial
//! sync's window may be applied again over a newer listing and still converge.

mod apply;
mod bson_form;
mod store;

use std::collections::BTreeMap;

use bson::{RawDocument, RawDocumentBuf};
use bygone_base::{CollectionId, Ts};

pub use apply::Window;
pub use bygone_tree::TreeInfo;
pub use store::{load, save, tree};

/// A collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Collection {
    /// UUID on the source.
    pub id: CollectionId,
    /// Database.
    pub db: String,
    /// Name within the database.
    pub name: String,
    /// Options as listCollections gives them, without the UUID.
    pub options: RawDocumentBuf,
    /// Index specifications as listIndexes gives them, `_id_` included.
    pub indexes: Vec<RawDocumentBuf>,
    /// Its documents.
    pub tree: TreeInfo,
    /// What was decided up to here is void (emptycapped).
    pub truncated: Option<Ts>,
}

impl Collection {
    /// `db.name`
    pub fn namespace(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }

    /// Whether the collection is capped.
    pub fn capped(&self) -> bool {
        truthy(&self.options, "capped")
    }

    /// `size` and `max` of a capped collection, as limits on bytes and documents.
    pub fn capped_limits(&self) -> (u64, Option<u64>) {
        let number = |name| number(&self.options, name).filter(|n| *n > 0.0).map(|n| n as u64);
        (number("size").unwrap_or(u64::MAX), number("max"))
    }

    /// The default collation, when it is not the simple one.
    pub fn collation(&self) -> Option<&RawDocument> {
        let collation = self.options.get_document("collation").ok()?;
        (collation.get_str("locale").ok()? != "simple").then_some(collation)
    }
}

fn truthy(doc: &RawDocument, name: &str) -> bool {
    match doc.get(name) {
        Ok(Some(bson::raw::RawBsonRef::Boolean(b))) => b,
        Ok(Some(_)) => number(doc, name).is_some_and(|n| n != 0.0),
        _ => false,
    }
}

fn number(doc: &RawDocument, name: &str) -> Option<f64> {
    use bson::raw::RawBsonRef as V;
    match doc.get(name).ok()?? {
        V::Double(n) => Some(n),
        V::Int32(n) => Some(f64::from(n)),
        V::Int64(n) => Some(n as f64),
        _ => None,
    }
}

/// A view (or the visible half of a time-series collection).
#[derive(Debug, Clone, PartialEq)]
pub struct ViewDef {
    /// Database.
    pub db: String,
    /// Name within the database.
    pub name: String,
    /// Its document in system.views: `{_id, viewOn, pipeline, collation?}`.
    pub doc: RawDocumentBuf,
}

/// Collections and views at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalogue {
    /// By UUID.
    pub collections: BTreeMap<CollectionId, Collection>,
    /// By `db.view`.
    pub views: BTreeMap<String, ViewDef>,
    /// Feature compatibility version, on which the effect of some entries depends. Not stored: the manifest has it.
    pub fcv: String,
}

impl Catalogue {
    /// The collection of that name.
    pub fn find(&self, db: &str, name: &str) -> Option<&Collection> {
        self.collections.values().find(|c| c.db == db && c.name == name)
    }

    /// Smallest `as_of` of any collection's base; runs must cover everything after it.
    pub fn oldest(&self) -> Option<Ts> {
        self.collections.values().map(|c| c.tree.as_of).min()
    }

    /// No state before this moment can be read.
    pub fn readable_from(&self) -> Ts {
        self.collections.values().map(|c| c.tree.valid_from).max().unwrap_or(Ts::MIN)
    }
}
