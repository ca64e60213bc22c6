//! Snapshot schedules, within Ops Manager's limits; `/api/v2` has wider ones.

use axum::http::Method;
use bygone_access::Right;
use bygone_base::UnixMillis;
use bygone_catalog::record::{Job, ScheduleSpec};
use bygone_control::JobEdit;
use serde::{Deserialize, Serialize};

use super::{
    body::{Known, Num, reads},
    words::{self, Words},
};
use crate::{
    call::{Call, Link},
    failure::Failure,
    route::{Need, Route, get},
    schema::JsonSchema,
    v1::BASE,
};

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// A year: nobody's window is longer.
const LONGEST_WINDOW: u64 = 8760;
const DAYS: [&str; 7] =
    ["SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"];

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SnapshotSchedule {
    group_id: String,
    cluster_id: String,
    /// Whole hours, rounded up where /api/v2 set something finer.
    snapshot_interval_hours: u64,
    /// Whole days, rounded up.
    snapshot_retention_days: u64,
    daily_snapshot_retention_days: u16,
    weekly_snapshot_retention_weeks: u16,
    monthly_snapshot_retention_months: u16,
    /// Whole hours, rounded up.
    point_in_time_window_hours: u64,
    reference_hour_of_day: i8,
    reference_minute_of_hour: i8,
    /// That of now, where the zone has summer time.
    reference_time_zone_offset: String,
    /// As it was set; without effect: every snapshot is whole, and stores only what changed.
    full_incremental_day_of_week: String,
    /// As it was set, 0 where it was not; without effect: it is for sharded clusters of old.
    cluster_checkpoint_interval_min: u32,
    links: Vec<Link>,
}

/// What of a schedule changes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SchedulePatch {
    /// 6, 8, 12 or 24.
    snapshot_interval_hours: Option<Num<u64>>,
    /// 1 to 5; to 30 with an interval of 24.
    snapshot_retention_days: Option<Num<u64>>,
    /// 0 to 365.
    daily_snapshot_retention_days: Option<Num<u16>>,
    /// 0 to 52.
    weekly_snapshot_retention_weeks: Option<Num<u16>>,
    /// 0 to 84.
    monthly_snapshot_retention_months: Option<Num<u16>>,
    /// 1 to 8760.
    point_in_time_window_hours: Option<Num<u64>>,
    /// 0 to 23.
    reference_hour_of_day: Option<Num<i8>>,
    /// 0 to 59.
    reference_minute_of_hour: Option<Num<i8>>,
    /// Z, or an offset such as +0200.
    reference_time_zone_offset: Option<String>,
    /// 15, 30 or 60; 0 for none. Kept and shown, without effect.
    cluster_checkpoint_interval_min: Option<Num<u32>>,
    /// SUNDAY to SATURDAY. Kept and shown, without effect.
    full_incremental_day_of_week: Option<String>,
}

impl Known for SchedulePatch {
    const ECHOED: &'static [&'static str] = &["groupId", "projectId", "clusterId", "links"];
}

pub(super) fn routes() -> Vec<Route> {
    let path = "/api/public/v1.0/groups/{groupId}/backupConfigs/{clusterId}/snapshotSchedule";
    vec![
        get(path, Need::Project(Right::Look), "A cluster's snapshot schedule.", one),
        reads(
            Method::PATCH,
            path,
            Need::Project(Right::Backup),
            "Changes a cluster's snapshot schedule. Existing snapshots keep their expiry.",
            patch,
        ),
    ]
}

async fn one(call: Call) -> Result<SnapshotSchedule, Failure> {
    let job = call.job("clusterId").await?.job;
    let words = words::read(&call.control, &job).await?;
    schedule(&call, job, words)
}

async fn patch(call: Call, body: SchedulePatch) -> Result<SnapshotSchedule, Failure> {
    let job = call.job("clusterId").await?.job;
    let shown = offset(&job.schedule.zone, call.control.now())?;
    let spec = changed(&body, &job.schedule, &shown)?;
    let old = words::read(&call.control, &job).await?;
    let words = reworded(&body, &old)?;
    let edit = JobEdit { schedule: Some(spec), ..JobEdit::default() };
    let job = call.control.edit_job(&job.project, &job.id, edit, &call.by()).await?;
    if words != old {
        words::keep(&call.control, words.clone()).await?;
    }
    schedule(&call, job, words)
}

