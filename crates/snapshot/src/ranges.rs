//! Which moments can be restored: from each snapshot as far as the stored slices
//! go on from it without a hole. Pure.

use bygone_base::{OpTime, TimelineId, Ts};

use crate::timeline::Stretch;

/// What one stored slice covers: the entries after `prev` up to and including `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered {
    /// The timeline that holds it.
    pub timeline: TimelineId,
    /// The entry it continues from.
    pub prev: OpTime,
    /// Its last entry.
    pub last: OpTime,
}

/// A range of restorable moments, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First moment: that of a snapshot.
    pub from: Ts,
    /// Last moment.
    pub to: Ts,
}

/// Stretches of the oplog without a hole, in one history.
pub fn segments(history: &[Stretch], slices: &[Covered]) -> Vec<(OpTime, OpTime)> {
    let mut segments: Vec<(OpTime, OpTime)> = Vec::new();
    for stretch in history {
        let mut own: Vec<&Covered> =
            slices.iter().filter(|s| s.timeline == stretch.timeline).collect();
        own.sort_by_key(|s| (s.prev.ts, std::cmp::Reverse(s.last.ts)));
        for slice in own {
            let last = match stretch.until {
                Some(until) if slice.last.ts > until.ts => until,
                _ => slice.last,
            };
            match segments.last_mut() {
                // A compacted slice may overlap the small ones it was made of.
                Some((_, end)) if slice.prev.ts <= end.ts => *end = (*end).max(last),
                _ if slice.prev.ts < last.ts => segments.push((slice.prev, last)),
                _ => {}
            }
        }
    }
    segments
}

/// How far the oplog leads on from a snapshot at `at` that needs the entries after `replay_from`.
pub fn reach(segments: &[(OpTime, OpTime)], at: OpTime, replay_from: OpTime) -> Ts {
    segments
        .iter()
        .find(|(start, end)| start.ts <= replay_from.ts && replay_from.ts <= end.ts)
        .map_or(at.ts, |(_, end)| end.ts.max(at.ts))
}

/// Restorable ranges of one history, ascending, not overlapping. `snapshots` are
/// (moment, entry after which slices are needed) of snapshots in that history; `voids` as
/// [`crate::oplog::voids`] gives them.
pub fn restorable(
    segments: &[(OpTime, OpTime)],
    snapshots: &[(OpTime, OpTime)],
    voids: &[Range],
) -> Vec<Range> {
    let mut ranges: Vec<Range> = snapshots
        .iter()
        .map(|(at, replay_from)| Range { from: at.ts, to: reach(segments, *at, *replay_from) })
        .collect();
    ranges.sort_by_key(|r| r.from);
    let mut merged: Vec<Range> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.from <= last.to => last.to = last.to.max(range.to),
            _ => merged.push(range),
        }
    }
    voids.iter().fold(merged, |ranges, void| ranges.iter().flat_map(|r| r.without(*void)).collect())
}

impl Range {
    /// Whether the moment lies in it.
    pub fn contains(&self, at: Ts) -> bool {
        self.from <= at && at <= self.to
    }

    /// What is left of it before and after another one.
    fn without(&self, void: Range) -> impl Iterator<Item = Range> + use<> {
        let before = Range { from: self.from, to: self.to.min(void.from.prev()) };
        let after = Range { from: self.from.max(void.to.next()), to: self.to };
        let parts = match void.from <= self.to && self.from <= void.to {
            true => [before, after],
            // An empty one falls out below.
            false => [*self, Range { from: Ts::MAX, to: Ts::MIN }],
        };
        parts.into_iter().filter(|part| part.from <= part.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ts: u64) -> OpTime {
        OpTime::new(Ts(ts), 1)
    }

    fn slice(timeline: u32, prev: u64, last: u64) -> Covered {
        Covered { timeline: TimelineId(timeline), prev: at(prev), last: at(last) }
    }

    fn stretch(timeline: u32, after: u64, until: Option<u64>) -> Stretch {
        Stretch { timeline: TimelineId(timeline), after: at(after), until: until.map(at) }
    }

    #[test]
    fn a_hole_ends_a_range() {
        let history = [stretch(1, 10, None)];
        let slices = [slice(1, 10, 20), slice(1, 20, 30), slice(1, 40, 50)];
        let segments = segments(&history, &slices);
        assert_eq!(segments, vec![(at(10), at(30)), (at(40), at(50))]);
        let ranges =
            restorable(&segments, &[(at(15), at(15)), (at(35), at(35)), (at(45), at(42))], &[]);
        assert_eq!(
            ranges,
            vec![
                Range { from: Ts(15), to: Ts(30) },
                Range { from: Ts(35), to: Ts(35) },
                Range { from: Ts(45), to: Ts(50) }
            ]
        );
    }

    #[test]
    fn a_fork_cuts_the_parent_and_goes_on() {
        let history = [stretch(1, 10, Some(25)), stretch(2, 25, None)];
        let slices = [slice(1, 10, 20), slice(1, 20, 30), slice(1, 30, 90), slice(2, 25, 40)];
        assert_eq!(segments(&history, &slices), vec![(at(10), at(40))]);
    }

    #[test]
    fn what_is_void_is_in_no_range() {
        let range = |from, to| Range { from: Ts(from), to: Ts(to) };
        let left = |void| restorable(&[(at(10), at(40))], &[(at(20), at(20))], &[void]);
        assert_eq!(left(range(26, 29)), vec![range(20, 25), range(30, 40)]);
        assert_eq!(left(range(15, 20)), vec![range(21, 40)]);
        assert_eq!(left(range(40, 50)), vec![range(20, 39)]);
        assert_eq!(left(range(41, 50)), vec![range(20, 40)]);
        assert_eq!(left(range(5, 50)), vec![]);
    }

    #[test]
    fn compacted_slices_may_overlap() {
        let history = [stretch(1, 10, None)];
        let slices = [slice(1, 10, 30), slice(1, 10, 20), slice(1, 20, 30), slice(1, 30, 31)];
        assert_eq!(segments(&history, &slices), vec![(at(10), at(31))]);
    }
}
