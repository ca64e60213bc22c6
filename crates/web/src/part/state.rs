//! Words for states. Colour says the same as the word, and nothing else does.

use bygone_base::UnixMillis;
use bygone_catalog::record::{
    Actor, Alert, AlertKind, AlertStatus, RestoreJob, RestoreStatus, Role,
};
use bygone_control::{health::Standing, views::JobView};
use maud::{Markup, html};

/// How a state is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Busy,
    Bad,
    Still,
}

impl Mood {
    fn class(self) -> &'static str {
        match self {
            Mood::Good => "good",
            Mood::Busy => "busy",
            Mood::Bad => "bad",
            Mood::Still => "still",
        }
    }
}

/// A word with its colour.
pub(crate) fn badge(mood: Mood, word: &str) -> Markup {
    html! { span class={ "badge " (mood.class()) } { (word) } }
}

/// The state of a job in a word.
pub(crate) fn job(view: &JobView) -> (Mood, &'static str) {
    match view.standing {
        Standing::Inactive => (Mood::Still, "Inactive"),
        Standing::Stopped => (Mood::Still, "Stopped"),
        Standing::Terminating => (Mood::Busy, "Terminating"),
        Standing::Misconfigured => (Mood::Bad, "Misconfigured"),
        Standing::Starting => (Mood::Busy, "Starting"),
        Standing::Syncing => (Mood::Busy, "Initial sync"),
        Standing::Following => (Mood::Good, "Active"),
        Standing::Behind => (Mood::Bad, "Behind"),
        Standing::Silent => (Mood::Bad, "Agent silent"),
        Standing::Failing => (Mood::Bad, "Failing"),
    }
}

/// What is wrong with a job, in its own words.
pub(crate) fn complaint(view: &JobView) -> Option<&str> {
    let backup = view.live.as_ref().map(|live| &live.backup);
    let own = backup.and_then(|backup| backup.failure.as_deref().or(backup.resync.as_deref()));
    let silent = "no agent that serves it is heard: start one, or look at its log";
    own.or_else(|| (view.standing == Standing::Silent).then_some(silent))
}

/// The state of a restore in a word.
pub(crate) fn restore(job: &RestoreJob) -> (Mood, &'static str) {
    match job.status {
        RestoreStatus::InProgress if job.cancel => (Mood::Busy, "Cancelling"),
        RestoreStatus::InProgress => (Mood::Busy, "In progress"),
        RestoreStatus::Finished => (Mood::Good, "Finished"),
        RestoreStatus::Broken => (Mood::Bad, "Failed"),
        RestoreStatus::Killed => (Mood::Still, "Cancelled"),
    }
}

/// The state of an alert in a word.
pub(crate) fn alert(alert: &Alert, now: UnixMillis) -> (Mood, &'static str) {
    match alert.status {
        AlertStatus::Closed => (Mood::Still, "Closed"),
        AlertStatus::Acknowledged
            if alert.acknowledged.as_ref().is_some_and(|(_, until, _)| *until > now) =>
        {
            (Mood::Busy, "Acknowledged")
        }
        AlertStatus::Acknowledged | AlertStatus::Open => (Mood::Bad, "Open"),
    }
}

/// What is wrong, in words.
pub(crate) fn alert_kind(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::OplogBehind => "Oplog behind",
        AlertKind::ResyncRequired => "Resync required",
        AlertKind::BackupAgentDown => "Backup agent down",
        AlertKind::SourceUnavailable => "Source unavailable",
        AlertKind::DaemonDown => "Daemon down",
        AlertKind::LateSnapshot => "Late snapshot",
        AlertKind::SnapshotFailed => "Snapshot failed",
        AlertKind::StoreNearlyFull => "Store nearly full",
        AlertKind::GroomOverdue => "Groom overdue",
        AlertKind::VerificationFailed => "Verification failed",
        AlertKind::ClockSkew => "Clock skew",
    }
}

/// A role, in Ops Manager's words where it has one.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::GlobalOwner => "Global Owner",
        Role::GlobalBackupAdmin => "Global Backup Admin",
        Role::ProjectBackupAdmin => "Project Backup Admin",
        Role::ProjectRestore => "Project Restore",
        Role::ProjectReadOnly => "Project Read Only",
    }
}

/// Who did it.
pub(crate) fn actor(actor: &Actor) -> String {
    match actor {
        Actor::User(name) => name.clone(),
        Actor::ApiKey(key) => format!("API key {key}"),
        Actor::Agent(agent) => format!("agent {agent}"),
        Actor::System => "the server".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bygone_control::views::Live;

    use super::*;
    use crate::sample;

    #[test]
    fn a_job_that_fails_is_not_called_active() {
        let mut view = sample::job_view("prod");
        assert_eq!(job(&view), (Mood::Busy, "Starting"));
        let shown = badge(Mood::Good, "<b>").into_string();
        assert_eq!(shown, "<span class=\"badge good\">&lt;b&gt;</span>");
        // Colour and standing agree.
        for standing in [Standing::Behind, Standing::Silent, Standing::Failing, Standing::Following]
        {
            view.standing = standing;
            assert_eq!(job(&view).0 == Mood::Bad, standing.is_bad());
        }
        let mut live = Live::default();
        live.backup.resync = Some("the oplog rolled over".into());
        view.live = Some(live);
        assert_eq!(complaint(&view), Some("the oplog rolled over"));
        view.live = None;
        view.standing = Standing::Silent;
        assert!(complaint(&view).unwrap().contains("no agent"));
    }

    #[test]
    fn an_acknowledgement_ends() {
        let mut one = sample::alert("late");
        one.status = AlertStatus::Acknowledged;
        one.acknowledged = Some(("ann".into(), UnixMillis(100), String::new()));
        assert_eq!(alert(&one, UnixMillis(50)).1, "Acknowledged");
        assert_eq!(alert(&one, UnixMillis(150)).1, "Open");
    }
}
