//! The oplog of a member. Only forward tailing reads see no holes; the other
//! reads here ask for entries at or below a majority point that is known.

use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use bygone_base::{Error, OpTime, Result, Ts};

use super::{Batches, SourceResult, cursor::Reading, mongo::MongoMember, scan::timestamp};

/// How long the server waits for new entries before it answers with none.
const AWAIT: Duration = Duration::from_millis(5000);
/// Entries per reply; a reply is at most 16 MiB in any case.
const ENTRIES: u32 = 4000;

fn position(doc: &[u8]) -> Result<OpTime> {
    let bad = || Error::damaged("an oplog entry of the source has no ts");
    let doc = RawDocument::from_bytes(doc).map_err(|_| bad())?;
    let ts = doc.get_timestamp("ts").map_err(|_| bad())?;
    let term = doc.get_i64("t").unwrap_or(-1);
    Ok(OpTime::new(Ts::new(ts.time, ts.increment), term))
}

impl MongoMember {
    pub(super) async fn open_tail(
        &self,
        from: Ts,
        pause: Duration,
    ) -> SourceResult<Box<dyn Batches>> {
        let command = rawdoc! {
            "find": "oplog.rs",
            "filter": { "ts": { "$gte": timestamp(from) } },
            "tailable": true,
            "awaitData": true,
            "batchSize": ENTRIES as i32,
            "readConcern": { "level": "majority" },
        };
        let what = "tailing the oplog";
        let reading = Reading { await_data: Some(AWAIT), pause, ..Reading::plain(what, ENTRIES) };
        Ok(Box::new(self.cursor("local", command, reading).await?))
    }

    async fn one_position(&self, filter: RawDocumentBuf, forward: bool) -> Result<Option<OpTime>> {
        let command = rawdoc! {
            "find": "oplog.rs",
            "filter": filter,
            "sort": { "$natural": if forward { 1 } else { -1 } },
            "projection": { "ts": 1, "t": 1 },
            "limit": 1,
            "readConcern": { "level": "majority" },
        };
        let found = self.documents("local", command, "reading the oplog").await?;
        found.first().map(|doc| position(doc)).transpose()
    }

    pub(super) async fn find_entry_before(
        &self,
        ts: Ts,
        inclusive: bool,
    ) -> Result<Option<OpTime>> {
        let ts = timestamp(ts);
        let range = if inclusive {
            rawdoc! { "$lte": ts }
        } else {
            rawdoc! { "$lt": ts }
        };
        self.one_position(rawdoc! { "ts": range }, false).await
    }

    pub(super) async fn find_entry_at(&self, ts: Ts) -> Result<Option<OpTime>> {
        let ts = timestamp(ts);
        self.one_position(rawdoc! { "ts": { "$gte": ts, "$lte": ts } }, true).await
    }

    pub(super) async fn find_oldest_entry(&self) -> Result<Option<OpTime>> {
        self.one_position(rawdoc! {}, true).await
    }

    pub(super) async fn find_oldest_transaction(&self) -> Result<Option<OpTime>> {
        let command = rawdoc! {
            "find": "transactions",
            "filter": { "state": { "$in": ["prepared", "inProgress"] }, "startOpTime": { "$exists": true } },
            "sort": { "startOpTime": 1 },
            "projection": { "startOpTime": 1 },
            "limit": 1,
            "readConcern": { "level": "majority" },
        };
        let found = self.documents("config", command, "reading config.transactions").await?;
        let Some(doc) = found.first() else { return Ok(None) };
        let bad = || Error::damaged("config.transactions of the source has an unknown startOpTime");
        let doc = RawDocument::from_bytes(doc).map_err(|_| bad())?;
        let start = doc.get_document("startOpTime").map_err(|_| bad())?;
        position(start.as_bytes()).map(Some)
    }
}
