//! A new tree that keeps most of an old one: untouched subtrees are taken over unread.

use std::sync::Arc;

use bygone_base::{Error, Result};
use bygone_blockstore::BlockWriter;
use bytes::Bytes;

use crate::{
    build::{TreeBuilder, TreeRoot},
    cursor::NodeCursor,
    node::NodeEntry,
    range::reaches,
    read::Tree,
};

/// Goes through an old tree from left to right, keeping, dropping and inserting. Work and new blocks are in
/// proportion to what changes, times the height.
///
/// Bounds must be where a leaf's key range starts.
pub struct Splicer {
    old: NodeCursor,
    new: TreeBuilder,
}

impl Splicer {
    /// At the beginning of `old`.
    pub fn new(old: &Tree, writer: Arc<BlockWriter>) -> Self {
        Splicer { old: old.cursor(), new: TreeBuilder::new(writer) }
    }

    /// Keeps the leaves from here to the one at which `to` starts (`None`: all).
    pub async fn keep_to(&mut self, to: Option<&Bytes>) -> Result<()> {
        while let Some((level, entry)) = self.old.head() {
            if to.is_some_and(|to| self.old.lower() >= *to) {
                return Ok(());
            }
            let whole = reaches(to.map(|to| &**to), self.old.upper().map(|upper| &**upper));
            let entry = entry.clone();
            if whole && level == 0 {
                self.new.push_leaf(entry).await?;
                self.old.skip();
            } else if whole && self.new.takes(level) {
                self.new.push_subtree(level, entry).await?;
                self.old.skip();
            } else {
                self.open(level).await?;
            }
        }
        Ok(())
    }

    /// Leaves out the leaves from here to the one at which `to` starts (`None`: all).
    pub async fn drop_to(&mut self, to: Option<&Bytes>) -> Result<()> {
        while let Some((level, _)) = self.old.head() {
            if to.is_some_and(|to| self.old.lower() >= *to) {
                return Ok(());
            }
            if reaches(to.map(|to| &**to), self.old.upper().map(|upper| &**upper)) {
                self.old.skip();
            } else {
                self.open(level).await?;
            }
        }
        Ok(())
    }

    async fn open(&mut self, level: u8) -> Result<()> {
        if level == 0 {
            return Err(Error::internal("a range to be replaced does not start where a leaf does"));
        }
        self.old.expand().await
    }

    /// Appends a new leaf here.
    pub async fn insert(&mut self, leaf: NodeEntry) -> Result<()> {
        self.new.push_leaf(leaf).await
    }

    /// Keeps the rest and writes the new inner nodes. Durable only after the writer's flush.
    pub async fn finish(mut self) -> Result<Option<TreeRoot>> {
        self.keep_to(None).await?;
        self.new.finish().await
    }
}
