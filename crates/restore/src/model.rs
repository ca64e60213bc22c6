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
    /// Whether it is capped: then the order of its documents counts.
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

/// Some documents of a collection.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// Raw documents, one after the other; at most about a megabyte unless one is larger.
    pub documents: Bytes,
    /// How many they are.
    pub count: u64,
}

/// The documents of one collection at the moment.
#[async_trait]
pub trait DocumentStream: Send {
    /// The next documents, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Chunk>>;
}

/// The documents of a capped collection in the order in which they entered it.
pub struct InOrder {
    /// How many they are.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Chunks of at most 64 MB, or one document.
    pub stream: Box<dyn DocumentStream>,
}

/// A moment's catalogue and documents.
#[async_trait]
pub trait Documents: Send + Sync {
    /// What there is.
    fn contents(&self) -> &Contents;

    /// Reads a collection in key order from its beginning; may be called again.
    async fn open(&self, collection: CollectionId) -> Result<Box<dyn DocumentStream>>;

    /// Reads a capped collection in its own order, without what the source had dropped.
    async fn open_in_order(&self, collection: CollectionId) -> Result<InOrder>;
}
