//! `/metrics`: the text format of Prometheus, version 0.0.4. Names and units as it wants them: seconds, bytes, `_total`
//! for what only grows.

use std::collections::BTreeMap;

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{
    Page,
    record::{Alert, AlertStatus, GroomRun, Integrity, JobState, RestoreJob},
};
use bygone_control::{
    Control,
    health::Standing,
    views::{AgentLive, JobView, Live, StoreView},
};
use serde::Serialize;

use super::{Answers, Sight};

/// All rows that may be seen.
pub(super) async fn text(
    control: &Control,
    sight: &Sight,
    jobs: &[JobView],
    answers: &Answers,
) -> Result<String> {
    let mut m = Metrics::default();
    m.labelled("", "info", "version", env!("CARGO_PKG_VERSION"), "Version of bygone.");
    let now = control.now();
    let newest = Page { newest_first: true, ..Page::default() };
    let checks: Vec<Integrity> = control.catalog().page(&newest).await?;
    for view in jobs {
        job(&mut m, view, &checks, now);
    }
    let restores: Vec<RestoreJob> = control.catalog().all(None).await?;
    self::restores(&mut m, restores.iter().filter(|one| sight.covers(&one.project)));
    let mut alerts = control.alerts(None).await?;
    alerts.retain(|alert| match &alert.project {
        Some(project) => sight.covers(project),
        None => sight.is_whole(),
    });
    self::alerts(&mut m, &alerts);
    if sight.is_whole() {
        for view in control.stores().await? {
            let runs = control.grooms(&view.store.id).await?;
            store(&mut m, &view, &runs, now);
        }
        for (class, word) in [(2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")] {
            let labels = format!("class=\"{word}\"");
            let help = "Answers of the API since the start, by the class of their status.";
            m.counter(&labels, "api_responses_total", answers.of(class), help);
        }
    }
    Ok(m.text())
}

fn job(m: &mut Metrics, view: &JobView, checks: &[Integrity], now: UnixMillis) {
    // Names of jobs and parts hold nothing that would have to be escaped.
    let part = view.job.set.as_deref().unwrap_or_default();
    let labels = format!("job=\"{}\",part=\"{part}\"", view.job.name);
    m.labelled(&labels, "job_state", "state", view.standing.as_str(), "How the job fares.");
    let help = "1 while what is stored follows the source, 0 otherwise.";
    m.gauge(&labels, "job_following", (view.standing == Standing::Following).into(), help);
    let active = view.job.state == JobState::Active;
    let help = "1 while the job is to be backed up.";
    m.gauge(&labels, "job_active", active.into(), help);
    if let Some(lag) = view.live.as_ref().and_then(|live| live.lag_secs) {
        let help =
            "How far what is stored is behind the source; its age while nobody reaches the source.";
        m.gauge(&labels, "lag_seconds", lag, help);
    }
    if let Some(live) = &view.live {
        if let Some(agent) = &live.agent {
            agent_rows(m, &labels, agent, now);
        }
        backup_rows(m, &labels, live);
    }
    let own = || checks.iter().filter(|check| check.job == view.job.id);
    let well = |check: &&Integrity| check.failure.is_none() && check.damage.is_empty();
    if let Some(at) = own().filter(well).find_map(|check| check.finished) {
        let help = "Since the newest integrity check that found nothing.";
        m.gauge(&labels, "check_age_seconds", age(now, at), help);
    }
    if let Some(newest) = own().find(|check| check.finished.is_some()) {
        let help = "1 where the newest integrity check found damage or could not be done.";
        m.gauge(&labels, "check_failed", (!well(&newest)).into(), help);
    }
}

fn agent_rows(m: &mut Metrics, labels: &str, agent: &AgentLive, now: UnixMillis) {
    m.labelled(labels, "agent_phase", "phase", &agent.phase, "What the agent last did.");
    let help = "Since the agent was last heard.";
    m.gauge(labels, "agent_heard_age_seconds", age(now, agent.heard), help);
    let help = "Cluster time of the newest stored oplog entry.";
    m.gauge(labels, "stored_timestamp_seconds", agent.stored.secs().into(), help);
    let help = "Oplog entries stored by this agent.";
    m.counter(labels, "oplog_entries_total", agent.entries, help);
    let help = "Compressed bytes stored by this agent.";
    m.counter(labels, "sent_bytes_total", agent.sent, help);
    let help = "Bytes of documents copied by this agent's initial sync.";
    m.gauge(labels, "sync_bytes", agent.bytes.0, help);
}

fn backup_rows(m: &mut Metrics, labels: &str, live: &Live) {
    let backup = &live.backup;
    let phase = backup.phase.as_str();
    m.labelled(labels, "backup_phase", "phase", phase, "Where the backup stands.");
    let read = backup.position.ts.secs().into();
    let help = "Cluster time of the newest entry that the head has read.";
    m.gauge(labels, "head_timestamp_seconds", read, help);
    let taken = backup.snapshot_at.map_or(0, |at| at.secs().into());
    let help = "Cluster time of the newest snapshot; 0 before it.";
    m.gauge(labels, "snapshot_timestamp_seconds", taken, help);
    m.counter(labels, "snapshots_total", backup.taken, "Snapshots taken by this process.");
    let help = "Operations since the newest snapshot.";
    m.gauge(labels, "pending_operations", backup.pending_ops, help);
    m.gauge(labels, "failed", backup.failure.is_some().into(), "1 while the backup fails.");
    let help = "1 while an initial sync is asked for.";
    m.gauge(labels, "resync_required", backup.resync.is_some().into(), help);
}

fn restores<'a>(m: &mut Metrics, restores: impl Iterator<Item = &'a RestoreJob>) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for restore in restores {
        *counts.entry(word(&restore.status)).or_default() += 1;
    }
    for (status, n) in counts {
        let help = "Restores that are known, by their status.";
        m.gauge(&format!("status=\"{status}\""), "restores", n, help);
    }
}

