//! What a schedule will keep, for people who choose one.

use std::time::Duration;

use bygone_base::UnixMillis;
use bygone_schedule::{Period, Schedule, expiry, preview, roles};
use maud::{Markup, html};

use crate::{
    format::{ago, count, grouped, span, stamp},
    part::axis,
};

/// The coming snapshots that are listed.
const COMING: usize = 8;
/// Moments of the schedule that are looked at.
const MOST: usize = 30_000;
const DAY: u64 = 86_400;
/// Ticks of the picture.
const TICKS: usize = 400;

/// One coming snapshot.
#[derive(Debug, PartialEq, Eq)]
struct Coming {
    at: UnixMillis,
    first_of: Vec<Period>,
    expires: UnixMillis,
}

/// What will be there once the schedule has run for as long as it keeps anything.
#[derive(Debug, Default)]
struct Kept {
    /// Snapshots kept as base snapshots only.
    base: u64,
    /// Kept longer, by the longest period that each is the first of: days, weeks, months, years.
    longer: [u64; 4],
    /// Moments, as milliseconds before the end.
    back: Vec<i64>,
    /// How far the oldest lies back, in seconds.
    reach: u64,
}

impl Kept {
    fn total(&self) -> u64 {
        self.longer.iter().fold(self.base, |sum, n| sum.saturating_add(*n))
    }
}

/// The next snapshots of a schedule after the newest that there is.
fn coming(schedule: &Schedule, newest: Option<UnixMillis>, now: UnixMillis) -> Vec<Coming> {
    let mut before = newest;
    let mut at = now;
    let mut list = Vec::new();
    for _ in 0..COMING {
        at = schedule.next_after(at);
        let (first_of, expires) = (roles(schedule, before, at), expiry(schedule, before, at));
        list.push(Coming { at, first_of, expires });
        before = Some(at);
    }
    list
}

/// Simulates the schedule up to `now`, as if it had always run.
///
/// Where the interval divides a day, the first snapshot of a day is the day's beginning whatever the interval: the
/// years are looked at by days, and only the base retention's stretch by the interval.
fn kept(schedule: &Schedule, now: UnixMillis) -> Kept {
    let base = schedule.retention.base.as_secs();
    let longest = longest(schedule).max(base);
    let interval = schedule.interval.as_secs().max(1);
    let coarse = if DAY.is_multiple_of(interval) { DAY } else { interval };
    let days = Schedule { interval: Duration::from_secs(coarse), ..schedule.clone() };
    let from = before(now, longest.saturating_add(32 * DAY));
    let edge = before(now, base);
    let mut kept = Kept::default();
    for (at, first_of, expires) in preview(&days, from, now, MOST) {
        if at > edge {
            continue;
        }
        // Kept for what it is the first of: base retention alone would have deleted it.
        let longest = first_of.into_iter().rfind(|period| outlives(schedule, *period, at, expires));
        let Some(slot) = longest.map(slot) else { continue };
        kept.longer[slot] += 1;
        kept.note(at, now);
    }
    kept.base = base / interval;
    let steps = kept.base.min(TICKS as u64).max(1);
    for step in 0..kept.base.min(TICKS as u64) {
        kept.note(before(now, base / steps * step), now);
    }
    kept
}

impl Kept {
    fn note(&mut self, at: UnixMillis, now: UnixMillis) {
        let back = now.0.saturating_sub(at.0).max(0);
        self.reach = self.reach.max(back.unsigned_abs() / 1000);
        self.back.push(back);
    }
}

fn before(now: UnixMillis, secs: u64) -> UnixMillis {
    let secs = i64::try_from(secs).unwrap_or(i64::MAX / 1000).min(i64::MAX / 1000);
    UnixMillis(now.0.saturating_sub(secs * 1000))
}

/// The longest that anything is kept, in seconds, roughly.
fn longest(schedule: &Schedule) -> u64 {
    let kept = &schedule.retention;
    let spans = [(kept.days, 1), (kept.weeks, 7), (kept.months, 31), (kept.years, 366)];
    spans.into_iter().map(|(n, days)| u64::from(n) * days * DAY).max().unwrap_or(0)
}

/// Whether the snapshot expires no later than this period of retention says: by it, then.
fn outlives(schedule: &Schedule, period: Period, at: UnixMillis, expires: UnixMillis) -> bool {
    let retention = &schedule.retention;
    let (n, days) = match period {
        Period::Day => (retention.days, 1),
        Period::Week => (retention.weeks, 7),
        Period::Month => (retention.months, 31),
        Period::Year => (retention.years, 366),
    };
    // A day more, for clocks that are put forward and back.
    let most = (i64::from(n) * days + 1).saturating_mul(86_400_000);
    n > 0 && expires.0.saturating_sub(at.0) <= most
}

fn slot(period: Period) -> usize {
    match period {
        Period::Day => 0,
        Period::Week => 1,
        Period::Month => 2,
        Period::Year => 3,
    }
}

