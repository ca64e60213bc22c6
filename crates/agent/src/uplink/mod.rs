//! The uplink over HTTP/2, for an agent that does not run beside the ingest.
//!
//! One request per call; encodings of `bygone_oplog::uplink::wire`. Nothing is
//! repeated here: what fails for the moment is `Unavailable`, and when to try
//! again is the agent's decision.

mod client;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, time::Duration};

use async_trait::async_trait;
use bygone_base::{OpTime, Result, SyncId, TimelineId};
use bygone_oplog::uplink::{
    Ack, AgentReport, Hello, Session, SessionRef, SyncEnd, SyncPlan, SyncSlice, TimelineReason,
    Uplink, wire,
};
use bytes::Bytes;
use secrecy::SecretString;

use self::client::Client;
use crate::fleet::{self, Conf, ConfCall, Work};

/// Where the ingest is and how to get in.
#[derive(Clone)]
pub struct HttpUplinkOptions {
    /// `https://host:port`, or `http://` on loopback.
    pub url: String,
    /// The agent's token.
    pub token: SecretString,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A call takes at most so long, sending and answer together. The server
    /// gives up earlier by itself when its store does not answer.
    pub timeout: Duration,
}

impl HttpUplinkOptions {
    /// System certificates, 330 s.
    pub fn new(url: impl Into<String>, token: SecretString) -> Self {
        HttpUplinkOptions {
            url: url.into(),
            token,
            ca_file: None,
            timeout: Duration::from_secs(330),
        }
    }
}

impl fmt::Debug for HttpUplinkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpUplinkOptions").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What `GET /status` of a server says: JSON. The token may be empty on loopback.
pub async fn server_status(options: &HttpUplinkOptions) -> Result<String> {
    Client::new(options)?.get("status").await
}

/// An ingest on another host.
#[derive(Debug)]
pub struct HttpUplink {
    client: Client,
}

impl HttpUplink {
    /// Reads the CA file and checks the URL; connects when first used.
    pub fn new(options: &HttpUplinkOptions) -> Result<HttpUplink> {
        Ok(HttpUplink { client: Client::new(options)? })
    }
}

#[async_trait]
impl Conf for HttpUplink {
    async fn conf(&self, call: &ConfCall) -> Result<Vec<Work>> {
        fleet::decode(&self.client.call("conf", fleet::encode(call)?).await?)
    }
}

#[async_trait]
impl Uplink for HttpUplink {
    async fn open(&self, hello: Hello) -> Result<Session> {
        let answer = self.client.call("open", wire::encode_hello(&hello)).await?;
        wire::decode_session(&answer)
    }

    async fn begin_sync(
        &self,
        session: &SessionRef,
        start: OpTime,
        reason: TimelineReason,
    ) -> Result<(TimelineId, SyncId)> {
        let message = wire::BeginSync { session: session.clone(), start, reason };
        let answer = self.client.call("begin-sync", message.encode()).await?;
        wire::decode_sync_begun(&answer)
    }

    async fn plan_sync(&self, session: &SessionRef, plan: SyncPlan) -> Result<()> {
        self.client.call("plan-sync", wire::encode_plan_sync(session, &plan)).await?;
        Ok(())
    }

    async fn sync_slice(&self, session: &SessionRef, slice: SyncSlice) -> Result<Ack> {
        let message = wire::encode_sync_slice(session, &slice);
        // The blocks are in the message now: one copy of them is enough.
        drop(slice);
        wire::decode_ack(&self.client.call("sync-slice", message).await?)
    }

    async fn end_sync(&self, session: &SessionRef, end: SyncEnd) -> Result<()> {
        self.client.call("end-sync", wire::encode_sync_end(session, &end)).await?;
        Ok(())
    }

    async fn oplog_slice(&self, session: &SessionRef, slice: Bytes) -> Result<Ack> {
        let message = wire::encode_oplog_slice(session, &slice);
        drop(slice);
        wire::decode_ack(&self.client.call("oplog-slice", message).await?)
    }

    async fn fork(&self, session: &SessionRef, common: OpTime) -> Result<TimelineId> {
        let message = wire::Fork { session: session.clone(), common };
        wire::decode_fork_reply(&self.client.call("fork", message.encode()).await?)
    }

    async fn report(&self, session: &SessionRef, report: AgentReport) -> Result<()> {
        let message = wire::Report { session: session.clone(), report };
        self.client.call("report", message.encode()).await?;
        Ok(())
    }
}
