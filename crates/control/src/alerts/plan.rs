//! What counts as wrong, and what becomes of alerts. Pure.

use bygone_base::UnixMillis;
use bygone_catalog::{
    Id,
    record::{Alert, AlertKind, AlertStatus, Thresholds},
};

/// What was missed while nothing ran is caught up within this time.
const SETTLE_SECS: u64 = 30;

/// An initial sync of which nothing moves for so long stands still.
const STILL_SECS: u64 = 3600;

/// What is known of everything at one moment.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Of active jobs.
    pub jobs: Vec<JobFacts>,
    /// Of jobs that are stopped: what they keep is checked.
    pub stopped: Vec<JobFacts>,
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
    /// Since when this process looks: what was silent before is not held against anybody.
    pub began: UnixMillis,
    /// It runs here.
    pub runs: bool,
    /// Its agent was heard here.
    pub agent_here: bool,
    /// When an agent that serves it was last heard.
    pub agent_heard: Option<UnixMillis>,
    /// Why its agent cannot serve it.
    pub agent_problem: Option<String>,
    /// Until when its daemon was sure to run.
    pub daemon_until: Option<UnixMillis>,
    /// It has a snapshot.
    pub synced: bool,
    /// Seconds between what is stored and now, or the source's newest where that is more; where it is known.
    pub behind_secs: Option<u64>,
    /// Moment of the newest snapshot.
    pub snapshot: Option<UnixMillis>,
    /// Since when its initial sync was seen to stand still.
    pub still_since: Option<UnixMillis>,
    /// From one snapshot to the next.
    pub interval_secs: u64,
    /// The next one as it was announced when the schedule was changed.
    pub announced: Option<UnixMillis>,
    /// Why a resync is needed.
    pub resync: Option<String>,
    /// Why the daemon stopped, or what fails for a while already.
    pub failure: Option<String>,
    /// Something fails since a moment ago, or seems to be over: it is too early to tell.
    pub doubtful: bool,
    /// What the newest check, or the newest drill, found damaged.
    pub damage: Option<String>,
    /// The agent's clock minus ours, once it was heard.
    pub skew_ms: Option<i64>,
}

/// What is known of a store.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    /// Its id.
    pub id: String,
    /// Bytes used, of how many there may be.
    pub used: Option<(u64, u64)>,
    /// Why its newest check could not be done.
    pub unchecked: Option<String>,
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
            told: Vec::new(),
            acknowledged: None,
            message: self.message,
        }
    }

    fn is(&self, alert: &Alert) -> bool {
        self.kind == alert.kind && self.job == alert.job && self.target == alert.target
    }
}

/// What was found out of one thing.
enum Verdict {
    /// It is wrong, and how.
    Wrong(String),
    /// It is right.
    Right,
    /// Not known: an alert neither opens nor closes.
    Unknown,
}

use Verdict::{Right, Unknown, Wrong};

/// All that is wrong, and all of which nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is wrong.
    pub wrong: Vec<Condition>,
    /// What may be wrong or right; their messages say nothing.
    pub unknown: Vec<Condition>,
}

impl Findings {
    fn note(&mut self, about: &Condition, kind: AlertKind, verdict: Verdict) {
        let with = |message| Condition { kind, message, ..about.clone() };
        match verdict {
            Wrong(message) => self.wrong.push(with(message)),
            Unknown => self.unknown.push(with(String::new())),
            Right => {}
        }
    }
}

/// What is wrong at `now`, and what is not known.
pub fn conditions(facts: &Facts, limits: &Thresholds, now: UnixMillis) -> Findings {
    let mut found = Findings::default();
    for job in &facts.jobs {
        of_job(job, limits, now, &mut found);
    }
    for job in &facts.stopped {
        found.note(&about(job), AlertKind::VerificationFailed, verification_failed(job));
    }
    for store in &facts.stores {
        of_store(store, limits, now, &mut found);
    }
    found
}

/// A condition of a job, to be filled in.
fn about(job: &JobFacts) -> Condition {
    Condition {
        kind: AlertKind::BackupAgentDown,
        project: Some(job.project.clone()),
        job: Some(job.job.clone()),
        target: String::new(),
        message: String::new(),
    }
}

fn of_job(job: &JobFacts, limits: &Thresholds, now: UnixMillis, found: &mut Findings) {
    let about = about(job);
    let mut judge = |kind, verdict| found.note(&about, kind, verdict);
    judge(AlertKind::BackupAgentDown, agent_down(job, limits, now));
    judge(AlertKind::SourceUnavailable, source_unavailable(job, limits, now));
    judge(AlertKind::DaemonDown, daemon_down(job, limits, now));
    judge(AlertKind::OplogBehind, oplog_behind(job, limits, now));
    judge(AlertKind::ResyncRequired, resync_required(job));
    judge(AlertKind::LateSnapshot, late_snapshot(job, limits, now));
    judge(AlertKind::SnapshotFailed, snapshot_failed(job));
    judge(AlertKind::VerificationFailed, verification_failed(job));
    judge(AlertKind::ClockSkew, clock_skew(job, limits));
}

