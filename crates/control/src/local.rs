//! The control plane as agents in the same process see it.

use std::sync::Arc;

use async_trait::async_trait;
use bygone_agent::fleet::{Conf, ConfCall, Work};
use bygone_base::{OpTime, Result, SyncId, TimelineId};
use bygone_catalog::Id;
use bygone_oplog::uplink::{
    Ack, AgentReport, Hello, PartKey, Session, SessionRef, SyncEnd, SyncPlan, SyncSlice,
    TimelineReason, Uplink,
};
use bytes::Bytes;

use crate::Control;

/// Work and way in of one project's agents.
#[derive(Debug)]
pub struct Local {
    control: Arc<Control>,
    project: Id,
}

impl Local {
    /// For agents of this project.
    pub fn new(control: Arc<Control>, project: Id) -> Arc<Local> {
        Arc::new(Local { control, project })
    }

    fn to(&self, key: &PartKey) -> Result<Arc<dyn Uplink>> {
        self.control.uplink(self.project.as_str(), key)
    }
}

#[async_trait]
impl Conf for Local {
    async fn conf(&self, call: &ConfCall) -> Result<Vec<Work>> {
        self.control.conf_here(&self.project, call).await
    }
}

#[async_trait]
impl Uplink for Local {
    async fn open(&self, hello: Hello) -> Result<Session> {
        self.to(&hello.key)?.open(hello).await
    }

    async fn begin_sync(
        &self,
        session: &SessionRef,
        start: OpTime,
        reason: TimelineReason,
    ) -> Result<(TimelineId, SyncId)> {
        self.to(&session.key)?.begin_sync(session, start, reason).await
    }

    async fn plan_sync(&self, session: &SessionRef, plan: SyncPlan) -> Result<()> {
        self.to(&session.key)?.plan_sync(session, plan).await
    }

    async fn sync_slice(&self, session: &SessionRef, slice: SyncSlice) -> Result<Ack> {
        self.to(&session.key)?.sync_slice(session, slice).await
    }

    async fn end_sync(&self, session: &SessionRef, end: SyncEnd) -> Result<()> {
        self.to(&session.key)?.end_sync(session, end).await
    }

    async fn oplog_slice(&self, session: &SessionRef, slice: Bytes) -> Result<Ack> {
        self.to(&session.key)?.oplog_slice(session, slice).await
    }

    async fn fork(&self, session: &SessionRef, common: OpTime) -> Result<TimelineId> {
        self.to(&session.key)?.fork(session, common).await
    }

    async fn report(&self, session: &SessionRef, report: AgentReport) -> Result<()> {
        self.to(&session.key)?.report(session, report).await
    }
}