/// Every kind has a row as soon as there was one: what is right again is 0.
fn alerts(m: &mut Metrics, alerts: &[Alert]) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for alert in alerts {
        let open = alert.status != AlertStatus::Closed;
        *counts.entry(word(&alert.kind)).or_default() += u64::from(open);
    }
    let open: u64 = counts.values().sum();
    m.gauge("type=\"ALL\"", "alerts_open", open, "Alerts that are open or acknowledged.");
    for (kind, n) in counts {
        let help = "Alerts that are open or acknowledged.";
        m.gauge(&format!("type=\"{kind}\""), "alerts_open", n, help);
    }
}

fn store(m: &mut Metrics, view: &StoreView, runs: &[GroomRun], now: UnixMillis) {
    let labels = format!("store=\"{}\"", view.store.id);
    if let Some(usage) = &view.usage {
        m.gauge(&labels, "store_bytes", usage.bytes, "Bytes that the store holds.");
        let help = "Of them those that something retained needs.";
        m.gauge(&labels, "store_needed_bytes", usage.living, help);
    }
    if let Some(most) = view.store.max_bytes {
        m.gauge(&labels, "store_limit_bytes", most, "Above so many the store counts as full.");
    }
    if let Some(at) = view.groomed {
        let help = "Since the store was last groomed.";
        m.gauge(&labels, "groom_age_seconds", age(now, at), help);
    }
    let last = runs.iter().find(|run| run.finished.is_some() && !run.dry_run);
    if let Some(run) = last {
        let help = "1 where the newest groom could not be done.";
        m.gauge(&labels, "groom_failed", run.failure.is_some().into(), help);
    }
}

fn age(now: UnixMillis, then: UnixMillis) -> u64 {
    u64::try_from(now.since(then) / 1000).unwrap_or_default()
}

/// The word by which it is written elsewhere, too.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value.and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

/// A label's value: agents say what they are at in words of their own.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All rows of a name stand together.
#[derive(Default)]
struct Metrics {
    rows: Vec<(String, String)>,
}

impl Metrics {
    fn labelled(&mut self, labels: &str, name: &str, label: &str, value: &str, help: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let labels = format!("{labels}{comma}{label}=\"{}\"", escaped(value));
        self.row("gauge", name, &labels, 1, help);
    }

    fn gauge(&mut self, labels: &str, name: &str, value: u64, help: &str) {
        self.row("gauge", name, labels, value, help);
    }

    fn counter(&mut self, labels: &str, name: &str, value: u64, help: &str) {
        self.row("counter", name, labels, value, help);
    }

    fn row(&mut self, kind: &str, name: &str, labels: &str, value: u64, help: &str) {
        let head = format!("# HELP bygone_{name} {help}\n# TYPE bygone_{name} {kind}\n");
        let row = format!("bygone_{name}{{{labels}}} {value}\n");
        match self.rows.iter_mut().find(|(known, _)| *known == head) {
            Some((_, rows)) => rows.push_str(&row),
            None => self.rows.push((head, row)),
        }
    }

    fn text(&self) -> String {
        self.rows.iter().flat_map(|(head, rows)| [head.as_str(), rows.as_str()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_ends_its_label_or_its_line() {
        let mut m = Metrics::default();
        m.labelled("job=\"a\"", "agent_phase", "phase", "a\\b\"} 2\nbygone_x 1", "What.");
        let text = m.text();
        let row = text.lines().last().unwrap();
        assert_eq!(row, r#"bygone_agent_phase{job="a",phase="a\\b\"} 2\nbygone_x 1"} 1"#);
    }
}
