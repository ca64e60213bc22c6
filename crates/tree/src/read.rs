//! Reading a tree of documents: leaves of a range, splits for parallel readers.

use bygone_base::{Error, Result, Ts};
use bygone_blockstore::BlockReader;
use bytes::Bytes;

use crate::{
    build::TreeRoot,
    cursor::{Ahead, NodeCursor},
    leaf::Leaf,
    node::{Node, NodeEntry},
    range::KeyRange,
};

/// A tree of documents in a repository.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Its root.
    pub root: TreeRoot,
    /// Reads its blocks.
    pub reader: BlockReader,
}

/// A leaf and the keys that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafSpan {
    /// The leaf.
    pub entry: NodeEntry,
    /// Its key range, which may be wider than its documents' keys.
    pub range: KeyRange,
}

impl Tree {
    /// The tree below `root`.
    pub fn new(root: TreeRoot, reader: BlockReader) -> Self {
        Tree { root, reader }
    }

    /// The leaves whose key ranges meet `range`, in order.
    pub fn leaves(&self, range: KeyRange) -> LeafCursor {
        LeafCursor { nodes: self.cursor(), range }
    }

    /// Every leaf, remembering the nodes on the way.
    pub(crate) fn leaves_and_nodes(&self) -> LeafCursor {
        let mut cursor = self.leaves(KeyRange::all());
        cursor.nodes.remember_opened();
        cursor
    }

    /// The leaves whose key ranges meet `range`, read ahead.
    pub fn read_leaves(&self, range: KeyRange) -> LeafReader {
        LeafReader { cursor: self.leaves(range), ahead: Ahead::new(self.reader.clone()) }
    }

    /// One leaf.
    pub async fn read_leaf(&self, entry: &NodeEntry) -> Result<Leaf> {
        parse_leaf(entry, self.reader.read(&entry.block).await?)
    }

    pub(crate) fn cursor(&self) -> NodeCursor {
        NodeCursor::new(self.reader.clone(), self.root.level, self.root.entry())
    }

    /// At most `n - 1` keys that cut the tree into parts of about equal bytes.
    pub async fn splits(&self, n: usize) -> Result<Vec<Bytes>> {
        let mut level = self.root.level;
        let mut entries = vec![self.root.entry()];
        // Eight entries per part keep the parts within some 12 % of each other.
        while level > 0 && entries.len() < n.saturating_mul(8) {
            let mut below = Vec::new();
            for entry in &entries {
                below.extend(self.read_node(entry, level).await?.entries);
            }
            entries = below;
            level -= 1;
        }
        Ok(cut_evenly(&entries, n))
    }

    async fn read_node(&self, entry: &NodeEntry, level: u8) -> Result<Node> {
        let node = Node::parse(&self.reader.read(&entry.block).await?)
            .map_err(|error| error.within(format!("block {}", entry.block.id)))?;
        if node.level == level {
            return Ok(node);
        }
        Err(Error::damaged(format!("block {} is not a node of level {level}", entry.block.id)))
    }
}

impl TreeRoot {
    /// The root as an entry; its key is the beginning.
    pub(crate) fn entry(&self) -> NodeEntry {
        NodeEntry {
            key: Bytes::new(),
            block: self.block,
            items: self.items,
            bytes: self.bytes,
            as_of: self.as_of,
            valid_from: self.valid_from,
            max_ts: Ts(0),
        }
    }
}

/// Keys of the entries at which about every n-th part of the bytes begins.
fn cut_evenly(entries: &[NodeEntry], n: usize) -> Vec<Bytes> {
    let total: u128 = entries.iter().map(|entry| u128::from(entry.bytes)).sum();
    let (mut sum, mut splits) = (0u128, Vec::new());
    for entry in entries {
        let part = splits.len() as u128 + 1;
        if part < n as u128 && sum > 0 && sum * n as u128 >= total * part {
            splits.push(entry.key.clone());
        }
        sum += u128::from(entry.bytes);
    }
    splits
}

pub(crate) fn parse_leaf(entry: &NodeEntry, raw: Bytes) -> Result<Leaf> {
    let leaf =
        Leaf::parse(raw).map_err(|error| error.within(format!("block {}", entry.block.id)))?;
    if leaf.len() as u64 == entry.items {
        return Ok(leaf);
    }
    Err(Error::damaged(format!(
        "block {} holds {} documents, its parent says {}",
        entry.block.id,
        leaf.len(),
        entry.items
    )))
}

/// The leaves of a range, one after the other; reads inner nodes only.
pub struct LeafCursor {
    nodes: NodeCursor,
    range: KeyRange,
}

impl LeafCursor {
    /// The next leaf whose key range meets the cursor's range.
    pub async fn next(&mut self) -> Result<Option<LeafSpan>> {
        if !self.find().await? {
            return Ok(None);
        }
        let range = self.nodes.range();
        let Some((_, entry)) = self.nodes.head() else { return Ok(None) };
        let entry = entry.clone();
        self.nodes.skip();
        Ok(Some(LeafSpan { entry, range }))
    }

    /// Leaves that end at or before `key` are not given any more, and not even looked for.
    pub fn seek(&mut self, key: Bytes) {
        if key > self.range.from {
            self.range.from = key;
        }
    }

    /// Goes to the next leaf of the range; false when there is none.
    pub(crate) async fn find(&mut self) -> Result<bool> {
        loop {
            let Some((level, _)) = self.nodes.head() else { return Ok(false) };
            if self.nodes.upper().is_some_and(|upper| *upper <= self.range.from) {
                self.nodes.skip();
            } else if self.range.to.as_ref().is_some_and(|to| self.nodes.lower() >= *to) {
                return Ok(false);
            } else if level == 0 {
                return Ok(true);
            } else {
                self.nodes.expand().await?;
            }
        }
    }

    pub(crate) fn nodes(&mut self) -> &mut NodeCursor {
        &mut self.nodes
    }

    /// A key at or before the next leaf's; `None` at the end.
    pub(crate) fn peek_key(&self) -> Option<&[u8]> {
        self.nodes.head().map(|(_, entry)| &*entry.key)
    }
}

/// The leaves of a range with their blocks, read ahead (at most 4 blocks or 4 MiB beyond one).
pub struct LeafReader {
    cursor: LeafCursor,
    ahead: Ahead<LeafSpan>,
}

impl LeafReader {
    /// The next leaf.
    pub async fn next(&mut self) -> Result<Option<(LeafSpan, Leaf)>> {
        while self.ahead.has_room() {
            let Some(span) = self.cursor.next().await? else { break };
            let (block, bytes) = (span.entry.block, span.entry.bytes);
            self.ahead.push(span, block, bytes);
        }
        match self.ahead.pop().await? {
            Some((span, raw)) => {
                let leaf = parse_leaf(&span.entry, raw)?;
                Ok(Some((span, leaf)))
            }
            None => Ok(None),
        }
    }
}
