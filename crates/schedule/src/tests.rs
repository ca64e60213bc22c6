//! Tables from the documented system, changes of the clock, and properties over random schedules.

use std::time::Duration;

use bygone_base::UnixMillis;
use proptest::prelude::*;

use crate::{
    Next, Period, Reference, Retention, Schedule, due, expiry, next_after_change, preview, roles,
    zone,
};

const HOUR: u64 = 3600;

fn at(text: &str) -> UnixMillis {
    let at: jiff::Timestamp = text.parse().expect("an instant");
    UnixMillis(at.as_millisecond())
}

fn every(hours: u64, reference: &str, place: &str) -> Schedule {
    Schedule {
        interval: Duration::from_secs(hours * HOUR),
        reference: Reference::parse(reference, zone(place).unwrap()).unwrap(),
        retention: Retention::default(),
    }
}

/// Moments from `from` on as `MM-DDTHH:MM` in the schedule's zone.
fn moments(schedule: &Schedule, from: &str, n: usize) -> Vec<String> {
    let mut at = at(from);
    let show = |at: UnixMillis| {
        let here = crate::grid::instant(at).to_zoned(schedule.reference.zone.clone());
        here.strftime("%m-%dT%H:%M").to_string()
    };
    (0..n)
        .map(|_| {
            at = schedule.next_after(at);
            show(at)
        })
        .collect()
}

#[test]
fn the_grid_goes_by_the_reference_time() {
    let schedule = every(6, "02:30", "Europe/Berlin");
    assert_eq!(
        moments(&schedule, "2026-01-10T01:30:00Z", 5),
        ["01-10T08:30", "01-10T14:30", "01-10T20:30", "01-11T02:30", "01-11T08:30"]
    );
    let daily = every(24, "23:00", "+0530");
    assert_eq!(moments(&daily, "2026-01-10T00:00:00Z", 2), ["01-10T23:00", "01-11T23:00"]);
}

/// The clock goes from 02:00 to 03:00 on March 29th, and from 03:00 to 02:00 on October 25th.
#[test]
fn a_change_of_the_clock_moves_nothing_of_the_next_day() {
    let schedule = every(6, "00:00", "Europe/Berlin");
    assert_eq!(
        moments(&schedule, "2026-03-28T22:00:00Z", 6),
        ["03-29T00:00", "03-29T07:00", "03-29T13:00", "03-29T19:00", "03-30T00:00", "03-30T06:00"]
    );
    assert_eq!(
        moments(&schedule, "2026-10-24T21:30:00Z", 6),
        ["10-25T00:00", "10-25T05:00", "10-25T11:00", "10-25T17:00", "10-26T00:00", "10-26T06:00"]
    );
    // A reference time that the clock leaves out, and one that it shows twice.
    let missing = every(24, "02:30", "Europe/Berlin");
    assert_eq!(
        moments(&missing, "2026-03-28T00:00:00Z", 3),
        ["03-28T02:30", "03-29T03:30", "03-30T02:30"]
    );
    assert_eq!(moments(&missing, "2026-10-24T12:00:00Z", 2), ["10-25T02:30", "10-26T02:30"]);
    let hourly = every(1, "00:00", "Europe/Berlin");
    assert_eq!(
        moments(&hourly, "2026-10-24T23:30:00Z", 3),
        ["10-25T02:00", "10-25T02:00", "10-25T03:00"]
    );
}

#[test]
fn intervals_that_do_not_divide_a_day_go_on_through_days() {
    let schedule = every(7, "00:00", "UTC");
    let found = moments(&schedule, "2026-01-10T00:00:00Z", 30);
    let hours: Vec<i64> = (0..30)
        .scan(at("2026-01-10T00:00:00Z"), |at, _| {
            let next = schedule.next_after(*at);
            let gap = (next.0 - at.0) / 3_600_000;
            *at = next;
            Some(gap)
        })
        .collect();
    assert!(hours[1..].iter().all(|gap| *gap == 7), "{hours:?} {found:?}");
}

/// The four rows of the documented rule: now, the next one so far, the new reference time, the next one then.
#[test]
fn a_new_reference_time_never_brings_the_next_one_forward() {
    let rows = [
        ("08:00", "10T12:00", "10:00", "10T16:00"),
        ("23:00", "11T00:00", "10:00", "11T04:00"),
        ("08:00", "10T12:00", "19:00", "10T19:00"),
        ("20:00", "11T00:00", "19:00", "11T01:00"),
    ];
    for (now, old, reference, expected) in rows {
        let schedule = every(6, reference, "UTC");
        let instant = |text: &str| at(&format!("2026-03-{text}:00Z"));
        let now = instant(&format!("10T{now}"));
        let next = next_after_change(&schedule, instant(old), now);
        assert_eq!(next, instant(expected), "{reference}");
    }
}

