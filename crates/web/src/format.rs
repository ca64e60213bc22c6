//! Numbers and moments as people read them. What is exact stands in titles.

use bygone_base::{ByteSize, Ts, UnixMillis};
use maud::{Markup, html};

/// Two units at most: `3 d 4 h`, `12 min`, `42 s`.
pub(crate) fn span(secs: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let Some(at) = UNITS.iter().position(|(unit, _)| secs >= *unit) else {
        return "0 s".to_owned();
    };
    let (unit, name) = UNITS[at];
    let whole = secs / unit;
    let Some((small, small_name)) = UNITS.get(at + 1) else {
        return format!("{whole} {name}");
    };
    // What is long is not told to the minute.
    match (secs % unit) / small {
        0 => format!("{whole} {name}"),
        _ if whole >= 10 => format!("{whole} {name}"),
        rest => format!("{whole} {name} {rest} {small_name}"),
    }
}

/// `3 min ago`, `in 2 h`, `now`.
pub(crate) fn ago(now: UnixMillis, then: UnixMillis) -> String {
    let passed = now.0.saturating_sub(then.0) / 1000;
    match passed {
        -1..=1 => "now".to_owned(),
        2.. => format!("{} ago", span(passed.unsigned_abs())),
        _ => format!("in {}", span(passed.unsigned_abs())),
    }
}

/// `2026-11-20 14:30:05`, in UTC.
pub(crate) fn stamp(at: UnixMillis) -> String {
    let text = at.to_rfc3339_seconds();
    text.replace('T', " ").trim_end_matches('Z').to_owned()
}

/// A moment of ours: how long ago, the moment itself in the title. (Where nothing can be pointed at, styles show it.)
pub(crate) fn age(now: UnixMillis, then: UnixMillis) -> Markup {
    html! {
        time datetime=(then.to_rfc3339_seconds()) title={ (stamp(then)) " UTC" } {
            (ago(now, then)) span.date { " (" (stamp(then)) " UTC)" }
        }
    }
}

/// A moment of ours, with its age in the title.
pub(crate) fn moment(now: UnixMillis, then: UnixMillis) -> Markup {
    html! { time datetime=(then.to_rfc3339_seconds()) title=(ago(now, then)) { (stamp(then)) } }
}

/// A moment of the cluster, with its timestamp in the title.
pub(crate) fn cluster_moment(ts: Ts) -> Markup {
    html! { time datetime=(ts.to_rfc3339()) title={ "oplog timestamp " (ts) } { (stamp(millis(ts))) } }
}

/// The second of a cluster's timestamp.
pub(crate) fn millis(ts: Ts) -> UnixMillis {
    UnixMillis(i64::from(ts.secs()) * 1000)
}

/// Bytes, the exact number in the title.
pub(crate) fn bytes(n: u64) -> Markup {
    html! { span title={ (grouped(n)) " bytes" } { (ByteSize(n)) } }
}

/// Digits in groups of three.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun, which takes an s where there is not one.
pub(crate) fn count(n: u64, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {noun}{s}", grouped(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let table = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3599, "59 min"),
            (5400, "1 h 30 min"),
            (86_400 + 7200, "1 d 2 h"),
            (40 * 86_400 + 7200, "40 d"),
        ];
        for (secs, text) in table {
            assert_eq!(span(secs), text, "{secs}");
        }
    }

    #[test]
    fn ages_point_both_ways() {
        let at = UnixMillis;
        assert_eq!(ago(at(100_000), at(40_000)), "1 min ago");
        assert_eq!(ago(at(40_000), at(100_000)), "in 1 min");
        assert_eq!(ago(at(100_900), at(100_000)), "now");
        assert_eq!(
            ago(at(i64::MAX), at(i64::MIN)),
            format!("{} ago", span(i64::MAX as u64 / 1000))
        );
    }

    #[test]
    fn exact_values_are_in_titles() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
        assert_eq!(count(1, "snapshot"), "1 snapshot");
        assert_eq!(count(0, "snapshot"), "0 snapshots");
        assert_eq!(bytes(1536).into_string(), "<span title=\"1,536 bytes\">1.5 KiB</span>");
        assert_eq!(
            cluster_moment(Ts::new(1_795_170_600, 4)).into_string(),
            "<time datetime=\"2026-11-20T10:30:00Z\" title=\"oplog timestamp 1795170600:4\">2026-11-20 10:30:00</time>"
        );
    }
}
