//! The set as an agent sees it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::RawDocument;
use bygone_agent::source::{
    Batch, Batches, CollectionSize, Fault, Listing, Member, MemberInfo, MemberState, NodeKind,
    Scan, ScanBy, Server, Source, SourceCollection, SourceError, SourceResult,
};
use bygone_base::{CollectionId, ErrorKind, OpTime, Result, Ts};
use bygone_oplog::filter::Filter;

use super::{
    ReplicaSet,
    log::Logged,
    model::{Place, id_of, key_of},
    unavailable,
};

/// Entries of one reply to a tail.
const TAIL_BATCH: usize = 40;
/// Documents of one reply to a scan.
const SCAN_BATCH: usize = 50;
/// What one reply of a scan takes.
const REPLY: Duration = Duration::from_millis(5);

/// The source that a [`ReplicaSet`] is.
#[derive(Debug)]
pub struct FakeSource(pub Arc<ReplicaSet>);

#[derive(Debug, Clone)]
struct Fake {
    set: Arc<ReplicaSet>,
    i: usize,
    host: String,
}

fn host(i: usize) -> String {
    format!("m{i}:1")
}

/// A document with its place in natural order and its key.
type Placed = (Place, Vec<u8>, Arc<[u8]>);

impl ReplicaSet {
    /// What a member says of itself; `None` when it does not answer.
    fn info(&self, i: usize) -> Option<MemberInfo> {
        let state = self.lock();
        let member = state.members.get(i).filter(|m| m.state != MemberState::Unreadable)?;
        Some(MemberInfo {
            host: host(i),
            kind: NodeKind::ReplicaSet,
            set: Some("rs0".into()),
            state: member.state,
            hidden: false,
            delay_secs: member.delay,
            tags: Default::default(),
            applied: state.entry(member.applied),
            majority: state.entry(member.applied.min(state.majority)),
            primary: state.primary().map(host),
            hosts: Vec::new(),
            wire: 21,
        })
    }
}

#[async_trait]
impl Source for FakeSource {
    fn location(&self) -> String {
        "a replica set in memory".into()
    }

    async fn survey(&self) -> Result<Vec<MemberInfo>> {
        let n = self.0.lock().members.len();
        let members: Vec<_> = (0..n).filter_map(|i| self.0.info(i)).collect();
        if members.is_empty() { Err(unavailable("nobody answers").error) } else { Ok(members) }
    }

    async fn connect(&self, host: &str) -> Result<Arc<dyn Member>> {
        let number = host.trim_start_matches('m').split(':').next().and_then(|n| n.parse().ok());
        let i = number.ok_or_else(|| unavailable("no such member").error)?;
        Ok(Arc::new(Fake { set: Arc::clone(&self.0), i, host: host.into() }))
    }

    async fn note(&self) -> Result<()> {
        if self.0.lock().primary().is_none() {
            return Err(unavailable("no primary").error);
        }
        self.0.write(|log, secs| log.noop(secs, "note"));
        self.0.lock().notes += 1;
        Ok(())
    }
}

impl Fake {
    fn up(&self) -> SourceResult<MemberInfo> {
        self.set.info(self.i).ok_or_else(|| unavailable("the member is down"))
    }

    /// Kills a cursor now and then, and all that were opened before `opened`.
    fn cursor(&self, opened: u64) -> SourceResult<MemberInfo> {
        let info = self.up()?;
        let (cursors, one_of) = {
            let state = self.set.lock();
            (state.members[self.i].cursors, state.cut_one_of)
        };
        let killed = || SourceError::new(Fault::Cursor, ErrorKind::Unavailable, "cursor killed");
        if cursors != opened {
            return Err(killed());
        }
        if one_of > 0 && self.set.dice.below(one_of) == 0 {
            return Err(match self.set.dice.below(3) {
                0 => unavailable("connection reset"),
                _ => killed(),
            });
        }
        Ok(info)
    }

    fn opened(&self) -> u64 {
        self.set.lock().members[self.i].cursors
    }

    /// Entries that it has, as far as they are majority committed.
    fn entries<T>(&self, read: impl FnOnce(&[Logged]) -> T) -> SourceResult<T> {
        self.up()?;
        let state = self.set.lock();
        let end = state.members[self.i].applied.min(state.majority);
        Ok(read(state.log.entries.get(state.log.first..end).unwrap_or(&[])))
    }

    fn read(&self, at: usize, coll: CollectionId) -> Result<Vec<Placed>> {
        let state = self.set.lock();
        let ts = state.entry(at).ts;
        let Some(coll) = state.log.model.colls.get(&coll) else { return Ok(Vec::new()) };
        let docs = coll.visible(ts);
        Ok(docs.filter_map(|(key, v)| Some((v.place, key.clone(), v.doc.clone()?))).collect())
    }

    fn position(&self) -> usize {
        let state = self.set.lock();
        state.members[self.i].applied.min(state.majority)
    }

