//! What is done beside the jobs: restores, drills, alerts, samples of use, checks of what is stored.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Job, RestoreJob, RestoreStatus},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Control, alerts, apart, grooms, integrity, restoring, usage};

/// Restores at once.
const RESTORES: usize = 2;
/// Restores are looked for so often, and as soon as one is asked for in this process.
const RESTORES_EVERY: Duration = Duration::from_secs(5);
/// Another server may take a restore over when this one was not heard for so long.
const LEASE_MS: i64 = 30_000;
/// Alerts are looked for so often.
const ALERTS: Duration = Duration::from_secs(5);
/// What is slow and seldom needed.
const SELDOM: Duration = Duration::from_secs(60);

/// Restores under way, and when what is next.
pub(crate) struct Housekeeping {
    control: Arc<Control>,
    owner: String,
    restores: JoinSet<Id>,
    tokens: HashMap<Id, CancellationToken>,
    telling: JoinSet<()>,
    chores: JoinSet<()>,
    checks: JoinSet<()>,
    grooms: JoinSet<()>,
    next_restores: Duration,
    next_alerts: Duration,
    next_seldom: Duration,
    stop: CancellationToken,
}

impl Housekeeping {
    pub(crate) fn new(control: Arc<Control>, owner: String) -> Housekeeping {
        Housekeeping {
            control,
            owner,
            restores: JoinSet::new(),
            tokens: HashMap::new(),
            telling: JoinSet::new(),
            chores: JoinSet::new(),
            checks: JoinSet::new(),
            grooms: JoinSet::new(),
            next_restores: Duration::ZERO,
            next_alerts: Duration::ZERO,
            next_seldom: Duration::ZERO,
            stop: CancellationToken::new(),
        }
    }

    /// What is due now. Never waits for what takes long.
    pub(crate) async fn step(&mut self, jobs: &[Job]) -> Result<()> {
        while let Some(ended) = self.restores.try_join_next() {
            if let Ok(id) = ended {
                self.tokens.remove(&id);
            }
        }
        let now = self.control.clock().monotonic();
        let nudged = self.control.nudged();
        if nudged || now >= self.next_restores {
            self.next_restores = now + RESTORES_EVERY;
            self.restores(jobs).await?;
        }
        if now >= self.next_alerts {
            self.next_alerts = now + ALERTS;
            alerts::look(&self.control, jobs).await?;
            // Those who are told may be slow to listen.
            let control = self.control.clone();
            beside(&mut self.telling, &self.stop, "telling alerts", move || async move {
                alerts::tell(&control).await
            });
        }
        if now >= self.next_seldom {
            self.next_seldom = now + SELDOM;
            restoring::drills(&self.control, jobs).await?;
            self.seldom(jobs);
        } else if nudged {
            self.seldom(jobs);
        }
        Ok(())
    }

    /// What is seldom due. A check reads whole stores, and must not keep the rest from being done.
    fn seldom(&mut self, jobs: &[Job]) {
        let (control, own) = (self.control.clone(), jobs.to_vec());
        beside(&mut self.chores, &self.stop, "housekeeping", move || async move {
            chores(&control, &own).await
        });
        let (control, own) = (self.control.clone(), jobs.to_vec());
        beside(&mut self.grooms, &self.stop, "grooming", move || async move {
            grooms::groom(&control, &own).await
        });
        let (control, own) = (self.control.clone(), jobs.to_vec());
        beside(&mut self.checks, &self.stop, "the check of what is stored", move || async move {
            integrity::check(&control, &own).await
        });
    }

    async fn restores(&mut self, jobs: &[Job]) -> Result<()> {
        let all: Vec<RestoreJob> = self.control.catalog().all(None).await?;
        for restore in all.iter().filter(|r| r.status == RestoreStatus::InProgress) {
            if let Some(token) = self.tokens.get(&restore.id) {
                if restore.cancel {
                    token.cancel();
                }
                continue;
            }
            if self.tokens.len() >= RESTORES || !self.lease(&restore.id).await? {
                continue;
            }
            let Some(job) = jobs.iter().find(|job| job.id == restore.job) else { continue };
            let token = self.stop.child_token();
            self.tokens.insert(restore.id.clone(), token.clone());
            let (control, restore, job) = (self.control.clone(), restore.clone(), job.clone());
            let id = restore.id.clone();
            self.restores.spawn(async move {
                let restoring = move || async move {
                    restoring::run(&control, &job, restore, &token).await;
                };
                if let Err(error) = apart::run("a restore", restoring).await {
                    tracing::warn!(restore = %id, %error, "a restore was cut off");
                }
                id
            });
        }
        for id in self.tokens.keys() {
            self.lease(id).await?;
        }
        Ok(())
    }

    async fn lease(&self, restore: &Id) -> Result<bool> {
        let now = self.control.now();
        let until = UnixMillis(now.0 + LEASE_MS);
        let name = format!("restore/{restore}");
        Ok(self.control.catalog().lease(&name, &self.owner, now, until).await?.is_some())
    }

    /// Ends what is under way; the restores begin anew at the next start.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        while self.restores.join_next().await.is_some() {}
        for tasks in [&mut self.telling, &mut self.chores, &mut self.checks, &mut self.grooms] {
            while tasks.join_next().await.is_some() {}
        }
    }
}

/// Does something beside everything else, unless it is still at it; cut off by `stop`.
fn beside<F: Future<Output = Result<()>>>(
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
    what: &'static str,
    work: impl FnOnce() -> F + Send + 'static,
) {
    while tasks.try_join_next().is_some() {}
    if !tasks.is_empty() {
        return;
    }
    let stop = stop.clone();
    tasks.spawn(async move {
        let work = move || async move {
            tokio::select! {
                done = work() => done,
                () = stop.cancelled() => Ok(()),
            }
        };
        let done = apart::run(what, work).await;
        if let Err(error) = done.and_then(|done| done) {
            tracing::warn!(%error, "{what} failed, and is tried again");
        }
    });
}

async fn chores(control: &Control, jobs: &[Job]) -> Result<()> {
    control.forget_agents().await?;
    restoring::clear_links(control).await?;
    usage::sample(control, jobs).await
}
