//! The picture of what can be restored: ranges as bars, snapshots as ticks, now.
//!
//! Everything is placed in percent of the width, so that the picture fits a phone and a wall without its letters being
//! stretched.

use bygone_base::{Ts, UnixMillis};
use bygone_control::views::{History, SnapshotView};
use maud::{Markup, PreEscaped, html};

use crate::{
    format::{count, millis, span, stamp},
    part::axis,
};

/// Ticks closer than this share of the width become one.
const CLOSE: f64 = 0.6;
/// Nothing is thinner than this: what exists is seen.
const THINNEST: f64 = 0.3;
/// What is shown at least, so that one snapshot is not a picture of a second.
const LEAST: i64 = 600_000;
/// Spans that one can choose: seconds and the word.
const SPANS: [(u64, &str); 5] = [
    (3600, "hour"),
    (86_400, "day"),
    (604_800, "week"),
    (2_678_400, "month"),
    (31_622_400, "year"),
];

/// What the picture is made of.
#[derive(Debug)]
pub(crate) struct Timeline<'a> {
    /// Snapshots and ranges.
    pub(crate) history: &'a History,
    /// The right end.
    pub(crate) now: UnixMillis,
    /// Only the last so many seconds.
    pub(crate) span: Option<u64>,
    /// The page on which it stands; spans are chosen by `?span=` on it.
    pub(crate) page: String,
    /// Where a restore begins; a moment is chosen by `?when=` on it. None where one may not restore.
    pub(crate) restore: Option<String>,
}

/// A stretch of time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    from: i64,
    to: i64,
}

impl Stretch {
    fn width(self) -> i64 {
        self.to.saturating_sub(self.from).max(1)
    }

    /// Where a moment lies, in percent.
    fn at(self, moment: i64) -> f64 {
        let share = moment.saturating_sub(self.from) as f64 / self.width() as f64;
        (share * 100.0).clamp(0.0, 100.0)
    }
}

/// Snapshots that are drawn as one tick.
#[derive(Debug)]
struct Tick<'a> {
    /// In percent.
    at: f64,
    /// Oldest first.
    of: Vec<&'a SnapshotView>,
}

impl Timeline<'_> {
    /// The picture, or a sentence where there is nothing to show.
    pub(crate) fn draw(&self) -> Markup {
        let Some(whole) = self.whole() else {
            return html! { p.quiet { "Nothing is stored yet: the first snapshot ends the initial sync." } };
        };
        let shown = self.shown(whole);
        let ranges = united(self.history.ranges.iter().map(|range| (range.from, range.to)));
        let ticks = ticks(&self.history.snapshots, shown);
        html! {
            figure.timeline {
                (self.spans(whole))
                svg role="img" aria-label=(self.summary(&ranges)) data-timeline
                    data-from=(shown.from / 1000) data-to=(shown.to / 1000)
                    data-restore=[self.restore.as_ref()] {
                    rect.track x="0" y="16" width="100%" height="20" {}
                    (gaps(&ranges, shown))
                    @for (from, to) in &ranges { (bar(*from, *to, shown)) }
                    @for tick in &ticks { (self.tick(tick)) }
                    (self.now_line(shown))
                    (axis::times(shown.from, shown.to, 64))
                }
                figcaption.quiet {
                    span.key.range { "any second can be restored" }
                    span.key.snap { "snapshot" }
                    span.key.pin { "kept for ever" }
                    span.key.gap { "only the snapshots" }
                    " · times in UTC"
                }
            }
        }
    }

    /// From the oldest that is stored up to now.
    fn whole(&self) -> Option<Stretch> {
        let snapshots = self.history.snapshots.iter().map(|snapshot| snapshot.at);
        let ranges = self.history.ranges.iter().map(|range| range.from);
        let from = millis(snapshots.chain(ranges).min()?).0;
        // A source whose clock is ahead of ours is shown whole.
        let newest = self.history.ranges.iter().map(|range| millis(range.to).0).max();
        let to = self.now.0.max(newest.unwrap_or(from)).max(from.saturating_add(1000));
        Some(Stretch { from: from.min(to.saturating_sub(LEAST)), to })
    }

    fn shown(&self, whole: Stretch) -> Stretch {
        let Some(secs) = self.span else { return padded(whole) };
        let wanted = i64::try_from(secs).unwrap_or(i64::MAX / 1000).saturating_mul(1000);
        if wanted >= whole.width() {
            return padded(whole);
        }
        padded(Stretch { from: whole.to.saturating_sub(wanted.max(60_000)), to: whole.to })
    }

    /// Links that choose how much is shown.
    fn spans(&self, whole: Stretch) -> Markup {
        let fits = |(secs, _): &(u64, &str)| (*secs as i64) * 1000 < whole.width();
        let fitting: Vec<_> = SPANS.into_iter().filter(fits).collect();
        if fitting.is_empty() {
            return html! {};
        }
        let current = |span: Option<u64>| (self.span == span).then_some("true");
        html! {
            nav.spans aria-label="How much is shown" {
                @for (secs, word) in fitting {
                    a href={ (self.page) "?span=" (secs) } aria-current=[current(Some(secs))] { "last " (word) }
                }
                a href=(self.page) aria-current=[current(None)] { "all" }
            }
        }
    }

    /// For those who cannot see the picture.
    fn summary(&self, ranges: &[(Ts, Ts)]) -> String {
        let snapshots = count(self.history.snapshots.len() as u64, "snapshot");
        match (ranges.first(), ranges.last()) {
            (Some((from, _)), Some((_, to))) => format!(
                "{snapshots}; {} of time in which any second can be restored, from {} to {} UTC",
                count(ranges.len() as u64, "stretch").replace("stretchs", "stretches"),
                stamp(millis(*from)),
                stamp(millis(*to)),
            ),
            _ => snapshots,
        }
    }

    fn tick(&self, tick: &Tick<'_>) -> Markup {
        let x = percent(tick.at);
        let pinned = tick.of.iter().any(|snapshot| snapshot.kept_for_ever);
        let class = if pinned { "snap pin" } else { "snap" };
        let line = html! {
            // A wide line that is not seen is easier to hit.
            line.hit x1=(x) x2=(x) y1="6" y2="46" {}
            line class=(class) x1=(x) x2=(x) y1="10" y2="42" { title { (tick_title(&tick.of)) } }
            @if pinned { circle.pin cx=(x) cy="8" r="3" {} }
        };
        match (&self.restore, tick.of.last()) {
            // The table of snapshots is for the keyboard: hundreds of stops here would be in the way.
            (Some(restore), Some(newest)) => html! {
                a href={ (restore) "?when=" (newest.id) } tabindex="-1" { (line) }
            },
            _ => line,
        }
    }

    fn now_line(&self, shown: Stretch) -> Markup {
        let x = percent(shown.at(self.now.0));
        html! {
            line.now x1=(x) x2=(x) y1="4" y2="48" { title { "now: " (stamp(self.now)) " UTC" } }
        }
    }
}

