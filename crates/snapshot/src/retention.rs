//! Which snapshots a policy keeps: a pure function of the snapshots, of the
//! end of the stored oplog and of the clock. Ages are measured in cluster time against that end,
//! so a wrong clock here never deletes what rules keep. A moment that a snapshot was given is past when the
//! clock says so too: the oplog of a stopped job stands still.

use std::collections::BTreeSet;

use bygone_base::{OpTime, Result, SnapshotId, Ts, UnixMillis};

use crate::{
    fields::{Fields, long},
    keeps::Keep,
};

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
    /// The second at which the window begins where the stored oplog ends at `end`.
    fn window_start(&self, end: Ts) -> u64 {
        u64::from(end.secs()).saturating_sub(self.window_secs)
    }

    /// Whether a history that ended at `ended` has left the window: then its slices may go, one after the other.
    pub fn is_over(&self, ended: OpTime, end: Ts) -> bool {
        u64::from(ended.ts.secs()) < self.window_start(end)
    }

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

/// How long one snapshot is kept besides the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kept {
    /// It has nothing of its own.
    #[default]
    ByPolicy,
    /// Until this second.
    Until(u64),
    /// It never expires.
    ForEver,
}

impl Kept {
    /// What a record says; `None`: there is none.
    pub fn of(keep: Option<&Keep>) -> Kept {
        match keep.map(|keep| keep.until) {
            None => Kept::ByPolicy,
            Some(None) => Kept::ForEver,
            Some(Some(until)) => Kept::Until(until),
        }
    }

    fn at(self, secs: u64) -> bool {
        match self {
            Kept::ByPolicy => false,
            Kept::Until(until) => secs < until,
            Kept::ForEver => true,
        }
    }
}

/// What retention needs to know of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Id.
    pub id: SnapshotId,
    /// Its moment.
    pub at: Ts,
    /// Slices from after this entry on are needed to go on from it.
    pub replay_from: OpTime,
    /// Its own retention.
    pub kept: Kept,
    /// The history it belongs to: 0 is the one being continued, then those that ended in a resync,
    /// newest first. `None`: a fork voided it; it can be restored but not gone on from.
    pub history: Option<usize>,
}

/// What goes and what stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expiry {
    /// Snapshots to delete.
    pub expire: Vec<SnapshotId>,
    /// For each history: slices that end at or before this entry may go. Empty: none may.
    pub slices_before: Vec<OpTime>,
}

/// Every slice lies before this.
const ALL: OpTime = OpTime { ts: Ts::MAX, term: i64::MAX };

