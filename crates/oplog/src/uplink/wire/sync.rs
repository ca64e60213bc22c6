//! The messages that carry data: a BSON document, then bytes as they are.

use bson::{RawArrayBuf, RawDocumentBuf, cstr};
use bygone_base::{Error, Result, SyncId};
use bytes::Bytes;

use super::{
    messages::{put_optional_doc, put_session, session},
    read::Reader,
};
use crate::{
    raw,
    uplink::{
        ListedCollection, SessionRef, SyncBlock, SyncEnd, SyncPlan, SyncSlice,
        plan::{binary, timestamp, uuid},
    },
};

/// Splits a message into its document and what follows.
fn split<'a>(what: &'static str, bytes: &'a Bytes) -> Result<(Reader<'a>, Bytes)> {
    let len = raw::read_len(bytes).filter(|len| (5..=bytes.len()).contains(len));
    let len = len.ok_or_else(|| Error::damaged(format!("{what}: cut short")))?;
    Ok((Reader::new(what, &bytes[..len])?, bytes.slice(len..)))
}

/// `POST plan-sync`.
pub fn encode_plan_sync(at: &SessionRef, plan: &SyncPlan) -> Vec<u8> {
    let mut doc = RawDocumentBuf::new();
    put_session(&mut doc, at);
    doc.append(cstr!("plan"), plan.to_bson());
    doc.into_bytes()
}

/// Reads a `plan-sync`.
pub fn decode_plan_sync(bytes: &[u8]) -> Result<(SessionRef, SyncPlan)> {
    let doc = Reader::new("plan-sync", bytes)?;
    Ok((session(&doc)?, SyncPlan::from_bson(doc.doc("plan")?.bytes())?))
}

/// `POST oplog-slice`.
pub fn encode_oplog_slice(at: &SessionRef, slice: &[u8]) -> Vec<u8> {
    let mut doc = RawDocumentBuf::new();
    put_session(&mut doc, at);
    let mut out = doc.into_bytes();
    out.extend_from_slice(slice);
    out
}

/// Reads an `oplog-slice`; the slice itself is not looked at.
pub fn decode_oplog_slice(bytes: &Bytes) -> Result<(SessionRef, Bytes)> {
    let (doc, slice) = split("oplog-slice", bytes)?;
    Ok((session(&doc)?, slice))
}

/// `POST sync-slice`.
pub fn encode_sync_slice(at: &SessionRef, slice: &SyncSlice) -> Vec<u8> {
    let mut doc = RawDocumentBuf::new();
    put_session(&mut doc, at);
    doc.append(cstr!("sync"), binary(&slice.sync.0));
    doc.append(cstr!("uuid"), uuid(slice.coll));
    doc.append(cstr!("range"), i64::from(slice.range));
    doc.append(cstr!("seq"), i64::from(slice.seq));
    doc.append(cstr!("runs"), slice.runs);
    doc.append(cstr!("valid_from"), timestamp(slice.valid_from));
    put_optional_doc(&mut doc, &slice.resume);
    doc.append(cstr!("done"), slice.done);
    doc.append(cstr!("gone"), slice.gone);
    let mut blocks = RawArrayBuf::new();
    for block in &slice.blocks {
        blocks.push(block_head(block));
    }
    doc.append(cstr!("blocks"), blocks);
    let mut out = doc.into_bytes();
    out.reserve(slice.blocks.iter().map(|b| b.zstd.len()).sum());
    for block in &slice.blocks {
        out.extend_from_slice(&block.zstd);
    }
    out
}

fn block_head(block: &SyncBlock) -> RawDocumentBuf {
    let mut doc = RawDocumentBuf::new();
    doc.append(cstr!("raw_len"), i64::from(block.raw_len));
    doc.append(cstr!("items"), i64::from(block.items));
    doc.append(cstr!("first_key"), binary(&block.first_key));
    doc.append(cstr!("len"), block.zstd.len() as i64);
    doc
}

/// Reads a `sync-slice`; the blocks share the message's memory.
pub fn decode_sync_slice(bytes: &Bytes) -> Result<(SessionRef, SyncSlice)> {
    let (doc, mut rest) = split("sync-slice", bytes)?;
    let short = || Error::damaged("sync-slice: blocks are not as long as it says");
    let blocks = doc.each("blocks", |head| {
        let len = usize::try_from(head.u64("len")?).map_err(|_| short())?;
        if len > rest.len() {
            return Err(short());
        }
        Ok(SyncBlock {
            raw_len: head.u32("raw_len")?,
            items: head.u32("items")?,
            first_key: head.binary("first_key")?.to_vec(),
            zstd: rest.split_to(len),
        })
    })?;
    if !rest.is_empty() {
        return Err(short());
    }
    let slice = SyncSlice {
        sync: SyncId(doc.id("sync")?),
        coll: doc.uuid("uuid")?,
        range: doc.u32("range")?,
        seq: doc.u32("seq")?,
        runs: doc.bool("runs")?,
        valid_from: doc.ts("valid_from")?,
        resume: doc.optional_doc("resume")?,
        done: doc.bool("done")?,
        gone: doc.bool("gone")?,
        blocks,
    };
    Ok((session(&doc)?, slice))
}

/// `POST end-sync`.
pub fn encode_sync_end(at: &SessionRef, end: &SyncEnd) -> Vec<u8> {
    let mut doc = RawDocumentBuf::new();
    put_session(&mut doc, at);
    doc.append(cstr!("sync"), binary(&end.sync.0));
    doc.append(cstr!("end_ts"), timestamp(end.end.ts));
    doc.append(cstr!("end_term"), end.end.term);
    let mut listed = RawArrayBuf::new();
    for collection in &end.listed {
        listed.push(listed_collection(collection));
    }
    doc.append(cstr!("listed"), listed);
    doc.into_bytes()
}

fn listed_collection(collection: &ListedCollection) -> RawDocumentBuf {
    let mut indexes = RawArrayBuf::new();
    for name in &collection.indexes {
        indexes.push(name.as_str());
    }
    let mut doc = RawDocumentBuf::new();
    doc.append(cstr!("uuid"), uuid(collection.coll));
    doc.append(cstr!("db"), collection.db.as_str());
    doc.append(cstr!("coll"), collection.name.as_str());
    doc.append(cstr!("indexes"), indexes);
    doc
}

/// Reads an `end-sync`.
pub fn decode_sync_end(bytes: &[u8]) -> Result<(SessionRef, SyncEnd)> {
    let doc = Reader::new("end-sync", bytes)?;
    let listed = doc.each("listed", |c| {
        Ok(ListedCollection {
            coll: c.uuid("uuid")?,
            db: c.string("db")?,
            name: c.string("coll")?,
            indexes: c.strings("indexes")?,
        })
    })?;
    let end = doc.op_time("end_ts", "end_term")?;
    Ok((session(&doc)?, SyncEnd { sync: SyncId(doc.id("sync")?), end, listed }))
}
