//! The documents of all collections: one reader, several inserts at once, each collection's indexes as soon as it is
//! complete.
//!
//! ```text
//! reader (a thread: files one after the other, or an archive) ──pieces──▶ cut into batches ──▶ inserts (2)
//!                                                                             │ all of a collection in
//!                                                                             ▼
//!                                                                     index builds (some collections at once)
//! ```
//!
//! Memory: a few pieces of a megabyte, a batch per insert, and what a collection's open batch holds.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bygone_base::{Error, ErrorKind, Result};
use bygone_document::{MAX_DOCUMENT, split_stream, validate};
use bygone_restore::{
    Documents,
    bulk::{Batch, Bulk, Cutter, Inserted},
    names::BUCKETS,
    raw,
};
use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::{Archive, Count, Intent, Place, Run, files, indexes};
use crate::{
    archive::Event,
    export::Stored,
    frames::{Frames, Piece},
    metadata::Kind,
    names,
    progress::Bars,
    report::plural,
    sink::Compression,
};

/// Users and roles must fit in memory.
const MAX_PEOPLE: usize = 64 << 20;

/// What the reader gives.
#[derive(Debug)]
pub(super) enum Item {
    Documents(usize, Piece),
    End(usize),
    /// A collection of `admin`.
    Person(String, Piece),
    Oplog(Piece),
}

type Items = mpsc::Receiver<Result<Item>>;

/// What was in an archive beside collections.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Users, roles and their version: documents by the collection's name in `admin`.
    pub(super) people: BTreeMap<String, Vec<u8>>,
    /// Where the oplog goes on, and its first piece.
    pub(super) oplog: Option<(Piece, Arc<tokio::sync::Mutex<Items>>)>,
}

/// Where documents come from.
pub(super) enum From {
    /// The intents' files, or standard input.
    Files,
    Archive(Archive),
    /// A store; with users and roles by the collection's name in `admin`.
    Moment(Arc<dyn Documents>, Vec<(String, Stored)>),
}

/// Restores the documents of all intents.
pub(super) async fn load(
    run: &Run<'_>,
    intents: &[Intent],
    from: From,
    count: &mut Count,
) -> Result<Beside> {
    let named = match &from {
        From::Files => None,
        From::Archive(_) => Some("archive"),
        From::Moment(..) => Some("store"),
    };
    let (items, reader) = start(run, intents, from);
    let mut load = Load {
        run,
        intents,
        states: intents.iter().map(|_| State::default()).collect(),
        ready: VecDeque::new(),
        inserts: FuturesUnordered::new(),
        waiting: VecDeque::new(),
        builds: FuturesUnordered::new(),
        beside: Beside::default(),
        named,
    };
    load.all(items, count).await?;
    if load.beside.oplog.is_none() {
        reader.await.map_err(|e| Error::internal("the reader died").source(e))?;
    }
    Ok(load.beside)
}

fn start(run: &Run<'_>, intents: &[Intent], from: From) -> (Items, JoinHandle<()>) {
    let (send, items) = mpsc::channel(2);
    let objcheck = run.options.objcheck;
    let bars = run.bars.clone();
    let reader = match from {
        From::Archive(archive) => {
            let names = Names::new(intents, run.options.users_and_roles);
            spawn_blocking(move || {
                told(read_archive(archive, &names, objcheck, &bars, &send), &send)
            })
        }
        From::Moment(moment, people) => {
            let intents = intents.to_vec();
            let runtime = tokio::runtime::Handle::current();
            // Merging blocks takes a thread of its own, as reading files does.
            spawn_blocking(move || {
                let read = runtime.block_on(read_moment(&*moment, &intents, &people, &send));
                told(read, &send);
            })
        }
        From::Files => {
            let intents = intents.to_vec();
            let compression = run.options.compression;
            let stdin = run.options.place == Place::Documents;
            spawn_blocking(move || {
                told(read_files(&intents, compression, stdin, objcheck, &bars, &send), &send);
            })
        }
    };
    (items, reader)
}

