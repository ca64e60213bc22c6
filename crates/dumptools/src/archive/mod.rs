//! The archive: a whole dump as one stream, several collections interleaved.
//!
//! ```text
//! archive = MAGIC header metadata* END block*
//! block   = {db, collection, EOF, CRC} document* END
//! ```
//! All numbers little-endian. A collection's documents come in any number of blocks; its last block has
//! `EOF: true`, no documents, and the CRC-64/XZ of all its documents. The file ends behind the last `END`.

mod read;
mod write;

pub use read::{Event, Reader};
pub use write::Writer;

/// The first four bytes.
pub(crate) const MAGIC: [u8; 4] = [0x6d, 0xe2, 0x99, 0x81];
/// What ends the prelude and every block, in the place of a document's length.
pub(crate) const END: [u8; 4] = [0xff; 4];
/// The version of the format.
pub(crate) const VERSION: &str = "0.1";

/// What the prelude says of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Database; empty for the oplog.
    pub db: String,
    /// Collection; the time-series' name for its buckets.
    pub collection: String,
    /// The text of its metadata file; empty where it has none.
    pub metadata: String,
    /// `collection`, `view`, `timeseries` or nothing. The metadata says the same: restores ask that.
    pub kind: String,
}

/// What stands before the blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prelude {
    /// How many collections are open at once, at most.
    pub concurrent: i32,
    /// Version of the server that was dumped.
    pub server: String,
    /// Version of the tool that dumped.
    pub tool: String,
    /// What is in the archive.
    pub entries: Vec<Entry>,
}

/// The hash of documents that the last block of a collection holds.
#[derive(Debug, Clone)]
pub struct Crc(crc_fast::Digest);

impl Default for Crc {
    fn default() -> Self {
        Crc::new()
    }
}

