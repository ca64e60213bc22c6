use std::{collections::BTreeMap, path::PathBuf};

use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use super::Upkeep;
use crate::{Id, Kind, Record, Sealed};

/// What is wrong. The words are Ops Manager's where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertKind {
    /// What is stored is too far behind the source.
    OplogBehind,
    /// Continuity is lost.
    ResyncRequired,
    /// No agent of a project with active jobs was heard for too long.
    BackupAgentDown,
    /// An agent is there, but cannot back the source up.
    SourceUnavailable,
    /// The daemon of an active job does not run.
    DaemonDown,
    /// The newest snapshot is too old for the schedule.
    LateSnapshot,
    /// A snapshot, or the job, failed.
    SnapshotFailed,
    /// A store is nearly full.
    StoreNearlyFull,
    /// Nothing was groomed for too long.
    GroomOverdue,
    /// What is stored is damaged, or a drill did not prove itself.
    VerificationFailed,
    /// Clocks of server, source or store disagree.
    ClockSkew,
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertStatus {
    /// It is wrong, and somebody was told.
    Open,
    /// Somebody knows.
    Acknowledged,
    /// It is right again.
    Closed,
}

/// An alert, from its opening to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Id.
    pub id: Id,
    /// Project; none where it is about the server or a store.
    pub project: Option<Id>,
    /// Job, where it is about one.
    pub job: Option<Id>,
    /// What it is about beside that: a store's id, or empty.
    pub target: String,
    /// What is wrong.
    pub kind: AlertKind,
    /// Status.
    pub status: AlertStatus,
    /// When it opened.
    pub created: UnixMillis,
    /// When it was last seen, or changed.
    pub updated: UnixMillis,
    /// When it closed.
    pub resolved: Option<UnixMillis>,
    /// When everybody was told how it stands.
    pub notified: Option<UnixMillis>,
    /// The ways by which that was told.
    #[serde(default)]
    pub told: Vec<String>,
    /// By whom it is acknowledged, until when, and what he said.
    pub acknowledged: Option<(String, UnixMillis, String)>,
    /// A line for people: what, on what, since when, what to do.
    pub message: String,
}

impl Record for Alert {
    const KIND: Kind = Kind("alert");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        self.project.as_ref().map_or("", Id::as_str)
    }
}

/// When something counts as wrong; seconds and percents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    /// OPLOG_BEHIND.
    pub oplog_behind_secs: u64,
    /// BACKUP_AGENT_DOWN.
    pub agent_down_secs: u64,
    /// DAEMON_DOWN.
    pub daemon_down_secs: u64,
    /// LATE_SNAPSHOT: percent of the interval.
    pub late_snapshot_percent: u64,
    /// STORE_NEARLY_FULL: percent of the store's limit, or of its disk.
    pub store_full_percent: u64,
    /// GROOM_OVERDUE.
    pub groom_overdue_secs: u64,
    /// CLOCK_SKEW.
    pub clock_skew_secs: u64,
}

impl Default for Thresholds {
    /// Ops Manager's where they are published, but an oplog that is five minutes behind is told.
    fn default() -> Self {
        Thresholds {
            oplog_behind_secs: 300,
            agent_down_secs: 300,
            daemon_down_secs: 900,
            late_snapshot_percent: 150,
            store_full_percent: 85,
            groom_overdue_secs: 7 * 86_400,
            clock_skew_secs: 60,
        }
    }
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Smtp {
    /// `smtp://host:587`, by STARTTLS (`?tls=opportunistic`: where it is offered, `?tls=none`: without), or `smtps://host`.
    pub url: String,
    /// User name.
    pub user: Option<String>,
    /// Password, sealed for [`Smtp::PLACE`].
    pub password: Option<Sealed>,
    /// Sender.
    pub from: String,
    /// Receivers.
    pub to: Vec<String>,
}

impl Smtp {
    /// Where the password is sealed for.
    pub const PLACE: &'static str = "settings/smtp";
}

/// What holds for the whole server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// When something counts as wrong.
    pub thresholds: Thresholds,
    /// URLs that alerts are posted to.
    pub webhooks: Vec<String>,
    /// Mail.
    pub smtp: Option<Smtp>,
    /// A program that gets the alert as JSON on its standard input.
    pub command: Option<PathBuf>,
    /// What grooms and checks may take.
    pub upkeep: Upkeep,
    /// Small facts by name, such as when something was last done.
    pub marks: BTreeMap<String, i64>,
}

impl Settings {
    /// The id of the one record.
    pub const ID: &'static str = "settings";
}

impl Record for Settings {
    const KIND: Kind = Kind("settings");

    fn id(&self) -> &str {
        Settings::ID
    }
}
