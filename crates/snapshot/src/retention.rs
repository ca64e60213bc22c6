//! Which snapshots a policy keeps: a pure function of the snapshots and of the
//! end of the stored oplog. Ages are measured in cluster time against that end,
//! so a wrong clock here never deletes anything.

use std::collections::BTreeSet;

use bygone_base::{OpTime, Result, SnapshotId, Ts};

use crate::fields::{Fields, long};

/// What to keep. A snapshot stays when any rule keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The newest this many.
    pub keep_last: Option<u32>,
    /// Those younger than this many seconds.
    pub keep_within_secs: Option<u64>,
    /// Length of the point-in-time window, in seconds.
    pub window_secs: u64,
}

impl Default for Policy {
    /// Seven days of snapshots, one day of any second.
    fn default() -> Self {
        Policy { keep_last: None, keep_within_secs: Some(7 * 86_400), window_secs: 86_400 }
    }
}

impl Policy {
    /// The object's plain bytes (docs/format.md, section 9).
    pub fn to_bson(&self) -> Vec<u8> {
        let mut doc = bson::RawDocumentBuf::new();
        match self.keep_last {
            Some(n) => doc.append(bson::cstr!("keep_last"), i32::try_from(n).unwrap_or(i32::MAX)),
            None => doc.append(bson::cstr!("keep_last"), bson::RawBson::Null),
        }
        match self.keep_within_secs {
            Some(n) => doc.append(bson::cstr!("keep_within_secs"), long(n)),
            None => doc.append(bson::cstr!("keep_within_secs"), bson::RawBson::Null),
        }
        doc.append(bson::cstr!("window_secs"), long(self.window_secs));
        doc.into_bytes()
    }

    /// Reads the object's plain bytes.
    pub fn from_bson(bytes: &[u8]) -> Result<Policy> {
        let f = Fields::new(bytes, "retention policy")?;
        let keep_last = match f.optional("keep_last")? {
            None => None,
            Some(_) => Some(u32::try_from(f.i32("keep_last")?).map_err(|_| f.bad("keep_last"))?),
        };
        let keep_within_secs = match f.optional("keep_within_secs")? {
            None => None,
            Some(_) => Some(f.count("keep_within_secs")?),
        };
        Ok(Policy { keep_last, keep_within_secs, window_secs: f.count("window_secs")? })
    }
}

/// What retention needs to know of a snapshot of the current history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Id.
    pub id: SnapshotId,
    /// Its moment.
    pub at: Ts,
    /// Slices from after this entry on are needed to go on from it.
    pub replay_from: OpTime,
    /// Pinned: never expires.
    pub pinned: bool,
    /// Belongs to the history that is being continued; others cannot be the
    /// base of the window.
    pub current: bool,
}

/// What goes and what stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expiry {
    /// Snapshots to delete.
    pub expire: Vec<SnapshotId>,
    /// Slices of the current history that end at or before this entry may go.
    pub slices_before: Option<OpTime>,
}

