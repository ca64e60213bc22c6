//! Random histories.

use std::{collections::BTreeMap, sync::Arc};

use bson::rawdoc;
use bygone_base::{CollectionId, ErrorKind, OpTime, SeededRng, Ts, When};
use bygone_blockstore::store::{FaultPlan, Faulty};
use bygone_head::{Head, overview};

use crate::{
    entries::{Crud, Part, Txn, abort, apply_ops, command, commit, crud, doc, noop},
    world::{Dice, START, State, World, open, state_of},
};

/// What an entry does to the model, when it is decided.
#[derive(Debug, Clone)]
enum Effect {
    Create(CollectionId, String),
    Drop(CollectionId),
    Rename(CollectionId, String),
    Truncate(CollectionId),
    Write(CollectionId, Crud),
}

/// A prepared transaction that is not decided.
#[derive(Debug, Clone)]
struct Open {
    txn: Txn,
    prepared: Ts,
    effects: Vec<Effect>,
}

/// The truth: what was decided, and when.
#[derive(Debug, Clone, Default)]
struct Model {
    decided: Vec<(Ts, Effect)>,
    open: Vec<Open>,
    /// The newest state, for choosing operations that servers could have logged.
    names: BTreeMap<CollectionId, String>,
    docs: BTreeMap<CollectionId, BTreeMap<i32, i32>>,
    /// Documents that an undecided transaction holds.
    locked: Vec<(CollectionId, i32)>,
}

impl Model {
    fn decide(&mut self, at: Ts, effect: Effect) {
        apply(&mut self.names, &mut self.docs, &effect);
        self.decided.push((at, effect));
    }

    fn state(&self, at: Ts) -> State {
        let (mut names, mut docs) = (BTreeMap::new(), BTreeMap::new());
        let mut decided: Vec<_> = self.decided.iter().filter(|(ts, _)| *ts <= at).collect();
        decided.sort_by_key(|(ts, _)| *ts);
        decided.iter().for_each(|(_, effect)| apply(&mut names, &mut docs, effect));
        let named = |id: &CollectionId| names[id].clone();
        let raw = |docs: &BTreeMap<i32, i32>| docs.iter().map(|(i, v)| (*i, doc(*i, *v))).collect();
        docs.iter().map(|(id, docs)| (named(id), raw(docs))).collect()
    }
}

fn apply(
    names: &mut BTreeMap<CollectionId, String>,
    docs: &mut BTreeMap<CollectionId, BTreeMap<i32, i32>>,
    effect: &Effect,
) {
    match effect {
        Effect::Create(id, name) => {
            names.insert(*id, format!("d.{name}"));
            docs.insert(*id, BTreeMap::new());
        }
        Effect::Drop(id) => {
            names.remove(id);
            docs.remove(id);
        }
        Effect::Rename(id, name) => {
            names.insert(*id, format!("d.{name}"));
        }
        Effect::Truncate(id) => docs.get_mut(id).unwrap().clear(),
        Effect::Write(id, crud) => {
            let docs = docs.get_mut(id).unwrap();
            match *crud {
                Crud::Insert(i, v) | Crud::Replace(i, v) | Crud::Update(i, v) => docs.insert(i, v),
                Crud::Delete(i) => docs.remove(&i),
            };
        }
    }
}

/// Writes entries and keeps the truth.
struct Story {
    dice: Dice,
    model: Model,
    /// Everything so far: positions, entries, and the model after each.
    log: Vec<(OpTime, Vec<u8>, Model)>,
    last: OpTime,
    /// The position up to which slices are stored.
    stored: OpTime,
    term: i64,
    number: i64,
    next_coll: u8,
}

impl Story {
    fn new(seed: u64) -> Self {
        Story {
            dice: Dice::new(seed),
            model: Model::default(),
            log: Vec::new(),
            last: START,
            stored: START,
            term: 1,
            number: 0,
            next_coll: 0,
        }
    }

    fn tick(&mut self) -> OpTime {
        let inc = if self.dice.one_in(3) { 1 } else { self.last.ts.inc() + 1 };
        let secs = self.last.ts.secs() + u32::from(inc == 1);
        self.last = OpTime::new(Ts::new(secs, inc), self.term);
        self.last
    }

