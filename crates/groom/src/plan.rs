//! Which packs go. Pure.

use std::collections::BTreeMap;

use bygone_base::{PackId, UnixMillis};

/// What is known of one pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackFacts {
    /// The pack.
    pub pack: PackId,
    /// Its size.
    pub bytes: u64,
    /// Stored bytes of all its blocks: what its living ones are compared with, for of a small pack most
    /// is table.
    pub stored: u64,
    /// Stored bytes of its living blocks.
    pub living: u64,
    /// When it was written, by the store's clock.
    pub written: UnixMillis,
    /// When its living blocks were recorded to be elsewhere too.
    pub moved: Option<UnixMillis>,
}

/// When to do what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Milliseconds that a pack must have been dead before it is deleted, and old before it is rewritten.
    pub delay: i64,
    /// Rewrite a pack when its living share falls below this.
    pub rewrite_below: f64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Dead long enough: delete.
    pub delete: Vec<PackId>,
    /// Mostly dead: copy the living blocks elsewhere and record where. The pack stays for the delay: whoever
    /// opened a snapshot before it expired reads the others in it.
    pub rewrite: Vec<PackId>,
    /// Recorded long enough: delete.
    pub replaced: Vec<PackId>,
    /// Relocation records that nothing followed long enough: delete.
    pub forget: Vec<PackId>,
    /// All dead packs and unfollowed records that stay for now, and since when they are known to be dead.
    pub dead: BTreeMap<PackId, UnixMillis>,
    /// Bytes that `delete` frees.
    pub freed: u64,
    /// Bytes of dead packs that must wait.
    pub waiting: u64,
}

/// Decides at the store's moment `now`. `dead_since` is what earlier grooms found.
pub fn plan(
    packs: &[PackFacts],
    dead_since: &BTreeMap<PackId, UnixMillis>,
    limits: &Limits,
    now: UnixMillis,
) -> Plan {
    let mut plan = Plan::default();
    for facts in packs {
        if facts.living > 0 {
            let old = now.since(facts.written) >= limits.delay;
            if old && (facts.living as f64) < facts.stored as f64 * limits.rewrite_below {
                if facts.moved.is_none() {
                    plan.rewrite.push(facts.pack);
                }
                if now.since(facts.moved.unwrap_or(now)) >= limits.delay {
                    plan.replaced.push(facts.pack);
                }
            }
            continue;
        }
        match due(facts.pack, facts.written, dead_since, limits, now) {
            Ok(()) => {
                plan.delete.push(facts.pack);
                plan.freed += facts.bytes;
            }
            Err(since) => {
                plan.dead.insert(facts.pack, since);
                plan.waiting += facts.bytes;
            }
        }
    }
    plan
}

/// Decides on relocation records that nothing follows: (pack, when the record was written). A reader that
/// opened a snapshot before it expired follows them still, so they wait like packs.
pub fn plan_moved(
    unfollowed: &[(PackId, UnixMillis)],
    dead_since: &BTreeMap<PackId, UnixMillis>,
    limits: &Limits,
    now: UnixMillis,
    plan: &mut Plan,
) {
    for (pack, written) in unfollowed {
        match due(*pack, *written, dead_since, limits, now) {
            Ok(()) => plan.forget.push(*pack),
            Err(since) => {
                plan.dead.insert(*pack, since);
            }
        }
    }
}

/// Whether what nothing reaches may go; since when it is known to be so when it may not.
fn due(
    pack: PackId,
    written: UnixMillis,
    dead_since: &BTreeMap<PackId, UnixMillis>,
    limits: &Limits,
    now: UnixMillis,
) -> Result<(), UnixMillis> {
    let since = dead_since.get(&pack).copied().unwrap_or(now).min(now);
    let long = now.since(since) >= limits.delay && now.since(written) >= limits.delay;
    if long { Ok(()) } else { Err(since) }
}

