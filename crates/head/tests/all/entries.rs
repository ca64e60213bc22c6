//! Oplog entries as servers write them.

use bson::{Binary, RawArrayBuf, RawDocumentBuf, Timestamp, rawdoc, spec::BinarySubtype};
use bygone_base::{CollectionId, OpTime, Ts};

pub(crate) fn stamp(ts: Ts) -> Timestamp {
    Timestamp { time: ts.secs(), increment: ts.inc() }
}

fn uuid(id: CollectionId) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: id.0.to_vec() }
}

/// One operation on a document.
#[derive(Debug, Clone)]
pub(crate) enum Crud {
    Insert(i32, i32),
    Replace(i32, i32),
    Update(i32, i32),
    Delete(i32),
}

pub(crate) fn doc(id: i32, v: i32) -> RawDocumentBuf {
    rawdoc! { "_id": id, "v": v }
}

impl Crud {
    /// `{op, ns, ui, o, o2?}`
    pub(crate) fn inner(&self, coll: CollectionId, ns: &str) -> RawDocumentBuf {
        let (op, o, o2) = match *self {
            Crud::Insert(id, v) => ("i", doc(id, v), None),
            Crud::Replace(id, v) => ("u", doc(id, v), Some(rawdoc! { "_id": id })),
            Crud::Update(id, v) => {
                ("u", rawdoc! { "$v": 2, "diff": { "u": { "v": v } } }, Some(rawdoc! { "_id": id }))
            }
            Crud::Delete(id) => ("d", rawdoc! { "_id": id }, None),
        };
        let mut entry = rawdoc! { "op": op, "ns": ns, "ui": uuid(coll), "o": o };
        if let Some(o2) = o2 {
            entry.append(bson::cstr!("o2"), o2);
        }
        entry
    }
}

fn at(mut entry: RawDocumentBuf, at: OpTime) -> Vec<u8> {
    entry.append(bson::cstr!("ts"), stamp(at.ts));
    entry.append(bson::cstr!("t"), at.term);
    entry.append(bson::cstr!("v"), 2_i64);
    entry.into_bytes()
}

pub(crate) fn crud(time: OpTime, coll: CollectionId, ns: &str, op: &Crud) -> Vec<u8> {
    at(op.inner(coll, ns), time)
}

pub(crate) fn noop(time: OpTime) -> Vec<u8> {
    at(rawdoc! { "op": "n", "ns": "", "o": {} }, time)
}

/// A command on a collection of database `d`.
pub(crate) fn command(time: OpTime, coll: CollectionId, o: RawDocumentBuf) -> Vec<u8> {
    at(rawdoc! { "op": "c", "ns": "d.$cmd", "ui": uuid(coll), "o": o }, time)
}

/// The session of a transaction's entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Txn {
    pub(crate) session: i32,
    pub(crate) number: i64,
    pub(crate) prev: Option<OpTime>,
}

fn in_txn(time: OpTime, txn: Txn, o: RawDocumentBuf) -> Vec<u8> {
    let (ts, t) = txn.prev.map_or((stamp(Ts(0)), -1), |prev| (stamp(prev.ts), prev.term));
    let entry = rawdoc! {
        "op": "c", "ns": "admin.$cmd", "o": o,
        "lsid": { "id": txn.session }, "txnNumber": txn.number,
        "prevOpTime": { "ts": ts, "t": t },
    };
    at(entry, time)
}

/// How an applyOps entry of a transaction stands to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    More,
    Prepared,
    Last,
}

pub(crate) fn apply_ops(time: OpTime, txn: Txn, ops: Vec<RawDocumentBuf>, part: Part) -> Vec<u8> {
    let mut array = RawArrayBuf::new();
    ops.into_iter().for_each(|op| array.push(op));
    let mut o = rawdoc! { "applyOps": array };
    match part {
        Part::More => o.append(bson::cstr!("partialTxn"), true),
        Part::Prepared => o.append(bson::cstr!("prepare"), true),
        Part::Last => {}
    }
    in_txn(time, txn, o)
}

pub(crate) fn commit(time: OpTime, txn: Txn, decided: Ts) -> Vec<u8> {
    in_txn(time, txn, rawdoc! { "commitTransaction": 1, "commitTimestamp": stamp(decided) })
}

pub(crate) fn abort(time: OpTime, txn: Txn) -> Vec<u8> {
    in_txn(time, txn, rawdoc! { "abortTransaction": 1 })
}

/// A write of the feature compatibility version.
pub(crate) fn set_fcv(time: OpTime, admin: CollectionId, version: &str) -> Vec<u8> {
    let id = "featureCompatibilityVersion";
    let entry = rawdoc! {
        "op": "u", "ns": "admin.system.version", "ui": uuid(admin),
        "o": { "_id": id, "version": version }, "o2": { "_id": id },
    };
    at(entry, time)
}
