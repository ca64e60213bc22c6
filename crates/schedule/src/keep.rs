//! How long a snapshot is kept.

use bygone_base::UnixMillis;
use jiff::{Span, ToSpan as _, civil::Date};

use crate::model::{Retention, Schedule};

/// What a snapshot is the first of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// Of a day that begins at the reference time.
    Day,
    /// Of a week that begins on Sunday.
    Week,
    /// Of a month.
    Month,
    /// Of a year.
    Year,
}

const PERIODS: [Period; 4] = [Period::Day, Period::Week, Period::Month, Period::Year];

impl Period {
    /// The first day of the period of `day`.
    fn start(self, day: Date) -> Date {
        let back = match self {
            Period::Day => 0,
            Period::Week => day.weekday().to_sunday_zero_offset(),
            Period::Month => return day.first_of_month(),
            Period::Year => return day.first_of_year(),
        };
        day.checked_sub(i64::from(back).days()).unwrap_or(day)
    }

    /// How long the first of it is kept; `None`: not longer than any.
    fn kept(self, retention: &Retention) -> Option<Span> {
        let (n, span) = match self {
            Period::Day => (retention.days, i64::from(retention.days).days()),
            Period::Week => (retention.weeks, i64::from(retention.weeks).weeks()),
            Period::Month => (retention.months, i64::from(retention.months).months()),
            Period::Year => (retention.years, i64::from(retention.years).years()),
        };
        (n > 0).then_some(span)
    }
}

/// What the snapshot of the moment `at` is the first of, where the one before it was of `before`.
pub fn roles(schedule: &Schedule, before: Option<UnixMillis>, at: UnixMillis) -> Vec<Period> {
    let reference = &schedule.reference;
    let day = reference.day_of(at);
    // One from the future (a clock that went back) says nothing about this one.
    let before = before.filter(|before| *before < at).map(|before| reference.day_of(before));
    let first =
        |period: &Period| before.is_none_or(|before| period.start(before) != period.start(day));
    PERIODS.into_iter().filter(first).collect()
}

/// When the snapshot of the moment `at` expires, where the one before it was of `before`: by the calendar of the
/// reference time's zone, so that a daily one of 12:00 goes at 12:00.
pub fn expiry(schedule: &Schedule, before: Option<UnixMillis>, at: UnixMillis) -> UnixMillis {
    let base = i64::try_from(schedule.retention.base.as_millis()).unwrap_or(i64::MAX);
    let here = crate::grid::instant(at).to_zoned(schedule.reference.zone.clone());
    let by_role = roles(schedule, before, at).into_iter().filter_map(|period| {
        let end = here.checked_add(period.kept(&schedule.retention)?);
        // Beyond what jiff can hold is beyond what anybody waits for.
        Some(end.map_or(UnixMillis(i64::MAX), |end| UnixMillis(end.timestamp().as_millisecond())))
    });
    by_role.fold(UnixMillis(at.0.saturating_add(base)), UnixMillis::max)
}

/// The snapshots that would be there at `until` if the schedule ran from `from` on, with what each is and when it
/// expires: for people who choose a schedule. At most `most` moments are looked at.
pub fn preview(
    schedule: &Schedule,
    from: UnixMillis,
    until: UnixMillis,
    most: usize,
) -> Vec<(UnixMillis, Vec<Period>, UnixMillis)> {
    let mut kept = Vec::new();
    let mut before = None;
    let mut at = schedule.next_after(from);
    for _ in 0..most {
        if at > until {
            break;
        }
        let expires = expiry(schedule, before, at);
        if expires > until {
            kept.push((at, roles(schedule, before, at), expires));
        }
        before = Some(at);
        at = schedule.next_after(at);
    }
    kept
}
