//! Entries on their way from the tail to a slice. No input or output.

use std::time::Duration;

use bson::RawDocument;
use bygone_base::{Error, ErrorKind, OpTime, Result, Ts};
use bygone_oplog::{
    entry::{Command, Entry, Kind, Ns},
    filter::Filter,
    slice::SliceBuilder,
};

/// The message of the no-op that a primary writes every ten seconds where nobody else writes, ...
const PERIODIC: &str = "periodic noop";
/// ... and of the one that we write where it does not.
pub(crate) const NOTE: &str = "bygone: idle";

/// What an entry asks of the agent besides being stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing.
    Plain,
    /// A collection that is not covered was renamed into coverage: its documents were never scanned. The
    /// entry is not taken, so that what is stored ends before it and restores to its end.
    IntoCoverage(String),
}

/// The slice that is being filled.
pub(crate) struct Gather {
    filter: Filter,
    builder: SliceBuilder,
    /// The last entry read.
    at: OpTime,
    /// The last entry read, when the filter left it out: the last entry of a
    /// slice always stays, or the chain could not advance over it.
    left_out: Option<Vec<u8>>,
    /// When the first entry of the slice came, ...
    since: Option<Duration>,
    /// ... and the first that says more than that time has passed.
    news: Option<Duration>,
    last_ddl: Ts,
    /// Look into transactions for DDL too.
    deep: bool,
}

impl Gather {
    pub(crate) fn new(filter: Filter, from: OpTime, deep: bool) -> Self {
        let builder = SliceBuilder::new(from);
        Gather {
            filter,
            builder,
            at: from,
            left_out: None,
            since: None,
            news: None,
            last_ddl: Ts::MIN,
            deep,
        }
    }

    /// The last entry read.
    pub(crate) fn at(&self) -> OpTime {
        self.at
    }

    /// When its slice has to go at the latest: `flush` after its first entry, `idle` after it while all that came
    /// says only that nothing happens.
    pub(crate) fn due(&self, flush: Duration, idle: Duration) -> Option<Duration> {
        let quiet = self.since.map(|since| since + idle.max(flush));
        self.news.map(|since| since + flush).or(quiet)
    }

    /// Raw bytes gathered.
    pub(crate) fn bytes(&self) -> usize {
        self.builder.raw_len()
    }

    /// The newest command seen that changes the catalogue.
    pub(crate) fn last_ddl(&self) -> Ts {
        self.last_ddl
    }

    /// Takes the next entry, read at `now`.
    pub(crate) fn push(&mut self, raw: &[u8], now: Duration) -> Result<Taken> {
        let entry = Entry::parse(raw)?;
        let at = entry.op_time;
        if at.ts <= self.at.ts {
            let message = format!("the oplog goes from {} to {at}", self.at);
            return Err(Error::damaged(message));
        }
        if let Kind::Command(command) = &entry.kind {
            if let Some(why) = self.enters_coverage(command) {
                return Ok(Taken::IntoCoverage(why));
            }
            match command.name {
                "commitTransaction" | "abortTransaction" => {}
                "applyOps" if !(self.deep && holds_commands(command.o)) => {}
                _ => self.last_ddl = at.ts,
            }
        }
        self.at = at;
        self.since.get_or_insert(now);
        if !says_nothing(&entry, raw) {
            self.news.get_or_insert(now);
        }
        if self.filter.keeps(&entry) {
            self.left_out = None;
            self.builder.push(raw, at)?;
        } else {
            let kept = self.left_out.get_or_insert_default();
            kept.clear();
            kept.extend_from_slice(raw);
        }
        Ok(Taken::Plain)
    }

    fn enters_coverage(&self, command: &Command<'_>) -> Option<String> {
        if command.name != "renameCollection" {
            return None;
        }
        let o = RawDocument::from_bytes(command.o).ok()?;
        let (from, to) = (o.get_str("renameCollection").ok()?, o.get_str("to").ok()?);
        let covers = |ns: &str| {
            let ns = Ns::parse(ns);
            self.filter.covers(ns.db, ns.coll)
        };
        let into = !covers(from) && covers(to);
        into.then(|| format!("{from}, which is not backed up, was renamed to {to}"))
    }

    /// The slice of everything since the last one, `None` when nothing came.
    pub(crate) fn finish(&mut self) -> Result<Option<SliceBuilder>> {
        self.news = None;
        if self.since.take().is_none() {
            return Ok(None);
        }
        if let Some(last) = self.left_out.take() {
            self.builder.push(&last, self.at)?;
        }
        Ok(Some(std::mem::replace(&mut self.builder, SliceBuilder::new(self.at))))
    }
}

/// Whether it is what a server or we write into an idle set, so that its time goes on.
fn says_nothing(entry: &Entry<'_>, raw: &[u8]) -> bool {
    let message = || RawDocument::from_bytes(raw).ok()?.get_document("o").ok()?.get_str("msg").ok();
    entry.kind == Kind::Noop && message().is_some_and(|text| [PERIODIC, NOTE].contains(&text))
}

