//! Reading a run in order: all of it, or one collection's range.

use bygone_base::{CollectionId, Error, Result, Ts};
use bygone_blockstore::BlockReader;
use bytes::Bytes;

use super::{RunLeaf, RunOp, RunRoot, build::run_key};
use crate::{
    cursor::{Ahead, NodeCursor},
    node::NodeEntry,
    range::KeyRange,
};

/// Which operations of a run are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunScope {
    /// From this key (collection ‖ key) on; empty = from the beginning.
    from: Bytes,
    /// Up to this key, exclusive.
    to: Option<Bytes>,
    /// Only operations after this moment.
    after: Option<Ts>,
    /// Only operations up to and including this moment.
    at: Ts,
}

impl RunRoot {
    /// The root as an entry; its key is the beginning.
    pub(crate) fn entry(&self) -> NodeEntry {
        NodeEntry {
            key: Bytes::new(),
            block: self.block,
            items: self.ops,
            bytes: self.bytes,
            as_of: self.min,
            valid_from: Ts(0),
            max_ts: self.max,
        }
    }
}

impl RunScope {
    /// Every operation.
    pub fn all() -> Self {
        RunScope { from: Bytes::new(), to: None, after: None, at: Ts::MAX }
    }

    /// The operations of one collection within `range`, decided after `after`, up to and including `at`.
    pub fn of(coll: CollectionId, range: &KeyRange, after: Ts, at: Ts) -> Self {
        let to = match &range.to {
            Some(to) => Some(run_key(coll, to)),
            None => next_collection(coll).map(|next| run_key(next, b"")),
        };
        RunScope { from: run_key(coll, &range.from), to, after: Some(after), at }
    }
}

/// The smallest collection id above `coll`.
fn next_collection(coll: CollectionId) -> Option<CollectionId> {
    u128::from_be_bytes(coll.0).checked_add(1).map(|next| CollectionId(next.to_be_bytes()))
}

/// What one step of a cursor found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// An operation.
    Op,
    /// The block is used up: [`RunCursor::next_leaf`] gets the next.
    Block,
    /// The end.
    End,
}

/// Reads operations in order, blocks ahead.
pub struct RunCursor {
    nodes: NodeCursor,
    ahead: Ahead<()>,
    scope: RunScope,
    leaf: Option<RunLeaf>,
    has_op: bool,
}

impl RunCursor {
    /// Before the first operation of `root` within `scope`.
    pub fn open(reader: &BlockReader, root: &RunRoot, scope: RunScope) -> Self {
        RunCursor {
            nodes: NodeCursor::new(reader.clone(), root.level, root.entry()),
            ahead: Ahead::new(reader.clone()),
            scope,
            leaf: None,
            has_op: false,
        }
    }

    /// The operation at which the cursor stands, after `advance` returned true.
    #[inline]
    pub fn op(&self) -> Option<RunOp<'_>> {
        if self.has_op { self.leaf.as_ref()?.op() } else { None }
    }

    /// Goes to the next operation; false at the end.
    pub async fn advance(&mut self) -> Result<bool> {
        loop {
            match self.step()? {
                Step::Op => return Ok(true),
                Step::Block => self.next_leaf().await?,
                Step::End => return Ok(false),
            }
        }
    }

    /// Goes to the next operation of the block at hand.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<Step> {
        self.has_op = false;
        let Some(leaf) = &mut self.leaf else { return Ok(Step::Block) };
        while leaf.advance()? {
            let Some(op) = leaf.op() else { break };
            if self.scope.after.is_some_and(|after| op.ts <= after)
                || op.ts > self.scope.at
                || is_below(&op, &self.scope.from)
            {
                continue;
            }
            if self.scope.to.as_ref().is_some_and(|to| !is_below(&op, to)) {
                // Nothing that follows is wanted either.
                self.scope.to = Some(Bytes::new());
                return Ok(Step::End);
            }
            self.has_op = true;
            return Ok(Step::Op);
        }
        // The end of the whole run shows as an empty scope, so that `step` need not wait to know it.
        Ok(if self.scope.to.as_ref().is_some_and(Bytes::is_empty) {
            Step::End
        } else {
            Step::Block
        })
    }

    /// Gets the next block; at the end of the run the next `step` says so.
    pub(crate) async fn next_leaf(&mut self) -> Result<()> {
        while self.ahead.has_room() {
            let Some((block, bytes)) = self.find().await? else { break };
            self.ahead.push((), block, bytes);
        }
        let last = self.leaf.take();
        match self.ahead.pop().await? {
            Some(((), raw)) => self.leaf = Some(check_order(last, RunLeaf::parse(raw)?)?),
            None => {
                self.scope.to = Some(Bytes::new());
                self.leaf = last;
            }
        }
        if self.leaf.is_none() {
            self.leaf = Some(RunLeaf::parse(super::RunLeafBuilder::new().finish().into())?);
        }
        Ok(())
    }

    /// The next leaf of the scope.
    async fn find(&mut self) -> Result<Option<(bygone_blockstore::BlockRef, u64)>> {
        loop {
            let Some((level, entry)) = self.nodes.head() else { return Ok(None) };
            let out_of_time = self.scope.after.is_some_and(|after| entry.max_ts <= after)
                || entry.as_of > self.scope.at;
            let found = (entry.block, entry.bytes);
            // Operations on one key may go on in the next leaf, so a leaf whose range ends *at* the first
            // key wanted may hold some of it.
            if out_of_time || self.nodes.upper().is_some_and(|upper| *upper < self.scope.from) {
                self.nodes.skip();
            } else if self.scope.to.as_ref().is_some_and(|to| self.nodes.lower() >= *to) {
                return Ok(None);
            } else if level > 0 {
                self.nodes.expand().await?;
            } else {
                self.nodes.skip();
                return Ok(Some(found));
            }
        }
    }
}

/// Whether (collection ‖ key) of `op` is below `bound`.
#[inline]
fn is_below(op: &RunOp<'_>, bound: &[u8]) -> bool {
    match bound.split_first_chunk::<{ CollectionId::LEN }>() {
        Some((coll, key)) => (&op.coll.0, op.key) < (coll, key),
        None => &op.coll.0[..] < bound,
    }
}

/// Checks that a block's first operation comes after the last one of the block before.
fn check_order(last: Option<RunLeaf>, next: RunLeaf) -> Result<RunLeaf> {
    let mut probe = next.clone();
    let last = last.as_ref().and_then(RunLeaf::op);
    if let (Some(last), true) = (last, probe.advance()?)
        && probe.op().is_some_and(|op| op.order() <= last.order())
    {
        return Err(Error::damaged("the blocks of a run do not ascend"));
    }
    Ok(next)
}
