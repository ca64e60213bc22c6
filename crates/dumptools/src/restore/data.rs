//! The documents of all collections: one reader, several inserts at once, each collection's indexes as soon as it is
//! complete.
//!
//! ```text
//! reader (a thread) ──pieces──▶ drop what is in the way, when its first document comes
//!                        └────▶ cut into batches ──▶ inserts (2)
//!                                                       │ all of a collection in
//!                                                       ▼
//!                                               index builds (some collections at once)
//! ```
//!
//! What was read before a failure of the reader still goes in, as the stock tool does it: the count at the end is true,
//! and a dump that is cut gives what it has.
//!
//! Memory: a few pieces of a megabyte, a batch per insert, and one budget for the open batches of all collections.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bygone_base::{Error, ErrorKind, Result};
use bygone_restore::{
    bulk::{Batch, Bulk, BulkOptions, Cutter, Inserted},
    raw,
};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::task::JoinHandle;

use super::{
    Count, Intent, Run,
    gather::VERSION,
    ids::Ids,
    indexes, people, prepare,
    reader::{self, From, Item, Items},
};
use crate::{frames::Piece, metadata::Kind, report::plural};

/// Users and roles must fit in memory.
const MAX_PEOPLE: usize = 64 << 20;
/// What open batches of all collections may hold; an archive may have any number of them open at once.
const MAX_OPEN: usize = 64 << 20;
/// Batches that wait for their collection to be made, at most.
const MAX_READY: usize = 8;

/// What was in a dump beside documents of collections.
#[derive(Debug)]
pub(super) struct Beside {
    /// Users, roles and their version: documents by the collection's name in `admin`.
    pub(super) people: BTreeMap<String, Vec<u8>>,
    /// What an archive ends with.
    pub(super) oplog: Option<Rest>,
    /// The first failure to build an index, for which nothing else waits.
    pub(super) indexes: Result<()>,
}

/// An oplog that goes on behind its first piece.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) first: Piece,
    pub(super) items: Items,
    /// Who reads it: whether it came to its end.
    pub(super) reader: Option<JoinHandle<()>>,
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
    let (items, reader) = reader::start(run, intents, from);
    let mut load = Load::new(run, intents, named);
    load.all(items, count).await?;
    match &mut load.beside.oplog {
        Some(rest) => rest.reader = Some(reader),
        None => reader::ended(reader).await?,
    }
    Ok(load.beside)
}

/// Whether a collection is there, empty, or as the target has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// What is in the way is dropped when the first document comes.
    Later,
    Now,
    Yes,
}

/// One collection while its documents come.
struct State {
    made: Made,
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

impl State {
    fn new(intent: &Intent) -> State {
        State {
            made: if intent.replaced { Made::Later } else { Made::Yes },
            cutter: None,
            bulk: None,
            open: 0,
            flying: 0,
            ended: false,
            done: false,
            count: Count::default(),
        }
    }

    fn held(&self) -> usize {
        self.cutter.as_ref().map_or(0, Cutter::held)
    }
}

type Inserting = BoxFuture<'static, (usize, Inserted, Result<()>)>;

struct Load<'r> {
    run: &'r Run<'r>,
    intents: &'r [Intent],
    states: Vec<State>,
    ids: Ids,
    /// Bytes that open batches hold.
    held: usize,
    makes: FuturesUnordered<BoxFuture<'r, (usize, Result<()>)>>,
    /// Batches that wait for a free connection, or for their collection.
    ready: VecDeque<(usize, Batch)>,
    inserts: FuturesUnordered<Inserting>,
    /// Collections whose indexes wait.
    waiting: VecDeque<usize>,
    builds: FuturesUnordered<BoxFuture<'r, Result<()>>>,
    beside: Beside,
    /// What log lines call the one place that everything comes from.
    named: Option<&'static str>,
    /// Why nothing more is read.
    failed: Option<Error>,
    /// Nothing more is inserted either.
    halted: bool,
}

