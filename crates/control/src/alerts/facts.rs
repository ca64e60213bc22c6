//! Gathering what alerts are decided on.

use std::collections::HashMap;

use bygone_base::{Result, Ts, UnixMillis};
use bygone_catalog::{
    Id, Lease, Page,
    record::{Agent, Failing, Integrity, Job, JobState, RestoreJob, RestoreStatus, Seen},
};

use super::plan::{Facts, JobFacts, StoreFacts};
use crate::{Control, checks, jobs::serving};

/// What passes by itself is a failure when it lasts so long.
const HOLD_MS: i64 = 60_000;
/// A drill is given so long before somebody is told that it does not end.
const DRILL_MS: i64 = 6 * 3_600_000;

/// What is read once for all jobs.
struct Read {
    agents: Vec<Agent>,
    leases: Vec<Lease>,
    /// The newest of each job.
    checks: Vec<Integrity>,
    /// Newest first.
    drills: Vec<RestoreJob>,
    seen: HashMap<Id, Seen>,
}

/// Everything, now.
pub(super) async fn gather(
    control: &Control,
    jobs: &[Job],
    seen: HashMap<Id, Seen>,
) -> Result<Facts> {
    let newest = Page { newest_first: true, ..Page::default() };
    let catalog = control.catalog();
    let mut drills: Vec<RestoreJob> = catalog.page(&newest).await?;
    drills.retain(|restore| restore.drill);
    let read = Read {
        agents: catalog.all(None).await?,
        leases: catalog.all(None).await?,
        checks: checks::newest_of_all(control, jobs).await?,
        drills,
        seen,
    };
    let active = jobs.iter().filter(|job| job.state == JobState::Active);
    let mut facts = Facts::default();
    facts.jobs.extend(active.map(|job| of_job(control, job, &read)));
    let stopped = jobs.iter().filter(|job| job.state == JobState::Stopped);
    facts.stopped.extend(stopped.map(|job| of_job(control, job, &read)));
    for view in control.stores().await? {
        let uses = |job: &&Job| view.jobs.contains(&job.id) && job.state == JobState::Active;
        let Some(first) = jobs.iter().filter(uses).map(|job| job.since).min() else { continue };
        // Its limit or its disk, whichever is nearer.
        let limit = view.store.max_bytes.and_then(|most| Some((view.usage.as_ref()?.bytes, most)));
        let disk = control.disks.used(&view.store.url, &**control.clock()).await;
        let share =
            |(used, room): &(u64, u64)| u128::from(*used) * 1_000_000 / u128::from((*room).max(1));
        let used = limit.into_iter().chain(disk).max_by_key(share);
        // Only that of snapshots is groomed.
        let grooms = jobs.iter().any(|job| uses(&job) && job.stores.snapshot == view.store.id);
        let groomed = if grooms { view.groomed.unwrap_or(first) } else { control.now() };
        let check = control.newest_store_check(&view.store.id).await?;
        let unchecked = check.and_then(|check| check.failure);
        facts.stores.push(StoreFacts { id: view.store.id, used, unchecked, groomed });
    }
    Ok(facts)
}

fn of_job(control: &Control, job: &Job, read: &Read) -> JobFacts {
    let now = control.now();
    let running = control.running(&job.id);
    let live = running.as_ref().map(|running| running.live(now));
    let still = running.as_ref().zip(live.as_ref());
    let agent = live.as_ref().and_then(|live| live.agent.as_ref());
    let seen = read.seen.get(&job.id);
    let serving = serving(&read.agents, job);
    let daemon = format!("daemon/{}", job.id);
    let lease = read.leases.iter().find(|lease| lease.name == daemon);
    let known = seen.filter(|seen| seen.stored > 0).map(|seen| {
        let age = now.since(moment(seen.stored).max(job.since)) / 1000;
        u64::try_from(age).unwrap_or_default()
    });
    let behind = live.as_ref().and_then(|live| live.lag_secs).or(known);
    let failing = seen.and_then(|seen| seen.failing.as_ref());
    let firm = failing.filter(|failing| is_firm(failing, now)).map(|failing| failing.why.clone());
    JobFacts {
        job: job.id.clone(),
        project: job.project.clone(),
        cluster: job.cluster.clone(),
        since: job.since,
        began: control.began(),
        runs: live.is_some(),
        agent_here: agent.is_some(),
        agent_heard: serving.map(|agent| agent.last_conf).max(seen.and_then(|seen| seen.served)),
        agent_problem: serving.and_then(|agent| agent.problem(&job.id)).map(str::to_owned),
        daemon_until: lease.map(|lease| lease.until),
        synced: seen.is_some_and(|seen| seen.snapshot.is_some()),
        behind_secs: behind,
        snapshot: seen.and_then(|seen| seen.snapshot).map(moment),
        still_since: still.map(|(running, live)| running.still_since(live, now)),
        interval_secs: job.schedule.interval_secs,
        announced: job.announced.map(|announced| announced.at),
        resync: seen.and_then(|seen| seen.resync.clone()),
        doubtful: failing.is_some() && firm.is_none(),
        failure: firm.or_else(|| job.message.clone()),
        damage: damage(job, read, now),
        skew_ms: agent.map(|agent| agent.skew_ms),
    }
}

/// The moment of a timestamp.
fn moment(ts: u64) -> UnixMillis {
    UnixMillis(i64::from(Ts(ts).secs()) * 1000)
}

/// Whether a failure is to be told: it needs a person, or it has lasted.
fn is_firm(failing: &Failing, now: UnixMillis) -> bool {
    failing.well.is_none() && (failing.stopped || now.since(failing.since) >= HOLD_MS)
}

/// What the newest check or the newest drill found.
fn damage(job: &Job, read: &Read, now: UnixMillis) -> Option<String> {
    let check = read.checks.iter().find(|check| check.job == job.id && check.finished.is_some());
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
    drilled(job, read, now)
}

/// What is wrong with a job's drills: the newest that ended failed, or one does not end.
fn drilled(job: &Job, read: &Read, now: UnixMillis) -> Option<String> {
    job.drill.as_ref()?;
    let drills = || read.drills.iter().filter(|drill| drill.job == job.id);
    let under_way = drills().find(|drill| drill.status == RestoreStatus::InProgress);
    // Those that wait for their turn are not stuck.
    let stuck = under_way.filter(|d| d.begun.is_some_and(|begun| now.since(begun) > DRILL_MS));
    if let Some(drill) = stuck {
        let since = drill.created.to_rfc3339_seconds();
        return Some(format!("the restore drill of {since} does not end"));
    }
    let ended = drills()
        .find(|drill| matches!(drill.status, RestoreStatus::Finished | RestoreStatus::Broken));
    ended
        .filter(|drill| drill.status == RestoreStatus::Broken)
        .map(|drill| format!("the newest restore drill failed: {}", drill.message))
}
