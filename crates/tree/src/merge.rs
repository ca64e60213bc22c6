//! The state of one collection at a moment: its base tree and the runs above it, in key order.

mod batch;
mod region;

pub use batch::{DocsBatch, Item};

use bygone_base::{CollectionId, Error, ErrorKind, Result, Ts};
use bygone_blockstore::BlockReader;

use crate::{
    build::TreeInfo,
    leaf::{Leaf, Position},
    node::NodeEntry,
    range::{KeyRange, below},
    read::{LeafReader, LeafSpan, Tree},
    resolve::{Resolver, Window},
    run::{RunCursor, RunRoot, RunScope, RunsCursor},
};
use region::Region;

/// What to merge.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// The collection.
    pub coll: CollectionId,
    /// Every operation up to and including this moment counts.
    pub at: Ts,
    /// Keys wanted.
    pub range: KeyRange,
    /// Whether positions are kept.
    pub capped: bool,
    /// Everything decided up to this moment is void (emptycapped).
    pub truncated: Option<Ts>,
}

impl MergeOptions {
    /// The whole of an ordinary collection at `at`.
    pub fn new(coll: CollectionId, at: Ts) -> Self {
        MergeOptions { coll, at, range: KeyRange::all(), capped: false, truncated: None }
    }
}

/// A stretch of documents, in ascending key order from piece to piece.
#[derive(Debug)]
pub enum Piece {
    /// A leaf that no operation touches, whole; its block as it lies in the store.
    Leaf(NodeEntry, Leaf),
    /// Documents, about 1 MB or fewer.
    Docs(DocsBatch),
}

impl Piece {
    /// Number of documents.
    pub fn len(&self) -> usize {
        match self {
            Piece::Leaf(_, leaf) => leaf.len(),
            Piece::Docs(batch) => batch.len(),
        }
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The documents one after the other, raw BSON.
    pub fn docs_bytes(&self) -> &[u8] {
        match self {
            Piece::Leaf(_, leaf) => leaf.docs_slice(),
            Piece::Docs(batch) => batch.docs_bytes(),
        }
    }

    /// Each document.
    pub fn docs(&self) -> crate::leaf::Docs<'_> {
        crate::leaf::Docs::over(self.docs_bytes())
    }

    /// The position of document `index` in a capped collection.
    pub fn position(&self, index: usize) -> Option<Position> {
        match self {
            Piece::Leaf(_, leaf) => leaf.position(index),
            Piece::Docs(batch) => batch.items().get(index).map(|item| item.position),
        }
    }
}

/// Streams the state of a collection. Memory: the blocks read ahead (about 5 MiB for the base, 0.6 MiB for
/// each run), one batch, one document.
pub struct Merge {
    options: MergeOptions,
    leaves: Option<LeafReader>,
    /// The moments of a base without a tree, until its one region was opened.
    empty_base: Option<Window>,
    runs: RunsCursor,
    region: Option<Region>,
    leaf: Option<Piece>,
    batch: DocsBatch,
    resolver: Resolver,
    key: Vec<u8>,
}

impl Merge {
    /// Merges `base` with `runs`, which must cover everything after the base's `as_of` up to `at`.
    pub async fn open(
        reader: &BlockReader,
        base: &TreeInfo,
        runs: &[RunRoot],
        options: MergeOptions,
    ) -> Result<Merge> {
        let after = base.as_of.max(options.truncated.unwrap_or_default());
        let scope = RunScope::of(options.coll, &options.range, after, options.at);
        let cursors = runs
            .iter()
            .filter(|run| run.max > after && run.min <= options.at)
            .map(|run| RunCursor::open(reader, run, scope.clone()))
            .collect();
        let leaves = base
            .root
            .as_ref()
            .map(|root| Tree::new(root.clone(), reader.clone()).read_leaves(options.range.clone()));
        let window = Window { as_of: base.as_of, valid_from: base.valid_from, at: options.at };
        Ok(Merge {
            empty_base: leaves.is_none().then_some(window),
            leaves,
            runs: RunsCursor::new(cursors).await?,
            region: None,
            leaf: None,
            batch: DocsBatch::default(),
            resolver: Resolver::new(),
            key: Vec::new(),
            options,
        })
    }