impl<'r> Load<'r> {
    fn new(run: &'r Run<'r>, intents: &'r [Intent], named: Option<&'static str>) -> Load<'r> {
        Load {
            run,
            intents,
            states: intents.iter().map(State::new).collect(),
            ids: Ids::new(run.connection.clock.now()),
            held: 0,
            makes: FuturesUnordered::new(),
            ready: VecDeque::new(),
            inserts: FuturesUnordered::new(),
            waiting: VecDeque::new(),
            builds: FuturesUnordered::new(),
            beside: Beside { people: BTreeMap::new(), oplog: None, indexes: Ok(()) },
            named,
            failed: None,
            halted: false,
        }
    }

    async fn all(&mut self, items: Items, count: &mut Count) -> Result<()> {
        let mut items = Some(items);
        while !self.is_over() {
            self.launch();
            let more = items.is_some() && self.has_room();
            tokio::select! {
                Some((index, made)) = self.makes.next() => self.made(index, made),
                Some((index, inserted, ended)) = self.inserts.next() => {
                    self.inserted(index, &inserted, ended, count);
                }
                Some(built) = self.builds.next() => self.built(built),
                item = receive(&mut items), if more => match item {
                    None => items = None,
                    Some(Ok(Item::Oplog(piece))) if self.run.options.oplog_replay => {
                        self.begin_oplog(piece, items.take());
                    }
                    Some(item) => {
                        if let Err(failed) = item.and_then(|item| self.take(item)) {
                            self.stop_reading(failed);
                        }
                    }
                },
                else => break,
            }
        }
        match self.failed.take() {
            Some(failed) => Err(failed),
            None => self.check_ends(),
        }
    }

    /// Whether it has failed, and what may still go in is in.
    fn is_over(&self) -> bool {
        let idle = self.inserts.is_empty() && self.makes.is_empty() && self.ready.is_empty();
        self.failed.is_some() && idle
    }

    /// Every collection must have come to its end.
    fn check_ends(&self) -> Result<()> {
        let open = self.states.iter().zip(self.intents).find(|(state, _)| !state.done);
        open.map_or(Ok(()), |(_, intent)| {
            Err(Error::damaged(format!("the dump has no end of {}", intent.source)))
        })
    }

    /// Whether the reader should go on: what there is cannot go in at once, and is not much.
    fn has_room(&self) -> bool {
        let flies = |(index, _): &(usize, Batch)| {
            self.states.get(*index).is_none_or(|state| state.made == Made::Yes)
        };
        self.failed.is_none()
            && self.makes.len() < self.run.options.parallel.max(1)
            && self.ready.len() < MAX_READY
            && !self.ready.iter().any(flies)
    }

    /// Starts what has room.
    fn launch(&mut self) {
        let limit = if self.run.options.in_order { 1 } else { self.run.options.inserts.max(1) };
        while self.inserts.len() < limit && !self.halted {
            let next = self.ready.iter().position(|(index, _)| self.may_fly(*index));
            let Some((index, batch)) = next.and_then(|at| self.ready.remove(at)) else { break };
            let Some(state) = self.states.get_mut(index) else { break };
            let Some(bulk) = state.bulk.clone() else { break };
            state.flying += 1;
            self.inserts.push(Box::pin(async move {
                let mut inserted = Inserted::default();
                let ended = bulk.insert(&batch, &mut inserted).await;
                (index, inserted, ended)
            }));
        }
        while self.builds.len() < self.run.options.parallel.max(1) && self.failed.is_none() {
            let Some(intent) = self.waiting.pop_front().and_then(|i| self.intents.get(i)) else {
                break;
            };
            let run = self.run;
            self.builds.push(Box::pin(indexes::of_intent(run, intent)));
        }
    }

    /// Whether a batch of that collection may go now. A capped collection keeps the order of its documents.
    fn may_fly(&self, index: usize) -> bool {
        let (Some(intent), Some(state)) = (self.intents.get(index), self.states.get(index)) else {
            return false;
        };
        state.made == Made::Yes && !(state.flying > 0 && is_capped(intent))
    }

    fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Documents(index, piece) => self.documents(index, &piece),
            Item::End(index) => {
                self.end(index);
                Ok(())
            }
            Item::Person(name, piece) => {
                let documents = self.beside.people.entry(name).or_default();
                if documents.len() + piece.bytes.len() > MAX_PEOPLE {
                    return Err(Error::unsupported("users and roles take more than 64 MiB"));
                }
                documents.extend_from_slice(&piece.bytes);
                let people = &self.beside.people;
                // Users come before it, and it comes before what is dropped for the collections.
                let any = people.keys().any(|name| name != VERSION);
                if any { people::check_version(people.get(VERSION)) } else { Ok(()) }
            }
            Item::Oplog(_) => Ok(()),
        }
    }

    /// Drops what is in the way of a collection, if that is still to be done.
    fn begin(&mut self, index: usize) {
        let (Some(intent), Some(state)) = (self.intents.get(index), self.states.get_mut(index))
        else {
            return;
        };
        if state.made == Made::Later {
            state.made = Made::Now;
            let run = self.run;
            self.makes.push(Box::pin(async move { (index, prepare::replace(run, intent).await) }));
        }
    }

    fn made(&mut self, index: usize, made: Result<()>) {
        if let Err(failed) = made {
            return self.halt(failed);
        }
        if let Some(state) = self.states.get_mut(index) {
            state.made = Made::Yes;
        }
        self.complete(index);
    }

    fn documents(&mut self, index: usize, piece: &Piece) -> Result<()> {
        let Some(intent) = self.intents.get(index) else { return Ok(()) };
        if intent.metadata.kind == Kind::View {
            return Err(Error::damaged(format!("{}: a view with documents", intent.source)));
        }
        self.begin(index);
        let Some(state) = self.states.get_mut(index) else { return Ok(()) };
        let run = self.run;
        if state.bulk.is_none() {
            let from = self.named.map(str::to_owned);
            let from = from.or_else(|| intent.data.as_ref().map(|p| p.display().to_string()));
            let from = from.unwrap_or_else(|| "-".to_owned());
            let to = intent.stored();
            run.log.always(format_args!("restoring {to} from {from}"));
            let options = BulkOptions { existed: intent.existed, ..run.bulk() };
            let bulk = Bulk::new(&run.target, &to, run.connection.version, &options);
            state.bulk = Some(Arc::new(bulk));
        }
        let bytes = self.ids.given(&piece.bytes)?;
        self.held -= state.held();
        let cutter = state.cutter.get_or_insert_with(|| Cutter::new(run.options.batch));
        let full = cutter.push(&bytes);
        self.held += state.held();
        for batch in full? {
            state.open += 1;
            self.ready.push_back((index, batch));
        }
        while self.held > MAX_OPEN {
            let largest =
                (0..self.states.len()).max_by_key(|i| self.states.get(*i).map(State::held));
            let Some(largest) = largest else { break };
            self.flush(largest);
        }
        Ok(())
    }

    /// Lets go what a collection's open batch has.
    fn flush(&mut self, index: usize) {
        let Some(state) = self.states.get_mut(index) else { return };
        self.held -= state.held();
        if let Some(batch) = state.cutter.as_mut().and_then(Cutter::flush) {
            state.open += 1;
            self.ready.push_back((index, batch));
        }
    }

    /// A collection has all its documents.
    fn end(&mut self, index: usize) {
        self.begin(index);
        self.flush(index);
        if let Some(state) = self.states.get_mut(index) {
            state.ended = true;
        }
        self.complete(index);
    }

    /// Whatever comes now is the oplog's. Where the end of a collection comes behind its first entries, all its documents
    /// have come all the same: they are in before anything is replayed.
    fn begin_oplog(&mut self, piece: Piece, rest: Option<Items>) {
        for index in 0..self.states.len() {
            self.end(index);
        }
        self.beside.oplog = rest.map(|items| Rest { first: piece, items, reader: None });
    }

    fn inserted(
        &mut self,
        index: usize,
        inserted: &Inserted,
        ended: Result<()>,
        count: &mut Count,
    ) {
        let (Some(intent), Some(state)) = (self.intents.get(index), self.states.get_mut(index))
        else {
            return;
        };
        state.flying -= 1;
        state.open -= 1;
        for total in [&mut state.count, count] {
            total.restored += inserted.documents;
            total.failed += inserted.refused.len() as u64 + inserted.fatal;
        }
        let name = &intent.to;
        let options = self.run.options;
        let refused = inserted.refused.first().filter(|_| options.stop_on_error);
        let stopped = refused.map(|why| Error::new(ErrorKind::Conflict, why));
        let failed = ended.err().or(stopped).map(|e| e.within(format!("{name}: error restoring")));
        for why in inserted.refused.iter().filter(|_| !options.stop_on_error) {
            self.run.log.always(format_args!("continuing through error: {why}"));
        }
        match failed {
            Some(failed) => self.halt(failed),
            None => self.complete(index),
        }
    }

    /// Tells of a collection that is in, and lets its indexes be built.
    fn complete(&mut self, index: usize) {
        let (Some(intent), Some(state)) = (self.intents.get(index), self.states.get_mut(index))
        else {
            return;
        };
        let whole = state.ended && state.open == 0 && state.made == Made::Yes;
        if !whole || std::mem::replace(&mut state.done, true) {
            return;
        }
        if intent.metadata.kind == Kind::View {
            return;
        }
        let Count { restored, failed, .. } = state.count;
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

    /// An index that cannot be built holds nothing else up, unless the server is gone.
    fn built(&mut self, built: Result<()>) {
        match built {
            Err(failed) if failed.kind().is_transient() => self.halt(failed),
            built => {
                let before = std::mem::replace(&mut self.beside.indexes, Ok(()));
                self.beside.indexes = before.and(built);
            }
        }
    }

    /// What was read before the reader failed still goes in.
    fn stop_reading(&mut self, failed: Error) {
        self.failed.get_or_insert(failed);
        for index in 0..self.states.len() {
            self.flush(index);
        }
    }

    /// Only what is on its way goes in.
    fn halt(&mut self, failed: Error) {
        self.failed.get_or_insert(failed);
        self.halted = true;
        self.ready.clear();
    }
}

/// What the reader gives next; `None` when it is at its end.
async fn receive(items: &mut Option<Items>) -> Option<Result<Item>> {
    match items {
        Some(items) => items.recv().await,
        None => None,
    }
}

fn is_capped(intent: &Intent) -> bool {
    raw::is_true(&intent.metadata.options, "capped")
}
