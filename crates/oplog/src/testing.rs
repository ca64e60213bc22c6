//! Entries for tests.

use bson::{Binary, RawBson, RawDocumentBuf, Timestamp, rawdoc, spec::BinarySubtype};
use bygone_base::{CollectionId, OpTime, Ts};

pub(crate) const COLL: CollectionId = CollectionId([7; 16]);

pub(crate) fn at(n: u64) -> OpTime {
    OpTime::new(Ts(n), 1)
}

pub(crate) fn uuid(id: CollectionId) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: id.0.to_vec() }
}

pub(crate) fn stamp(ts: u64) -> Timestamp {
    Timestamp { time: (ts >> 32) as u32, increment: ts as u32 }
}

/// An entry of these parts at `ts`, with the fields in `more` at its end.
pub(crate) fn entry(
    ts: u64,
    op: &str,
    ns: &str,
    o: RawDocumentBuf,
    more: RawDocumentBuf,
) -> Vec<u8> {
    let mut doc = rawdoc! {
        "op": op, "ns": ns, "ui": uuid(COLL), "o": o,
        "ts": stamp(ts), "t": 1i64, "v": 2i64,
    };
    for field in &more {
        let (name, value) = field.unwrap();
        doc.append(name, value);
    }
    doc.into_bytes()
}

pub(crate) fn insert(ts: u64, id: i32) -> Vec<u8> {
    entry(ts, "i", "d.c", rawdoc! { "_id": id }, rawdoc! {})
}

/// A command on `d.$cmd`.
pub(crate) fn command(ts: u64, o: RawDocumentBuf) -> Vec<u8> {
    entry(ts, "c", "d.$cmd", o, rawdoc! {})
}

/// An operation within an applyOps.
pub(crate) fn inner(op: &str, id: i32) -> RawBson {
    let mut doc = rawdoc! { "op": op, "ns": "d.c", "ui": uuid(COLL), "o": { "_id": id } };
    if op == "u" {
        doc.append(bson::cstr!("o2"), rawdoc! { "_id": id });
    }
    doc.into()
}

/// The session fields of a transaction's entry; `prev` 0 for the first.
pub(crate) fn session(lsid: i32, number: i64, prev: u64) -> RawDocumentBuf {
    let term = if prev == 0 { -1i64 } else { 1 };
    rawdoc! {
        "lsid": { "id": lsid },
        "txnNumber": number,
        "prevOpTime": { "ts": stamp(prev), "t": term },
    }
}

/// An applyOps entry with `o = {applyOps: ops, ..more}`.
pub(crate) fn apply_ops(
    ts: u64,
    ops: Vec<RawBson>,
    o: RawDocumentBuf,
    more: RawDocumentBuf,
) -> Vec<u8> {
    let mut array = bson::RawArrayBuf::new();
    for op in ops {
        array.push(op);
    }
    let mut command = rawdoc! { "applyOps": array };
    for field in &o {
        let (name, value) = field.unwrap();
        command.append(name, value);
    }
    entry(ts, "c", "admin.$cmd", command, more)
}
