//! An uplink in memory that checks every promise as it is made.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bson::RawDocument;
use bygone_base::{CollectionId, Epoch, Error, ErrorKind, OpTime, Result, SyncId, TimelineId, Ts};
use bygone_document::id_key;
use bygone_oplog::{
    slice::Slice,
    uplink::{
        Ack, AgentReport, Hello, PartState, RangeProgress, Session, SessionRef, SyncEnd, SyncPlan,
        SyncSlice, TimelineReason, Uplink,
    },
};
use bygone_tree::{Leaf, run::RunLeaf};
use bytes::Bytes;

use crate::world::{Docs, World, down};

#[derive(Default)]
pub struct Stored {
    pub epoch: u64,
    pub timeline: u32,
    pub sync: Option<(SyncId, OpTime)>,
    pub reasons: Vec<TimelineReason>,
    pub forks: Vec<OpTime>,
    pub plan: Option<SyncPlan>,
    pub ended: Option<SyncEnd>,
    pub ranges: BTreeMap<(CollectionId, u32), RangeProgress>,
    /// Scanned documents; of runs the one at the highest position.
    pub scanned: BTreeMap<CollectionId, BTreeMap<i64, (u32, Vec<u8>)>>,
    pub gone: Vec<CollectionId>,
    pub chain: OpTime,
    pub ends: Vec<OpTime>,
    pub entries: Vec<(OpTime, Vec<u8>)>,
    pub opened: u32,
    pub slices: u32,
    pub reports: u32,
}

pub struct Checker {
    pub world: Arc<World>,
    pub stored: Mutex<Stored>,
    /// One of so many calls fails, before or after its effect; 0 = none.
    pub fail_one_of: u64,
}

impl Checker {
    pub fn new(world: &Arc<World>, fail_one_of: u64) -> Arc<Checker> {
        Arc::new(Checker { world: Arc::clone(world), stored: Mutex::default(), fail_one_of })
    }

    fn fails(&self) -> Result<()> {
        match self.fail_one_of > 0 && self.world.random(self.fail_one_of) == 0 {
            true => Err(down()),
            false => Ok(()),
        }
    }

