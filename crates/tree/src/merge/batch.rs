//! Documents on their way out of a merge.

use crate::leaf::Position;

/// Bytes of documents at which a batch is handed on.
const FULL: usize = 1 << 20;

/// Where one document of a batch ends, and its key.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    end: usize,
    key_end: usize,
    /// Its position, in a capped collection.
    pub position: Position,
}

/// Documents one after the other, with their keys.
#[derive(Debug, Default)]
pub struct DocsBatch {
    docs: Vec<u8>,
    keys: Vec<u8>,
    items: Vec<Item>,
}

impl DocsBatch {
    /// Number of documents.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The documents one after the other, raw BSON.
    pub fn docs_bytes(&self) -> &[u8] {
        &self.docs
    }

    /// The buffer of [`DocsBatch::docs_bytes`].
    pub fn into_docs(self) -> Vec<u8> {
        self.docs
    }

    /// Each document's place.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Each document: key, raw BSON, position.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], Position)> {
        let mut from = (0, 0);
        self.items.iter().map(move |item| {
            let (key, doc) = (&self.keys[from.1..item.key_end], &self.docs[from.0..item.end]);
            from = (item.end, item.key_end);
            (key, doc, item.position)
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.docs.len() >= FULL
    }

    pub(super) fn push(&mut self, key: &[u8], doc: &[u8], position: Position) {
        if self.docs.is_empty() {
            // All at once: a buffer that doubles copies every byte once more.
            self.docs.reserve(FULL + doc.len());
        }
        self.docs.extend_from_slice(doc);
        self.keys.extend_from_slice(key);
        self.items.push(Item { end: self.docs.len(), key_end: self.keys.len(), position });
    }
}