impl Crc {
    /// Of no documents.
    pub fn new() -> Crc {
        Crc(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Xz))
    }

    /// More documents.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// As the archive holds it.
    pub fn finish(&self) -> i64 {
        self.0.finalize() as i64
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use bygone_restore::raw::{self, Build};
    use proptest::prelude::*;

    use super::*;

    fn prelude() -> Prelude {
        let entry = |coll: &str| Entry {
            db: "d".to_owned(),
            collection: coll.to_owned(),
            metadata: "{}".to_owned(),
            kind: "collection".to_owned(),
        };
        let entries = vec![entry("a"), entry("b")];
        Prelude { concurrent: 4, server: "8.2.0".to_owned(), tool: "x".to_owned(), entries }
    }

    fn archive(order: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        let mut out = writer.prelude(&prelude()).unwrap();
        let mut crcs = [Crc::new(), Crc::new()];
        for (n, which) in order.iter().enumerate() {
            let coll = usize::from(which % 2);
            let doc = rawdoc! {"_id": n as i32, "x": "y".repeat(usize::from(*which) * 40)};
            out.extend(writer.before("d", ["a", "b"][coll]));
            crcs[coll].update(doc.as_bytes());
            out.extend(doc.as_bytes());
        }
        for (coll, crc) in ["a", "b"].into_iter().zip(crcs) {
            out.extend(writer.end("d", coll, crc.finish()));
        }
        out
    }

    fn read_all(bytes: &[u8]) -> bygone_base::Result<[Vec<u8>; 2]> {
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.prelude()?, prelude());
        let mut found = [Vec::new(), Vec::new()];
        for event in reader {
            if let Event::Documents { collection, piece, .. } = event? {
                found[usize::from(collection == "b")].extend_from_slice(&piece.bytes);
            }
        }
        Ok(found)
    }

    #[test]
    fn the_crc_is_the_one_of_xz() {
        let mut crc = Crc::new();
        crc.update(b"123456789");
        assert_eq!(crc.finish() as u64, 0x995d_c9bb_df19_39fa);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_interleaving_comes_back_and_cuts_are_seen(
            order in prop::collection::vec(any::<u8>(), 0..20),
            cut in 1_usize..400,
            flip in any::<prop::sample::Index>(),
        ) {
            let bytes = archive(&order);
            let found = read_all(&bytes).unwrap();
            prop_assert!(!found[0].is_empty() || !order.iter().any(|o| o % 2 == 0));
            let short = &bytes[..bytes.len() - cut.min(bytes.len())];
            if short.len() > 300 {
                prop_assert!(read_all(short).is_err());
            }
            // No flipped bit goes unseen behind the prelude, or it changes nothing that is read.
            let mut bad = bytes.clone();
            let start = writer_start(&bytes);
            if start < bad.len() {
                let at = start + flip.index(bad.len() - start);
                bad[at] ^= 1;
                if let Ok(again) = read_all(&bad) {
                    prop_assert_eq!(again, found);
                }
            }
        }
    }

    fn document(coll: &str, more: bson::RawDocumentBuf) -> Vec<u8> {
        let mut out = Build::new().str("db", "d").str("collection", coll);
        for field in raw::fields(more.as_bytes()) {
            out = out.field(&field.unwrap());
        }
        out.finish()
    }

    /// An archive of `d.a`, `d.b` with what the oldest tools wrote, and `blocks`.
    fn old_archive(blocks: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(rawdoc! {"version": "0.2"}.as_bytes());
        for coll in ["a", "b"] {
            bytes.extend(document(coll, rawdoc! {}));
        }
        bytes.extend(END);
        bytes.extend(blocks.concat());
        bytes
    }

    fn ended(coll: &str, documents: &[u8]) -> Vec<u8> {
        let mut crc = Crc::new();
        crc.update(documents);
        let end = document(coll, rawdoc! {"EOF": true, "CRC": crc.finish()});
        [&document(coll, rawdoc! {}), documents, &END, &end, &END].concat()
    }

    /// What of `d.a` came, and how it ended.
    fn read_old(bytes: &[u8], muted: Option<&str>) -> (usize, Option<String>) {
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.prelude().unwrap().entries.len(), 2);
        if let Some(muted) = muted {
            reader.mute("d", muted);
        }
        let mut count = 0;
        for event in reader {
            match event {
                Ok(Event::Documents { piece, .. }) => count += piece.documents as usize,
                Ok(Event::End { .. }) => {}
                Err(failed) => return (count, Some(failed.to_string())),
            }
        }
        (count, None)
    }

    #[test]
    fn what_old_tools_left_out_is_not_missed() {
        let one = rawdoc! {"_id": 1}.into_bytes();
        let bytes = old_archive(&[ended("a", &one), ended("b", &one)]);
        assert_eq!(read_old(&bytes, None), (2, None));
    }

    #[test]
    fn blocks_that_nobody_listed_are_refused_with_their_place() {
        let one = rawdoc! {"_id": 1}.into_bytes();
        let bytes = old_archive(&[ended("a", &one), ended("c", &one)]);
        let (_, failed) = read_old(&bytes, None);
        let at = old_archive(&[ended("a", &one)]).len();
        let want = format!("at byte {at}: a block of d.c, which the archive does not list");
        assert!(failed.unwrap().contains(&want));
        // Two ends in a row.
        let bytes = old_archive(&[ended("a", &one), END.to_vec()]);
        assert!(read_old(&bytes, None).1.unwrap().contains("a block ends here, but none is open"));
    }

    #[test]
    fn damage_of_what_nobody_wants_is_passed_over() {
        let one = rawdoc! {"_id": 1}.into_bytes();
        let mut bad = ended("b", &one);
        let at = bad.windows(4).position(|w| w == b"_id\0").unwrap() + 4;
        bad[at] ^= 1;
        let bytes = old_archive(&[ended("a", &one), bad]);
        assert!(read_old(&bytes, None).1.unwrap().contains("CRC mismatch"));
        assert_eq!(read_old(&bytes, Some("b")), (2, None));
    }

    #[test]
    fn what_was_read_before_a_failure_comes_first() {
        struct Breaks;
        impl std::io::Read for Breaks {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("no more"))
            }
        }
        use std::io::Read as _;
        let one = rawdoc! {"_id": 1}.into_bytes();
        let bytes = old_archive(&[ended("a", &one), document("b", rawdoc! {}), one.clone()]);
        let mut reader = Reader::new(bytes.chain(Breaks));
        reader.prelude().unwrap();
        let events: Vec<_> = reader.collect();
        let documents = events.iter().filter(|e| matches!(e, Ok(Event::Documents { .. }))).count();
        assert_eq!(documents, 2);
        let failed = events.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(failed.contains(&format!("at byte {}", bytes.len())), "{failed}");
    }

    fn writer_start(bytes: &[u8]) -> usize {
        bytes.windows(4).position(|w| w == END).map_or(bytes.len(), |at| at + 4)
    }
}
