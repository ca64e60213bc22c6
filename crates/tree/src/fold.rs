//! Rewriting the dense ranges of a collection's base, or all of it, as of a later moment.

use std::sync::Arc;

use bygone_base::{Error, Result};
use bygone_blockstore::{BlockReader, BlockWriter};
use bygone_document::id_key_into;

use crate::{
    build::{TreeBuilder, TreeInfo},
    capped::{self, Limits},
    cutter::cut_for,
    docs::{LeafMaker, LeafStyle},
    leaf::{Leaf, Position},
    merge::{DocsBatch, Merge, MergeOptions, Piece},
    node::NodeEntry,
    range::KeyRange,
    read::Tree,
    run::RunRoot,
    splice::Splicer,
};

/// What to fold.
#[derive(Debug, Clone, Copy)]
pub struct Fold<'a> {
    /// Reads the base and the runs.
    pub reader: &'a BlockReader,
    /// The base.
    pub base: &'a TreeInfo,
    /// Runs that cover everything after the base's `as_of` up to the moment of the fold.
    pub runs: &'a [RunRoot],
    /// Collection, moment, capped or not, truncation; the range is not looked at.
    pub options: &'a MergeOptions,
    /// A capped collection whose server does not log what it trims: drop what is beyond these limits.
    pub trim: Option<Limits>,
}

/// What a fold did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The new base.
    pub base: TreeInfo,
    /// Leaves that were written or taken over within the folded ranges.
    pub leaves: u64,
    /// Documents in them.
    pub docs: u64,
}

/// Folds `ranges` (from a [`crate::plan::FoldPlan`]) up to `options.at`: the leaves there become leaves with
/// `as_of` = `valid_from` = `at`, everything else stays. Capped and truncated collections and bases without
/// a tree are always folded whole. Durable only after the writer's flush.
pub async fn fold(
    input: &Fold<'_>,
    ranges: &[KeyRange],
    writer: &Arc<BlockWriter>,
) -> Result<Folded> {
    let truncated = input.options.truncated.is_some_and(|moment| moment > input.base.as_of);
    let whole = ranges.iter().any(KeyRange::is_all) || input.options.capped || truncated;
    match &input.base.root {
        _ if ranges.is_empty() => Ok(Folded { base: input.base.clone(), leaves: 0, docs: 0 }),
        Some(root) if !whole => {
            let tree = Tree::new(root.clone(), input.reader.clone());
            fold_ranges(input, &tree, ranges, writer).await
        }
        _ => fold_whole(input, writer).await,
    }
}

/// Where new leaves go.
enum Target {
    Whole(TreeBuilder),
    Spliced(Splicer),
}

/// Cuts merged documents into leaves and counts them.
struct Output<'a> {
    maker: LeafMaker,
    target: Target,
    writer: &'a Arc<BlockWriter>,
    keep_from: Position,
    key: Vec<u8>,
    leaves: u64,
    docs: u64,
}

async fn fold_whole(input: &Fold<'_>, writer: &Arc<BlockWriter>) -> Result<Folded> {
    let keep_from = match &input.trim {
        Some(limits) => capped::first_kept(open(input, KeyRange::all()).await?, limits).await?,
        None => Position::default(),
    };
    let mut merge = open(input, KeyRange::all()).await?;
    let first = merge.next().await?;
    let cut = match (&first, input.base.cut) {
        (Some(first), 0) => cut_for(first.docs_bytes().len() as u64 / first.len().max(1) as u64),
        (_, cut) => cut,
    };
    let target = Target::Whole(TreeBuilder::new(writer.clone()));
    let mut out = Output::new(input, cut, target, writer, keep_from);
    let mut next = first;
    while let Some(piece) = next {
        out.take(piece).await?;
        next = merge.next().await?;
    }
    out.end_range(false).await?;
    let Target::Whole(tree) = out.target else {
        return Err(Error::internal("a whole fold lost its tree"));
    };
    let at = input.options.at;
    let base = TreeInfo::of(tree.finish().await?, cut, at, at);
    Ok(Folded { base, leaves: out.leaves, docs: out.docs })
}

