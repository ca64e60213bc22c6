//! Who may call, and what lies behind.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bygone_base::{Error, ErrorKind, Result};
use bygone_oplog::uplink::{PartKey, Uplink};

use super::Tokens;
use crate::Ingest;

/// An agent that has proven itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For logs.
    pub name: String,
    /// What it may touch: a project's id, or empty.
    pub scope: String,
}

/// What the service asks before it lets a call through.
#[async_trait]
pub trait Gate: fmt::Debug + Send + Sync {
    /// The agent whose token this is. Takes the same time for every wrong one.
    async fn caller(&self, token: &[u8]) -> Result<Option<Caller>>;

    /// Where the calls for a part go.
    ///
    /// # Errors
    /// `NotFound`: it is none of the caller's. `Unavailable`: not yet.
    async fn uplink(&self, caller: &Caller, key: &PartKey) -> Result<Arc<dyn Uplink>>;

    /// Answers an agent that asks for its work; both are JSON.
    ///
    /// # Errors
    /// `NotFound`: there is nobody here who hands out work.
    async fn conf(&self, caller: &Caller, call: &[u8]) -> Result<Vec<u8>>;
}

/// One ingest behind fixed tokens.
#[derive(Debug)]
pub struct Fixed {
    tokens: Tokens,
    ingest: Arc<Ingest>,
}

impl Fixed {
    /// Whoever has one of the tokens may send to the ingest.
    pub fn new(tokens: Tokens, ingest: Arc<Ingest>) -> Arc<Fixed> {
        Arc::new(Fixed { tokens, ingest })
    }
}

#[async_trait]
impl Gate for Fixed {
    async fn caller(&self, token: &[u8]) -> Result<Option<Caller>> {
        let name = self.tokens.check(token);
        Ok(name.map(|name| Caller { name: name.to_owned(), scope: String::new() }))
    }

    async fn uplink(&self, _: &Caller, _: &PartKey) -> Result<Arc<dyn Uplink>> {
        Ok(Arc::<Ingest>::clone(&self.ingest))
    }

    async fn conf(&self, _: &Caller, _: &[u8]) -> Result<Vec<u8>> {
        Err(Error::new(ErrorKind::NotFound, "this server hands out no work")
            .hint("start the agent with `bygone up`, or a server with `bygone server`"))
    }
}
