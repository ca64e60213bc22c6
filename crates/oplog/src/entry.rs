//! One oplog entry as a borrowed, typed view. Parsing checks the shape and
//! decides nothing: what is not known is kept by name, and
//! [`change`](crate::change) stops at it unless the namespace is none of ours.
//!
//! Shape of an entry: MongoDB's `oplog_entry.idl`, and entries of real servers
//! 4.4, 5.0 and 8.2 (tests/data).

use std::fmt;

use bygone_base::{CollectionId, Error, OpTime, Result, Ts};

use crate::raw::{self, Element};

/// A namespace, split at its first dot. `coll` is empty where there is no dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ns<'a> {
    /// Database.
    pub db: &'a str,
    /// Collection; may itself contain dots. `$cmd` for commands.
    pub coll: &'a str,
}

impl<'a> Ns<'a> {
    /// From `db.coll`.
    pub fn parse(text: &'a str) -> Self {
        let (db, coll) = text.split_once('.').unwrap_or((text, ""));
        Ns { db, coll }
    }
}

impl fmt::Display for Ns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.db, self.coll)
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `n`: never applied, whatever it holds.
    Noop,
    /// `i`
    Insert {
        /// The document.
        o: &'a [u8],
    },
    /// `u`
    Update {
        /// A whole document (it has `_id` at the top), or modifiers.
        o: &'a [u8],
        /// `_id` as it was before, in clusters with the shard key.
        o2: &'a [u8],
        /// `b`: a user's applyOps asked for an upsert.
        upsert: bool,
    },
    /// `d`
    Delete {
        /// A document with `_id`, in clusters with the shard key.
        o: &'a [u8],
    },
    /// `c`
    Command(Command<'a>),
    /// An `op` that this version does not know.
    Unknown {
        /// The `op`.
        op: &'a str,
    },
}

/// A `c` entry: the name is the first field of `o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    /// First field name of `o`.
    pub name: &'a str,
    /// The command.
    pub o: &'a [u8],
    /// What it replaced, or further details.
    pub o2: Option<&'a [u8]>,
}

impl<'a> Command<'a> {
    /// The collection that the command names in its first field, if that is a string.
    pub fn target(&self) -> Option<&'a str> {
        raw::elements(self.o).ok()?.next().ok()??.str()
    }
}

/// The session part of a retryable write or of a transaction's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session<'a> {
    /// The logical session id, raw: equal bytes are the same session.
    pub lsid: &'a [u8],
    /// Counts the session's retryable writes and transactions.
    pub txn_number: i64,
    /// Where the session's previous entry stands; `None` for the first one.
    pub prev: Option<OpTime>,
    /// `multiOpType` 1: an applyOps that is applied on its own, not part of a transaction.
    pub apart: bool,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it stands; for an operation within an applyOps that of the entry around it.
    pub op_time: OpTime,
    /// Namespace; `db.$cmd` for commands.
    pub ns: Ns<'a>,
    /// The collection's UUID.
    pub ui: Option<CollectionId>,
    /// What it is.
    pub kind: Kind<'a>,
    /// Present when it belongs to a session.
    pub session: Option<Session<'a>>,
    /// A field that this version does not know, or that is refused; no-ops have none.
    pub unknown_field: Option<&'a [u8]>,
}

/// Fields as they are found.
#[derive(Default)]
struct Fields<'a> {
    op: Option<&'a str>,
    ns: Option<&'a str>,
    ui: Option<CollectionId>,
    o: Option<&'a [u8]>,
    o2: Option<&'a [u8]>,
    ts: Option<Ts>,
    term: Option<i64>,
    lsid: Option<&'a [u8]>,
    txn_number: Option<i64>,
    prev: Option<OpTime>,
    multi: Option<i64>,
    upsert: bool,
    version: Option<i64>,
    unknown: Option<&'a [u8]>,
}

const OP: u64 = raw::tag(b"op");
const NS: u64 = raw::tag(b"ns");
const UI: u64 = raw::tag(b"ui");
const O: u64 = raw::tag(b"o");
const O2: u64 = raw::tag(b"o2");
const TS: u64 = raw::tag(b"ts");
const T: u64 = raw::tag(b"t");
const V: u64 = raw::tag(b"v");
const B: u64 = raw::tag(b"b");
const LSID: u64 = raw::tag(b"lsid");
const TXN: u64 = raw::tag(b"txnNumber");
const PREV: u64 = raw::tag(b"prevOpTime");
const MULTI: u64 = raw::tag(b"multiOpType");

fn wrong(field: &Element<'_>) -> Error {
    let name = String::from_utf8_lossy(field.name);
    Error::damaged(format!("oplog entry: field {name:?} has BSON type 0x{:02x}", field.kind))
}

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut fields = Fields::default();
        let mut walk = raw::elements(bytes)?;
        while let Some(element) = walk.next()? {
            fields.take(&element).ok_or_else(|| wrong(&element))?;
        }
        Ok(fields)
    }

    /// Takes one field; `None` when its type is wrong.
    fn take(&mut self, e: &Element<'a>) -> Option<()> {
        // Numbers instead of byte strings: this runs for every field of every entry.
        match raw::tag(e.name) {
            OP if e.name.len() == 2 => self.op = Some(e.str()?),
            NS if e.name.len() == 2 => self.ns = Some(e.str()?),
            UI if e.name.len() == 2 => self.ui = Some(e.uuid()?),
            O if e.name.len() == 1 => self.o = Some(e.doc()?),
            O2 if e.name.len() == 2 => self.o2 = e.doc(),
            TS if e.name.len() == 2 => self.ts = Some(e.ts()?),
            T if e.name.len() == 1 => self.term = Some(e.int()?),
            V if e.name.len() == 1 => self.version = Some(e.int()?),
            B if e.name.len() == 1 => self.upsert = e.bool()?,
            LSID if e.name.len() == 4 => self.lsid = Some(e.doc()?),
            TXN if e.name == b"txnNumber" => self.txn_number = Some(e.int()?),
            PREV if e.name == b"prevOpTime" => self.prev = Some(e.op_time()?),
            MULTI if e.name == b"multiOpType" => self.multi = Some(e.int()?),
            _ if harmless(e.name) => {}
            _ => self.unknown = self.unknown.or(Some(e.name)),
        }
        Some(())
    }
}