#[test]
fn what_was_missed_is_caught_up_once() {
    let schedule = every(6, "00:00", "UTC");
    let first = due(&schedule, None, at("2026-03-10T08:00:00Z"));
    assert_eq!(first.now, Some(at("2026-03-10T08:00:00Z")), "the first one at once");
    assert_eq!(first.next.at, at("2026-03-10T12:00:00Z"));
    let early = due(&schedule, Some(first.next), at("2026-03-10T11:59:59Z"));
    assert_eq!((early.now, early.next.at), (None, first.next.at));
    let late = due(&schedule, Some(first.next), at("2026-03-13T07:00:00Z"));
    assert_eq!(late.now, Some(at("2026-03-13T06:00:00Z")), "for the latest moment");
    assert_eq!(late.next.at, at("2026-03-13T12:00:00Z"));
    // The clock was years ahead, and is right again.
    let years =
        Next::after(&schedule, None, at("2030-12-31T23:00:00Z"), at("2030-12-31T23:00:00Z"));
    let right = due(&schedule, Some(years), at("2026-03-13T07:00:00Z"));
    assert_eq!((right.now, right.next.at), (None, at("2026-03-13T12:00:00Z")));
    let restarted =
        Next::after(&schedule, None, at("2030-12-31T23:00:00Z"), at("2026-03-13T07:00:00Z"));
    assert_eq!(restarted.at, at("2026-03-13T12:00:00Z"));
}

/// From once a day to every two minutes: what was announced stays, after a restart too, until it was taken.
#[test]
fn a_change_takes_no_snapshot_at_once() {
    let (old, now) = (every(24, "00:00", "UTC"), at("2026-03-10T08:00:00Z"));
    let often = Schedule { interval: Duration::from_secs(120), ..old.clone() };
    let said = Next::announced(&old, &often, at("2026-03-11T00:00:00Z"), now).unwrap();
    assert_eq!(said.at, at("2026-03-11T00:02:00Z"));
    let taken = at("2026-03-10T00:00:01Z");
    let after = |taken, now| Next::after(&often, Some(said), taken, now);
    assert_eq!(after(taken, at("2026-03-10T09:00:00Z")).at, said.at);
    // One on demand shifts nothing.
    assert_eq!(after(now, at("2026-03-10T09:00:00Z")).at, said.at);
    assert_eq!(due(&often, Some(after(taken, now)), at("2026-03-10T23:59:59Z")).now, None);
    // Missed, it is caught up once, for the latest moment.
    let late = at("2026-03-11T01:01:00Z");
    assert_eq!(due(&often, Some(after(taken, late)), late).now, Some(at("2026-03-11T01:00:00Z")));
    assert_eq!(after(at("2026-03-11T00:02:03Z"), late).at, at("2026-03-11T00:04:00Z"));
    // What a clock said that was ahead does not hold.
    assert_eq!(after(taken, at("2026-03-10T07:00:00Z")).at, at("2026-03-10T00:02:00Z"));
    let mut longer = old.clone();
    longer.retention.weeks = 9;
    assert_eq!(Next::announced(&old, &longer, at("2026-03-11T00:00:00Z"), now), None);
}

fn kept(days: u16, weeks: u16, months: u16, years: u16) -> Schedule {
    let base = Duration::from_secs(48 * HOUR);
    Schedule {
        retention: Retention { base, days, weeks, months, years },
        ..every(6, "08:00", "UTC")
    }
}

#[test]
fn a_snapshot_is_kept_for_the_longest_of_what_it_is() {
    use Period::{Day, Month, Week, Year};
    let schedule = kept(7, 4, 13, 2);
    let before = |text| Some(at(text));
    // 2026-03-01 is a Sunday.
    let table = [
        (None, "2026-03-10T14:00:00Z", vec![Day, Week, Month, Year], "2028-03-10T14:00:00Z"),
        (before("2026-03-10T08:00:00Z"), "2026-03-10T14:00:00Z", vec![], "2026-03-12T14:00:00Z"),
        // Before the reference time it is still the day before.
        (before("2026-03-10T20:00:00Z"), "2026-03-11T02:00:00Z", vec![], "2026-03-13T02:00:00Z"),
        (before("2026-03-11T02:00:00Z"), "2026-03-11T08:00:00Z", vec![Day], "2026-03-18T08:00:00Z"),
        (
            before("2026-03-15T02:00:00Z"),
            "2026-03-15T08:00:00Z",
            vec![Day, Week],
            "2026-04-12T08:00:00Z",
        ),
        (
            before("2026-03-31T02:00:00Z"),
            "2026-04-01T08:00:00Z",
            vec![Day, Month],
            "2027-05-01T08:00:00Z",
        ),
        (
            before("2026-12-31T08:00:00Z"),
            "2027-01-01T08:00:00Z",
            vec![Day, Month, Year],
            "2029-01-01T08:00:00Z",
        ),
    ];
    for (before, text, expected, expires) in table {
        assert_eq!(roles(&schedule, before, at(text)), expected, "{text}");
        assert_eq!(expiry(&schedule, before, at(text)), at(expires), "{text}");
    }
    let only_base = kept(0, 0, 0, 0);
    assert_eq!(expiry(&only_base, None, at("2026-03-10T14:00:00Z")), at("2026-03-12T14:00:00Z"));
}

