//! Transactions: small, large, creating, aborted, prepared.

use bson::{Document, RawDocumentBuf, doc};
use mongodb::{ClientSession, error::Error};

use super::{
    Kind, names,
    run::Runner,
    update,
    values::Oddness,
    world::{Known, Nature},
};
use crate::{Version, server::Prepared};

impl Runner<'_> {
    pub(super) async fn transaction(&mut self, kind: Kind) {
        let Some(known) = self.transactional() else { return };
        let Some(other) = self.transactional() else { return };
        let mut session = match self.client.start_session().await {
            Ok(session) => session,
            Err(error) => {
                self.count(Err::<(), _>(error));
                return;
            }
        };
        let done = self.transaction_body(kind, &mut session, &known, &other).await;
        let done = match done {
            Ok(()) if kind == Kind::AbortedTransaction => session.abort_transaction().await,
            Ok(()) => session.commit_transaction().await,
            Err(error) => {
                // The server has aborted it already; the session must learn that.
                let _ = session.abort_transaction().await;
                Err(error)
            }
        };
        self.count(done);
    }

    async fn transaction_body(
        &mut self,
        kind: Kind,
        session: &mut ClientSession,
        known: &Known,
        other: &Known,
    ) -> Result<(), Error> {
        session.start_transaction().await?;
        let mut commands = self.transaction_commands(known, other);
        match kind {
            Kind::CreatingTransaction => {
                let name = names::collection(self.dice, self.serial());
                let index = doc! {"key": {"n": 1}, "name": "made in a transaction"};
                commands.push((known.db.clone(), doc! {"create": &name}));
                let indexes = doc! {"createIndexes": &name, "indexes": [index]};
                commands.push((known.db.clone(), indexes));
                let insert =
                    doc! {"insert": &name, "documents": [{"_id": 1, "n": self.dice.small()}]};
                commands.push((known.db.clone(), insert));
                for (db, command) in commands {
                    self.client.database(&db).run_command(command).session(&mut *session).await?;
                }
                self.world.add(&known.db, &name, Nature::Plain);
                return Ok(());
            }
            Kind::LargeTransaction => {
                // More than one entry of 16 MB holds, and not so much that the cache is too small.
                for _ in 0..5 {
                    let document = self.large(known, 3_600_000);
                    let collection = self.collection(known);
                    collection.insert_one(document).session(&mut *session).await?;
                }
            }
            _ => {}
        }
        for (db, command) in commands {
            self.client.database(&db).run_command(command).session(&mut *session).await?;
        }
        Ok(())
    }

    /// Prepares a transaction, writes beside it, then commits or aborts it.
    pub(super) async fn prepared_transaction(&mut self) {
        let Some(known) = self.transactional() else { return };
        let Some(other) = self.transactional() else { return };
        let begun = Prepared::begin(self.client).await;
        let Some(mut prepared) = self.count(begun) else { return };
        // It may meet a document that another prepared transaction holds.
        let limit = 5_000 * i64::from(self.version.slowness());
        for (db, mut command) in self.transaction_commands(&known, &other) {
            command.insert("maxTimeMS", limit);
            let done = prepared.run(&db, command).await;
            if self.count(done).is_none() {
                let _ = prepared.abort().await;
                return;
            }
        }
        let at = prepared.prepare().await;
        let Some(at) = self.count(at) else { return };
        // Beside it, in documents that it does not hold.
        let aside: Vec<RawDocumentBuf> =
            (0..3).map(|_| self.fresh(&other, Oddness::Tame)).collect();
        self.insert_command(&other, &aside, true).await;
        let done =
            if self.dice.percent(70) { prepared.commit(at).await } else { prepared.abort().await };
        self.count(done);
    }

    /// A few writes to both collections, also several to one document.
    fn transaction_commands(&mut self, known: &Known, other: &Known) -> Vec<(String, Document)> {
        let documents: Vec<Document> = (0..1 + self.dice.below(5))
            .map(|_| Document::try_from(self.fresh(known, Oddness::Tame)).expect("tame"))
            .collect();
        let again = doc! {"_id": documents[0].get("_id").cloned()};
        let updates = vec![
            doc! {"q": &again, "u": update::operators(self.dice)},
            doc! {"q": {"n": self.dice.small()}, "u": update::pipeline(self.dice), "multi": true},
        ];
        let mut commands = vec![
            (known.db.clone(), doc! {"insert": &known.name, "documents": documents}),
            (known.db.clone(), doc! {"update": &known.name, "updates": updates}),
            (
                other.db.clone(),
                doc! {"delete": &other.name, "deletes": [{"q": {"n": self.dice.small()}, "limit": 1}]},
            ),
        ];
        if self.dice.percent(30) {
            let gone = doc! {"delete": &known.name, "deletes": [{"q": again, "limit": 1}]};
            commands.push((known.db.clone(), gone));
        }
        commands
    }

    /// Transactions never write to capped collections.
    fn transactional(&mut self) -> Option<Known> {
        // A clustered collection takes part only where nothing else is odd about it.
        let clustered = self.version >= Version::V8_2;
        let found = self.world.pick(self.dice, |known| {
            known.nature == Nature::Plain || (clustered && known.nature == Nature::Clustered)
        });
        self.or_skip(found)
    }
}
