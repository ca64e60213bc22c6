//! Writing runs: leaves of operations and the tree over them.

use std::sync::Arc;

use bygone_base::{CollectionId, Result, Ts};
use bygone_blockstore::BlockWriter;
use bytes::Bytes;

use super::{HEAD, KIND_RUN, RunOp, RunRoot};
use crate::{
    build::{LeafWrites, TreeBuilder, UNWRITTEN},
    cutter::RUN_LEAF,
    node::NodeEntry,
};

/// What a gathered leaf holds; becomes its node entry.
#[derive(Debug, Clone, Default)]
pub struct RunLeafFacts {
    /// Key of the first operation: collection ‖ key.
    pub first_key: Bytes,
    /// Number of operations.
    pub ops: u64,
    /// Smallest timestamp.
    pub min: Ts,
    /// Largest timestamp.
    pub max: Ts,
}

/// Gathers the operations of one run leaf.
#[derive(Debug)]
pub struct RunLeafBuilder {
    raw: Vec<u8>,
    facts: RunLeafFacts,
}

impl Default for RunLeafBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl RunLeafBuilder {
    /// An empty leaf.
    pub fn new() -> Self {
        let mut raw = Vec::with_capacity(RUN_LEAF + RUN_LEAF / 8);
        raw.resize(HEAD, 0);
        RunLeafBuilder { raw, facts: RunLeafFacts::default() }
    }

    /// Appends an operation (above the last one); true when the leaf has its size.
    pub fn push(&mut self, op: &RunOp<'_>) -> bool {
        self.note(op.coll, op.key, op.ts);
        self.raw.extend_from_slice(&op.coll.0);
        op.encode_tail(&mut self.raw);
        self.raw.len() >= RUN_LEAF
    }

    /// Like `push`, of an operation whose part after the collection is already encoded.
    pub(super) fn push_encoded(
        &mut self,
        coll: CollectionId,
        key: &[u8],
        ts: Ts,
        tail: &[u8],
    ) -> bool {
        self.note(coll, key, ts);
        self.raw.extend_from_slice(&coll.0);
        self.raw.extend_from_slice(tail);
        self.raw.len() >= RUN_LEAF
    }

    fn note(&mut self, coll: CollectionId, key: &[u8], ts: Ts) {
        if self.facts.ops == 0 {
            self.facts = RunLeafFacts { first_key: run_key(coll, key), ops: 0, min: ts, max: ts };
        }
        self.facts.ops += 1;
        self.facts.min = self.facts.min.min(ts);
        self.facts.max = self.facts.max.max(ts);
    }

    /// Number of operations so far.
    pub fn ops(&self) -> u64 {
        self.facts.ops
    }

    /// What the leaf holds so far.
    pub fn facts(&self) -> &RunLeafFacts {
        &self.facts
    }

    /// The raw block; the builder is empty again.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut raw = std::mem::take(self);
        raw.raw[0] = KIND_RUN;
        raw.raw[1..HEAD].copy_from_slice(&(raw.facts.ops as u32).to_le_bytes());
        raw.raw
    }
}

/// The key of an operation in a run's tree: collection ‖ key.
pub(crate) fn run_key(coll: CollectionId, key: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(CollectionId::LEN + key.len());
    out.extend_from_slice(&coll.0);
    out.extend_from_slice(key);
    out.into()
}

/// The run over leaves that are in the store already, in order (a sync slice of operations).
/// `None` when there are none. Durable only after the writer's flush.
pub async fn root_of_leaves(
    leaves: Vec<crate::NodeEntry>,
    writer: &Arc<BlockWriter>,
) -> Result<Option<RunRoot>> {
    let mut tree = TreeBuilder::new(writer.clone());
    for leaf in leaves {
        tree.push_leaf(leaf).await?;
    }
    Ok(tree.finish_entry().await?.map(|(level, root)| RunRoot::of(level, &root)))
}

/// Writes operations that arrive in order as a run.
pub struct RunBuilder {
    leaf: RunLeafBuilder,
    writes: LeafWrites,
    tree: TreeBuilder,
}

impl RunBuilder {
    /// A run written through `writer`.
    pub fn new(writer: Arc<BlockWriter>) -> Self {
        RunBuilder {
            leaf: RunLeafBuilder::new(),
            writes: LeafWrites::new(writer.clone()),
            tree: TreeBuilder::new(writer),
        }
    }

    /// Appends an operation; its (collection, key, ts, n) must be above the last one's.
    pub async fn push(&mut self, op: &RunOp<'_>) -> Result<()> {
        if self.leaf.push(op) { self.end_leaf().await } else { Ok(()) }
    }

    pub(super) async fn push_encoded(
        &mut self,
        coll: CollectionId,
        key: &[u8],
        ts: Ts,
        tail: &[u8],
    ) -> Result<()> {
        if self.leaf.push_encoded(coll, key, ts, tail) { self.end_leaf().await } else { Ok(()) }
    }

    async fn end_leaf(&mut self) -> Result<()> {
        let facts = self.leaf.facts().clone();
        let entry = NodeEntry {
            key: facts.first_key,
            block: UNWRITTEN,
            items: facts.ops,
            bytes: 0,
            as_of: facts.min,
            valid_from: Ts::MIN,
            max_ts: facts.max,
        };
        self.writes.put(self.leaf.finish(), entry).await?;
        while let Some(entry) = self.writes.ready() {
            self.tree.push_leaf(entry).await?;
        }
        Ok(())
    }

    /// Ends the run; `None` when nothing was pushed. Durable only after the writer's flush.
    pub async fn finish(mut self) -> Result<Option<RunRoot>> {
        if self.leaf.ops() > 0 {
            self.end_leaf().await?;
        }
        while let Some(entry) = self.writes.wait().await? {
            self.tree.push_leaf(entry).await?;
        }
        Ok(self.tree.finish_entry().await?.map(|(level, root)| RunRoot::of(level, &root)))
    }
}