    fn fenced(stored: &Stored, session: &SessionRef) -> Result<()> {
        match session.epoch.0 == stored.epoch && session.timeline.0 == stored.timeline {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Conflict, "another session")),
        }
    }

    /// The state that a restore of the chain's end would give.
    pub fn restored(&self) -> BTreeMap<CollectionId, Docs> {
        let stored = self.stored.lock().unwrap();
        let mut colls: BTreeMap<CollectionId, Docs> = BTreeMap::new();
        for (coll, docs) in &stored.scanned {
            let docs = docs.iter().map(|(id, (_, doc))| (*id, doc.clone())).collect();
            colls.insert(*coll, docs);
        }
        for (_, entry) in &stored.entries {
            let entry = RawDocument::from_bytes(entry).unwrap();
            let op = entry.get_str("op").unwrap();
            if op == "n" {
                continue;
            }
            let Ok(Some(ui)) = entry.get("ui") else { continue };
            let bson::RawBsonRef::Binary(ui) = ui else { panic!("ui") };
            let coll = colls.entry(CollectionId::from_slice(ui.bytes).unwrap()).or_default();
            let o = entry.get_document("o").unwrap();
            match op {
                "c" => coll.clear(),
                "d" => drop(coll.remove(&o.get_i64("_id").unwrap())),
                _ => drop(coll.insert(o.get_i64("_id").unwrap(), o.as_bytes().to_vec())),
            }
        }
        colls.retain(|_, docs| !docs.is_empty());
        colls
    }

    /// Everything that the source had up to the chain's end, and nothing else.
    pub fn check_end(&self) {
        let world: BTreeMap<CollectionId, Docs> = {
            let state = self.world.state.lock().unwrap();
            let docs = state.colls.iter().map(|(id, c)| (*id, c.docs.clone()));
            docs.filter(|(_, docs)| !docs.is_empty()).collect()
        };
        assert_eq!(self.stored.lock().unwrap().chain, self.world.last(), "not at the end");
        let restored = self.restored();
        assert_eq!(
            restored.keys().collect::<Vec<_>>(),
            world.keys().collect::<Vec<_>>(),
            "collections"
        );
        for (coll, docs) in &world {
            let ours = &restored[coll];
            let missing: Vec<_> = docs.keys().filter(|id| !ours.contains_key(id)).collect();
            assert!(missing.is_empty(), "{coll}: missing {missing:?}");
            assert!(ours == docs, "{coll}: content differs");
        }
    }

    fn blocks(&self, stored: &mut Stored, slice: &SyncSlice) {
        let plan = stored.plan.as_ref().unwrap();
        let coll = plan.collections.iter().find(|c| c.coll == slice.coll).unwrap();
        assert_eq!(coll.natural, slice.runs);
        let lower = (slice.range as usize).checked_sub(1).map(|i| coll.ranges[i].clone());
        let upper = coll.ranges.get(slice.range as usize).cloned();
        let docs = stored.scanned.entry(slice.coll).or_default();
        let mut last: Option<Vec<u8>> = None;
        for block in &slice.blocks {
            let raw = zstd::bulk::decompress(&block.zstd, block.raw_len as usize).unwrap();
            assert_eq!(raw.len(), block.raw_len as usize);
            let mut items = Vec::new();
            if slice.runs {
                let mut leaf = RunLeaf::parse(raw.into()).unwrap();
                while leaf.advance().unwrap() {
                    let op = leaf.op().unwrap();
                    assert_eq!(op.ts, plan.start.ts);
                    items.push((op.n, op.value.to_vec()));
                }
            } else {
                let leaf = Leaf::parse(raw.into()).unwrap();
                items.extend(leaf.docs().map(|doc| (0, doc.to_vec())));
            }
            assert_eq!(items.len(), block.items as usize);
            for (i, (n, doc)) in items.into_iter().enumerate() {
                let key = id_key(&doc).unwrap();
                if i == 0 {
                    assert!(block.first_key.ends_with(&key));
                }
                assert!(slice.runs || last.as_ref().is_none_or(|last| *last < key), "order");
                assert!(lower.as_ref().is_none_or(|l| *l <= key), "below its range");
                assert!(upper.as_ref().is_none_or(|u| key < *u), "above its range");
                last = Some(key);
                let id = RawDocument::from_bytes(&doc).unwrap().get_i64("_id").unwrap();
                let slot = docs.entry(id).or_insert((n, doc.clone()));
                assert!(slice.runs || slot.1 == doc, "a document of a finished leaf came again");
                if slot.0 <= n {
                    *slot = (n, doc);
                }
            }
        }
    }
}

#[async_trait]
impl Uplink for Checker {
    async fn open(&self, _: Hello) -> Result<Session> {
        self.fails()?;
        let mut stored = self.stored.lock().unwrap();
        stored.epoch += 1;
        stored.opened += 1;
        let state = match (&stored.sync, &stored.ended) {
            (None, _) => PartState::Empty { why: None },
            (Some((sync, start)), None) => PartState::Syncing {
                plan: stored.plan.clone().map(Box::new),
                sync: *sync,
                start: *start,
                chain: stored.chain,
                progress: stored.ranges.values().cloned().collect(),
                ended: false,
            },
            (Some(_), Some(_)) => PartState::Tailing {
                chain: stored.chain,
                recent: stored.ends.iter().rev().copied().collect(),
            },
        };
        let (epoch, timeline) = (Epoch(stored.epoch), TimelineId(stored.timeline));
        Ok(Session { epoch, timeline, state })
    }

