//! From leaf entries in key order to inner nodes and a root.

use std::{collections::VecDeque, sync::Arc};

use bygone_base::{BlockId, Error, PackId, Result, Ts};
use bygone_blockstore::{BlockRef, BlockWriter};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    cutter::node_ends,
    node::{MAX_LEVEL, Node, NodeEntry},
};

/// Leaves on their way to the writer at once.
const IN_FLIGHT: usize = 4;

/// The root of a tree of documents: always a node (an empty tree has no root).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRoot {
    /// The root node.
    pub block: BlockRef,
    /// Its level, at least 1.
    pub level: u8,
    /// Number of documents in the leaves.
    pub items: u64,
    /// Raw bytes of the leaves.
    pub bytes: u64,
    /// Smallest `as_of` of the leaves.
    pub as_of: Ts,
    /// Largest `valid_from` of the leaves.
    pub valid_from: Ts,
}

/// What a manifest's catalogue keeps of a collection's tree (format.md section 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeInfo {
    /// `None` when the base holds nothing: every document comes from runs.
    pub root: Option<TreeRoot>,
    /// Decides where leaves end; fixed when the tree is first built.
    pub cut: u64,
    /// With a root the root's; without one, the moment at which the base is empty.
    pub as_of: Ts,
    /// With a root the root's; without one, no state before this moment can be read.
    pub valid_from: Ts,
}

impl TreeInfo {
    /// A base that is empty as of `as_of` (a collection created then).
    pub fn empty(cut: u64, as_of: Ts) -> Self {
        TreeInfo { root: None, cut, as_of, valid_from: as_of }
    }

    /// With this root; without one, empty as of `as_of`, readable from `valid_from`.
    pub fn of(root: Option<TreeRoot>, cut: u64, as_of: Ts, valid_from: Ts) -> Self {
        match root {
            Some(root) => {
                TreeInfo { cut, as_of: root.as_of, valid_from: root.valid_from, root: Some(root) }
            }
            None => TreeInfo { root: None, cut, as_of, valid_from },
        }
    }
}

/// Blocks on their way to the writer, handed back in the order in which they were given. Each is a task: so
/// that compression uses other threads, and because a put that nobody polls could hold the writer's lock.
pub(crate) struct LeafWrites {
    writer: Arc<BlockWriter>,
    tasks: JoinSet<()>,
    queue: VecDeque<Write>,
    done: VecDeque<NodeEntry>,
}

/// An entry and, while it is being written, who tells where.
struct Write {
    entry: NodeEntry,
    block: Option<oneshot::Receiver<Result<BlockRef>>>,
}

impl LeafWrites {
    pub(crate) fn new(writer: Arc<BlockWriter>) -> Self {
        LeafWrites { writer, tasks: JoinSet::new(), queue: VecDeque::new(), done: VecDeque::new() }
    }

    /// Starts to write `raw`, the block of `entry` (whose `block` and `bytes` are filled in); waits while too
    /// many are on their way.
    pub(crate) async fn put(&mut self, raw: Vec<u8>, mut entry: NodeEntry) -> Result<()> {
        while self.queue.len() >= IN_FLIGHT {
            self.settle().await?;
        }
        while self.tasks.try_join_next().is_some() {}
        entry.bytes = raw.len() as u64;
        let (send, receive) = oneshot::channel();
        let writer = self.writer.clone();
        self.tasks.spawn(async move {
            // Nobody waits any more when the builder was dropped: nothing to tell.
            let _ = send.send(writer.put(&raw).await);
        });
        self.queue.push_back(Write { entry, block: Some(receive) });
        Ok(())
    }

    /// Queues an entry that needs no writing behind those that do.
    pub(crate) fn pass(&mut self, entry: NodeEntry) {
        match self.queue.is_empty() {
            true => self.done.push_back(entry),
            false => self.queue.push_back(Write { entry, block: None }),
        }
    }

    async fn settle(&mut self) -> Result<()> {
        let Some(Write { mut entry, block }) = self.queue.pop_front() else { return Ok(()) };
        if let Some(block) = block {
            let stopped = || Error::internal("a task that wrote a block was stopped");
            entry.block = block.await.map_err(|_| stopped())??;
        }
        self.done.push_back(entry);
        Ok(())
    }

    /// The next written entry, without waiting for the writer.
    pub(crate) fn ready(&mut self) -> Option<NodeEntry> {
        self.done.pop_front()
    }

    /// The next entry in order, waiting for it; `None` when all came back.
    pub(crate) async fn wait(&mut self) -> Result<Option<NodeEntry>> {
        if self.done.is_empty() {
            self.settle().await?;
        }
        Ok(self.done.pop_front())
    }
}

/// What stands in an entry until its block is written.
pub(crate) const UNWRITTEN: BlockRef = BlockRef { id: BlockId([0; 32]), pack: PackId([0; 16]) };

/// The node of one level that is being gathered.
#[derive(Debug, Default)]
struct Pending {
    entries: Vec<NodeEntry>,
    key_bytes: usize,
}

