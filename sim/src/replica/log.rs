//! The oplog and the truth behind it: every write appends an entry, as a server logs it, and
//! notes in the model what it did.

use std::sync::Arc;

use bson::{
    Binary, RawArrayBuf, RawBson, RawDocumentBuf, Timestamp, cstr, rawdoc, spec::BinarySubtype,
};
use bygone_base::{CollectionId, OpTime, Ts};

use super::model::{Coll, Meta, Model, Place, Version, id_of, key_of};

/// One entry.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Where it stands.
    pub at: OpTime,
    /// Raw BSON, as in `local.oplog.rs`.
    pub raw: Arc<[u8]>,
}

/// A write to one document.
#[derive(Debug, Clone)]
pub enum Write {
    /// A new document.
    Insert(CollectionId, Vec<u8>),
    /// A change of the document with this `_id`: as logged, and the document after it.
    Update(CollectionId, RawDocumentBuf, Vec<u8>),
    /// `{_id: x}` of a document that goes.
    Delete(CollectionId, RawDocumentBuf),
}

impl Write {
    /// Collection and key.
    pub fn target(&self) -> (CollectionId, Vec<u8>) {
        match self {
            Write::Insert(coll, doc) | Write::Update(coll, _, doc) => (*coll, key_of(doc)),
            Write::Delete(coll, id) => (*coll, key_of(id.as_bytes())),
        }
    }
}

/// A transaction that was prepared.
#[derive(Debug, Clone)]
pub struct Prepared {
    session: i32,
    number: i64,
    /// Where its first entry stands.
    pub first: OpTime,
    /// Its prepare entry.
    pub at: OpTime,
    /// The entry that decided it.
    pub decided: Option<Ts>,
    /// What it writes.
    pub writes: Vec<Write>,
}

/// Oplog and model.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// All entries since the beginning.
    pub entries: Vec<Logged>,
    /// How many of the oldest were given up (roll-over).
    pub first: usize,
    /// The term that new entries get.
    pub term: i64,
    /// The truth.
    pub model: Model,
    /// Prepared transactions, decided ones too.
    pub prepared: Vec<Prepared>,
    /// First and last entry of transactions that took several.
    pub chains: Vec<(OpTime, OpTime)>,
    /// Servers before 5.0: `$v: 1`, and what capped collections lose is not logged.
    pub old: bool,
    /// Sessions that were used.
    pub sessions: i32,
}

/// A timestamp as BSON.
pub fn stamp(ts: Ts) -> Timestamp {
    Timestamp { time: ts.secs(), increment: ts.inc() }
}

/// A UUID as BSON.
pub fn uuid(id: CollectionId) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: id.0.to_vec() }
}

fn id_index() -> RawDocumentBuf {
    rawdoc! { "v": 2_i32, "key": { "_id": 1_i32 }, "name": "_id_" }
}

fn array(docs: impl IntoIterator<Item = RawDocumentBuf>) -> RawArrayBuf {
    let mut array = RawArrayBuf::new();
    docs.into_iter().for_each(|doc| array.push(doc));
    array
}

fn extend(doc: &mut RawDocumentBuf, more: &RawDocumentBuf) {
    for (name, value) in more.iter().flatten() {
        doc.append(name, value);
    }
}

impl Log {
    /// The last entry.
    pub fn last(&self) -> OpTime {
        self.entries.last().map(|e| e.at).unwrap_or_default()
    }

    /// Where the next entry goes, not before `secs`.
    fn next(&self, secs: u32) -> OpTime {
        let last = self.last().ts;
        let ts = if secs > last.secs() { Ts::new(secs, 1) } else { Ts(last.0 + 1) };
        OpTime::new(ts, self.term)
    }

    fn append(&mut self, at: OpTime, mut entry: RawDocumentBuf) -> OpTime {
        entry.append(cstr!("ts"), stamp(at.ts));
        entry.append(cstr!("t"), at.term);
        entry.append(cstr!("v"), 2_i64);
        self.entries.push(Logged { at, raw: entry.into_bytes().into() });
        at
    }

    fn ns(&self, coll: CollectionId) -> String {
        self.model.colls.get(&coll).and_then(Coll::now).map(Meta::ns).unwrap_or_default()
    }

