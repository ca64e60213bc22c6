//! Whether a snapshot is due.

use bygone_base::UnixMillis;

use crate::{grid::step, model::Schedule};

/// What was decided last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// When the next snapshot is due.
    pub at: UnixMillis,
    /// What the clock showed then.
    pub seen: UnixMillis,
}

impl Next {
    /// What follows on a snapshot of the moment `taken`, where `announced` was said after the last change of the
    /// schedule.
    pub fn after(
        schedule: &Schedule,
        announced: Option<Next>,
        taken: UnixMillis,
        now: UnixMillis,
    ) -> Next {
        // One from the future was taken by a clock that has been put back, which also said nothing right.
        let waited_for = announced.filter(|said| said.seen <= now && taken < said.at);
        let at = waited_for.map_or_else(|| schedule.next_after(taken.min(now)), |said| said.at);
        Next { at, seen: now }
    }

    /// What is announced when a schedule takes the place of `old` at `now`, where the next snapshot was to be `next`;
    /// `None`: that stays, for nothing changed but how long snapshots are kept.
    pub fn announced(
        old: &Schedule,
        schedule: &Schedule,
        next: UnixMillis,
        now: UnixMillis,
    ) -> Option<Next> {
        let changed = old.interval != schedule.interval || old.reference != schedule.reference;
        changed.then(|| Next { at: next_after_change(schedule, next, now), seen: now })
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// For which moment a snapshot is due, if one is: the latest that has passed.
    pub now: Option<UnixMillis>,
    /// What to go on from: where one is due, once it was taken.
    pub next: Next,
}

/// Decides at `now`, with what was decided before (`None`: nothing was; the first is due at once).
///
/// However many moments have passed, one snapshot is due. After the clock was put back, the next is what the grid says:
/// what was decided before may lie any time ahead.
pub fn due(schedule: &Schedule, next: Option<Next>, now: UnixMillis) -> Due {
    let after = Next { at: schedule.next_after(now), seen: now };
    match next {
        None => Due { now: Some(now), next: after },
        Some(next) if now < next.seen => Due { now: None, next: after },
        Some(next) if next.at <= now => {
            Due { now: Some(last_passed(schedule, next.at, now)), next: after }
        }
        Some(next) => Due { now: None, next: Next { seen: now, ..next } },
    }
}

/// The latest moment of the grid from `first` up to `now`.
fn last_passed(schedule: &Schedule, first: UnixMillis, now: UnixMillis) -> UnixMillis {
    // The grid is looked up, not walked: a host may have been down for years.
    let back = UnixMillis(now.0.saturating_sub(longest_gap(schedule)));
    let mut at = if back > first { schedule.next_after(back) } else { first };
    loop {
        let next = schedule.next_after(at);
        if next > now {
            return if at > now { first } else { at };
        }
        at = next;
    }
}

/// From one moment of the grid to the next at most, in milliseconds: the last of a longer day is left out where it
/// would stand close to the next day's first.
fn longest_gap(schedule: &Schedule) -> i64 {
    let interval = i64::try_from(schedule.interval.as_millis()).unwrap_or(i64::MAX);
    interval.saturating_add(interval / 2)
}

/// The next snapshot after the reference time or the interval was changed on the day of `now`, where the old
/// schedule's next was `old`: the new reference time of that day if it comes after `old`, else the first whole number of
/// intervals behind it that does. (Ops Manager's rule: never earlier than what was announced.)
pub fn next_after_change(schedule: &Schedule, old: UnixMillis, now: UnixMillis) -> UnixMillis {
    let today = crate::grid::instant(now).to_zoned(schedule.reference.zone.clone()).date();
    let reference = schedule.reference.start_of(today);
    if reference > old {
        return reference;
    }
    step(reference, old, i64::try_from(schedule.interval.as_millis()).unwrap_or(i64::MAX).max(1))
}