#[test]
fn a_preview_shows_what_will_be_there() {
    let schedule = kept(7, 4, 0, 0);
    let shown = preview(&schedule, at("2026-01-01T00:00:00Z"), at("2026-03-10T09:00:00Z"), 10_000);
    let base = shown.iter().filter(|(_, roles, _)| roles.is_empty()).count();
    let weeks = shown.iter().filter(|(_, roles, _)| roles.contains(&Period::Week)).count();
    assert_eq!(weeks, 4);
    assert_eq!(base, 6, "those of the last two days that are nothing else");
    assert!(shown.is_sorted());
    assert_eq!(
        preview(&schedule, at("2026-01-01T00:00:00Z"), at("2026-03-10T09:00:00Z"), 3).len(),
        0
    );
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let zones = [
        "UTC",
        "Europe/Berlin",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "-1130",
    ];
    let minutes =
        prop_oneof![1_u64..120, Just(360), Just(480), Just(720), Just(1440), 120_u64..44_640];
    (minutes, 0_i8..24, 0_i8..60, 0..zones.len()).prop_map(move |(minutes, hour, minute, place)| {
        Schedule {
            interval: Duration::from_secs(minutes * 60),
            reference: Reference { hour, minute, zone: zone(zones[place]).unwrap() },
            retention: Retention { days: 3, weeks: 2, months: 2, years: 1, ..Retention::default() },
        }
    })
}

proptest! {
    /// Every gap is the interval, but for days that are longer or shorter (Apia left a whole one out in 2011).
    #[test]
    fn the_grid_goes_on(schedule in schedules(), start in 1_262_304_000_000_i64..1_924_992_000_000) {
        let interval = schedule.interval.as_millis() as i64;
        let mut at = UnixMillis(start);
        for n in 0..40 {
            let next = schedule.next_after(at);
            let gap = next.0 - at.0;
            prop_assert!(gap > 0);
            prop_assert!(gap <= interval + interval / 2 && gap <= interval + 2 * 3_600_000, "{gap}");
            if n > 0 {
                prop_assert!(gap >= interval / 2 || gap >= interval - 2 * 3_600_000, "{gap}");
            }
            // Nothing of the grid lies between.
            let middle = UnixMillis(at.0 + gap / 2);
            prop_assert_eq!(schedule.next_after(middle), next);
            at = next;
        }
    }

    /// Whenever it is looked, one snapshot is due for each stretch in which moments have passed.
    #[test]
    fn no_moment_is_taken_twice(schedule in schedules(), start in 1_600_000_000_000_i64..1_700_000_000_000, looks in prop::collection::vec(1_i64..200_000_000, 1..40)) {
        let mut now = UnixMillis(start);
        let mut decided = due(&schedule, None, now);
        let mut taken = vec![now];
        for pause in looks {
            now = UnixMillis(now.0 + pause);
            let passed = decided.next.at <= now;
            decided = due(&schedule, Some(decided.next), now);
            prop_assert_eq!(decided.now.is_some(), passed);
            if let Some(moment) = decided.now {
                prop_assert!(moment <= now && moment > *taken.last().unwrap());
                prop_assert_eq!(schedule.next_after(moment), decided.next.at);
                taken.push(moment);
            }
            prop_assert!(decided.next.at > now);
        }
    }

    /// A change never brings the next one forward, and puts it off by an interval or to the new time of that day.
    #[test]
    fn a_change_is_bounded(schedule in schedules(), now in 1_600_000_000_000_i64..1_700_000_000_000, wait in 0_i64..90_000_000) {
        let (now, old) = (UnixMillis(now), UnixMillis(now + wait));
        let next = next_after_change(&schedule, old, now);
        prop_assert!(next > old);
        prop_assert!(next.0 - old.0 <= (schedule.interval.as_millis() as i64).max(26 * 3_600_000));
    }

    /// Never kept shorter than a base snapshot; the same question has the same answer; a later one is not kept shorter
    /// for being the first of more.
    #[test]
    fn nothing_goes_before_its_time(schedule in schedules(), at in 1_600_000_000_000_i64..1_700_000_000_000, gap in 1_i64..4_000_000_000) {
        let (before, at) = (UnixMillis(at - gap), UnixMillis(at));
        let expires = expiry(&schedule, Some(before), at);
        prop_assert!(expires.0 >= at.0 + schedule.retention.base.as_millis() as i64);
        prop_assert!(expiry(&schedule, None, at) >= expires);
        prop_assert!(roles(&schedule, Some(at), at) == roles(&schedule, None, at), "one from the future says nothing");
    }
}