    /// The fields of a write, within an applyOps or by itself.
    fn fields(&self, write: &Write) -> RawDocumentBuf {
        let (coll, _) = write.target();
        let (ns, ui) = (self.ns(coll), uuid(coll));
        match write {
            Write::Insert(_, doc) => {
                let o = RawDocumentBuf::from_bytes(doc.clone()).unwrap_or_default();
                rawdoc! { "op": "i", "ns": ns, "ui": ui, "o": o, "o2": id_of(doc) }
            }
            Write::Update(_, o, after) => {
                rawdoc! { "op": "u", "ns": ns, "ui": ui, "o": o.clone(), "o2": id_of(after) }
            }
            Write::Delete(_, id) => rawdoc! { "op": "d", "ns": ns, "ui": ui, "o": id.clone() },
        }
    }

    /// Notes the effect of a write decided at `place` and seen from `seen` on.
    fn note(&mut self, write: &Write, place: Place, seen: Ts) {
        let (coll, key) = write.target();
        let Some(coll) = self.model.colls.get_mut(&coll) else { return };
        let versions = coll.docs.entry(key).or_default();
        let before = versions.last().filter(|v| v.doc.is_some()).map(|v| v.place);
        let doc = match write {
            Write::Insert(_, doc) | Write::Update(_, _, doc) => Some(doc.clone().into()),
            Write::Delete(..) => None,
        };
        versions.push(Version { ts: place.0, seen, doc, place: before.unwrap_or(place) });
    }

    /// One write by itself.
    pub fn write(&mut self, secs: u32, write: &Write) -> OpTime {
        let at = self.next(secs);
        self.append(at, self.fields(write));
        self.note(write, (at.ts, 0), at.ts);
        self.trim(secs, write.target().0);
        at
    }

    /// What a capped collection loses after a write.
    fn trim(&mut self, secs: u32, id: CollectionId) {
        loop {
            let Some(coll) = self.model.colls.get(&id) else { return };
            let Some(meta) = coll.now().filter(|meta| meta.capped()) else { return };
            let (size, max) = meta.limits();
            let (mut bytes, mut count, mut oldest) = (0, 0, None::<(Place, &[u8])>);
            for version in coll.docs.values().filter_map(|v| v.last()) {
                let Some(doc) = &version.doc else { continue };
                bytes += doc.len() as u64;
                count += 1;
                if oldest.is_none_or(|(place, _)| version.place < place) {
                    oldest = Some((version.place, doc));
                }
            }
            let Some((_, doc)) = oldest.filter(|_| bytes > size || count > max) else { return };
            let write = Write::Delete(id, id_of(doc));
            if self.old {
                let at = self.last();
                self.note(&write, (at.ts, u32::MAX), at.ts);
            } else {
                let at = self.next(secs);
                self.append(at, self.fields(&write));
                self.note(&write, (at.ts, 0), at.ts);
            }
        }
    }

    /// Several writes in one entry: a vectored insert (`retryable`) or a user's batch.
    pub fn batch(&mut self, secs: u32, writes: &[Write], retryable: bool) -> OpTime {
        let at = self.next(secs);
        let ops = array(writes.iter().map(|w| self.fields(w)));
        let mut entry = rawdoc! { "op": "c", "ns": "admin.$cmd", "o": { "applyOps": ops } };
        if retryable {
            let (session, number) = self.session();
            extend(&mut entry, &session_fields(session, number, OpTime::default()));
            entry.append(cstr!("multiOpType"), 1_i32);
        }
        self.append(at, entry);
        for (n, write) in writes.iter().enumerate() {
            self.note(write, (at.ts, n as u32), at.ts);
        }
        at
    }

    fn session(&mut self) -> (i32, i64) {
        self.sessions += 1;
        (self.sessions % 7, i64::from(self.sessions))
    }

