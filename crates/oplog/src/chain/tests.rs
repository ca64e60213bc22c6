use bygone_base::{ErrorKind, TimelineId, Ts};
use proptest::prelude::*;

use super::*;
use crate::testing::at;

fn header(prev: u64, last: u64) -> SliceHeader {
    SliceHeader {
        compacted: false,
        prev: at(prev),
        first: Ts(prev + 1),
        last: at(last),
        entries: 1,
        raw_len: 100,
    }
}

fn name(prev: u64, last: Option<u64>) -> SliceName {
    SliceName { timeline: TimelineId(1), prev: at(prev), last: last.map(Ts) }
}

#[test]
fn a_slice_fits_or_it_is_said_why_not() {
    let chain = Chain { at: at(10) };
    assert_eq!(chain.accept(&header(10, 20)), Accept::Append);
    assert_eq!(chain.accept(&header(5, 10)), Accept::Duplicate);
    assert_eq!(chain.accept(&header(2, 7)), Accept::Duplicate);
    assert_eq!(chain.accept(&header(5, 20)), Accept::Overlap { end: at(10) });
    assert_eq!(chain.accept(&header(11, 20)), Accept::Gap { end: at(10), prev: at(11) });
    let mut other = header(10, 20);
    other.prev.term = 2;
    assert_eq!(chain.accept(&other), Accept::Fork { end: at(10), other: other.prev });
    let mut other = header(5, 10);
    other.last.term = 2;
    assert_eq!(chain.accept(&other), Accept::Fork { end: at(10), other: other.last });
    assert_eq!(chain.append(&header(10, 20)).at, at(20));
}

#[test]
fn names_read_back() {
    for name in [name(5, None), name(0xffff_0000_0001, Some(0xffff_0000_0009))] {
        let object = name.object(&"job".parse().unwrap(), &"rs0".parse().unwrap());
        let (job, part, back) = SliceName::parse(&object).unwrap();
        assert_eq!((job.as_str(), part.as_str(), back), ("job", "rs0", name));
    }
    let negative = SliceName { prev: OpTime::new(Ts(1), -1), ..name(1, None) };
    assert_eq!(SliceName::parse_leaf(TimelineId(1), &negative.leaf()).unwrap(), negative);
    let good = name(5, Some(9)).leaf();
    for bad in [
        "",
        "5-1",
        "x",
        &good[1..],
        &good.replace('5', "G"),
        &good.to_uppercase().replace('+', "+A"),
        &name(9, Some(5)).leaf(),
    ] {
        assert!(SliceName::parse_leaf(TimelineId(1), bad).is_err(), "{bad}");
    }
    assert!(SliceName::parse("jobs/j/p/oplog/1/0000000000000005-0000000000000001").is_err());
}

#[test]
fn a_hole_is_never_read_across() {
    let names = [name(10, None), name(20, None)];
    assert_eq!(plan_read(&names, at(5)).unwrap_err().kind(), ErrorKind::NotCovered);
    assert_eq!(plan_read(&names, at(10)).unwrap(), names);
    assert_eq!(plan_read(&names, at(15)).unwrap(), names);
    assert_eq!(plan_read(&names, at(25)).unwrap(), names[1..]);
    assert!(plan_read(&[], at(5)).unwrap().is_empty());
    // Compacted slices tell their end, so a hole after one is seen from the names.
    let names = [name(0, Some(10)), name(20, None)];
    assert_eq!(plan_read(&names, at(5)).unwrap_err().kind(), ErrorKind::NotCovered);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A chain is cut into plain slices, some runs of them are compacted (twice
    /// over, too) and some of the slices so covered are removed, as a crash may leave it.
    #[test]
    fn plans_cover_everything_once(
        gaps in prop::collection::vec(1..4u64, 1..12),
        merges in prop::collection::vec((0..12usize, 2..6usize), 0..5),
        keep in prop::collection::vec(any::<bool>(), 40),
        from in 0..40u64,
    ) {
        let mut ends = vec![0u64];
        for gap in gaps {
            ends.push(ends[ends.len() - 1] + gap);
        }
        let end = ends[ends.len() - 1];
        // (prev, last, compacted)
        let mut slices: Vec<(u64, u64, bool)> = ends.windows(2).map(|w| (w[0], w[1], false)).collect();
        let mut keep = keep.into_iter();
        for (first, count) in merges {
            // Cover from one boundary that is there to a later one.
            let mut cuts: Vec<u64> = slices.iter().flat_map(|s| [s.0, s.1]).collect();
            cuts.sort_unstable();
            cuts.dedup();
            let first = first % cuts.len();
            let Some(last) = cuts.get((first + count).min(cuts.len() - 1)).copied() else { continue };
            let new = (cuts[first], last, true);
            let crosses = slices.iter().any(|s| (s.0 < new.0 && new.0 < s.1) || (s.0 < new.1 && new.1 < s.1));
            if last <= cuts[first] || crosses || slices.contains(&new) {
                continue;
            }
            slices.retain(|s| !(new.0 <= s.0 && s.1 <= new.1) || keep.next().unwrap_or(true));
            slices.push(new);
        }
        let mut names: Vec<SliceName> = slices.iter().map(|s| name(s.0, s.2.then_some(s.1))).collect();
        names.sort();
        names.dedup();
        let from = from.min(end);
        let plan = plan_read(&names, at(from)).unwrap();
        // Read it as a reader would.
        let mut position = from;
        for (i, planned) in plan.iter().enumerate() {
            let slice = slices.iter().find(|s| s.0 == planned.prev.ts.0 && s.2.then_some(s.1) == planned.last.map(|t| t.0));
            let slice = slice.unwrap();
            if slice.1 <= position {
                prop_assert!(i == 0, "a slice that adds nothing in the middle");
                continue;
            }
            prop_assert!(slice.0 <= position, "hole before {:?} in {:?}", slice, plan);
            position = slice.1;
        }
        prop_assert_eq!(position, end);
    }
}
