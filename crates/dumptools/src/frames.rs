//! Documents that stand one behind the other in a file or a pipe, taken in pieces of an eighth of a megabyte that hold
//! whole ones.

use std::io::Read;

use bygone_base::{Error, Result};
use bytes::Bytes;

/// Bytes read at once: fits a processor's cache.
const PIECE: usize = 128 << 10;

/// Some whole documents.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The documents, one behind the other.
    pub bytes: Bytes,
    /// How many they are.
    pub documents: u64,
}

/// Cuts a stream of bytes between documents.
#[derive(Debug)]
pub struct Frames<R> {
    input: R,
    /// What was read and not yet given out.
    buffer: Vec<u8>,
    /// Where in the input `buffer` begins.
    at: u64,
    /// The largest document, in bytes.
    max: usize,
    /// Whether each document must end with a zero byte.
    closed: bool,
    ended: bool,
    failed: Option<Error>,
}

impl<R: Read> Iterator for Frames<R> {
    type Item = Result<Piece>;

    /// Fails when a read does, and Damaged when a length is wrong or the input ends inside a document; then it ends.
    fn next(&mut self) -> Option<Result<Piece>> {
        let next = self.step().transpose();
        if let Some(Err(_)) = next {
            self.ended = true;
            self.buffer.clear();
        }
        next
    }
}

impl<R: Read> Frames<R> {
    /// Documents of at most `max` bytes. `closed`: each must end with its zero byte.
    pub fn new(input: R, max: usize, closed: bool) -> Self {
        let buffer = Vec::with_capacity(PIECE);
        Frames { input, buffer, at: 0, max, closed, ended: false, failed: None }
    }

    /// The next documents; those before a damaged place come before its error.
    fn step(&mut self) -> Result<Option<Piece>> {
        let mut wanted = PIECE;
        loop {
            self.fill(wanted.saturating_sub(self.buffer.len()));
            let (documents, end, needed) = self.scan();
            if end > 0 {
                return Ok(Some(self.take(documents, end)));
            }
            if let Some(failed) = self.failed.take() {
                return Err(failed);
            }
            if self.ended {
                return Ok(None);
            }
            // One document larger than a piece.
            wanted = needed.max(self.buffer.len() + 1);
        }
    }

    /// Reads more. Where that fails, what came before is still whole.
    fn fill(&mut self, bytes: usize) {
        if self.ended || self.failed.is_some() || bytes == 0 {
            return;
        }
        self.buffer.reserve(bytes);
        let read = (&mut self.input).take(bytes as u64).read_to_end(&mut self.buffer);
        match read {
            Ok(read) => self.ended = read < bytes,
            Err(error) => {
                let at = self.at + self.buffer.len() as u64;
                self.fail(Error::io(format!("error reading data at byte {at}"), error));
            }
        }
    }

    /// The first failure counts.
    fn fail(&mut self, failed: Error) {
        self.failed.get_or_insert(failed);
    }

    fn take(&mut self, documents: u64, end: usize) -> Piece {
        let rest = self.buffer.get(end..).unwrap_or_default();
        let mut next = Vec::with_capacity(PIECE.max(rest.len()));
        next.extend_from_slice(rest);
        let mut piece = std::mem::replace(&mut self.buffer, next);
        piece.truncate(end);
        self.at += end as u64;
        Piece { bytes: piece.into(), documents }
    }

    /// Counts whole documents in the buffer: how many, where they end, how many bytes the next one needs.
    fn scan(&mut self) -> (u64, usize, usize) {
        let (mut documents, mut end) = (0, 0);
        loop {
            let rest = self.buffer.get(end..).unwrap_or_default();
            let Some(length) = rest.first_chunk::<4>().map(|b| i32::from_le_bytes(*b)) else {
                if self.ended && !rest.is_empty() {
                    self.fail(self.cut_short(end));
                }
                return (documents, end, 4);
            };
            let length = match usize::try_from(length) {
                Ok(length) if (5..=self.max).contains(&length) => length,
                _ => {
                    self.fail(self.bad_size(length, end));
                    return (documents, end, 4);
                }
            };
            let Some(document) = rest.get(..length) else {
                if self.ended {
                    self.fail(self.cut_short(end));
                }
                return (documents, end, length);
            };
            if self.closed && document.last() != Some(&0) {
                let at = self.at + end as u64;
                self.fail(Error::damaged(format!(
                    "invalid BSON: the document at byte {at} does not end with a zero byte"
                )));
                return (documents, end, length);
            }
            documents += 1;
            end += length;
        }
    }

    fn cut_short(&self, end: usize) -> Error {
        let at = self.at + end as u64;
        Error::damaged(format!("unexpected EOF: the data ends inside the document at byte {at}"))
    }

    fn bad_size(&self, length: i32, end: usize) -> Error {
        let at = self.at + end as u64;
        let bound = if length < 5 {
            "less than 5 bytes".to_owned()
        } else {
            format!("larger than maximum of {} bytes", self.max)
        };
        Error::damaged(format!("invalid BSONSize: {length} bytes is {bound} (at byte {at})"))
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8], max: usize) -> (Vec<u8>, u64, Option<Error>) {
        let (mut data, mut count) = (Vec::new(), 0);
        for piece in Frames::new(bytes, max, true) {
            match piece {
                Ok(piece) => {
                    data.extend_from_slice(&piece.bytes);
                    count += piece.documents;
                }
                Err(failed) => return (data, count, Some(failed)),
            }
        }
        (data, count, None)
    }

    /// As a compressed file without its last bytes does.
    struct Breaks;

    impl Read for Breaks {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::UnexpectedEof.into())
        }
    }

    #[test]
    fn what_was_read_before_a_failure_comes_first() {
        let one = rawdoc! {"x": "y".repeat(400_000)}.into_bytes();
        for cut in [0, 1] {
            let two = [&one[..], &one[..one.len() - cut]].concat();
            let mut frames = Frames::new(two.chain(Breaks), 16 << 20, true);
            let mut count = 0;
            let failed = loop {
                match frames.next() {
                    Some(Ok(piece)) => count += piece.documents as usize,
                    Some(Err(failed)) => break failed.to_string(),
                    None => panic!("no failure"),
                }
            };
            assert_eq!(count, 2 - cut);
            assert!(failed.contains(&format!("at byte {}", two.len())), "{failed}");
            assert!(frames.next().is_none());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn all_documents_come_and_damage_is_told(
            sizes in prop::collection::vec(prop_oneof![
                20 => 0_usize..3000, 1 => 900_000_usize..2_500_000], 0..12),
            cut in 1_usize..5,
        ) {
            let docs = sizes.iter().map(|n| rawdoc! {"x": "y".repeat(*n)}.as_bytes().to_vec());
            let docs: Vec<_> = docs.collect();
            let stream = docs.concat();
            let (data, count, failed) = all(&stream, 16 << 20);
            prop_assert!(failed.is_none());
            prop_assert_eq!(count as usize, docs.len());
            prop_assert_eq!(&data, &stream);
            if let Some((_, before)) = docs.split_last() {
                let (data, count, failed) = all(&stream[..stream.len() - cut], 16 << 20);
                prop_assert!(failed.is_some());
                prop_assert_eq!(count as usize, before.len());
                prop_assert_eq!(data, before.concat());
            }
        }

        #[test]
        fn no_bytes_make_it_panic_or_run_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let (data, _, failed) = all(&bytes, 64);
            prop_assert!(failed.is_some() || data == bytes);
        }
    }
}
