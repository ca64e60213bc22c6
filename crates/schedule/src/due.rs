//! Whether a snapshot is due.

use bygone_base::UnixMillis;

use crate::{grid::step, model::Schedule};

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// For which moment a snapshot is due, if one is: the latest that has passed.
    pub now: Option<UnixMillis>,
    /// When to look again.
    pub next: UnixMillis,
}

/// Decides at `now`, where `next` is what was decided before (`None`: nothing was; the first is due at once).
///
/// However many moments have passed, one snapshot is due. A `next` further away than the schedule can have put it
/// was written by a clock that has been put back since, and counts for nothing.
pub fn due(schedule: &Schedule, next: Option<UnixMillis>, now: UnixMillis) -> Due {
    let after = schedule.next_after(now);
    match next {
        None => Due { now: Some(now), next: after },
        Some(next) if next <= now => {
            Due { now: Some(last_passed(schedule, next, now)), next: after }
        }
        // A change of the reference time puts the next one off by less than two intervals.
        Some(next) if next.0 - now.0 > 2 * longest_gap(schedule) => Due { now: None, next: after },
        Some(next) => Due { now: None, next },
    }
}

/// The latest moment of the grid from `first` up to `now`.
fn last_passed(schedule: &Schedule, first: UnixMillis, now: UnixMillis) -> UnixMillis {
    // The grid is looked up, not walked: a host may have been down for years.
    let back = UnixMillis(now.0 - longest_gap(schedule));
    let mut at = if back > first { schedule.next_after(back) } else { first };
    loop {
        let next = schedule.next_after(at);
        if next > now {
            return if at > now { first } else { at };
        }
        at = next;
    }
}

/// From one moment of the grid to the next at most, in milliseconds: a day may have two hours more.
fn longest_gap(schedule: &Schedule) -> i64 {
    let interval = i64::try_from(schedule.interval.as_millis()).unwrap_or(i64::MAX / 4);
    interval.min(i64::MAX / 4).saturating_add(2 * 3_600_000)
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
