//! How many operations wait above each leaf: the planning pass before a fold.

use bygone_base::{CollectionId, Result, Ts};
use bygone_blockstore::BlockReader;
use bytes::Bytes;

use crate::{
    build::TreeInfo,
    cursor::NodeCursor,
    node::NodeEntry,
    plan::{LeafDensity, SLIGHT},
    range::{KeyRange, below},
    read::Tree,
    run::{RunCursor, RunRoot, RunScope, RunsCursor},
};

/// Calls `with` for each leaf that has operations up to `at` above it, and for small leaves beside those, in
/// key order. Reads the collection's operations and the inner nodes on the way to the leaves touched, no
/// documents.
pub async fn density(
    reader: &BlockReader,
    base: &TreeInfo,
    runs: &[RunRoot],
    coll: CollectionId,
    at: Ts,
    mut with: impl FnMut(LeafDensity) + Send,
) -> Result<()> {
    let scope = RunScope::of(coll, &KeyRange::all(), base.as_of, at);
    let cursors = runs.iter().map(|run| RunCursor::open(reader, run, scope.clone())).collect();
    let mut runs = RunsCursor::new(cursors).await?;
    let Some(root) = &base.root else {
        let whole = count(&mut runs, facts(None, KeyRange::all()), base.as_of).await?;
        if whole.ops > 0 {
            with(whole);
        }
        return Ok(());
    };
    let mut leaves = Tree::new(root.clone(), reader.clone()).leaves(KeyRange::all());
    // Where the last leaf given ends: nothing is given twice.
    let mut given = Bytes::new();
    while let Some(op) = runs.head() {
        leaves.seek(Bytes::copy_from_slice(op.key));
        if !leaves.find().await? {
            break;
        }
        let before = leaves.nodes().sibling_before();
        let Some((leaf, as_of)) = take_head(leaves.nodes()) else { break };
        let counted = count(&mut runs, leaf, as_of).await?;
        if counted.ops == 0 {
            continue;
        }
        if let Some((entry, range)) = before
            && entry.bytes < SLIGHT
            && range.from >= given
        {
            with(facts(Some(&entry), range));
        }
        let end = counted.range.to.clone();
        with(counted);
        let Some(end) = end else { break };
        given = give_slight(leaves.nodes(), &runs, end, &mut with);
    }
    Ok(())
}

/// Gives the small leaves from `end` on that have no operation; where they end.
fn give_slight(
    nodes: &mut NodeCursor,
    runs: &RunsCursor,
    mut end: Bytes,
    with: &mut (impl FnMut(LeafDensity) + Send),
) -> Bytes {
    while let Some((0, entry)) = nodes.head() {
        let range = nodes.range();
        let touched = runs.head().is_some_and(|op| below(op.key, range.to.as_deref()));
        if entry.bytes >= SLIGHT || touched || range.from != end {
            break;
        }
        let to = range.to.clone();
        with(facts(Some(entry), range));
        nodes.skip();
        let Some(to) = to else { break };
        end = to;
    }
    end
}

/// The head leaf and its `as_of`; goes past it.
fn take_head(nodes: &mut NodeCursor) -> Option<(LeafDensity, Ts)> {
    let (_, entry) = nodes.head()?;
    let found = (facts(Some(entry), nodes.range()), entry.as_of);
    nodes.skip();
    Some(found)
}

fn facts(entry: Option<&NodeEntry>, range: KeyRange) -> LeafDensity {
    let (docs, bytes) = entry.map_or((0, 0), |entry| (entry.items, entry.bytes));
    LeafDensity { range, docs, bytes, ops: 0, op_bytes: 0 }
}

/// Passes the operations of the leaf's range and counts those after `as_of`.
async fn count(runs: &mut RunsCursor, mut leaf: LeafDensity, as_of: Ts) -> Result<LeafDensity> {
    while let Some(op) = runs.head() {
        if !below(op.key, leaf.range.to.as_deref()) {
            break;
        }
        if op.ts > as_of {
            leaf.ops += 1;
            leaf.op_bytes += op.raw_len();
        }
        runs.advance().await?;
    }
    Ok(leaf)
}
