//! Gathering what alerts are decided on.

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{
    Lease, Page,
    record::{Agent, Integrity, Job, JobState, RestoreJob, RestoreStatus},
};
use bygone_daemon::JobPhase;

use super::plan::{Facts, JobFacts, StoreFacts};
use crate::{Control, checks};

/// What is read once for all jobs.
struct Read {
    agents: Vec<Agent>,
    leases: Vec<Lease>,
    /// The newest of each job.
    checks: Vec<Integrity>,
    /// Newest first.
    drills: Vec<RestoreJob>,
}

/// Everything, now.
pub(super) async fn gather(control: &Control, jobs: &[Job]) -> Result<Facts> {
    let newest = Page { newest_first: true, ..Page::default() };
    let catalog = control.catalog();
    let mut drills: Vec<RestoreJob> = catalog.page(&newest).await?;
    drills.retain(|restore| restore.drill && restore.status != RestoreStatus::InProgress);
    let read = Read {
        agents: catalog.all(None).await?,
        leases: catalog.all(None).await?,
        checks: checks::newest_of_all(control, jobs).await?,
        drills,
    };
    let active = jobs.iter().filter(|job| job.state == JobState::Active);
    let mut facts = Facts::default();
    facts.jobs.extend(active.map(|job| of_job(control, job, &read)));
    for view in control.stores().await? {
        let uses = |job: &&Job| view.jobs.contains(&job.id) && job.state == JobState::Active;
        let Some(first) = jobs.iter().filter(uses).map(|job| job.since).min() else { continue };
        let used = match view.store.max_bytes {
            Some(most) => view.usage.as_ref().map(|usage| (usage.bytes, most)),
            None => control.disks.used(&view.store.url, &**control.clock()).await,
        };
        // Only that of snapshots is groomed.
        let grooms = jobs.iter().any(|job| uses(&job) && job.stores.snapshot == view.store.id);
        let groomed = if grooms { view.groomed.unwrap_or(first) } else { control.now() };
        facts.stores.push(StoreFacts { id: view.store.id, used, groomed });
    }
    Ok(facts)
}

fn of_job(control: &Control, job: &Job, read: &Read) -> JobFacts {
    let live = control.running(&job.id).map(|running| running.live());
    let agent = live.as_ref().and_then(|live| live.agent.as_ref());
    let backup = live.as_ref().map(|live| &live.backup);
    let now = control.now();
    let serving = read.agents.iter().filter(|agent| agent.serves.contains(&job.id));
    let problem = read.agents.iter().flat_map(|agent| &agent.problems);
    let daemon = format!("daemon/{}", job.id);
    let lease = read.leases.iter().find(|lease| lease.name == daemon);
    let behind = agent.map(|agent| {
        let age = (now.0 / 1000).saturating_sub(i64::from(agent.stored.secs()));
        agent.lag_secs.max(u64::try_from(age).unwrap_or_default())
    });
    let seconds = |ts: bygone_base::Ts| UnixMillis(i64::from(ts.secs()) * 1000);
    JobFacts {
        job: job.id.clone(),
        project: job.project.clone(),
        cluster: job.cluster.clone(),
        since: job.since,
        agent_heard: serving.map(|agent| agent.last_conf).max(),
        agent_problem: problem
            .filter(|(id, _)| *id == job.id)
            .map(|(_, why)| why.clone())
            .next_back(),
        daemon_until: lease.map(|lease| lease.until),
        synced: backup.is_some_and(|backup| backup.phase == JobPhase::Complete),
        behind_secs: behind,
        snapshot: backup.and_then(|backup| backup.snapshot_at).map(seconds),
        interval_secs: job.schedule.interval_secs,
        resync: backup.and_then(|backup| backup.resync.clone()),
        failure: backup.and_then(|backup| backup.failure.clone()).or_else(|| job.message.clone()),
        damage: damage(job, read),
        skew_ms: agent.map_or(0, |agent| agent.skew_ms),
    }
}

/// What the newest check or the newest drill found.
fn damage(job: &Job, read: &Read) -> Option<String> {
    let check = read.checks.iter().find(|check| check.job == job.id);
    if let Some(why) = check.and_then(|check| check.failure.as_ref()) {
        return Some(format!("what is stored could not be checked: {why}"));
    }
    if let Some(first) = check.and_then(|check| check.damage.first()) {
        let more = check.map_or(0, |check| check.damage.len() - 1);
        return Some(match more {
            0 => format!("what is stored is damaged: {first}"),
            _ => format!("what is stored is damaged: {first}, and {more} more"),
        });
    }
    read.drills
        .iter()
        .find(|drill| drill.job == job.id)
        .filter(|drill| drill.status == RestoreStatus::Broken)
        .map(|drill| format!("the newest restore drill failed: {}", drill.message))
}