/// The preview of a schedule, with the point-in-time window in seconds and the moment of the newest snapshot.
pub(crate) fn draw(
    schedule: &Schedule,
    window: u64,
    newest: Option<UnixMillis>,
    now: UnixMillis,
) -> Markup {
    let kept = kept(schedule, now);
    let words = ["daily", "weekly", "monthly", "yearly"];
    let longer = kept.longer.iter().zip(words).filter(|(n, _)| **n > 0);
    html! {
        p {
            strong { (count(kept.total(), "snapshot")) }
            " once it has run long enough: " (grouped(kept.base)) " of the last "
            (span(schedule.retention.base.as_secs()))
            @for (n, word) in longer { ", " (grouped(*n)) " " (word) }
            ". The oldest reaches back " (span(kept.reach)) "; any second of the last "
            (span(window)) " can be restored."
        }
        (picture(&kept, window, now))
        table.dense {
            caption { "The next snapshots" }
            thead { tr { th { "Taken at (UTC)" } th { "First of its" } th { "Kept until (UTC)" } } }
            tbody {
                @for next in coming(schedule, newest, now) {
                    tr {
                        td { span title=(ago(now, next.at)) { (stamp(next.at)) } }
                        td { (names(&next.first_of)) }
                        td { span title=(ago(now, next.expires)) { (stamp(next.expires)) } }
                    }
                }
            }
        }
    }
}

fn names(periods: &[Period]) -> String {
    let name = |period: &Period| match period {
        Period::Day => "day",
        Period::Week => "week",
        Period::Month => "month",
        Period::Year => "year",
    };
    periods.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What will lie behind a moment: a tick each, and the point-in-time window.
fn picture(kept: &Kept, window: u64, now: UnixMillis) -> Markup {
    let width =
        i64::try_from(kept.reach.max(window).max(3600)).unwrap_or(i64::MAX).saturating_mul(1000);
    let width = width.saturating_add(width / 50);
    let at = |back: i64| format!("{:.3}%", 99.0 - back as f64 / width as f64 * 98.0);
    let window = i64::try_from(window).unwrap_or(i64::MAX / 2000).saturating_mul(1000);
    let share = (window as f64 / width as f64 * 98.0).min(98.0);
    html! {
        svg.preview role="img" aria-label="What will be kept, oldest on the left" {
            rect.track x="0" y="16" width="100%" height="20" {}
            rect.range x=(at(window.min(width))) y="16" width=(format!("{share:.3}%")) height="20" {}
            @for back in &kept.back {
                @let x = at(*back);
                line.snap x1=(x) x2=(x) y1="12" y2="40" {}
            }
            (axis::times(now.0.saturating_sub(width), now.0, 60))
        }
    }
}

#[cfg(test)]
mod tests {
    use bygone_schedule::Retention;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_170_600_000); // 2026-11-20T10:30:00Z, a Friday

    fn schedule(interval: u64, retention: Retention) -> Schedule {
        Schedule { interval: Duration::from_secs(interval), retention, ..Schedule::default() }
    }

    #[test]
    fn the_default_keeps_two_days_two_weeks_and_a_month() {
        let kept = kept(&Schedule::default(), NOW);
        // Sundays of the last two weeks, the first of the month.
        assert_eq!((kept.base, kept.longer), (8, [0, 2, 1, 0]), "{kept:?}");
        assert_eq!(kept.total(), 11);
        assert!(kept.reach > 18 * DAY && kept.reach < 32 * DAY, "{}", kept.reach);
    }

    #[test]
    fn short_intervals_and_long_retention_are_counted_without_walking_every_minute() {
        let retention = Retention {
            base: Duration::from_secs(2 * DAY),
            days: 7,
            weeks: 52,
            months: 84,
            years: 20,
        };
        let kept = kept(&schedule(60, retention), NOW);
        assert_eq!(kept.base, 2880);
        assert_eq!(kept.longer[3], 20, "{:?}", kept.longer);
        assert!(kept.reach > 19 * 365 * DAY, "{}", kept.reach);
        assert!(kept.back.len() < 1000);
    }

    #[test]
    fn nothing_but_base_is_nothing_but_base() {
        let base = Duration::from_secs(7 * DAY);
        let none = Retention { base, days: 0, weeks: 0, months: 0, years: 0 };
        let kept = kept(&schedule(7 * 3600, none), NOW);
        assert_eq!((kept.base, kept.longer), (24, [0; 4]));
    }

    #[test]
    fn the_next_are_on_the_grid() {
        let next = coming(&Schedule::default(), None, NOW);
        let stamps: Vec<_> = next.iter().map(|next| stamp(next.at)).collect();
        assert_eq!(
            stamps[..3],
            ["2026-11-20 12:00:00", "2026-11-20 18:00:00", "2026-11-21 00:00:00"]
        );
        assert_eq!(next[2].first_of, [Period::Day]);
        assert_eq!(names(&[Period::Day, Period::Week]), "day, week");
    }

    #[test]
    fn extremes_draw_something() {
        let most = Retention {
            base: Duration::from_secs(u64::MAX),
            days: 365,
            weeks: 52,
            months: 84,
            years: 20,
        };
        for interval in [1, 61, 86_400, 31 * DAY] {
            let text = draw(&schedule(interval, most), u64::MAX, None, NOW).into_string();
            assert!(text.contains("<svg") && !text.contains("NaN"), "{interval}");
        }
    }
}
