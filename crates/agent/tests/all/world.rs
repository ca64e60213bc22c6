//! A replica set in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bson::{RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use bygone_agent::source::{
    Batch, Batches, CollectionSize, Fault, Listing, Member, MemberInfo, MemberState, NodeKind,
    Scan, ScanBy, Server, Source, SourceCollection, SourceError, SourceResult,
};
use bygone_base::{
    Clock, CollectionId, Error, ErrorKind, OpTime, Result, Rng, SeededRng, SystemClock, Ts,
};
use bygone_oplog::filter::Filter;

pub type Docs = BTreeMap<i64, Vec<u8>>;

pub struct FakeMember {
    pub state: MemberState,
    /// Entries that it has not got.
    pub behind: usize,
    pub delay: i64,
    pub rbid: i64,
}

pub struct Coll {
    pub name: String,
    pub capped: bool,
    pub dropped: bool,
    pub docs: Docs,
}

pub struct State {
    pub members: Vec<FakeMember>,
    pub colls: BTreeMap<CollectionId, Coll>,
    pub oplog: VecDeque<(OpTime, Vec<u8>)>,
    pub term: i64,
    pub secs: u32,
    /// One of so many cursor reads fails; 0 = none.
    pub cut_one_of: u64,
    /// A natural scan loses its place so many times.
    pub position_lost: u32,
    pub notes: u32,
}

pub struct World {
    pub state: Mutex<State>,
    pub clock: Arc<SystemClock>,
    rng: SeededRng,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

fn stamp(ts: Ts) -> Timestamp {
    Timestamp { time: ts.secs(), increment: ts.inc() }
}

pub fn doc(id: i64, v: i64) -> Vec<u8> {
    rawdoc! { "_id": id, "v": v, "pad": "x".repeat((id.unsigned_abs() as usize * 37) % 900) }
        .into_bytes()
}

pub fn unavailable(what: &str) -> SourceError {
    SourceError::new(Fault::Other, ErrorKind::Unavailable, what)
}

impl World {
    pub fn new(members: usize, seed: u64) -> Arc<World> {
        let fresh = |i| FakeMember {
            state: if i == 0 { MemberState::Primary } else { MemberState::Secondary },
            behind: 0,
            delay: 0,
            rbid: 1,
        };
        let state = State {
            members: (0..members).map(fresh).collect(),
            colls: BTreeMap::new(),
            oplog: VecDeque::new(),
            term: 1,
            secs: 1000,
            cut_one_of: 0,
            position_lost: 0,
            notes: 0,
        };
        let world = World {
            state: Mutex::new(state),
            clock: Arc::new(SystemClock::new()),
            rng: SeededRng::new(seed),
        };
        world.log("n", None, rawdoc! { "msg": "initiating set" });
        Arc::new(world)
    }

    pub fn random(&self, below: u64) -> u64 {
        self.rng.next_u64() % below.max(1)
    }

    fn log(&self, op: &str, coll: Option<CollectionId>, o: RawDocumentBuf) -> OpTime {
        let mut state = self.state.lock().unwrap();
        state.secs += 1;
        let at = OpTime::new(Ts::new(state.secs, 1), state.term);
        let ns = coll.map_or(String::new(), |c| format!("d.{}", state.colls[&c].name));
        let mut entry = rawdoc! { "op": op, "ns": ns, "o": o.clone() };
        if let Some(coll) = coll {
            entry.append(
                bson::cstr!("ui"),
                bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: coll.0.to_vec() },
            );
        }
        if op == "u" {
            let id = o.get("_id").unwrap().unwrap();
            let mut o2 = RawDocumentBuf::new();
            o2.append(bson::cstr!("_id"), id);
            entry.append(bson::cstr!("o2"), o2);
        }
        entry.append(bson::cstr!("ts"), stamp(at.ts));
        entry.append(bson::cstr!("t"), at.term);
        entry.append(bson::cstr!("v"), 2_i64);
        state.oplog.push_back((at, entry.into_bytes()));
        at
    }