fn agent_down(job: &JobFacts, limits: &Thresholds, now: UnixMillis) -> Verdict {
    let name = &job.cluster;
    let heard = job.agent_heard.unwrap_or(job.since).max(job.since);
    if past(now, heard, limits.agent_down_secs) {
        let since = heard.to_rfc3339_seconds();
        let down = format!("no agent serves {name} since {since}: start one, or look at its log");
        return silent(down, heard.max(job.began), limits.agent_down_secs, now);
    }
    Right
}

fn source_unavailable(job: &JobFacts, limits: &Thresholds, now: UnixMillis) -> Verdict {
    match &job.agent_problem {
        // Once there is something stored, how far that is behind says it better.
        _ if job.synced => Right,
        Some(why) if past(now, job.since, limits.agent_down_secs) => {
            Wrong(format!("the source of {} cannot be backed up: {why}", job.cluster))
        }
        // A new agent has not tried yet.
        None if !job.agent_here => Unknown,
        _ => Right,
    }
}

fn daemon_down(job: &JobFacts, limits: &Thresholds, now: UnixMillis) -> Verdict {
    let ran = job.daemon_until.unwrap_or(job.since).max(job.since);
    if !past(now, ran, limits.daemon_down_secs) {
        return Right;
    }
    let down = format!("no daemon runs {} since {}", job.cluster, ran.to_rfc3339_seconds());
    silent(down, ran.max(job.began), limits.daemon_down_secs, now)
}

/// Somebody is silent for too long: held against him only when this process has listened for as long.
fn silent(down: String, listened: UnixMillis, secs: u64, now: UnixMillis) -> Verdict {
    if past(now, listened, secs) { Wrong(down) } else { Unknown }
}

fn oplog_behind(job: &JobFacts, limits: &Thresholds, now: UnixMillis) -> Verdict {
    let name = &job.cluster;
    match job.behind_secs {
        _ if !job.synced => Right,
        None => Unknown,
        Some(behind) if behind <= limits.oplog_behind_secs => Right,
        Some(_) if !is_settled(job, now) => Unknown,
        Some(behind) => Wrong(match &job.agent_problem {
            Some(problem) => format!("the oplog of {name} is {behind} s behind: {problem}"),
            None => format!("the oplog of {name} is {behind} s behind"),
        }),
    }
}

fn resync_required(job: &JobFacts) -> Verdict {
    match &job.resync {
        Some(why) => Wrong(format!("backup of {} requires a resync: {why}", job.cluster)),
        None if !job.runs => Unknown,
        None => Right,
    }
}

fn late_snapshot(job: &JobFacts, limits: &Thresholds, now: UnixMillis) -> Verdict {
    let name = &job.cluster;
    if let Some(since) =
        job.still_since.filter(|since| !job.synced && past(now, *since, STILL_SECS))
    {
        let since = since.to_rfc3339_seconds();
        return Wrong(format!("the initial sync of {name} stands still since {since}"));
    }
    let late = job.interval_secs.saturating_mul(limits.late_snapshot_percent) / 100;
    let Some(taken) = job.snapshot.filter(|taken| past(now, (*taken).max(job.since), late)) else {
        return Right;
    };
    // What a changed schedule announced is late only behind that.
    let half = job.interval_secs / 2;
    if job.announced.is_some_and(|at| taken < at && !past(now, at, half)) {
        return Right;
    }
    if !is_settled(job, now) {
        return Unknown;
    }
    let last = taken.to_rfc3339_seconds();
    Wrong(format!("the newest snapshot of {name} is of {last}: behind its schedule"))
}

fn snapshot_failed(job: &JobFacts) -> Verdict {
    match &job.failure {
        Some(why) => Wrong(format!("backup of {} fails: {why}", job.cluster)),
        None if job.doubtful || !job.runs => Unknown,
        None => Right,
    }
}

fn verification_failed(job: &JobFacts) -> Verdict {
    let damage = job.damage.as_ref();
    damage.map_or(Right, |damage| Wrong(format!("{}: {damage}", job.cluster)))
}

fn clock_skew(job: &JobFacts, limits: &Thresholds) -> Verdict {
    let Some(skew) = job.skew_ms.map(|skew| skew.unsigned_abs() / 1000) else { return Unknown };
    if skew <= limits.clock_skew_secs {
        return Right;
    }
    let name = &job.cluster;
    Wrong(format!("the clock of the agent of {name} differs by {skew} s from the server's"))
}