    async fn begin_sync(
        &self,
        session: &SessionRef,
        start: OpTime,
        reason: TimelineReason,
    ) -> Result<(TimelineId, SyncId)> {
        self.fails()?;
        let mut stored = self.stored.lock().unwrap();
        Self::fenced(&stored, session)?;
        let sync = SyncId([stored.timeline as u8 + 1; 8]);
        *stored = Stored {
            epoch: stored.epoch,
            timeline: stored.timeline + 1,
            sync: Some((sync, start)),
            chain: start,
            opened: stored.opened,
            reasons: [std::mem::take(&mut stored.reasons), vec![reason]].concat(),
            ..Stored::default()
        };
        Ok((TimelineId(stored.timeline), sync))
    }

    async fn plan_sync(&self, session: &SessionRef, plan: SyncPlan) -> Result<()> {
        self.fails()?;
        let mut stored = self.stored.lock().unwrap();
        Self::fenced(&stored, session)?;
        assert!(stored.plan.is_none());
        stored.plan = Some(plan);
        Ok(())
    }

    async fn sync_slice(&self, session: &SessionRef, slice: SyncSlice) -> Result<Ack> {
        self.fails()?;
        let mut stored = self.stored.lock().unwrap();
        Self::fenced(&stored, session)?;
        let (sync, start) = stored.sync.unwrap();
        assert_eq!(slice.sync, sync);
        assert!(slice.valid_from >= start.ts && slice.valid_from <= self.world.last().ts);
        self.blocks(&mut stored, &slice);
        let key = (slice.coll, slice.range);
        let known = stored.ranges.get(&key).map_or(0, |p| p.next_seq);
        assert_eq!(slice.seq, known, "out of sequence");
        assert!(!stored.ranges.get(&key).is_some_and(|p| p.done), "after the end");
        if slice.gone {
            stored.gone.push(slice.coll);
        }
        let SyncSlice { coll, range, resume, done, .. } = slice;
        let progress = RangeProgress { coll, range, next_seq: known + 1, resume, done };
        stored.ranges.insert(key, progress);
        drop(stored);
        self.fails()?;
        Ok(Ack::Stored)
    }

    async fn end_sync(&self, session: &SessionRef, end: SyncEnd) -> Result<()> {
        let mut stored = self.stored.lock().unwrap();
        Self::fenced(&stored, session)?;
        let plan = stored.plan.as_ref().unwrap();
        for coll in &plan.collections {
            for range in 0..=coll.ranges.len() as u32 {
                assert!(stored.ranges[&(coll.coll, range)].done);
            }
        }
        assert!(end.end <= stored.chain, "the end is not stored");
        stored.ended = Some(end);
        Ok(())
    }

    async fn oplog_slice(&self, session: &SessionRef, slice: Bytes) -> Result<Ack> {
        self.fails()?;
        let mut stored = self.stored.lock().unwrap();
        Self::fenced(&stored, session)?;
        let slice = Slice::parse(slice)?;
        let header = slice.header();
        if stored.ends.last() == Some(&header.last) {
            return Ok(Ack::AlreadyStored);
        }
        assert_eq!(header.prev, stored.chain, "a gap");
        let last = header.last;
        let decoded = slice.decode()?;
        let entries: Vec<_> = decoded.entries().map(|(at, raw)| (at, raw.to_vec())).collect();
        assert_eq!(entries.last().unwrap().0, last);
        stored.entries.extend(entries);
        stored.chain = last;
        stored.ends.push(last);
        stored.slices += 1;
        drop(stored);
        self.fails()?;
        Ok(Ack::Stored)
    }

    async fn fork(&self, session: &SessionRef, common: OpTime) -> Result<TimelineId> {
        let mut stored = self.stored.lock().unwrap();
        Self::fenced(&stored, session)?;
        assert!(stored.ends.contains(&common));
        stored.entries.retain(|(at, _)| at.ts <= common.ts);
        stored.ends.retain(|at| at.ts <= common.ts);
        stored.chain = common;
        stored.forks.push(common);
        stored.timeline += 1;
        Ok(TimelineId(stored.timeline))
    }

    async fn report(&self, _: &SessionRef, report: AgentReport) -> Result<()> {
        assert!(report.source.ts >= Ts::MIN);
        self.stored.lock().unwrap().reports += 1;
        Ok(())
    }
}