    fn find(&self, db: &str, coll: &str) -> Vec<(Place, Vec<u8>, Arc<[u8]>)> {
        let found = self.set.lock().log.model.find(db, coll);
        found.and_then(|id| self.read(self.position(), id).ok()).unwrap_or_default()
    }
}

#[async_trait]
impl Member for Fake {
    fn host(&self) -> &str {
        &self.host
    }

    async fn describe(&self) -> Result<MemberInfo> {
        Ok(self.up()?)
    }

    async fn check(&self) -> Result<Server> {
        self.up()?;
        let version = self.set.lock().version;
        let fcv = version.rsplit_once('.').map_or(version, |(fcv, _)| fcv);
        // Whatever becomes of the set, it is the same one.
        let identity = Some(CollectionId([0x1d; 16]));
        Ok(Server { version: version.into(), fcv: fcv.into(), identity })
    }

    async fn rbid(&self) -> Result<i64> {
        self.up()?;
        Ok(self.set.lock().members[self.i].rbid)
    }

    async fn reach(&self, ts: Ts) -> Result<()> {
        let at = self.up()?.majority.ts;
        if at < ts { Err(unavailable("the member is behind").error) } else { Ok(()) }
    }

    async fn catalogue(&self, filter: &Filter) -> Result<Listing> {
        let info = self.up()?;
        let state = self.set.lock();
        let model = &state.log.model;
        // listCollections reads what is applied, committed or not.
        let at = info.applied.ts;
        let listed = model.colls.iter().filter_map(|(id, coll)| {
            let meta = coll.meta_at(at)?.clone();
            filter.covers(&meta.db, &meta.name).then_some(SourceCollection {
                id: *id,
                db: meta.db,
                name: meta.name,
                options: meta.options,
                indexes: meta.indexes,
            })
        });
        let views = model.views.iter().filter_map(|(id, versions)| {
            let (db, name) = id.split_once('.')?;
            let doc = versions.iter().rev().find(|(ts, _)| *ts <= at)?.1.clone()?;
            filter.covers(db, name).then_some(doc)
        });
        Ok(Listing { collections: listed.collect(), views: views.collect() })
    }

    async fn size(&self, db: &str, coll: &str) -> Result<CollectionSize> {
        self.up()?;
        let docs = self.find(db, coll);
        let bytes = docs.iter().map(|(_, _, doc)| doc.len() as u64).sum();
        Ok(CollectionSize { docs: docs.len() as u64, bytes })
    }

    async fn sample(
        &self,
        db: &str,
        coll: &str,
        _: CollectionSize,
        n: u32,
    ) -> Result<Vec<Vec<u8>>> {
        self.up()?;
        let docs = self.find(db, coll);
        let step = (docs.len() / n.max(1) as usize).max(1);
        Ok(docs.iter().step_by(step).map(|(_, _, doc)| id_of(doc).into_bytes()).collect())
    }

    async fn scan(&self, scan: &Scan) -> SourceResult<Box<dyn Batches>> {
        let info = self.up()?;
        if info.majority.ts < scan.after {
            return Err(unavailable("the member is behind afterClusterTime"));
        }
        let there = {
            let state = self.set.lock();
            let coll = state.log.model.colls.get(&scan.coll);
            coll.is_some_and(|coll| coll.meta_at(info.majority.ts).is_some())
        };
        if !there {
            return Err(SourceError::new(Fault::Gone, ErrorKind::NotFound, "no such collection"));
        }
        let key = |doc: &Option<Vec<u8>>| doc.as_ref().map(|doc| key_of(doc));
        Ok(Box::new(ScanCursor {
            opened: self.opened(),
            fake: self.clone(),
            coll: scan.coll,
            natural: scan.by == ScanBy::Natural,
            from: key(&scan.min).unwrap_or_default(),
            to: key(&scan.max),
            after: None,
            batch: scan.batch.min(SCAN_BATCH as u32) as usize,
        }))
    }

    async fn tail(&self, from: Ts, pause: Duration) -> SourceResult<Box<dyn Batches>> {
        self.up()?;
        let (fake, opened) = (self.clone(), self.opened());
        Ok(Box::new(TailCursor { fake, opened, from, pause, last: None }))
    }

    async fn oldest_transaction(&self) -> Result<Option<OpTime>> {
        let at = self.up()?.majority.ts;
        let state = self.set.lock();
        let open = state
            .log
            .prepared
            .iter()
            .filter(|p| p.at.ts <= at && p.decided.is_none_or(|decided| decided > at));
        let halves = state.log.chains.iter().filter(|(first, last)| first.ts <= at && at < last.ts);
        Ok(open.map(|p| p.first).chain(halves.map(|(first, _)| *first)).min())
    }

    async fn entry_before(&self, ts: Ts, inclusive: bool) -> Result<Option<OpTime>> {
        let fits = |at: &OpTime| at.ts < ts || (inclusive && at.ts == ts);
        Ok(self.entries(|all| all.iter().map(|e| e.at).rfind(fits))?)
    }

