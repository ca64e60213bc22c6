//! Insert commands cut out of streams of raw documents.
//!
//! A batch holds slices of the chunks that documents came in; the command's body is
//! put together for each attempt: one copy, nothing is decoded.

use bson::RawDocumentBuf;
use bygone_base::{Error, Result};
use bytes::Bytes;

use crate::{
    names::Namespace,
    raw::{self, Build, kind},
};

/// Documents of one command: more do not make it faster (measured up to 5000).
const MAX_DOCUMENTS: usize = 1000;
/// Bytes of documents of one command, unless one document is larger: small
/// enough for the processor's cache, which copies of it pass through.
const MAX_BYTES: usize = 2 << 20;

/// The part of an insert command before its documents.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// Length field, elements; no terminator.
    bytes: Vec<u8>,
    unacknowledged: bool,
}

impl Head {
    /// Inserts into `coll`, in order or not. Documents that the validator would
    /// refuse go in; a top-level Timestamp(0,0) stays where the server can do that.
    pub(crate) fn new(coll: &Namespace, ordered: bool, keep_zero_timestamps: bool) -> Head {
        let concern = Build::new().str("w", "majority").finish();
        Head::with(coll, ordered, keep_zero_timestamps, true, &concern)
    }

    /// The same with another write concern, and with or without the validator.
    pub(crate) fn with(
        coll: &Namespace,
        ordered: bool,
        keep_zero_timestamps: bool,
        bypass_validation: bool,
        write_concern: &[u8],
    ) -> Head {
        let mut build = Build::new().str("insert", &coll.coll).bool("ordered", ordered);
        if bypass_validation {
            build = build.bool("bypassDocumentValidation", true);
        }
        if keep_zero_timestamps {
            build = build.bool("bypassEmptyTsReplacement", true);
        }
        let mut bytes = build.doc("writeConcern", write_concern).finish();
        bytes.pop();
        let w = raw::get(write_concern, "w").and_then(|w| w.number());
        Head { bytes, unacknowledged: w == Some(0.0) }
    }

    /// The command itself, whose documents come beside it.
    pub(crate) fn command(&self, db: &str) -> Vec<u8> {
        let mut build = Build::of(self.bytes.clone());
        build = build.str("$db", db);
        build.finish()
    }

    /// Whether nobody waits for the insert.
    pub(crate) fn is_unacknowledged(&self) -> bool {
        self.unacknowledged
    }
}

/// The documents of one insert command.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    slices: Vec<Bytes>,
    /// How many documents.
    pub documents: usize,
    /// Bytes of the documents.
    pub bytes: usize,
    /// Bytes of the chunks that they came in, which stay in memory as long as a part of them does.
    held: usize,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.documents == 0
    }

    /// The documents in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<&[u8]>> {
        self.slices.iter().flat_map(|slice| raw::split(slice))
    }

    /// The documents behind the first `skip`, one behind the other.
    pub(crate) fn parts(&self, skip: usize) -> Result<Vec<&[u8]>> {
        let mut bytes = 0;
        for document in self.iter().take(skip) {
            bytes += document?.len();
        }
        let mut parts = Vec::with_capacity(self.slices.len());
        for slice in &self.slices {
            let (gone, left) = slice.split_at(bytes.min(slice.len()));
            bytes -= gone.len();
            if !left.is_empty() {
                parts.push(left);
            }
        }
        Ok(parts)
    }

    /// The command in one, for the driver, without the first `skip` documents.
    pub(crate) fn body(&self, head: &Head, skip: usize) -> Result<RawDocumentBuf> {
        let capacity = head.bytes.len() + self.bytes + self.documents * 8 + 32;
        let mut body = Vec::with_capacity(capacity);
        body.extend_from_slice(&head.bytes);
        body.push(kind::ARRAY);
        body.extend_from_slice(b"documents\0");
        let array = body.len();
        body.extend_from_slice(&[0; 4]);
        let mut index = Decimal::new();
        for document in self.iter().skip(skip) {
            body.push(kind::DOCUMENT);
            body.extend_from_slice(index.text());
            body.push(0);
            body.extend_from_slice(document?);
            index.increment();
        }
        body.push(0);
        set_length(&mut body, array)?;
        body.push(0);
        set_length(&mut body, 0)?;
        RawDocumentBuf::from_bytes(body).map_err(|e| Error::internal("build an insert").source(e))
    }
}

/// Writes the length of what starts `at` and goes to the end.
fn set_length(body: &mut [u8], at: usize) -> Result<()> {
    let length = i32::try_from(body.len() - at)
        .map_err(|_| Error::internal("an insert command is larger than 2 GiB"))?;
    if let Some(field) = body.get_mut(at..at + 4) {
        field.copy_from_slice(&length.to_le_bytes());
    }
    Ok(())
}

/// A number as text that is counted up in place.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn new() -> Self {
        Decimal { digits: [b'0'; 20], start: 19 }
    }

    fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }

    fn increment(&mut self) {
        let mut at = self.digits.len() - 1;
        while at > 0 && self.digits[at] == b'9' {
            self.digits[at] = b'0';
            at -= 1;
        }
        self.digits[at] += 1;
        self.start = self.start.min(at);
    }
}

/// Cuts chunks into batches.
#[derive(Debug)]
pub struct Cutter {
    open: Batch,
    max_documents: usize,
}

impl Default for Cutter {
    fn default() -> Self {
        Cutter::new(MAX_DOCUMENTS)
    }
}

impl Cutter {
    /// Batches of at most so many documents.
    pub fn new(max_documents: usize) -> Cutter {
        Cutter { open: Batch::default(), max_documents: max_documents.max(1) }
    }

