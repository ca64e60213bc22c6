//! How hard the members of a gzip file are tried: pure.
//!
//! Light compression takes less than half of the time. How much larger it makes a member depends on the data, so some
//! members are compressed both ways, and between them so many are compressed lightly that the whole file grows by
//! [`GROWTH`]: every one of what does not compress anyway, every tenth of ordinary documents, hardly any of logs.

use std::sync::atomic::{AtomicU32, Ordering};

/// How much larger a file may become.
const GROWTH: f64 = 0.003;
/// Of so many members one is compressed both ways.
const PROBED: u32 = 64;
/// Shares are kept in parts of this.
const WHOLE: u32 = 1 << 16;

/// How hard one member is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Effort {
    /// As small as the stock tools make it, and no slower than need be (docs/performance.md).
    #[default]
    Full,
    Light,
    /// Both ways, to learn what light costs.
    Probe,
}

/// What one stream has learnt.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The share of members to be compressed lightly.
    light: AtomicU32,
}

impl Pace {
    /// For the member of this number, if it is a whole one.
    pub(super) fn effort(&self, number: u32) -> Effort {
        let light = u64::from(self.light.load(Ordering::Relaxed));
        let due = |number: u64| number * light / u64::from(WHOLE);
        match u64::from(number) {
            _ if number.is_multiple_of(PROBED) => Effort::Probe,
            n if due(n + 1) > due(n) => Effort::Light,
            _ => Effort::Full,
        }
    }

    /// A member has these sizes when compressed so and so.
    pub(super) fn learn(&self, light: usize, full: usize) {
        let growth = light as f64 / full.max(1) as f64 - 1.0;
        let share = (GROWTH / growth.max(f64::EPSILON)).min(1.0);
        self.light.store((share * f64::from(WHOLE)) as u32, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_members_are_as_many_as_the_growth_allows() {
        let light = |sizes: Option<(usize, usize)>| {
            let pace = Pace::default();
            if let Some((light, full)) = sizes {
                pace.learn(light, full);
            }
            let all = (0..6400).map(|number| pace.effort(number));
            all.filter(|effort| *effort == Effort::Light).count()
        };
        assert_eq!(light(None), 0);
        assert_eq!(light(Some((1000, 1000))), 6300);
        assert_eq!(light(Some((999, 1000))), 6300);
        let tenth = light(Some((1030, 1000)));
        assert!((600..=640).contains(&tenth), "{tenth}");
        assert!(light(Some((1300, 1000))) < 70);
    }
}
