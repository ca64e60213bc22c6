//! Documents that are in memory: for tests, and to measure the loader alone.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bygone_base::{CollectionId, Result};

use crate::model::{Chunk, Contents, DocumentStream, Documents};

/// A moment whose documents are in memory, in chunks, per collection in key order.
#[derive(Debug, Clone)]
pub struct MemoryDocuments {
    contents: Contents,
    chunks: BTreeMap<CollectionId, Vec<Chunk>>,
}

impl MemoryDocuments {
    /// From what there is; a collection without chunks is empty.
    pub fn new(contents: Contents, chunks: BTreeMap<CollectionId, Vec<Chunk>>) -> Self {
        MemoryDocuments { contents, chunks }
    }
}

struct Chunks(std::vec::IntoIter<Chunk>);

#[async_trait]
impl DocumentStream for Chunks {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        Ok(self.0.next())
    }
}

#[async_trait]
impl Documents for MemoryDocuments {
    fn contents(&self) -> &Contents {
        &self.contents
    }

    async fn open(&self, collection: CollectionId) -> Result<Box<dyn DocumentStream>> {
        // Chunks are references to shared bytes: nothing is copied.
        let chunks = self.chunks.get(&collection).cloned().unwrap_or_default();
        Ok(Box::new(Chunks(chunks.into_iter())))
    }
}
