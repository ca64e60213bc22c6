//! The moments at which snapshots are due.

use bygone_base::UnixMillis;
use jiff::{Timestamp, ToSpan as _, civil::Date};

use crate::model::{DAY, Reference, Schedule};

/// A moment in milliseconds as one of jiff's; what it cannot hold is its end.
pub(crate) fn instant(at: UnixMillis) -> Timestamp {
    let end = if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.0).unwrap_or(end)
}

impl Reference {
    /// The calendar day that `at` belongs to: days begin at the reference time.
    pub(crate) fn day_of(&self, at: UnixMillis) -> Date {
        let date = instant(at).to_zoned(self.zone.clone()).date();
        if self.start_of(date) <= at { date } else { date.yesterday().unwrap_or(date) }
    }

    /// When the day `date` begins. Where the clock leaves the reference time out, as much later as it leaps;
    /// where it shows it twice, the first time.
    pub(crate) fn start_of(&self, date: Date) -> UnixMillis {
        let time = date.at(self.hour, self.minute, 0, 0);
        let start = self.zone.to_ambiguous_timestamp(time).compatible();
        // Only at the ends of what jiff can hold.
        UnixMillis(start.map_or(i64::MAX, |start| start.as_millisecond()))
    }
}

impl Schedule {
    fn interval_ms(&self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX).max(1)
    }

    /// The first moment of the grid after `after`.
    pub fn next_after(&self, after: UnixMillis) -> UnixMillis {
        let interval = self.interval_ms();
        if DAY.is_multiple_of(self.interval.as_secs().max(1)) {
            let day = self.reference.day_of(after);
            let start = self.reference.start_of(day);
            let next = step(start, after, interval);
            let tomorrow = day.checked_add(1.day()).map(|day| self.reference.start_of(day));
            // A day that is an hour longer does not end with two snapshots an hour apart.
            let ends = |tomorrow: &UnixMillis| tomorrow.0.saturating_sub(next.0) < interval / 2;
            return tomorrow.ok().filter(ends).unwrap_or(next);
        }
        // Not parts of a day: counted from one day on.
        let first = self.reference.start_of(jiff::civil::date(2000, 1, 1));
        step(first, after, interval)
    }
}

/// The first `from + k * interval` after `after`.
pub(crate) fn step(from: UnixMillis, after: UnixMillis, interval: i64) -> UnixMillis {
    let passed = after.0.saturating_sub(from.0).div_euclid(interval);
    UnixMillis(from.0.saturating_add(passed.saturating_add(1).saturating_mul(interval)))
}