    fn wrote(&mut self, at: OpTime, entry: Vec<u8>) {
        self.log.push((at, entry, self.model.clone()));
    }

    fn some_coll(&self) -> Option<CollectionId> {
        let ids: Vec<_> = self.model.names.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[self.dice.roll(ids.len() as u64) as usize])
    }

    /// A write that a server could log now.
    fn some_write(&self, coll: CollectionId) -> Option<Crud> {
        let id = self.dice.roll(60) as i32;
        let v = self.dice.roll(1_000_000) as i32;
        if self.model.locked.contains(&(coll, id)) {
            return None;
        }
        Some(match (self.model.docs[&coll].contains_key(&id), self.dice.roll(4)) {
            (false, _) => Crud::Insert(id, v),
            (true, 0) => Crud::Delete(id),
            (true, 1) => Crud::Replace(id, v),
            (true, _) => Crud::Update(id, v),
        })
    }

    fn write(&mut self) {
        let Some(coll) = self.some_coll() else { return self.create() };
        let Some(op) = self.some_write(coll) else { return };
        let (at, ns) = (self.tick(), self.model.names[&coll].clone());
        self.model.decide(at.ts, Effect::Write(coll, op.clone()));
        self.wrote(at, crud(at, coll, &ns, &op));
    }

    fn create(&mut self) {
        self.next_coll += 1;
        let (coll, name) = (CollectionId([self.next_coll; 16]), format!("c{}", self.next_coll));
        let at = self.tick();
        self.model.decide(at.ts, Effect::Create(coll, name.clone()));
        self.wrote(at, command(at, coll, rawdoc! { "create": name }));
    }

    fn ddl(&mut self) {
        let Some(coll) = self.some_coll().filter(|c| !self.model.locked.iter().any(|l| l.0 == *c))
        else {
            return self.create();
        };
        let ns = self.model.names[&coll].clone();
        let name = ns.strip_prefix("d.").unwrap();
        match self.dice.roll(5) {
            0 => {
                let at = self.tick();
                self.model.decide(at.ts, Effect::Drop(coll));
                self.wrote(at, command(at, coll, rawdoc! { "drop": name }));
            }
            1 => {
                let at = self.tick();
                let to = format!("r{}", at.ts.0);
                self.model.decide(at.ts, Effect::Rename(coll, to.clone()));
                let o = rawdoc! { "renameCollection": ns.as_str(), "to": format!("d.{to}"), "stayTemp": false };
                self.wrote(at, command(at, coll, o));
            }
            2 => {
                let at = self.tick();
                self.model.decide(at.ts, Effect::Truncate(coll));
                self.wrote(at, command(at, coll, rawdoc! { "emptycapped": name }));
            }
            _ => self.create(),
        }
    }

    /// Several writes of one transaction; some of them in two entries, some prepared.
    fn transaction(&mut self) {
        let Some(coll) = self.some_coll() else { return };
        let ns = self.model.names[&coll].clone();
        let mut ops: Vec<Crud> = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..=self.dice.roll(4) {
            let Some(op) = self.some_write(coll) else { continue };
            let (Crud::Insert(id, _)
            | Crud::Replace(id, _)
            | Crud::Update(id, _)
            | Crud::Delete(id)) = op;
            if !ids.contains(&id) {
                ids.push(id);
                ops.push(op);
            }
        }
        if ops.is_empty() {
            return;
        }
        self.number += 1;
        let mut txn = Txn { session: self.number as i32, number: self.number, prev: None };
        let effects: Vec<Effect> = ops.iter().map(|op| Effect::Write(coll, op.clone())).collect();
        let inner: Vec<_> = ops.iter().map(|op| op.inner(coll, &ns)).collect();
        let split = if self.dice.one_in(2) { inner.len() / 2 } else { 0 };
        if split > 0 {
            let at = self.tick();
            let entry = apply_ops(at, txn, inner[..split].to_vec(), Part::More);
            self.wrote(at, entry);
            txn.prev = Some(at);
        }
        let prepared = self.dice.one_in(2);
        let at = self.tick();
        let part = if prepared { Part::Prepared } else { Part::Last };
        if prepared {
            self.model.locked.extend(ids.iter().map(|id| (coll, *id)));
            let open = Txn { prev: Some(at), ..txn };
            self.model.open.push(Open { txn: open, prepared: at.ts, effects });
        } else {
            effects.into_iter().for_each(|effect| self.model.decide(at.ts, effect));
        }
        self.wrote(at, apply_ops(at, txn, inner[split..].to_vec(), part));
    }

    fn end_transaction(&mut self) {
        if self.model.open.is_empty() {
            return;
        }
        let which = self.dice.roll(self.model.open.len() as u64) as usize;
        let open = self.model.open.remove(which);
        for effect in &open.effects {
            let Effect::Write(coll, crud) = effect else { continue };
            let (Crud::Insert(id, _)
            | Crud::Replace(id, _)
            | Crud::Update(id, _)
            | Crud::Delete(id)) = crud;
            self.model.locked.retain(|l| l != &(*coll, *id));
        }
        let at = self.tick();
        if self.dice.one_in(3) {
            self.wrote(at, abort(at, open.txn));
            return;
        }
        // At or after the prepare, before the commit's own entry.
        let span = at.ts.0 - open.prepared.0;
        let decided = Ts(open.prepared.0 + self.dice.roll(span));
        open.effects.into_iter().for_each(|effect| self.model.decide(decided, effect));
        self.wrote(at, commit(at, open.txn, decided));
    }

    fn step(&mut self) {
        match self.dice.roll(20) {
            0 => self.create(),
            1 => self.ddl(),
            2 | 3 => self.transaction(),
            4 | 5 => self.end_transaction(),
            6 => {
                let at = self.tick();
                self.wrote(at, noop(at));
            }
            _ => self.write(),
        }
    }

    /// Stores what is not stored yet.
    async fn store(&mut self, world: &World) {
        let new: Vec<_> = (self.log.iter())
            .filter(|(at, ..)| *at > self.stored)
            .map(|(at, entry, _)| (*at, entry.clone()))
            .collect();
        for some in new.chunks(7) {
            world.slice(self.stored, some).await;
            self.stored = some.last().unwrap().0;
        }
    }

    /// The source's history goes back to an entry that is stored.
    async fn fork(&mut self, world: &mut World) {
        let keep = self.log.len() - self.dice.roll(self.log.len() as u64 / 2) as usize;
        self.log.truncate(keep);
        let (at, _, model) = self.log.last().unwrap().clone();
        (self.model, self.last, self.stored) = (model, at, at);
        self.term += 1;
        world.fork(at).await;
    }

    /// The moments whose states are decided in what is stored, up to the last entry.
    fn decidable(&self) -> Ts {
        let prepares = self.model.open.iter().map(|open| open.prepared.prev());
        prepares.fold(self.stored.ts, Ts::min)
    }
}

