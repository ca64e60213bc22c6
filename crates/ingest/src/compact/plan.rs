//! PURE: which stored slices of one timeline to merge, and which are left over
//! from a merge that was interrupted.
//!
//! Slices are merged within one hour of cluster time, up to a target size. An
//! hour that has passed is merged whole. In the running hour the newest slices
//! are merged once there are enough of them, and take an older, larger one with
//! them only when it is not much larger, so that each byte is rewritten a
//! handful of times at most.

use std::time::Duration;

use bygone_base::{OpTime, Ts, UnixMillis};

/// A stored slice as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSlice {
    /// Full object name.
    pub name: String,
    /// The entry it continues from.
    pub prev: OpTime,
    /// The last timestamp of a compacted slice; small ones do not tell.
    pub last: Option<Ts>,
    /// Stored bytes.
    pub size: u64,
    /// When it was stored, by the store's clock.
    pub modified: UnixMillis,
}

/// When to merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactOptions {
    /// Younger slices are left alone: a rival or a retry may still be writing
    /// under the same names. Must be well above the time after which a fenced
    /// writer notices (`Options::fence_check`).
    pub min_age: Duration,
    /// Stored bytes of a merged slice; larger ones than half of it are left alone.
    pub target: u64,
    /// Cluster seconds that a merged slice may span.
    pub span_secs: u32,
    /// Slices of the running hour are merged when there are so many.
    pub min_count: usize,
}

impl Default for CompactOptions {
    fn default() -> Self {
        CompactOptions {
            min_age: Duration::from_secs(120),
            target: 10 << 20,
            span_secs: 3600,
            min_count: 32,
        }
    }
}

/// What to do, oldest first; numbers are positions in the list that was planned for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactPlan {
    /// Runs of neighbours to merge, at least two each.
    pub merges: Vec<Vec<usize>>,
    /// `(slice, compacted slice that holds all of it)`: only to be deleted, once that was checked.
    pub leftovers: Vec<(usize, usize)>,
}

/// In the running hour an older slice is merged with newer ones up to this
/// multiple of their size ...
const RATIO: u64 = 4;
/// ... or when it is below this size anyway.
const TINY: u64 = 64 << 10;

/// Plans for the slices of one timeline in ascending order of their names. The
/// newest slice is never touched: the chain's end is known from it alone.
pub fn plan(slices: &[StoredSlice], now: UnixMillis, options: &CompactOptions) -> CompactPlan {
    let leftovers = leftovers(slices);
    // Found in ascending order.
    let is_leftover = |i: usize| leftovers.binary_search_by_key(&i, |(slice, _)| *slice).is_ok();
    let newest = slices.iter().map(|s| s.prev).max();
    let age = i64::try_from(options.min_age.as_millis()).unwrap_or(i64::MAX);
    let settled = |s: &StoredSlice| now.since(s.modified) >= age && Some(s.prev) != newest;

    let mut plan = CompactPlan::default();
    let mut group = Group::default();
    for (i, slice) in slices.iter().enumerate() {
        if is_leftover(i) {
            continue;
        }
        if !settled(slice) {
            break;
        }
        let large = slice.size > options.target / 2;
        let hour = slice.prev.ts.secs() / options.span_secs.max(1);
        if large || group.hour != Some(hour) || group.size + slice.size > options.target {
            group.close(&mut plan.merges);
        }
        if !large {
            group.push(i, slice.size, hour);
        }
    }
    group.close_running(slices, options.min_count, &mut plan.merges);
    plan.leftovers =
        leftovers.into_iter().filter(|(i, _)| slices.get(*i).is_some_and(settled)).collect();
    plan
}

#[derive(Default)]
struct Group {
    members: Vec<usize>,
    size: u64,
    hour: Option<u32>,
}

impl Group {
    fn push(&mut self, member: usize, size: u64, hour: u32) {
        self.members.push(member);
        self.size += size;
        self.hour = Some(hour);
    }

    fn close(&mut self, merges: &mut Vec<Vec<usize>>) {
        let group = std::mem::take(self);
        if group.members.len() > 1 {
            merges.push(group.members);
        }
    }

