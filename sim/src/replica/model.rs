//! What a replica set holds at every timestamp: the truth that views of a backup are compared with.

use std::{collections::BTreeMap, sync::Arc};

use bson::{RawBson, RawDocument, RawDocumentBuf};
use bygone_base::{CollectionId, Ts};

/// Where a document entered its collection: timestamp and place within it.
pub type Place = (Ts, u32);

/// A document from some moment on.
#[derive(Debug, Clone)]
pub struct Version {
    /// The moment from which it counts: of a prepared transaction its commitTimestamp.
    pub ts: Ts,
    /// The entry with which readers of the server see it.
    pub seen: Ts,
    /// `None`: deleted.
    pub doc: Option<Arc<[u8]>>,
    /// Where it stands in natural order.
    pub place: Place,
}

/// A collection's entry in the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Meta {
    /// Database.
    pub db: String,
    /// Name within the database.
    pub name: String,
    /// Options as listCollections shows them.
    pub options: RawDocumentBuf,
    /// Index specifications as listIndexes shows them.
    pub indexes: Vec<RawDocumentBuf>,
}

impl Meta {
    /// Whether it is capped.
    pub fn capped(&self) -> bool {
        self.options.get_bool("capped").unwrap_or(false)
    }

    /// `size` and `max`.
    pub fn limits(&self) -> (u64, u64) {
        let number = |name| self.options.get_i64(name).ok().and_then(|n| u64::try_from(n).ok());
        (number("size").unwrap_or(u64::MAX), number("max").unwrap_or(u64::MAX))
    }

    /// `db.name`
    pub fn ns(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }
}

/// One collection through time.
#[derive(Debug, Clone, Default)]
pub struct Coll {
    /// From when on which entry; `None`: dropped.
    pub meta: Vec<(Ts, Option<Meta>)>,
    /// Versions by key, in the order in which they were written.
    pub docs: BTreeMap<Vec<u8>, Vec<Version>>,
}

impl Coll {
    /// The newest entry.
    pub fn now(&self) -> Option<&Meta> {
        self.meta.last()?.1.as_ref()
    }

    /// The entry at `ts`.
    pub fn meta_at(&self, ts: Ts) -> Option<&Meta> {
        self.meta.iter().rev().find(|(at, _)| *at <= ts)?.1.as_ref()
    }

    /// The newest document of a key.
    pub fn doc(&self, key: &[u8]) -> Option<&Version> {
        self.docs.get(key)?.last().filter(|v| v.doc.is_some())
    }

    /// Documents that a reader of the server sees at `ts`, in order of their keys.
    pub fn visible(&self, ts: Ts) -> impl Iterator<Item = (&Vec<u8>, &Version)> {
        self.docs.iter().filter_map(move |(key, versions)| {
            let version = versions.iter().rev().find(|v| v.seen <= ts)?;
            version.doc.is_some().then_some((key, version))
        })
    }
}

/// The truth.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Every collection that there ever was.
    pub colls: BTreeMap<CollectionId, Coll>,
    /// Views by `db.name`.
    pub views: BTreeMap<String, Vec<(Ts, Option<RawDocumentBuf>)>>,
}

/// What one collection held at a moment.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its entry in the catalogue.
    pub meta: Meta,
    /// Documents in order of their keys.
    pub docs: Vec<Arc<[u8]>>,
    /// The same in natural order.
    pub natural: Vec<Arc<[u8]>>,
}

/// The state at one moment.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// By UUID.
    pub collections: BTreeMap<CollectionId, Held>,
    /// By `db.name`.
    pub views: BTreeMap<String, RawDocumentBuf>,
}

impl Model {
    /// Everything decided up to and including `ts`.
    pub fn at(&self, ts: Ts) -> Moment {
        let mut moment = Moment::default();
        for (id, coll) in &self.colls {
            let Some(meta) = coll.meta_at(ts) else { continue };
            let mut docs: Vec<(Place, Arc<[u8]>)> = Vec::new();
            for versions in coll.docs.values() {
                let Some(last) = versions.iter().rev().find(|v| v.ts <= ts) else { continue };
                docs.extend(last.doc.as_ref().map(|doc| (last.place, doc.clone())));
            }
            let by_key = docs.iter().map(|(_, doc)| doc.clone()).collect();
            docs.sort_by_key(|(place, _)| *place);
            let natural = docs.into_iter().map(|(_, doc)| doc).collect();
            let held = Held { meta: meta.clone(), docs: by_key, natural };
            moment.collections.insert(*id, held);
        }
        for (id, versions) in &self.views {
            if let Some((_, Some(doc))) = versions.iter().rev().find(|(at, _)| *at <= ts) {
                moment.views.insert(id.clone(), doc.clone());
            }
        }
        moment
    }

    /// Forgets everything that entries after `ts` did.
    pub fn roll_back(&mut self, ts: Ts) {
        for coll in self.colls.values_mut() {
            coll.meta.retain(|(at, _)| *at <= ts);
            for versions in coll.docs.values_mut() {
                versions.retain(|v| v.seen <= ts);
            }
            coll.docs.retain(|_, versions| !versions.is_empty());
        }
        self.colls.retain(|_, coll| !coll.meta.is_empty());
        for versions in self.views.values_mut() {
            versions.retain(|(at, _)| *at <= ts);
        }
    }

    /// Collections that are there now.
    pub fn living(&self) -> Vec<CollectionId> {
        let living = self.colls.iter().filter(|(_, coll)| coll.now().is_some());
        living.map(|(id, _)| *id).collect()
    }

    /// The collection of that name now.
    pub fn find(&self, db: &str, name: &str) -> Option<CollectionId> {
        let is = |meta: &Meta| meta.db == db && meta.name == name;
        let found = self.colls.iter().find(|(_, coll)| coll.now().is_some_and(is));
        found.map(|(id, _)| *id)
    }
}

/// `{_id: x}` of a document.
pub fn id_of(doc: &[u8]) -> RawDocumentBuf {
    let mut id = RawDocumentBuf::new();
    let value = RawDocument::from_bytes(doc).ok().and_then(|doc| doc.get("_id").ok().flatten());
    if let Some(value) = value {
        id.append(bson::cstr!("_id"), RawBson::from(value));
    }
    id
}

/// The key of a document.
pub fn key_of(doc: &[u8]) -> Vec<u8> {
    bygone_document::id_key(doc).unwrap_or_default()
}
