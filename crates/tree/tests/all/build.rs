//! Building and splicing: equal content gives equal blocks, small changes few new ones, reading finds its way.

use std::collections::HashSet;

use bygone_base::{BlockId, Ts};
use bygone_document::id_key;
use bygone_tree::{
    DocsBuilder, KeyRange, MergeOptions, NodeEntry, OpKind, Position, RunRoot, Tree, TreeInfo,
    TreeRoot,
    build::TreeBuilder,
    cutter::{cut_for, node_ends},
    diff::{Difference, diff},
    docs::LeafStyle,
    fold::{Fold, fold},
    walk::{Visit, walk_blocks},
};

use crate::util::*;

async fn blocks(place: &Place, root: &TreeRoot) -> HashSet<BlockId> {
    let mut ids = HashSet::new();
    let visit = |_, entry: &NodeEntry| {
        ids.insert(entry.block.id);
        Ok(Visit::Enter)
    };
    walk_blocks(&place.reader, root, visit).await.unwrap();
    ids
}

fn docs(ids: impl Iterator<Item = i32>) -> Vec<Vec<u8>> {
    ids.map(|id| doc(id, 0, 20)).collect()
}

#[test]
fn equal_content_gives_equal_blocks_and_an_insert_changes_few() {
    run(async {
        let (one, two) = (place().await, place().await);
        let some = docs((0..20_000).map(|id| id * 2));
        let a = build(&one, &some, 1).await.unwrap();
        let b = build(&two, &some, 1).await.unwrap();
        assert!(a.level >= 2 && a.items == 20_000);
        // Other repositories have other packs, so only leaves are of one name.
        let reused = build(&one, &some, 1).await.unwrap();
        assert_eq!(reused, a);
        let (first, other) = (spans(&one, &a).await, spans(&two, &b).await);
        assert_eq!(first.len(), other.len());
        let before = blocks(&one, &a).await;
        for extra in [1, 19_999, 39_999] {
            let mut more = some.clone();
            more.insert(extra as usize / 2 + 1, doc(extra, 0, 20));
            let root = build(&one, &more, 1).await.unwrap();
            let after = blocks(&one, &root).await;
            let new = after.difference(&before).count();
            assert!(new <= 3 + 2 * root.level as usize, "{new} new blocks");
        }
    });
}

#[test]
fn a_new_tree_beside_an_old_one_takes_its_blocks() {
    run(async {
        let place = place().await;
        let some = docs(0..5_000);
        let old = build(&place, &some, 1).await.unwrap();
        // Another session, which knows nothing.
        let fresh = std::sync::Arc::new(bygone_blockstore::BlockWriter::new(
            place.repo.clone(),
            bygone_blockstore::WriterOptions::default(),
        ));
        let tree = Tree::new(old.clone(), place.reader.clone());
        let mut builder = DocsBuilder::new(fresh.clone(), style(1)).with_old(&tree);
        for (id, doc) in some.iter().enumerate() {
            let changed = crate::util::doc(id as i32, 1, 20);
            let doc = if id == 2_500 { &changed } else { doc };
            builder.push(&id_key(doc).unwrap(), doc, Position::default()).await.unwrap();
        }
        let new = builder.finish().await.unwrap().unwrap();
        let stats = fresh.flush().await.unwrap();
        assert_eq!(stats.new_blocks, 1 + u64::from(new.level), "{stats:?}");
        let mut diff = diff(&tree, &Tree::new(new, place.reader.clone()));
        let mut found = Vec::new();
        while let Some(difference) = diff.next().await.unwrap() {
            found.push(matches!(difference, Difference::Left(_)));
        }
        assert_eq!(found, [true, false]);
    });
}

#[test]
fn a_spliced_tree_is_the_tree_that_a_build_from_its_leaves_gives() {
    run(async {
        let place = place().await;
        let some = docs(0..30_000);
        let root = build(&place, &some, 1).await.unwrap();
        let base = info(Some(root.clone()), 1);
        let all = spans(&place, &root).await;
        assert!(root.level >= 3 || all.len() > 5_000);
        for chosen in [vec![0], vec![all.len() - 1], vec![17, 18, 19, 4_000], vec![2_000]] {
            let ids: Vec<i32> = chosen
                .iter()
                .map(|at| all[*at].range.from.clone())
                .map(|from| (0..30_000).find(|id| key(*id) >= from).unwrap())
                .collect();
            let ops: Vec<Op> =
                ids.iter().map(|id| Op::new(*id, 2, OpKind::Update, set_v(1))).collect();
            let runs = [write_run(&place, &ops).await.unwrap()];
            let ranges: Vec<KeyRange> = chosen.iter().map(|at| all[*at].range.clone()).collect();
            let before = place.writer.stats().new_blocks;
            let folded = refold(&place, &base, &runs, &ranges).await;
            let new = place.writer.stats().new_blocks - before;
            let most = (chosen.len() * (1 + usize::from(root.level))) as u64;
            assert!(new <= most, "{new} new blocks of at most {most}");
            assert_eq!(rebuild(&place, &folded).await, folded);
        }
    });
}

