//! Operations per second from slice bytes to changes: single entries as
//! servers 8.2 write them, and vectored ones.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use bson::{Binary, RawArrayBuf, RawDocumentBuf, oid::ObjectId, rawdoc, spec::BinarySubtype};
use bygone_base::{Clock, OpTime, SystemClock, Ts};
use bygone_oplog::{
    assemble::Assembler,
    filter::Filter,
    slice::{Slice, SliceBuilder},
};

fn uuid(byte: u8) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: vec![byte; 16] }
}

fn id(i: u64) -> ObjectId {
    let mut bytes = [7; 12];
    bytes[4..].copy_from_slice(&i.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn document(i: u64) -> RawDocumentBuf {
    let name = format!("user-{:x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    rawdoc! { "_id": id(i), "name": name, "n": i as i64, "text": "some text that stays the same" }
}

fn single(i: u64) -> RawDocumentBuf {
    rawdoc! {
        "lsid": { "id": uuid(1), "uid": Binary { subtype: BinarySubtype::Generic, bytes: vec![2; 32] } },
        "txnNumber": i as i64, "op": "i", "ns": "shop.orders", "ui": uuid(3),
        "o": document(i), "o2": { "_id": id(i) }, "stmtId": 0,
        "ts": bson::Timestamp { time: 1, increment: i as u32 }, "t": 1i64, "v": 2i64,
        "wall": bson::DateTime::from_millis(1_700_000_000_000 + i as i64),
        "prevOpTime": { "ts": bson::Timestamp { time: 0, increment: 0 }, "t": -1i64 },
    }
}

fn vectored(i: u64, per: u64) -> RawDocumentBuf {
    let mut ops = RawArrayBuf::new();
    for k in 0..per {
        ops.push(rawdoc! { "op": "i", "ns": "shop.orders", "ui": uuid(3), "o": document(i * per + k), "o2": { "_id": id(i * per + k) } });
    }
    rawdoc! {
        "op": "c", "ns": "admin.$cmd", "o": { "applyOps": ops },
        "ts": bson::Timestamp { time: 1, increment: i as u32 }, "t": 1i64, "v": 2i64,
        "wall": bson::DateTime::from_millis(1_700_000_000_000),
    }
}

fn measure(what: &str, clock: &SystemClock, entries: u64, entry: impl Fn(u64) -> RawDocumentBuf) {
    let from = OpTime::new(Ts::new(1, 0), 1);
    let mut builder = SliceBuilder::new(from);
    for i in 1..=entries {
        builder.push(entry(i).as_bytes(), OpTime::new(Ts::new(1, i as u32), 1)).unwrap();
    }
    let raw = builder.raw_len();
    let bytes = builder.finish(3).unwrap();
    let (rounds, mut ops, mut sum) = (10, 0u64, 0usize);
    let start = clock.monotonic();
    let mut decoding = std::time::Duration::ZERO;
    for _ in 0..rounds {
        let begun = clock.monotonic();
        let slice = Slice::parse(bytes.clone()).unwrap().decode().unwrap();
        decoding += clock.monotonic() - begun;
        let mut assembler = Assembler::new(from, Filter::all());
        for (_, entry) in slice.entries() {
            assembler
                .push(entry, |op| {
                    ops += 1;
                    sum += op.n as usize;
                    Ok(())
                })
                .unwrap();
        }
    }
    let taken = clock.monotonic() - start;
    println!(
        "{what}: {:.2} M operations/s ({} raw bytes each, {:.0} ns of {:.0} ns for decoding the slice) [{sum}]",
        ops as f64 / taken.as_secs_f64() / 1e6,
        raw as u64 * rounds / ops,
        decoding.as_nanos() as f64 / ops as f64,
        taken.as_nanos() as f64 / ops as f64,
    );
}

fn main() {
    let clock = SystemClock::new();
    measure("single", &clock, 100_000, single);
    measure("vectored", &clock, 1_000, |i| vectored(i, 100));
}
