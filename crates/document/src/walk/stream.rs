//! Documents one behind the other, and whole-document validation.

use super::{Doc, length_at};
use crate::{Error, MAX_DEPTH, MAX_DOCUMENT, Result};

/// Iterator over concatenated documents; made by [`split_stream`].
#[derive(Debug, Clone)]
pub struct SplitStream<'a> {
    rest: &'a [u8],
}

/// Splits documents that stand one behind the other, as in dump files, slices
/// and batches. A document longer than [`MAX_DOCUMENT`] is an error; after an
/// error the iterator ends. Only the frames are checked.
pub fn split_stream(bytes: &[u8]) -> SplitStream<'_> {
    SplitStream { rest: bytes }
}

impl<'a> SplitStream<'a> {
    /// The bytes not yet returned.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for SplitStream<'a> {
    type Item = Result<Doc<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let next = match length_at(self.rest, 0) {
            Some(len) if len > MAX_DOCUMENT => Err(Error::TooLarge { len }),
            _ => Doc::prefix(self.rest),
        };
        match next {
            Ok((doc, rest)) => {
                self.rest = rest;
                Some(Ok(doc))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Walks a document on all its levels: every frame, every value, at most
/// [`MAX_DEPTH`] levels.
pub fn validate(bytes: &[u8]) -> Result<()> {
    level(Doc::new(bytes)?, MAX_DEPTH)
}

fn level(doc: Doc<'_>, depth: usize) -> Result<()> {
    let below = depth.checked_sub(1).ok_or(Error::TooDeep)?;
    for element in doc.elements() {
        if let Some(inner) = element?.nested() {
            level(inner, below)?;
        }
    }
    Ok(())
}
