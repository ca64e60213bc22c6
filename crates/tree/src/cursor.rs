//! Walking a tree from left to right, one subtree at a time, and reading blocks ahead.

use std::collections::VecDeque;

use bygone_base::{Error, Result};
use bygone_blockstore::{BlockReader, BlockRef};
use bytes::Bytes;
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    node::{Node, NodeEntry},
    range::KeyRange,
};

/// Blocks read ahead by one cursor at most.
const AHEAD_BLOCKS: usize = 4;
/// Raw bytes read ahead by one cursor, beyond the first block.
const AHEAD_BYTES: u64 = 4 << 20;

/// Some consecutive siblings and the place among them.
struct Frame {
    /// Level of the blocks that the entries name: 0 = leaves.
    level: u8,
    entries: Vec<NodeEntry>,
    at: usize,
    /// Where the key range of the last entry ends.
    upper: Option<Bytes>,
}

/// A place in a tree: before the subtree called the head.
pub(crate) struct NodeCursor {
    reader: BlockReader,
    stack: Vec<Frame>,
    opened: Option<Vec<BlockRef>>,
}

impl NodeCursor {
    /// At the root, unopened.
    pub(crate) fn new(reader: BlockReader, level: u8, root: NodeEntry) -> Self {
        let frame = Frame { level, entries: vec![root], at: 0, upper: None };
        NodeCursor { reader, stack: vec![frame], opened: None }
    }

    /// Remembers which nodes are opened, for [`NodeCursor::take_opened`].
    pub(crate) fn remember_opened(&mut self) {
        self.opened = Some(Vec::new());
    }

    pub(crate) fn take_opened(&mut self) -> Vec<BlockRef> {
        self.opened.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The head's level (0 = leaf) and entry.
    pub(crate) fn head(&self) -> Option<(u8, &NodeEntry)> {
        let frame = self.stack.last()?;
        Some((frame.level, frame.entries.get(frame.at)?))
    }

    /// Where the head's key range ends.
    pub(crate) fn upper(&self) -> Option<&Bytes> {
        let frame = self.stack.last()?;
        match frame.entries.get(frame.at + 1) {
            Some(next) => Some(&next.key),
            None => frame.upper.as_ref(),
        }
    }

    /// Where the head's key range starts: empty for the first.
    pub(crate) fn lower(&self) -> Bytes {
        let first = self.stack.iter().all(|frame| frame.at == 0);
        let head = self.stack.last().and_then(|frame| frame.entries.get(frame.at));
        match head {
            Some(entry) if !first => entry.key.clone(),
            _ => Bytes::new(),
        }
    }

    /// The head's key range.
    pub(crate) fn range(&self) -> KeyRange {
        KeyRange { from: self.lower(), to: self.upper().cloned() }
    }

    /// The leaf before the head leaf and its range, when one node holds both.
    pub(crate) fn sibling_before(&self) -> Option<(NodeEntry, KeyRange)> {
        let frame = self.stack.last()?;
        let before = frame.at.checked_sub(1)?;
        let entry = frame.entries.get(before)?.clone();
        let above = &self.stack[..self.stack.len() - 1];
        let first = before == 0 && above.iter().all(|frame| frame.at == 0);
        let from = if first { Bytes::new() } else { entry.key.clone() };
        let to = frame.entries.get(frame.at).map(|next| next.key.clone());
        Some((entry, KeyRange { from, to }))
    }

    /// Goes past the head without reading it.
    pub(crate) fn skip(&mut self) {
        while let Some(frame) = self.stack.last_mut() {
            frame.at += 1;
            if frame.at < frame.entries.len() {
                return;
            }
            self.stack.pop();
        }
    }

    /// Opens the head, a node: its first child becomes the head.
    pub(crate) async fn expand(&mut self) -> Result<()> {
        let Some((level, entry)) = self.head() else {
            return Err(Error::internal("a cursor at its end was expanded"));
        };
        let block = entry.block;
        let upper = self.upper().cloned();
        let raw = self.reader.read(&block).await?;
        let node =
            Node::parse(&raw).map_err(|error| error.within(format!("block {}", block.id)))?;
        if node.level != level {
            return Err(Error::damaged(format!(
                "block {} is a node of level {}, its parent says {level}",
                block.id, node.level
            )));
        }
        if let Some(opened) = &mut self.opened {
            opened.push(block);
        }
        self.stack.push(Frame { level: level - 1, entries: node.entries, at: 0, upper });
        Ok(())
    }
}

/// Blocks that are being read before they are asked for, handed out in order.
pub(crate) struct Ahead<T> {
    reader: BlockReader,
    tasks: JoinSet<()>,
    queue: VecDeque<(T, u64, oneshot::Receiver<Result<Bytes>>)>,
    bytes: u64,
}

impl<T> Ahead<T> {
    pub(crate) fn new(reader: BlockReader) -> Self {
        Ahead { reader, tasks: JoinSet::new(), queue: VecDeque::new(), bytes: 0 }
    }

    /// Whether another block may be asked for.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.is_empty() || (self.queue.len() < AHEAD_BLOCKS && self.bytes < AHEAD_BYTES)
    }

    /// Starts to read a block of about `bytes` raw bytes.
    pub(crate) fn push(&mut self, tag: T, block: BlockRef, bytes: u64) {
        while self.tasks.try_join_next().is_some() {}
        let (send, receive) = oneshot::channel();
        let reader = self.reader.clone();
        self.tasks.spawn(async move {
            // Nobody waits any more when the cursor was dropped: nothing to tell.
            let _ = send.send(reader.read(&block).await);
        });
        self.bytes = self.bytes.saturating_add(bytes);
        self.queue.push_back((tag, bytes, receive));
    }

    /// The next block in the order of `push`; `None` when nothing is on its way.
    pub(crate) async fn pop(&mut self) -> Result<Option<(T, Bytes)>> {
        let Some((tag, bytes, receive)) = self.queue.pop_front() else { return Ok(None) };
        self.bytes = self.bytes.saturating_sub(bytes);
        let raw = receive
            .await
            .map_err(|_| Error::internal("a task that read a block was stopped"))??;
        Ok(Some((tag, raw)))
    }
}
