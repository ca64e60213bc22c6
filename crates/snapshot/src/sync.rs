//! Records of an initial sync in the sync store (docs/format.md, section 9): what
//! ingest writes and the daemon reads to build the first tree. The plan itself
//! is `bygone_oplog::uplink::SyncPlan`.

use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};
use bygone_base::{CollectionId, Error, OpTime, Result, SyncId, Ts};
use bygone_tree::{NodeEntry, node};
use bytes::Bytes;

use crate::fields::{Fields, binary, timestamp, uuid};

/// Name (below the part) of the plan of a sync.
pub fn plan_name(sync: SyncId) -> String {
    format!("sync/{sync}/plan")
}

/// Name (below the part) of the record that ends a sync. It stays as long as the
/// timeline that the sync fills: without it the sync counts as unfinished.
pub fn end_name(sync: SyncId) -> String {
    format!("sync/{sync}/end")
}

/// Folder (below the part) of the records of a sync's slices.
pub fn slices_folder(sync: SyncId) -> String {
    format!("sync/{sync}/slices/")
}

/// Which slice of a sync: ranges of a collection, slices of a range, both from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceKey {
    /// The collection.
    pub coll: CollectionId,
    /// The range of the plan.
    pub range: u32,
    /// The slice's number within the range.
    pub seq: u32,
}

impl SliceKey {
    /// Last component of the record's name: `UUID-RANGE-SEQ`.
    pub fn leaf(&self) -> String {
        format!("{}-{:06}-{:08}", self.coll, self.range, self.seq)
    }

    /// Name (below the part) of the record.
    pub fn name(&self, sync: SyncId) -> String {
        format!("{}{}", slices_folder(sync), self.leaf())
    }

    /// The key of a name that [`SliceKey::leaf`] made.
    pub fn parse(leaf: &str) -> Option<SliceKey> {
        let mut parts = leaf.split('-');
        let key = SliceKey {
            coll: parts.next()?.parse().ok()?,
            range: parts.next()?.parse().ok()?,
            seq: parts.next()?.parse().ok()?,
        };
        (parts.next().is_none() && key.leaf() == leaf).then_some(key)
    }
}

/// The record of one stored sync slice.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncSliceRecord {
    /// Which slice.
    pub key: SliceKey,
    /// Its blocks in order: leaves, or leaves of runs.
    pub entries: Vec<NodeEntry>,
    /// The blocks are of kind 4, sorted within this slice only.
    pub runs: bool,
    /// The documents may hold changes up to here.
    pub valid_from: Ts,
    /// `{_id: x}` of the last document scanned so far, where the range goes on.
    pub resume: Option<RawDocumentBuf>,
    /// The range is complete.
    pub done: bool,
    /// The collection was not found.
    pub gone: bool,
}

impl SyncSliceRecord {
    /// The object's plain bytes.
    pub fn to_bson(&self) -> Vec<u8> {
        let mut doc = rawdoc! {
            "uuid": uuid(self.key.coll.0),
            "range": i32::try_from(self.key.range).unwrap_or(i32::MAX),
            "seq": i32::try_from(self.key.seq).unwrap_or(i32::MAX),
            "entries": binary(&node::encode_entries(&self.entries)),
            "runs": self.runs,
            "valid_from": timestamp(self.valid_from),
        };
        match &self.resume {
            Some(resume) => doc.append(bson::cstr!("resume"), resume.clone()),
            None => doc.append(bson::cstr!("resume"), bson::RawBson::Null),
        }
        doc.append(bson::cstr!("done"), self.done);
        doc.append(bson::cstr!("gone"), self.gone);
        doc.into_bytes()
    }

    /// Reads the object's plain bytes.
    pub fn from_bson(bytes: &[u8]) -> Result<SyncSliceRecord> {
        let f = Fields::new(bytes, "sync slice record")?;
        let number = |name| u32::try_from(f.i32(name)?).map_err(|_| f.bad(name));
        let resume = match f.optional("resume")? {
            None => None,
            Some(_) => Some(f.doc("resume")?.to_owned()),
        };
        Ok(SyncSliceRecord {
            key: SliceKey {
                coll: CollectionId::from_slice(f.binary("uuid")?).ok_or_else(|| f.bad("uuid"))?,
                range: number("range")?,
                seq: number("seq")?,
            },
            entries: node::parse_entries(&Bytes::copy_from_slice(f.binary("entries")?))?,
            runs: f.bool("runs")?,
            valid_from: f.ts("valid_from")?,
            resume,
            done: f.bool("done")?,
            gone: f.bool("gone")?,
        })
    }