impl Pending {
    fn push(&mut self, entry: NodeEntry) -> bool {
        self.key_bytes += entry.key.len() + 96;
        let ends = node_ends(&entry.key, self.entries.len() + 1, self.key_bytes);
        self.entries.push(entry);
        ends
    }
}

/// Builds inner nodes over leaves that arrive in key order, and over whole subtrees of an old tree.
pub struct TreeBuilder {
    writer: Arc<BlockWriter>,
    /// Index 0 gathers nodes of level 1.
    levels: Vec<Pending>,
    valid_from: Ts,
}

impl TreeBuilder {
    /// Over leaves written through `writer`.
    pub fn new(writer: Arc<BlockWriter>) -> Self {
        TreeBuilder { writer, levels: Vec::new(), valid_from: Ts::MIN }
    }

    /// Raises the `valid_from` of every leaf pushed to at least `ts`. A first tree made of the leaves of a
    /// fuzzy scan must pass the scan's end: a document deleted during the scan may belong, by key, to a
    /// leaf that was read before the gap after it was.
    #[must_use]
    pub fn valid_from_at_least(mut self, ts: Ts) -> Self {
        self.valid_from = ts;
        self
    }

    /// Appends a leaf; its key must be above the last one's (in runs not below it).
    pub async fn push_leaf(&mut self, mut entry: NodeEntry) -> Result<()> {
        entry.valid_from = entry.valid_from.max(self.valid_from);
        self.push_at(0, entry).await
    }

    /// Whether a subtree of a node of `level` may be pushed whole: no smaller node is half gathered.
    pub(crate) fn takes(&self, level: u8) -> bool {
        let below = usize::from(level).min(self.levels.len());
        self.levels[..below].iter().all(|pending| pending.entries.is_empty())
    }

    /// Appends a whole node of `level` of an old tree; only when [`TreeBuilder::takes`] it.
    pub(crate) async fn push_subtree(&mut self, level: u8, entry: NodeEntry) -> Result<()> {
        if !self.takes(level) {
            return Err(Error::internal("a subtree was pushed into the middle of a node"));
        }
        self.push_at(usize::from(level), entry).await
    }

    async fn push_at(&mut self, mut level: usize, mut entry: NodeEntry) -> Result<()> {
        loop {
            while self.levels.len() <= level {
                self.levels.push(Pending::default());
            }
            let pending = &mut self.levels[level];
            if pending.entries.last().is_some_and(|last| last.key > entry.key) {
                return Err(Error::internal("leaves of a tree do not arrive in key order"));
            }
            if !pending.push(entry) {
                return Ok(());
            }
            entry = self.end_node(level).await?;
            level += 1;
        }
    }

    /// Writes the node gathered at `level` (index) and returns its entry.
    async fn end_node(&mut self, level: usize) -> Result<NodeEntry> {
        let pending = std::mem::take(&mut self.levels[level]);
        let number = u8::try_from(level + 1).ok().filter(|number| *number <= MAX_LEVEL);
        let number = number.ok_or_else(|| Error::internal("a tree grew too high"))?;
        let raw = Node::encode(number, &pending.entries);
        let block = self.writer.put(&raw).await?;
        sum(block, &pending.entries)
            .ok_or_else(|| Error::internal("a node without entries was ended"))
    }

    /// Writes what is left; the root's level and entry, or `None` when nothing was pushed.
    pub(crate) async fn finish_entry(mut self) -> Result<Option<(u8, NodeEntry)>> {
        let mut level = 0;
        while level < self.levels.len() {
            let top = level + 1 == self.levels.len();
            let count = self.levels[level].entries.len();
            if top && level > 0 && count == 1 {
                return Ok(self.levels[level].entries.pop().map(|root| (level as u8, root)));
            }
            if count > 0 {
                let entry = self.end_node(level).await?;
                if top {
                    return Ok(Some((level as u8 + 1, entry)));
                }
                // The node above takes it without ending: it is ended next in any case.
                self.levels[level + 1].push(entry);
            }
            level += 1;
        }
        Ok(None)
    }

    /// Writes what is left; `None` when no leaf was pushed. Durable only after the writer's flush.
    pub async fn finish(self) -> Result<Option<TreeRoot>> {
        Ok(self.finish_entry().await?.map(|(level, root)| TreeRoot {
            block: root.block,
            level,
            items: root.items,
            bytes: root.bytes,
            as_of: root.as_of,
            valid_from: root.valid_from,
        }))
    }
}

/// The entry of a node over `entries`; `None` when there are none.
fn sum(block: BlockRef, entries: &[NodeEntry]) -> Option<NodeEntry> {
    let first = entries.first()?;
    let mut sum = NodeEntry { block, items: 0, bytes: 0, ..first.clone() };
    for entry in entries {
        sum.items = sum.items.saturating_add(entry.items);
        sum.bytes = sum.bytes.saturating_add(entry.bytes);
        sum.as_of = sum.as_of.min(entry.as_of);
        sum.valid_from = sum.valid_from.max(entry.valid_from);
        sum.max_ts = sum.max_ts.max(entry.max_ts);
    }
    Some(sum)
}