/// Fields that change nothing about what the entry does to the data: clocks,
/// retry bookkeeping, images for retries and change streams, the feature
/// version in force, the record's place in its table. `fromMigrate` is here on
/// purpose: such entries are applied like any other. `isTimeseries` is not: it marks
/// time-series collections without buckets (after 8.2), which nothing here knows yet.
fn harmless(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"wall",
        b"stmtId",
        b"fromMigrate",
        b"preImageOpTime",
        b"postImageOpTime",
        b"needsRetryImage",
        b"versionContext",
        b"txnRetryCounter",
        b"checkExistenceForDiffInsert",
        b"rid",
        b"h",
    ];
    NAMES.contains(&name)
}

impl<'a> Entry<'a> {
    /// Parses an entry of `local.oplog.rs`. Damaged when it is not one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let fields = Fields::read(bytes)?;
        let ts = fields.ts.ok_or_else(|| Error::damaged("oplog entry without ts"))?;
        let at = OpTime::new(ts, fields.term.unwrap_or(-1));
        Self::build(fields, at)
    }

    /// Parses an operation that stands in the applyOps entry at `at`.
    pub fn parse_inner(bytes: &'a [u8], at: OpTime) -> Result<Self> {
        Self::build(Fields::read(bytes)?, at)
    }

    fn build(fields: Fields<'a>, at: OpTime) -> Result<Self> {
        let missing = |what| Error::damaged(format!("oplog entry {at} without {what}"));
        let kind = kind(&fields).ok_or_else(|| missing("op, o or o2"))?;
        let noop = kind == Kind::Noop;
        let unknown = fields.unknown.or(match fields.version {
            None | Some(1 | 2) => None,
            Some(_) => Some(b"v"),
        });
        Ok(Entry {
            op_time: at,
            ns: Ns::parse(fields.ns.ok_or_else(|| missing("ns"))?),
            ui: fields.ui,
            kind,
            session: session(&fields),
            unknown_field: if noop { None } else { unknown.or(odd_multi(&fields)) },
        })
    }

    /// Where the entry `bytes` stands, without looking at the rest of it.
    pub fn position(bytes: &[u8]) -> Result<OpTime> {
        let (mut ts, mut term) = (None, None);
        let mut walk = raw::elements(bytes)?;
        while ts.is_none() || term.is_none() {
            let Some(element) = walk.next()? else { break };
            match element.name {
                b"ts" => ts = Some(element.ts().ok_or_else(|| wrong(&element))?),
                b"t" => term = Some(element.int().ok_or_else(|| wrong(&element))?),
                _ => {}
            }
        }
        let ts = ts.ok_or_else(|| Error::damaged("oplog entry without ts"))?;
        Ok(OpTime::new(ts, term.unwrap_or(-1)))
    }

    /// For messages: what the entry is.
    pub fn describe(&self) -> String {
        let what = match self.kind {
            Kind::Noop => "no-op",
            Kind::Insert { .. } => "insert",
            Kind::Update { .. } => "update",
            Kind::Delete { .. } => "delete",
            Kind::Command(command) => command.name,
            Kind::Unknown { op } => op,
        };
        format!("{what:?} on {} at {}", self.ns, self.op_time)
    }
}

/// `multiOpType` other than 0 (a transaction's entry) and 1 (applied on its own).
fn odd_multi(fields: &Fields<'_>) -> Option<&'static [u8]> {
    match fields.multi {
        None | Some(0 | 1) => None,
        Some(_) => Some(b"multiOpType"),
    }
}

fn session<'a>(fields: &Fields<'a>) -> Option<Session<'a>> {
    let lsid = fields.lsid?;
    let txn_number = fields.txn_number?;
    let prev = fields.prev.filter(|p| p.ts != Ts::MIN);
    Some(Session { lsid, txn_number, prev, apart: fields.multi == Some(1) })
}

fn kind<'a>(fields: &Fields<'a>) -> Option<Kind<'a>> {
    let op = fields.op?;
    Some(match op {
        "n" => Kind::Noop,
        "i" => Kind::Insert { o: fields.o? },
        "u" => Kind::Update { o: fields.o?, o2: fields.o2?, upsert: fields.upsert },
        "d" => Kind::Delete { o: fields.o? },
        "c" => Kind::Command(command(fields.o?, fields.o2)?),
        op => Kind::Unknown { op },
    })
}

fn command<'a>(o: &'a [u8], o2: Option<&'a [u8]>) -> Option<Command<'a>> {
    let first = raw::elements(o).ok()?.next().ok()??;
    Some(Command { name: std::str::from_utf8(first.name).ok()?, o, o2 })
}
