//! Prepared transactions, as a sharded cluster makes them, on a replica set
//! (with `enableTestCommands` a set accepts `prepareTransaction` itself).

use bson::{Document, doc};
use bygone_base::Ts;
use mongodb::{Client, ClientSession, error::Result};

use super::{timestamp, ts};

/// A transaction that can be prepared and decided later.
#[derive(Debug)]
pub struct Prepared {
    client: Client,
    session: ClientSession,
}

impl Prepared {
    /// Starts a transaction.
    pub async fn begin(client: &Client) -> Result<Prepared> {
        let mut session = client.start_session().await?;
        session.start_transaction().await?;
        Ok(Prepared { client: client.clone(), session })
    }

    /// Runs a command inside it.
    pub async fn run(&mut self, db: &str, command: Document) -> Result<Document> {
        self.client.database(db).run_command(command).session(&mut self.session).await
    }

    /// Prepares it: from now on it survives elections and restarts, undecided.
    pub async fn prepare(&mut self) -> Result<Ts> {
        let command = doc! {"prepareTransaction": 1, "writeConcern": {"w": "majority"}};
        let reply = self.run("admin", command).await?;
        let at = reply.get_timestamp("prepareTimestamp").expect("prepareTimestamp");
        Ok(ts(at))
    }

    /// Commits it as of `at`, which is the prepare's timestamp or later.
    pub async fn commit(mut self, at: Ts) -> Result<()> {
        let command = doc! {"commitTransaction": 1, "commitTimestamp": timestamp(at)};
        self.run("admin", command).await.map(|_| ())
    }

    /// Aborts it.
    pub async fn abort(mut self) -> Result<()> {
        self.run("admin", doc! {"abortTransaction": 1}).await.map(|_| ())
    }
}