/// Panics with the first documents that differ.
fn same(got: &State, want: &State, what: &str) {
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{what}");
    for (ns, want) in want {
        let got = &got[ns];
        let ids = got.keys().chain(want.keys());
        let differ: Vec<_> = ids.filter(|id| got.get(id) != want.get(id)).take(3).collect();
        let shown: Vec<_> = differ.iter().map(|id| (id, got.get(id), want.get(id))).collect();
        assert!(shown.is_empty(), "{what}: {ns}: (_id, got, wanted) {shown:?}");
    }
}

async fn check_moments(world: &World, story: &Story, count: u64) {
    let ranges = overview(&world.part, &world.part).await.unwrap().ranges.swap_remove(0);
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return };
    // What a history held that went back is void: only that parts its range.
    assert!(ranges.len() <= world.timelines.len(), "{ranges:?}");
    let newest = world.view(When::Latest).await.unwrap();
    assert!(newest.at <= story.decidable());
    same(&state_of(&newest).await.unwrap(), &story.model.state(newest.at), "latest");
    for _ in 0..count {
        let (at, ..) = &story.log[story.dice.roll(story.log.len() as u64) as usize];
        let at = if story.dice.one_in(4) { at.ts.prev() } else { at.ts };
        let got = world.state(When::Including(at)).await;
        let void = at < last.to && !ranges.iter().any(|range| range.contains(at));
        if at < first.from || void {
            assert_eq!(got.unwrap_err().kind(), ErrorKind::NotCovered);
        } else if at > story.decidable() {
            // Undecided transactions of two moments may end in between.
            if let Ok(got) = got {
                same(&got, &story.model.state(at), &at.to_string());
            }
        } else {
            same(&got.unwrap(), &story.model.state(at), &at.to_string());
        }
    }
    for manifest in world.part.manifests().await.unwrap() {
        let included = bygone_snapshot::timeline::includes(
            &bygone_snapshot::histories(&world.timelines)[0],
            manifest.timeline,
            manifest.at,
        );
        if included {
            let got = world.state(When::Snapshot(manifest.id.clone())).await.unwrap();
            same(&got, &story.model.state(manifest.at.ts), manifest.id.as_str());
        }
    }
}

