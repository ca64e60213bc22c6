//! What counts as wrong, and what becomes of alerts. Pure.

use bygone_base::UnixMillis;
use bygone_catalog::{
    Id,
    record::{Alert, AlertKind, AlertStatus, Thresholds},
};

/// What is known of everything at one moment.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Of active jobs.
    pub jobs: Vec<JobFacts>,
    /// Of stores that jobs use.
    pub stores: Vec<StoreFacts>,
}

/// What is known of an active job.
#[derive(Debug, Clone)]
pub struct JobFacts {
    /// Job.
    pub job: Id,
    /// Project.
    pub project: Id,
    /// Name for people.
    pub cluster: String,
    /// Since when it is active.
    pub since: UnixMillis,
    /// When an agent that serves it was last heard.
    pub agent_heard: Option<UnixMillis>,
    /// Why its agent cannot serve it.
    pub agent_problem: Option<String>,
    /// Until when its daemon was sure to run.
    pub daemon_until: Option<UnixMillis>,
    /// Its initial sync is done.
    pub synced: bool,
    /// Seconds between what is stored and now, or the source's newest where that is more.
    pub behind_secs: Option<u64>,
    /// Moment of the newest snapshot.
    pub snapshot: Option<UnixMillis>,
    /// From one snapshot to the next.
    pub interval_secs: u64,
    /// Why a resync is needed.
    pub resync: Option<String>,
    /// Why the daemon stopped.
    pub failure: Option<String>,
    /// What the newest check, or the newest drill, found damaged.
    pub damage: Option<String>,
    /// The agent's clock minus ours.
    pub skew_ms: i64,
}

/// What is known of a store.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    /// Its id.
    pub id: String,
    /// Bytes used, of how many there may be.
    pub used: Option<(u64, u64)>,
    /// When it was last groomed; when a job began to use it, where never.
    pub groomed: UnixMillis,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What.
    pub kind: AlertKind,
    /// Of which project.
    pub project: Option<Id>,
    /// Of which job.
    pub job: Option<Id>,
    /// Of what else.
    pub target: String,
    /// A line for people.
    pub message: String,
}

impl Condition {
    /// As a new alert.
    pub(super) fn open(self, id: Id, now: UnixMillis) -> Alert {
        Alert {
            id,
            project: self.project,
            job: self.job,
            target: self.target,
            kind: self.kind,
            status: AlertStatus::Open,
            created: now,
            updated: now,
            resolved: None,
            notified: None,
            acknowledged: None,
            message: self.message,
        }
    }

    fn is(&self, alert: &Alert) -> bool {
        self.kind == alert.kind && self.job == alert.job && self.target == alert.target
    }
}

/// Everything that is wrong at `now`.
pub fn conditions(facts: &Facts, limits: &Thresholds, now: UnixMillis) -> Vec<Condition> {
    let of_jobs = facts.jobs.iter().flat_map(|job| of_job(job, limits, now));
    let of_stores = facts.stores.iter().flat_map(|store| of_store(store, limits, now));
    of_jobs.chain(of_stores).collect()
}

