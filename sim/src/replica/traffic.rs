//! Random writes of every kind.

use std::collections::BTreeMap;

use bson::{RawDocumentBuf, rawdoc};
use bygone_base::CollectionId;

use super::{
    ReplicaSet,
    doc::{change, fresh, id},
    log::{Log, Write},
    model::{Meta, id_of, key_of},
};
use crate::dice::Dice;

/// How much and what is written.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// `_id`s are numbers below this.
    pub ids: u64,
    /// Bound of a new document's padding.
    pub pad: u64,
    /// Collections beyond this are not created.
    pub collections: usize,
    /// Per mille of writes that change the catalogue.
    pub ddl: u64,
    /// Per mille of writes that are transactions, and of these how many are prepared.
    pub transactions: (u64, u64),
}

impl Default for Traffic {
    fn default() -> Self {
        Traffic { ids: 400, pad: 600, collections: 6, ddl: 40, transactions: (120, 400) }
    }
}

const DBS: [&str; 2] = ["d", "e"];
const NAMES: [&str; 6] = ["a", "b", "c.d", "x", "tmp", "log"];

impl Traffic {
    /// One random write.
    pub fn step(&self, set: &ReplicaSet, dice: &Dice) {
        let roll = dice.below(1000);
        set.write(|log, secs| {
            let open = log.undecided();
            if !open.is_empty() && dice.hits(150) {
                decide(log, secs, dice, &open);
            } else if log.model.living().is_empty() || roll < self.ddl {
                self.catalogue(log, secs, dice);
            } else if roll < self.ddl + self.transactions.0 {
                self.transaction(log, secs, dice);
            } else if roll < self.ddl + self.transactions.0 + 80 {
                self.batch(log, secs, dice);
            } else if roll > 980 {
                log.noop(secs, "periodic noop");
            } else {
                self.single(log, secs, dice);
            }
        });
    }

    /// Makes `n` collections with about `docs` documents each.
    pub fn fill(&self, set: &ReplicaSet, dice: &Dice, n: usize, docs: u64) {
        for i in 0..n {
            set.write(|log, secs| {
                let id = CollectionId([i as u8 + 1; 16]);
                let capped = i == 1;
                log.create(secs, id, "d", NAMES[i % NAMES.len()], options(dice, capped));
                for _ in 0..docs {
                    self.write(log, secs, dice, id);
                }
            });
        }
        set.replicate_all();
    }

    fn coll(&self, log: &Log, dice: &Dice, fits: impl Fn(&Meta) -> bool) -> Option<CollectionId> {
        let mut living = log.model.living();
        living.retain(|id| log.model.colls[id].now().is_some_and(&fits));
        dice.pick(&living).copied()
    }

    fn single(&self, log: &mut Log, secs: u32, dice: &Dice) {
        let Some(coll) = self.coll(log, dice, |_| true) else { return };
        self.write(log, secs, dice, coll);
    }

    fn write(&self, log: &mut Log, secs: u32, dice: &Dice, coll: CollectionId) {
        if let Some(write) = self.choose(log, dice, coll, &BTreeMap::new()) {
            log.write(secs, &write);
        }
    }

    /// A write that fits the documents as they are, or as `overlay` says.
    fn choose(
        &self,
        log: &Log,
        dice: &Dice,
        id_of_coll: CollectionId,
        overlay: &BTreeMap<(CollectionId, Vec<u8>), Option<Vec<u8>>>,
    ) -> Option<Write> {
        let coll = log.model.colls.get(&id_of_coll)?;
        let capped = coll.now()?.capped();
        // Few hot documents, so that updates meet.
        let n = if dice.hits(300) { dice.below(self.ids / 16) } else { dice.below(self.ids) };
        let fresh_doc = fresh(dice, id(n), self.pad);
        let key = key_of(&fresh_doc);
        if log.is_locked(id_of_coll, Some(&key)) {
            return None;
        }
        let now = match overlay.get(&(id_of_coll, key.clone())) {
            Some(doc) => doc.clone(),
            None => coll.doc(&key).and_then(|v| v.doc.as_ref()).map(|doc| doc.to_vec()),
        };
        let Some(before) = now else { return Some(Write::Insert(id_of_coll, fresh_doc)) };
        if !capped && dice.hits(250) {
            return Some(Write::Delete(id_of_coll, id_of(&before)));
        }
        let change = change(dice, &before, log.old, capped);
        Some(Write::Update(id_of_coll, change.o, change.after))
    }

    fn several(&self, log: &Log, dice: &Dice, n: u64, one_coll: bool) -> Vec<Write> {
        let mut overlay = BTreeMap::new();
        let mut writes = Vec::new();
        let first = self.coll(log, dice, |meta| !meta.capped());
        for _ in 0..n {
            let coll = if one_coll { first } else { self.coll(log, dice, |meta| !meta.capped()) };
            let Some(coll) = coll else { break };
            let Some(write) = self.choose(log, dice, coll, &overlay) else { continue };
            let after = match &write {
                Write::Insert(_, doc) | Write::Update(_, _, doc) => Some(doc.clone()),
                Write::Delete(..) => None,
            };
            overlay.insert(write.target(), after);
            writes.push(write);
        }
        writes
    }

