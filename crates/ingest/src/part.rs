//! What ingest knows about one part between calls. All of it comes from the
//! store and may be thrown away at any time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bygone_base::{Epoch, OpTime, TimelineId, UnixMillis};
use bygone_oplog::uplink::{AgentReport, PartKey};

use crate::{feed::Feed, files::Files, history::History};

/// One part. Locks are taken in the order of the fields.
#[derive(Debug)]
pub(crate) struct Part {
    pub key: PartKey,
    pub files: Files,
    /// Held by everything that changes the history: append, fork, begin, open,
    /// so that these come one after the other.
    pub order: tokio::sync::Mutex<()>,
    /// Held for moments only.
    pub live: tokio::sync::Mutex<Option<Live>>,
    pub feed: Feed,
    pub status: Mutex<Option<PartStatus>>,
}

impl Part {
    pub(crate) fn new(key: PartKey, files: Files) -> Self {
        Part {
            key,
            files,
            order: tokio::sync::Mutex::new(()),
            live: tokio::sync::Mutex::new(None),
            feed: Feed::default(),
            status: Mutex::new(None),
        }
    }

    pub(crate) fn set_status(&self, change: impl FnOnce(&mut PartStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(status.get_or_insert_with(PartStatus::default));
    }

    pub(crate) fn status(&self) -> Option<PartStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The session that may write, and the history it writes to.
#[derive(Debug)]
pub(crate) struct Live {
    pub epoch: Epoch,
    /// Instance id of the agent; empty when the session was taken over from
    /// the store (this process did not see it being opened).
    pub agent: String,
    /// For messages: agent and host.
    pub holder: String,
    /// When the agent was last heard from (monotonic).
    pub heard: Duration,
    /// When the store was last seen to have no higher epoch (monotonic).
    pub checked: Duration,
    /// When the history was last known to be what the store has (monotonic).
    /// Another process may serve the same session.
    pub confirmed: Duration,
    pub history: Arc<History>,
}

/// What `bygone status` shows of a part, as far as ingest knows.
#[derive(Debug, Clone, Default)]
pub struct PartStatus {
    /// Agent and host of the newest session.
    pub holder: String,
    /// Its epoch.
    pub epoch: Epoch,
    /// The timeline being written.
    pub timeline: TimelineId,
    /// The end of the durable chain.
    pub chain: OpTime,
    /// When the agent was last heard from, by our clock.
    pub heard: UnixMillis,
    /// What the agent last said about itself.
    pub report: Option<AgentReport>,
}