    pub fn create(&self, n: u8, capped: bool, docs: i64) -> CollectionId {
        let coll = CollectionId([n; 16]);
        let docs = (0..docs).map(|id| (id, doc(id, 0))).collect();
        let name = format!("c{n}");
        let coll_state = Coll { name, capped, dropped: false, docs };
        self.state.lock().unwrap().colls.insert(coll, coll_state);
        coll
    }

    pub fn put(&self, coll: CollectionId, id: i64, v: i64) {
        let doc = doc(id, v);
        let raw = RawDocumentBuf::from_bytes(doc.clone()).unwrap();
        let old = self.state.lock().unwrap().colls.get_mut(&coll).unwrap().docs.insert(id, doc);
        self.log(if old.is_some() { "u" } else { "i" }, Some(coll), raw);
    }

    pub fn delete(&self, coll: CollectionId, id: i64) {
        let old = self.state.lock().unwrap().colls.get_mut(&coll).unwrap().docs.remove(&id);
        if old.is_some() {
            self.log("d", Some(coll), rawdoc! { "_id": id });
        }
    }

    pub fn drop_coll(&self, coll: CollectionId) {
        let name = {
            let mut state = self.state.lock().unwrap();
            let c = state.colls.get_mut(&coll).unwrap();
            c.dropped = true;
            c.docs.clear();
            c.name.clone()
        };
        self.log("c", Some(coll), rawdoc! { "drop": name });
    }

    pub fn noop(&self) {
        self.log("n", None, rawdoc! { "msg": "periodic noop" });
    }

    /// Some write to one of the collections.
    pub fn write(&self, colls: &[CollectionId]) {
        let coll = colls[self.random(colls.len() as u64) as usize];
        let id = self.random(3000) as i64 - 100;
        match self.random(4) {
            0 => self.delete(coll, id),
            _ => self.put(coll, id, self.random(1 << 30) as i64),
        }
    }

    /// Another member becomes primary.
    pub fn elect(&self, primary: usize) {
        let mut state = self.state.lock().unwrap();
        state.term += 1;
        for (i, member) in state.members.iter_mut().enumerate() {
            let new = if i == primary { MemberState::Primary } else { MemberState::Secondary };
            if member.state != MemberState::Unreadable {
                member.state = new;
            }
        }
    }

    pub fn set_all(&self, member_state: MemberState) {
        let mut state = self.state.lock().unwrap();
        state.members.iter_mut().for_each(|m| m.state = member_state);
    }

    pub fn last(&self) -> OpTime {
        self.state.lock().unwrap().oplog.back().unwrap().0
    }

    fn member_last(state: &State, i: usize) -> OpTime {
        let end = state.oplog.len().saturating_sub(1 + state.members[i].behind);
        state.oplog.get(end).map_or(OpTime::default(), |e| e.0)
    }

    fn index(host: &str) -> usize {
        host.trim_start_matches("m").split(':').next().unwrap().parse().unwrap()
    }

    fn info(&self, i: usize) -> Option<MemberInfo> {
        let state = self.state.lock().unwrap();
        let member = &state.members[i];
        if member.state == MemberState::Unreadable {
            return None;
        }
        let at = Self::member_last(&state, i);
        Some(MemberInfo {
            host: format!("m{i}:1"),
            kind: NodeKind::ReplicaSet,
            set: Some("rs0".into()),
            state: member.state,
            hidden: false,
            delay_secs: member.delay,
            tags: BTreeMap::new(),
            applied: at,
            majority: at,
            primary: None,
            hosts: Vec::new(),
            wire: 21,
        })
    }
}

#[derive(Debug)]
pub struct FakeSource(pub Arc<World>);

#[derive(Debug)]
struct Fake {
    world: Arc<World>,
    i: usize,
    host: String,
}

#[async_trait]
impl Source for FakeSource {
    fn location(&self) -> String {
        "fake".into()
    }

    async fn survey(&self) -> Result<Vec<MemberInfo>> {
        let n = self.0.state.lock().unwrap().members.len();
        let members: Vec<_> = (0..n).filter_map(|i| self.0.info(i)).collect();
        if members.is_empty() { Err(unavailable("nobody answers").error) } else { Ok(members) }
    }

    async fn connect(&self, host: &str) -> Result<Arc<dyn Member>> {
        let i = World::index(host);
        Ok(Arc::new(Fake { world: Arc::clone(&self.0), i, host: host.into() }))
    }