/// Leaves that are added, or that vanish, where a node ended: what follows lies across the old nodes.
#[test]
fn a_splice_that_moves_the_ends_of_nodes_comes_back_into_step() {
    run(async {
        let place = place().await;
        let root = build(&place, &docs((0..30_000).map(|id| id * 2)), 1).await.unwrap();
        let base = info(Some(root.clone()), 1);
        let all = spans(&place, &root).await;
        let ends: Vec<&KeyRange> = all
            .iter()
            .map(|span| &span.range)
            .filter(|range| node_ends(&range.from, 2, 0) && range.to.is_some())
            .collect();
        assert!(ends.len() > 10);
        for (pick, remove) in [(2, false), (3, true), (5, false), (6, true)] {
            let range = ends[pick].clone();
            let ids: Vec<i32> = (0..60_000).filter(|id| range.contains(&key(*id))).collect();
            let ops: Vec<Op> = ids
                .iter()
                .filter(|id| remove == (*id % 2 == 0))
                .map(|id| match remove {
                    true => Op::new(*id, 2, OpKind::Delete, vec![]),
                    false => Op::new(*id, 2, OpKind::Insert, doc(*id, 0, 2)),
                })
                .collect();
            let runs = [write_run(&place, &ops).await.unwrap()];
            let before = place.writer.stats().new_blocks;
            let folded = refold(&place, &base, &runs, std::slice::from_ref(&range)).await;
            let new = place.writer.stats().new_blocks - before;
            assert!(new < 20, "{new} new blocks");
            assert_eq!(rebuild(&place, &folded).await, folded);
            let change = ops.len() as u64;
            let items = if remove { root.items - change } else { root.items + change };
            assert_eq!(folded.items, items);
        }
    });
}

async fn refold(place: &Place, base: &TreeInfo, runs: &[RunRoot], ranges: &[KeyRange]) -> TreeRoot {
    let options = MergeOptions::new(COLL, Ts(2));
    let input = Fold { reader: &place.reader, base, runs, options: &options, trim: None };
    let folded = fold(&input, ranges, &place.writer).await.unwrap().base;
    place.writer.flush().await.unwrap();
    folded.root.unwrap()
}

/// The tree that a build from the leaves of `root` gives.
async fn rebuild(place: &Place, root: &TreeRoot) -> TreeRoot {
    let mut rebuilt = TreeBuilder::new(place.writer.clone());
    for span in spans(place, root).await {
        rebuilt.push_leaf(span.entry).await.unwrap();
    }
    rebuilt.finish().await.unwrap().unwrap()
}

/// As the leaves of a run do that hold one document's history.
#[test]
fn leaves_that_all_start_at_one_key_make_a_tree() {
    run(async {
        let place = place().await;
        let key = (0..5_000).map(key).find(|key| node_ends(key, 2, 0)).unwrap();
        let leaf = build(&place, &docs(0..1), 1).await.unwrap();
        let mut entry = spans(&place, &leaf).await.remove(0).entry;
        entry.key = key.into();
        let mut tree = TreeBuilder::new(place.writer.clone());
        for _ in 0..1_000 {
            tree.push_leaf(entry.clone()).await.unwrap();
        }
        let root = tree.finish().await.unwrap().unwrap();
        place.writer.flush().await.unwrap();
        assert!(root.level <= 11, "{}", root.level);
        assert_eq!(spans(&place, &root).await.len(), 1_000);
    });
}

#[test]
fn ranges_and_splits_find_every_leaf_once() {
    run(async {
        let place = place().await;
        let root = build(&place, &docs(0..10_000), 1).await.unwrap();
        let tree = Tree::new(root.clone(), place.reader.clone());
        for n in [1, 2, 3, 8, 64] {
            let splits = tree.splits(n).await.unwrap();
            assert_eq!(splits.len(), n - 1);
            for range in KeyRange::between(&splits) {
                let mut items = 0;
                let mut leaves = tree.read_leaves(range);
                while let Some((span, leaf)) = leaves.next().await.unwrap() {
                    assert_eq!(span.entry.items, leaf.len() as u64);
                    items += leaf.len();
                }
                let fair = 10_000 / n;
                assert!(items > fair * 7 / 10 && items < fair * 13 / 10, "{items} of {fair}");
            }
        }
    });
}

#[test]
fn leaves_have_about_their_target_size_and_raised_moments_hold() {
    run(async {
        let place = place().await;
        let cut = cut_for(doc(1, 0, 500).len() as u64);
        let style = LeafStyle { cut, ..style(1) };
        let mut builder = DocsBuilder::new(place.writer.clone(), style);
        for id in 0..20_000 {
            builder.push(&key(id), &doc(id, 0, 500), Position::default()).await.unwrap();
        }
        let root = builder.finish().await.unwrap().unwrap();
        place.writer.flush().await.unwrap();
        let spans = spans(&place, &root).await;
        assert!(root.bytes / spans.len() as u64 > 80_000);
        assert!(spans.iter().all(|span| span.entry.bytes < 524_288 + 1_000));
        let mut raised = TreeBuilder::new(place.writer.clone()).valid_from_at_least(Ts(9));
        for span in spans {
            raised.push_leaf(span.entry).await.unwrap();
        }
        let root = raised.finish().await.unwrap().unwrap();
        assert_eq!((root.as_of, root.valid_from), (Ts(1), Ts(9)));
    });
}