/// With a little room on both sides, for ticks at the ends.
fn padded(stretch: Stretch) -> Stretch {
    let room = stretch.width() / 100;
    Stretch { from: stretch.from.saturating_sub(room), to: stretch.to.saturating_add(room) }
}

fn percent(at: f64) -> String {
    format!("{at:.3}%")
}

/// Ranges that touch or overlap, made one.
fn united(ranges: impl Iterator<Item = (Ts, Ts)>) -> Vec<(Ts, Ts)> {
    let mut sorted: Vec<(Ts, Ts)> = ranges.filter(|(from, to)| from <= to).collect();
    sorted.sort_unstable();
    let mut united: Vec<(Ts, Ts)> = Vec::new();
    for (from, to) in sorted {
        match united.last_mut() {
            Some(last) if from <= last.1.next() => last.1 = last.1.max(to),
            _ => united.push((from, to)),
        }
    }
    united
}

fn bar(from: Ts, to: Ts, shown: Stretch) -> Markup {
    let (left, right) = (shown.at(millis(from).0), shown.at(millis(to).0));
    if right <= 0.0 || left >= 100.0 {
        return PreEscaped(String::new());
    }
    let title = format!(
        "any second from {} to {} UTC ({})",
        stamp(millis(from)),
        stamp(millis(to)),
        span(u64::from(to.secs().saturating_sub(from.secs()))),
    );
    html! {
        rect.range x=(percent(left)) y="16" width=(percent((right - left).max(THINNEST))) height="20" {
            title { (title) }
        }
    }
}

/// What lies between the ranges.
fn gaps(ranges: &[(Ts, Ts)], shown: Stretch) -> Markup {
    let between = ranges.windows(2).filter_map(|pair| match pair {
        [(_, to), (from, _)] => Some((*to, *from)),
        _ => None,
    });
    let seen = between
        .filter(|(to, from)| shown.at(millis(*from).0) > 0.0 && shown.at(millis(*to).0) < 100.0);
    html! {
        @for (to, from) in seen {
            @let (left, right) = (shown.at(millis(to).0), shown.at(millis(from).0));
            rect.gap x=(percent(left)) y="16" width=(percent((right - left).max(THINNEST))) height="20" {
                title {
                    "between " (stamp(millis(to))) " and " (stamp(millis(from)))
                    " UTC only the snapshots can be restored"
                }
            }
        }
    }
}

/// Snapshots in what is shown, the close ones together.
fn ticks(snapshots: &[SnapshotView], shown: Stretch) -> Vec<Tick<'_>> {
    let mut ticks: Vec<Tick<'_>> = Vec::new();
    let inside = |s: &&SnapshotView| (shown.from..=shown.to).contains(&millis(s.at).0);
    for snapshot in snapshots.iter().filter(inside) {
        let at = shown.at(millis(snapshot.at).0);
        match ticks.last_mut() {
            Some(last) if at - last.at < CLOSE => last.of.push(snapshot),
            _ => ticks.push(Tick { at, of: vec![snapshot] }),
        }
    }
    ticks
}