    /// The entries of a transaction, in `parts`; the last one says `more`.
    fn parts(
        &mut self,
        secs: u32,
        writes: &[Write],
        parts: usize,
        prepare: bool,
    ) -> (OpTime, OpTime, i32, i64) {
        let (mut session, number) = self.session();
        while self.prepared.iter().any(|p| p.decided.is_none() && p.session == session) {
            session += 7;
        }
        let size = writes.len().div_ceil(parts.max(1)).max(1);
        let chunks: Vec<&[Write]> = writes.chunks(size).collect();
        let (mut first, mut prev) = (None, OpTime::default());
        for (i, chunk) in chunks.iter().enumerate() {
            let mut o = rawdoc! { "applyOps": array(chunk.iter().map(|w| self.fields(w))) };
            let last = i + 1 == chunks.len();
            if !last {
                o.append(cstr!("partialTxn"), true);
            } else if prepare {
                o.append(cstr!("prepare"), true);
            }
            if last && chunks.len() > 1 {
                o.append(cstr!("count"), writes.len() as i64);
            }
            let mut entry = rawdoc! { "op": "c", "ns": "admin.$cmd", "o": o };
            extend(&mut entry, &session_fields(session, number, prev));
            let at = self.next(secs);
            prev = self.append(at, entry);
            first.get_or_insert(at);
        }
        let first = first.unwrap_or_default();
        self.chains.push((first, prev));
        (first, prev, session, number)
    }

    /// A transaction in `parts` entries, committed with the last.
    pub fn transaction(&mut self, secs: u32, writes: &[Write], parts: usize) -> OpTime {
        let (_, at, ..) = self.parts(secs, writes, parts, false);
        for (n, write) in writes.iter().enumerate() {
            self.note(write, (at.ts, n as u32), at.ts);
        }
        at
    }

    /// Prepares a transaction; nobody sees anything of it yet.
    pub fn prepare(&mut self, secs: u32, writes: Vec<Write>, parts: usize) -> OpTime {
        let (first, at, session, number) = self.parts(secs, &writes, parts, true);
        self.prepared.push(Prepared { session, number, first, at, decided: None, writes });
        at
    }

    /// Prepared transactions that are not decided.
    pub fn undecided(&self) -> Vec<usize> {
        let open = self.prepared.iter().enumerate().filter(|(_, p)| p.decided.is_none());
        open.map(|(i, _)| i).collect()
    }

    /// Commits a prepared transaction at `commit`, a moment from its prepare to now.
    pub fn commit(&mut self, secs: u32, index: usize, commit: Ts) -> OpTime {
        let Some(of) = self.prepared.get(index).cloned() else { return self.last() };
        let commit = commit.clamp(of.at.ts, self.last().ts);
        let at = self.decide(
            secs,
            index,
            rawdoc! { "commitTransaction": 1_i32, "commitTimestamp": stamp(commit) },
        );
        for (n, write) in of.writes.iter().enumerate() {
            self.note(write, (commit, n as u32), at.ts);
        }
        at
    }

    /// Aborts a prepared transaction.
    pub fn abort(&mut self, secs: u32, index: usize) -> OpTime {
        self.decide(secs, index, rawdoc! { "abortTransaction": 1_i32 })
    }

    fn decide(&mut self, secs: u32, index: usize, o: RawDocumentBuf) -> OpTime {
        let at = self.next(secs);
        let Some(of) = self.prepared.get_mut(index) else { return at };
        of.decided = Some(at.ts);
        let mut entry = rawdoc! { "op": "c", "ns": "admin.$cmd", "o": o };
        extend(&mut entry, &session_fields(of.session, of.number, of.at));
        self.append(at, entry)
    }

    /// Whether an undecided transaction holds the document (or any of the collection).
    pub fn is_locked(&self, coll: CollectionId, key: Option<&[u8]>) -> bool {
        let open = self.prepared.iter().filter(|p| p.decided.is_none());
        open.flat_map(|p| &p.writes).any(|write| {
            let (of, held) = write.target();
            of == coll && key.is_none_or(|key| key == held)
        })
    }

    /// A no-op.
    pub fn noop(&mut self, secs: u32, what: &str) -> OpTime {
        let at = self.next(secs);
        self.append(at, rawdoc! { "op": "n", "ns": "", "o": { "msg": what } })
    }

    fn command(
        &mut self,
        secs: u32,
        db: &str,
        ui: Option<CollectionId>,
        o: RawDocumentBuf,
    ) -> OpTime {
        let at = self.next(secs);
        let mut entry = rawdoc! { "op": "c", "ns": format!("{db}.$cmd") };
        if let Some(ui) = ui {
            entry.append(cstr!("ui"), uuid(ui));
        }
        entry.append(cstr!("o"), o);
        self.append(at, entry)
    }

