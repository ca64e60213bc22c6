//! What every part of an agent is given.

use std::sync::Arc;

use bygone_base::{Clock, Rng};
use bygone_oplog::uplink::{AgentReport, SessionRef, Uplink};

use crate::{options::AgentOptions, progress::Tracker, source::Source};

/// The doors and the options of one agent.
pub(crate) struct Env {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) uplink: Arc<dyn Uplink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) options: AgentOptions,
    pub(crate) progress: Tracker,
}

impl Env {
    /// Tells ingest how it goes. A report that is lost is not missed.
    pub(crate) async fn report(&self, session: &SessionRef) {
        let p = self.progress.now();
        let report = AgentReport {
            phase: p.phase.as_str().to_owned(),
            member: p.member,
            message: p.message.unwrap_or_default(),
            collections_done: p.collections_done,
            collections_total: p.collections,
            documents: p.documents,
            bytes: p.bytes,
            bytes_total: p.bytes_total,
            bytes_per_second: p.bytes_per_second,
            entries: p.entries,
            sent: p.sent,
            chain: p.chain,
            source: bygone_base::OpTime::new(p.newest, p.chain.term),
            at: self.clock.now(),
        };
        if let Err(error) = self.uplink.report(session, report).await {
            tracing::debug!(%error, "report not delivered");
        }
    }
}
