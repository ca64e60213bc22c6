//! A server read through any client, for dumps: the cursors of a backup's source, without its demands on
//! read concern and on knowing the member.

use std::{sync::Arc, time::Duration};

use bson::{Document, RawDocumentBuf};
use bygone_base::{Clock, Result};
use mongodb::{Client, options::SelectionCriteria};

use super::{Batches, CollectionSize, SourceResult, cursor::Reading, mongo::MongoMember};

/// A reply to a query without an index may take as long as it takes.
const PATIENT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Commands and cursors of one client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    member: MongoMember,
    select: Option<SelectionCriteria>,
}

impl Reader {
    /// Reads through `client`; `shown` names the server in errors.
    pub fn new(client: Client, shown: String, clock: Arc<dyn Clock>) -> Reader {
        Reader { member: MongoMember { host: shown, client, clock }, select: None }
    }

    /// Reads from members that `select` allows.
    #[must_use]
    pub fn select(mut self, select: SelectionCriteria) -> Reader {
        self.select = Some(select);
        self
    }

    fn reading(&self, what: &'static str, batch: u32) -> Reading {
        let select = self.select.clone();
        Reading { limit: PATIENT, select, ..Reading::plain(what, batch) }
    }

    /// A command whose reply is small, sent to the primary.
    pub async fn command(
        &self,
        db: &str,
        command: Document,
        what: &'static str,
    ) -> SourceResult<Document> {
        self.member.command(db, command, what).await
    }

    /// All documents of a small cursor.
    pub async fn documents(
        &self,
        db: &str,
        command: RawDocumentBuf,
        what: &'static str,
    ) -> SourceResult<Vec<Vec<u8>>> {
        let mut cursor = self.member.cursor(db, command, self.reading(what, 1000)).await?;
        let mut docs = Vec::new();
        while let Some(batch) = super::Batches::next(&mut cursor).await? {
            docs.extend(batch.docs().map(<[u8]>::to_vec));
        }
        Ok(docs)
    }

    /// Starts to read a cursor, one reply ahead; `batch` documents per reply after the first.
    pub async fn open(
        &self,
        db: &str,
        command: RawDocumentBuf,
        batch: u32,
        what: &'static str,
    ) -> SourceResult<Box<dyn Batches>> {
        Ok(Box::new(self.member.cursor(db, command, self.reading(what, batch)).await?))
    }

    /// Size by the collection's metadata: an estimate.
    pub async fn size(&self, db: &str, coll: &str) -> Result<CollectionSize> {
        self.member.coll_size(db, coll).await
    }
}
