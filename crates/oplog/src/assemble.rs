//! From entries to operations: unpacks applyOps, holds transactions back until
//! they are decided, and leaves out what the filter does not cover.
//!
//! Three meanings of an applyOps entry: without a session's transaction number
//! it takes effect at once; with one and `multiOpType` 1 too; with one and
//! without `multiOpType` it is (a part of) a transaction.

use std::collections::HashMap;

use bygone_base::{Error, OpTime, Result, Ts};

use crate::{
    change::{self, Change, Ddl, needs_resync, unsupported},
    entry::{Command, Entry, Kind, Ns, Session},
    filter::Filter,
    raw,
};

/// How deep applyOps may stand in applyOps (the server's own limit is 10).
const MAX_DEPTH: u32 = 10;

/// One operation, decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Op<'a> {
    /// The moment that decided it: its entry's timestamp; in a transaction that
    /// of the last entry, or the commitTimestamp when it was prepared.
    pub at: Ts,
    /// Position within that moment, counted over all operations of the entry or
    /// transaction, whether they are delivered or not.
    pub n: u32,
    /// What it does.
    pub change: Change<'a>,
}

/// A transaction that is not yet decided.
#[derive(Debug)]
struct Transaction {
    number: i64,
    /// The position just before its first entry.
    before: OpTime,
    /// Its last entry so far.
    last: OpTime,
    /// Where its `prepare: true` entry stands.
    prepared: Option<Ts>,
    /// Its first entries lie before the place where reading began. That is right only if
    /// it is decided at a moment that the reader already has.
    headless: bool,
    /// Its applyOps entries, whole.
    entries: Vec<Box<[u8]>>,
}

/// Turns entries, fed in oplog order, into operations.
#[derive(Debug)]
pub struct Assembler {
    filter: Filter,
    /// Operations decided up to here are not delivered: the reader has them.
    known: Ts,
    /// Of transactions that an entry up to here decided the reader has everything.
    settled: Ts,
    last: OpTime,
    /// Undecided transactions by raw session id; a session has one at a time.
    open: HashMap<Box<[u8]>, Transaction>,
    buffered: usize,
    /// Transactions of several entries that ended: (when, the position before them).
    decided: Vec<(Ts, OpTime)>,
    /// Where the transaction was prepared that the last entry committed or aborted.
    ended: Option<Ts>,
}

/// The fields of an applyOps command.
#[derive(Default)]
struct ApplyOps<'a> {
    ops: &'a [u8],
    partial: bool,
    prepare: bool,
    count: Option<i64>,
    /// A user's applyOps logged as it was sent (servers up to 5.0): unless it
    /// says otherwise, its updates insert what they do not find.
    upserts: bool,
}

impl Assembler {
    /// Begins after `from` with a reader that has everything decided up to there.
    /// Feed it every entry after `from` that the slices hold.
    pub fn new(from: OpTime, filter: Filter) -> Self {
        Self::resume(from, from.ts, filter)
    }

    /// Goes on with a state that holds everything decided up to `known`; `from` is
    /// what [`replay_from`](Self::replay_from) said for it. Delivers only what was decided after `known`.
    pub fn resume(from: OpTime, known: Ts, filter: Filter) -> Self {
        let (open, decided) = (HashMap::new(), Vec::new());
        let (last, settled) = (from, known);
        Assembler { filter, known, settled, last, open, buffered: 0, decided, ended: None }
    }

    /// For a reader whose state shows whatever an entry up to `settled` decided, among other things (an initial
    /// sync): a transaction decided by then may have begun before the beginning.
    #[must_use]
    pub fn settled(self, settled: Ts) -> Self {
        Assembler { settled, ..self }
    }

    /// The last entry fed.
    pub fn position(&self) -> OpTime {
        self.last
    }

    /// Where the transaction was prepared that the last entry fed committed or aborted, if it did that. Before
    /// that entry, no moment from there on was decided.
    pub fn ended_prepare(&self) -> Option<Ts> {
        self.ended
    }

