//! Merge, fold, splice and merging of runs against a map: random documents and operations, folds of random
//! ranges at rising times, every readable moment read back.

use std::collections::BTreeMap;

use bygone_base::Ts;
use bygone_tree::{
    KeyRange, MergeOptions, OpKind, RunRoot, Tree, TreeInfo,
    density::density,
    fold::{Fold, fold},
    plan::{FoldPlan, FoldPolicy},
    run::{MergeRunsOptions, RunCursor, RunScope, merge_runs},
};
use proptest::{prelude::*, sample::Index};

use crate::util::*;

type State = BTreeMap<i32, (i32, usize)>;

/// What is done between two batches of operations.
#[derive(Debug, Clone)]
enum Act {
    /// Folds the leaves chosen by these bits.
    FoldLeaves(u64),
    /// Folds what a policy finds dense.
    FoldDense(f64),
    FoldAll,
    MergeRuns,
    Nothing,
}

#[derive(Debug, Clone)]
struct Round {
    ops: Vec<(i32, u8, i32, usize)>,
    act: Act,
    /// Moment of a fold within the time that has passed since it was last possible.
    when: Index,
}

fn rounds(ids: i32) -> impl Strategy<Value = Vec<Round>> {
    let act = prop_oneof![
        3 => any::<u64>().prop_map(Act::FoldLeaves),
        2 => (0.01..2.0).prop_map(Act::FoldDense),
        1 => Just(Act::FoldAll),
        2 => Just(Act::MergeRuns),
        1 => Just(Act::Nothing),
    ];
    let op = (0..ids, any::<u8>(), any::<i32>(), 0..60usize);
    let round = (prop::collection::vec(op, 0..90), act, any::<Index>())
        .prop_map(|(ops, act, when)| Round { ops, act, when });
    prop::collection::vec(round, 1..7)
}

/// Makes an operation that fits the state, and applies it to the state.
fn step(state: &mut State, ts: u64, (id, kind, v, len): (i32, u8, i32, usize)) -> Op {
    let (kind, value) = match (state.get(&id).copied(), kind % 8) {
        (None, 0) => (OpKind::Upsert, upsert(id, v, len)),
        (None, 1) => (OpKind::Scan, doc(id, v, len)),
        (None, _) => (OpKind::Insert, doc(id, v, len)),
        (Some(_), 0 | 1) => (OpKind::Delete, Vec::new()),
        (Some(_), 2) => (OpKind::Replace, doc(id, v, len)),
        (Some(_), _) => (OpKind::Update, set_v(v)),
    };
    match (kind, state.get_mut(&id)) {
        (OpKind::Delete, _) => {
            state.remove(&id);
        }
        (OpKind::Update, Some(old)) => old.0 = v,
        _ => {
            state.insert(id, (v, len));
        }
    }
    Op::new(id, ts, kind, value)
}

fn dump(state: &State, range: &KeyRange) -> Vec<u8> {
    let docs = state.iter().filter(|(id, _)| range.contains(&key(**id)));
    docs.flat_map(|(id, (v, len))| doc(*id, *v, *len)).collect()
}

struct World {
    place: Place,
    base: TreeInfo,
    runs: Vec<RunRoot>,
    /// The state after each moment; index = moment.
    states: Vec<State>,
}

impl World {
    async fn new(first: &State) -> World {
        let place = place().await;
        let docs: Vec<Vec<u8>> = first.iter().map(|(id, (v, len))| doc(*id, *v, *len)).collect();
        let root = build(&place, &docs, 0).await;
        World { place, base: info(root, 0), runs: Vec::new(), states: vec![first.clone()] }
    }

