//! The axis of a picture over time.

use jiff::Timestamp;
use maud::{Markup, html};

/// At most so many labels: they must not touch each other on a phone.
const MOST: i64 = 6;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// From one label to the next: round for people.
const STEPS: [i64; 20] = [
    60_000,
    2 * 60_000,
    5 * 60_000,
    10 * 60_000,
    15 * 60_000,
    30 * 60_000,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    30 * DAY,
    60 * DAY,
    91 * DAY,
    182 * DAY,
    365 * DAY,
];

/// Labels from `from` to `to` (milliseconds), their feet at `y` pixels.
pub(crate) fn times(from: i64, to: i64, y: u32) -> Markup {
    let width = to.saturating_sub(from).max(1);
    let last = STEPS[STEPS.len() - 1];
    let years = (width / last / MOST + 1).saturating_mul(last);
    let step = STEPS.into_iter().find(|step| width / step <= MOST).unwrap_or(years);
    let first = from.div_euclid(step).saturating_add(1).saturating_mul(step);
    let moments = std::iter::successors(Some(first), |at| at.checked_add(step));
    let inside = moments.take_while(|at| *at < to).take(MOST as usize + 1);
    html! {
        @for at in inside {
            @let share = (at.saturating_sub(from)) as f64 / width as f64 * 100.0;
            @let x = format!("{share:.3}%");
            // A label at an end would be cut.
            @if (4.0..=96.0).contains(&share) {
                line.grid x1=(x) x2=(x) y1=(y - 18) y2=(y - 14) {}
                text x=(x) y=(y) text-anchor="middle" { (label(at, step)) }
            }
        }
    }
}

fn label(at: i64, step: i64) -> String {
    let Ok(time) = Timestamp::from_millisecond(at) else { return String::new() };
    let whole_day = at.rem_euclid(DAY) == 0;
    let shape = match step {
        step if step >= 60 * DAY => "%b %Y",
        step if step >= DAY || whole_day => "%b %-d",
        _ => "%H:%M",
    };
    time.strftime(shape).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(from: i64, to: i64) -> Vec<String> {
        let text = times(from, to, 64).into_string();
        let texts =
            text.split("</text>").filter_map(|part| Some(part.rsplit_once('>')?.1.to_owned()));
        texts.filter(|label| !label.is_empty()).collect()
    }

    #[test]
    fn labels_are_round_and_few() {
        let midnight = 1_795_132_800_000; // 2026-11-20T00:00:00Z
        assert_eq!(
            labels(midnight, midnight + HOUR),
            ["00:10", "00:20", "00:30", "00:40", "00:50"]
        );
        let day = labels(midnight - 12 * HOUR, midnight + 12 * HOUR);
        assert_eq!(day, ["18:00", "Nov 20", "06:00"]);
        for (from, to) in [
            (0, 1),
            (i64::MIN, i64::MAX),
            (5, 5),
            (midnight, midnight + 400 * DAY),
            (0, 60_000 * DAY),
        ] {
            assert!(labels(from, to).len() <= 7, "{from} {to}");
        }
    }
}
