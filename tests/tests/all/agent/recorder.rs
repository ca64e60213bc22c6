//! An uplink that hands everything to a real ingest and keeps what passed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bygone_agent::{Agent, AgentOptions, MongoSource, SourceUri};
use bygone_base::{CollectionId, OpTime, Result, SyncId, SystemClock, SystemRng, TimelineId};
use bygone_blockstore::{MemoryStore, Repository};
use bygone_document::id_key;
use bygone_ingest::{Ingest, Options};
use bygone_oplog::{
    slice::Slice,
    uplink::{
        Ack, AgentReport, Hello, PartState, Session, SessionRef, SyncEnd, SyncPlan, SyncSlice,
        TimelineReason, Uplink,
    },
};
use bygone_snapshot::Stores;
use bygone_tree::{Leaf, run::RunLeaf};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// By key; of a scan in natural order with the highest position.
pub type Docs = BTreeMap<Vec<u8>, (u32, Vec<u8>)>;

#[derive(Default)]
pub struct Seen {
    pub plan: Option<SyncPlan>,
    pub docs: BTreeMap<CollectionId, Docs>,
    pub end: Option<SyncEnd>,
    pub entries: Vec<OpTime>,
    pub sync_slices: u32,
    pub largest_slice: usize,
    pub reasons: Vec<TimelineReason>,
    pub forks: Vec<OpTime>,
    pub sessions: u32,
    pub resumed: u32,
    /// The member that the last session was opened for.
    pub member: String,
}

pub struct Recorder {
    ingest: Ingest,
    pub seen: Mutex<Seen>,
}

impl Recorder {
    pub async fn new() -> Arc<Recorder> {
        let (clock, rng) = (Arc::new(SystemClock::new()), Arc::new(SystemRng));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let repository =
            Repository::create(store, None, rng.clone(), clock.as_ref()).await.unwrap();
        let ingest = Ingest::new(Stores::one(repository), clock, rng, Options::default());
        Arc::new(Recorder { ingest, seen: Mutex::default() })
    }

    /// One run of an agent that ends when it has caught up.
    pub async fn backup(self: &Arc<Self>, uri: &str, options: AgentOptions) -> Result<OpTime> {
        let agent = self.agent(uri, options).await?;
        agent.run_until_now(&CancellationToken::new()).await
    }

    pub async fn agent(self: &Arc<Self>, uri: &str, mut options: AgentOptions) -> Result<Agent> {
        let clock = Arc::new(SystemClock::new());
        let source = MongoSource::new(SourceUri::parse(uri)?, clock.clone()).await?;
        // The last agent of a test may not have been quiet for long.
        options.take_over = true;
        let uplink = Arc::clone(self) as Arc<dyn Uplink>;
        Ok(Agent::new(Arc::new(source), uplink, clock, Arc::new(SystemRng), options).0)
    }
}

pub fn options() -> AgentOptions {
    AgentOptions::new("test".parse().unwrap())
}

fn keep(seen: &mut Seen, slice: &SyncSlice) {
    let docs = seen.docs.entry(slice.coll).or_default();
    let mut add = |n: u32, doc: &[u8]| {
        let slot = docs.entry(id_key(doc).unwrap()).or_insert_with(|| (n, doc.to_vec()));
        if slot.0 <= n {
            *slot = (n, doc.to_vec());
        }
    };
    for block in &slice.blocks {
        let raw = zstd::bulk::decompress(&block.zstd, block.raw_len as usize).unwrap();
        if !slice.runs {
            Leaf::parse(raw.into()).unwrap().docs().for_each(|doc| add(0, doc));
            continue;
        }
        let mut leaf = RunLeaf::parse(raw.into()).unwrap();
        while leaf.advance().unwrap() {
            let op = leaf.op().unwrap();
            add(op.n, op.value);
        }
    }
    seen.sync_slices += 1;
    let bytes = slice.blocks.iter().map(|b| b.zstd.len()).sum();
    seen.largest_slice = seen.largest_slice.max(bytes);
}

#[async_trait]
impl Uplink for Recorder {
    async fn open(&self, hello: Hello) -> Result<Session> {
        let member = hello.host.clone();
        let session = self.ingest.open(hello).await?;
        let mut seen = self.seen.lock().unwrap();
        seen.sessions += 1;
        seen.member = member;
        if let PartState::Syncing { progress, .. } = &session.state {
            seen.resumed += progress.iter().map(|p| p.next_seq).sum::<u32>();
        }
        Ok(session)
    }

    async fn begin_sync(
        &self,
        session: &SessionRef,
        start: OpTime,
        reason: TimelineReason,
    ) -> Result<(TimelineId, SyncId)> {
        self.seen.lock().unwrap().reasons.push(reason);
        self.ingest.begin_sync(session, start, reason).await
    }

    async fn plan_sync(&self, session: &SessionRef, plan: SyncPlan) -> Result<()> {
        self.seen.lock().unwrap().plan = Some(plan.clone());
        self.ingest.plan_sync(session, plan).await
    }

    async fn sync_slice(&self, session: &SessionRef, slice: SyncSlice) -> Result<Ack> {
        let ack = self.ingest.sync_slice(session, slice.clone()).await?;
        keep(&mut self.seen.lock().unwrap(), &slice);
        Ok(ack)
    }

    async fn end_sync(&self, session: &SessionRef, end: SyncEnd) -> Result<()> {
        self.seen.lock().unwrap().end = Some(end.clone());
        self.ingest.end_sync(session, end).await
    }

    async fn oplog_slice(&self, session: &SessionRef, slice: Bytes) -> Result<Ack> {
        let decoded = Slice::parse(slice.clone())?.decode()?;
        let ack = self.ingest.oplog_slice(session, slice).await?;
        self.seen.lock().unwrap().entries.extend(decoded.entries().map(|(at, _)| at));
        Ok(ack)
    }

    async fn fork(&self, session: &SessionRef, common: OpTime) -> Result<TimelineId> {
        self.seen.lock().unwrap().forks.push(common);
        self.ingest.fork(session, common).await
    }

    async fn report(&self, session: &SessionRef, report: AgentReport) -> Result<()> {
        self.ingest.report(session, report).await
    }
}