async fn fold_ranges(
    input: &Fold<'_>,
    tree: &Tree,
    ranges: &[KeyRange],
    writer: &Arc<BlockWriter>,
) -> Result<Folded> {
    let target = Target::Spliced(Splicer::new(tree, writer.clone()));
    let cut = input.base.cut;
    let mut out = Output::new(input, cut, target, writer, Position::default());
    for range in ranges {
        out.splicer()?.keep_to(Some(&range.from)).await?;
        out.maker.begin_range(range.from.clone());
        let mut merge = open(input, range.clone()).await?;
        while let Some(piece) = merge.next().await? {
            out.take(piece).await?;
        }
        out.end_range(true).await?;
        out.splicer()?.drop_to(range.to.as_ref()).await?;
    }
    let Target::Spliced(splicer) = out.target else {
        return Err(Error::internal("a fold of ranges lost its tree"));
    };
    let at = input.options.at;
    let base = TreeInfo::of(splicer.finish().await?, cut, at, at);
    Ok(Folded { base, leaves: out.leaves, docs: out.docs })
}

async fn open(input: &Fold<'_>, range: KeyRange) -> Result<Merge> {
    let options = MergeOptions { range, ..input.options.clone() };
    Merge::open(input.reader, input.base, input.runs, options).await
}

impl<'a> Output<'a> {
    fn new(
        input: &Fold<'_>,
        cut: u64,
        target: Target,
        writer: &'a Arc<BlockWriter>,
        keep_from: Position,
    ) -> Self {
        let style = LeafStyle {
            cut,
            capped: input.options.capped,
            as_of: input.options.at,
            valid_from: input.options.at,
        };
        Output {
            maker: LeafMaker::new(writer.clone(), style),
            target,
            writer,
            keep_from,
            key: Vec::new(),
            leaves: 0,
            docs: 0,
        }
    }

    fn splicer(&mut self) -> Result<&mut Splicer> {
        match &mut self.target {
            Target::Spliced(splicer) => Ok(splicer),
            Target::Whole(_) => Err(Error::internal("a whole fold has no old tree")),
        }
    }

    async fn take(&mut self, piece: Piece) -> Result<()> {
        match piece {
            Piece::Docs(batch) => self.take_batch(&batch).await?,
            Piece::Leaf(entry, leaf) => self.take_leaf(entry, &leaf).await?,
        }
        while let Some(entry) = self.maker.ready() {
            self.insert(entry).await?;
        }
        Ok(())
    }

    async fn take_batch(&mut self, batch: &DocsBatch) -> Result<()> {
        for (key, doc, position) in batch.iter() {
            if position >= self.keep_from {
                self.maker.push(key, doc, position).await?;
            }
        }
        Ok(())
    }

    /// A leaf that no operation touches is taken over by name, unless a small rest stands before it or part
    /// of it is trimmed.
    async fn take_leaf(&mut self, entry: NodeEntry, leaf: &Leaf) -> Result<()> {
        self.writer.known(entry.block);
        let first = (0..leaf.len()).filter_map(|index| leaf.position(index)).min();
        if !self.maker.is_slight() && first.unwrap_or_default() >= self.keep_from {
            return self.maker.pass(entry).await;
        }
        for (index, doc) in leaf.docs().enumerate() {
            let position = leaf.position(index).unwrap_or_default();
            self.key.clear();
            id_key_into(doc, &mut self.key)?;
            if position >= self.keep_from {
                self.maker.push(&self.key, doc, position).await?;
            }
        }
        Ok(())
    }

    async fn end_range(&mut self, hold: bool) -> Result<()> {
        self.maker.end_range(hold).await?;
        while let Some(entry) = self.maker.wait().await? {
            self.insert(entry).await?;
        }
        Ok(())
    }

    async fn insert(&mut self, entry: NodeEntry) -> Result<()> {
        self.leaves += 1;
        self.docs += entry.items;
        match &mut self.target {
            Target::Whole(tree) => tree.push_leaf(entry).await,
            Target::Spliced(splicer) => splicer.insert(entry).await,
        }
    }
}