/// What has no effect, with the changes.
fn reworded(body: &SchedulePatch, old: &Words) -> Result<Words, Failure> {
    let mut words = old.clone();
    if let Some(day) = &body.full_incremental_day_of_week {
        let day = day.to_ascii_uppercase();
        if !DAYS.contains(&day.as_str()) {
            let why = "it is a day of the week, such as SUNDAY";
            return Err(Failure::invalid("fullIncrementalDayOfWeek", why));
        }
        words.full_day = day;
    }
    if let Some(Num(minutes)) = body.cluster_checkpoint_interval_min {
        if ![0, 15, 30, 60].contains(&minutes) {
            let why = "checkpoints are 15, 30 or 60 minutes apart";
            return Err(Failure::invalid("clusterCheckpointIntervalMin", why));
        }
        words.checkpoint_min = minutes;
    }
    Ok(words)
}

fn schedule(call: &Call, job: Job, words: Words) -> Result<SnapshotSchedule, Failure> {
    let spec = &job.schedule;
    let config = format!("{BASE}/groups/{}/backupConfigs/{}", job.project, job.id);
    Ok(SnapshotSchedule {
        snapshot_interval_hours: spec.interval_secs.div_ceil(HOUR),
        snapshot_retention_days: spec.base_secs.div_ceil(DAY),
        daily_snapshot_retention_days: spec.days,
        weekly_snapshot_retention_weeks: spec.weeks,
        monthly_snapshot_retention_months: spec.months,
        point_in_time_window_hours: spec.window_secs.div_ceil(HOUR),
        reference_hour_of_day: spec.hour,
        reference_minute_of_hour: spec.minute,
        reference_time_zone_offset: offset(&spec.zone, call.control.now())?,
        full_incremental_day_of_week: words.full_day,
        cluster_checkpoint_interval_min: words.checkpoint_min,
        links: vec![
            call.link("self", &format!("{config}/snapshotSchedule")),
            call.link("backupConfig", &config),
        ],
        group_id: job.project.into(),
        cluster_id: job.id.into(),
    })
}

