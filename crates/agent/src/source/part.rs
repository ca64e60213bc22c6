//! One collection read by several cursors at once, each through records of its own.
//!
//! Records have ascending ids that they keep for as long as they live, and a scan in natural order can begin behind any
//! that is there. So sampled records divide a collection. A part ends with the record that the next one begins behind;
//! if that was deleted meanwhile nobody misses it, and the ids of its neighbours still tell where the end is.

use std::collections::BTreeMap;

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use bygone_base::{Error, Result};
use bygone_document::{Doc, id_key};

use super::{Batch, NaturalScan, SourceResult, mongo::MongoMember};

/// So many records tell where the parts begin: quarters are right to about 4 %.
const SAMPLE: u64 = 100;
/// Of fewer documents than so many times the sample the server would sort all of them.
const SPARSE: u64 = 25;

/// The records behind `after`, up to and with `until`. What is `None` is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) after: Option<i64>,
    pub(super) until: Option<i64>,
}

/// The token that begins a scan behind this record.
pub(super) fn token(record: i64) -> RawDocumentBuf {
    rawdoc! { "$recordId": record }
}

/// Whether a reply that left this token holds nothing behind the record. At the end of a collection it names none.
pub(super) fn ends_before(token: Option<&RawDocumentBuf>, until: i64) -> bool {
    token.and_then(|token| token.get_i64("$recordId").ok()).is_some_and(|at| at <= until)
}

/// Records that divide a collection into about equal `parts`; fewer, or none, where that cannot be told.
pub(super) async fn divide(
    member: &MongoMember,
    scan: &NaturalScan,
    documents: u64,
    parts: usize,
) -> SourceResult<Vec<i64>> {
    let size = SAMPLE.min(documents / SPARSE);
    let sample = rawdoc! {
        "aggregate": scan.coll.as_str(),
        "pipeline": [
            { "$sample": { "size": i64::try_from(size).unwrap_or(1) } },
            { "$project": { "_id": 1 } },
        ],
        "cursor": {},
    };
    if size < parts as u64 {
        return Ok(Vec::new());
    }
    let ids = member.documents(&scan.db, sample, scan.what).await?;
    let found = records(member, scan, ids.iter().map(Vec::as_slice)).await?;
    Ok(quantiles(found.into_values().collect(), parts))
}

fn quantiles(mut records: Vec<i64>, parts: usize) -> Vec<i64> {
    records.sort_unstable();
    let at = |part: usize| records.get(records.len() * part / parts.max(1)).copied();
    let mut cuts: Vec<i64> = (1..parts).filter_map(at).collect();
    cuts.dedup();
    cuts
}

/// How many documents of a reply are not behind the record `until`.
pub(super) async fn first(
    member: &MongoMember,
    scan: &NaturalScan,
    batch: &Batch,
    until: i64,
) -> SourceResult<usize> {
    let known = records(member, scan, batch.docs()).await?;
    // One that was deleted meanwhile is left out where its neighbours do not tell on which side it was: leaving it out
    // is right for a dump, having it twice is not.
    let mut count = 0;
    for (index, doc) in batch.docs().enumerate() {
        if known.get(&key(doc)?).is_some_and(|record| *record <= until) {
            count = index + 1;
        }
    }
    Ok(count)
}

fn key(doc: &[u8]) -> Result<Vec<u8>> {
    id_key(doc).map_err(|e| Error::damaged("an _id read from the server").source(e))
}

/// The records of these documents, by the keys of their `_id`s; of those that are still there.
async fn records(
    member: &MongoMember,
    scan: &NaturalScan,
    docs: impl Iterator<Item = &[u8]> + Send,
) -> SourceResult<BTreeMap<Vec<u8>, i64>> {
    let ask = rawdoc! {
        "find": scan.coll.as_str(),
        "filter": { "_id": among(docs)? },
        "projection": { "_id": 1 },
        "showRecordId": true,
    };
    let mut found = BTreeMap::new();
    for doc in member.documents(&scan.db, ask, scan.what).await? {
        // A clustered collection's are no numbers: it is not divided.
        let record = RawDocument::from_bytes(&doc).ok().and_then(|d| d.get_i64("$recordId").ok());
        if let Some(record) = record {
            found.insert(key(&doc)?, record);
        }
    }
    Ok(found)
}

/// `{$in: [..]}` with these documents' `_id`s, as they are.
fn among<'a>(docs: impl Iterator<Item = &'a [u8]>) -> Result<RawDocumentBuf> {
    let bad = |e| Error::damaged("a document read from the server").source(e);
    let mut array = vec![0; 4];
    for (index, doc) in docs.enumerate() {
        let id = Doc::new(doc).and_then(|doc| doc.require("_id")).map_err(bad)?;
        array.push(id.kind());
        array.extend_from_slice(index.to_string().as_bytes());
        array.push(0);
        array.extend_from_slice(id.value());
    }
    let mut among = vec![0; 4];
    among.extend_from_slice(b"\x04$in\0");
    among.append(&mut framed(array)?);
    RawDocumentBuf::from_bytes(framed(among)?).map_err(|e| Error::internal(format!("_ids: {e}")))
}

/// With its end and, in the first four bytes, its length.
fn framed(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    bytes.push(0);
    let len = i32::try_from(bytes.len()).map_err(|_| Error::internal("too many _ids"))?;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_about_equal() {
        let records: Vec<i64> = (1..=100).rev().collect();
        assert_eq!(quantiles(records.clone(), 4), [26, 51, 76]);
        assert_eq!(quantiles(records, 1), [0; 0]);
        assert_eq!(quantiles(Vec::new(), 4), [0; 0]);
        assert_eq!(quantiles(vec![7, 7, 7], 3), [7]);
    }

    #[test]
    fn a_reply_at_the_end_of_a_collection_may_reach_behind_any_record() {
        assert!(ends_before(Some(&token(5)), 5) && !ends_before(Some(&token(6)), 5));
        let end = rawdoc! { "$recordId": bson::RawBson::Null };
        assert!(!ends_before(Some(&end), 5) && !ends_before(None, 5));
    }

    #[test]
    fn ids_are_taken_as_they_are() {
        let docs = [rawdoc! { "x": 1, "_id": "a" }, rawdoc! { "_id": { "y": 2_i64 } }];
        let want = rawdoc! { "$in": ["a", { "y": 2_i64 }] };
        assert_eq!(among(docs.iter().map(|doc| doc.as_bytes())).unwrap(), want);
        assert!(among([rawdoc! { "x": 1 }].iter().map(|doc| doc.as_bytes())).is_err());
    }
}