    /// Bytes held for undecided transactions.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    /// Every operation decided at or before this moment has been delivered, when
    /// `last` has been fed: `last` itself, or just before the oldest undecided prepare.
    pub fn safe(&self, last: Ts) -> Ts {
        let prepares = self.open.values().filter_map(|t| t.prepared);
        prepares.map(Ts::prev).fold(last, Ts::min)
    }

    /// Where reading has to begin again for a state that holds everything decided up
    /// to `at` (an entry's position, not after the last one fed, at or below what was
    /// [`safe`](Self::safe)): `at`, or before the first entry of the oldest
    /// transaction that is not decided at that moment.
    pub fn replay_from(&self, at: OpTime) -> OpTime {
        let open = self.open.values().filter(|t| !t.headless).map(|t| t.before);
        let later =
            self.decided.iter().filter(|(when, _)| *when > at.ts).map(|(_, before)| *before);
        open.chain(later).fold(at, OpTime::min)
    }

    /// Forgets what only [`replay_from`](Self::replay_from) for moments before `at` needs. Call it
    /// now and then, or the memory for it grows by 24 bytes for each transaction of several entries.
    pub fn settle(&mut self, at: Ts) {
        self.decided.retain(|(when, _)| *when > at);
    }

    /// Feeds one entry; `out` receives what it decides, in order. After an error the assembler is of no further use.
    pub fn push<F>(&mut self, bytes: &[u8], mut out: F) -> Result<()>
    where
        F: FnMut(Op<'_>) -> Result<()>,
    {
        let entry = Entry::parse(bytes)?;
        if entry.op_time.ts <= self.last.ts {
            let last = self.last;
            return Err(Error::damaged(format!(
                "oplog entry {} does not come after {last}",
                entry.describe()
            )));
        }
        let before = std::mem::replace(&mut self.last, entry.op_time);
        self.ended = None;
        match entry.kind {
            Kind::Command(command) if is_transactional(command.name) => {
                self.transactional(&entry, &command, bytes, before, &mut out)
            }
            _ => self.deliver(&entry, entry.op_time.ts, 0, &mut out),
        }
    }

    fn transactional<F>(
        &mut self,
        entry: &Entry<'_>,
        command: &Command<'_>,
        bytes: &[u8],
        before: OpTime,
        out: &mut F,
    ) -> Result<()>
    where
        F: FnMut(Op<'_>) -> Result<()>,
    {
        if let Some(field) = entry.unknown_field {
            let field = String::from_utf8_lossy(field);
            return Err(unsupported(entry, &format!("field {field:?}")));
        }
        match (command.name, entry.session) {
            ("applyOps", Some(session)) if !session.apart => {
                self.part(entry, &session, bytes, before, out)
            }
            ("applyOps", _) => {
                let mut n = 0;
                let ops = apply_ops(entry, command)?;
                self.unpack(entry, &ops, entry.op_time.ts, &mut n, 0, out)
            }
            ("commitTransaction", Some(session)) => self.commit(entry, command, &session, out),
            ("abortTransaction", Some(session)) => self.abort(entry, &session),
            _ => Err(unsupported(entry, "end of a transaction without a session")),
        }
    }

    /// One applyOps entry of a transaction.
    fn part<F>(
        &mut self,
        entry: &Entry<'_>,
        session: &Session<'_>,
        bytes: &[u8],
        before: OpTime,
        out: &mut F,
    ) -> Result<()>
    where
        F: FnMut(Op<'_>) -> Result<()>,
    {
        let Kind::Command(command) = entry.kind else { return Ok(()) };
        let ops = apply_ops(entry, &command)?;
        let chained = self.join(entry, session)?;
        if !chained && session.prev.is_none() && !ops.partial && !ops.prepare {
            return self.decide(&[bytes], entry.op_time.ts, ops.count, out);
        }
        let open = self.open.entry(session.lsid.into()).or_insert_with(|| Transaction {
            number: session.txn_number,
            before,
            last: entry.op_time,
            prepared: None,
            headless: session.prev.is_some(),
            entries: Vec::new(),
        });
        open.last = entry.op_time;
        if !open.headless {
            open.entries.push(bytes.into());
            self.buffered += bytes.len();
        }
        if ops.prepare {
            open.prepared = Some(entry.op_time.ts);
        }
        if ops.partial || ops.prepare {
            return Ok(());
        }
        self.finish(entry, session, entry.op_time.ts, ops.count, out)
    }

    /// The session's open transaction is decided at `at`.
    fn finish<F>(
        &mut self,
        entry: &Entry<'_>,
        session: &Session<'_>,
        at: Ts,
        count: Option<i64>,
        out: &mut F,
    ) -> Result<()>
    where
        F: FnMut(Op<'_>) -> Result<()>,
    {
        let Some(taken) = self.take(session) else { return Ok(()) };
        if taken.headless {
            return self.headless(entry, at);
        }
        self.decided.push((at, taken.before));
        let parts: Vec<&[u8]> = taken.entries.iter().map(|e| &**e).collect();
        self.decide(&parts, at, count, out)
    }

    /// A transaction whose first entries were not read is decided at `at`.
    fn headless(&self, entry: &Entry<'_>, at: Ts) -> Result<()> {
        if at <= self.known || entry.op_time.ts <= self.settled {
            return Ok(());
        }
        Err(needs_resync(entry, "the first entries of the transaction lie before the beginning"))
    }

    /// Whether the entry goes on with a transaction that is open. An older one
    /// of the session that was never prepared ended without a trace.
    fn join(&mut self, entry: &Entry<'_>, session: &Session<'_>) -> Result<bool> {
        let open = self.open.get(session.lsid).map(|t| (t.number, t.last, t.prepared));
        match (open, session.prev) {
            (None, _) => Ok(false),
            (Some((number, last, None)), Some(prev))
                if number == session.txn_number && prev == last =>
            {
                Ok(true)
            }
            (Some((_, _, None)), None) => {
                self.take(session);
                Ok(false)
            }
            (Some((_, last, _)), _) => Err(Error::damaged(format!(
                "oplog entry {}: does not follow the transaction's entry at {last}",
                entry.describe()
            ))),
        }
    }

    fn take(&mut self, session: &Session<'_>) -> Option<Transaction> {
        let taken = self.open.remove(session.lsid)?;
        self.ended = taken.prepared;
        self.buffered -= taken.entries.iter().map(|e| e.len()).sum::<usize>();
        Some(taken)
    }

    fn commit<F>(
        &mut self,
        entry: &Entry<'_>,
        command: &Command<'_>,
        session: &Session<'_>,
        out: &mut F,
    ) -> Result<()>
    where
        F: FnMut(Op<'_>) -> Result<()>,
    {
        let wrong =
            |what: &str| Error::damaged(format!("oplog entry {}: {what}", entry.describe()));
        let at = raw::get(command.o, "commitTimestamp")?.and_then(|e| e.ts());
        let at = at.ok_or_else(|| wrong("no commitTimestamp"))?;
        let known = self.open.get(session.lsid).filter(|t| t.number == session.txn_number);
        let Some(prepared) = known.and_then(|t| t.prepared) else {
            return self.headless(entry, at);
        };
        if session.prev != known.map(|t| t.last) {
            return Err(wrong("does not follow its prepare"));
        }
        if at < prepared || at > entry.op_time.ts {
            return Err(wrong("commitTimestamp is not between prepare and commit"));
        }
        self.finish(entry, session, at, None, out)
    }

    /// An abort of a transaction that is not known began before we did: nothing is lost.
    fn abort(&mut self, entry: &Entry<'_>, session: &Session<'_>) -> Result<()> {
        let known = self.open.get(session.lsid);
        if known.is_some_and(|t| t.number == session.txn_number) {
            if let Some(taken) = self.take(session).filter(|t| !t.headless) {
                // For a state before its prepare it is as undecided as one that was committed.
                self.decided.push((entry.op_time.ts, taken.before));
            }
        } else if known.is_some_and(|t| t.prepared.is_some()) {
            return Err(Error::damaged(format!(
                "oplog entry {}: aborts another transaction than the one prepared",
                entry.describe()
            )));
        }
        Ok(())
    }

    /// Delivers a whole transaction.
    fn decide<F>(&self, parts: &[&[u8]], at: Ts, count: Option<i64>, out: &mut F) -> Result<()>
    where
        F: FnMut(Op<'_>) -> Result<()>,
    {
        let mut n = 0;
        let mut total = count;
        for bytes in parts {
            let entry = Entry::parse(bytes)?;
            let Kind::Command(command) = entry.kind else { continue };
            let ops = apply_ops(&entry, &command)?;
            total = total.or(ops.count);
            self.unpack(&entry, &ops, at, &mut n, 0, out)?;
        }
        match total {
            Some(total) if total != i64::from(n) => Err(Error::damaged(format!(
                "transaction at {at} has {n} operations where its last entry counts {total}"
            ))),
            _ => Ok(()),
        }
    }

    /// Delivers the operations of one applyOps array.
    fn unpack<F>(
        &self,
        outer: &Entry<'_>,
        ops: &ApplyOps<'_>,
        at: Ts,
        n: &mut u32,
        depth: u32,
        out: &mut F,
    ) -> Result<()>
    where
        F: FnMut(Op<'_>) -> Result<()>,
    {
        if depth >= MAX_DEPTH {
            return Err(unsupported(outer, "applyOps nested too deep"));
        }
        let mut walk = raw::elements(ops.ops)?;
        while let Some(element) = walk.next()? {
            let bytes = element.doc().ok_or_else(|| unsupported(outer, "not an operation"))?;
            let mut entry = Entry::parse_inner(bytes, outer.op_time)?;
            match &mut entry.kind {
                &mut Kind::Command(command) if command.name == "applyOps" => {
                    let inner = apply_ops(&entry, &command)?;
                    self.unpack(&entry, &inner, at, n, depth + 1, out)?;
                    continue;
                }
                Kind::Update { upsert, .. } => *upsert |= ops.upserts,
                _ => {}
            }
            self.deliver(&entry, at, *n, out)?;
            *n += 1;
        }
        Ok(())
    }

    /// Delivers what one operation does, if it is covered.
    fn deliver<F>(&self, entry: &Entry<'_>, at: Ts, n: u32, out: &mut F) -> Result<()>
    where
        F: FnMut(Op<'_>) -> Result<()>,
    {
        if at <= self.known || !self.ours(entry) {
            return Ok(());
        }
        match Change::of(entry)? {
            None => return Ok(()),
            Some(Change::Ddl(ddl)) => {
                let Some(ddl) = self.admit(entry, *ddl)? else { return Ok(()) };
                out(Op { at, n, change: Change::Ddl(Box::new(ddl)) })?;
            }
            Some(change) => out(Op { at, n, change })?,
        }
        if let Some(ddl) = change::fcv(entry)? {
            out(Op { at, n, change: Change::Ddl(Box::new(ddl)) })?;
        }
        Ok(())
    }

    /// Whether the entry is to be looked at. What is unknown is passed over
    /// only where nothing is ever kept, not where a pattern excludes it.
    fn ours(&self, entry: &Entry<'_>) -> bool {
        let Ns { db, coll } = entry.ns;
        match entry.kind {
            Kind::Noop => false,
            Kind::Insert { .. } | Kind::Update { .. } | Kind::Delete { .. } => {
                (coll == "system.views" && db != "local" && db != "config")
                    || self.filter.covers(db, coll)
            }
            Kind::Unknown { .. } => !Filter::never(db, coll),
            Kind::Command(command) => match (command.name, command.target()) {
                ("renameCollection" | "dropDatabase", _) | (_, None) => true,
                (_, Some("system.views")) => db != "local" && db != "config",
                (name, Some(coll)) if known_collection_command(name) => {
                    self.filter.covers(db, coll)
                }
                (_, Some(coll)) => !Filter::never(db, coll),
            },
        }
    }

    /// What of a catalogue change concerns the covered namespaces.
    fn admit(&self, entry: &Entry<'_>, ddl: Ddl) -> Result<Option<Ddl>> {
        let covers = |(db, name): &(String, String)| self.filter.covers(db, name);
        let view = |db: &str, id: &str| {
            let name = id.strip_prefix(db).and_then(|rest| rest.strip_prefix('.'));
            self.filter.covers(db, name.unwrap_or(id))
        };
        let ours = match &ddl {
            Ddl::Rename { coll, from, to, .. } => match (covers(from), covers(to)) {
                (true, true) => true,
                (false, false) => false,
                (true, false) => {
                    let (db, name) = from.clone();
                    return Ok(Some(Ddl::Drop { coll: *coll, db, name }));
                }
                (false, true) => {
                    return Err(needs_resync(
                        entry,
                        "a collection outside the filter is renamed into it",
                    ));
                }
            },
            Ddl::DropDatabase { db } => db != "local" && db != "config",
            Ddl::ViewPut { db, doc } => view(db, change::view_id(entry, doc.as_bytes())?),
            Ddl::ViewUpdate { db, o2, .. } => view(db, change::view_id(entry, o2.as_bytes())?),
            Ddl::ViewDelete { db, id } => view(db, id),
            _ => true,
        };
        Ok(ours.then_some(ddl))
    }
}

fn is_transactional(name: &str) -> bool {
    matches!(name, "applyOps" | "commitTransaction" | "abortTransaction")
}

/// Commands whose first field names the one collection that they change.
fn known_collection_command(name: &str) -> bool {
    matches!(
        name,
        "create"
            | "drop"
            | "collMod"
            | "emptycapped"
            | "createIndexes"
            | "startIndexBuild"
            | "commitIndexBuild"
            | "abortIndexBuild"
            | "dropIndexes"
            | "dropIndex"
            | "deleteIndexes"
            | "deleteIndex"
    )
}

/// Reads an applyOps command. Servers up to 5.0 log a user's atomic applyOps as
/// it was sent, with the generic arguments of the command inside `o`.
fn apply_ops<'a>(entry: &Entry<'_>, command: &Command<'a>) -> Result<ApplyOps<'a>> {
    let mut found = ApplyOps::default();
    let (mut sent, mut always) = (false, true);
    let mut walk = raw::elements(command.o)?;
    while let Some(e) = walk.next()? {
        let bad = || {
            let name = String::from_utf8_lossy(e.name);
            unsupported(entry, &format!("applyOps field {name:?} with type 0x{:02x}", e.kind))
        };
        match e.name {
            b"applyOps" => found.ops = e.array().ok_or_else(bad)?,
            b"partialTxn" => found.partial = e.bool().ok_or_else(bad)?,
            b"prepare" => found.prepare = e.bool().ok_or_else(bad)?,
            b"count" => found.count = Some(e.int().ok_or_else(bad)?),
            b"$db" => sent = true,
            b"alwaysUpsert" => always = e.bool().ok_or_else(bad)?,
            name if generic_argument(name) => {}
            _ => return Err(bad()),
        }
    }
    found.upserts = sent && always;
    Ok(found)
}

/// Arguments of a command sent by a user that change nothing about its operations.
fn generic_argument(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 12] = [
        b"lsid",
        b"txnNumber",
        b"$clusterTime",
        b"$readPreference",
        b"writeConcern",
        b"comment",
        b"maxTimeMS",
        b"apiVersion",
        b"apiStrict",
        b"apiDeprecationErrors",
        b"allowAtomic",
        b"oplogApplicationMode",
    ];
    NAMES.contains(&name)
}

#[cfg(test)]
mod tests;