async fn read_moment(
    moment: &dyn Documents,
    intents: &[Intent],
    people: &[(String, Stored)],
    send: &mpsc::Sender<Result<Item>>,
) -> Result<()> {
    let piece = |bytes: Bytes| Piece { documents: split_stream(&bytes).count() as u64, bytes };
    for (name, stored) in people {
        let take = async |bytes: Bytes| {
            let item = Item::Person(name.clone(), piece(bytes));
            send.send(Ok(item)).await.map_err(gone)
        };
        stored.read(moment, take).await?;
    }
    for (index, intent) in intents.iter().enumerate() {
        if let Some(stored) = &intent.stored {
            let take = async |bytes: Bytes| {
                send.send(Ok(Item::Documents(index, piece(bytes)))).await.map_err(gone)
            };
            stored.read(moment, take).await?;
        }
        send.send(Ok(Item::End(index))).await.map_err(gone)?;
    }
    Ok(())
}

fn told(read: Result<()>, send: &mpsc::Sender<Result<Item>>) {
    if let Err(failed) = read {
        // Nobody listens only when the restore has failed already.
        let _ = send.blocking_send(Err(failed));
    }
}

fn gone<T>(_: T) -> Error {
    Error::new(ErrorKind::Cancelled, "the restore was stopped")
}

fn check(piece: &Piece) -> Result<()> {
    for document in split_stream(&piece.bytes) {
        validate(document?.bytes())?;
    }
    Ok(())
}

fn read_files(
    intents: &[Intent],
    compression: Compression,
    stdin: bool,
    objcheck: bool,
    bars: &Bars,
    send: &mpsc::Sender<Result<Item>>,
) -> Result<()> {
    for (index, intent) in intents.iter().enumerate() {
        let shown = match &intent.data {
            Some(path) => path.display().to_string(),
            None => "stdin".to_owned(),
        };
        let input = match &intent.data {
            Some(path) => Some(files::watched(path, compression, bars, intent.to.to_string())?),
            None if stdin => Some(compression.reader(Box::new(std::io::stdin()))?),
            None => None,
        };
        let within = |e: Error| {
            e.within(format!("{}: error restoring from {shown}: reading bson input", intent.to))
        };
        if let Some(input) = input {
            for piece in Frames::new(input, MAX_DOCUMENT, true) {
                let piece = piece.map_err(within)?;
                if objcheck {
                    check(&piece).map_err(within)?;
                }
                send.blocking_send(Ok(Item::Documents(index, piece))).map_err(gone)?;
            }
        }
        send.blocking_send(Ok(Item::End(index))).map_err(gone)?;
    }
    Ok(())
}

/// Which namespaces of an archive are what.
struct Names {
    intents: BTreeMap<(String, String), usize>,
    of_one_database: bool,
}

impl Names {
    fn new(intents: &[Intent], of_one_database: bool) -> Names {
        let mut names = BTreeMap::new();
        for (index, intent) in intents.iter().enumerate() {
            let (db, coll) = (intent.source.db.clone(), intent.source.coll.clone());
            if intent.metadata.kind == Kind::TimeSeries {
                names.insert((db.clone(), format!("{BUCKETS}{coll}")), index);
            }
            names.insert((db, coll), index);
        }
        Names { intents: names, of_one_database }
    }

    fn item(&self, db: String, collection: String, piece: Piece) -> Option<Item> {
        if db.is_empty() && collection == "oplog" {
            return Some(Item::Oplog(piece));
        }
        if let Some(person) = collection.strip_prefix(names::PEOPLE) {
            return self.of_one_database.then(|| Item::Person(person.to_owned(), piece));
        }
        if db == "admin" && collection.starts_with("system.") && collection != "system.js" {
            return (!self.of_one_database).then_some(Item::Person(collection, piece));
        }
        self.intents.get(&(db, collection)).map(|index| Item::Documents(*index, piece))
    }
}

