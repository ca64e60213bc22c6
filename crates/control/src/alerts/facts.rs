//! Gathering what alerts are decided on.

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{
    Lease,
    record::{Agent, Job, JobState, RestoreJob, RestoreStatus},
};
use bygone_daemon::JobPhase;

use super::plan::{Facts, JobFacts, StoreFacts};
use crate::{Control, disk, integrity};

/// Everything, now.
pub(super) async fn gather(control: &Control, jobs: &[Job]) -> Result<Facts> {
    let agents: Vec<Agent> = control.catalog().all(None).await?;
    let mut facts = Facts::default();
    for job in jobs.iter().filter(|job| job.state == JobState::Active) {
        facts.jobs.push(of_job(control, job, &agents).await?);
    }
    for view in control.stores().await? {
        let uses = |job: &&Job| view.jobs.contains(&job.id) && job.state == JobState::Active;
        let Some(first) = jobs.iter().filter(uses).map(|job| job.since).min() else { continue };
        let used = match view.store.max_bytes {
            Some(most) => view.usage.as_ref().map(|usage| (usage.bytes, most)),
            None => disk::used(&view.store.url),
        };
        let groomed = view.groomed.unwrap_or(first);
        facts.stores.push(StoreFacts { id: view.store.id, used, groomed });
    }
    Ok(facts)
}

async fn of_job(control: &Control, job: &Job, agents: &[Agent]) -> Result<JobFacts> {
    let live = control.running(&job.id).map(|running| running.live());
    let agent = live.as_ref().and_then(|live| live.agent.as_ref());
    let backup = live.as_ref().map(|live| &live.backup);
    let now = control.now();
    let serving = agents.iter().filter(|agent| agent.serves.contains(&job.id));
    let problem = agents.iter().flat_map(|agent| &agent.problems);
    let lease = control.catalog().find::<Lease>(&format!("daemon/{}", job.id)).await?;
    let behind = agent.map(|agent| {
        let age = (now.0 / 1000).saturating_sub(i64::from(agent.stored.secs()));
        agent.lag_secs.max(u64::try_from(age).unwrap_or_default())
    });
    let seconds = |ts: bygone_base::Ts| UnixMillis(i64::from(ts.secs()) * 1000);
    Ok(JobFacts {
        job: job.id.clone(),
        project: job.project.clone(),
        cluster: job.cluster.clone(),
        since: job.since,
        agent_heard: serving.map(|agent| agent.last_conf).max(),
        agent_problem: problem
            .filter(|(id, _)| *id == job.id)
            .map(|(_, why)| why.clone())
            .next_back(),
        daemon_until: lease.map(|row| row.value.until),
        synced: backup.is_some_and(|backup| backup.phase == JobPhase::Complete),
        behind_secs: behind,
        snapshot: backup.and_then(|backup| backup.snapshot_at).map(seconds),
        interval_secs: job.schedule.interval_secs,
        resync: backup.and_then(|backup| backup.resync.clone()),
        failure: backup.and_then(|backup| backup.failure.clone()).or_else(|| job.message.clone()),
        damage: damage(control, job).await?,
        skew_ms: agent.map_or(0, |agent| agent.skew_ms),
    })
}

/// What the newest check or the newest drill found.
async fn damage(control: &Control, job: &Job) -> Result<Option<String>> {
    if let Some(check) = integrity::newest(control, job).await?
        && let Some(first) = check.damage.first()
    {
        let more = check.damage.len() - 1;
        return Ok(Some(match more {
            0 => format!("what is stored is damaged: {first}"),
            _ => format!("what is stored is damaged: {first}, and {more} more"),
        }));
    }
    let drills: Vec<RestoreJob> = control.restores(&job.project, Some(&job.id)).await?;
    let newest = drills.iter().find(|r| r.drill && r.status != RestoreStatus::InProgress);
    Ok(newest
        .filter(|drill| drill.status == RestoreStatus::Broken)
        .map(|drill| format!("the newest restore drill failed: {}", drill.message)))
}