impl Plan {
    /// Nothing is deleted: what was to go waits on.
    pub fn hold_back(&mut self, dead_since: &BTreeMap<PackId, UnixMillis>, now: UnixMillis) {
        for pack in self.delete.drain(..).chain(self.forget.drain(..)) {
            self.dead.insert(pack, dead_since.get(&pack).copied().unwrap_or(now));
        }
        self.replaced.clear();
        self.waiting += std::mem::take(&mut self.freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { delay: 1000, rewrite_below: 0.5 };

    fn pack(n: u8, living: u64, written: i64) -> PackFacts {
        PackFacts {
            pack: PackId([n; 16]),
            bytes: 100,
            stored: 100,
            living,
            written: UnixMillis(written),
            moved: None,
        }
    }

    #[test]
    fn a_pack_must_be_dead_for_the_delay() {
        let packs = [pack(1, 0, 0), pack(2, 0, 0), pack(3, 0, 9_500)];
        let since = BTreeMap::from([(PackId([1; 16]), UnixMillis(8_000))]);
        let plan = plan(&packs, &since, &LIMITS, UnixMillis(10_000));
        assert_eq!(plan.delete, vec![PackId([1; 16])]);
        let waiting =
            [(PackId([2; 16]), UnixMillis(10_000)), (PackId([3; 16]), UnixMillis(10_000))];
        assert_eq!(plan.dead, BTreeMap::from(waiting));
        assert_eq!((plan.freed, plan.waiting), (100, 200));
    }

    #[test]
    fn what_lives_again_is_forgotten() {
        let since = BTreeMap::from([(PackId([1; 16]), UnixMillis(0))]);
        let plan = plan(&[pack(1, 60, 0)], &since, &LIMITS, UnixMillis(10_000));
        assert_eq!(plan, Plan::default());
    }

    #[test]
    fn mostly_dead_packs_are_rewritten_when_old() {
        let packs = [pack(1, 49, 0), pack(2, 50, 0), pack(3, 49, 9_500)];
        let plan = plan(&packs, &BTreeMap::new(), &LIMITS, UnixMillis(10_000));
        assert_eq!(plan.rewrite, vec![PackId([1; 16])]);
    }

    #[test]
    fn a_rewritten_pack_stays_for_the_delay_and_while_somebody_reads() {
        let facts = |moved| PackFacts { moved, ..pack(1, 10, 0) };
        let now = UnixMillis(10_000);
        let at = |moved, delay| {
            plan(&[facts(moved)], &BTreeMap::new(), &Limits { delay, ..LIMITS }, now)
        };
        let one = vec![PackId([1; 16])];
        let first = at(None, 1000);
        assert_eq!((&first.rewrite, first.replaced.len()), (&one, 0));
        assert_eq!(at(Some(UnixMillis(9_500)), 1000), Plan::default());
        let mut due = at(Some(UnixMillis(9_000)), 1000);
        assert_eq!((due.rewrite.len(), &due.replaced), (0, &one));
        due.hold_back(&BTreeMap::new(), now);
        assert_eq!(due, Plan::default());
        let at_once = at(None, 0);
        assert_eq!((&at_once.rewrite, &at_once.replaced), (&one, &one));
    }

    #[test]
    fn a_small_pack_of_living_blocks_is_left_alone() {
        let packs = [PackFacts { stored: 30, ..pack(1, 30, 0) }];
        assert_eq!(plan(&packs, &BTreeMap::new(), &LIMITS, UnixMillis(10_000)), Plan::default());
    }

    #[test]
    fn records_that_nothing_follows_wait_like_packs_and_nothing_goes_under_a_reader() {
        let (one, two) = (PackId([1; 16]), PackId([2; 16]));
        let since =
            BTreeMap::from([(one, UnixMillis(8_000)), (PackId([3; 16]), UnixMillis(1_000))]);
        let now = UnixMillis(10_000);
        let mut plan = plan(&[pack(3, 0, 0)], &since, &LIMITS, now);
        plan_moved(&[(one, UnixMillis(0)), (two, UnixMillis(0))], &since, &LIMITS, now, &mut plan);
        assert_eq!((&plan.forget, &plan.delete), (&vec![one], &vec![PackId([3; 16])]));
        plan.hold_back(&since, now);
        assert_eq!(
            (plan.forget.len(), plan.delete.len(), plan.freed, plan.waiting),
            (0, 0, 0, 100)
        );
        let expected = [(one, UnixMillis(8_000)), (two, now), (PackId([3; 16]), UnixMillis(1_000))];
        assert_eq!(plan.dead, BTreeMap::from(expected));
    }

    #[test]
    fn a_clock_that_stepped_back_deletes_nothing_early() {
        let since = BTreeMap::from([(PackId([1; 16]), UnixMillis(50_000))]);
        let plan = plan(&[pack(1, 0, 60_000)], &since, &LIMITS, UnixMillis(10_000));
        assert!(plan.delete.is_empty());
        assert_eq!(plan.dead[&PackId([1; 16])], UnixMillis(10_000));
    }
}
