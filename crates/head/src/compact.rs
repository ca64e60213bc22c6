//! Folding dense key ranges into new leaves, and merging runs into one.

use std::{collections::BTreeMap, sync::Arc};

use bygone_base::{CollectionId, Result, Ts};
use bygone_blockstore::{BlockReader, BlockWriter};
use bygone_snapshot::{Catalogue, Collection};
use bygone_tree::{
    KeyRange, MergeOptions, RunRoot,
    capped::Limits,
    density::density,
    fold::{Fold, fold},
    plan::{FoldPlan, FoldPolicy},
    run::{MergeRunsOptions, RunCursor, RunScope, merge_runs},
};

/// Runs that may overlap before they are merged: a reader holds blocks of every one.
const RUNS_MAX: usize = 8;
/// Runs that one merge reads at once; more are merged in rounds.
const MERGE_FAN_IN: usize = 24;
/// Operations so few compared with the base are not worth a planning pass.
const FEW_SHARE: u64 = 50;

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Compacted {
    /// Leaves that were rewritten.
    pub folded_leaves: u64,
}

/// Decides whether the runs are worth a look: their operations against the base's documents.
fn worth_planning(catalogue: &Catalogue, runs: &[RunRoot]) -> bool {
    let docs: u64 = roots(catalogue).map(|r| r.items).sum();
    let bytes: u64 = roots(catalogue).map(|r| r.bytes).sum();
    let ops: u64 = runs.iter().map(|r| r.ops).sum();
    let op_bytes: u64 = runs.iter().map(|r| r.bytes).sum();
    ops > 0 && (ops > docs / FEW_SHARE || op_bytes > bytes / FEW_SHARE)
}

fn roots(catalogue: &Catalogue) -> impl Iterator<Item = &bygone_tree::TreeRoot> {
    catalogue.collections.values().filter_map(|c| c.tree.root.as_ref())
}

/// Folds what is dense at `at` into the catalogue's trees and rewrites the runs without it.
/// `runs` must be readable (flushed) and hold nothing that was decided after `at`. `trimming`: the server does not log what capped collections lose.
pub(crate) async fn compact(
    catalogue: &mut Catalogue,
    runs: Vec<RunRoot>,
    at: Ts,
    trimming: bool,
    reader: &BlockReader,
    writer: &Arc<BlockWriter>,
) -> Result<(Vec<RunRoot>, Compacted)> {
    let runs = narrow(runs, catalogue, reader, writer).await?;
    let mut folded: BTreeMap<CollectionId, Vec<KeyRange>> = BTreeMap::new();
    let mut done = Compacted::default();
    if worth_planning(catalogue, &runs) {
        for collection in catalogue.collections.values_mut() {
            let ranges = plan(collection, &runs, at, reader).await?;
            if ranges.is_empty() {
                continue;
            }
            let options = merge_options(collection, at);
            let trim = trimming.then(|| limits(collection)).flatten();
            let runs = &runs;
            let fold_of = Fold { reader, base: &collection.tree, runs, options: &options, trim };
            let folded_now = fold(&fold_of, &ranges, writer)
                .await
                .map_err(|e| e.within(collection.namespace()))?;
            collection.tree = folded_now.base;
            done.folded_leaves += folded_now.leaves;
            let whole = ranges.iter().any(KeyRange::is_all);
            if whole || collection.truncated.is_some_and(|t| t <= collection.tree.as_of) {
                collection.truncated = None;
            }
            folded.insert(collection.id, ranges);
        }
    }
    if folded.is_empty() && runs.len() <= RUNS_MAX {
        return Ok((runs, done));
    }
    let known = |coll: CollectionId| catalogue.collections.contains_key(&coll);
    let keep = |op: &bygone_tree::RunOp<'_>| known(op.coll) && !is_folded(&folded, op.coll, op.key);
    let merged = merge_all(&runs, catalogue, &keep, at, reader, writer).await?;
    Ok((merged.into_iter().collect(), done))
}

/// Runs of what was decided up to `at`, and of what was decided later: a snapshot must hold none of that, for a
/// fork between its moment and the last entry read leaves the snapshot valid and voids what came after.
/// Durable when it gives `Ok`.
pub(crate) async fn split(
    runs: &[RunRoot],
    at: Ts,
    reader: &BlockReader,
    writer: &Arc<BlockWriter>,
) -> Result<(Vec<RunRoot>, Vec<RunRoot>)> {
    let (mut upto, mut later) = (Vec::new(), Vec::new());
    for run in runs {
        if run.max <= at {
            upto.push(run.clone());
        } else if run.min > at {
            later.push(run.clone());
        } else {
            let all = Catalogue::default();
            let one = std::slice::from_ref(run);
            let before = |op: &bygone_tree::RunOp<'_>| op.ts <= at;
            let after = |op: &bygone_tree::RunOp<'_>| op.ts > at;
            upto.extend(merge_all(one, &all, &before, Ts::MIN, reader, writer).await?);
            later.extend(merge_all(one, &all, &after, Ts::MIN, reader, writer).await?);
        }
    }
    writer.flush().await?;
    Ok((upto, later))
}