    async fn entry_at(&self, ts: Ts) -> Result<Option<OpTime>> {
        Ok(self.entries(|all| all.iter().map(|e| e.at).find(|at| at.ts == ts))?)
    }

    async fn oldest_entry(&self) -> Result<Option<OpTime>> {
        Ok(self.entries(|all| all.first().map(|e| e.at))?)
    }
}

struct ScanCursor {
    fake: Fake,
    opened: u64,
    coll: CollectionId,
    natural: bool,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    /// Where the last document of a natural scan stands; documents of one entry share a place.
    after: Option<(Place, Vec<u8>)>,
    batch: usize,
}

impl ScanCursor {
    fn natural(&mut self, docs: Vec<Placed>) -> SourceResult<Vec<Vec<u8>>> {
        let lost =
            || SourceError::new(Fault::PositionLost, ErrorKind::Unavailable, "position lost");
        if let Some((after, _)) = &self.after {
            let mut state = self.fake.set.lock();
            let capped = state.log.model.colls.get(&self.coll);
            let capped = capped.and_then(|c| c.now()).is_some_and(|meta| meta.capped());
            if state.position_lost > 0 {
                state.position_lost -= 1;
                return Err(lost());
            }
            // A capped scan dies with the document that it stands on.
            if capped && docs.iter().all(|(place, ..)| place != after) {
                return Err(lost());
            }
        }
        let mut docs = docs;
        docs.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let passed =
            |after: &(Place, Vec<u8>), doc: &Placed| (doc.0, &doc.1) <= (after.0, &after.1);
        docs.retain(|doc| self.after.as_ref().is_none_or(|after| !passed(after, doc)));
        docs.truncate(self.batch);
        if let Some((place, key, _)) = docs.last() {
            self.after = Some((*place, key.clone()));
        }
        Ok(docs.into_iter().map(|(_, _, doc)| doc.to_vec()).collect())
    }

    fn sorted(&mut self, docs: Vec<(Place, Vec<u8>, Arc<[u8]>)>) -> Vec<Vec<u8>> {
        let mut docs = docs;
        docs.retain(|(_, key, _)| *key >= self.from && self.to.as_ref().is_none_or(|to| key < to));
        docs.truncate(self.batch);
        if let Some((_, key, _)) = docs.last() {
            // Just after it: no key is a prefix of another one.
            self.from = [key.as_slice(), &[0]].concat();
        }
        docs.into_iter().map(|(_, _, doc)| doc.to_vec()).collect()
    }
}

#[async_trait]
impl Batches for ScanCursor {
    async fn next(&mut self) -> SourceResult<Option<Batch>> {
        self.fake.set.clock.sleep(REPLY).await;
        let info = self.fake.cursor(self.opened)?;
        let there = {
            let state = self.fake.set.lock();
            let coll = state.log.model.colls.get(&self.coll);
            coll.is_some_and(|coll| coll.meta_at(info.majority.ts).is_some())
        };
        if !there {
            let kind = ErrorKind::Unavailable;
            return Err(SourceError::new(Fault::Cursor, kind, "collection dropped"));
        }
        let docs = self.fake.read(self.fake.position(), self.coll)?;
        let docs = if self.natural { self.natural(docs)? } else { self.sorted(docs) };
        if docs.is_empty() {
            return Ok(None);
        }
        Ok(Some(Batch::from_docs(&docs, info.majority.ts)?))
    }
}

struct TailCursor {
    fake: Fake,
    opened: u64,
    from: Ts,
    pause: Duration,
    last: Option<Ts>,
}

#[async_trait]
impl Batches for TailCursor {
    async fn next(&mut self) -> SourceResult<Option<Batch>> {
        self.fake.set.clock.sleep(self.pause).await;
        let info = self.fake.cursor(self.opened)?;
        let (from, last) = (self.from, self.last);
        let docs = self.fake.entries(|all| {
            let start = match last {
                None => all.partition_point(|e| e.at.ts < from),
                // A capped cursor dies with its entry.
                Some(last) => all.binary_search_by_key(&last, |e| e.at.ts).ok()? + 1,
            };
            let batch = &all[start..all.len().min(start + TAIL_BATCH)];
            Some(batch.iter().map(|e| e.raw.to_vec()).collect::<Vec<_>>())
        })?;
        let Some(docs) = docs else {
            let kind = ErrorKind::Unavailable;
            return Err(SourceError::new(Fault::PositionLost, kind, "position lost"));
        };
        if let Some(doc) = docs.last() {
            let ts = RawDocument::from_bytes(doc).ok().and_then(|doc| doc.get_timestamp("ts").ok());
            self.last = ts.map(|ts| Ts::new(ts.time, ts.increment)).or(self.last);
        }
        Ok(Some(Batch::from_docs(&docs, info.majority.ts)?))
    }
}