/// Whether an applyOps holds a command (create and createIndexes can stand in transactions).
fn holds_commands(o: &[u8]) -> bool {
    let Ok(o) = RawDocument::from_bytes(o) else { return true };
    let Ok(ops) = o.get_array("applyOps") else { return true };
    ops.into_iter().any(|op| {
        let op = op.ok().and_then(|op| op.as_document());
        op.is_none_or(|op| !matches!(op.get_str("op"), Ok("i" | "u" | "d" | "n")))
    })
}

/// A tail that cannot go on because of what it read.
pub(crate) fn too_long_behind(host: &str, from: OpTime) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{host} has not reached {from} yet"))
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, Timestamp, rawdoc};
    use bygone_oplog::{filter::Mode, slice::Slice};

    use super::*;

    fn entry(n: u32, op: &str, ns: &str, o: RawDocumentBuf) -> Vec<u8> {
        let ts = Timestamp { time: 1, increment: n };
        let ui = bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![3; 16] };
        rawdoc! { "op": op, "ns": ns, "ui": ui, "o": o, "ts": ts, "t": 1_i64, "v": 2_i64 }
            .into_bytes()
    }

    fn at(n: u32) -> OpTime {
        OpTime::new(Ts::new(1, n), 1)
    }

    fn stored(gather: &mut Gather) -> Vec<OpTime> {
        let bytes = gather.finish().unwrap().unwrap().finish(1).unwrap();
        let slice = Slice::parse(bytes).unwrap().decode().unwrap();
        slice.entries().map(|(at, _)| at).collect()
    }

    #[test]
    fn the_last_entry_stays_whatever_the_filter_says() {
        let filter = Filter::new(Mode::Allow, vec!["a.*".into()]).unwrap();
        let mut gather = Gather::new(filter, at(1), false);
        assert!(gather.finish().unwrap().is_none());
        let id = || rawdoc! { "_id": 1 };
        for (n, op, ns) in [(2, "i", "b.x"), (3, "i", "a.x"), (4, "n", ""), (5, "i", "b.x")] {
            gather.push(&entry(n, op, ns, id()), Duration::ZERO).unwrap();
        }
        assert_eq!(stored(&mut gather), [at(3), at(5)]);
        gather.push(&entry(6, "i", "a.x", id()), Duration::ZERO).unwrap();
        assert_eq!(stored(&mut gather), [at(6)]);
        assert!(gather.push(&entry(6, "i", "a.x", id()), Duration::ZERO).is_err());
    }

    #[test]
    fn what_says_nothing_may_wait_and_everything_else_goes_soon() {
        let secs = Duration::from_secs;
        let mut gather = Gather::new(Filter::all(), at(1), false);
        let due = |gather: &Gather| gather.due(secs(1), secs(30));
        assert_eq!(due(&gather), None);
        for (n, message) in [(2, PERIODIC), (3, NOTE)] {
            let noop = entry(n, "n", "", rawdoc! { "msg": message });
            gather.push(&noop, secs(n.into())).unwrap();
            assert_eq!(due(&gather), Some(secs(32)));
        }
        gather.push(&entry(4, "n", "", rawdoc! { "msg": "of somebody" }), secs(9)).unwrap();
        assert_eq!(due(&gather), Some(secs(10)));
        assert_eq!(stored(&mut gather), [at(4)]);
        assert_eq!(due(&gather), None);
    }

    #[test]
    fn a_rename_into_coverage_is_seen() {
        let filter = Filter::new(Mode::Allow, vec!["a.x".into()]).unwrap();
        let mut gather = Gather::new(filter, at(1), false);
        let rename =
            |from: &str| rawdoc! { "renameCollection": from, "to": "a.x", "stayTemp": false };
        let taken = gather.push(&entry(2, "c", "a.$cmd", rename("a.y")), Duration::ZERO).unwrap();
        assert!(matches!(taken, Taken::IntoCoverage(_)));
        assert!(gather.finish().unwrap().is_none() && gather.at() == at(1), "it is not taken");
        let temporary = rename("a.tmp.agg_out.5f3c0000-0000-0000-0000-000000000000");
        let taken = gather.push(&entry(3, "c", "a.$cmd", temporary), Duration::ZERO).unwrap();
        assert_eq!(taken, Taken::Plain);
    }

    #[test]
    fn a_create_inside_a_transaction_is_a_change_of_the_catalogue() {
        let mut gather = Gather::new(Filter::all(), at(1), true);
        let plain = rawdoc! { "applyOps": [{ "op": "i" }] };
        gather.push(&entry(2, "c", "admin.$cmd", plain), Duration::ZERO).unwrap();
        assert_eq!(gather.last_ddl(), Ts::MIN);
        let create = rawdoc! { "applyOps": [{ "op": "i" }, { "op": "c" }] };
        gather.push(&entry(3, "c", "admin.$cmd", create), Duration::ZERO).unwrap();
        assert_eq!(gather.last_ddl(), Ts::new(1, 3));
    }
}
