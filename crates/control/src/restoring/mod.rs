//! Doing restores: into a server, or into a file to be fetched.

mod download;
mod queue;

use std::{sync::Arc, time::Duration};

use bygone_base::{Error, ErrorKind, Result, When};
use bygone_catalog::{
    Id,
    record::{Actor, Delivery, Job, JobState, Names, Progress, RestoreJob, RestoreStatus},
};
use bygone_groom::lease;
use bygone_head::{View, ViewOptions, choose};
use bygone_restore::{Documents as _, PlanOptions, RunOptions, Target, ViewDocuments, plan};
use bygone_snapshot::Parts;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use download::clear_links;
pub use download::{Download, download_path};
pub(crate) use queue::Queue;

use crate::{By, Control, restores::rules};

/// How far it is, is noted so often.
const NOTE: Duration = Duration::from_secs(1);
/// Insert connections.
const CONNECTIONS: usize = 2;

/// How a restore ended well.
pub(crate) struct Outcome {
    message: String,
    proof: Option<serde_json::Value>,
    hashes: Vec<(String, String)>,
    size: Option<u64>,
    /// The proof does not hold.
    differs: bool,
}

/// Does a restore and notes how it ended. Cut off by a stop of the server, it begins anew at the next start.
pub(crate) async fn run(
    control: &Control,
    job: &Job,
    restore: RestoreJob,
    token: &CancellationToken,
) {
    let (sender, progress) = watch::channel(Progress::default());
    let id = restore.id.clone();
    let done = tokio::select! {
        done = deliver(control, job, &restore, sender) => done,
        never = note_progress(control, &id, progress) => match never {},
        () = token.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
    };
    let noted = note_end(control, job, &id, done).await;
    if let Err(error) = noted {
        tracing::warn!(restore = %id, %error, "the end of a restore was not noted");
    }
}

async fn deliver(
    control: &Control,
    job: &Job,
    restore: &RestoreJob,
    sender: watch::Sender<Progress>,
) -> Result<Outcome> {
    let parts = control.stored_parts(job).await?;
    let clock = control.clock().clone();
    let held = lease::hold(parts.snapshots.repository(), clock, "a restore").await?;
    let done = match &restore.delivery {
        Delivery::Automated { to, .. } => {
            let place = format!("restore/{}", restore.id);
            let uri = control.seal().open(to, &place)?;
            into_server(control, &parts, restore, &uri, sender).await
        }
        Delivery::Http { form, .. } => {
            download::prepare(control, job, &parts, restore, form, sender).await
        }
    };
    if let Some(held) = held {
        held.release().await;
    }
    done
}

/// The moment that was chosen when the restore was asked for: what came since does not change it.
pub(crate) fn moment(restore: &RestoreJob) -> Result<When> {
    match (&restore.snapshot, restore.point_in_time) {
        (Some(snapshot), false) => snapshot.parse(),
        _ => restore.moment.parse(),
    }
}

async fn into_server(
    control: &Control,
    parts: &Parts,
    restore: &RestoreJob,
    uri: &str,
    sender: watch::Sender<Progress>,
) -> Result<Outcome> {
    let Delivery::Automated { drop, onto_source, .. } = restore.delivery else {
        return Err(Error::internal("a download is no restore into a server"));
    };
    let options =
        PlanOptions { rules: rules(&restore.names)?, drop, onto_source, verify: restore.verify };
    let clock = control.clock().clone();
    let target = Target::connect(uri, clock.clone()).await?;
    let facts = target.facts().await?;
    let when = moment(restore)?;
    let Parts { snapshots, oplog } = parts;
    let view = View::open(snapshots, oplog, &when, ViewOptions::default(), clock).await?;
    let documents = Arc::new(ViewDocuments::new(view)?);
    let plan = plan(documents.contents(), &facts, &options)?;
    let (inner, mut progress) = watch::channel(bygone_restore::Progress::default());
    let run = RunOptions { connections: CONNECTIONS, verify: restore.verify };
    let restoring = bygone_restore::run(documents, &target, &facts, plan, run, inner);
    let relay = async {
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            sender.send_replace(Progress {
                phase: word(now.phase).to_owned(),
                documents: now.documents,
                bytes: now.bytes,
                bytes_total: now.bytes_total,
            });
        }
    };
    let (done, ()) = tokio::join!(restoring, relay);
    let done = done?;
    let mut message = format!("{} documents restored", done.documents);
    for warning in &done.warnings {
        message += &format!("; {warning}");
    }
    Ok(Outcome {
        message,
        differs: done.proof.as_ref().is_some_and(|proof| !proof.holds()),
        proof: done.proof.as_ref().map(bygone_restore::Proof::to_json),
        hashes: Vec::new(),
        size: None,
    })
}