    /// Whether both say the same of the same content; the packs may differ, for a
    /// slice that is sent again is packed again.
    pub fn same_content(&self, other: &SyncSliceRecord) -> bool {
        let bare = |record: &SyncSliceRecord| {
            let mut record = record.clone();
            record.entries.iter_mut().for_each(|e| e.block.pack = bygone_base::PackId::default());
            record
        };
        bare(self) == bare(other)
    }
}

/// A collection as the source listed it when the sync ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its uuid.
    pub coll: CollectionId,
    /// Its database.
    pub db: String,
    /// Its name.
    pub name: String,
    /// Names of its finished indexes.
    pub indexes: Vec<String>,
}

/// The record that ends a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEndRecord {
    /// The majority position after the last document was read: the first state
    /// that is consistent.
    pub end: OpTime,
    /// What the source listed then.
    pub listed: Vec<Listed>,
}

impl SyncEndRecord {
    /// The object's plain bytes.
    pub fn to_bson(&self) -> Vec<u8> {
        let mut listed = RawArrayBuf::new();
        for coll in &self.listed {
            let mut indexes = RawArrayBuf::new();
            coll.indexes.iter().for_each(|name| indexes.push(name.as_str()));
            listed.push(rawdoc! {
                "uuid": uuid(coll.coll.0),
                "db": coll.db.as_str(),
                "coll": coll.name.as_str(),
                "indexes": indexes,
            });
        }
        rawdoc! { "end_ts": timestamp(self.end.ts), "end_term": self.end.term, "listed": listed }
            .into_bytes()
    }

    /// Reads the object's plain bytes.
    pub fn from_bson(bytes: &[u8]) -> Result<SyncEndRecord> {
        let f = Fields::new(bytes, "sync end")?;
        let listed = f.docs("listed")?.into_iter().map(listed).collect::<Result<_>>()?;
        Ok(SyncEndRecord { end: OpTime::new(f.ts("end_ts")?, f.i64("end_term")?), listed })
    }
}

fn listed(doc: &RawDocument) -> Result<Listed> {
    let f = Fields::of(doc, "listed collection");
    let mut indexes = Vec::new();
    for name in f.array("indexes")? {
        let name = name.map_err(|e| f.bad("indexes").source(e))?;
        indexes.push(name.as_str().ok_or_else(|| f.bad("indexes"))?.to_owned());
    }
    Ok(Listed {
        coll: CollectionId::from_slice(f.binary("uuid")?)
            .ok_or_else(|| Error::damaged("sync end has no good field \"uuid\""))?,
        db: f.str("db")?.to_owned(),
        name: f.str("coll")?.to_owned(),
        indexes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bygone_base::{BlockId, PackId};
    use bygone_blockstore::BlockRef;

    fn record() -> SyncSliceRecord {
        SyncSliceRecord {
            key: SliceKey { coll: CollectionId([3; 16]), range: 2, seq: 7 },
            entries: vec![NodeEntry {
                key: Bytes::from_static(b"k"),
                block: BlockRef { id: BlockId([7; 32]), pack: PackId([9; 16]) },
                items: 3,
                bytes: 99,
                as_of: Ts::new(5, 1),
                valid_from: Ts::new(6, 2),
                max_ts: Ts(0),
            }],
            runs: false,
            valid_from: Ts::new(6, 2),
            resume: Some(rawdoc! { "_id": 5 }),
            done: false,
            gone: false,
        }
    }

    #[test]
    fn records_and_their_names_read_back() {
        let record = record();
        assert_eq!(SyncSliceRecord::from_bson(&record.to_bson()).unwrap(), record);
        assert_eq!(SliceKey::parse(&record.key.leaf()), Some(record.key));
        for bad in ["", "x-1-2", &format!("{}-1-2", record.key.coll)] {
            assert_eq!(SliceKey::parse(bad), None, "{bad}");
        }
        let end = SyncEndRecord {
            end: OpTime::new(Ts::new(9, 9), 4),
            listed: vec![Listed {
                coll: CollectionId([1; 16]),
                db: "db".into(),
                name: "c".into(),
                indexes: vec!["_id_".into(), "a_1".into()],
            }],
        };
        assert_eq!(SyncEndRecord::from_bson(&end.to_bson()).unwrap(), end);
    }

    #[test]
    fn the_same_slice_packed_twice_is_the_same_content() {
        let (a, mut b) = (record(), record());
        b.entries[0].block.pack = PackId([1; 16]);
        assert!(a.same_content(&b) && a != b);
        b.entries[0].block.id = BlockId([1; 32]);
        assert!(!a.same_content(&b));
    }
}
