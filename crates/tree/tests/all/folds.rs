//! Sequences of folds that a first design got wrong, and capped collections.

use bygone_base::{ErrorKind, Ts};
use bygone_tree::{
    DocsBuilder, KeyRange, Merge, MergeOptions, OpKind, Position, RunRoot, TreeInfo,
    capped::{Limits, NaturalOrder},
    docs::LeafStyle,
    fold::{Fold, Folded, fold},
    run::{MergeRunsOptions, RunCursor, RunScope, merge_runs},
};

use crate::util::*;

async fn fold_to(
    place: &Place,
    base: &TreeInfo,
    runs: &[RunRoot],
    ranges: &[KeyRange],
    at: u64,
) -> Folded {
    let options = MergeOptions::new(COLL, Ts(at));
    let input = Fold { reader: &place.reader, base, runs, options: &options, trim: None };
    let folded = fold(&input, ranges, &place.writer).await.unwrap();
    place.writer.flush().await.unwrap();
    folded
}

/// Ten documents and the key ranges of their leaves, several.
async fn ten(place: &Place) -> (TreeInfo, Vec<KeyRange>) {
    let docs: Vec<Vec<u8>> = (0..10).map(|id| doc(id, 0, 5)).collect();
    let root = build(place, &docs, 1).await.unwrap();
    let ranges = spans(place, &root).await.into_iter().map(|span| span.range).collect::<Vec<_>>();
    assert!(ranges.len() >= 3, "{ranges:?}");
    (info(Some(root), 1), ranges)
}

fn id_of(key_wanted: &[u8]) -> i32 {
    (0..10).find(|id| key(*id) == key_wanted).unwrap()
}

/// Peers and hard cases: "a block written by a fold beside an older neighbour when their boundary document
/// was deleted". The older neighbour must not reach into the folded range, or it would apply an update to a
/// document that only the folded range had.
#[test]
fn a_fold_beside_an_older_neighbour_whose_boundary_document_was_deleted() {
    run(async {
        let place = place().await;
        let (base, ranges) = ten(&place).await;
        let boundary = id_of(&ranges[1].from);
        let ops = [
            Op::new(boundary, 2, OpKind::Update, set_v(7)),
            Op::new(boundary, 3, OpKind::Delete, Vec::new()),
        ];
        let runs = [write_run(&place, &ops).await.unwrap()];
        let folded = fold_to(&place, &base, &runs, &ranges[1..2], 3).await;
        let new = spans(&place, folded.base.root.as_ref().unwrap()).await;
        assert_eq!(new[1].range, ranges[1], "the range starts where it started");
        assert_eq!((new[0].entry.as_of, new[1].entry.as_of), (Ts(1), Ts(3)));
        let expected: Vec<u8> =
            (0..10).filter(|id| *id != boundary).flat_map(|id| doc(id, 0, 5)).collect();
        assert_eq!(read_at(&place, &folded.base, &runs, 3).await.unwrap(), expected);
    });
}

#[test]
fn a_folded_range_that_became_empty_still_keeps_its_neighbours_out() {
    run(async {
        let place = place().await;
        let (base, ranges) = ten(&place).await;
        for (index, range) in ranges.iter().enumerate() {
            let gone: Vec<i32> = (0..10).filter(|id| range.contains(&key(*id))).collect();
            let ops: Vec<Op> = gone
                .iter()
                .flat_map(|id| {
                    [
                        Op::new(*id, 2, OpKind::Update, set_v(7)),
                        Op::new(*id, 3, OpKind::Delete, Vec::new()),
                    ]
                })
                .collect();
            let runs = [write_run(&place, &ops).await.unwrap()];
            let folded = fold_to(&place, &base, &runs, &ranges[index..=index], 3).await;
            let expected: Vec<u8> =
                (0..10).filter(|id| !gone.contains(id)).flat_map(|id| doc(id, 0, 5)).collect();
            assert_eq!(read_at(&place, &folded.base, &runs, 3).await.unwrap(), expected);
            let new = spans(&place, folded.base.root.as_ref().unwrap()).await;
            assert_eq!(new[index].entry.items, 0);
            let whole = fold_to(&place, &folded.base, &runs, &[KeyRange::all()], 3).await;
            let root = whole.base.root.as_ref().unwrap();
            assert!(spans(&place, root).await.iter().all(|span| span.entry.items > 0));
        }
    });
}

