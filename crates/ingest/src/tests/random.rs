//! Random deliveries over two servers on one bucket with faults: duplicates,
//! gaps, other cuts, other histories, restarts, rivals, forks, compactions.
//! Whatever happens, what was acknowledged is there, and no chain has a gap or
//! two contents at one position.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bygone_base::{Clock as _, ErrorKind, OpTime, Rng, SeededRng, TimelineId};
use bygone_blockstore::{
    Repository,
    store::{FaultPlan, Faulty},
};
use bygone_oplog::{
    slice::{Slice, SliceBuilder},
    uplink::{PartState, SessionRef, TimelineReason, Uplink as _},
};
use bytes::Bytes;
use proptest::prelude::*;

use super::{
    support::{World, at, entry},
    sync::complete,
};
use crate::{Ingest, compact::CompactOptions};

/// What was acknowledged, per timeline.
type Acked = HashMap<TimelineId, BTreeMap<OpTime, Vec<u8>>>;

struct Agent {
    server: usize,
    session: Option<SessionRef>,
    /// Where it believes the chain ends.
    chain: OpTime,
    name: String,
}

struct Sim {
    w: World,
    faulty: Arc<Faulty>,
    repo: Repository,
    servers: Vec<Arc<Ingest>>,
    agents: Vec<Agent>,
    rng: SeededRng,
    acked: Acked,
    starts: BTreeMap<TimelineId, OpTime>,
    stored: u32,
}

impl Sim {
    async fn new(seed: u64) -> Sim {
        let w = World::new().await;
        let clock: Arc<dyn bygone_base::Clock> = w.clock.clone();
        let rng = Arc::new(SeededRng::new(seed));
        let faulty =
            Arc::new(Faulty::new(w.store.clone(), clock, rng.clone(), FaultPlan::default()));
        let repo = Repository::open(faulty.clone(), None, rng).await.unwrap();
        let servers: Vec<_> = (1..=2).map(|i| w.ingest_over(repo.clone(), seed + i)).collect();
        let s = w.begun(&servers[0], "x").await;
        complete(&servers[0], &s, at(0)).await;
        let agent =
            |name: &str, server| Agent { server, session: None, chain: at(0), name: name.into() };
        Sim {
            faulty,
            repo,
            servers,
            agents: vec![agent("x", 0), agent("y", 1)],
            rng: SeededRng::new(seed ^ 0xabcd),
            acked: Acked::new(),
            starts: BTreeMap::from([(s.timeline, at(0))]),
            stored: 0,
            w,
        }
    }

    fn below(&self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    async fn step(&mut self) {
        let who = self.below(2) as usize;
        match self.below(100) {
            0..4 => self.restart().await,
            4..7 => self.w.clock.pass(5 + self.below(20)),
            7..10 => self.compact().await,
            10..14 => self.open(who).await,
            14..17 => self.fork(who).await,
            17..20 => self.agents[who].server = self.below(2) as usize,
            _ => self.send(who).await,
        }
    }

    async fn restart(&mut self) {
        let at = self.below(2) as usize;
        let seed = self.rng.next_u64();
        self.servers[at] = self.w.ingest_over(self.repo.clone(), seed);
    }

    async fn compact(&mut self) {
        self.w.clock.pass(self.below(2) * 200);
        let options = CompactOptions { min_count: 2, ..CompactOptions::default() };
        let server = &self.servers[self.below(2) as usize];
        match server.compact(&self.w.key, self.w.clock.now(), &options).await {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}"),
        }
    }

