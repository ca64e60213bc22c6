//! What one entry does to the data and to the catalogue.
//!
//! The catalogue of kinds is [`Change::of`] for documents and the private
//! module `command` for commands; anything that neither names is refused.

use bson::RawDocumentBuf;
use bygone_base::{CollectionId, Error, ErrorKind, Result};

use crate::{
    command,
    entry::{Entry, Kind},
    raw,
};

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<'a> {
    /// The document is now this one.
    Put {
        /// Collection.
        coll: CollectionId,
        /// The whole document.
        doc: &'a [u8],
        /// An insert; otherwise a replacement.
        insert: bool,
    },
    /// The document is gone.
    Delete {
        /// Collection.
        coll: CollectionId,
        /// A document with `_id` (and the shard key).
        key_doc: &'a [u8],
    },
    /// The document is modified as `o` says (`$v: 1` modifiers or a `$v: 2` diff).
    Update {
        /// Collection.
        coll: CollectionId,
        /// The modification.
        o: &'a [u8],
        /// A document with `_id` (and the shard key).
        o2: &'a [u8],
        /// Begins with `o2` when the document does not exist.
        upsert: bool,
    },
    /// The catalogue changes.
    Ddl(Box<Ddl>),
}

/// A change of the catalogue. Names are as they were at that moment; the
/// collection is its UUID.
#[derive(Debug, Clone, PartialEq)]
pub enum Ddl {
    /// A collection comes into being, empty.
    Create {
        /// Its UUID.
        coll: CollectionId,
        /// Database.
        db: String,
        /// Collection name.
        name: String,
        /// Options in listCollections' form.
        options: RawDocumentBuf,
        /// The specification of its `_id` index; none for clustered collections and buckets.
        id_index: Option<RawDocumentBuf>,
    },
    /// A collection and its indexes are gone.
    Drop {
        /// Its UUID.
        coll: CollectionId,
        /// Database.
        db: String,
        /// Collection name.
        name: String,
    },
    /// A database is gone; its collections were dropped one by one before.
    DropDatabase {
        /// Database.
        db: String,
    },
    /// A collection has another name.
    Rename {
        /// Its UUID.
        coll: CollectionId,
        /// Old database and name.
        from: (String, String),
        /// New database and name.
        to: (String, String),
        /// The collection that had the new name and is gone.
        drop_target: Option<CollectionId>,
        /// Whether it stays a temporary one (option `temp`).
        stay_temp: bool,
    },
    /// Options or an index are modified: see [`crate::ddl`].
    CollMod {
        /// Its UUID.
        coll: CollectionId,
        /// Database.
        db: String,
        /// Collection name.
        name: String,
        /// The command as logged.
        o: RawDocumentBuf,
        /// The old values as logged.
        o2: Option<RawDocumentBuf>,
        /// What it does, in order.
        effects: Vec<crate::ddl::CollModEffect>,
    },
    /// All documents of the collection are gone (emptycapped).
    Truncate {
        /// Its UUID.
        coll: CollectionId,
    },
    /// Indexes are there and ready.
    IndexesBuilt {
        /// Its UUID.
        coll: CollectionId,
        /// Database.
        db: String,
        /// Collection name.
        name: String,
        /// Their specifications in listIndexes' form.
        specs: Vec<RawDocumentBuf>,
    },
    /// An index is gone.
    IndexDropped {
        /// Its UUID.
        coll: CollectionId,
        /// Database.
        db: String,
        /// Collection name.
        name: String,
        /// Name of the index.
        index: String,
    },
    /// A view exists with this definition.
    ViewPut {
        /// Database.
        db: String,
        /// `{_id: "db.view", viewOn, pipeline, collation?}`
        doc: RawDocumentBuf,
    },
    /// A view's definition is modified.
    ViewUpdate {
        /// Database.
        db: String,
        /// The modification (`$v: 1` or `$v: 2`).
        o: RawDocumentBuf,
        /// `{_id: "db.view"}`
        o2: RawDocumentBuf,
    },
    /// A view is gone.
    ViewDelete {
        /// Database.
        db: String,
        /// `db.view`
        id: String,
    },
    /// All views of the database are gone: `system.views` was dropped.
    ViewsDropped {
        /// Database.
        db: String,
    },
    /// The feature compatibility version document was written. The same write
    /// also arrives as a change of `admin.system.version`.
    FcvChanged {
        /// `version`, where the entry tells it.
        version: Option<String>,
        /// `targetVersion`: a change is under way.
        target: Option<String>,
    },
}

/// The error for what this version does not know.
pub(crate) fn unsupported(entry: &Entry<'_>, what: &str) -> Error {
    Error::unsupported(format!("oplog entry {}: {what}", entry.describe()))
        .hint("this version of bygone does not know it and stops rather than skip it; look for a newer version")
}

