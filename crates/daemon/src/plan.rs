//! What is due. Pure: times are arguments, monotonic and counted from the same origin.

use std::time::Duration;

/// When the next snapshot is due. `age` is how old the newest snapshot was (by the wall clock, which may have
/// stepped) when the job started at `started`; `None` when the history has none yet: then at once.
pub fn first_due(started: Duration, age: Option<Duration>, interval: Duration) -> Duration {
    match age {
        None => started,
        Some(age) => started + interval.saturating_sub(age),
    }
}

/// How old something written at `written` is at `now` (wall clock, milliseconds). A clock that stepped back
/// makes it new, never negative.
pub fn age(written_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms.saturating_sub(written_ms)).unwrap_or(0))
}

/// The pause before try number `tries` (from 1) after failures: doubling up to five minutes.
pub fn back_off(tries: u32) -> Duration {
    let secs = 1_u64.checked_shl(tries.saturating_sub(1)).unwrap_or(u64::MAX);
    Duration::from_secs(secs.min(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_restart_does_not_shift_the_schedule() {
        let started = Duration::from_secs(5);
        assert_eq!(first_due(started, None, HOUR), started);
        assert_eq!(first_due(started, Some(HOUR / 4), HOUR), started + HOUR * 3 / 4);
        assert_eq!(first_due(started, Some(HOUR * 9), HOUR), started, "late: once, at once");
    }

    #[test]
    fn a_clock_that_stepped_is_harmless() {
        assert_eq!(age(10_000, 4_000), Duration::ZERO);
        assert_eq!(age(4_000, 10_000), Duration::from_secs(6));
    }

    #[test]
    fn back_off_is_bounded() {
        assert_eq!(back_off(1), Duration::from_secs(1));
        assert_eq!(back_off(4), Duration::from_secs(8));
        assert_eq!(back_off(100), Duration::from_secs(300));
    }
}