    async fn open(&mut self, who: usize) {
        let hello =
            bygone_oplog::uplink::Hello { take_over: true, ..self.w.hello(&self.agents[who].name) };
        let session = match self.servers[self.agents[who].server].open(hello).await {
            Ok(session) => session,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
                return;
            }
        };
        let PartState::Tailing { chain, .. } = session.state else { panic!("{session:?}") };
        self.agents[who].session = Some(self.w.session(&session));
        self.agents[who].chain = chain;
    }

    async fn fork(&mut self, who: usize) {
        let Some(s) = self.agents[who].session.clone() else { return };
        let end = self.agents[who].chain;
        let back = self.below(4) as u32;
        let common = at(end.ts.secs().saturating_sub(1000 + back));
        match self.servers[self.agents[who].server].fork(&s, common).await {
            Ok(timeline) => {
                self.starts.insert(timeline, common);
                self.agents[who].chain = common;
                self.agents[who].session = Some(SessionRef { timeline, ..s });
            }
            Err(e) => self.failed(who, &e),
        }
    }

    fn failed(&mut self, who: usize, error: &bygone_base::Error) {
        match error.kind() {
            ErrorKind::Unavailable => {}
            ErrorKind::Conflict => self.agents[who].session = None,
            other => panic!("{other:?}: {error}"),
        }
    }

    /// Mostly what comes next; sometimes from before or after it, sometimes another history.
    async fn send(&mut self, who: usize) {
        let Some(s) = self.agents[who].session.clone() else { return self.open(who).await };
        let end = self.agents[who].chain.ts.secs() - 1000;
        let from = match self.below(10) {
            0 => end + self.below(3) as u32,
            1 | 2 => end.saturating_sub(self.below(8) as u32),
            _ => end,
        };
        // One history per timeline, except for a source that lies.
        let lies = self.below(10) == 0;
        let salt = if lies { 1000 + self.below(5) as i32 } else { s.timeline.0 as i32 };
        let bytes = self.slice(&s, from, from + 1 + self.below(6) as u32, salt);
        match self.servers[self.agents[who].server].oplog_slice(&s, bytes.clone()).await {
            Ok(_) => {
                self.stored += 1;
                let decoded = Slice::parse(bytes).unwrap().decode().unwrap();
                let acked = self.acked.entry(s.timeline).or_default();
                for (position, raw) in decoded.entries() {
                    let before = acked.insert(position, raw.to_vec());
                    assert!(before.is_none_or(|b| b == raw), "two contents acknowledged");
                }
                let end = &mut self.agents[who].chain;
                *end = (*end).max(decoded.header().last);
            }
            Err(e) => self.failed(who, &e),
        }
    }

    /// Positions that were acknowledged keep their content unless it lies.
    fn slice(&self, s: &SessionRef, from: u32, to: u32, salt: i32) -> Bytes {
        let mut builder = SliceBuilder::new(at(from));
        let known = self.acked.get(&s.timeline);
        for n in from + 1..=to {
            let raw = match known.and_then(|k| k.get(&at(n))) {
                Some(raw) if salt < 1000 => raw.clone(),
                _ => entry(at(n), salt),
            };
            builder.push(&raw, at(n)).unwrap();
        }
        builder.finish(1).unwrap()
    }

    async fn check(&self) {
        for (timeline, start) in &self.starts {
            let stored = self.w.entries(*timeline, *start).await;
            let positions: Vec<u32> = stored.iter().map(|(p, _)| p.ts.secs() - 1000).collect();
            let first = start.ts.secs() - 999;
            let expected: Vec<u32> = (first..first + positions.len() as u32).collect();
            assert_eq!(positions, expected, "a gap in timeline {timeline}");
            let stored: BTreeMap<_, _> = stored.into_iter().collect();
            for (position, raw) in self.acked.get(timeline).into_iter().flatten() {
                assert_eq!(stored.get(position), Some(raw), "{position} was acknowledged");
            }
        }
    }
}

async fn run(seed: u64, steps: usize) -> u32 {
    let mut sim = Sim::new(seed).await;
    sim.faulty.set_plan(FaultPlan { before: 40, lost_reply: 60, ..FaultPlan::default() });
    for _ in 0..steps {
        sim.step().await;
    }
    sim.check().await;
    sim.stored
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_is_durable_and_chains_have_no_gap_and_no_fork(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stored = runtime.block_on(run(seed, 150));
        prop_assert!(stored > 10, "the run did something: {stored}");
    }
}

#[tokio::test]
async fn a_begin_is_not_lost_to_faults() {
    for seed in 0..20 {
        let w = World::new().await;
        let clock: Arc<dyn bygone_base::Clock> = w.clock.clone();
        let rng = Arc::new(SeededRng::new(seed));
        let plan = FaultPlan { before: 100, lost_reply: 300, ..FaultPlan::default() };
        let faulty =
            Arc::new(Faulty::new(w.store.clone(), clock, rng.clone(), FaultPlan::default()));
        let repo = Repository::open(faulty.clone(), None, rng).await.unwrap();
        faulty.set_plan(plan);
        let ingest = w.ingest_over(repo, seed);
        let session = loop {
            if let Ok(session) = ingest.open(w.hello("a")).await {
                break session;
            }
        };
        let s = w.session(&session);
        let (timeline, _) = loop {
            match ingest.begin_sync(&s, at(0), TimelineReason::InitialSync).await {
                Ok(begun) => break begun,
                Err(e) => assert_eq!(e.kind(), ErrorKind::Unavailable),
            }
        };
        assert_eq!(timeline, TimelineId(1), "begun once");
    }
}
