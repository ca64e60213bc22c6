//! The key range of one leaf while it is merged.

use bygone_base::{CollectionId, Error, Result};
use bygone_document::id_key_into;
use bytes::Bytes;

use super::DocsBatch;
use crate::{
    leaf::{Leaf, Position},
    range::{KeyRange, below},
    resolve::Window,
};

/// A leaf's documents not yet passed, those of the range only.
pub(super) struct Region {
    pub(super) range: KeyRange,
    pub(super) window: Window,
    leaf: Option<Leaf>,
    docs: Bytes,
    /// Place of the head document, and its end once its key is known.
    at: usize,
    end: usize,
    index: usize,
    key: Vec<u8>,
}

impl Region {
    /// Before the first document of `leaf` within `range`.
    pub(super) fn new(leaf: Option<Leaf>, range: KeyRange, window: Window) -> Self {
        let docs = leaf.as_ref().map(Leaf::docs_bytes).unwrap_or_default();
        Region { range, window, leaf, docs, at: 0, end: 0, index: 0, key: Vec::new() }
    }

    /// Finds the head document's key; false at the end.
    fn peek(&mut self, coll: CollectionId) -> Result<bool> {
        while self.end == self.at {
            let rest = &self.docs[self.at..];
            let Some(doc) = crate::leaf::Docs::over(rest).next() else { return Ok(false) };
            let last = std::mem::take(&mut self.key);
            self.key.reserve(last.len());
            id_key_into(doc, &mut self.key)
                .map_err(|error| Error::from(error).within(format!("collection {coll}")))?;
            if self.index > 0 && self.key <= last {
                return Err(Error::damaged(format!(
                    "collection {coll}: the documents of a leaf do not ascend"
                )));
            }
            self.end = self.at + doc.len();
            if self.key[..] < self.range.from[..] {
                self.pass_doc();
            }
        }
        Ok(below(&self.key, self.range.to.as_deref()))
    }

    /// Goes past the head document.
    pub(super) fn pass_doc(&mut self) {
        self.at = self.end;
        self.index += 1;
    }

    fn position(&self) -> Position {
        self.leaf.as_ref().and_then(|leaf| leaf.position(self.index)).unwrap_or_default()
    }

    /// Copies documents with keys below `bound`; false when the batch became full before that.
    pub(super) fn copy_below(
        &mut self,
        bound: Option<&[u8]>,
        batch: &mut DocsBatch,
        coll: CollectionId,
    ) -> Result<bool> {
        while self.peek(coll)? && below(&self.key, bound) {
            if batch.is_full() {
                return Ok(false);
            }
            batch.push(&self.key, &self.docs[self.at..self.end], self.position());
            self.pass_doc();
        }
        Ok(true)
    }

    /// The head document, when its key is `key`; `copy_below` was called before.
    pub(super) fn doc_of(&self, key: &[u8]) -> Option<(Bytes, Position)> {
        let is_head = self.end > self.at && self.key == key;
        is_head.then(|| (self.docs.slice(self.at..self.end), self.position()))
    }
}
