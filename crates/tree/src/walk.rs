//! Every block of a tree or run, for verify and groom.

use bygone_base::{Result, Ts};
use bygone_blockstore::{BlockReader, BlockRef};
use bytes::Bytes;

use crate::{build::TreeRoot, cursor::NodeCursor, node::NodeEntry, run::RunRoot};

/// Whether to go on below a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// Read the node and visit its children.
    Enter,
    /// Everything below was seen already.
    Skip,
}

/// Calls `visit` with every block below and including the root, parents first: its level (0 = leaf; its
/// answer does not matter there) and its entry. Leaves are not read.
pub async fn walk_blocks(
    reader: &BlockReader,
    root: impl Into<Start>,
    mut visit: impl FnMut(u8, &NodeEntry) -> Result<Visit> + Send,
) -> Result<()> {
    let Start { level, entry } = root.into();
    let mut nodes = NodeCursor::new(reader.clone(), level, entry);
    while let Some((level, entry)) = nodes.head() {
        match visit(level, entry)? {
            Visit::Enter if level > 0 => nodes.expand().await?,
            Visit::Enter | Visit::Skip => nodes.skip(),
        }
    }
    Ok(())
}

/// Where a walk starts.
pub struct Start {
    level: u8,
    entry: NodeEntry,
}

impl From<&TreeRoot> for Start {
    fn from(root: &TreeRoot) -> Self {
        Start { level: root.level, entry: root.entry() }
    }
}

impl From<&RunRoot> for Start {
    fn from(root: &RunRoot) -> Self {
        Start { level: root.level, entry: root.entry() }
    }
}

/// A root of which only block and level are known.
impl From<(BlockRef, u8)> for Start {
    fn from((block, level): (BlockRef, u8)) -> Self {
        let key = Bytes::new();
        let (items, bytes) = (0, 0);
        let (as_of, valid_from, max_ts) = (Ts::MIN, Ts::MIN, Ts::MIN);
        Start { level, entry: NodeEntry { key, block, items, bytes, as_of, valid_from, max_ts } }
    }
}