    async fn note(&self) -> Result<()> {
        self.0.state.lock().unwrap().notes += 1;
        self.0.noop();
        Ok(())
    }
}

impl Fake {
    fn up(&self) -> SourceResult<()> {
        let state = self.world.state.lock().unwrap();
        match state.members[self.i].state {
            MemberState::Unreadable => Err(unavailable("member is down")),
            _ => Ok(()),
        }
    }

    fn entries(&self) -> Vec<(OpTime, Vec<u8>)> {
        let state = self.world.state.lock().unwrap();
        let end = state.oplog.len() - state.members[self.i].behind.min(state.oplog.len());
        state.oplog.iter().take(end).cloned().collect()
    }
}

#[async_trait]
impl Member for Fake {
    fn host(&self) -> &str {
        &self.host
    }

    async fn describe(&self) -> Result<MemberInfo> {
        self.world.info(self.i).ok_or_else(|| unavailable("member is down").error)
    }

    async fn check(&self) -> Result<Server> {
        self.up()?;
        Ok(Server { version: "8.2.0".into(), fcv: "8.2".into(), identity: None })
    }

    async fn rbid(&self) -> Result<i64> {
        self.up()?;
        Ok(self.world.state.lock().unwrap().members[self.i].rbid)
    }

    async fn reach(&self, ts: Ts) -> Result<()> {
        let at = self.describe().await?.majority.ts;
        if at < ts { Err(unavailable("behind").error) } else { Ok(()) }
    }