    fn now(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    /// Operations of this round and, read twice, some of the round before.
    async fn apply(&mut self, ops: &[(i32, u8, i32, usize)], again: &[Op]) -> Vec<Op> {
        let mut made = Vec::new();
        for op in ops {
            let mut state = self.states.last().unwrap().clone();
            made.push(step(&mut state, self.now() + 1, *op));
            self.states.push(state);
        }
        let all: Vec<Op> = again.iter().chain(&made).cloned().collect();
        self.runs.extend(write_run(&self.place, &all).await);
        made
    }

    async fn fold(&mut self, ranges: &[KeyRange], at: u64) {
        let options = MergeOptions::new(COLL, Ts(at));
        let reader = &self.place.reader;
        let input =
            Fold { reader, base: &self.base, runs: &self.runs, options: &options, trim: None };
        let folded = fold(&input, ranges, &self.place.writer).await.unwrap();
        self.place.writer.flush().await.unwrap();
        self.base = folded.base;
    }

    async fn act(&mut self, act: &Act, when: &Index) {
        let from = self.base.valid_from.0;
        let at = from + when.index((self.now() - from) as usize + 1) as u64;
        match act {
            Act::Nothing => {}
            Act::FoldAll => self.fold(&[KeyRange::all()], at).await,
            Act::FoldLeaves(bits) => {
                let Some(root) = &self.base.root else { return };
                let spans = spans(&self.place, root).await;
                let chosen = spans.iter().enumerate().filter(|(i, _)| bits >> (i % 64) & 1 == 1);
                let ranges: Vec<KeyRange> = chosen.map(|(_, span)| span.range.clone()).collect();
                self.fold(&ranges, at).await;
            }
            Act::FoldDense(share) => {
                let policy = FoldPolicy { bytes_share: *share, ops_per_doc: *share };
                let mut plan = FoldPlan::new(policy);
                let (reader, base, runs) = (&self.place.reader, &self.base, &self.runs);
                density(reader, base, runs, COLL, Ts(at), |leaf| plan.push(leaf)).await.unwrap();
                let ranges = plan.finish();
                for pair in ranges.windows(2) {
                    assert!(pair[0].to.as_ref().unwrap() < &pair[1].from, "joined and in order");
                }
                self.fold(&ranges, at).await;
            }
            Act::MergeRuns => self.merge_runs().await,
        }
    }

    async fn merge_runs(&mut self) {
        let (as_of, floor) = (self.base.as_of, self.base.valid_from);
        let open = |run| RunCursor::open(&self.place.reader, run, RunScope::all());
        let cursors = self.runs.iter().map(open).collect();
        let keep = |op: &bygone_tree::RunOp<'_>| op.ts > as_of;
        let options = MergeRunsOptions { keep: &keep, capped: &|_| false, floor };
        let merged = merge_runs(cursors, &options, &self.place.writer).await.unwrap();
        self.place.writer.flush().await.unwrap();
        let before: u64 = self.runs.iter().map(|run| run.ops).sum();
        assert!(merged.as_ref().map_or(0, |run| run.ops) <= before);
        self.runs = merged.into_iter().collect();
    }

    async fn check(&self) {
        let splits = match &self.base.root {
            Some(root) => {
                let tree = Tree::new(root.clone(), self.place.reader.clone());
                tree.splits(3).await.unwrap()
            }
            None => vec![bytes(&key(20))],
        };
        for at in self.base.valid_from.0..=self.now() {
            let state = &self.states[at as usize];
            let whole = read_at(&self.place, &self.base, &self.runs, at).await.unwrap();
            assert_eq!(whole, dump(state, &KeyRange::all()), "at {at}");
        }
        for range in KeyRange::between(&splits).into_iter().chain([odd_range()]) {
            let at = Ts(self.now());
            let options = MergeOptions { range: range.clone(), ..MergeOptions::new(COLL, at) };
            let part = read(&self.place, &self.base, &self.runs, options).await.unwrap();
            assert_eq!(part, dump(self.states.last().unwrap(), &range), "{range:?}");
        }
        if let Some(root) = &self.base.root {
            let spans = spans(&self.place, root).await;
            let items: u64 = spans.iter().map(|span| span.entry.items).sum();
            assert_eq!(items, root.items);
            for pair in spans.windows(2) {
                assert_eq!(pair[0].range.to.as_ref(), Some(&pair[1].range.from), "contiguous");
            }
        }
        let before = self.base.valid_from.0.checked_sub(1);
        if let Some(at) = before {
            assert!(read_at(&self.place, &self.base, &self.runs, at).await.is_err());
        }
    }
}

/// A range that ends inside leaves.
fn odd_range() -> KeyRange {
    KeyRange::new(key(7), Some(bytes(&key(23))))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_readable_moment_reads_as_the_model(
        first in prop::collection::btree_map(0..40i32, (any::<i32>(), 0..60usize), 0..40),
        rounds in rounds(40),
    ) {
        run(async {
            let mut world = World::new(&first).await;
            let mut last = Vec::new();
            for round in &rounds {
                let again: Vec<Op> = last.iter().step_by(3).cloned().collect();
                // What was folded away must not come back: only what the base lacks is read twice.
                last = world.apply(&round.ops, &again).await;
                world.check().await;
                world.act(&round.act, &round.when).await;
                world.check().await;
            }
        });
    }
}