    fn close_running(self, slices: &[StoredSlice], min: usize, merges: &mut Vec<Vec<usize>>) {
        let (mut sum, mut from) = (0, self.members.len());
        for (at, i) in self.members.iter().enumerate().rev() {
            let size = slices.get(*i).map_or(0, |s| s.size);
            if size > TINY.max(sum * RATIO) {
                break;
            }
            sum += size;
            from = at;
        }
        let members = self.members.get(from..).unwrap_or_default();
        if members.len() >= min.max(2) {
            merges.push(members.to_vec());
        }
    }
}

/// Slices that lie within a compacted one, as far as names tell.
fn leftovers(slices: &[StoredSlice]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    // The compacted slice that reaches furthest among those at or before the current one.
    let mut reach: Option<(Ts, usize)> = None;
    let mut at = 0;
    while let Some(first) = slices.get(at) {
        let equal = slices[at..].iter().take_while(|s| s.prev == first.prev).count();
        let group = at..at + equal;
        for i in group.clone() {
            if let Some(last) = slices[i].last
                && reach.is_none_or(|(furthest, _)| last > furthest)
            {
                reach = Some((last, i));
            }
        }
        for i in group {
            if let Some((furthest, by)) = reach
                && by != i
                && slices[i].prev.ts < furthest
                && slices[i].last.is_none_or(|last| last <= furthest)
            {
                found.push((i, by));
            }
        }
        at += equal;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(prev: u64, last: Option<u64>, size: u64, modified: i64) -> StoredSlice {
        StoredSlice {
            name: format!("{prev}{last:?}"),
            prev: OpTime::new(Ts::new(prev as u32, 0), 1),
            last: last.map(|l| Ts::new(l as u32, 0)),
            size,
            modified: UnixMillis(modified),
        }
    }

    const NOW: UnixMillis = UnixMillis(10_000_000);

    #[test]
    fn a_passed_hour_is_merged_whole_and_the_newest_slice_is_kept() {
        let slices: Vec<_> =
            [10, 20, 3590, 3610, 3620].iter().map(|s| slice(*s, None, 100, 0)).collect();
        let plan = plan(&slices, NOW, &CompactOptions::default());
        assert_eq!(plan.merges, vec![vec![0, 1, 2]]);
    }

    #[test]
    fn young_slices_wait() {
        let slices: Vec<_> =
            [10, 20, 3610, 7300].iter().map(|s| slice(*s, None, 100, 9_990_000)).collect();
        assert_eq!(plan(&slices, NOW, &CompactOptions::default()), CompactPlan::default());
    }

    #[test]
    fn groups_keep_to_the_target_and_large_slices_are_left_alone() {
        let mb = 1 << 20;
        let sizes = [4 * mb, 4 * mb, 4 * mb, 9 * mb, mb, mb, mb];
        let slices: Vec<_> =
            sizes.iter().enumerate().map(|(i, s)| slice(i as u64, None, *s, 0)).collect();
        let plan = plan(&slices, NOW, &CompactOptions::default());
        assert_eq!(plan.merges, vec![vec![0, 1]]);
    }

    #[test]
    fn the_running_hour_is_merged_in_tiers() {
        let options = CompactOptions { min_count: 4, ..CompactOptions::default() };
        let mut slices = vec![slice(1, Some(9), 4 << 20, 0)];
        slices.extend((9..14).map(|s| slice(s, None, 1000, 0)));
        assert_eq!(plan(&slices, NOW, &options).merges, vec![vec![1, 2, 3, 4]]);
        slices[0].size = TINY;
        assert_eq!(plan(&slices, NOW, &options).merges, vec![vec![0, 1, 2, 3, 4]]);
    }

    #[test]
    fn what_an_interrupted_merge_left_is_found_and_not_merged_again() {
        let slices = vec![
            slice(1, None, 10, 0),
            slice(1, Some(3), 10, 0),
            slice(1, Some(5), 10, 0),
            slice(2, None, 10, 0),
            slice(3, None, 10, 0),
            slice(5, None, 10, 0),
            slice(6, None, 10, 0),
        ];
        let options = CompactOptions { min_count: 2, ..CompactOptions::default() };
        let plan = plan(&slices, NOW, &options);
        assert_eq!(plan.leftovers, vec![(0, 2), (1, 2), (3, 2), (4, 2)]);
        assert_eq!(plan.merges, vec![vec![2, 5]]);
    }
}
