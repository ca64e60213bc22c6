//! Documents that are in memory: for tests, and to measure the loader alone.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bygone_base::{CollectionId, Result};

use crate::model::{Chunk, Contents, DocumentStream, Documents, InOrder};

/// A moment whose documents are in memory, in chunks, per collection in key order, or in its own if it is capped.
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

    async fn open_in_order(&self, collection: CollectionId) -> Result<InOrder> {
        let chunks = self.chunks.get(&collection).map(Vec::as_slice).unwrap_or_default();
        let documents = chunks.iter().map(|chunk| chunk.count).sum();
        let bytes = chunks.iter().map(|chunk| chunk.documents.len() as u64).sum();
        Ok(InOrder { documents, bytes, stream: self.open(collection).await? })
    }
}
