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
    /// Stored bytes of its living blocks.
    pub living: u64,
    /// When it was written, by the store's clock.
    pub written: UnixMillis,
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
    /// Mostly dead: move the living blocks, then treat the pack as dead.
    pub rewrite: Vec<PackId>,
    /// All dead packs that stay for now, and since when they are known to be dead.
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
            if old && (facts.living as f64) < facts.bytes as f64 * limits.rewrite_below {
                plan.rewrite.push(facts.pack);
            }
            continue;
        }
        let since = dead_since.get(&facts.pack).copied().unwrap_or(now).min(now);
        if now.since(since) >= limits.delay && now.since(facts.written) >= limits.delay {
            plan.delete.push(facts.pack);
            plan.freed += facts.bytes;
        } else {
            plan.dead.insert(facts.pack, since);
            plan.waiting += facts.bytes;
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { delay: 1000, rewrite_below: 0.5 };

    fn pack(n: u8, living: u64, written: i64) -> PackFacts {
        PackFacts { pack: PackId([n; 16]), bytes: 100, living, written: UnixMillis(written) }
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
    fn a_clock_that_stepped_back_deletes_nothing_early() {
        let since = BTreeMap::from([(PackId([1; 16]), UnixMillis(50_000))]);
        let plan = plan(&[pack(1, 0, 60_000)], &since, &LIMITS, UnixMillis(10_000));
        assert!(plan.delete.is_empty());
        assert_eq!(plan.dead[&PackId([1; 16])], UnixMillis(10_000));
    }
}