fn tick_title(of: &[&SnapshotView]) -> String {
    let at = |snapshot: &SnapshotView| stamp(millis(snapshot.at));
    match of {
        [] => String::new(),
        [one] => {
            let kept = match (one.kept_for_ever, one.expires) {
                (true, _) => "kept for ever".to_owned(),
                (false, Some(expires)) => format!("kept until {} UTC", stamp(expires)),
                (false, None) => "kept as the schedule says".to_owned(),
            };
            format!("snapshot of {} UTC, {kept}", at(one))
        }
        [first, .., last] => {
            format!("{} from {} to {} UTC", count(of.len() as u64, "snapshot"), at(first), at(last))
        }
    }
}

#[cfg(test)]
mod tests {
    use bygone_control::views::RangeView;

    use super::*;
    use crate::sample;

    const NOW: u32 = 1_795_170_600;

    fn draw(history: &History, span: Option<u64>) -> String {
        let now = UnixMillis(i64::from(NOW) * 1000);
        let restore = Some("/r".to_owned());
        Timeline { history, now, span, page: "/j".into(), restore }.draw().into_string()
    }

    fn range(from: u32, to: u32) -> RangeView {
        RangeView { from: Ts::new(from, 1), to: Ts::new(to, 9), snapshot: None }
    }

    #[test]
    fn without_anything_it_says_so() {
        assert!(draw(&History::default(), None).contains("Nothing is stored yet"));
    }

    #[test]
    fn one_snapshot_is_one_tick_that_leads_to_its_restore() {
        let snapshot = sample::snapshot(NOW - 60);
        let link = format!("href=\"/r?when={}\"", snapshot.id);
        let history = History {
            snapshots: vec![snapshot],
            ranges: vec![range(NOW - 60, NOW)],
            damaged: Vec::new(),
        };
        let text = draw(&history, None);
        assert_eq!(text.matches("class=\"snap\"").count(), 1, "{text}");
        assert_eq!(text.matches("class=\"range\"").count(), 1, "{text}");
        assert!(text.contains(&link), "{text}");
        assert!(text.contains("aria-label=\"1 snapshot; 1 stretch of time"), "{text}");
        // Ten minutes are shown, not one.
        assert!(text.contains(&format!("data-from=\"{}\"", NOW - 606)), "{text}");
    }

    #[test]
    fn many_close_snapshots_share_ticks_and_none_is_lost() {
        let hours = 500;
        let snapshots: Vec<_> =
            (0..hours).map(|n| sample::snapshot(NOW - (hours - n) * 3600)).collect();
        let shown =
            Stretch { from: i64::from(NOW - hours * 3600) * 1000, to: i64::from(NOW) * 1000 };
        let ticks = ticks(&snapshots, shown);
        assert!(ticks.len() < 200, "{}", ticks.len());
        assert_eq!(ticks.iter().map(|tick| tick.of.len()).sum::<usize>(), 500);
        let close = ticks.windows(2).any(|pair| pair[1].at - pair[0].at < CLOSE);
        assert!(!close);
        assert!(tick_title(&ticks[0].of).starts_with("3 snapshots from "));
        let history = History { snapshots, ..History::default() };
        let day = draw(&history, Some(86_400));
        assert_eq!(day.matches("class=\"snap\"").count(), 24, "{day}");
        assert!(day.contains("href=\"/j?span=604800\""), "{day}");
    }

    #[test]
    fn gaps_are_seen_and_overlaps_are_not() {
        let apart = History {
            ranges: vec![range(NOW - 9000, NOW - 7000), range(NOW - 5000, NOW)],
            ..History::default()
        };
        let text = draw(&apart, None);
        assert_eq!(text.matches("class=\"range\"").count(), 2, "{text}");
        assert_eq!(text.matches("class=\"gap\"").count(), 1, "{text}");
        let overlapping = [(Ts::new(1, 0), Ts::new(5, 0)), (Ts::new(3, 0), Ts::new(4, 0))];
        assert_eq!(united(overlapping.into_iter()), [(Ts::new(1, 0), Ts::new(5, 0))]);
        let touching = [(Ts::new(1, 0), Ts::new(5, 0)), (Ts::new(5, 1), Ts::new(6, 0))];
        assert_eq!(united(touching.into_iter()), [(Ts::new(1, 0), Ts::new(6, 0))]);
    }

    #[test]
    fn odd_clocks_draw_something() {
        let history = History {
            snapshots: vec![sample::snapshot(u32::MAX)],
            ranges: vec![range(u32::MAX, u32::MAX), range(0, 1)],
            ..History::default()
        };
        for now in [i64::MIN, 0, i64::MAX] {
            let now = UnixMillis(now);
            let timeline = Timeline {
                history: &history,
                now,
                span: Some(u64::MAX),
                page: "/".into(),
                restore: None,
            };
            let text = timeline.draw().into_string();
            assert!(!text.contains("NaN") && !text.contains("inf%"), "{text}");
        }
    }
}
