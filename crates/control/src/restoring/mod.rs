//! Doing restores: into a server, or into a file to be fetched.

mod download;
mod drill;
mod queue;
mod transfer;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bygone_base::{Error, ErrorKind, Result, When};
use bygone_catalog::{
    Id,
    record::{Delivery, Job, Progress, RestoreJob, RestoreStatus},
};
use bygone_head::View;
use bygone_restore::{
    Documents as _, Namespace, PlanOptions, RunOptions, Target, ViewDocuments, plan,
};
use bygone_snapshot::Parts;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use download::clear_links;
pub use download::{Download, download_path};
pub(crate) use drill::drills;
pub(crate) use queue::Queue;
pub(crate) use transfer::Ledger;
pub use transfer::Transfer;

use crate::{
    By, Control,
    restores::{reading, rules},
};

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

/// A drill that takes longer has failed: while it reads, nothing in its store is freed.
const DRILL: Duration = Duration::from_secs(24 * 3600);

/// Does a restore that has begun. Cut off by a stop of the server, it begins anew at the next start.
async fn carry_out(
    control: &Control,
    job: &Job,
    parts: &Parts,
    restore: &RestoreJob,
    token: &CancellationToken,
) -> Result<Outcome> {
    let (sender, progress) = watch::channel(Progress::default());
    let limit = async {
        match restore.drill {
            true => control.clock().sleep(DRILL).await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = token.cancelled() => Err(cancelled()),
        done = deliver(control, job, parts, restore, sender) => done,
        never = note_progress(control, &restore.id, progress) => match never {},
        () = limit => Err(Error::new(ErrorKind::Unavailable, "the drill did not end within a day")),
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled")
}

async fn deliver(
    control: &Control,
    job: &Job,
    parts: &Parts,
    restore: &RestoreJob,
    sender: watch::Sender<Progress>,
) -> Result<Outcome> {
    match &restore.delivery {
        Delivery::Automated { to, .. } => {
            let place = format!("restore/{}", restore.id);
            let uri = control.seal().open(to, &place)?;
            into_server(control, parts, restore, &uri, sender).await
        }
        Delivery::Http { form, .. } => {
            let made = download::prepare(control, job, parts, restore, form, sender).await;
            if made.is_err() {
                // The catalog lies on the same disk.
                download::discard(control, &restore.id)?;
            }
            made
        }
    }
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
    let own: BTreeSet<Namespace> =
        restore.made.iter().map(|name| name.parse()).collect::<Result<_>>()?;
    let (rules, verify) = (rules(&restore.names)?, restore.verify);
    let options = PlanOptions { rules, drop, own, onto_source, verify };
    let clock = control.clock().clone();
    let target = Target::connect(uri, clock.clone()).await?;
    let facts = target.facts().await?;
    let when = moment(restore)?;
    let Parts { snapshots, oplog } = parts;
    let scratch = control.scratch()?;
    let view = View::open(snapshots, oplog, &when, reading(scratch.as_ref()), clock).await?;
    let documents = Arc::new(ViewDocuments::new(view)?);
    let plan = plan(documents.contents(), &facts, &options)?;
    note_made(control, &restore.id, &plan.made()).await?;
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

/// Notes what is about to be made, so that what a crash leaves of it is told from what was there before.
async fn note_made(control: &Control, id: &Id, made: &BTreeSet<Namespace>) -> Result<()> {
    let made: Vec<String> = made.iter().map(Namespace::to_string).collect();
    let noted = control.catalog().change::<RestoreJob>(id.as_str(), |restore| {
        restore.made.clone_from(&made);
        Ok(())
    });
    noted.await.map(|_| ())
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

/// Notes how a restore ended; one that has ended already stays as it is.
async fn note_end(control: &Control, job: &Job, id: &Id, done: Result<Outcome>) -> Result<()> {
    let now = control.now();
    let mut noted = false;
    let ended = control.catalog().change::<RestoreJob>(id.as_str(), |restore| {
        noted = false;
        match &done {
            _ if restore.status != RestoreStatus::InProgress => return Ok(()),
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
        (restore.finished, noted) = (Some(now), true);
        Ok(())
    });
    let restore = ended.await?;
    if !noted {
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
