//! What there is to restore, and the door through which documents come.
//!
//! A view of a store implements [`Documents`]; so does a handful of vectors in
//! tests. A stream gives documents in ascending key order, which is the order of `_id` on the server.

use async_trait::async_trait;
use bson::RawDocumentBuf;
use bygone_base::{CollectionId, Result, Ts};
use bytes::Bytes;

use crate::{names::Namespace, version::ServerVersion};

/// Everything that a moment holds.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The moment.
    pub at: Ts,
    /// Where it was backed up from.
    pub source: Source,
    /// All collections, system ones and bucket collections too.
    pub collections: Vec<SourceCollection>,
    /// All views, those of time-series too.
    pub views: Vec<SourceView>,
    /// Operations that are merged with the newest tree on the way.
    pub operations: u64,
}

/// Where a backup comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the replica set.
    pub set: String,
    /// Version of its servers.
    pub version: ServerVersion,
    /// Its feature compatibility version.
    pub fcv: ServerVersion,
}

/// A collection of the source.
#[derive(Debug, Clone)]
pub struct SourceCollection {
    /// Its UUID on the source.
    pub id: CollectionId,
    /// Its name there.
    pub name: Namespace,
    /// Options as listCollections gives them.
    pub options: RawDocumentBuf,
    /// Index specifications as listIndexes gives them.
    pub indexes: Vec<RawDocumentBuf>,
    /// Whether it is capped: its chunks carry positions.
    pub capped: bool,
    /// Documents in the newest tree: an estimate of what comes.
    pub documents: u64,
    /// Bytes of those documents.
    pub bytes: u64,
}

/// A view of the source.
#[derive(Debug, Clone)]
pub struct SourceView {
    /// Its name.
    pub name: Namespace,
    /// The document of system.views: `{_id, viewOn, pipeline, collation?}`.
    pub definition: RawDocumentBuf,
}

/// Where a document entered its capped collection: timestamp and number within it.
pub type Position = (u64, u32);

/// Some documents of a collection, in key order.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// Raw documents, one after the other; at most about a megabyte unless one is larger.
    pub documents: Bytes,
    /// How many they are.
    pub count: u64,
    /// Of a capped collection: one per document.
    pub positions: Option<Vec<Position>>,
}

/// The documents of one collection at the moment.
#[async_trait]
pub trait DocumentStream: Send {
    /// The next documents, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Chunk>>;
}

/// A moment's catalogue and documents.
#[async_trait]
pub trait Documents: Send + Sync {
    /// What there is.
    fn contents(&self) -> &Contents;

    /// Reads a collection from its beginning; may be called again.
    async fn open(&self, collection: CollectionId) -> Result<Box<dyn DocumentStream>>;
}
