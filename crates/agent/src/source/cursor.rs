//! A cursor polled by a task of its own, one reply ahead of its reader.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::RawDocumentBuf;
use bygone_base::{Clock, Error};
use futures::StreamExt as _;
use mongodb::{options::CursorType, raw_batch_cursor::RawBatchCursor};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Batch, Batches, SourceResult, error::from_driver, mongo::MongoMember};

/// How long one getMore may take.
const REPLY: Duration = Duration::from_secs(120);
/// A reply below this size counts as small: the tail then waits a little, so
/// that it does not take the writers' time for every entry.
const SMALL: usize = 256 << 10;

/// How a cursor is read.
pub(super) struct Reading {
    pub(super) what: &'static str,
    pub(super) batch: u32,
    /// Tails wait on the server for this long.
    pub(super) await_data: Option<Duration>,
    pub(super) pause: Duration,
    /// How long one reply may take.
    pub(super) limit: Duration,
}

impl Reading {
    pub(super) fn plain(what: &'static str, batch: u32) -> Self {
        let (pause, limit) = (Duration::ZERO, REPLY);
        Reading { what, batch, await_data: None, pause, limit }
    }
}

/// At most three replies are held: one with the reader, one in the channel,
/// one in the task.
pub(super) struct Pumped {
    replies: mpsc::Receiver<SourceResult<Batch>>,
    what: &'static str,
    task: JoinSet<()>,
}

#[async_trait]
impl Batches for Pumped {
    async fn next(&mut self) -> SourceResult<Option<Batch>> {
        match self.replies.recv().await {
            Some(reply) => reply.map(Some),
            // A task that died has not come to the cursor's end.
            None => match self.task.join_next().await {
                Some(Err(died)) => {
                    let message = format!("{}: what reads the cursor died", self.what);
                    Err(Error::internal(message).source(died).into())
                }
                Some(Ok(())) | None => Ok(None),
            },
        }
    }
}

impl MongoMember {
    /// Runs a cursor command and starts to read ahead.
    pub(super) async fn cursor(
        &self,
        db: &str,
        command: RawDocumentBuf,
        reading: Reading,
    ) -> SourceResult<Pumped> {
        let db = self.client.database(db);
        let mut run = db.run_raw_cursor_command(command).batch_size(reading.batch);
        if let Some(wait) = reading.await_data {
            run = run.cursor_type(CursorType::TailableAwait).max_time(wait);
        }
        if let Some(select) = self.select.clone() {
            run = run.selection_criteria(select);
        }
        let opened = tokio::select! {
            opened = run.batch() => opened,
            () = self.clock.sleep(reading.limit) => {
                return Err(self.too_slow(reading.what, reading.limit));
            }
        };
        let cursor = opened.map_err(|e| from_driver(reading.what, &self.host, &e))?;
        let (tx, replies) = mpsc::channel(1);
        let (mut task, what) = (JoinSet::new(), reading.what);
        task.spawn(pump(self.clone(), cursor, reading, tx));
        Ok(Pumped { replies, what, task })
    }

    /// All documents of a small cursor.
    pub(super) async fn documents(
        &self,
        db: &str,
        command: RawDocumentBuf,
        what: &'static str,
    ) -> SourceResult<Vec<Vec<u8>>> {
        let mut cursor = self.cursor(db, command, Reading::plain(what, 1000)).await?;
        let mut docs = Vec::new();
        while let Some(batch) = cursor.next().await? {
            docs.extend(batch.docs().map(<[u8]>::to_vec));
        }
        Ok(docs)
    }
}

async fn pump(
    member: MongoMember,
    mut cursor: RawBatchCursor,
    reading: Reading,
    replies: mpsc::Sender<SourceResult<Batch>>,
) {
    let clock: &Arc<dyn Clock> = &member.clock;
    loop {
        let next = tokio::select! {
            next = cursor.next() => next,
            () = clock.sleep(reading.limit) => {
                let late = member.too_slow(reading.what, reading.limit);
                let _ = replies.send(Err(late)).await;
                return;
            }
        };
        let Some(reply) = next else { return };
        let batch = reply
            .map_err(|e| from_driver(reading.what, &member.host, &e))
            .and_then(|raw| Ok(Batch::from_driver(raw)?));
        let small = batch.as_ref().is_ok_and(|batch| batch.bytes() < SMALL);
        let failed = batch.is_err();
        if replies.send(batch).await.is_err() || failed {
            return;
        }
        if small && !reading.pause.is_zero() {
            clock.sleep(reading.pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_dies_is_not_an_end() {
        for dies in [false, true] {
            let (sender, replies) = mpsc::channel(1);
            let mut task = JoinSet::new();
            task.spawn(async move {
                let _open = sender;
                assert!(!dies, "as a bug would");
            });
            let mut pumped = Pumped { replies, what: "dump", task };
            assert_eq!(pumped.next().await.is_err(), dies);
        }
    }
}
