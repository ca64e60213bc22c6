//! Runs: order, duplicates, ranges, one document with a long history, what a merge of runs leaves out.

use bygone_base::{CollectionId, Ts};
use bygone_tree::{
    KeyRange, OpKind, RunBuffer, RunOp, RunRoot,
    run::{MergeRunsOptions, RunCursor, RunScope, RunsCursor, merge_runs},
};

use crate::util::*;

/// (id's place in the key space, ts, kind) of all operations within `scope`.
async fn list(place: &Place, root: &RunRoot, scope: RunScope) -> Vec<(Vec<u8>, u64, OpKind)> {
    let mut cursor = RunCursor::open(&place.reader, root, scope);
    let mut out = Vec::new();
    while cursor.advance().await.unwrap() {
        let op = cursor.op().unwrap();
        out.push((op.key.to_vec(), op.ts.0, op.kind));
    }
    assert!(!cursor.advance().await.unwrap(), "the end stays the end");
    out
}

#[test]
fn a_run_is_sorted_and_gives_an_operation_read_twice_once() {
    run(async {
        let place = place().await;
        let mut ops: Vec<Op> = (0..2000)
            .map(|i| Op::new(i * 7919 % 500, 1 + i as u64 % 90, OpKind::Insert, doc(i, 0, 200)))
            .collect();
        ops.extend(ops.clone());
        let root = write_run(&place, &ops).await.unwrap();
        let read = list(&place, &root, RunScope::all()).await;
        assert!(read.windows(2).all(|pair| (&pair[0].0, pair[0].1) < (&pair[1].0, pair[1].1)));
        assert_eq!(read.len() as u64, root.ops);
        assert!(root.bytes > 3 * 131_072, "several leaves: {}", root.bytes);
        assert_eq!((root.min, root.max), (Ts(1), Ts(90)));
        let again =
            write_run(&place, &ops.iter().rev().cloned().collect::<Vec<_>>()).await.unwrap();
        assert_eq!(again.block.id, root.block.id, "whatever the order of arrival");
        let range = KeyRange::new(key(100), Some(bytes(&key(200))));
        let scope = RunScope::of(COLL, &range, Ts(30), Ts(60));
        let part = list(&place, &root, scope).await;
        let expected: Vec<_> = read
            .into_iter()
            .filter(|(key, ts, _)| range.contains(key) && *ts > 30 && *ts <= 60)
            .collect();
        assert!(!expected.is_empty());
        assert_eq!(part, expected);
    });
}

#[test]
fn the_history_of_one_document_may_fill_many_leaves_and_nodes() {
    run(async {
        let place = place().await;
        let mut ops = vec![Op::new(5, 1, OpKind::Insert, doc(5, 0, 1))];
        // 3,000 operations of 400 bytes: nine leaves that all begin with one key.
        let big = |v| upsert(5, v, 400);
        ops.extend((2..3000).map(|ts| Op::new(5, ts, OpKind::Upsert, big(ts as i32))));
        ops.push(Op::new(4, 10, OpKind::Insert, doc(4, 0, 1)));
        ops.push(Op::new(6, 10, OpKind::Insert, doc(6, 0, 1)));
        let root = write_run(&place, &ops).await.unwrap();
        assert_eq!(root.ops, 3001);
        let only = KeyRange::new(key(5), Some(bytes(&key(6))));
        let scope = RunScope::of(COLL, &only, Ts(0), Ts::MAX);
        assert_eq!(list(&place, &root, scope).await.len(), 2999);
        let base = info(None, 0);
        let state = read_at(&place, &base, &[root], 2999).await.unwrap();
        assert_eq!(state, [doc(4, 0, 1), doc_with(2999), doc(6, 0, 1)].concat());
    });

    fn doc_with(v: i32) -> Vec<u8> {
        // The first upsert's `i` replaces v and s where they stand.
        doc(5, v, 400)
    }
}

#[test]
fn collections_lie_apart_in_a_run() {
    run(async {
        let place = place().await;
        let colls = [CollectionId([0; 16]), CollectionId([0x7f; 16]), CollectionId([0xff; 16])];
        let mut buffer = RunBuffer::new();
        for coll in colls {
            for id in 0..3 {
                let (ts, n, kind) = (Ts(1), 0, OpKind::Delete);
                buffer.push(&RunOp { coll, key: &key(id), ts, n, kind, value: &[] });
            }
        }
        assert!(buffer.bytes() > 0 && buffer.ops() == 9);
        let root = buffer.sort().write(&place.writer).await.unwrap().unwrap();
        place.writer.flush().await.unwrap();
        for coll in colls {
            let scope = RunScope::of(coll, &KeyRange::all(), Ts(0), Ts::MAX);
            assert_eq!(list(&place, &root, scope).await.len(), 3);
        }
    });
}

#[test]
fn several_runs_are_read_as_one() {
    run(async {
        let place = place().await;
        let make = |from: i32, step: usize| -> Vec<Op> {
            (from..300)
                .step_by(step)
                .map(|id| Op::new(id, 1 + id as u64 % 3, OpKind::Delete, vec![]))
                .collect()
        };
        let sets = [make(0, 1), make(0, 2), make(1, 3), make(299, 1)];
        let mut cursors = Vec::new();
        for set in &sets {
            let root = write_run(&place, set).await.unwrap();
            cursors.push(RunCursor::open(&place.reader, &root, RunScope::all()));
        }
        let mut runs = RunsCursor::new(cursors).await.unwrap();
        let mut seen = Vec::new();
        while let Some(op) = runs.head() {
            seen.push(op.key.to_vec());
            runs.advance().await.unwrap();
        }
        assert_eq!(seen, (0..300).map(key).collect::<Vec<_>>());
    });
}

#[test]
fn merging_runs_leaves_out_what_nobody_can_read() {
    run(async {
        let place = place().await;
        let put = |id, ts| Op::new(id, ts, OpKind::Insert, doc(id, 0, 1));
        let set = |id, ts| Op::new(id, ts, OpKind::Update, set_v(1));
        let replace = |id, ts| Op::new(id, ts, OpKind::Replace, doc(id, 0, 1));
        let delete = |id, ts| Op::new(id, ts, OpKind::Delete, vec![]);
        let first = [put(1, 2), set(1, 3), put(2, 2), replace(3, 4), set(4, 2), put(5, 1)];
        let second = [delete(1, 5), set(1, 9), set(2, 6), replace(3, 5), delete(4, 11), put(2, 2)];
        let floor = Ts(10);
        let merged = |capped: bool| {
            let (place, first, second) = (&place, &first, &second);
            async move {
                let mut cursors = Vec::new();
                for ops in [&first[..], &second[..]] {
                    let root = write_run(place, ops).await.unwrap();
                    cursors.push(RunCursor::open(&place.reader, &root, RunScope::all()));
                }
                let keep = |op: &RunOp<'_>| op.ts > Ts(1);
                let options = MergeRunsOptions { keep: &keep, capped: &move |_| capped, floor };
                let root = merge_runs(cursors, &options, &place.writer).await.unwrap().unwrap();
                place.writer.flush().await.unwrap();
                let list = list(place, &root, RunScope::all()).await;
                list.into_iter().map(|(key, ts, _)| (key, ts)).collect::<Vec<_>>()
            }
        };
        let mut expected = vec![(key(1), 5), (key(1), 9), (key(2), 2), (key(2), 6), (key(3), 5)];
        expected.extend([(key(4), 2), (key(4), 11)]);
        assert_eq!(merged(false).await, expected);
        expected.insert(4, (key(3), 4));
        assert_eq!(merged(true).await, expected);
    });
}
