//! Archives put together by hand: as old tools wrote them, cut, damaged, or in an order of their own.

use bson::RawDocumentBuf;
use bygone_restore::raw::Build;

const MAGIC: [u8; 4] = [0x6d, 0xe2, 0x99, 0x81];
pub const END: [u8; 4] = [0xff; 4];

/// CRC-64/XZ, bit by bit.
pub fn crc(bytes: &[u8]) -> i64 {
    let step = |crc: u64| if crc & 1 == 1 { (crc >> 1) ^ 0xc96c_5795_d787_0f42 } else { crc >> 1 };
    let crc =
        bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u64::from(*byte), |crc, _| step(crc)));
    !crc as i64
}

pub fn bytes(documents: &[RawDocumentBuf]) -> Vec<u8> {
    documents.iter().flat_map(|d| d.as_bytes().to_vec()).collect()
}

fn name(db: &str, coll: &str) -> Build {
    Build::new().str("db", db).str("collection", coll)
}

/// A prelude as the oldest tools wrote it, or, where there is metadata, with that.
pub fn prelude(entries: &[(&str, &str, Option<&str>)]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(Build::new().str("version", "0.2").finish());
    for (db, coll, metadata) in entries {
        let entry = name(db, coll);
        let entry = metadata.map_or(entry.clone(), |text| entry.str("metadata", text));
        out.extend(entry.finish());
    }
    out.extend(END);
    out
}

/// A block of documents; its header says no more than it must.
pub fn block(db: &str, coll: &str, documents: &[RawDocumentBuf]) -> Vec<u8> {
    [name(db, coll).bool("EOF", false).finish(), bytes(documents), END.to_vec()].concat()
}

/// The end of a collection that has had these documents.
pub fn end(db: &str, coll: &str, documents: &[RawDocumentBuf]) -> Vec<u8> {
    let crc = crc(&bytes(documents)).to_le_bytes();
    let header = name(db, coll).bool("EOF", true).element(0x12, b"CRC", &crc).finish();
    [header, END.to_vec()].concat()
}

/// All of a collection.
pub fn whole(db: &str, coll: &str, documents: &[RawDocumentBuf]) -> Vec<u8> {
    [block(db, coll, documents), end(db, coll, documents)].concat()
}
