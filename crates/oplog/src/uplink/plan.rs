//! The plan of an initial sync, and its BSON form: docs/format.md section 9.

use bson::{Binary, RawArrayBuf, RawDocumentBuf, cstr, spec::BinarySubtype};
use bygone_base::{CollectionId, Error, OpTime, Result, SyncId, Ts};

use super::wire::read::Reader;
use crate::filter::Filter;

/// What is backed up from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// Name of the replica set.
    pub set: String,
    /// Version of its servers.
    pub version: String,
    /// Feature compatibility version.
    pub fcv: String,
    /// UUID of its `admin.system.version`: the members of a set have it in common, and no other set has it, be its
    /// name and its host's the same. `None` in plans of before it was read.
    pub identity: Option<CollectionId>,
}

/// The plan of an initial sync: what the source listed at its beginning, and how it is cut.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncPlan {
    /// The sync.
    pub sync: SyncId,
    /// The entry that its oplog continues from.
    pub start: OpTime,
    /// Every scan shows at least the state of this moment: transactions that an entry up to here decided are in
    /// it, whole, also where they began before `start`.
    pub settled: Ts,
    /// Collections.
    pub collections: Vec<CollectionPlan>,
    /// Views, as documents of `system.views`.
    pub views: Vec<RawDocumentBuf>,
    /// What is captured.
    pub filter: Filter,
    /// From where.
    pub source: Source,
}

/// One collection of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionPlan {
    /// UUID.
    pub coll: CollectionId,
    /// Database.
    pub db: String,
    /// Name.
    pub name: String,
    /// As listCollections gives them, without uuid.
    pub options: RawDocumentBuf,
    /// As listIndexes gives them, finished ones only.
    pub indexes: Vec<RawDocumentBuf>,
    /// Scanned in natural order (into runs) instead of key order (into leaves).
    pub natural: bool,
    /// The tree's `cut`: docs/format.md section 6.
    pub cut: u64,
    /// Documents, estimated.
    pub docs: u64,
    /// Bytes, estimated.
    pub bytes: u64,
    /// Keys of the split points, ascending; n split points make n+1 ranges.
    pub ranges: Vec<Vec<u8>>,
    /// Their `{_id: x}` documents.
    pub bounds: Vec<RawDocumentBuf>,
}

/// Generic binary.
pub(super) fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}

/// A UUID.
pub(super) fn uuid(id: CollectionId) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: id.0.to_vec() }
}

pub(super) fn timestamp(ts: bygone_base::Ts) -> bson::Timestamp {
    bson::Timestamp { time: ts.secs(), increment: ts.inc() }
}

fn array<T: Into<bson::RawBson>>(items: impl IntoIterator<Item = T>) -> RawArrayBuf {
    let mut out = RawArrayBuf::new();
    for item in items {
        out.push(item.into());
    }
    out
}

impl CollectionPlan {
    fn to_bson(&self) -> RawDocumentBuf {
        let mut doc = RawDocumentBuf::new();
        doc.append(cstr!("uuid"), uuid(self.coll));
        doc.append(cstr!("db"), self.db.as_str());
        doc.append(cstr!("coll"), self.name.as_str());
        doc.append(cstr!("options"), self.options.clone());
        doc.append(cstr!("indexes"), array(self.indexes.iter().cloned()));
        doc.append(cstr!("order"), if self.natural { "natural" } else { "key" });
        doc.append(cstr!("cut"), self.cut as i64);
        doc.append(cstr!("docs"), self.docs as i64);
        doc.append(cstr!("bytes"), self.bytes as i64);
        doc.append(cstr!("ranges"), array(self.ranges.iter().map(|key| binary(key))));
        doc.append(cstr!("bounds"), array(self.bounds.iter().cloned()));
        doc
    }

    fn read(doc: &Reader<'_>) -> Result<Self> {
        let natural = match doc.str("order")? {
            "key" => false,
            "natural" => true,
            other => return Err(Error::unsupported(format!("sync plan: order {other:?}"))),
        };
        let plan = CollectionPlan {
            coll: doc.uuid("uuid")?,
            db: doc.string("db")?,
            name: doc.string("coll")?,
            options: doc.owned("options")?,
            indexes: doc.docs("indexes")?,
            natural,
            cut: doc.u64("cut")?,
            docs: doc.u64("docs")?,
            bytes: doc.u64("bytes")?,
            ranges: doc.binaries("ranges")?,
            bounds: doc.docs("bounds")?,
        };
        let ascending = plan.ranges.is_sorted_by(|a, b| a < b);
        if !ascending || plan.ranges.len() != plan.bounds.len() {
            return Err(Error::damaged(format!("sync plan: ranges of {}.{}", plan.db, plan.name)));
        }
        Ok(plan)
    }
}

impl SyncPlan {
    /// As docs/format.md has it.
    pub fn to_bson(&self) -> RawDocumentBuf {
        let mut source = RawDocumentBuf::new();
        source.append(cstr!("set"), self.source.set.as_str());
        source.append(cstr!("version"), self.source.version.as_str());
        source.append(cstr!("fcv"), self.source.fcv.as_str());
        if let Some(identity) = self.source.identity {
            source.append(cstr!("identity"), uuid(identity));
        }
        let mut doc = RawDocumentBuf::new();
        doc.append(cstr!("format"), 1i32);
        doc.append(cstr!("sync"), binary(&self.sync.0));
        doc.append(cstr!("start_ts"), timestamp(self.start.ts));
        doc.append(cstr!("start_term"), self.start.term);
        doc.append(cstr!("settled"), timestamp(self.settled));
        doc.append(cstr!("collections"), array(self.collections.iter().map(|c| c.to_bson())));
        doc.append(cstr!("views"), array(self.views.iter().cloned()));
        doc.append(cstr!("filter"), self.filter.to_bson());
        doc.append(cstr!("source"), source);
        doc
    }

    /// Reads what [`SyncPlan::to_bson`] wrote.
    pub fn from_bson(doc: &[u8]) -> Result<Self> {
        let doc = Reader::new("sync plan", doc)?;
        if doc.u32("format")? != 1 {
            return Err(
                Error::unsupported("sync plan: unknown format").hint("a newer bygone wrote it")
            );
        }
        let source = doc.doc("source")?;
        Ok(SyncPlan {
            sync: SyncId(doc.id("sync")?),
            start: doc.op_time("start_ts", "start_term")?,
            settled: doc.ts("settled")?,
            collections: doc.each("collections", |c| CollectionPlan::read(&c))?,
            views: doc.docs("views")?,
            filter: Filter::from_bson(doc.doc("filter")?.bytes())?,
            source: Source {
                set: source.string("set")?,
                version: source.string("version")?,
                fcv: source.string("fcv")?,
                identity: source.optional_uuid("identity")?,
            },
        })
    }
}
