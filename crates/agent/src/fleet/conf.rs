//! What an agent process and its server say to each other beside the data: the conf call, as JSON.

use std::fmt;

use async_trait::async_trait;
use bygone_base::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// An agent process asks for its work. (Ops Manager's conf call.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfCall {
    /// Random id of the process.
    pub agent: String,
    /// Its host, for people.
    pub host: String,
    /// Its version.
    pub version: String,
    /// How it fares with what it was given.
    pub found: Vec<Found>,
    /// It stops now: others may take over at once.
    pub leaving: bool,
}

/// How it fares with one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The job's id.
    pub job: String,
    /// The replica set that the source is.
    pub set: Option<String>,
    /// Why it cannot be served, in a line.
    pub problem: Option<String>,
    /// How many of the asked-for initial syncs were begun with.
    pub resync: u64,
    /// How often in a row it could not be served.
    #[serde(default)]
    pub failures: u32,
}

/// A job that the process is to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The job's id.
    pub job: String,
    /// Its name in the stores.
    pub name: String,
    /// The replica set, once it is known. Without, it is only looked up and told.
    pub set: Option<String>,
    /// Where to read.
    pub uri: Hidden,
    /// Only these namespaces.
    pub include: Vec<String>,
    /// All but these.
    pub exclude: Vec<String>,
    /// `host:port` to read from.
    pub member: Option<String>,
    /// `NAME=VALUE` of the members to read from.
    pub member_tag: Option<String>,
    /// Bytes of documents per second in an initial sync.
    pub throttle: Option<u64>,
    /// Ranges copied at once.
    pub workers: u32,
    /// Counts the new initial syncs asked for.
    pub resync: u64,
    /// How many of them were begun with, by whichever agent.
    pub resync_done: u64,
    /// Why the daemon needs one, while it does.
    pub reason: Option<String>,
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who hands out work.
#[async_trait]
pub trait Conf: Send + Sync + fmt::Debug {
    /// Tells how it goes; gives everything that is to be served from now on.
    async fn conf(&self, call: &ConfCall) -> Result<Vec<Work>>;
}

/// As it is sent.
///
/// # Errors
/// Internal: it cannot be written as JSON.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(message)
        .map_err(|e| Error::internal("a conf call cannot be written").source(e))
}

/// As it was received.
///
/// # Errors
/// Usage: it is none.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::usage(format!("this is no conf call: {e}")))
}
