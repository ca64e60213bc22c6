//! Schedules and retention as they are written.

use bygone_catalog::record::ScheduleSpec;
use serde::{Deserialize, Serialize};

use crate::schema::JsonSchema;

/// When snapshots are taken and how long they are kept. What is left out is as in a new job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Schedule {
    /// Seconds from one to the next.
    interval_secs: u64,
    /// Seconds that every snapshot is kept.
    base_secs: u64,
    /// The first of a day, for so many days; 0 is off.
    days: u16,
    /// The first of a week, for so many weeks.
    weeks: u16,
    /// The first of a month, for so many months.
    months: u16,
    /// The first of a year, for so many years.
    years: u16,
    /// Hour at which the day begins.
    hour: i8,
    /// Minute at which the day begins.
    minute: i8,
    /// A time zone's name, or an offset such as +0200.
    zone: String,
    /// Every second of this long can be restored.
    window_secs: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        ScheduleSpec::default().into()
    }
}

impl From<ScheduleSpec> for Schedule {
    fn from(spec: ScheduleSpec) -> Self {
        let ScheduleSpec {
            interval_secs,
            base_secs,
            days,
            weeks,
            months,
            years,
            hour,
            minute,
            zone,
            window_secs,
        } = spec;
        Schedule {
            interval_secs,
            base_secs,
            days,
            weeks,
            months,
            years,
            hour,
            minute,
            zone,
            window_secs,
        }
    }
}

impl From<Schedule> for ScheduleSpec {
    fn from(body: Schedule) -> Self {
        let Schedule {
            interval_secs,
            base_secs,
            days,
            weeks,
            months,
            years,
            hour,
            minute,
            zone,
            window_secs,
        } = body;
        ScheduleSpec {
            interval_secs,
            base_secs,
            days,
            weeks,
            months,
            years,
            hour,
            minute,
            zone,
            window_secs,
        }
    }
}
