//! How long the hot paths take, in nanoseconds per call (best of several rounds).
//! Run with `cargo run --release -p bygone-document --example document_speed`.

use std::{hint::black_box, io::Write as _, time::Duration};

use bson::{Bson, Document, doc, oid::ObjectId};
use bygone_base::{Clock, SystemClock};
use bygone_document::{Doc, apply, id_key, id_key_into, validate};

const ROUNDS: usize = 9;
const CALLS: u32 = 100_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let order = order_document(ObjectId::from_bytes([7; 12]).into(), 13).to_vec()?;
    let kilobyte = order_document(ObjectId::from_bytes([7; 12]).into(), 31).to_vec()?;
    let fields = Doc::new(&order)?.elements().count();
    let diff = doc! {"$v": 2, "diff": {"u": {"qty": 77}}}.to_vec()?;
    let nested = doc! {"$v": 2, "diff": {"saddress": {"u": {"zip": "54321"}}}}.to_vec()?;
    let set = doc! {"$v": 1, "$set": {"qty": 77}}.to_vec()?;
    let mut out = Vec::new();

    report(&format!("id_key_into, ObjectId, document of {} B", order.len()), || {
        out.clear();
        let _ = black_box(id_key_into(black_box(&order), &mut out));
    })?;
    report("id_key (own allocation), ObjectId", || {
        let _ = black_box(id_key(black_box(&order)));
    })?;
    let ids: [(&str, Bson); 6] = [
        ("int", 123_456.into()),
        ("long 1234567890123456789", 1_234_567_890_123_456_789_i64.into()),
        ("double 123456.0", 123_456.0.into()),
        ("double 1234.5678", 1234.5678.into()),
        ("decimal 0.1", Bson::Decimal128("0.1".parse()?)),
        ("string of 20", "abcdefghijklmnopqrst".into()),
    ];
    for (name, id) in ids {
        let bytes = order_document(id, 13).to_vec()?;
        report(&format!("id_key_into, {name}"), || {
            out.clear();
            let _ = black_box(id_key_into(black_box(&bytes), &mut out));
        })?;
    }
    report(&format!("walk {fields} elements of {} B", order.len()), || {
        if let Ok(doc) = Doc::new(black_box(&order)) {
            let names = doc.elements().flatten().map(|element| element.name().len());
            black_box(names.sum::<usize>());
        }
    })?;
    report(&format!("validate {} B", order.len()), || {
        let _ = black_box(validate(black_box(&order)));
    })?;
    for (name, o) in [("$v:2, one field", diff), ("$v:2, nested", nested), ("$v:1, one", set)] {
        report(&format!("apply {name}, {} B", kilobyte.len()), || {
            out.clear();
            let _ = black_box(apply(black_box(&kilobyte), &o, &mut out));
        })?;
    }
    Ok(())
}

/// A document as shops store them; `words` sizes it.
fn order_document(id: Bson, words: usize) -> Document {
    doc! {
        "_id": id, "customer": "C-0012345", "status": "shipped", "qty": 3, "price": 19.99,
        "created": bson::DateTime::from_millis(1_795_170_600_000), "express": true,
        "address": {"street": "1 High Street", "city": "Springfield", "zip": "12345", "country": "US"},
        "items": [{"sku": "A1", "n": 1}, {"sku": "B2", "n": 2}, {"sku": "C3", "n": 3}],
        "tags": ["a", "b", "c"], "total": 59.97, "version": 7_i64,
        "note": "lorem ipsum dolor ".repeat(words), "checked": Bson::Null,
    }
}

fn report(what: &str, mut call: impl FnMut()) -> Result<(), Failure> {
    let clock = SystemClock::new();
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = clock.monotonic();
        for _ in 0..CALLS {
            call();
        }
        best = best.min(clock.monotonic().saturating_sub(start));
    }
    let nanos = best.as_nanos() as f64 / f64::from(CALLS);
    writeln!(std::io::stdout().lock(), "{nanos:9.1} ns  {what}")?;
    Ok(())
}