async fn run(seed: u64) {
    let mut world = World::new(seed, "8.2").await;
    let mut story = Story::new(seed);
    let mut head: Option<Head> = None;
    for round in 0..24 {
        for _ in 0..story.dice.roll(60) {
            story.step();
        }
        story.store(&world).await;
        if round > 3 && story.dice.one_in(6) && story.log.len() > 20 {
            story.fork(&mut world).await;
            head = None;
        }
        // A crash: whatever was in memory is gone.
        if story.dice.one_in(3) {
            head = None;
        }
        let mut now = match head.take() {
            Some(head) => head,
            None => world.head(1 + story.dice.roll(20_000) as usize).await,
        };
        now.catch_up().await.unwrap();
        if story.dice.one_in(3) {
            now.validate(1_000).await.unwrap();
        }
        if story.dice.one_in(2) && now.safe_point().is_some() {
            let taken = world.snapshot(&mut now).await.unwrap();
            let got = world.state(When::Snapshot(taken.id.clone())).await.unwrap();
            same(&got, &story.model.state(taken.at.ts), taken.id.as_str());
        }
        head = Some(now);
    }
    let mut last = world.head(usize::MAX).await;
    world.snapshot(&mut last).await.unwrap();
    check_moments(&world, &story, 25).await;
}

#[tokio::test]
async fn every_moment_is_what_the_model_was() {
    for seed in 0..24 {
        run(seed).await;
    }
}

/// Every call to the store may fail, before or after it did its work. Whatever fails, the same head or a new
/// one goes on, and nothing is wrong in the end.
#[tokio::test]
async fn a_store_that_fails_costs_time_only() {
    for seed in 100..112 {
        let mut world = World::new(seed, "8.2").await;
        let mut story = Story::new(seed);
        let rng = Arc::new(SeededRng::new(seed));
        let plan = FaultPlan { before: 25, lost_reply: 25, ..FaultPlan::default() };
        let faulty = Faulty::new(
            Arc::new(world.store.clone()),
            world.clock.clone(),
            rng,
            FaultPlan::default(),
        );
        let faulty = Arc::new(faulty);
        let part = world.over(faulty.clone()).await;
        faulty.set_plan(plan);
        let mut head: Option<Head> = None;
        let mut failures = 0;
        for _ in 0..20 {
            for _ in 0..40 {
                story.step();
            }
            story.store(&world).await;
            if head.is_none() {
                head = open(&part, 3_000).await.ok();
            }
            let Some(now) = &mut head else {
                failures += 1;
                continue;
            };
            if now.catch_up().await.is_err() {
                (head, failures) = (None, failures + 1);
                continue;
            }
            // Not opened anew after a snapshot that failed: it says itself when it must be.
            for _ in 0..2 {
                match now.snapshot(bygone_base::Clock::now(world.clock.as_ref())).await {
                    Ok(_) => break,
                    Err(e) if e.kind() == ErrorKind::Internal => {
                        assert!(e.to_string().contains("anew"), "{e}");
                        head = None;
                        break;
                    }
                    Err(_) => failures += 1,
                }
            }
        }
        assert!(failures > 0, "nothing failed");
        let mut last = world.head(usize::MAX).await;
        world.snapshot(&mut last).await.unwrap();
        check_moments(&world, &story, 15).await;
        world.timelines.clear();
    }
}