/// The error for what cannot be followed from the oplog alone.
pub(crate) fn needs_resync(entry: &Entry<'_>, what: &str) -> Error {
    Error::new(ErrorKind::ResyncRequired, format!("oplog entry {}: {what}", entry.describe()))
        .hint("a new initial sync is needed; stored blocks are used again")
}

fn damaged(entry: &Entry<'_>, what: &str) -> Error {
    Error::damaged(format!("oplog entry {}: {what}", entry.describe()))
}

impl<'a> Change<'a> {
    /// What `entry` does, `None` when it does nothing to the data or the
    /// catalogue. Transactions, applyOps and the end of a transaction are not
    /// for here but for [`crate::assemble::Assembler`], and refused.
    pub fn of(entry: &Entry<'a>) -> Result<Option<Change<'a>>> {
        if let Some(field) = entry.unknown_field {
            let field = String::from_utf8_lossy(field);
            return Err(unsupported(entry, &format!("field {field:?}")));
        }
        if entry.ns.coll == "system.views" && !matches!(entry.kind, Kind::Command(_)) {
            return view(entry);
        }
        match entry.kind {
            Kind::Noop => Ok(None),
            Kind::Insert { o } => {
                Ok(Some(Change::Put { coll: collection(entry)?, doc: o, insert: true }))
            }
            Kind::Update { o, o2, upsert } => {
                let coll = collection(entry)?;
                Ok(Some(if raw::get(o, "_id")?.is_some() {
                    Change::Put { coll, doc: o, insert: false }
                } else {
                    Change::Update { coll, o, o2, upsert }
                }))
            }
            Kind::Delete { o } => Ok(Some(Change::Delete { coll: collection(entry)?, key_doc: o })),
            Kind::Command(command) => {
                Ok(command::decode(entry, &command)?.map(|ddl| Change::Ddl(Box::new(ddl))))
            }
            Kind::Unknown { .. } => Err(unsupported(entry, "unknown op")),
        }
    }
}

/// The collection that the entry is about.
pub(crate) fn collection(entry: &Entry<'_>) -> Result<CollectionId> {
    entry.ui.ok_or_else(|| unsupported(entry, "no collection UUID (ui)"))
}

/// A write to `db.system.views` as a change of the catalogue.
fn view<'a>(entry: &Entry<'a>) -> Result<Option<Change<'a>>> {
    let db = entry.ns.db.to_owned();
    let ddl = match entry.kind {
        Kind::Insert { o } => Ddl::ViewPut { db, doc: raw::owned(o)? },
        Kind::Update { o, .. } if raw::get(o, "_id")?.is_some() => {
            Ddl::ViewPut { db, doc: raw::owned(o)? }
        }
        Kind::Update { o, o2, .. } => {
            Ddl::ViewUpdate { db, o: raw::owned(o)?, o2: raw::owned(o2)? }
        }
        Kind::Delete { o } => Ddl::ViewDelete { db, id: view_id(entry, o)?.to_owned() },
        Kind::Noop => return Ok(None),
        Kind::Command(_) | Kind::Unknown { .. } => return Err(unsupported(entry, "unknown op")),
    };
    if let Ddl::ViewPut { doc, .. } = &ddl {
        view_id(entry, doc.as_bytes())?;
    }
    Ok(Some(Change::Ddl(Box::new(ddl))))
}

/// The `_id` of a document of `system.views`: `db.view`.
pub(crate) fn view_id<'a>(entry: &Entry<'_>, doc: &'a [u8]) -> Result<&'a str> {
    let id = raw::get(doc, "_id")?.and_then(|id| id.str());
    id.ok_or_else(|| damaged(entry, "view without a name"))
}

/// [`Ddl::FcvChanged`] when `entry` writes the feature compatibility version.
pub(crate) fn fcv(entry: &Entry<'_>) -> Result<Option<Ddl>> {
    if entry.ns.db != "admin" || entry.ns.coll != "system.version" {
        return Ok(None);
    }
    let (o, key) = match entry.kind {
        Kind::Insert { o } => (o, o),
        Kind::Update { o, o2, .. } => (o, o2),
        _ => return Ok(None),
    };
    let id = raw::get(key, "_id")?.and_then(|id| id.str());
    if id != Some("featureCompatibilityVersion") {
        return Ok(None);
    }
    let text = |name| -> Result<Option<String>> {
        Ok(raw::get(o, name)?.and_then(|e| e.str()).map(str::to_owned))
    };
    Ok(Some(Ddl::FcvChanged { version: text("version")?, target: text("targetVersion")? }))
}
