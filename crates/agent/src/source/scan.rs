//! Scans of collections, their sizes and samples.

use async_trait::async_trait;
use bson::{
    Binary, Document, RawDocument, RawDocumentBuf, Timestamp, cstr, doc, rawdoc,
    spec::BinarySubtype,
};
use bygone_base::{CollectionId, Error, ErrorKind, Result, Ts};

use super::{
    Batch, Batches, CollectionSize, Scan, ScanBy, SourceResult,
    cursor::{Pumped, Reading},
    mongo::MongoMember,
};

pub(super) fn timestamp(ts: Ts) -> Timestamp {
    Timestamp { time: ts.secs(), increment: ts.inc() }
}

pub(super) fn uuid(id: CollectionId) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: id.0.to_vec() }
}

/// The `find` of a scan.
fn find_command(scan: &Scan) -> Result<RawDocumentBuf> {
    let raw = |bytes: &Vec<u8>| {
        RawDocument::from_bytes(bytes)
            .map(ToOwned::to_owned)
            .map_err(|e| Error::internal(format!("bound of a scan: {e}")))
    };
    let min = scan.min.as_ref().map(raw).transpose()?;
    let max = scan.max.as_ref().map(raw).transpose()?;
    let mut command = rawdoc! { "find": uuid(scan.coll) };
    match scan.by {
        ScanBy::IdIndex => {
            command.append(cstr!("hint"), rawdoc! { "_id": 1 });
            if let Some(min) = min {
                command.append(cstr!("min"), min);
            }
            if let Some(max) = max {
                command.append(cstr!("max"), max);
            }
        }
        ScanBy::IdPredicate => {
            let mut range = rawdoc! {};
            if let Some(id) = min.as_ref().and_then(|min| min.get("_id").ok().flatten()) {
                range.append(cstr!("$gte"), id);
            }
            if let Some(id) = max.as_ref().and_then(|max| max.get("_id").ok().flatten()) {
                range.append(cstr!("$lt"), id);
            }
            if range.iter().next().is_some() {
                command.append(cstr!("filter"), rawdoc! { "_id": range });
            }
            command.append(cstr!("sort"), rawdoc! { "_id": 1 });
        }
        ScanBy::Natural => command.append(cstr!("hint"), rawdoc! { "$natural": 1 }),
    }
    command.append(cstr!("batchSize"), i32::try_from(scan.batch).unwrap_or(1000));
    // With afterClusterTime the read would wait for every prepared transaction
    // that it meets; without, it reads what was before. `open_scan` proves the age.
    command.append(cstr!("readConcern"), rawdoc! { "level": "majority" });
    Ok(command)
}

/// Whether `_id: MaxKey` needs a look of its own.
#[derive(Debug, PartialEq, Eq)]
enum OpenEnd {
    None,
    /// The scan has a lower bound and no upper one: the server then ends *before* MaxKey.
    Beside,
    /// MaxKey is the lower bound, which the server refuses (51175).
    Only,
}

fn open_end(scan: &Scan) -> OpenEnd {
    let is_max = |min: &Vec<u8>| {
        RawDocument::from_bytes(min)
            .is_ok_and(|d| matches!(d.get("_id"), Ok(Some(bson::RawBsonRef::MaxKey))))
    };
    match (scan.by, &scan.min, &scan.max) {
        (ScanBy::IdIndex, Some(min), None) if is_max(min) => OpenEnd::Only,
        (ScanBy::IdIndex, Some(_), None) => OpenEnd::Beside,
        _ => OpenEnd::None,
    }
}

fn find_max_key(scan: &Scan) -> RawDocumentBuf {
    rawdoc! {
        "find": uuid(scan.coll),
        "filter": { "_id": bson::RawBson::MaxKey },
        "hint": { "_id": 1 },
        "batchSize": 2,
        "readConcern": { "level": "majority" },
    }
}

/// One cursor after the other.
struct Chained {
    first: Option<Pumped>,
    last: Pumped,
}

#[async_trait]
impl Batches for Chained {
    async fn next(&mut self) -> SourceResult<Option<Batch>> {
        if let Some(first) = &mut self.first {
            if let Some(batch) = first.next().await? {
                return Ok(Some(batch));
            }
            self.first = None;
        }
        self.last.next().await
    }
}

pub(super) fn number(doc: &Document, name: &str) -> u64 {
    match doc.get(name) {
        Some(bson::Bson::Int32(n)) => u64::try_from(*n).unwrap_or(0),
        Some(bson::Bson::Int64(n)) => u64::try_from(*n).unwrap_or(0),
        Some(bson::Bson::Double(n)) => *n as u64,
        _ => 0,
    }
}

