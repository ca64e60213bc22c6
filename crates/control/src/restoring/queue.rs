//! Restores that were asked for: each waits for its turn, with its snapshot held, and is done.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use bygone_catalog::{
    Id, Lease,
    record::{Job, RestoreJob, RestoreStatus},
};
use bygone_groom::lease;
use bygone_snapshot::Parts;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Outcome, cancelled, carry_out, drill, note_end};
use crate::{Control, apart};

/// Restores for people at once ...
const RESTORES: usize = 2;
/// ... and drills, which take no turn from them.
const DRILLS: usize = 1;
/// Another server may take a restore over when this one was not heard for so long.
const LEASE_MS: i64 = 30_000;

/// The restores that this process has taken.
pub(crate) struct Queue {
    control: Arc<Control>,
    owner: String,
    tasks: JoinSet<Id>,
    taken: HashMap<Id, CancellationToken>,
    people: Arc<Semaphore>,
    drills: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Queue {
    pub(crate) fn new(control: Arc<Control>, owner: String) -> Queue {
        Queue {
            control,
            owner,
            tasks: JoinSet::new(),
            taken: HashMap::new(),
            people: Arc::new(Semaphore::new(RESTORES)),
            drills: Arc::new(Semaphore::new(DRILLS)),
            stop: CancellationToken::new(),
        }
    }

    /// Takes what was asked for, and ends what was cancelled. Waits for none of it.
    pub(crate) async fn step(&mut self, jobs: &[Job]) -> Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Ok(id) = ended {
                self.taken.remove(&id);
                self.control.catalog().delete::<Lease>(&lease_name(&id)).await?;
            }
        }
        let mut open: Vec<RestoreJob> = self.control.catalog().all(None).await?;
        open.retain(|restore| restore.status == RestoreStatus::InProgress);
        let wanted: HashSet<&Id> =
            open.iter().filter(|restore| !restore.cancel).map(|restore| &restore.id).collect();
        for (id, token) in &self.taken {
            if !wanted.contains(id) {
                token.cancel();
            }
        }
        for restore in open {
            let known = self.taken.contains_key(&restore.id);
            if self.lease(&restore.id).await? && !known {
                self.take(jobs, restore).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, jobs: &[Job], restore: RestoreJob) -> Result<()> {
        let Some(job) = jobs.iter().find(|job| job.id == restore.job).cloned() else {
            return note_orphan(&self.control, &restore.id).await;
        };
        let token = self.stop.child_token();
        // One that a crash cut off, and somebody cancelled since, is ended by who has its lease now.
        if restore.cancel {
            token.cancel();
        }
        self.taken.insert(restore.id.clone(), token.clone());
        let turns = if restore.drill { &self.drills } else { &self.people };
        let (control, turns) = (self.control.clone(), Arc::clone(turns));
        self.tasks.spawn(async move {
            let id = restore.id.clone();
            let done = attend(&control, &job, restore, &token, &turns).await;
            if let Err(error) = note_end(&control, &job, &id, done).await {
                tracing::warn!(restore = %id, %error, "the end of a restore was not noted");
            }
            id
        });
        Ok(())
    }

    async fn lease(&self, restore: &Id) -> Result<bool> {
        let now = self.control.now();
        let until = UnixMillis(now.0 + LEASE_MS);
        let name = lease_name(restore);
        let lease = self.control.catalog().lease(&name, &self.owner, now, until).await?;
        Ok(lease.is_some())
    }

    /// Ends what is under way; it begins anew at the next start.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn lease_name(restore: &Id) -> String {
    format!("restore/{restore}")
}

/// Waits for its turn and does it. Its snapshot is held all the while: it must not expire before the turn comes. A drill
/// holds nothing while it waits, for it is of whatever snapshot is the newest then.
async fn attend(
    control: &Arc<Control>,
    job: &Job,
    restore: RestoreJob,
    token: &CancellationToken,
    turns: &Semaphore,
) -> Result<Outcome> {
    let mut held = None;
    let turn = || async {
        let turn = turns.acquire().await;
        turn.map_err(|e| Error::internal("restores are over").source(e))
    };
    let waiting = async {
        let early = if restore.drill { Some(turn().await?) } else { None };
        let parts = control.stored_parts(job).await?;
        let clock = control.clock().clone();
        held = lease::hold(parts.snapshots.repository(), clock, "a restore").await?;
        if restore.drill {
            drill::of_newest(control, &parts, &restore.id).await?;
        }
        let turn = match early {
            Some(turn) => turn,
            None => turn().await?,
        };
        Ok((parts, turn))
    };
    let waited = tokio::select! {
        biased;
        () = token.cancelled() => Err(cancelled()),
        waited = waiting => waited,
    };
    let done = match waited {
        Ok((parts, _turn)) => in_turn(control, job, parts, restore, token).await,
        Err(error) => Err(error),
    };
    if let Some(held) = held {
        held.release().await;
    }
    done
}

async fn in_turn(
    control: &Arc<Control>,
    job: &Job,
    parts: Parts,
    restore: RestoreJob,
    token: &CancellationToken,
) -> Result<Outcome> {
    let restore = begin(control, &restore.id).await?;
    let (control, job, token) = (Arc::clone(control), job.clone(), token.clone());
    let doing = move || async move { carry_out(&control, &job, &parts, &restore, &token).await };
    apart::run("the restore", doing).await?
}

/// Begins with a restore as it is now, unless somebody cancelled it while it waited.
async fn begin(control: &Control, id: &Id) -> Result<RestoreJob> {
    let now = control.now();
    let begun = control.catalog().change::<RestoreJob>(id.as_str(), |restore| {
        if restore.cancel || restore.status != RestoreStatus::InProgress {
            return Err(cancelled());
        }
        restore.begun = Some(now);
        Ok(())
    });
    begun.await
}

/// A restore of a job that was removed can never be done.
async fn note_orphan(control: &Control, id: &Id) -> Result<()> {
    let now = control.now();
    let ended = control.catalog().change::<RestoreJob>(id.as_str(), |restore| {
        if restore.status == RestoreStatus::InProgress {
            (restore.status, restore.finished) = (RestoreStatus::Broken, Some(now));
            restore.message = Error::new(ErrorKind::NotFound, "its job was removed").to_string();
        }
        Ok(())
    });
    ended.await?;
    control.catalog().delete::<Lease>(&lease_name(id)).await
}
