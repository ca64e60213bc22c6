//! Hashes of what was loaded, for the proof.

use md5::{Digest as _, Md5};

use crate::{plan::Method, raw};

/// A hash that does not depend on the order of documents: the sum of their
/// BLAKE3 hashes as four numbers, each modulo 2^64, and their count. It tells damage,
/// not forgery, as does the server's MD5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SetHash {
    sums: [u64; 4],
    count: u64,
}

impl SetHash {
    pub(crate) fn add(&mut self, document: &[u8]) {
        let hash = blake3::hash(document);
        for (sum, lane) in self.sums.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            let lane = lane.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
            *sum = sum.wrapping_add(lane);
        }
        self.count += 1;
    }

    fn text(&self) -> String {
        let sums = self.sums.iter().flat_map(|sum| sum.to_be_bytes());
        let mut hash = Md5::new();
        hash.update(sums.collect::<Vec<_>>());
        hash.update(self.count.to_be_bytes());
        hex::encode(hash.finalize())
    }
}

/// A hash of a stream of documents, by the method that will be compared.
#[derive(Debug, Clone)]
pub(crate) enum StreamHash {
    /// The server's: MD5 of the documents one after the other.
    Sequence(Box<Md5>),
    /// Whatever the order.
    Set(SetHash),
}

impl StreamHash {
    pub(crate) fn new(method: Method) -> StreamHash {
        match method {
            Method::ReadAny => StreamHash::Set(SetHash::default()),
            _ => StreamHash::Sequence(Box::new(Md5::new())),
        }
    }

    /// Takes documents that lie one after the other.
    pub(crate) fn update(&mut self, documents: &[u8]) {
        match self {
            StreamHash::Sequence(hash) => hash.update(documents),
            StreamHash::Set(set) => {
                raw::split(documents).map_while(Result::ok).for_each(|d| set.add(d));
            }
        }
    }

    /// 32 hex digits.
    pub(crate) fn finish(self) -> String {
        match self {
            StreamHash::Sequence(hash) => hex::encode(hash.finalize()),
            StreamHash::Set(set) => set.text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn hash(method: Method, documents: &[bson::RawDocumentBuf]) -> String {
        let mut hash = StreamHash::new(method);
        documents.iter().for_each(|d| hash.update(d.as_bytes()));
        hash.finish()
    }

    #[test]
    fn the_empty_hash_is_the_servers() {
        assert_eq!(hash(Method::DbHash, &[]), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn a_set_has_no_order_but_counts() {
        let (a, b) = (rawdoc! {"_id": 1}, rawdoc! {"_id": 2});
        let of = |documents: &[bson::RawDocumentBuf]| hash(Method::ReadAny, documents);
        assert_eq!(of(&[a.clone(), b.clone()]), of(&[b.clone(), a.clone()]));
        assert_ne!(of(&[a.clone(), b.clone()]), of(&[a.clone(), a.clone()]));
        let one = of(std::slice::from_ref(&a));
        assert_ne!(one, of(&[a, b]));
    }
}
