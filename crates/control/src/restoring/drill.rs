//! Restore drills: the newest snapshot of a job into the scratch server that its operator names, again and again.

use bygone_base::{Result, UnixMillis, When};
use bygone_catalog::{
    Id,
    record::{Actor, Delivery, Drill, Job, JobState, Names, RestoreJob, RestoreStatus},
};
use bygone_head::choose;
use bygone_snapshot::Parts;

use crate::{By, Control};

/// Asks for the drills that are due. None while another one of the same job is waiting or being done: where a target
/// is slow, or stands still, they would pile up.
pub(crate) async fn drills(control: &Control, jobs: &[Job]) -> Result<()> {
    let now = control.now();
    let due = |job: &&Job| {
        job.state == JobState::Active && job.drill.as_ref().is_some_and(|drill| is_due(drill, now))
    };
    let due: Vec<&Job> = jobs.iter().filter(due).collect();
    if due.is_empty() {
        return Ok(());
    }
    let restores: Vec<RestoreJob> = control.catalog().all(None).await?;
    for job in due {
        let same = |restore: &RestoreJob| {
            restore.drill && restore.job == job.id && restore.status == RestoreStatus::InProgress
        };
        if restores.iter().any(same) {
            continue;
        }
        if let Err(error) = begin(control, job).await {
            tracing::info!(job = job.name, %error, "a drill could not begin yet");
        }
    }
    Ok(())
}

fn is_due(drill: &Drill, now: UnixMillis) -> bool {
    let every = i64::try_from(drill.every_secs).unwrap_or(i64::MAX / 1000).saturating_mul(1000);
    drill.last.is_none_or(|last| now.since(last) >= every)
}

/// What is the newest snapshot by now, a drill whose turn has come is about.
pub(super) async fn of_newest(control: &Control, parts: &Parts, id: &Id) -> Result<()> {
    let Parts { snapshots, oplog } = parts;
    let Some(newest) = snapshots.snapshot_ids().await?.pop() else { return Ok(()) };
    let chosen = choose(snapshots, oplog, &When::Snapshot(newest)).await?;
    let changed = control.catalog().change::<RestoreJob>(id.as_str(), |restore| {
        restore.when = chosen.manifest.id.to_string();
        restore.moment = chosen.at.to_string();
        restore.snapshot = Some(chosen.manifest.id.to_string());
        Ok(())
    });
    changed.await.map(|_| ())
}

async fn begin(control: &Control, job: &Job) -> Result<()> {
    let Some(drill) = &job.drill else { return Ok(()) };
    let Some(Parts { snapshots, oplog }) = control.parts(job).await? else { return Ok(()) };
    let Some(newest) = snapshots.snapshot_ids().await?.pop() else { return Ok(()) };
    let chosen = choose(&snapshots, &oplog, &When::Snapshot(newest)).await?;
    let uri = control.seal().open(&drill.to, &format!("drill/{}", job.id))?;
    let id = control.new_id();
    let to = control.seal().seal(&uri, &format!("restore/{id}"), &**control.rng())?;
    let by = By { actor: Actor::System, address: None };
    let when = chosen.manifest.id.to_string();
    let shown = drill.shown.clone();
    let restore = RestoreJob {
        delivery: Delivery::Automated { to, shown, drop: true, onto_source: false },
        verify: true,
        drill: true,
        ..control.new_restore(id, job, &when, &chosen, Names::default(), &by)
    };
    let now = control.now();
    // First the mark: after a crash between the two a drill is left out, not done twice.
    let marked = control.catalog().change::<Job>(job.id.as_str(), |job| {
        if let Some(drill) = &mut job.drill {
            drill.last = Some(now);
        }
        Ok(())
    });
    marked.await?;
    control.catalog().insert(&restore).await?;
    control.nudge();
    let message = format!("drill: {} is restored into {}", job.cluster, drill.shown);
    control.event(&by, Some(&job.project), Some(job), "RESTORE_DRILL_STARTED", message).await
}