fn word(phase: bygone_restore::Phase) -> &'static str {
    use bygone_restore::Phase;
    match phase {
        Phase::Preparing => "preparing",
        Phase::Loading => "loading",
        Phase::Completing => "completing indexes, views and users",
        Phase::Proving => "proving",
        Phase::Done => "done",
    }
}

async fn note_progress(
    control: &Control,
    id: &Id,
    mut progress: watch::Receiver<Progress>,
) -> std::convert::Infallible {
    loop {
        control.clock().sleep(NOTE).await;
        if !progress.has_changed().unwrap_or_default() {
            continue;
        }
        let now = progress.borrow_and_update().clone();
        let noted = control.catalog().change::<RestoreJob>(id.as_str(), |restore| {
            restore.progress = now.clone();
            Ok(())
        });
        if let Err(error) = noted.await {
            tracing::warn!(restore = %id, %error, "progress was not noted");
        }
    }
}

async fn note_end(control: &Control, job: &Job, id: &Id, done: Result<Outcome>) -> Result<()> {
    let now = control.now();
    let ended = control.catalog().change::<RestoreJob>(id.as_str(), |restore| {
        match &done {
            // The server stops: nobody cancelled this restore, so it stays to be done.
            Err(e) if e.kind() == ErrorKind::Cancelled && !restore.cancel => return Ok(()),
            Err(e) if e.kind() == ErrorKind::Cancelled => restore.status = RestoreStatus::Killed,
            Err(e) => {
                restore.status = RestoreStatus::Broken;
                let hint = e.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
                restore.message = format!("{e}{hint}");
            }
            Ok(outcome) => finish(restore, outcome),
        }
        restore.finished = Some(now);
        Ok(())
    });
    let restore = ended.await?;
    if restore.finished.is_none() {
        return Ok(());
    }
    let kind = match restore.status {
        RestoreStatus::Finished => "RESTORE_FINISHED",
        RestoreStatus::Killed => "RESTORE_CANCELLED",
        _ => "RESTORE_FAILED",
    };
    let message =
        format!("restore of {} as of {}: {}", job.cluster, restore.moment, restore.message);
    control.event(&By::system(), Some(&job.project), Some(job), kind, message).await
}

fn finish(restore: &mut RestoreJob, outcome: &Outcome) {
    restore.status = if outcome.differs { RestoreStatus::Broken } else { RestoreStatus::Finished };
    restore.message.clone_from(&outcome.message);
    if outcome.differs {
        restore.message += "; the target's dbHash or catalogue differs: see the proof";
    }
    restore.proof.clone_from(&outcome.proof);
    restore.hashes.clone_from(&outcome.hashes);
    restore.progress.phase = "done".to_owned();
    restore.progress.bytes = restore.progress.bytes.max(restore.progress.bytes_total);
    if let Delivery::Http { size, .. } = &mut restore.delivery {
        *size = outcome.size;
    }
}

/// Restores the newest snapshot of jobs whose drill is due into their scratch servers.
pub(crate) async fn drills(control: &Control, jobs: &[Job]) -> Result<()> {
    let now = control.now();
    let due = |job: &&Job| {
        let every = |drill: &bygone_catalog::record::Drill| {
            let every = i64::try_from(drill.every_secs).unwrap_or(i64::MAX / 1000) * 1000;
            drill.last.is_none_or(|last| now.since(last) >= every)
        };
        job.state == JobState::Active && job.drill.as_ref().is_some_and(every)
    };
    for job in jobs.iter().filter(due) {
        if let Err(error) = begin_drill(control, job).await {
            tracing::info!(job = job.name, %error, "a drill could not begin yet");
        }
    }
    Ok(())
}

async fn begin_drill(control: &Control, job: &Job) -> Result<()> {
    let Some(drill) = &job.drill else { return Ok(()) };
    let Some(Parts { snapshots, oplog }) = control.parts(job).await? else { return Ok(()) };
    let Some(newest) = snapshots.snapshot_ids().await?.pop() else { return Ok(()) };
    let chosen = choose(&snapshots, &oplog, &When::Snapshot(newest)).await?;
    let uri = control.seal().open(&drill.to, &format!("drill/{}", job.id))?;
    let id = control.new_id();
    let to = control.seal().seal(&uri, &format!("restore/{id}"), &**control.rng())?;
    let by = By { actor: Actor::System, address: None };
    let when = chosen.manifest.id.to_string();
    let restore = RestoreJob {
        delivery: Delivery::Automated {
            to,
            shown: drill.shown.clone(),
            drop: true,
            onto_source: false,
        },
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
    let message = format!("drill: {} is restored into {}", job.cluster, drill.shown);
    control.event(&by, Some(&job.project), Some(job), "RESTORE_DRILL_STARTED", message).await
}