/// Decides. `snapshots` in ascending order of `at` within a history; `end` is the
/// newest moment of the stored oplog.
pub fn plan(snapshots: &[Candidate], policy: &Policy, end: Ts) -> Expiry {
    let current: Vec<&Candidate> = snapshots.iter().filter(|s| s.current).collect();
    let Some(newest) = current.last() else {
        // Nothing of the current history to go back to: everything older is all there is.
        return Expiry::default();
    };
    let secs = u64::from(end.secs());
    let window_start = secs.saturating_sub(policy.window_secs);
    let base = current
        .iter()
        .rev()
        .find(|s| u64::from(s.at.secs()) <= window_start)
        .unwrap_or(&current[0]);
    let mut keep: BTreeSet<&SnapshotId> = BTreeSet::from([&newest.id]);
    // From the base on, every snapshot of the window makes restores shorter but
    // only the base is needed; the rules below decide on the others.
    keep.insert(&base.id);
    let mut by_age: Vec<&Candidate> = snapshots.iter().collect();
    by_age.sort_by_key(|s| std::cmp::Reverse(s.at));
    for (rank, snapshot) in by_age.iter().enumerate() {
        let last = policy.keep_last.is_some_and(|n| rank < n as usize);
        let within = policy
            .keep_within_secs
            .is_some_and(|w| u64::from(snapshot.at.secs()) >= secs.saturating_sub(w));
        if snapshot.pinned || last || within {
            keep.insert(&snapshot.id);
        }
    }
    let expire = snapshots.iter().filter(|s| !keep.contains(&s.id)).map(|s| s.id.clone()).collect();
    Expiry { expire, slices_before: Some(base.replay_from.min(newest.replay_from)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bygone_base::SeededRng;
    use proptest::prelude::*;

    fn candidates(secs: &[u32]) -> Vec<Candidate> {
        let rng = SeededRng::new(1);
        secs.iter()
            .map(|s| Candidate {
                id: SnapshotId::new(*s, &rng),
                at: Ts::new(*s, 1),
                replay_from: OpTime::new(Ts::new(*s, 1), 1),
                pinned: false,
                current: true,
            })
            .collect()
    }

    fn policy(last: Option<u32>, within: Option<u64>, window: u64) -> Policy {
        Policy { keep_last: last, keep_within_secs: within, window_secs: window }
    }

    #[test]
    fn the_base_of_the_window_outlives_keep_last() {
        let all = candidates(&[100, 200, 300, 400]);
        let expiry = plan(&all, &policy(Some(1), None, 150), Ts::new(410, 0));
        assert_eq!(expiry.expire, vec![all[0].id.clone(), all[2].id.clone()]);
        assert_eq!(expiry.slices_before, Some(all[1].replay_from));
    }

    #[test]
    fn a_window_shorter_than_the_interval_keeps_the_newest_and_its_slices() {
        let all = candidates(&[100, 10_000]);
        let expiry = plan(&all, &policy(None, None, 5), Ts::new(15_000, 0));
        assert_eq!(expiry.expire, vec![all[0].id.clone()]);
        assert_eq!(expiry.slices_before, Some(all[1].replay_from));
    }

    #[test]
    fn pins_and_other_histories() {
        let mut all = candidates(&[100, 200, 300]);
        all[0].pinned = true;
        all[1].current = false;
        let expiry = plan(&all, &policy(None, None, 0), Ts::new(900, 0));
        assert_eq!(expiry.expire, vec![all[1].id.clone()]);
    }

    #[test]
    fn nothing_goes_before_the_first_snapshot_of_a_new_history() {
        let mut all = candidates(&[100, 200]);
        all.iter_mut().for_each(|s| s.current = false);
        assert_eq!(plan(&all, &policy(None, None, 0), Ts::new(900, 0)), Expiry::default());
    }

    #[test]
    fn a_policy_reads_back() {
        for p in [Policy::default(), policy(Some(3), None, 0)] {
            assert_eq!(Policy::from_bson(&p.to_bson()).unwrap(), p);
        }
    }

    proptest! {
        #[test]
        fn every_moment_of_the_window_keeps_a_base(
            mut secs in prop::collection::btree_set(1u32..10_000, 1..20),
            last in prop::option::of(0u32..5),
            within in prop::option::of(0u64..5_000),
            window in 0u64..5_000,
            tail in 0u32..3_000,
        ) {
            let secs: Vec<u32> = std::mem::take(&mut secs).into_iter().collect();
            let all = candidates(&secs);
            let end = secs.last().unwrap() + tail;
            let expiry = plan(&all, &policy(last, within, window), Ts::new(end, 0));
            let kept: Vec<&Candidate> = all.iter().filter(|s| !expiry.expire.contains(&s.id)).collect();
            prop_assert_eq!(&kept.last().unwrap().id, &all.last().unwrap().id);
            let start = u64::from(end).saturating_sub(window);
            // Where a base existed before the window's start, one is kept, and its slices too.
            if all.iter().any(|s| u64::from(s.at.secs()) <= start) {
                let base = kept.iter().rev().find(|s| u64::from(s.at.secs()) <= start).unwrap();
                prop_assert!(expiry.slices_before.unwrap() <= base.replay_from);
            }
        }
    }
}