/// Decides. `snapshots` in ascending order of `at`; `ended` tells for each history where its stored
/// oplog ended (`None`: it is being continued, with `end` as its newest moment so far).
///
/// The window reaches back from `end` through all histories: what could be restored before a resync can be
/// restored after it, until it has left the window. `now` is our clock's: snapshots are kept until moments of it.
pub fn plan(
    snapshots: &[Candidate],
    ended: &[Option<OpTime>],
    policy: &Policy,
    end: Ts,
    now: UnixMillis,
) -> Expiry {
    if !snapshots.iter().any(|s| s.history == Some(0)) {
        // Nothing of the current history to go back to: everything older is all there is.
        return Expiry::default();
    }
    let secs = u64::from(end.secs());
    let now_secs = secs.max(u64::try_from(now.0.div_euclid(1000)).unwrap_or_default());
    let window_start = policy.window_start(end);
    let mut keep: BTreeSet<&SnapshotId> = BTreeSet::new();
    let mut slices_before = Vec::with_capacity(ended.len());
    for (history, ended) in ended.iter().enumerate() {
        let own: Vec<&Candidate> =
            snapshots.iter().filter(|s| s.history == Some(history)).collect();
        let over = ended.is_some_and(|ended| policy.is_over(ended, end));
        let base = own
            .iter()
            .rev()
            .find(|s| u64::from(s.at.secs()) <= window_start)
            .or_else(|| own.first());
        let (Some(base), Some(newest), false) = (base, own.last(), over) else {
            slices_before.push(ALL);
            continue;
        };
        // Every snapshot of the window makes restores shorter, but only the base is needed; the rules
        // below decide on the others. The newest of what is being continued is what it goes on from.
        keep.insert(&base.id);
        if ended.is_none() {
            keep.insert(&newest.id);
        }
        slices_before.push(base.replay_from.min(newest.replay_from));
    }
    let mut by_age: Vec<&Candidate> = snapshots.iter().collect();
    by_age.sort_by_key(|s| (s.history != Some(0), std::cmp::Reverse(s.at)));
    for (rank, snapshot) in by_age.iter().enumerate() {
        let last = policy.keep_last.is_some_and(|n| rank < n as usize);
        let within = policy
            .keep_within_secs
            .is_some_and(|w| u64::from(snapshot.at.secs()) >= secs.saturating_sub(w));
        if snapshot.kept.at(now_secs) || last || within {
            keep.insert(&snapshot.id);
        }
    }
    let expire = snapshots.iter().filter(|s| !keep.contains(&s.id)).map(|s| s.id.clone()).collect();
    Expiry { expire, slices_before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bygone_base::SeededRng;
    use proptest::prelude::*;

    /// A clock that is behind the cluster's.
    const PAST: UnixMillis = UnixMillis(0);

    fn candidates(secs: &[u32]) -> Vec<Candidate> {
        let rng = SeededRng::new(1);
        secs.iter()
            .map(|s| Candidate {
                id: SnapshotId::new(*s, &rng),
                at: Ts::new(*s, 1),
                replay_from: OpTime::new(Ts::new(*s, 1), 1),
                kept: Kept::ByPolicy,
                history: Some(0),
            })
            .collect()
    }

    fn policy(last: Option<u32>, within: Option<u64>, window: u64) -> Policy {
        Policy { keep_last: last, keep_within_secs: within, window_secs: window }
    }

    #[test]
    fn the_base_of_the_window_outlives_keep_last() {
        let all = candidates(&[100, 200, 300, 400]);
        let expiry = plan(&all, &[None], &policy(Some(1), None, 150), Ts::new(410, 0), PAST);
        assert_eq!(expiry.expire, vec![all[0].id.clone(), all[2].id.clone()]);
        assert_eq!(expiry.slices_before, [all[1].replay_from]);
    }

    #[test]
    fn a_window_shorter_than_the_interval_keeps_the_newest_and_its_slices() {
        let all = candidates(&[100, 10_000]);
        let expiry = plan(&all, &[None], &policy(None, None, 5), Ts::new(15_000, 0), PAST);
        assert_eq!(expiry.expire, vec![all[0].id.clone()]);
        assert_eq!(expiry.slices_before, [all[1].replay_from]);
    }

    #[test]
    fn what_snapshots_are_given_and_other_histories() {
        let mut all = candidates(&[100, 150, 200, 300]);
        all[0].kept = Kept::ForEver;
        all[1].kept = Kept::Until(900);
        all[2].history = None;
        let nothing = policy(None, None, 0);
        let expiry = plan(&all, &[None], &nothing, Ts::new(899, 9), PAST);
        assert_eq!(expiry.expire, vec![all[2].id.clone()]);
        let expiry = plan(&all, &[None], &nothing, Ts::new(900, 0), PAST);
        assert_eq!(expiry.expire, vec![all[1].id.clone(), all[2].id.clone()]);
    }

    /// The oplog of a stopped job ends where it was stopped: what was given until a moment goes by the clock, and the
    /// newest stays.
    #[test]
    fn of_a_stopped_job_what_has_a_moment_goes_when_it_has_passed() {
        let mut all = candidates(&[100, 200, 300]);
        all.iter_mut().for_each(|s| s.kept = Kept::Until(1000));
        let (nothing, end) = (policy(None, None, 0), Ts::new(310, 0));
        assert_eq!(plan(&all, &[None], &nothing, end, UnixMillis(999_999)).expire, []);
        let gone = plan(&all, &[None], &nothing, end, UnixMillis(1_000_000)).expire;
        assert_eq!(gone, [all[0].id.clone(), all[1].id.clone()]);
        // Rules count in the cluster's time: a clock that is wrong takes nothing from them.
        let within = policy(None, Some(1000), 0);
        assert_eq!(plan(&all, &[None], &within, end, UnixMillis(i64::MAX)).expire, []);
    }

    #[test]
    fn nothing_goes_before_the_first_snapshot_of_a_new_history() {
        let mut all = candidates(&[100, 200]);
        all.iter_mut().for_each(|s| s.history = Some(1));
        assert_eq!(
            plan(&all, &[None], &policy(None, None, 0), Ts::new(900, 0), PAST),
            Expiry::default()
        );
    }

    /// Histories 1 (100, 200, 300; ended at 350) and 0 (400).
    fn after_a_resync() -> (Vec<Candidate>, [Option<OpTime>; 2]) {
        let mut all = candidates(&[100, 200, 300, 400]);
        all[..3].iter_mut().for_each(|s| s.history = Some(1));
        (all, [None, Some(OpTime::new(Ts::new(350, 9), 1))])
    }

    #[test]
    fn after_a_resync_the_window_still_reaches_into_the_old_history() {
        let (all, ended) = after_a_resync();
        let expiry = plan(&all, &ended, &policy(Some(1), None, 200), Ts::new(410, 0), PAST);
        assert_eq!(expiry.expire, vec![all[0].id.clone(), all[2].id.clone()]);
        assert_eq!(expiry.slices_before, [all[3].replay_from, all[1].replay_from]);
    }

    #[test]
    fn an_old_history_goes_when_it_has_left_the_window() {
        let (all, ended) = after_a_resync();
        let expiry = plan(&all, &ended, &policy(None, None, 50), Ts::new(410, 0), PAST);
        assert_eq!(expiry.expire.len(), 3);
        assert_eq!(expiry.slices_before, [all[3].replay_from, ALL]);
        let kept = plan(&all, &ended, &policy(Some(2), None, 50), Ts::new(410, 0), PAST);
        assert_eq!(kept.expire.len(), 2, "snapshots outlive the window by the other rules");
    }

    #[test]
    fn what_a_fork_voided_takes_no_place_of_the_newest() {
        let mut all = candidates(&[100, 200, 900]);
        all[2].history = None;
        let expiry = plan(&all, &[None], &policy(Some(2), None, 0), Ts::new(210, 0), PAST);
        assert_eq!(expiry.expire, vec![all[2].id.clone()]);
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
            let expiry = plan(&all, &[None], &policy(last, within, window), Ts::new(end, 0), PAST);
            let kept: Vec<&Candidate> = all.iter().filter(|s| !expiry.expire.contains(&s.id)).collect();
            prop_assert_eq!(&kept.last().unwrap().id, &all.last().unwrap().id);
            let start = u64::from(end).saturating_sub(window);
            // Where a base existed before the window's start, one is kept, and its slices too.
            if all.iter().any(|s| u64::from(s.at.secs()) <= start) {
                let base = kept.iter().rev().find(|s| u64::from(s.at.secs()) <= start).unwrap();
                prop_assert!(expiry.slices_before[0] <= base.replay_from);
            }
        }
    }
}
