//! Runs: sorted, immutable sequences of operations; block kind 4 and the trees over it.

mod buffer;
mod build;
mod cursor;
mod kway;
mod merge;

pub use buffer::{RunBuffer, SortedRun};
pub use build::{RunBuilder, RunLeafBuilder, root_of_leaves};
pub use cursor::{RunCursor, RunScope};
pub use kway::RunsCursor;
pub use merge::{MergeRunsOptions, merge_runs};

use std::ops::Range;

use bygone_base::{CollectionId, Error, Result, Ts};
use bygone_blockstore::BlockRef;
use bytes::Bytes;

use crate::codec::{Input, put_varint};

pub(crate) const KIND_RUN: u8 = 4;
const HEAD: usize = 5;
/// Bytes of the smallest operation: bounds a count before it is believed.
const MIN_OP: usize = 16 + 1 + 8 + 1 + 1 + 1;

/// What an operation does (format.md section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpKind {
    /// The document as inserted.
    Insert = 1,
    /// The document as replaced; keeps its position in a capped collection.
    Replace = 2,
    /// No value.
    Delete = 3,
    /// The oplog entry's `o`.
    Update = 4,
    /// The oplog entry's `o2`, then its `o`.
    Upsert = 5,
    /// A document of the initial scan: an insert at position (0, n).
    Scan = 6,
}

impl OpKind {
    fn from_u8(kind: u8) -> Option<OpKind> {
        Some(match kind {
            1 => OpKind::Insert,
            2 => OpKind::Replace,
            3 => OpKind::Delete,
            4 => OpKind::Update,
            5 => OpKind::Upsert,
            6 => OpKind::Scan,
            _ => return None,
        })
    }
}

/// One operation on one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOp<'a> {
    /// The collection.
    pub coll: CollectionId,
    /// The document's key.
    pub key: &'a [u8],
    /// The moment that decided the operation.
    pub ts: Ts,
    /// Its position within that moment.
    pub n: u32,
    /// What it does.
    pub kind: OpKind,
    /// What it does it with.
    pub value: &'a [u8],
}

impl<'a> RunOp<'a> {
    /// The order of runs; equal orders are the same operation read twice.
    pub fn order(&self) -> (CollectionId, &'a [u8], Ts, u32) {
        (self.coll, self.key, self.ts, self.n)
    }

    /// About its raw bytes in a run.
    pub fn raw_len(&self) -> u64 {
        (28 + self.key.len() + self.value.len()) as u64
    }

    /// Appends everything after the collection.
    pub(crate) fn encode_tail(&self, out: &mut Vec<u8>) {
        put_varint(out, self.key.len() as u64);
        out.extend_from_slice(self.key);
        out.extend_from_slice(&self.ts.0.to_le_bytes());
        put_varint(out, u64::from(self.n));
        out.push(self.kind as u8);
        put_varint(out, self.value.len() as u64);
        out.extend_from_slice(self.value);
    }
}

/// Offsets of one operation within its block.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpAt {
    pub(crate) coll: CollectionId,
    pub(crate) key: Range<usize>,
    pub(crate) ts: Ts,
    pub(crate) n: u32,
    pub(crate) kind: u8,
    pub(crate) value: Range<usize>,
}

/// Reads what follows the collection.
#[inline]
pub(crate) fn parse_tail(coll: CollectionId, input: &mut Input<'_>) -> Result<OpAt> {
    let key_len = input.sized()?.len();
    let key = input.at() - key_len..input.at();
    let ts = input.ts()?;
    let n = u32::try_from(input.varint()?)
        .map_err(|_| Error::damaged("an operation's position does not fit 32 bits"))?;
    let kind = input.u8()?;
    let value_len = input.sized()?.len();
    let value = input.at() - value_len..input.at();
    if OpKind::from_u8(kind).is_none() {
        return Err(Error::unsupported(format!("operation kind {kind} in a run"))
            .hint("a newer version wrote this run; use that version to read it"));
    }
    Ok(OpAt { coll, key, ts, n, kind, value })
}

/// A parsed run block; operations are read one after the other.
#[derive(Debug, Clone)]
pub struct RunLeaf {
    raw: Bytes,
    count: usize,
    at: usize,
    op: OpAt,
}

