//! Runs one operation and sorts what comes back.

use bson::{Document, RawDocumentBuf, doc};
use mongodb::{
    Client, Collection, Database,
    error::{Error, ErrorKind, RETRYABLE_WRITE_ERROR},
};

use super::{
    Dice, Kind,
    values::{Oddness, Raw, Value},
    world::{Known, World},
};
use crate::Version;

/// How often operations of a kind were done and refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The server did it.
    pub done: u64,
    /// The server refused it, or some of it.
    pub refused: u64,
    /// There was nothing to do it to.
    pub skipped: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.done += other.done;
        self.refused += other.refused;
        self.skipped += other.skipped;
    }
}

/// What became of one operation.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    tally: Tally,
    /// The error that was no answer of the server: a lost connection, no primary.
    pub(super) lost: Option<Error>,
}

impl Outcome {
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }
}

/// One operation at work.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    pub(super) client: &'a Client,
    pub(super) version: Version,
    pub(super) dice: &'a mut Dice,
    pub(super) world: &'a mut World,
    /// Members may be down.
    pub(super) tolerant: bool,
    outcome: Outcome,
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        client: &'a Client,
        version: Version,
        dice: &'a mut Dice,
        world: &'a mut World,
        tolerant: bool,
    ) -> Runner<'a> {
        Runner { client, version, dice, world, tolerant, outcome: Outcome::default() }
    }

    pub(super) fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }

    pub(super) async fn perform(&mut self, kind: Kind) {
        use Kind as K;
        match kind {
            K::InsertOne
            | K::InsertMany
            | K::InsertUnordered
            | K::InsertCommand
            | K::InsertLarge => {
                self.insert(kind).await;
            }
            K::UpdateOne | K::UpdateMany | K::UpdatePipeline | K::Replace | K::Upsert => {
                self.update(kind).await;
            }
            K::FindAndModify => self.find_and_modify().await,
            K::DeleteOne | K::DeleteMany => self.delete(kind).await,
            K::BulkWrite => self.bulk_write().await,
            K::Renumber => self.renumber().await,
            K::MoveFields => self.move_fields().await,
            K::ApplyOps => self.apply_ops().await,
            K::Note => {
                let note = doc! {"appendOplogNote": 1, "data": {"n": self.dice.small()}};
                self.admin(note).await;
            }
            K::Transaction
            | K::AbortedTransaction
            | K::CreatingTransaction
            | K::LargeTransaction => {
                self.transaction(kind).await;
            }
            K::PreparedTransaction => self.prepared_transaction().await,
            K::CreateIndexes => self.create_indexes().await,
            K::DropIndexes => self.drop_indexes().await,
            K::ModifyIndex => self.modify_index().await,
            K::Measure => self.measure().await,
            K::ChangeMeasurements => self.change_measurements().await,
            K::Account => self.account().await,
            _ => self.ddl(kind).await,
        }
    }

    /// A collection to write ordinary documents to.
    pub(super) fn writable(&mut self) -> Option<Known> {
        let capped = self.capped_keeps_step();
        self.pick_writable(capped)
    }

    /// The same for an insert that the server has no reason to refuse.
    pub(super) fn insertable(&mut self) -> Option<Known> {
        self.pick_writable(true)
    }

    fn pick_writable(&mut self, capped: bool) -> Option<Known> {
        use super::world::Nature;
        let found = self.world.pick(self.dice, |known| match known.nature {
            Nature::Plain | Nature::Clustered => true,
            Nature::Capped => capped,
            _ => false,
        });
        self.or_skip(found)
    }

    /// Below 5.0 a refused insert (a duplicate) makes room in a capped collection all the same, and nothing
    /// tells: neither the oplog nor another member.
    pub(super) fn capped_keeps_step(&self) -> bool {
        self.version >= Version::V5_0
    }

    /// Counts as skipped when there is nothing to work on.
    pub(super) fn or_skip<T>(&mut self, found: Option<T>) -> Option<T> {
        if found.is_none() {
            self.outcome.tally.skipped += 1;
        }
        found
    }

    /// A number that no other name of this workload has: taken from the dice, so that it is reproducible.
    pub(super) fn serial(&self) -> u64 {
        self.dice.any() >> 20
    }

    /// A fresh document as raw bytes with its `{_id: ..}`, remembered as written.
    pub(super) fn fresh(&mut self, known: &Known, oddness: Oddness) -> RawDocumentBuf {
        let id = match known.nature {
            super::world::Nature::Capped if !self.capped_keeps_step() => {
                super::values::new_id(self.dice)
            }
            _ => super::values::id(self.dice, self.serial()),
        };
        self.remember(known, &id);
        raw(super::values::document(self.dice, &id, oddness))
    }

    /// Remembers that a document with this `_id` was written.
    pub(super) fn remember(&mut self, known: &Known, id: &Value) {
        self.world.remember(known, Raw::new().put(b"_id", id).bytes(), self.dice);
    }

    /// A filter that finds one document written lately, or some.
    pub(super) fn filter(&mut self, known: &Known) -> Document {
        let by_id = !known.ids.is_empty() && self.dice.percent(60);
        let id = by_id.then(|| Document::try_from(raw(self.dice.pick(&known.ids).clone())));
        match id {
            Some(Ok(id)) => doc! {"_id": {"$eq": id.get("_id").cloned()}},
            _ => doc! {"n": {"$gte": self.dice.small()}},
        }
    }

    /// The collection's handle.
    pub(super) fn collection(&self, known: &Known) -> Collection<RawDocumentBuf> {
        self.database(known).collection(&known.name)
    }

    /// The database's handle.
    pub(super) fn database(&self, known: &Known) -> Database {
        known.database(self.client)
    }

    /// Runs a command and counts what comes back.
    pub(super) async fn command(&mut self, db: &str, command: Document) -> Option<Document> {
        let reply = self.client.database(db).run_command(command).await;
        self.reply(reply)
    }

    /// Runs a raw command and counts what comes back.
    pub(super) async fn raw_command(
        &mut self,
        db: &str,
        command: RawDocumentBuf,
    ) -> Option<Document> {
        let reply = self.client.database(db).run_raw_command(command).await;
        self.reply(reply)
    }

    /// Runs a command on `admin`.
    pub(super) async fn admin(&mut self, command: Document) -> Option<Document> {
        self.command("admin", command).await
    }

    /// Counts a command's answer, where single writes may have failed in an answer that is `ok`.
    pub(super) fn reply(&mut self, reply: Result<Document, Error>) -> Option<Document> {
        let failed = reply.as_ref().is_ok_and(|reply| reply.contains_key("writeErrors"));
        let reply = self.count(reply);
        if failed {
            self.outcome.tally.done -= 1;
            self.outcome.tally.refused += 1;
        }
        reply
    }

    /// Counts an answer.
    pub(super) fn count<T>(&mut self, answer: Result<T, Error>) -> Option<T> {
        match answer {
            Ok(value) => {
                self.outcome.tally.done += 1;
                Some(value)
            }
            Err(error) => {
                self.outcome.tally.refused += 1;
                if is_lost(&error) {
                    self.outcome.lost = Some(error);
                }
                None
            }
        }
    }
}

/// Whether an error is the connection's rather than an answer of the server.
fn is_lost(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Io(_)
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. } => true,
        // Not writable primary, shutting down, stepped down, network time-out and the like.
        ErrorKind::Command(command) => {
            matches!(
                command.code,
                6 | 7 | 89 | 91 | 189 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436
            )
        }
        _ => error.contains_label(RETRYABLE_WRITE_ERROR),
    }
}

/// Bytes that this module built as a raw document.
pub(super) fn raw(bytes: Vec<u8>) -> RawDocumentBuf {
    RawDocumentBuf::from_bytes(bytes).expect("a well-formed document")
}