fn of_job(job: &JobFacts, limits: &Thresholds, now: UnixMillis) -> Vec<Condition> {
    let mut wrong = Vec::new();
    let name = &job.cluster;
    let mut say = |kind, message| {
        wrong.push(Condition {
            kind,
            project: Some(job.project.clone()),
            job: Some(job.job.clone()),
            target: String::new(),
            message,
        });
    };
    let heard = job.agent_heard.unwrap_or(job.since).max(job.since);
    if past(now, heard, limits.agent_down_secs) {
        let since = heard.to_rfc3339_seconds();
        let message =
            format!("no agent serves {name} since {since}: start one, or look at its log");
        say(AlertKind::BackupAgentDown, message);
    } else if let Some(why) = &job.agent_problem
        && !job.synced
        && past(now, job.since, limits.agent_down_secs)
    {
        // Once there is something stored, how far that is behind says it better.
        let message = format!("the source of {name} cannot be backed up: {why}");
        say(AlertKind::SourceUnavailable, message);
    }
    let ran = job.daemon_until.unwrap_or(job.since).max(job.since);
    if past(now, ran, limits.daemon_down_secs) {
        let since = ran.to_rfc3339_seconds();
        say(AlertKind::DaemonDown, format!("no daemon runs {name} since {since}"));
    }
    if let Some(behind) = job.behind_secs.filter(|behind| *behind > limits.oplog_behind_secs)
        && job.synced
    {
        let message = match &job.agent_problem {
            Some(problem) => format!("the oplog of {name} is {behind} s behind: {problem}"),
            None => format!("the oplog of {name} is {behind} s behind"),
        };
        say(AlertKind::OplogBehind, message);
    }
    if let Some(why) = &job.resync {
        say(AlertKind::ResyncRequired, format!("backup of {name} requires a resync: {why}"));
    }
    let late = job.interval_secs.saturating_mul(limits.late_snapshot_percent) / 100;
    if let Some(taken) = job.snapshot.filter(|taken| past(now, *taken, late)) {
        let last = taken.to_rfc3339_seconds();
        let message = format!("the newest snapshot of {name} is of {last}: behind its schedule");
        say(AlertKind::LateSnapshot, message);
    }
    if let Some(why) = &job.failure {
        say(AlertKind::SnapshotFailed, format!("backup of {name} fails: {why}"));
    }
    if let Some(damage) = &job.damage {
        say(AlertKind::VerificationFailed, format!("{name}: {damage}"));
    }
    let skew = job.skew_ms.unsigned_abs() / 1000;
    if skew > limits.clock_skew_secs {
        let message =
            format!("the clock of the agent of {name} differs by {skew} s from the server's");
        say(AlertKind::ClockSkew, message);
    }
    wrong
}

fn of_store(store: &StoreFacts, limits: &Thresholds, now: UnixMillis) -> Vec<Condition> {
    let mut wrong = Vec::new();
    let mut say = |kind, message| {
        wrong.push(Condition { kind, project: None, job: None, target: store.id.clone(), message });
    };
    if let Some((used, room)) = store.used {
        let percent = used.saturating_mul(100).checked_div(room).unwrap_or(0);
        if percent >= limits.store_full_percent {
            let message = format!("store {} is {percent} % full", store.id);
            say(AlertKind::StoreNearlyFull, message);
        }
    }
    if past(now, store.groomed, limits.groom_overdue_secs) {
        let since = store.groomed.to_rfc3339_seconds();
        let message = format!("store {} was not groomed since {since}", store.id);
        say(AlertKind::GroomOverdue, message);
    }
    wrong
}

/// Whether more than `secs` have passed since `then`.
fn past(now: UnixMillis, then: UnixMillis, secs: u64) -> bool {
    now.since(then) > i64::try_from(secs).unwrap_or(i64::MAX / 1000).saturating_mul(1000)
}

/// What is to be done with alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A new one.
    Open(Condition),
    /// It lasts, but reads differently.
    Update(Id, String),
    /// Its acknowledgement is over, and it lasts.
    Reopen(Id),
    /// It is right again.
    Close(Id),
}

/// Alerts follow what is wrong: one for each thing, which is told when it opens and when it closes, not between.
pub(super) fn reconcile(known: &[Alert], wrong: &[Condition], now: UnixMillis) -> Vec<Change> {
    let open = || known.iter().filter(|alert| alert.status != AlertStatus::Closed);
    let mut changes = Vec::new();
    for condition in wrong {
        match open().find(|alert| condition.is(alert)) {
            None => changes.push(Change::Open(condition.clone())),
            Some(alert) => {
                let over = matches!(&alert.acknowledged, Some((_, until, _)) if *until <= now);
                if alert.status == AlertStatus::Acknowledged && over {
                    changes.push(Change::Reopen(alert.id.clone()));
                } else if alert.message != condition.message {
                    changes.push(Change::Update(alert.id.clone(), condition.message.clone()));
                }
            }
        }
    }
    let right = open().filter(|alert| !wrong.iter().any(|condition| condition.is(alert)));
    changes.extend(right.map(|alert| Change::Close(alert.id.clone())));
    changes
}

#[cfg(test)]
mod tests {
    use bygone_base::SeededRng;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn before(secs: i64) -> UnixMillis {
        UnixMillis(NOW.0 - secs * 1000)
    }

    fn id(seed: u64) -> Id {
        Id::new(NOW, &SeededRng::new(seed))
    }

    fn fine() -> JobFacts {
        JobFacts {
            job: id(1),
            project: id(2),
            cluster: "shop".into(),
            since: before(86_400),
            agent_heard: Some(before(5)),
            agent_problem: None,
            daemon_until: Some(NOW),
            synced: true,
            behind_secs: Some(3),
            snapshot: Some(before(3600)),
            interval_secs: 6 * 3600,
            resync: None,
            failure: None,
            damage: None,
            skew_ms: 200,
        }
    }

