//! What every idle set holds: a few collections that are never written to. All sets share it.

use bson::{Binary, RawArrayBuf, RawDocumentBuf, rawdoc, spec::BinarySubtype};

use crate::data::{KINDS, document};

/// Documents of each collection.
const DOCS: u64 = 200;

/// One collection.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) db: &'static str,
    pub(super) name: &'static str,
    pub(super) uuid: [u8; 16],
    pub(super) docs: RawArrayBuf,
    pub(super) count: i32,
    pub(super) bytes: i32,
    index: Option<&'static str>,
}

/// All collections.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) collections: Vec<Collection>,
}

fn collection(
    number: usize,
    (db, name): (&'static str, &'static str),
    index: Option<&'static str>,
    docs: Vec<RawDocumentBuf>,
) -> Collection {
    let (mut uuid, mut array, mut bytes) = ([7; 16], RawArrayBuf::new(), 0);
    uuid[0] = u8::try_from(number).expect("few collections");
    let count = i32::try_from(docs.len()).expect("few documents");
    for doc in docs {
        bytes += i32::try_from(doc.as_bytes().len()).expect("a small document");
        array.push(doc);
    }
    Collection { db, name, uuid, docs: array, count, bytes, index }
}

impl Catalogue {
    pub(super) fn new() -> Catalogue {
        let version = rawdoc! { "_id": "featureCompatibilityVersion", "version": "8.2" };
        let mut collections = vec![collection(0, ("admin", "system.version"), None, vec![version])];
        for kind in &KINDS {
            let docs = (0..DOCS).map(|index| document(kind, index)).collect();
            let number = collections.len();
            collections.push(collection(number, ("shop", kind.name), Some("customer"), docs));
        }
        Catalogue { collections }
    }

    pub(super) fn by_uuid(&self, uuid: &[u8]) -> Option<&Collection> {
        self.collections.iter().find(|coll| coll.uuid == uuid)
    }

    pub(super) fn by_name(&self, db: &str, name: &str) -> Option<&Collection> {
        self.collections.iter().find(|coll| coll.db == db && coll.name == name)
    }

    /// As listCollections shows them.
    pub(super) fn listed(&self, db: &str) -> RawArrayBuf {
        let mut all = RawArrayBuf::new();
        for coll in self.collections.iter().filter(|coll| coll.db == db) {
            let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: coll.uuid.to_vec() };
            all.push(rawdoc! {
                "name": coll.name, "type": "collection", "options": {},
                "info": { "readOnly": false, "uuid": uuid },
            });
        }
        all
    }
}

impl Collection {
    /// As listIndexes shows them.
    pub(super) fn indexes(&self) -> RawArrayBuf {
        let mut all = RawArrayBuf::new();
        all.push(rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" });
        if let Some(name) = self.index {
            let mut key = RawDocumentBuf::new();
            key.append(bson::cstr!("customer"), 1);
            all.push(rawdoc! { "v": 2, "key": key, "name": name });
        }
        all
    }
}