/// Errors after which planning goes on without the answer.
fn only_an_estimate(error: Error) -> Result<()> {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Denied => Err(error),
        _ => Ok(()),
    }
}

impl MongoMember {
    pub(super) async fn open_scan(&self, scan: &Scan) -> SourceResult<Box<dyn Batches>> {
        self.wait_for_majority(scan.after).await?;
        let reading = || Reading::plain("scan", scan.batch);
        let last = match open_end(scan) {
            OpenEnd::None => None,
            OpenEnd::Beside => Some(self.cursor(&scan.db, find_max_key(scan), reading()).await?),
            OpenEnd::Only => {
                return Ok(Box::new(self.cursor(&scan.db, find_max_key(scan), reading()).await?));
            }
        };
        let first = self.cursor(&scan.db, find_command(scan)?, reading()).await?;
        Ok(match last {
            None => Box::new(first),
            Some(last) => Box::new(Chained { first: Some(first), last }),
        })
    }

    /// Nothing says that the majority point of `hello` is not ahead of the
    /// snapshot that majority reads use; a read with afterClusterTime waits for the
    /// snapshot, and later reads of the same member do not go back behind it.
    pub(super) async fn wait_for_majority(&self, ts: Ts) -> SourceResult<()> {
        let barrier = doc! {
            "find": "system.version", "limit": 1, "singleBatch": true,
            "readConcern": { "level": "majority", "afterClusterTime": timestamp(ts) },
            "maxTimeMS": 30_000,
        };
        self.command("admin", barrier, "waiting for the start of the sync").await.map(|_| ())
    }

    pub(super) async fn coll_size(&self, db: &str, coll: &str) -> Result<CollectionSize> {
        match self.command(db, doc! { "collStats": coll }, "collStats").await {
            Ok(stats) => {
                Ok(CollectionSize { docs: number(&stats, "count"), bytes: number(&stats, "size") })
            }
            Err(error) => {
                only_an_estimate(error.error)?;
                Ok(CollectionSize::default())
            }
        }
    }

    pub(super) async fn sample_ids(
        &self,
        db: &str,
        coll: &str,
        size: CollectionSize,
        n: u32,
    ) -> Result<Vec<Vec<u8>>> {
        // Below 20 times the sample the server sorts whole documents by a
        // random number; reading every _id from the index is cheaper then.
        let command = if size.docs / 20 > u64::from(n) {
            rawdoc! {
                "aggregate": coll,
                "pipeline": [{ "$sample": { "size": i64::from(n) } }, { "$project": { "_id": 1 } }],
                "cursor": { "batchSize": 1000 },
                "allowDiskUse": true,
            }
        } else {
            rawdoc! { "find": coll, "projection": { "_id": 1 }, "sort": { "_id": 1 }, "batchSize": 1000 }
        };
        match self.documents(db, command, "sampling _ids").await {
            Ok(ids) => Ok(ids),
            Err(error) => {
                only_an_estimate(error.error)?;
                Ok(Vec::new())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(by: ScanBy) -> Scan {
        let bound = |n: i32| Some(rawdoc! { "_id": n }.into_bytes());
        Scan {
            coll: CollectionId([7; 16]),
            db: "d".into(),
            by,
            min: bound(1),
            max: bound(9),
            after: Ts::new(5, 6),
            batch: 100,
        }
    }

    #[test]
    fn the_open_end_of_a_range_looks_for_max_key() {
        let open = Scan { max: None, ..scan(ScanBy::IdIndex) };
        assert_eq!(open_end(&open), OpenEnd::Beside);
        let max_key = rawdoc! { "_id": bson::RawBson::MaxKey }.into_bytes();
        assert_eq!(open_end(&Scan { min: Some(max_key), ..open }), OpenEnd::Only);
        assert_eq!(open_end(&scan(ScanBy::IdIndex)), OpenEnd::None);
        let whole = Scan { min: None, max: None, ..scan(ScanBy::IdIndex) };
        assert_eq!(open_end(&whole), OpenEnd::None, "without bounds the server reads everything");
    }

    #[test]
    fn ranges_are_read_by_index_bounds_never_by_bracketed_predicates() {
        let command = find_command(&scan(ScanBy::IdIndex)).unwrap();
        assert!(command.get("filter").unwrap().is_none());
        assert_eq!(command.get_document("min").unwrap(), rawdoc! { "_id": 1 }.as_ref());
        let concern = command.get_document("readConcern").unwrap();
        assert_eq!(concern.get_str("level").unwrap(), "majority");
        assert!(
            concern.get("afterClusterTime").unwrap().is_none(),
            "it waits for prepared transactions"
        );
        let by = find_command(&scan(ScanBy::IdPredicate)).unwrap();
        assert!(by.get("hint").unwrap().is_none() && by.get("filter").unwrap().is_some());
    }
}