/// The offset of a zone at a moment, as Ops Manager writes it: `+0200`.
fn offset(zone: &str, now: UnixMillis) -> Result<String, Failure> {
    let at = jiff::Timestamp::from_millisecond(now.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let seconds = bygone_schedule::zone(zone)?.to_offset(at).seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    Ok(format!("{sign}{:02}{:02}", minutes / 60, minutes % 60))
}

/// The schedule with the changes, checked as documented. What is as it was `shown` is left as it is: a client may send
/// back what it read, which is coarser than what is kept.
fn changed(body: &SchedulePatch, old: &ScheduleSpec, shown: &str) -> Result<ScheduleSpec, Failure> {
    let mut spec = old.clone();
    let number = |number: Option<Num<u64>>| number.map(|Num(number)| number);
    if let Some(hours) = number(body.snapshot_interval_hours).filter(|h| *h != rounded(old)) {
        if ![6, 8, 12, 24].contains(&hours) {
            let why = "snapshots are 6, 8, 12 or 24 hours apart";
            return Err(
                Failure::invalid("snapshotIntervalHours", why).hint("/api/v2 takes any interval")
            );
        }
        spec.interval_secs = hours * HOUR;
    }
    let most = if spec.interval_secs >= DAY { 30 } else { 5 };
    let days = number(body.snapshot_retention_days);
    if let Some(days) = days.filter(|d| *d != old.base_secs.div_ceil(DAY)) {
        within("snapshotRetentionDays", days, 1, most)?;
        spec.base_secs = days * DAY;
    }
    let tiers = [
        ("dailySnapshotRetentionDays", body.daily_snapshot_retention_days, 365, &mut spec.days),
        ("weeklySnapshotRetentionWeeks", body.weekly_snapshot_retention_weeks, 52, &mut spec.weeks),
        (
            "monthlySnapshotRetentionMonths",
            body.monthly_snapshot_retention_months,
            84,
            &mut spec.months,
        ),
    ];
    for (name, wanted, most, kept) in tiers {
        if let Some(Num(wanted)) = wanted {
            within(name, wanted.into(), 0, most)?;
            *kept = wanted;
        }
    }
    let hours = number(body.point_in_time_window_hours);
    if let Some(hours) = hours.filter(|h| *h != old.window_secs.div_ceil(HOUR)) {
        within("pointInTimeWindowHours", hours, 1, LONGEST_WINDOW)?;
        spec.window_secs = hours * HOUR;
    }
    reference(body, &mut spec, shown)?;
    Ok(spec)
}

fn reference(body: &SchedulePatch, spec: &mut ScheduleSpec, shown: &str) -> Result<(), Failure> {
    if let Some(Num(hour)) = body.reference_hour_of_day {
        within("referenceHourOfDay", u64::try_from(hour).unwrap_or(u64::MAX), 0, 23)?;
        spec.hour = hour;
    }
    if let Some(Num(minute)) = body.reference_minute_of_hour {
        within("referenceMinuteOfHour", u64::try_from(minute).unwrap_or(u64::MAX), 0, 59)?;
        spec.minute = minute;
    }
    if let Some(zone) = body.reference_time_zone_offset.as_ref().filter(|zone| *zone != shown) {
        bygone_schedule::zone(zone)
            .map_err(|e| Failure::from(e).about("referenceTimeZoneOffset"))?;
        spec.zone.clone_from(zone);
    }
    Ok(())
}

fn rounded(spec: &ScheduleSpec) -> u64 {
    spec.interval_secs.div_ceil(HOUR)
}

fn within(name: &str, n: u64, least: u64, most: u64) -> Result<(), Failure> {
    if (least..=most).contains(&n) {
        return Ok(());
    }
    Err(Failure::invalid(name, format!("{name} is {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: &str) -> Result<ScheduleSpec, Failure> {
        changed(&serde_json::from_str(json).unwrap(), &ScheduleSpec::default(), "+0000")
    }

    #[test]
    fn limits_are_the_documented_ones() {
        for good in [
            r#"{"snapshotIntervalHours":24,"snapshotRetentionDays":30}"#,
            r#"{"snapshotIntervalHours":8,"snapshotRetentionDays":5}"#,
            r#"{"dailySnapshotRetentionDays":365,"weeklySnapshotRetentionWeeks":52}"#,
            r#"{"monthlySnapshotRetentionMonths":84,"pointInTimeWindowHours":1}"#,
            r#"{"referenceHourOfDay":23,"referenceMinuteOfHour":59,"referenceTimeZoneOffset":"+0530"}"#,
            "{}",
        ] {
            let spec = patch(good).unwrap();
            assert!(spec.schedule().is_ok(), "{good}");
        }
        for (bad, parameter) in [
            (r#"{"snapshotIntervalHours":7}"#, "snapshotIntervalHours"),
            (r#"{"snapshotIntervalHours":0}"#, "snapshotIntervalHours"),
            (r#"{"snapshotRetentionDays":6}"#, "snapshotRetentionDays"),
            (r#"{"snapshotRetentionDays":0}"#, "snapshotRetentionDays"),
            (r#"{"dailySnapshotRetentionDays":366}"#, "dailySnapshotRetentionDays"),
            (r#"{"weeklySnapshotRetentionWeeks":53}"#, "weeklySnapshotRetentionWeeks"),
            (r#"{"monthlySnapshotRetentionMonths":85}"#, "monthlySnapshotRetentionMonths"),
            (r#"{"pointInTimeWindowHours":0}"#, "pointInTimeWindowHours"),
            (r#"{"referenceHourOfDay":24}"#, "referenceHourOfDay"),
            (r#"{"referenceMinuteOfHour":-1}"#, "referenceMinuteOfHour"),
            (r#"{"referenceTimeZoneOffset":"+99"}"#, "referenceTimeZoneOffset"),
        ] {
            let said = serde_json::to_value(patch(bad).unwrap_err().document()).unwrap();
            assert_eq!(said["parameters"][0], parameter, "{bad}");
            assert_eq!(said["error"], 400, "{bad}");
        }
    }

    #[test]
    fn what_was_read_can_be_sent_back() {
        let zone = "Europe/Berlin".to_owned();
        let fine =
            ScheduleSpec { interval_secs: 300, base_secs: 7 * DAY, zone, ..Default::default() };
        let echo = r#"{"snapshotIntervalHours":"1","snapshotRetentionDays":7,
            "referenceTimeZoneOffset":"+0100"}"#;
        let body = serde_json::from_str(echo).unwrap();
        assert_eq!(changed(&body, &fine, "+0100").unwrap(), fine);
        assert_eq!(changed(&body, &fine, "+0200").unwrap().zone, "+0100");
    }

    #[test]
    fn zones_are_written_as_offsets() {
        let summer = UnixMillis(1_782_864_000_000);
        assert_eq!(offset("Europe/Berlin", summer).unwrap(), "+0200");
        assert_eq!(offset("-03:30", summer).unwrap(), "-0330");
        assert_eq!(offset("UTC", summer).unwrap(), "+0000");
    }
}