    /// Creates a collection.
    pub fn create(
        &mut self,
        secs: u32,
        id: CollectionId,
        db: &str,
        name: &str,
        options: RawDocumentBuf,
    ) {
        let mut o = rawdoc! { "create": name };
        extend(&mut o, &options);
        o.append(cstr!("idIndex"), id_index());
        let at = self.command(secs, db, Some(id), o);
        let indexes = vec![id_index()];
        let meta = Meta { db: db.to_owned(), name: name.to_owned(), options, indexes };
        self.model.colls.entry(id).or_default().meta.push((at.ts, Some(meta)));
    }

    fn change(&mut self, id: CollectionId, at: OpTime, edit: impl FnOnce(Meta) -> Option<Meta>) {
        let Some(coll) = self.model.colls.get_mut(&id) else { return };
        let Some(now) = coll.now().cloned() else { return };
        coll.meta.push((at.ts, edit(now)));
    }

    fn meta(&self, id: CollectionId) -> Meta {
        let none =
            Meta { db: String::new(), name: String::new(), options: rawdoc! {}, indexes: vec![] };
        self.model.colls.get(&id).and_then(Coll::now).cloned().unwrap_or(none)
    }

    /// Drops a collection.
    pub fn drop_coll(&mut self, secs: u32, id: CollectionId) {
        let meta = self.meta(id);
        let at = self.command(secs, &meta.db, Some(id), rawdoc! { "drop": meta.name });
        self.change(id, at, |_| None);
    }

    /// Drops a database: its collections one by one, then itself.
    pub fn drop_database(&mut self, secs: u32, db: &str) {
        for id in self.model.living() {
            if self.meta(id).db == db {
                self.drop_coll(secs, id);
            }
        }
        let views: Vec<String> = self
            .model
            .views
            .keys()
            .filter(|id| id.starts_with(&format!("{db}.")))
            .cloned()
            .collect();
        if !views.is_empty() {
            let at = self.command(secs, db, None, rawdoc! { "drop": "system.views" });
            for id in views {
                self.model.views.entry(id).or_default().push((at.ts, None));
            }
        }
        self.command(secs, db, None, rawdoc! { "dropDatabase": 1_i32 });
    }

    /// Renames a collection, over another one when there is one.
    pub fn rename(&mut self, secs: u32, id: CollectionId, db: &str, name: &str) {
        let meta = self.meta(id);
        let target = self.model.find(db, name).filter(|target| *target != id);
        let mut o = rawdoc! { "renameCollection": meta.ns(), "to": format!("{db}.{name}"), "stayTemp": false };
        if let Some(target) = target {
            o.append(cstr!("dropTarget"), uuid(target));
        }
        let at = self.command(secs, &meta.db, Some(id), o);
        if let Some(target) = target {
            self.change(target, at, |_| None);
        }
        self.change(id, at, |meta| Some(Meta { db: db.to_owned(), name: name.to_owned(), ..meta }));
    }

    /// Sets a collection's validation. (A server writes down what the command leaves out, so it
    /// leaves out nothing.)
    pub fn coll_mod(&mut self, secs: u32, id: CollectionId, level: &str) {
        let meta = self.meta(id);
        let validation = rawdoc! {
            "validator": { "v": { "$exists": true } }, "validationLevel": level, "validationAction": "warn",
        };
        let mut o = rawdoc! { "collMod": meta.name };
        extend(&mut o, &validation);
        let at = self.command(secs, &meta.db, Some(id), o);
        self.change(id, at, |mut meta| {
            let mut options = RawDocumentBuf::new();
            for (name, value) in meta.options.iter().flatten() {
                if !name.as_str().starts_with("valid") {
                    options.append(name, value);
                }
            }
            extend(&mut options, &validation);
            meta.options = options;
            Some(meta)
        });
    }