    /// Takes documents that lie one after the other; gives the batches that are full.
    ///
    /// # Errors
    /// Damaged: a document's length is wrong.
    pub fn push(&mut self, documents: &Bytes) -> Result<Vec<Batch>> {
        let mut full = Vec::new();
        let (mut start, mut end) = (0, 0);
        for document in raw::split(documents) {
            let length = document?.len();
            let open = &self.open;
            if !open.is_empty()
                && (open.documents >= self.max_documents || open.bytes + length > MAX_BYTES)
            {
                self.keep(documents, start, end);
                start = end;
                full.push(std::mem::take(&mut self.open));
            }
            self.open.documents += 1;
            self.open.bytes += length;
            end += length;
        }
        self.keep(documents, start, end);
        Ok(full)
    }

    fn keep(&mut self, documents: &Bytes, start: usize, end: usize) {
        if start < end {
            self.open.slices.push(documents.slice(start..end));
            self.open.held += documents.len();
        }
    }

    /// Bytes that the batch which is not full keeps in memory.
    pub fn held(&self) -> usize {
        self.open.held
    }

    /// What there is, though it is not full.
    pub fn flush(&mut self) -> Option<Batch> {
        (!self.open.is_empty()).then(|| std::mem::take(&mut self.open))
    }

    /// What is left.
    pub fn finish(mut self) -> Option<Batch> {
        self.flush()
    }
}

/// Whether servers without `bypassEmptyTsReplacement` would change the document:
/// a top-level Timestamp(0,0) elsewhere than in `_id` becomes the current time.
pub(crate) fn has_zero_timestamp(document: &[u8]) -> bool {
    raw::fields(document)
        .map_while(Result::ok)
        .any(|f| f.kind == kind::TIMESTAMP && f.value == [0; 8] && f.name != b"_id")
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc, rawdoc};
    use proptest::prelude::*;

    use super::*;

    fn stream(sizes: &[usize]) -> Bytes {
        let one = |(i, n): (usize, &usize)| {
            rawdoc! {"_id": i as i64, "x": "y".repeat(*n)}.as_bytes().to_vec()
        };
        sizes.iter().enumerate().flat_map(one).collect::<Vec<_>>().into()
    }

    #[test]
    fn a_body_is_the_command() {
        let documents = stream(&[1, 2]);
        let mut cutter = Cutter::default();
        assert!(cutter.push(&documents).unwrap().is_empty());
        let batch = cutter.finish().unwrap();
        let head = Head::new(&Namespace::new("a", "b"), false, true);
        let body: Document = batch.body(&head, 0).unwrap().try_into().unwrap();
        assert_eq!(
            body,
            doc! {"insert": "b", "ordered": false, "bypassDocumentValidation": true,
            "bypassEmptyTsReplacement": true, "writeConcern": {"w": "majority"},
            "documents": [{"_id": 0_i64, "x": "y"}, {"_id": 1_i64, "x": "yy"}]}
        );
        let rest: Document = batch.body(&head, 1).unwrap().try_into().unwrap();
        assert_eq!(rest.get_array("documents").unwrap().len(), 1);
        let command: Document =
            RawDocumentBuf::from_bytes(head.command("a")).unwrap().try_into().unwrap();
        assert_eq!(
            command,
            doc! {"insert": "b", "ordered": false, "bypassDocumentValidation": true,
            "bypassEmptyTsReplacement": true, "writeConcern": {"w": "majority"}, "$db": "a"}
        );
    }

    #[test]
    fn a_part_of_a_chunk_holds_all_of_it() {
        let chunk = stream(&[100_000; 30]);
        let mut cutter = Cutter::default();
        let full = cutter.push(&chunk).unwrap();
        assert_eq!((full.len(), cutter.held()), (1, chunk.len()));
        let rest = cutter.flush().unwrap();
        assert_eq!((full[0].documents + rest.documents, cutter.held()), (30, 0));
        assert!(cutter.finish().is_none());
    }

    #[test]
    fn array_names_count_up() {
        let mut decimal = Decimal::new();
        for n in 0..12_000 {
            assert_eq!(decimal.text(), n.to_string().as_bytes());
            decimal.increment();
        }
    }

    #[test]
    fn zero_timestamps_are_seen_at_the_top_only() {
        let zero = bson::Timestamp { time: 0, increment: 0 };
        assert!(has_zero_timestamp(rawdoc! {"_id": 1, "t": zero}.as_bytes()));
        assert!(!has_zero_timestamp(rawdoc! {"_id": zero, "a": {"t": zero}}.as_bytes()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn batches_hold_all_documents_in_order_within_limits(
            chunks in prop::collection::vec(prop::collection::vec(prop_oneof![
                20 => 0_usize..200, 1 => 500_000_usize..3_000_000
            ], 0..300), 0..6),
        ) {
            let chunks: Vec<_> = chunks.iter().map(|sizes| stream(sizes)).collect();
            let mut cutter = Cutter::default();
            let mut batches = Vec::new();
            for chunk in &chunks {
                batches.extend(cutter.push(chunk).unwrap());
            }
            batches.extend(cutter.finish());
            let mut all = Vec::new();
            for batch in &batches {
                let documents: Vec<_> = batch.iter().map(|d| d.unwrap()).collect();
                prop_assert_eq!(documents.len(), batch.documents);
                prop_assert!(batch.documents <= MAX_DOCUMENTS);
                prop_assert!(batch.bytes <= MAX_BYTES || batch.documents == 1);
                prop_assert_eq!(documents.iter().map(|d| d.len()).sum::<usize>(), batch.bytes);
                all.extend(documents.concat());
                for skip in [0, 1, documents.len() / 2, documents.len()] {
                    prop_assert_eq!(batch.parts(skip).unwrap().concat(), documents[skip..].concat());
                }
            }
            prop_assert_eq!(all, chunks.concat());
        }
    }
}