fn read_archive(
    archive: Archive,
    names: &Names,
    objcheck: bool,
    bars: &Bars,
    send: &mpsc::Sender<Result<Item>>,
) -> Result<()> {
    // How much a collection has an archive does not tell before its end.
    let mut open = BTreeMap::new();
    for event in archive {
        let item = match event? {
            Event::Documents { db, collection, piece } => {
                if objcheck {
                    check(&piece).map_err(|e| e.within(format!("{db}.{collection}")))?;
                }
                let name = format!("{db}.{collection}");
                let bar = open.entry(name).or_insert_with_key(|name| bars.begin(name.clone(), 0));
                bar.add(piece.bytes.len() as u64);
                names.item(db, collection, piece)
            }
            Event::End { db, collection } => {
                open.remove(&format!("{db}.{collection}"));
                names.intents.get(&(db, collection)).map(|index| Item::End(*index))
            }
        };
        if let Some(item) = item {
            send.blocking_send(Ok(item)).map_err(gone)?;
        }
    }
    Ok(())
}

/// One collection while its documents come.
#[derive(Default)]
struct State {
    cutter: Option<Cutter>,
    bulk: Option<Arc<Bulk>>,
    /// Batches that are not yet in.
    open: usize,
    /// Those of them that are on their way.
    flying: usize,
    ended: bool,
    done: bool,
    count: Count,
}

type Inserting = BoxFuture<'static, (usize, Result<Inserted>)>;

struct Load<'r> {
    run: &'r Run<'r>,
    intents: &'r [Intent],
    states: Vec<State>,
    /// Batches that wait for a free connection.
    ready: VecDeque<(usize, Batch)>,
    inserts: FuturesUnordered<Inserting>,
    /// Collections whose indexes wait.
    waiting: VecDeque<usize>,
    builds: FuturesUnordered<BoxFuture<'r, Result<()>>>,
    beside: Beside,
    /// What log lines call the one place that everything comes from.
    named: Option<&'static str>,
}

impl<'r> Load<'r> {
    async fn all(&mut self, mut items: Items, count: &mut Count) -> Result<()> {
        let mut more = true;
        loop {
            self.launch();
            tokio::select! {
                Some((index, inserted)) = self.inserts.next(), if !self.inserts.is_empty() => {
                    self.inserted(index, inserted, count)?;
                }
                Some(built) = self.builds.next(), if !self.builds.is_empty() => built?,
                item = items.recv(), if more && self.ready.is_empty() => match item.transpose()? {
                    Some(Item::Oplog(piece)) if self.run.options.oplog_replay => {
                        let rest = Arc::new(tokio::sync::Mutex::new(items));
                        self.beside.oplog = Some((piece, rest));
                        // Whatever comes now is the oplog's.
                        items = mpsc::channel(1).1;
                        more = false;
                    }
                    Some(item) => self.take(item)?,
                    None => more = false,
                },
                else => return Ok(()),
            }
        }
    }

    /// Starts what has room.
    fn launch(&mut self) {
        let limit = if self.run.options.in_order { 1 } else { self.run.options.inserts.max(1) };
        while self.inserts.len() < limit {
            let Some((index, _)) = self.ready.front() else { break };
            let index = *index;
            let Some(state) = self.states.get_mut(index) else { break };
            // A capped collection keeps the order of its documents.
            if state.flying > 0 && self.intents.get(index).is_some_and(is_capped) {
                break;
            }
            let (Some(bulk), Some((_, batch))) = (state.bulk.clone(), self.ready.pop_front())
            else {
                break;
            };
            state.flying += 1;
            self.inserts.push(Box::pin(async move { (index, bulk.insert(&batch).await) }));
        }
        while self.builds.len() < self.run.options.parallel.max(1) {
            let Some(intent) = self.waiting.pop_front().and_then(|i| self.intents.get(i)) else {
                break;
            };
            let run = self.run;
            self.builds.push(Box::pin(indexes::of_intent(run, intent)));
        }
    }

    fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Documents(index, piece) => self.documents(index, &piece),
            Item::End(index) => {
                let Some(state) = self.states.get_mut(index) else { return Ok(()) };
                state.ended = true;
                if let Some(batch) = state.cutter.take().and_then(Cutter::finish) {
                    state.open += 1;
                    self.ready.push_back((index, batch));
                }
                self.complete(index);
                Ok(())
            }
            Item::Person(name, piece) => {
                let documents = self.beside.people.entry(name).or_default();
                if documents.len() + piece.bytes.len() > MAX_PEOPLE {
                    return Err(Error::unsupported("users and roles take more than 64 MiB"));
                }
                documents.extend_from_slice(&piece.bytes);
                Ok(())
            }
            Item::Oplog(_) => Ok(()),
        }
    }

    fn documents(&mut self, index: usize, piece: &Piece) -> Result<()> {
        let (Some(intent), Some(state)) = (self.intents.get(index), self.states.get_mut(index))
        else {
            return Ok(());
        };
        if intent.metadata.kind == Kind::View {
            return Err(Error::damaged(format!("{}: a view with documents", intent.source)));
        }
        let run = self.run;
        if state.bulk.is_none() {
            let from = self.named.map(str::to_owned);
            let from = from.or_else(|| intent.data.as_ref().map(|p| p.display().to_string()));
            let from = from.unwrap_or_else(|| "-".to_owned());
            run.log.always(format_args!("restoring {} from {from}", intent.stored()));
            let bulk =
                Bulk::new(&run.target, &intent.stored(), run.connection.version, &run.bulk());
            state.bulk = Some(Arc::new(bulk));
        }
        let batch = run.options.batch;
        let cutter = state.cutter.get_or_insert_with(|| Cutter::new(batch));
        for batch in cutter.push(&piece.bytes)? {
            state.open += 1;
            self.ready.push_back((index, batch));
        }
        Ok(())
    }

    fn inserted(
        &mut self,
        index: usize,
        inserted: Result<Inserted>,
        count: &mut Count,
    ) -> Result<()> {
        let (Some(intent), Some(state)) = (self.intents.get(index), self.states.get_mut(index))
        else {
            return Ok(());
        };
        state.flying -= 1;
        let name = &intent.to;
        let inserted = inserted.map_err(|e| e.within(format!("{name}: error restoring")))?;
        let failed = inserted.refused.len() as u64;
        for total in [&mut state.count, count] {
            total.restored += inserted.documents;
            total.failed += failed;
        }
        let run = self.run;
        let stop = run.options.stop_on_error || run.options.in_order;
        if let (true, Some(why)) = (stop, inserted.refused.first()) {
            return Err(Error::new(ErrorKind::Conflict, format!("{name}: error restoring: {why}")));
        }
        for why in &inserted.refused {
            run.log.always(format_args!("continuing through error: {why}"));
        }
        state.open -= 1;
        self.complete(index);
        Ok(())
    }

    /// Tells of a collection that is in, and lets its indexes be built.
    fn complete(&mut self, index: usize) {
        let (Some(intent), Some(state)) = (self.intents.get(index), self.states.get_mut(index))
        else {
            return;
        };
        if !state.ended || state.open > 0 || std::mem::replace(&mut state.done, true) {
            return;
        }
        if intent.metadata.kind == Kind::View {
            return;
        }
        let Count { restored, failed } = state.count;
        self.run.log.always(format_args!(
            "finished restoring {} ({}, {})",
            intent.to,
            plural(restored, "document"),
            plural(failed, "failure")
        ));
        if !self.run.options.oplog_replay {
            self.waiting.push_back(index);
        }
    }
}

fn is_capped(intent: &Intent) -> bool {
    raw::is_true(&intent.metadata.options, "capped")
}