    /// Builds an index on `field`; in one step or in two.
    pub fn create_index(&mut self, secs: u32, id: CollectionId, field: &str, two_phase: bool) {
        let meta = self.meta(id);
        let name = format!("{field}_1");
        if meta.indexes.iter().any(|i| i.get_str("name").is_ok_and(|n| n == name)) {
            return;
        }
        let mut key = RawDocumentBuf::new();
        if let Ok(field) = bson::raw::CString::try_from(field.to_owned()) {
            key.append(&field, 1_i32);
        }
        let spec = rawdoc! { "v": 2_i32, "key": key, "name": name };
        let at = if two_phase {
            let build = uuid(CollectionId([9; 16]));
            let o = |name: &str, meta: &Meta| {
                let mut o = RawDocumentBuf::new();
                if let Ok(name) = bson::raw::CString::try_from(name.to_owned()) {
                    o.append(&name, meta.name.as_str());
                }
                o.append(cstr!("indexBuildUUID"), build.clone());
                o.append(cstr!("indexes"), array([spec.clone()]));
                o
            };
            self.command(secs, &meta.db, Some(id), o("startIndexBuild", &meta));
            self.command(secs, &meta.db, Some(id), o("commitIndexBuild", &meta))
        } else {
            let mut o = rawdoc! { "createIndexes": meta.name.as_str() };
            extend(&mut o, &spec);
            self.command(secs, &meta.db, Some(id), o)
        };
        self.change(id, at, |mut meta| {
            meta.indexes.push(spec);
            Some(meta)
        });
    }

    /// Drops the newest index but that of `_id`.
    pub fn drop_index(&mut self, secs: u32, id: CollectionId) {
        let meta = self.meta(id);
        if meta.indexes.len() < 2 {
            return;
        }
        let Some(spec) = meta.indexes.last() else { return };
        let name = spec.get_str("name").unwrap_or("").to_owned();
        let o = rawdoc! { "dropIndexes": meta.name.as_str(), "index": name };
        let at = self.command(secs, &meta.db, Some(id), o);
        self.change(id, at, |mut meta| {
            meta.indexes.pop();
            Some(meta)
        });
    }

    /// Empties a capped collection.
    pub fn empty_capped(&mut self, secs: u32, id: CollectionId) {
        let meta = self.meta(id);
        let at = self.command(secs, &meta.db, Some(id), rawdoc! { "emptycapped": meta.name });
        let Some(coll) = self.model.colls.get_mut(&id) else { return };
        for versions in coll.docs.values_mut() {
            if versions.last().is_some_and(|v| v.doc.is_some()) {
                versions.push(Version { ts: at.ts, seen: at.ts, doc: None, place: (at.ts, 0) });
            }
        }
    }

    /// Makes, changes or (`None`) drops a view.
    pub fn view(&mut self, secs: u32, db: &str, name: &str, on: Option<&str>) {
        let id = format!("{db}.{name}");
        let there = self.model.views.get(&id).and_then(|v| v.last()).is_some_and(|v| v.1.is_some());
        let ui = uuid(CollectionId([0xee; 16]));
        let ns = format!("{db}.system.views");
        let doc = on.map(|on| {
            let stage = rawdoc! { "$match": { "v": self.entries.len() as i64 } };
            rawdoc! { "_id": id.as_str(), "viewOn": on, "pipeline": array([stage]) }
        });
        let key = rawdoc! { "_id": id.as_str() };
        let entry = match (&doc, there) {
            (Some(doc), true) => {
                rawdoc! { "op": "u", "ns": ns, "ui": ui, "o": doc.clone(), "o2": key }
            }
            (Some(doc), false) => {
                rawdoc! { "op": "i", "ns": ns, "ui": ui, "o": doc.clone(), "o2": key }
            }
            (None, true) => rawdoc! { "op": "d", "ns": ns, "ui": ui, "o": key },
            (None, false) => return,
        };
        let at = self.next(secs);
        self.append(at, entry);
        self.model.views.entry(id).or_default().push((at.ts, doc));
    }

    /// Forgets all entries after the first `keep`: a rollback, or an older state put back.
    pub fn cut(&mut self, keep: usize) {
        self.entries.truncate(keep);
        let last = self.last().ts;
        self.model.roll_back(last);
        self.chains.retain(|(_, end)| end.ts <= last);
        self.prepared.retain(|p| p.at.ts <= last);
        for prepared in &mut self.prepared {
            prepared.decided = prepared.decided.filter(|at| *at <= last);
        }
    }
}

fn session_fields(session: i32, number: i64, prev: OpTime) -> RawDocumentBuf {
    let term = if prev.ts == Ts::MIN { -1 } else { prev.term };
    rawdoc! {
        "lsid": { "id": session },
        "txnNumber": number,
        "prevOpTime": { "ts": stamp(prev.ts), "t": term },
    }
}

/// A value as an `_id` document.
pub fn id_doc(id: RawBson) -> RawDocumentBuf {
    let mut doc = RawDocumentBuf::new();
    doc.append(cstr!("_id"), id);
    doc
}
