//! What a store held over time, as lines.

use bygone_base::ByteSize;
use bygone_catalog::record::UsageSample;
use maud::{Markup, html};

use crate::{
    format::{span, stamp},
    part::axis,
};

/// Points of a line: more are not seen.
const POINTS: usize = 240;
/// The height of the drawing's own scale.
const HEIGHT: f64 = 1000.0;

/// The picture of samples, newest first as the catalog gives them.
pub(crate) fn usage(samples: &[UsageSample], limit: Option<u64>) -> Markup {
    let mut samples: Vec<&UsageSample> = samples.iter().collect();
    samples.sort_by_key(|sample| sample.at);
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return html! { p.quiet { "No sample of its use has been taken yet." } };
    };
    if first.at == last.at {
        return html! { p.quiet { "One sample so far: a line needs two." } };
    }
    let (from, to) = (first.at.0, last.at.0);
    let most =
        samples.iter().map(|sample| sample.bytes.max(sample.living)).max().unwrap_or(1).max(1);
    let line = |of: fn(&UsageSample) -> u64| points(&samples, from, to, most, of);
    let secs = to.saturating_sub(from).unsigned_abs() / 1000;
    html! {
        figure.chart {
            svg role="img" aria-label={
                "From " (ByteSize(first.bytes)) " to " (ByteSize(last.bytes)) " within " (span(secs))
            } {
                svg x="0" y="8" width="100%" height="120" viewBox="0 0 1000 1000" preserveAspectRatio="none" {
                    polyline.total points=(line(|sample| sample.bytes)) {}
                    polyline.living points=(line(|sample| sample.living)) {}
                }
                text x="0" y="18" { (ByteSize(most)) }
                line.grid x1="0" x2="100%" y1="128" y2="128" {}
                (axis::times(from, to, 146))
            }
            figcaption.quiet {
                span.key.total { "all objects, now " (ByteSize(last.bytes)) }
                span.key.living { "needed by something kept, now " (ByteSize(last.living)) }
                @if let Some(limit) = limit { " · full at " (ByteSize(limit)) }
                " · newest sample " (stamp(last.at)) " UTC"
            }
        }
    }
}

fn points(
    samples: &[&UsageSample],
    from: i64,
    to: i64,
    most: u64,
    of: fn(&UsageSample) -> u64,
) -> String {
    let step = samples.len().div_ceil(POINTS).max(1);
    let width = to.saturating_sub(from).max(1) as f64;
    let last = samples.len().saturating_sub(1);
    let chosen = samples.iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last);
    let point = |(_, sample): (usize, &&UsageSample)| {
        let x = sample.at.0.saturating_sub(from) as f64 / width * 1000.0;
        let y = HEIGHT - of(sample) as f64 / most as f64 * (HEIGHT - 20.0);
        format!("{x:.1},{y:.1}")
    };
    chosen.map(point).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use bygone_base::UnixMillis;

    use super::*;
    use crate::sample;

    fn samples(n: u64) -> Vec<UsageSample> {
        let sample = |at: u64| UsageSample {
            id: sample::id(at),
            store: "s".into(),
            at: UnixMillis(at as i64 * 3_600_000),
            bytes: at * 1000,
            living: at * 500,
            jobs: Vec::new(),
        };
        (0..n).rev().map(sample).collect()
    }

    #[test]
    fn lines_need_two_samples() {
        assert!(usage(&[], None).into_string().contains("No sample"));
        assert!(usage(&samples(1), None).into_string().contains("needs two"));
        let text = usage(&samples(2), Some(1 << 30)).into_string();
        assert!(text.contains("points=\"0.0,1000.0 1000.0,20.0\""), "{text}");
        assert!(text.contains("full at 1.0 GiB"), "{text}");
    }

    #[test]
    fn many_samples_keep_the_newest() {
        let all = samples(5000);
        let mut sorted: Vec<_> = all.iter().collect();
        sorted.reverse();
        let text = points(&sorted, 0, sorted[4999].at.0, 4_999_000, |sample| sample.bytes);
        assert!(text.split(' ').count() <= POINTS + 1);
        assert!(text.ends_with("1000.0,20.0"), "{text}");
    }
}