/// Drops from capped collections what the server had dropped at each of these moments, at which it began to
/// log it: later deletes name only what it still had then. Durable when it gives `Ok`.
pub(crate) async fn trim_at(
    moments: &[Ts],
    catalogue: &mut Catalogue,
    runs: &[RunRoot],
    reader: &BlockReader,
    writer: &Arc<BlockWriter>,
) -> Result<()> {
    for moment in moments {
        for collection in catalogue.collections.values_mut() {
            let trim = limits(collection);
            let later = collection.truncated.is_some_and(|at| at > *moment);
            if trim.is_none() || later || collection.tree.as_of >= *moment {
                continue;
            }
            let options = merge_options(collection, *moment);
            let fold_of = Fold { reader, base: &collection.tree, runs, options: &options, trim };
            let folded = fold(&fold_of, &[KeyRange::all()], writer)
                .await
                .map_err(|e| e.within(collection.namespace()))?;
            collection.tree = folded.base;
            collection.truncated = None;
        }
        writer.flush().await?;
    }
    Ok(())
}

/// How to read a collection at `at`.
pub(crate) fn merge_options(collection: &Collection, at: Ts) -> MergeOptions {
    MergeOptions {
        capped: collection.capped(),
        truncated: collection.truncated,
        ..MergeOptions::new(collection.id, at)
    }
}

/// The limits of a capped collection; `None` of others.
pub(crate) fn limits(collection: &Collection) -> Option<Limits> {
    let (max_bytes, max_docs) = collection.capped_limits();
    collection.capped().then_some(Limits { max_bytes, max_docs })
}

async fn plan(
    collection: &Collection,
    runs: &[RunRoot],
    at: Ts,
    reader: &BlockReader,
) -> Result<Vec<KeyRange>> {
    let mut plan = FoldPlan::new(FoldPolicy::default());
    density(reader, &collection.tree, runs, collection.id, at, |leaf| plan.push(leaf)).await?;
    let (folded, seen) = plan.totals();
    let policy = FoldPolicy::default();
    let whole = collection.capped() || collection.truncated.is_some();
    let dense = policy.is_dense(seen.docs, seen.bytes, seen.ops, seen.op_bytes);
    Ok(if !whole {
        plan.finish()
    } else if folded.ops > 0 || dense {
        vec![KeyRange::all()]
    } else {
        Vec::new()
    })
}

fn is_folded(
    folded: &BTreeMap<CollectionId, Vec<KeyRange>>,
    coll: CollectionId,
    key: &[u8],
) -> bool {
    let Some(ranges) = folded.get(&coll) else { return false };
    let after = ranges.partition_point(|r| &*r.from <= key);
    after.checked_sub(1).and_then(|i| ranges.get(i)).is_some_and(|r| r.contains(key))
}

/// Merges runs in rounds until few enough are left to be read together.
async fn narrow(
    mut runs: Vec<RunRoot>,
    catalogue: &Catalogue,
    reader: &BlockReader,
    writer: &Arc<BlockWriter>,
) -> Result<Vec<RunRoot>> {
    while runs.len() > MERGE_FAN_IN {
        let mut next = Vec::new();
        for group in runs.chunks(MERGE_FAN_IN) {
            next.extend(merge_all(group, catalogue, &|_| true, Ts::MIN, reader, writer).await?);
        }
        writer.flush().await?;
        runs = next;
    }
    Ok(runs)
}

async fn merge_all(
    runs: &[RunRoot],
    catalogue: &Catalogue,
    keep: &(dyn Fn(&bygone_tree::RunOp<'_>) -> bool + Send + Sync),
    floor: Ts,
    reader: &BlockReader,
    writer: &Arc<BlockWriter>,
) -> Result<Option<RunRoot>> {
    let capped = |id: CollectionId| catalogue.collections.get(&id).is_some_and(Collection::capped);
    let cursors = runs.iter().map(|run| RunCursor::open(reader, run, RunScope::all())).collect();
    merge_runs(cursors, &MergeRunsOptions { keep, capped: &capped, floor }, writer).await
}