    fn batch(&self, log: &mut Log, secs: u32, dice: &Dice) {
        let vectored = dice.hits(600) && !log.old;
        let mut writes = self.several(log, dice, dice.between(2, 6), vectored);
        if vectored {
            writes.retain(|w| matches!(w, Write::Insert(..)));
        }
        if !writes.is_empty() {
            log.batch(secs, &writes, vectored);
        }
    }

    fn transaction(&self, log: &mut Log, secs: u32, dice: &Dice) {
        let writes = self.several(log, dice, dice.between(1, 8), false);
        if writes.is_empty() {
            return;
        }
        let parts = dice.between(1, 3) as usize;
        if dice.hits(self.transactions.1) && log.undecided().len() < 4 {
            log.prepare(secs, writes, parts);
        } else {
            log.transaction(secs, &writes, parts);
        }
    }

    fn catalogue(&self, log: &mut Log, secs: u32, dice: &Dice) {
        let living = log.model.living();
        if living.len() < 2 || (living.len() < self.collections && dice.hits(400)) {
            return self.create(log, secs, dice);
        }
        if dice.hits(150) {
            let name = format!("v{}", dice.below(3));
            let on = dice.pick(&NAMES).copied().filter(|_| dice.hits(700));
            return log.view(secs, DBS[dice.below(2) as usize], &name, on);
        }
        if dice.hits(20) {
            return drop_database(log, secs, dice);
        }
        let Some(id) = dice.pick(&living).copied() else { return };
        if log.is_locked(id, None) {
            return;
        }
        let capped = log.model.colls[&id].now().is_some_and(Meta::capped);
        match dice.below(8) {
            0 => log.drop_coll(secs, id),
            1 | 2 => rename(log, secs, dice, id),
            3 => log.coll_mod(secs, id, ["off", "moderate", "strict"][dice.below(3) as usize]),
            4 | 5 => log.create_index(
                secs,
                id,
                ["v", "w", "sub.x"][dice.below(3) as usize],
                dice.hits(500),
            ),
            6 => log.drop_index(secs, id),
            _ if capped => log.empty_capped(secs, id),
            _ => {}
        }
    }

    fn create(&self, log: &mut Log, secs: u32, dice: &Dice) {
        let (db, name) = (DBS[dice.below(2) as usize], NAMES[dice.below(6) as usize]);
        if log.model.find(db, name).is_some() {
            return;
        }
        let mut bytes = [0; 16];
        dice.rng().fill(&mut bytes);
        log.create(secs, CollectionId(bytes), db, name, options(dice, dice.hits(250)));
    }
}

fn options(dice: &Dice, capped: bool) -> RawDocumentBuf {
    if !capped {
        return if dice.hits(200) {
            rawdoc! { "validationLevel": "off" }
        } else {
            rawdoc! {}
        };
    }
    let size = dice.between(4, 40) as i64 * 1000;
    if dice.hits(500) {
        rawdoc! { "capped": true, "size": size, "max": dice.between(3, 60) as i64 }
    } else {
        rawdoc! { "capped": true, "size": size }
    }
}

fn decide(log: &mut Log, secs: u32, dice: &Dice, open: &[usize]) {
    let Some(index) = dice.pick(open).copied() else { return };
    if dice.hits(250) {
        log.abort(secs, index);
        return;
    }
    let (from, to) = (log.prepared[index].at.ts, log.last().ts);
    let between: Vec<_> =
        log.entries.iter().rev().map(|e| e.at.ts).take_while(|ts| *ts >= from).collect();
    let commit = if dice.hits(400) { from } else { dice.pick(&between).copied().unwrap_or(to) };
    log.commit(secs, index, commit);
}

fn rename(log: &mut Log, secs: u32, dice: &Dice, id: CollectionId) {
    let Some(db) = log.model.colls[&id].now().map(|meta| meta.db.clone()) else { return };
    let name = NAMES[dice.below(6) as usize];
    let target = log.model.find(&db, name);
    if target == Some(id) || target.is_some_and(|target| log.is_locked(target, None)) {
        return;
    }
    log.rename(secs, id, &db, name);
}

fn drop_database(log: &mut Log, secs: u32, dice: &Dice) {
    let db = DBS[dice.below(2) as usize];
    let living = log.model.living();
    let mut of = living.iter().filter(|id| log.model.colls[*id].now().is_some_and(|m| m.db == db));
    if of.all(|id| !log.is_locked(*id, None)) {
        log.drop_database(secs, db);
    }
}