/// Whether what was missed while nothing ran has had time to be caught up.
fn is_settled(job: &JobFacts, now: UnixMillis) -> bool {
    past(now, job.began.max(job.since), SETTLE_SECS)
}

fn of_store(store: &StoreFacts, limits: &Thresholds, now: UnixMillis, found: &mut Findings) {
    let about = Condition {
        kind: AlertKind::StoreNearlyFull,
        project: None,
        job: None,
        target: store.id.clone(),
        message: String::new(),
    };
    let full = match store.used {
        None => Unknown,
        Some((used, room)) => {
            let percent = used.saturating_mul(100).checked_div(room).unwrap_or(0);
            let full = percent >= limits.store_full_percent;
            if full { Wrong(format!("store {} is {percent} % full", store.id)) } else { Right }
        }
    };
    found.note(&about, AlertKind::StoreNearlyFull, full);
    if let Some(why) = &store.unchecked {
        let failed = format!("store {} could not be checked: {why}", store.id);
        found.note(&about, AlertKind::VerificationFailed, Wrong(failed));
    }
    if past(now, store.groomed, limits.groom_overdue_secs) {
        let since = store.groomed.to_rfc3339_seconds();
        let overdue = format!("store {} was not groomed since {since}", store.id);
        found.note(&about, AlertKind::GroomOverdue, Wrong(overdue));
    }
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

/// Alerts follow what is wrong: one for each thing, which is told when it opens and when it closes, not between. One
/// closes only when it is known that the thing is right.
pub(super) fn reconcile(known: &[Alert], found: &Findings, now: UnixMillis) -> Vec<Change> {
    let Findings { wrong, unknown } = found;
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
    let listed = |alert: &Alert| wrong.iter().chain(unknown).any(|condition| condition.is(alert));
    let right = open().filter(|alert| !listed(alert));
    changes.extend(right.map(|alert| Change::Close(alert.id.clone())));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn before(secs: i64) -> UnixMillis {
        UnixMillis(NOW.0 - secs * 1000)
    }

    fn id(seed: u64) -> Id {
        format!("{seed:024x}").parse().unwrap()
    }

    fn fine() -> JobFacts {
        JobFacts {
            job: id(1),
            project: id(2),
            cluster: "shop".into(),
            since: before(86_400),
            began: before(86_400),
            runs: true,
            agent_here: true,
            agent_heard: Some(before(5)),
            agent_problem: None,
            daemon_until: Some(NOW),
            synced: true,
            behind_secs: Some(3),
            snapshot: Some(before(3600)),
            still_since: Some(before(86_400)),
            interval_secs: 6 * 3600,
            announced: None,
            resync: None,
            failure: None,
            doubtful: false,
            damage: None,
            skew_ms: Some(200),
        }
    }

    fn found(job: JobFacts) -> Findings {
        let facts = Facts { jobs: vec![job], ..Facts::default() };
        conditions(&facts, &Thresholds::default(), NOW)
    }

    fn kinds(job: JobFacts) -> Vec<AlertKind> {
        found(job).wrong.into_iter().map(|c| c.kind).collect()
    }

    fn unknown(job: JobFacts) -> Vec<AlertKind> {
        let found = found(job);
        assert_eq!(found.wrong, []);
        found.unknown.into_iter().map(|c| c.kind).collect()
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
            (JobFacts { skew_ms: Some(-61_000), ..fine() }, AlertKind::ClockSkew),
        ];
        for (job, kind) in table {
            assert_eq!(kinds(job), [kind]);
        }
        // What only began has time.
        let young = JobFacts { since: before(10), agent_heard: None, daemon_until: None, ..fine() };
        assert_eq!(kinds(young), []);
        let away = JobFacts {
            synced: false,
            agent_problem: Some("no route".into()),
            still_since: None,
            ..fine()
        };
        assert_eq!(kinds(away), [AlertKind::SourceUnavailable]);
        // The schedule was changed from a day to an hour, and the next snapshot announced for midnight.
        let next = |secs: i64| Some(UnixMillis(NOW.0 + secs * 1000));
        let snapshot = Some(before(10 * 3600));
        let hourly = JobFacts { interval_secs: 3600, snapshot, announced: next(7200), ..fine() };
        assert_eq!(kinds(hourly.clone()), []);
        let late = JobFacts { announced: next(-1801), ..hourly };
        assert_eq!(kinds(late), [AlertKind::LateSnapshot]);
        // Of a stopped job, what it keeps may be damaged; nothing else of it is wrong.
        let damaged = JobFacts { agent_heard: None, damage: Some("x".into()), ..fine() };
        let facts = Facts { stopped: vec![damaged, fine()], ..Facts::default() };
        let wrong = conditions(&facts, &Thresholds::default(), NOW).wrong;
        assert_eq!(
            wrong.iter().map(|c| c.kind).collect::<Vec<_>>(),
            [AlertKind::VerificationFailed]
        );
        let still_since = Some(before(3599));
        let syncing = JobFacts {
            synced: false,
            behind_secs: Some(9_999),
            still_since,
            snapshot: None,
            ..fine()
        };
        assert_eq!(kinds(syncing.clone()), []);
        let still = JobFacts { still_since: Some(before(3601)), ..syncing };
        assert_eq!(kinds(still), [AlertKind::LateSnapshot]);
    }

    #[test]
    fn what_is_not_known_is_neither_wrong_nor_right() {
        assert_eq!(unknown(fine()), []);
        // The server was away for an hour: nobody could be heard, and nothing was caught up yet.
        let back = JobFacts {
            began: before(10),
            agent_heard: Some(before(3600)),
            daemon_until: Some(before(3600)),
            behind_secs: Some(3600),
            snapshot: Some(before(10 * 3600)),
            skew_ms: None,
            ..fine()
        };
        let kinds = [
            AlertKind::BackupAgentDown,
            AlertKind::DaemonDown,
            AlertKind::OplogBehind,
            AlertKind::LateSnapshot,
            AlertKind::ClockSkew,
        ];
        assert_eq!(unknown(back), kinds);
        // Nobody runs it for the moment: its schedule was changed.
        let between = JobFacts { runs: false, behind_secs: None, ..fine() };
        let kinds = [AlertKind::OplogBehind, AlertKind::ResyncRequired, AlertKind::SnapshotFailed];
        assert_eq!(unknown(between), kinds);
        assert_eq!(unknown(JobFacts { doubtful: true, ..fine() }), [AlertKind::SnapshotFailed]);
        let new = JobFacts {
            synced: false,
            agent_here: false,
            snapshot: None,
            still_since: None,
            ..fine()
        };
        assert_eq!(unknown(new), [AlertKind::SourceUnavailable]);
    }

    #[test]
    fn stores_are_told_when_full_or_never_groomed() {
        let store =
            |used, groomed| StoreFacts { id: "main".into(), used, unchecked: None, groomed };
        let kinds = |store| {
            let facts = Facts { stores: vec![store], ..Facts::default() };
            let found = conditions(&facts, &Thresholds::default(), NOW);
            found.wrong.into_iter().map(|c| c.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(store(Some((84, 100)), before(60))), []);
        assert_eq!(kinds(store(None, before(60))), []);
        assert_eq!(kinds(store(Some((85, 100)), before(60))), [AlertKind::StoreNearlyFull]);
        assert_eq!(kinds(store(None, before(8 * 86_400))), [AlertKind::GroomOverdue]);
        let unchecked = StoreFacts { unchecked: Some("x".into()), ..store(None, before(60)) };
        assert_eq!(kinds(unchecked), [AlertKind::VerificationFailed]);
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

    fn only(wrong: &[Condition]) -> Findings {
        Findings { wrong: wrong.to_vec(), unknown: Vec::new() }
    }

    #[test]
    fn an_alert_is_told_when_it_opens_and_when_it_closes_and_not_between() {
        let opened = reconcile(&[], &only(&[wrong("1")]), NOW);
        assert_eq!(opened, [Change::Open(wrong("1"))]);
        let mut alert = wrong("1").open(id(3), NOW);
        assert_eq!(reconcile(std::slice::from_ref(&alert), &only(&[wrong("1")]), NOW), []);
        let longer = reconcile(std::slice::from_ref(&alert), &only(&[wrong("2")]), NOW);
        assert_eq!(longer, [Change::Update(id(3), "2".into())]);
        alert.status = AlertStatus::Acknowledged;
        alert.acknowledged = Some(("me".into(), before(-10), String::new()));
        assert_eq!(reconcile(std::slice::from_ref(&alert), &only(&[wrong("1")]), NOW), []);
        let over = reconcile(std::slice::from_ref(&alert), &only(&[wrong("1")]), before(-10));
        assert_eq!(over, [Change::Reopen(id(3))]);
        let doubt = Findings { unknown: vec![wrong("")], ..Findings::default() };
        assert_eq!(reconcile(std::slice::from_ref(&alert), &doubt, NOW), []);
        assert_eq!(reconcile(&[], &doubt, NOW), []);
        let right = reconcile(std::slice::from_ref(&alert), &Findings::default(), NOW);
        assert_eq!(right, [Change::Close(id(3))]);
        alert.status = AlertStatus::Closed;
        let again = reconcile(&[alert], &only(&[wrong("1")]), NOW);
        assert_eq!(again, [Change::Open(wrong("1"))]);
    }
}