    /// The next documents; `None` at the end.
    ///
    /// # Errors
    /// NotCovered when the base cannot be read at this moment; Damaged naming collection, `_id` and moment
    /// when an operation does not fit the document it finds.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            let must_go = self.leaf.is_some() || self.batch.is_full();
            if must_go && !self.batch.is_empty() {
                return Ok(Some(Piece::Docs(std::mem::take(&mut self.batch))));
            }
            if let Some(leaf) = self.leaf.take() {
                return Ok(Some(leaf));
            }
            if let Some(region) = self.region.take() {
                self.region = self.merge(region).await?;
            } else if !self.open_region().await? {
                let rest = std::mem::take(&mut self.batch);
                return Ok((!rest.is_empty()).then_some(Piece::Docs(rest)));
            }
        }
    }

    /// At the end: the position up to which a capped collection has surely lost its documents, where the
    /// server does not log that: an `_id` that stood there was inserted again.
    pub fn forgotten(&self) -> Option<Position> {
        self.resolver.forgotten()
    }

    /// Opens the next leaf, or hands it on whole; false at the end.
    async fn open_region(&mut self) -> Result<bool> {
        if let Some(window) = self.empty_base.take() {
            let range = self.options.range.clone();
            self.region = Some(Region::new(None, range, self.cut_window(window)?.0));
            return Ok(true);
        }
        let Some(leaves) = &mut self.leaves else { return Ok(false) };
        let Some((span, leaf)) = leaves.next().await? else { return Ok(false) };
        let at = self.options.at;
        let entry = &span.entry;
        let window = Window { as_of: entry.as_of, valid_from: entry.valid_from, at };
        let (window, void) = self.cut_window(window)?;
        let range = self.options.range.meet(&span.range);
        self.pass_dead(&window, &range).await?;
        let live = self.runs.head().is_some_and(|op| below(op.key, range.to.as_deref()));
        if void {
            self.region = Some(Region::new(None, range, window));
        } else if live || range != span.range || leaf.is_capped() != self.options.capped {
            self.region = Some(Region::new(Some(leaf), range, window));
        } else if !leaf.is_empty() {
            let LeafSpan { entry, .. } = span;
            self.leaf = Some(Piece::Leaf(entry, leaf));
        }
        Ok(true)
    }

    /// The window of a block whose documents may be void; whether they are.
    fn cut_window(&self, mut window: Window) -> Result<(Window, bool)> {
        let readable = window.as_of.max(window.valid_from);
        if window.at < readable {
            return Err(Error::new(
                ErrorKind::NotCovered,
                format!(
                    "the state at {} cannot be read: a block holds changes up to {readable}",
                    window.at
                ),
            )
            .hint("ask for that moment or a later one, or start from an older snapshot"));
        }
        let truncated = self.options.truncated.filter(|moment| *moment > window.as_of);
        window.as_of = truncated.unwrap_or(window.as_of);
        Ok((window, truncated.is_some()))
    }

    /// Passes operations of `range` that do not count.
    async fn pass_dead(&mut self, window: &Window, range: &KeyRange) -> Result<()> {
        while let Some(op) = self.runs.head() {
            if window.is_live(op.ts) || !below(op.key, range.to.as_deref()) {
                break;
            }
            self.runs.advance().await?;
        }
        Ok(())
    }

    /// Merges a leaf's documents with the operations of its range until the batch is full; gives the region
    /// back when something is left of it.
    async fn merge(&mut self, mut region: Region) -> Result<Option<Region>> {
        let coll = self.options.coll;
        while !self.batch.is_full() {
            self.pass_dead(&region.window, &region.range).await?;
            let op = self.runs.head().filter(|op| below(op.key, region.range.to.as_deref()));
            let Some(op) = op else {
                let done = region.copy_below(None, &mut self.batch, coll)?;
                return Ok((!done).then_some(region));
            };
            if region.copy_below(Some(op.key), &mut self.batch, coll)? {
                self.key.clear();
                self.key.extend_from_slice(op.key);
                self.resolve(&mut region).await?;
            }
        }
        Ok(Some(region))
    }

    /// Applies all operations of the head's key (`self.key`) to its document.
    async fn resolve(&mut self, region: &mut Region) -> Result<()> {
        let base = region.doc_of(&self.key);
        self.resolver.begin(base.as_ref().map(|(_, position)| *position));
        let doc = base.as_ref().map_or(&[][..], |(doc, _)| doc);
        while let Some(op) = self.runs.head() {
            if op.key != self.key {
                break;
            }
            self.resolver.apply(doc, &op, &region.window)?;
            self.runs.advance().await?;
        }
        if let Some((doc, position)) = self.resolver.result(doc) {
            self.batch.push(&self.key, doc, position);
        }
        if base.is_some() {
            region.pass_doc();
        }
        Ok(())
    }
}
