use std::time::Duration;

use bygone_base::{Result, UnixMillis};
use bygone_schedule::{Reference, Retention, Schedule, zone};
use serde::{Deserialize, Serialize};

use crate::{Id, Kind, Record, Sealed};

/// What a job is meant to do. (What it is doing is in the status of whoever runs it.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// Nothing is kept, nothing is done.
    Inactive,
    /// Snapshots are kept and taken, the oplog is stored.
    Active,
    /// Snapshots are kept until they expire; nothing new.
    Stopped,
    /// Everything it stored is being deleted; then it is inactive.
    Terminating,
    /// Snapshots are kept, the oplog is stored, no snapshots are taken: a region is missing.
    Misconfigured,
}

impl JobState {
    /// Whether what a job stored is kept.
    #[must_use]
    pub fn keeps_data(self) -> bool {
        !matches!(self, JobState::Inactive | JobState::Terminating)
    }
}

/// Where the data comes from, and what of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The URI, sealed for `job/ID`.
    pub uri: Sealed,
    /// The URI without secrets, to be shown.
    pub shown: String,
    /// Only these namespaces, where not empty.
    pub include: Vec<String>,
    /// All but these.
    pub exclude: Vec<String>,
    /// `host:port` to read from.
    pub member: Option<String>,
    /// `NAME=VALUE` of the members to read from.
    pub member_tag: Option<String>,
    /// Bytes of documents per second that an initial sync may read.
    pub throttle: Option<u64>,
    /// Ranges copied at once.
    pub workers: u32,
}

/// The stores of a job, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStores {
    /// Blocks and snapshots.
    pub snapshot: String,
    /// Oplog slices.
    pub oplog: String,
    /// Records of initial syncs.
    pub sync: String,
}

impl JobStores {
    /// Whether something of the job is in this store.
    pub fn holds(&self, store: &str) -> bool {
        [&self.snapshot, &self.oplog, &self.sync].iter().any(|id| *id == store)
    }
}

/// When snapshots are taken and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// From one to the next.
    pub interval_secs: u64,
    /// Every snapshot is kept so long.
    pub base_secs: u64,
    /// The first of a day, for so many days; 0 is off.
    pub days: u16,
    /// The first of a week, for so many weeks.
    pub weeks: u16,
    /// The first of a month, for so many months.
    pub months: u16,
    /// The first of a year, for so many years.
    pub years: u16,
    /// Hour at which the day begins.
    pub hour: i8,
    /// Minute at which the day begins.
    pub minute: i8,
    /// A time zone's name, or an offset such as `+0200`.
    pub zone: String,
    /// Every second of this long can be restored.
    pub window_secs: u64,
}

impl Default for ScheduleSpec {
    fn default() -> Self {
        let Schedule { interval, reference, retention } = Schedule::default();
        ScheduleSpec {
            interval_secs: interval.as_secs(),
            base_secs: retention.base.as_secs(),
            days: retention.days,
            weeks: retention.weeks,
            months: retention.months,
            years: retention.years,
            hour: reference.hour,
            minute: reference.minute,
            zone: "UTC".to_owned(),
            window_secs: 86_400,
        }
    }
}

/// What a job keeps by rules of its own, beside what its schedule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// The newest so many snapshots.
    pub last: Option<u32>,
    /// Those younger than this.
    pub within_secs: Option<u64>,
    /// Whether each snapshot is given the time that the schedule's retention says.
    pub tiers: bool,
    /// Packs go when nothing has needed them for so long.
    pub groom_delay_secs: u64,
}

impl ScheduleSpec {
    /// The schedule, checked.
    ///
    /// # Errors
    /// Usage: something is out of its limits.
    pub fn schedule(&self) -> Result<Schedule> {
        let time = format!("{:02}:{:02}", self.hour, self.minute);
        let schedule = Schedule {
            interval: Duration::from_secs(self.interval_secs),
            reference: Reference::parse(&time, zone(&self.zone)?)?,
            retention: Retention {
                base: Duration::from_secs(self.base_secs),
                days: self.days,
                weeks: self.weeks,
                months: self.months,
                years: self.years,
            },
        };
        schedule.check()?;
        Ok(schedule)
    }
}

/// What was asked for, counted: who does it notes the count that he has served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// New initial syncs.
    pub resync: u64,
    /// How many of them an agent has begun with.
    #[serde(default)]
    pub resync_done: u64,
    /// Snapshots outside the schedule.
    pub snapshot: u64,
    /// How many of them the newest one that was taken for them serves.
    #[serde(default)]
    pub snapshot_done: u64,
    /// For how many days those that were not served yet are to be kept at least; where not given, the schedule says it.
    #[serde(default)]
    pub snapshot_days: Option<u32>,
}

/// A restore that is done again and again, to know that it can be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// The scratch server, sealed for `drill/ID` of the job. What is there is dropped.
    pub to: Sealed,
    /// The URI without secrets.
    pub shown: String,
    /// From one to the next.
    pub every_secs: u64,
    /// When the last one began.
    pub last: Option<UnixMillis>,
}

/// A moment that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The moment.
    pub at: UnixMillis,
    /// What the clock showed when it was announced.
    pub seen: UnixMillis,
}

/// A backup job: one cluster of a project (Ops Manager's backup config).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Id; also that of the cluster.
    pub id: Id,
    /// Project.
    pub project: Id,
    /// Name in the stores; unique among all jobs.
    pub name: String,
    /// The cluster's name for people.
    pub cluster: String,
    /// The replica set's name, once an agent has seen it.
    pub set: Option<String>,
    /// State.
    pub state: JobState,
    /// Since when it is in it.
    pub since: UnixMillis,
    /// When it was made.
    pub created: UnixMillis,
    /// Source.
    pub source: Source,
    /// Stores.
    pub stores: JobStores,
    /// Schedule and retention.
    pub schedule: ScheduleSpec,
    /// The next snapshot as it was announced when the schedule was last changed: it does not come earlier.
    #[serde(default)]
    pub announced: Option<Announced>,
    /// What it keeps by rules of its own; the schedule alone says it where not given.
    #[serde(default)]
    pub keep: Option<Keeping>,
    /// Requests.
    pub requests: Requests,
    /// Regular restores.
    pub drill: Option<Drill>,
    /// What of the state's change is still to be done, in words; set while it is.
    pub message: Option<String>,
}

impl Record for Job {
    const KIND: Kind = Kind("job");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        self.project.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_schedules_default() {
        assert_eq!(ScheduleSpec::default().schedule().unwrap(), Schedule::default());
        let bad = ScheduleSpec { weeks: 99, ..ScheduleSpec::default() };
        assert!(bad.schedule().is_err());
        let bad = ScheduleSpec { hour: 24, ..ScheduleSpec::default() };
        assert!(bad.schedule().is_err());
    }
}
