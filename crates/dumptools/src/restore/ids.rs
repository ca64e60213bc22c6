//! An `_id` for documents that have none, as drivers and servers give it: an insert whose reply was lost can only be
//! repeated when what was inserted is known again.

use bygone_base::{Result, Rng, SystemRng, UnixMillis};
use bygone_restore::raw;
use bytes::Bytes;

/// ObjectIds of one process: the second of its start, random bytes, a number.
#[derive(Debug)]
pub(super) struct Ids {
    prefix: [u8; 9],
    next: u32,
}

impl Ids {
    /// Ids of a process that starts `now`.
    pub(super) fn new(now: UnixMillis) -> Ids {
        let mut random = [0; 8];
        SystemRng.fill(&mut random);
        let [a, b, c, d, e, next @ ..] = random;
        let seconds = u32::try_from(now.0.div_euclid(1000)).unwrap_or_default().to_be_bytes();
        let [s, t, u, v] = seconds;
        Ids {
            prefix: [s, t, u, v, a, b, c, d, e],
            next: u32::from_be_bytes([0, next[0], next[1], next[2]]),
        }
    }

    fn element(&mut self) -> Vec<u8> {
        let [_, number @ ..] = self.next.to_be_bytes();
        self.next = self.next.wrapping_add(1);
        if self.next.trailing_zeros() >= 24 {
            // The numbers are used up: the seconds go on, as if time had.
            let [s, t, u, v, ..] = self.prefix;
            let seconds = u32::from_be_bytes([s, t, u, v]).wrapping_add(1).to_be_bytes();
            self.prefix[..4].copy_from_slice(&seconds);
        }
        [&b"\x07_id\0"[..], &self.prefix, &number].concat()
    }

    /// The documents, each with an `_id`: those that have none get one as their first field.
    pub(super) fn given(&mut self, documents: &Bytes) -> Result<Bytes> {
        let mut lacking = false;
        for document in raw::split(documents) {
            lacking |= lacks_id(document?);
        }
        if !lacking {
            return Ok(documents.clone());
        }
        let mut out = Vec::with_capacity(documents.len() + 1024);
        for document in raw::split(documents) {
            let document = document?;
            let Some(rest) = document.get(4..).filter(|_| lacks_id(document)) else {
                out.extend_from_slice(document);
                continue;
            };
            let id = self.element();
            let length = u32::try_from(document.len() + id.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&id);
            out.extend_from_slice(rest);
        }
        Ok(out.into())
    }
}

/// Whether a document has no `_id`; of one that is no BSON nobody knows.
fn lacks_id(document: &[u8]) -> bool {
    for field in raw::fields(document) {
        match field {
            Ok(field) if field.name == b"_id" => return false,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bson::{Document, rawdoc};

    use super::*;

    #[test]
    fn documents_without_an_id_get_different_ones() {
        let mut ids = Ids::new(UnixMillis(1_700_000_000_000));
        // Numbers end and begin anew on the way.
        ids.next = 0x00ff_fffe;
        let with = rawdoc! {"a": 1, "_id": 7}.into_bytes();
        let without = rawdoc! {"a": 1}.into_bytes();
        let same: Bytes = [&with[..], &with].concat().into();
        assert_eq!(ids.given(&same).unwrap().as_ptr(), same.as_ptr());
        let mixed: Bytes = [&without[..], &with, &without, &without, &without].concat().into();
        let given = ids.given(&mixed).unwrap();
        let documents: Vec<Document> =
            raw::split(&given).map(|d| Document::from_reader(d.unwrap()).unwrap()).collect();
        assert_eq!(documents[1], Document::from_reader(&with[..]).unwrap());
        let made: BTreeSet<_> =
            documents.iter().filter_map(|d| d.get_object_id("_id").ok()).collect();
        assert_eq!(made.len(), 4);
        for document in documents.iter().filter(|d| d.get_object_id("_id").is_ok()) {
            assert_eq!(document.keys().collect::<Vec<_>>(), ["_id", "a"]);
        }
    }
}
