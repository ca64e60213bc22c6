//! What is done beside the jobs: restores, drills, alerts, samples of use, checks of what is stored.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Job, RestoreJob, RestoreStatus},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Control, alerts, apart, integrity, restoring, usage};

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
    chores: JoinSet<()>,
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
            chores: JoinSet::new(),
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
        while self.chores.try_join_next().is_some() {}
        let now = self.control.clock().monotonic();
        if self.control.nudged() || now >= self.next_restores {
            self.next_restores = now + RESTORES_EVERY;
            self.restores(jobs).await?;
        }
        if now >= self.next_alerts {
            self.next_alerts = now + ALERTS;
            alerts::look(&self.control, jobs).await?;
        }
        if now >= self.next_seldom && self.chores.is_empty() {
            self.next_seldom = now + SELDOM;
            restoring::drills(&self.control, jobs).await?;
            self.seldom(jobs.to_vec());
        }
        Ok(())
    }

    /// Reads whole stores, so beside everything else.
    fn seldom(&mut self, jobs: Vec<Job>) {
        let (control, stop) = (self.control.clone(), self.stop.clone());
        self.chores.spawn(async move {
            let chores = move || async move {
                tokio::select! {
                    done = chores(&control, &jobs) => done,
                    () = stop.cancelled() => Ok(()),
                }
            };
            let done = apart::run("housekeeping", chores).await;
            if let Err(error) = done.and_then(|done| done) {
                tracing::warn!(%error, "housekeeping failed, and is tried again");
            }
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
        while self.chores.join_next().await.is_some() {}
    }
}

async fn chores(control: &Control, jobs: &[Job]) -> Result<()> {
    control.forget_agents().await?;
    restoring::clear_links(control).await?;
    usage::sample(control, jobs).await?;
    integrity::check(control, jobs).await
}