    fn kinds(job: JobFacts) -> Vec<AlertKind> {
        let facts = Facts { jobs: vec![job], stores: Vec::new() };
        conditions(&facts, &Thresholds::default(), NOW).into_iter().map(|c| c.kind).collect()
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_alert_and_what_is_right_has_none() {
        assert_eq!(kinds(fine()), []);
        let table = [
            (JobFacts { agent_heard: Some(before(301)), ..fine() }, AlertKind::BackupAgentDown),
            (JobFacts { agent_heard: None, ..fine() }, AlertKind::BackupAgentDown),
            (JobFacts { daemon_until: Some(before(901)), ..fine() }, AlertKind::DaemonDown),
            (JobFacts { behind_secs: Some(301), ..fine() }, AlertKind::OplogBehind),
            (JobFacts { resync: Some("gap".into()), ..fine() }, AlertKind::ResyncRequired),
            (JobFacts { snapshot: Some(before(9 * 3600 + 1)), ..fine() }, AlertKind::LateSnapshot),
            (JobFacts { failure: Some("x".into()), ..fine() }, AlertKind::SnapshotFailed),
            (JobFacts { damage: Some("x".into()), ..fine() }, AlertKind::VerificationFailed),
            (JobFacts { skew_ms: -61_000, ..fine() }, AlertKind::ClockSkew),
        ];
        for (job, kind) in table {
            assert_eq!(kinds(job), [kind]);
        }
        // What only began has time.
        let young = JobFacts { since: before(10), agent_heard: None, daemon_until: None, ..fine() };
        assert_eq!(kinds(young), []);
        let away = JobFacts { synced: false, agent_problem: Some("no route".into()), ..fine() };
        assert_eq!(kinds(away), [AlertKind::SourceUnavailable]);
        let syncing = JobFacts { synced: false, behind_secs: Some(9_999), ..fine() };
        assert_eq!(kinds(syncing), []);
    }

    #[test]
    fn stores_are_told_when_full_or_never_groomed() {
        let store = |used, groomed| StoreFacts { id: "main".into(), used, groomed };
        let kinds = |store| {
            let facts = Facts { jobs: Vec::new(), stores: vec![store] };
            let wrong = conditions(&facts, &Thresholds::default(), NOW);
            wrong.into_iter().map(|c| c.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(store(Some((84, 100)), before(60))), []);
        assert_eq!(kinds(store(None, before(60))), []);
        assert_eq!(kinds(store(Some((85, 100)), before(60))), [AlertKind::StoreNearlyFull]);
        assert_eq!(kinds(store(None, before(8 * 86_400))), [AlertKind::GroomOverdue]);
    }

    fn wrong(message: &str) -> Condition {
        Condition {
            kind: AlertKind::OplogBehind,
            project: Some(id(2)),
            job: Some(id(1)),
            target: String::new(),
            message: message.into(),
        }
    }

    #[test]
    fn an_alert_is_told_when_it_opens_and_when_it_closes_and_not_between() {
        let opened = reconcile(&[], &[wrong("1")], NOW);
        assert_eq!(opened, [Change::Open(wrong("1"))]);
        let mut alert = wrong("1").open(id(3), NOW);
        assert_eq!(reconcile(std::slice::from_ref(&alert), &[wrong("1")], NOW), []);
        let longer = reconcile(std::slice::from_ref(&alert), &[wrong("2")], NOW);
        assert_eq!(longer, [Change::Update(id(3), "2".into())]);
        alert.status = AlertStatus::Acknowledged;
        alert.acknowledged = Some(("me".into(), before(-10), String::new()));
        assert_eq!(reconcile(std::slice::from_ref(&alert), &[wrong("1")], NOW), []);
        let over = reconcile(std::slice::from_ref(&alert), &[wrong("1")], before(-10));
        assert_eq!(over, [Change::Reopen(id(3))]);
        assert_eq!(reconcile(std::slice::from_ref(&alert), &[], NOW), [Change::Close(id(3))]);
        alert.status = AlertStatus::Closed;
        let again = reconcile(&[alert], &[wrong("1")], NOW);
        assert_eq!(again, [Change::Open(wrong("1"))]);
    }
}