impl RunLeaf {
    /// Checks the head of a raw block; operations are checked as they are read.
    pub fn parse(raw: Bytes) -> Result<RunLeaf> {
        let mut input = Input::new(&raw, 0);
        let kind = input.u8()?;
        let count = usize::try_from(input.u32()?).unwrap_or(usize::MAX);
        if kind != KIND_RUN {
            return Err(Error::damaged(format!("block of kind {kind} is not a run")));
        }
        if count > input.left() / MIN_OP {
            return Err(Error::damaged(format!(
                "run of {} bytes says {count} operations",
                raw.len()
            )));
        }
        Ok(RunLeaf { raw, count, at: HEAD, op: OpAt::default() })
    }

    /// Operations not yet read.
    pub fn left(&self) -> usize {
        self.count
    }

    /// Reads the next operation; false at the end. Order within the block is checked.
    #[inline]
    pub fn advance(&mut self) -> Result<bool> {
        if self.count == 0 {
            return match self.raw.len() - self.at {
                0 => Ok(false),
                left => Err(Error::damaged(format!("{left} bytes follow the operations of a run"))),
            };
        }
        let mut input = Input::new(&self.raw, self.at);
        let coll = CollectionId(input.array()?);
        let next = parse_tail(coll, &mut input)?;
        let at = input.at();
        if self.at > HEAD && self.order_of(&next) <= self.order_of(&self.op) {
            return Err(Error::damaged("the operations of a run do not ascend"));
        }
        self.op = next;
        self.at = at;
        self.count -= 1;
        Ok(true)
    }

    fn order_of(&self, op: &OpAt) -> (CollectionId, &[u8], Ts, u32) {
        (op.coll, &self.raw[op.key.clone()], op.ts, op.n)
    }

    /// The operation read last, after `advance` returned true.
    #[inline]
    pub fn op(&self) -> Option<RunOp<'_>> {
        Some(RunOp {
            coll: self.op.coll,
            key: self.raw.get(self.op.key.clone())?,
            ts: self.op.ts,
            n: self.op.n,
            kind: OpKind::from_u8(self.op.kind)?,
            value: self.raw.get(self.op.value.clone())?,
        })
    }
}

/// A run: the root of its tree and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRoot {
    /// The root node.
    pub block: BlockRef,
    /// Its level, at least 1.
    pub level: u8,
    /// Smallest timestamp.
    pub min: Ts,
    /// Largest timestamp.
    pub max: Ts,
    /// Number of operations.
    pub ops: u64,
    /// Raw bytes of the run's leaves.
    pub bytes: u64,
}

impl RunRoot {
    /// The run whose root node of `level` has this entry.
    pub(crate) fn of(level: u8, root: &crate::NodeEntry) -> Self {
        RunRoot {
            block: root.block,
            level,
            min: root.as_of,
            max: root.max_ts,
            ops: root.items,
            bytes: root.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op<'a>(key: &'a [u8], ts: u64, kind: OpKind, value: &'a [u8]) -> RunOp<'a> {
        RunOp { coll: CollectionId([1; 16]), key, ts: Ts(ts), n: 300, kind, value }
    }

    fn block(ops: &[RunOp<'_>]) -> Bytes {
        let mut builder = RunLeafBuilder::new();
        for op in ops {
            builder.push(op);
        }
        builder.finish().into()
    }

    #[test]
    fn operations_round_trip_and_truncations_are_refused() {
        let ops = [
            op(b"", 1, OpKind::Insert, b"xx"),
            op(b"k", 1, OpKind::Delete, b""),
            op(b"k", 2, OpKind::Upsert, &[3; 300]),
        ];
        let raw = block(&ops);
        let mut leaf = RunLeaf::parse(raw.clone()).unwrap();
        for op in &ops {
            assert!(leaf.advance().unwrap());
            assert_eq!(leaf.op(), Some(*op));
        }
        assert!(!leaf.advance().unwrap());
        for len in 0..raw.len() {
            let read = || -> Result<()> {
                let mut leaf = RunLeaf::parse(raw.slice(..len))?;
                while leaf.advance()? {}
                Ok(())
            };
            assert!(read().is_err(), "{len}");
        }
    }

    #[test]
    fn a_run_out_of_order_or_of_an_unknown_kind_is_refused() {
        let twice = [op(b"k", 2, OpKind::Insert, b""), op(b"k", 2, OpKind::Insert, b"")];
        let mut leaf = RunLeaf::parse(block(&twice)).unwrap();
        assert!(leaf.advance().unwrap() && leaf.advance().is_err());
        let mut raw = block(&[op(b"k", 1, OpKind::Delete, b"")]).to_vec();
        let kind = raw.len() - 2;
        raw[kind] = 9;
        assert!(RunLeaf::parse(raw.into()).unwrap().advance().is_err());
    }
}