#[test]
fn a_collection_that_became_empty_has_no_tree_and_can_fill_again() {
    run(async {
        let place = place().await;
        let (base, _) = ten(&place).await;
        let ops: Vec<Op> = (0..10).map(|id| Op::new(id, 2, OpKind::Delete, Vec::new())).collect();
        let mut runs = vec![write_run(&place, &ops).await.unwrap()];
        let empty = fold_to(&place, &base, &runs, &[KeyRange::all()], 2).await.base;
        assert_eq!((&empty.root, empty.as_of, empty.cut), (&None, Ts(2), CUT));
        let again = [Op::new(3, 4, OpKind::Insert, doc(3, 1, 1))];
        runs.push(write_run(&place, &again).await.unwrap());
        assert_eq!(read_at(&place, &empty, &runs, 4).await.unwrap(), doc(3, 1, 1));
        let full = fold_to(&place, &empty, &runs, &[KeyRange::all()], 4).await.base;
        assert_eq!(full.root.as_ref().unwrap().items, 1);
        let early = read_at(&place, &full, &runs, 3).await.unwrap_err();
        assert_eq!(early.kind(), ErrorKind::NotCovered);
    });
}

#[test]
fn a_fold_that_changes_nothing_names_the_old_leaves() {
    run(async {
        let place = place().await;
        let (base, ranges) = ten(&place).await;
        let before = place.writer.stats().new_blocks;
        let folded = fold_to(&place, &base, &[], &ranges[1..2], 9).await.base;
        let old = spans(&place, base.root.as_ref().unwrap()).await;
        let new = spans(&place, folded.root.as_ref().unwrap()).await;
        assert!(
            old.iter().map(|span| span.entry.block).eq(new.iter().map(|span| span.entry.block))
        );
        assert_eq!(place.writer.stats().new_blocks, before + 1, "one inner node");
    });
}

#[test]
fn a_range_that_does_not_start_where_a_leaf_does_is_refused() {
    run(async {
        let place = place().await;
        let (base, ranges) = ten(&place).await;
        let inside = (0..10).find(|id| ranges.iter().all(|r| r.from != key(*id)) && *id > 0);
        let odd = KeyRange::new(key(inside.unwrap()), None);
        let options = MergeOptions::new(COLL, Ts(1));
        let input =
            Fold { reader: &place.reader, base: &base, runs: &[], options: &options, trim: None };
        let error = fold(&input, &[odd], &place.writer).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    });
}

#[test]
fn what_was_decided_before_a_truncation_is_void() {
    run(async {
        let place = place().await;
        let (base, _) = ten(&place).await;
        let ops = [
            Op::new(20, 2, OpKind::Insert, doc(20, 0, 1)),
            Op::new(4, 4, OpKind::Insert, doc(4, 8, 1)),
            Op::new(4, 5, OpKind::Update, set_v(9)),
        ];
        let runs = [write_run(&place, &ops).await.unwrap()];
        let truncated = Some(Ts(3));
        let options = MergeOptions { truncated, ..MergeOptions::new(COLL, Ts(5)) };
        let state = read(&place, &base, &runs, options.clone()).await.unwrap();
        assert_eq!(state, doc(4, 9, 1));
        let input =
            Fold { reader: &place.reader, base: &base, runs: &runs, options: &options, trim: None };
        let folded = fold(&input, &[KeyRange::new(key(4), None)], &place.writer).await.unwrap();
        place.writer.flush().await.unwrap();
        assert_eq!(read(&place, &folded.base, &runs, options).await.unwrap(), doc(4, 9, 1));
        assert_eq!(folded.docs, 1);
    });
}

/// A capped collection scanned in the order 9, 8, .. 0, then changed.
async fn capped(place: &Place) -> (TreeInfo, Vec<RunRoot>, MergeOptions) {
    let style = LeafStyle { capped: true, ..style(1) };
    let mut builder = DocsBuilder::new(place.writer.clone(), style);
    for id in 0..10 {
        let position = Position { ts: Ts(0), n: 9 - id as u32 };
        builder.push(&key(id), &doc(id, 0, 5), position).await.unwrap();
    }
    let base = info(builder.finish().await.unwrap(), 1);
    let ops = [
        Op::new(7, 2, OpKind::Replace, doc(7, 1, 5)),
        Op::new(8, 2, OpKind::Update, set_v(2)),
        Op::new(5, 3, OpKind::Delete, Vec::new()),
        Op::new(12, 4, OpKind::Insert, doc(12, 0, 5)),
        Op::new(11, 5, OpKind::Insert, doc(11, 0, 5)),
        Op { n: 10, ..Op::new(13, 2, OpKind::Scan, doc(13, 0, 5)) },
        Op::new(5, 6, OpKind::Insert, doc(5, 3, 5)),
    ];
    let runs = vec![write_run(place, &ops).await.unwrap()];
    let options = MergeOptions { capped: true, ..MergeOptions::new(COLL, Ts(6)) };
    (base, runs, options)
}

async fn natural(
    place: &Place,
    base: &TreeInfo,
    runs: &[RunRoot],
    options: &MergeOptions,
    limits: Option<&Limits>,
) -> Vec<u8> {
    let open = || Merge::open(&place.reader, base, runs, options.clone());
    let mut order = NaturalOrder::learn(open().await.unwrap(), limits, 150).await.unwrap();
    let mut out = Vec::new();
    let windows = order.windows_left();
    while let Some(docs) = order.next_window(open().await.unwrap()).await.unwrap() {
        out.extend_from_slice(&docs);
    }
    assert!(windows > 1);
    out
}

