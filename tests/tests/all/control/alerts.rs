//! Alerts, each caused for real where it can be: opened once, told once, closed when it is right again.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bygone_base::{Clock, SystemClock, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Alert, AlertKind, AlertStatus, Settings},
};
use bygone_control::{Action, By, JobEdit, health::Standing};
use bygone_tests::{ReplicaSet, Version, wait};
use serde_json::Value;

use super::Site;
use crate::bad_input::orders;

const LIMIT: Duration = Duration::from_secs(120);

/// A program that appends what it is told to a file.
fn listener(site: &Site) -> (PathBuf, PathBuf) {
    let (program, heard) = (site.folder.path().join("tell"), site.folder.path().join("told.jsonl"));
    fs::write(&program, format!("#!/bin/sh\ncat >> {}\n", heard.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (program, heard)
}

fn told(heard: &PathBuf) -> Vec<(String, String)> {
    let text = fs::read_to_string(heard).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    lines.map(|value| (word(&value, "type"), word(&value, "status"))).collect()
}

async fn settings(site: &Site, change: impl Fn(&mut Settings)) {
    let changed = site.control.change_settings(|settings| {
        change(settings);
        Ok(())
    });
    changed.await.unwrap();
}

pub async fn alert(site: &Site, job: &Id, kind: AlertKind, status: AlertStatus) -> Alert {
    let look = async || {
        let all = site.control.alerts(None).await.unwrap();
        let of_job = |a: &Alert| a.job.as_ref().is_none_or(|of| of == job);
        all.into_iter().find(|a| a.kind == kind && a.status == status && of_job(a))
    };
    match wait::within(LIMIT, look).await {
        Some(alert) => alert,
        None => {
            let all = site.control.alerts(None).await.unwrap();
            panic!("no alert {kind:?} {status:?}: {all:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn are_opened_told_once_and_closed() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let client = set.client().await;
    orders(&client, 0, 100).await;
    let site = Site::new().await;
    let (program, heard) = listener(&site);
    settings(&site, |s| {
        s.command = Some(program.clone());
        // Nobody answers there: that keeps nothing from who is told by the program, nor tells him twice.
        s.webhooks = vec!["http://127.0.0.1:1/".to_owned()];
    })
    .await;
    let job = site.job("Shop", &set.uri()).await;
    let by = By::system();
    site.control.act(&site.project, &job, Action::Start, &by).await.unwrap();
    let running = site.run();
    site.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    // Late: by a threshold of nothing, every snapshot is.
    settings(&site, |s| s.thresholds.late_snapshot_percent = 0).await;
    let late = alert(&site, &job, AlertKind::LateSnapshot, AlertStatus::Open).await;
    assert!(late.message.contains("Shop"), "{}", late.message);
    // Acknowledged, it says nothing; taken back and right again, it closes.
    let until = bygone_base::UnixMillis(i64::MAX / 2);
    let (control, project) = (&site.control, &site.project);
    let known = control.acknowledge(project, &late.id, until, "I see", &by).await.unwrap();
    assert_eq!(known.status, AlertStatus::Acknowledged);
    settings(&site, |s| s.thresholds.late_snapshot_percent = 150).await;
    alert(&site, &job, AlertKind::LateSnapshot, AlertStatus::Closed).await;
    // A store that counts as full, one that was never groomed, clocks that differ by nothing at all.
    settings(&site, |s| {
        s.thresholds.store_full_percent = 0;
        s.thresholds.groom_overdue_secs = 0;
    })
    .await;
    alert(&site, &job, AlertKind::StoreNearlyFull, AlertStatus::Open).await;
    alert(&site, &job, AlertKind::GroomOverdue, AlertStatus::Open).await;
    settings(&site, |s| {
        s.thresholds.store_full_percent = 101;
        s.thresholds.groom_overdue_secs = 9_999_999;
    })
    .await;
    alert(&site, &job, AlertKind::StoreNearlyFull, AlertStatus::Closed).await;
    alert(&site, &job, AlertKind::GroomOverdue, AlertStatus::Closed).await;
    // The source is gone: its oplog falls behind, and the alert says why.
    settings(&site, |s| s.thresholds.oplog_behind_secs = 20).await;
    drop(set);
    let behind = alert(&site, &job, AlertKind::OplogBehind, AlertStatus::Open).await;
    assert!(behind.message.contains("s behind"), "{}", behind.message);
    // Whoever looks at the job sees the same: how far behind, and that it is not well.
    let view = site.until(&job, "the agent's problem", |v| v.problem.is_some()).await;
    assert_eq!(view.standing, Standing::Failing, "{view:?}");
    let live = view.live.as_ref().unwrap();
    assert!(live.lag_secs.is_some_and(|lag| lag > 20), "{view:?}");
    assert_eq!(live.agent.as_ref().map(|agent| agent.lag_secs), live.lag_secs, "{view:?}");
    running.stop().await;
    // Each was told when it opened and when it closed, and never twice.
    let mut all = told(&heard);
    let said = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), said, "told twice: {all:?}");
    for kind in ["LATE_SNAPSHOT", "STORE_NEARLY_FULL", "GROOM_OVERDUE"] {
        for status in ["OPEN", "CLOSED"] {
            assert!(all.contains(&(kind.into(), status.into())), "{kind} {status}: {all:?}");
        }
    }
    assert!(all.contains(&("OPLOG_BEHIND".into(), "OPEN".into())), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tell_of_agents_that_are_not_there() {
    let site = Site::new().await;
    let job = site.job("Shop", "mongodb://127.0.0.1:1/?replicaSet=rs0").await;
    settings(&site, |s| s.thresholds.agent_down_secs = 1).await;
    let by = By::system();
    site.control.act(&site.project, &job, Action::Start, &by).await.unwrap();
    let alone = bygone_control::Supervisor::new(site.control.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    let (token, runtime) = (stop.clone(), tokio::runtime::Handle::current());
    let task = tokio::task::spawn_blocking(move || runtime.block_on(alone.run(&token)));
    let down = alert(&site, &job, AlertKind::BackupAgentDown, AlertStatus::Open).await;
    assert!(down.message.contains("no agent serves Shop"), "{}", down.message);
    stop.cancel();
    task.await.unwrap();
    // With an agent, whose source is not there: the job and its alert say why.
    let running = site.run();
    let view = site.until(&job, "the agent's problem", |v| v.problem.is_some()).await;
    assert!(view.problem.as_ref().is_some_and(|p| p.contains("127.0.0.1:1")), "{view:?}");
    let look = async || {
        let all = site.control.alerts(None).await.unwrap();
        all.into_iter().find(|one| one.kind == AlertKind::SourceUnavailable)
    };
    let away = wait::until("an alert that names the problem", LIMIT, look).await;
    assert!(away.message.contains("127.0.0.1:1"), "{}", away.message);
    assert_eq!(view.standing, Standing::Failing, "{view:?}");
    alert(&site, &job, AlertKind::BackupAgentDown, AlertStatus::Closed).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_never_answers_stops_nothing() {
    let set = ReplicaSet::single(Version::V8_2).await;
    orders(&set.client().await, 0, 10).await;
    let site = Site::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let job = site.job("Shop", &set.uri()).await;
    let by = By::system();
    site.control.act(&site.project, &job, Action::Start, &by).await.unwrap();
    let running = site.run();
    let first = site.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    settings(&site, |s| {
        s.webhooks = vec![url.clone()];
        s.thresholds.late_snapshot_percent = 0;
    })
    .await;
    let (told, _) = listener.accept().await.unwrap();
    // Half a minute of waiting for an answer lies ahead of who told it.
    site.control.request_snapshot(&site.project, &job, &by).await.unwrap();
    site.until(&job, "another snapshot", |v| v.newest > first.newest).await;
    let mut heard = vec![0; 64 << 10];
    while let Ok(n) = told.try_read(&mut heard) {
        assert!(n > 0, "nothing was done before the telling was given up");
    }
    running.stop().await;
}
/// A clock that goes wrong by so much.
#[derive(Debug)]
struct Wrong(SystemClock, i64);

#[async_trait::async_trait]
impl Clock for Wrong {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.now().0 + self.1)
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

/// The largest file below a folder.
pub fn largest(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.map(|path| if path.is_dir() { largest(&path) } else { path });
    files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

async fn checked(site: &Site, job: &Id) {
    let asked = site.control.request_check(&site.project, job, &By::system()).await.unwrap();
    let look = async || {
        let check = site.control.newest_check(&site.project, job).await.unwrap();
        check.filter(|check| check.id == asked.id && check.finished.is_some())
    };
    wait::until("the check", LIMIT, look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn are_caused_by_clocks_by_damage_and_by_a_store_that_is_away() {
    let set = ReplicaSet::single(Version::V8_2).await;
    orders(&set.client().await, 0, 3000).await;
    let site = Site::new().await;
    settings(&site, |s| s.thresholds.daemon_down_secs = 5).await;
    let job = site.job("Shop", &set.uri()).await;
    let by = By::system();
    site.control.act(&site.project, &job, Action::Start, &by).await.unwrap();
    // The agent's clock is two minutes ahead.
    let running = site.run_by(Arc::new(Wrong(SystemClock::new(), 120_000)));
    site.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    let skew = alert(&site, &job, AlertKind::ClockSkew, AlertStatus::Open).await;
    assert!(skew.message.contains("by 1"), "{}", skew.message);
    running.stop().await;
    let running = site.run();
    alert(&site, &job, AlertKind::ClockSkew, AlertStatus::Closed).await;
    // A byte of what is stored flips, and flips back.
    let pack = largest(&site.store().join("packs"));
    let good = fs::read(&pack).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&pack, bad).unwrap();
    checked(&site, &job).await;
    let damaged = alert(&site, &job, AlertKind::VerificationFailed, AlertStatus::Open).await;
    assert!(damaged.message.contains("damaged"), "{}", damaged.message);
    fs::write(&pack, good).unwrap();
    checked(&site, &job).await;
    alert(&site, &job, AlertKind::VerificationFailed, AlertStatus::Closed).await;
    running.stop().await;
    // The store's disk is not mounted: nothing is made in its place, and the job says so.
    let site = site.reopen();
    let away = site.folder.path().join("away");
    fs::rename(site.store(), &away).unwrap();
    let running = site.run();
    let view = site.until(&job, "the problem", |v| v.problem.is_some()).await;
    assert!(view.problem.as_ref().is_some_and(|p| p.contains("is mounted")), "{view:?}");
    let down = alert(&site, &job, AlertKind::DaemonDown, AlertStatus::Open).await;
    assert!(down.message.contains("Shop"), "{}", down.message);
    alert(&site, &job, AlertKind::SnapshotFailed, AlertStatus::Open).await;
    assert!(!site.store().exists());
    fs::rename(&away, site.store()).unwrap();
    alert(&site, &job, AlertKind::DaemonDown, AlertStatus::Closed).await;
    alert(&site, &job, AlertKind::SnapshotFailed, AlertStatus::Closed).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outlive_restarts_and_changes_of_the_schedule() {
    let set = ReplicaSet::single(Version::V8_2).await;
    orders(&set.client().await, 0, 100).await;
    let site = Site::new().await;
    let job = site.job("Shop", &set.uri()).await;
    let by = By::system();
    site.control.act(&site.project, &job, Action::Start, &by).await.unwrap();
    let running = site.run();
    site.until(&job, "the first snapshot", |v| v.status_name == "STARTED").await;
    settings(&site, |s| s.thresholds.late_snapshot_percent = 0).await;
    let late = alert(&site, &job, AlertKind::LateSnapshot, AlertStatus::Open).await;
    let until = UnixMillis(i64::MAX / 2);
    site.control.acknowledge(&site.project, &late.id, until, "I see", &by).await.unwrap();
    running.stop().await;
    let site = site.reopen();
    assert_eq!(site.view(&job).await.status_name, "STARTED");
    let running = site.run();
    let complete = |v: &bygone_control::views::JobView| {
        v.live.as_ref().is_some_and(|live| live.phase == "complete")
    };
    let view = site.until(&job, "the job to be complete", complete).await;
    let (before, mut schedule) = (view.next_snapshot, view.job.schedule);
    schedule.interval_secs *= 2;
    let edit = JobEdit { schedule: Some(schedule), ..JobEdit::default() };
    site.control.edit_job(&site.project, &job, edit, &by).await.unwrap();
    let edited = |v: &bygone_control::views::JobView| {
        v.next_snapshot.is_some() && v.next_snapshot != before && complete(v)
    };
    let view = site.until(&job, "the job to run by its new schedule", edited).await;
    assert_eq!(view.status_name, "STARTED");
    // Looks were taken meanwhile, and are after it.
    settings(&site, |s| s.thresholds.store_full_percent = 0).await;
    alert(&site, &job, AlertKind::StoreNearlyFull, AlertStatus::Open).await;
    let all = site.control.alerts(None).await.unwrap();
    let late: Vec<_> = all.iter().filter(|a| a.kind == AlertKind::LateSnapshot).collect();
    let [one] = &late[..] else { panic!("{late:#?}") };
    assert_eq!(one.status, AlertStatus::Acknowledged, "{one:#?}");
    running.stop().await;
}
