//! The uplink in process: what agents call when they run beside the ingest, and
//! what the HTTP service calls for those that do not.

use async_trait::async_trait;
use bygone_base::{OpTime, Result, SyncId, TimelineId};
use bygone_oplog::uplink::{
    Ack, AgentReport, Hello, Session, SessionRef, SyncEnd, SyncPlan, SyncSlice, TimelineReason,
    Uplink,
};
use bytes::Bytes;

use crate::Ingest;

#[async_trait]
impl Uplink for Ingest {
    async fn open(&self, hello: Hello) -> Result<Session> {
        let _open = self.admit().await?;
        self.open_session(hello).await
    }

    async fn begin_sync(
        &self,
        session: &SessionRef,
        start: OpTime,
        reason: TimelineReason,
    ) -> Result<(TimelineId, SyncId)> {
        let _open = self.admit().await?;
        self.open_sync(session, start, reason).await
    }

    async fn plan_sync(&self, session: &SessionRef, plan: SyncPlan) -> Result<()> {
        let _open = self.admit().await?;
        self.store_plan(session, plan).await
    }

    async fn sync_slice(&self, session: &SessionRef, slice: SyncSlice) -> Result<Ack> {
        let _open = self.admit().await?;
        self.store_sync_slice(session, slice).await
    }

    async fn end_sync(&self, session: &SessionRef, end: SyncEnd) -> Result<()> {
        let _open = self.admit().await?;
        self.store_end(session, end).await
    }

    async fn oplog_slice(&self, session: &SessionRef, slice: Bytes) -> Result<Ack> {
        let _open = self.admit().await?;
        self.append(session, slice).await
    }

    async fn fork(&self, session: &SessionRef, common: OpTime) -> Result<TimelineId> {
        let _open = self.admit().await?;
        self.open_fork(session, common).await
    }

    async fn report(&self, session: &SessionRef, report: AgentReport) -> Result<()> {
        let _open = self.admit().await?;
        self.take_report(session, report).await
    }
}
