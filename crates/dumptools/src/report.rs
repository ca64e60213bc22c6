//! Where log lines go. Scripts parse them, so their text is the stock tools'; the command line adds the time and
//! writes them to standard error.

use std::{fmt, sync::Arc};

use bygone_base::UnixMillis;
use jiff::tz::TimeZone;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Shown unless `--quiet`.
    Always,
    /// Shown with `-v`.
    Info,
    /// Shown with `-vv`.
    Debug,
}

/// A sink of log lines. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    /// The last level shown; `None` shows nothing.
    shown: Option<Level>,
    sink: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Log {
    /// Lines up to `shown` go to `sink`, each without its line break.
    pub fn new(shown: Option<Level>, sink: impl Fn(&str) + Send + Sync + 'static) -> Log {
        Log { shown, sink: Arc::new(sink) }
    }

    /// Nothing is shown.
    pub fn silent() -> Log {
        Log::new(None, |_| ())
    }

    /// A line of this level.
    pub fn line(&self, level: Level, text: impl fmt::Display) {
        if self.shown.is_some_and(|shown| level <= shown) {
            (self.sink)(&text.to_string());
        }
    }

    /// A line that only `--quiet` hides.
    pub fn always(&self, text: impl fmt::Display) {
        self.line(Level::Always, text);
    }

    /// A line for `-v`.
    pub fn info(&self, text: impl fmt::Display) {
        self.line(Level::Info, text);
    }

    /// A line for `-vv`.
    pub fn debug(&self, text: impl fmt::Display) {
        self.line(Level::Debug, text);
    }
}

/// `1 document`, `2 documents`.
pub fn plural(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// `2026-11-20T08:42:11.468+0100`: local time with its offset, as the stock tools write it.
pub fn stamp(now: UnixMillis, zone: &TimeZone) -> String {
    let instant = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
    let local = instant.to_zoned(zone.clone());
    format!("{}", local.strftime("%Y-%m-%dT%H:%M:%S%.3f%z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_scripts_expect_them() {
        let shown =
            |zone: &str| stamp(UnixMillis(1_763_624_531_008), &TimeZone::get(zone).unwrap());
        assert_eq!(shown("UTC"), "2025-11-20T07:42:11.008+0000");
        assert_eq!(shown("Europe/Berlin"), "2025-11-20T08:42:11.008+0100");
        assert_eq!(shown("America/St_Johns"), "2025-11-20T04:12:11.008-0330");
    }
}