    async fn catalogue(&self, _: &Filter) -> Result<Listing> {
        self.up()?;
        let state = self.world.state.lock().unwrap();
        let collections =
            state.colls.iter().filter(|(_, c)| !c.dropped).map(|(id, c)| SourceCollection {
                id: *id,
                db: "d".into(),
                name: c.name.clone(),
                options: if c.capped {
                    rawdoc! { "capped": true }
                } else {
                    rawdoc! {}
                },
                indexes: vec![rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
            });
        Ok(Listing { collections: collections.collect(), views: Vec::new() })
    }

    async fn size(&self, _: &str, coll: &str) -> Result<CollectionSize> {
        let state = self.world.state.lock().unwrap();
        let found = state.colls.values().find(|c| c.name == coll);
        let docs = found.map_or(0, |c| c.docs.len() as u64);
        Ok(CollectionSize { docs, bytes: docs * 500 })
    }

    async fn sample(&self, _: &str, coll: &str, _: CollectionSize, n: u32) -> Result<Vec<Vec<u8>>> {
        let state = self.world.state.lock().unwrap();
        let Some(found) = state.colls.values().find(|c| c.name == coll) else { return Ok(vec![]) };
        let step = (found.docs.len() / n as usize).max(1);
        let ids = found.docs.keys().step_by(step);
        Ok(ids.map(|id| rawdoc! { "_id": *id }.into_bytes()).collect())
    }

    async fn scan(&self, scan: &Scan) -> SourceResult<Box<dyn Batches>> {
        self.up()?;
        let state = self.world.state.lock().unwrap();
        if World::member_last(&state, self.i).ts < scan.after {
            return Err(unavailable("behind afterClusterTime"));
        }
        if state.colls.get(&scan.coll).is_none_or(|c| c.dropped) {
            return Err(SourceError::new(Fault::Gone, ErrorKind::NotFound, "no such collection"));
        }
        let id = |doc: &Option<Vec<u8>>| {
            let doc = doc.as_ref()?;
            RawDocument::from_bytes(doc).unwrap().get_i64("_id").ok()
        };
        let fake = Fake { world: Arc::clone(&self.world), i: self.i, host: self.host.clone() };
        Ok(Box::new(ScanCursor {
            fake,
            coll: scan.coll,
            natural: scan.by == ScanBy::Natural,
            next: id(&scan.min).unwrap_or(i64::MIN),
            end: id(&scan.max),
            batch: scan.batch.min(50) as usize,
        }))
    }

    async fn tail(&self, from: Ts, pause: Duration) -> SourceResult<Box<dyn Batches>> {
        self.up()?;
        let fake = Fake { world: Arc::clone(&self.world), i: self.i, host: self.host.clone() };
        Ok(Box::new(TailCursor { fake, from, pause, last: None }))
    }

    async fn oldest_transaction(&self) -> Result<Option<OpTime>> {
        Ok(None)
    }

    async fn entry_before(&self, ts: Ts, inclusive: bool) -> Result<Option<OpTime>> {
        self.up()?;
        let fits = |at: &OpTime| at.ts < ts || (inclusive && at.ts == ts);
        Ok(self.entries().iter().map(|e| e.0).rfind(fits))
    }

    async fn entry_at(&self, ts: Ts) -> Result<Option<OpTime>> {
        self.up()?;
        Ok(self.entries().iter().map(|e| e.0).find(|at| at.ts == ts))
    }

    async fn oldest_entry(&self) -> Result<Option<OpTime>> {
        self.up()?;
        Ok(self.entries().first().map(|e| e.0))
    }
}

fn fault(world: &World) -> SourceResult<()> {
    let one_of = world.state.lock().unwrap().cut_one_of;
    if one_of > 0 && world.random(one_of) == 0 {
        return Err(match world.random(3) {
            0 => unavailable("connection reset"),
            _ => SourceError::new(Fault::Cursor, ErrorKind::Unavailable, "cursor killed"),
        });
    }
    Ok(())
}

struct ScanCursor {
    fake: Fake,
    coll: CollectionId,
    natural: bool,
    next: i64,
    end: Option<i64>,
    batch: usize,
}

#[async_trait]
impl Batches for ScanCursor {
    async fn next(&mut self) -> SourceResult<Option<Batch>> {
        let world = &self.fake.world;
        world.clock.sleep(Duration::from_millis(5)).await;
        self.fake.up()?;
        fault(world)?;
        let mut state = world.state.lock().unwrap();
        if self.natural && self.next > i64::MIN && state.position_lost > 0 {
            state.position_lost -= 1;
            let kind = ErrorKind::Unavailable;
            return Err(SourceError::new(Fault::PositionLost, kind, "position lost"));
        }
        let now = state.oplog.back().unwrap().0.ts;
        let coll = &state.colls[&self.coll];
        if coll.dropped {
            return Err(SourceError::new(
                Fault::Cursor,
                ErrorKind::Unavailable,
                "collection dropped",
            ));
        }
        let range =
            coll.docs.range(self.next..).take_while(|(id, _)| self.end.is_none_or(|e| **id < e));
        let found: Vec<(i64, Vec<u8>)> =
            range.take(self.batch).map(|(id, doc)| (*id, doc.clone())).collect();
        let Some(last) = found.last() else { return Ok(None) };
        self.next = last.0 + 1;
        let docs: Vec<Vec<u8>> = found.into_iter().map(|(_, doc)| doc).collect();
        Ok(Some(Batch::from_docs(&docs, now)?))
    }
}

struct TailCursor {
    fake: Fake,
    from: Ts,
    pause: Duration,
    last: Option<Ts>,
}

#[async_trait]
impl Batches for TailCursor {
    async fn next(&mut self) -> SourceResult<Option<Batch>> {
        let world = &self.fake.world;
        world.clock.sleep(self.pause).await;
        self.fake.up()?;
        fault(world)?;
        let entries = self.fake.entries();
        // A capped cursor dies with its entry.
        if let Some(last) = self.last
            && entries.iter().all(|(at, _)| at.ts != last)
        {
            let kind = ErrorKind::Unavailable;
            return Err(SourceError::new(Fault::PositionLost, kind, "position lost"));
        }
        let wanted = |ts: Ts| self.last.map_or(ts >= self.from, |last| ts > last);
        let next: Vec<_> = entries.iter().filter(|(at, _)| wanted(at.ts)).take(40).collect();
        let docs: Vec<Vec<u8>> = next.iter().map(|(_, raw)| raw.clone()).collect();
        let batch = Batch::from_docs(&docs, world.last().ts)?;
        self.last = next.last().map(|(at, _)| at.ts).or(self.last);
        Ok(Some(batch))
    }
}

/// For tests that need an error of the base crate.
pub fn down() -> Error {
    unavailable("uplink is down").error
}
