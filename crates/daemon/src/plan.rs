//! How long to wait. Pure: times are arguments.

use std::time::Duration;

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
