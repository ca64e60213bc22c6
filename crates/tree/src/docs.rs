//! From documents in key order to leaves, and to a tree.

use std::sync::Arc;

use bygone_base::{Result, Ts};
use bygone_blockstore::BlockWriter;
use bytes::Bytes;

use crate::{
    build::{LeafWrites, TreeBuilder, TreeRoot, UNWRITTEN},
    cutter::Cutter,
    leaf::{LeafBuilder, Position},
    node::NodeEntry,
    read::{LeafCursor, Tree},
};

/// A leaf smaller than this that did not end by content takes in the documents of the leaf after it.
const SLIGHT: usize = 16 << 10;

/// What every leaf of a builder has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafStyle {
    /// The collection's cut.
    pub cut: u64,
    /// Leaves of kind 2, with positions.
    pub capped: bool,
    /// Every change up to here is contained.
    pub as_of: Ts,
    /// No change after this is contained.
    pub valid_from: Ts,
}

/// Cuts documents into leaves and writes them; entries come out in order.
pub(crate) struct LeafMaker {
    style: LeafStyle,
    cutter: Cutter,
    leaf: LeafBuilder,
    key: Vec<u8>,
    /// Where the current range starts, until a leaf took it as its key.
    range_start: Option<Bytes>,
    made_in_range: bool,
    writes: LeafWrites,
}

impl LeafMaker {
    pub(crate) fn new(writer: Arc<BlockWriter>, style: LeafStyle) -> Self {
        LeafMaker {
            style,
            cutter: Cutter::new(style.cut),
            leaf: LeafBuilder::new(style.capped),
            key: Vec::new(),
            range_start: None,
            made_in_range: false,
            writes: LeafWrites::new(writer),
        }
    }

    /// The next leaf's key range starts at `from`, whatever its first document is.
    pub(crate) fn begin_range(&mut self, from: Bytes) {
        self.range_start = (!from.is_empty()).then_some(from);
        self.made_in_range = false;
    }

    /// Appends a document.
    pub(crate) async fn push(&mut self, key: &[u8], doc: &[u8], position: Position) -> Result<()> {
        if self.leaf.is_empty() {
            self.key.clear();
            self.key.extend_from_slice(key);
        }
        self.leaf.push(doc, position);
        if self.cutter.push(key, doc.len()) { self.cut().await } else { Ok(()) }
    }

    /// Whether so little is gathered that a whole leaf should rather be taken in than passed by.
    pub(crate) fn is_slight(&self) -> bool {
        !self.leaf.is_empty() && self.leaf.bytes() < SLIGHT
    }

    /// Takes a leaf whose block already exists, ending what is gathered by force.
    pub(crate) async fn pass(&mut self, mut entry: NodeEntry) -> Result<()> {
        self.cut().await?;
        if let Some(start) = self.range_start.take() {
            entry.key = entry.key.min(start);
        }
        entry.as_of = self.style.as_of;
        entry.valid_from = self.style.valid_from;
        self.made_in_range = true;
        self.writes.pass(entry);
        Ok(())
    }

    /// Ends the leaf by force.
    pub(crate) async fn cut(&mut self) -> Result<()> {
        if self.leaf.is_empty() {
            return Ok(());
        }
        let key = match self.range_start.take() {
            Some(start) => start,
            None => Bytes::copy_from_slice(&self.key),
        };
        self.write(key).await
    }

    async fn write(&mut self, key: Bytes) -> Result<()> {
        self.cutter.reset();
        self.made_in_range = true;
        let LeafStyle { as_of, valid_from, .. } = self.style;
        let items = self.leaf.len() as u64;
        let max_ts = Ts::MIN;
        let entry = NodeEntry { key, block: UNWRITTEN, items, bytes: 0, as_of, valid_from, max_ts };
        self.writes.put(self.leaf.finish(), entry).await
    }

    /// Ends the range by force; one that holds no document becomes an empty leaf when `hold` is set, so
    /// that no older neighbour reaches into it.
    pub(crate) async fn end_range(&mut self, hold: bool) -> Result<()> {
        self.cut().await?;
        if hold && !self.made_in_range {
            let key = self.range_start.take().unwrap_or_default();
            self.write(key).await?;
        }
        self.range_start = None;
        Ok(())
    }

    /// The next written leaf, without waiting.
    pub(crate) fn ready(&mut self) -> Option<NodeEntry> {
        self.writes.ready()
    }

    /// The next leaf in order, waiting for it; `None` when all came out.
    pub(crate) async fn wait(&mut self) -> Result<Option<NodeEntry>> {
        self.writes.wait().await
    }
}

/// Builds a tree from documents in key order.
pub struct DocsBuilder {
    leaves: LeafMaker,
    tree: TreeBuilder,
    writer: Arc<BlockWriter>,
    old: Option<LeafCursor>,
}

impl DocsBuilder {
    /// A tree written through `writer`.
    pub fn new(writer: Arc<BlockWriter>, style: LeafStyle) -> Self {
        DocsBuilder {
            leaves: LeafMaker::new(writer.clone(), style),
            tree: TreeBuilder::new(writer.clone()),
            writer,
            old: None,
        }
    }

    /// Walks `old` beside the new tree: a leaf or node of equal content takes the old block.
    #[must_use]
    pub fn with_old(mut self, old: &Tree) -> Self {
        self.old = Some(old.leaves_and_nodes());
        self
    }

    /// Appends a document; its key must be above the last one's. `position` counts in capped leaves only.
    pub async fn push(&mut self, key: &[u8], doc: &[u8], position: Position) -> Result<()> {
        if self.old.is_some() {
            self.follow_old(Some(key)).await?;
        }
        self.leaves.push(key, doc, position).await?;
        self.drain().await
    }

    /// Ends the current leaf (the end of a scanned range).
    pub async fn cut(&mut self) -> Result<()> {
        self.leaves.cut().await?;
        self.drain().await
    }

    /// Tells the writer of old blocks whose key range starts at or before `key`.
    async fn follow_old(&mut self, key: Option<&[u8]>) -> Result<()> {
        let Some(old) = &mut self.old else { return Ok(()) };
        while old.peek_key().is_none_or(|next| key.is_none_or(|key| next <= key)) {
            let Some(span) = old.next().await? else {
                self.old = None;
                return Ok(());
            };
            self.writer.known(span.entry.block);
            for node in old.nodes().take_opened() {
                self.writer.known(node);
            }
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        while let Some(entry) = self.leaves.ready() {
            self.tree.push_leaf(entry).await?;
        }
        Ok(())
    }

    /// Writes what is left; `None` when no document was pushed. Durable only after the writer's flush.
    pub async fn finish(mut self) -> Result<Option<TreeRoot>> {
        self.leaves.cut().await?;
        while let Some(entry) = self.leaves.wait().await? {
            self.tree.push_leaf(entry).await?;
        }
        self.tree.finish().await
    }
}