#[test]
fn a_capped_collection_is_read_in_its_natural_order_trimmed_and_folded() {
    run(async {
        let place = place().await;
        let (base, runs, options) = capped(&place).await;
        let expected: Vec<Vec<u8>> = [9, 8, 7, 6, 4, 3, 2, 1, 0, 13, 12, 11, 5]
            .into_iter()
            .map(|id| match id {
                8 => doc(8, 2, 5),
                7 => doc(7, 1, 5),
                5 => doc(5, 3, 5),
                id => doc(id, 0, 5),
            })
            .collect();
        let read = natural(&place, &base, &runs, &options, None).await;
        assert_eq!(read, expected.concat());
        let max_bytes = expected[6..].concat().len() as u64;
        let limits = Limits { max_bytes, max_docs: Some(9) };
        let read = natural(&place, &base, &runs, &options, Some(&limits)).await;
        assert_eq!(read, expected[6..].concat());
        let input = Fold {
            reader: &place.reader,
            base: &base,
            runs: &runs,
            options: &options,
            trim: Some(limits),
        };
        let folded = fold(&input, &[KeyRange::all()], &place.writer).await.unwrap();
        place.writer.flush().await.unwrap();
        assert_eq!(folded.docs, 7);
        let read = natural(&place, &folded.base, &runs, &options, None).await;
        assert_eq!(read, expected[6..].concat());
    });
}

/// Three large documents pushed a small one out unlogged, and one of them comes again, small: by the last places
/// alone the first one would still fit. The first place of what came again shows that it was gone.
#[test]
fn an_id_that_comes_again_in_a_capped_collection_shows_what_was_gone() {
    run(async {
        let place = place().await;
        let docs = [doc(0, 0, 5), doc(1, 0, 100), doc(2, 0, 60), doc(3, 0, 30), doc(1, 1, 5)];
        let len = |all: &[usize]| all.iter().map(|n| docs[*n].len() as u64).sum::<u64>();
        let limits = Limits { max_bytes: len(&[0, 1, 2]) - 1, max_docs: None };
        assert!(len(&[1, 2]) <= limits.max_bytes && len(&[1, 2, 3]) > limits.max_bytes);
        assert!(len(&[0, 2, 3, 4]) <= limits.max_bytes);
        let ops: Vec<Op> = (0..5)
            .map(|n| Op::new([0, 1, 2, 3, 1][n], 2 + n as u64, OpKind::Insert, docs[n].clone()))
            .collect();
        let parts = [
            write_run(&place, &ops[..2]).await.unwrap(),
            write_run(&place, &ops[2..]).await.unwrap(),
        ];
        place.writer.flush().await.unwrap();
        let options = MergeOptions { capped: true, ..MergeOptions::new(COLL, Ts(6)) };
        let base = info(None, 1);
        let cursors =
            parts.iter().map(|run| RunCursor::open(&place.reader, run, RunScope::all())).collect();
        let all = MergeRunsOptions { keep: &|_| true, capped: &|_| true, floor: Ts(6) };
        let merged = merge_runs(cursors, &all, &place.writer).await.unwrap().unwrap();
        place.writer.flush().await.unwrap();
        let kept = [&docs[2][..], &docs[3], &docs[4]].concat();
        for runs in [&parts[..], &[merged]] {
            assert_eq!(natural(&place, &base, runs, &options, Some(&limits)).await, kept);
            let input = Fold {
                reader: &place.reader,
                base: &base,
                runs,
                options: &options,
                trim: Some(limits),
            };
            let folded = fold(&input, &[KeyRange::all()], &place.writer).await.unwrap();
            place.writer.flush().await.unwrap();
            assert_eq!(natural(&place, &folded.base, &[], &options, None).await, kept);
        }
    });
}

/// Everything that waits can be given to a task of a runtime with several threads.
#[test]
fn futures_can_move_between_threads() {
    fn check<T: Send>(future: T) -> T {
        future
    }
    run(async {
        let place = place().await;
        let (base, ranges) = ten(&place).await;
        let options = MergeOptions::new(COLL, Ts(1));
        let input =
            Fold { reader: &place.reader, base: &base, runs: &[], options: &options, trim: None };
        check(fold(&input, &ranges, &place.writer)).await.unwrap();
        let mut merge =
            check(Merge::open(&place.reader, &base, &[], options.clone())).await.unwrap();
        assert!(check(merge.next()).await.unwrap().is_some());
        check(bygone_tree::density::density(&place.reader, &base, &[], COLL, Ts(1), |_| {}))
            .await
            .unwrap();
        let keep = |_: &bygone_tree::RunOp<'_>| true;
        let options = MergeRunsOptions { keep: &keep, capped: &|_| false, floor: Ts(0) };
        let none = check(merge_runs(vec![], &options, &place.writer)).await;
        assert_eq!(none.unwrap(), None);
    });
}
