//! What the agent needs of a replica set, as a door: the real one speaks to
//! mongod through the driver, the tests have one in memory.

mod batch;
mod cursor;
mod error;
mod hello;
mod listing;
mod mongo;
mod natural;
mod oplog;
mod part;
mod probe;
mod reader;
mod scan;
mod uri;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::RawDocumentBuf;
use bygone_base::{CollectionId, Error, OpTime, PartName, Result, Ts};
use bygone_oplog::filter::Filter;

pub use batch::{Batch, Docs};
pub use error::{Fault, SourceError, SourceResult};
pub use hello::{MemberInfo, MemberState, NodeKind};
pub use mongo::MongoSource;
pub use natural::NaturalScan;
pub use reader::{Lasting, Reader};
pub use uri::{SourceUri, UriParts, parts as uri_parts};

/// A replica set.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// The set for people: hosts without credentials.
    fn location(&self) -> String;

    /// Every member that answers now. An error when none does.
    async fn survey(&self) -> Result<Vec<MemberInfo>>;

    /// A direct connection to one member.
    async fn connect(&self, host: &str) -> Result<Arc<dyn Member>>;

    /// Writes a no-op into the oplog through the primary, so that an idle set
    /// advances. `Denied` when not permitted.
    async fn note(&self) -> Result<()>;
}

/// The name of the replica set that a source is.
///
/// # Errors
/// Unsupported: it is something else, or not initiated.
pub async fn set_name(source: &dyn Source) -> Result<PartName> {
    let members = source.survey().await?;
    for member in &members {
        crate::member::refuse(member)?;
    }
    let set = members.iter().find_map(|m| m.set.clone()).ok_or_else(|| {
        Error::unsupported(format!("{} is not in a replica set", source.location()))
            .hint("initiate the set first: rs.initiate()")
    })?;
    set.parse()
}

/// One member of the set. All data is read with majority read concern.
#[async_trait]
pub trait Member: Send + Sync + fmt::Debug {
    /// `host:port` as the set names it.
    fn host(&self) -> &str;

    /// Its state and positions now.
    async fn describe(&self) -> Result<MemberInfo>;

    /// Refuses what cannot be backed up (shards, versions not known) and says
    /// which privilege is missing.
    async fn check(&self) -> Result<Server>;

    /// The rollback id: another value means that it rolled back in between.
    async fn rbid(&self) -> Result<i64>;

    /// Waits until reads with majority read concern show everything up to `ts`.
    async fn reach(&self, ts: Ts) -> Result<()>;

    /// What it holds, as far as `filter` covers it.
    async fn catalogue(&self, filter: &Filter) -> Result<Listing>;

    /// Size by the collection's metadata: an estimate that can be wrong, for
    /// planning only, never to decide that a collection is empty.
    async fn size(&self, db: &str, coll: &str) -> Result<CollectionSize>;

    /// About `n` `{_id: x}` documents spread over the collection, in no order.
    async fn sample(
        &self,
        db: &str,
        coll: &str,
        size: CollectionSize,
        n: u32,
    ) -> Result<Vec<Vec<u8>>>;

    /// Starts a scan. `Fault::Gone` when there is no such collection.
    async fn scan(&self, scan: &Scan) -> SourceResult<Box<dyn Batches>>;

    /// Entries of the oplog at and after `from`, forward, waiting for more.
    async fn tail(&self, from: Ts, pause: Duration) -> SourceResult<Box<dyn Batches>>;

    /// Position of the first entry of the oldest transaction that is prepared
    /// or in progress.
    async fn oldest_transaction(&self) -> Result<Option<OpTime>>;

    /// The newest entry before `ts` (at most `ts` when `inclusive`).
    async fn entry_before(&self, ts: Ts, inclusive: bool) -> Result<Option<OpTime>>;

    /// The entry at exactly `ts`.
    async fn entry_at(&self, ts: Ts) -> Result<Option<OpTime>>;

    /// The oldest entry of the oplog.
    async fn oldest_entry(&self) -> Result<Option<OpTime>>;
}

/// A running cursor.
#[async_trait]
pub trait Batches: Send {
    /// The next batch, `None` at the end of a scan (a tail never ends; its
    /// batches may be empty). Cancel-safe: nothing is lost when dropped.
    async fn next(&mut self) -> SourceResult<Option<Batch>>;
}

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `8.2.0`
    pub version: String,
    /// Feature compatibility version, `8.2`.
    pub fcv: String,
    /// What the members of its set have in common, and no other set has: the UUID of `admin.system.version`.
    pub identity: Option<CollectionId>,
}

impl Server {
    /// The major version; 0 when it cannot be read.
    pub fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

/// What the metadata says about a collection's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectionSize {
    /// Documents.
    pub docs: u64,
    /// Uncompressed bytes of all documents.
    pub bytes: u64,
}

/// Collections and views of the source at one time.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Real collections, buckets of time series among them.
    pub collections: Vec<SourceCollection>,
    /// Documents of `system.views`, put together again.
    pub views: Vec<RawDocumentBuf>,
}

/// One collection as the source lists it.
#[derive(Debug, Clone)]
pub struct SourceCollection {
    /// Its UUID.
    pub id: CollectionId,
    /// Database.
    pub db: String,
    /// Name without the database.
    pub name: String,
    /// `options` of listCollections.
    pub options: RawDocumentBuf,
    /// Finished indexes, without `ns`.
    pub indexes: Vec<RawDocumentBuf>,
}

/// In which order a collection is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanBy {
    /// By the `_id` index with `min` and `max`.
    IdIndex,
    /// By `_id` with predicates: buckets before 6.0, whose ids are ObjectIds
    /// and whose clustered index takes no hint there.
    IdPredicate,
    /// Natural order, from the beginning only.
    Natural,
}

/// A scan of one range of one collection.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The collection, found by UUID whatever its name is now.
    pub coll: CollectionId,
    /// Database that it was listed in (UUIDs are looked up per database).
    pub db: String,
    /// Order.
    pub by: ScanBy,
    /// `{_id: x}`, inclusive.
    pub min: Option<Vec<u8>>,
    /// `{_id: x}`, exclusive.
    pub max: Option<Vec<u8>>,
    /// Nothing older than this is read.
    pub after: Ts,
    /// Documents per batch.
    pub batch: u32,
}
