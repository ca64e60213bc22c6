//! What is done beside the jobs: restores, drills, alerts, samples of use, checks of what is stored.

use std::{sync::Arc, time::Duration};

use bygone_base::Result;
use bygone_catalog::record::Job;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Control,
    alerts::{self, Telling},
    apart, forget, grooms, integrity,
    restoring::{self, Queue},
    seen, usage,
};

/// Restores are looked for so often, and as soon as one is asked for in this process.
const RESTORES_EVERY: Duration = Duration::from_secs(5);
/// Alerts are looked for so often.
const ALERTS: Duration = Duration::from_secs(5);
/// What is slow and seldom needed.
const SELDOM: Duration = Duration::from_secs(60);

/// Restores under way, and when what is next.
pub(crate) struct Housekeeping {
    control: Arc<Control>,
    restores: Queue,
    telling: Telling,
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
            restores: Queue::new(control.clone(), owner),
            control,
            telling: Telling::default(),
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
        let now = self.control.clock().monotonic();
        let nudged = self.control.nudged();
        if nudged || now >= self.next_restores {
            self.next_restores = now + RESTORES_EVERY;
            restoring::drills(&self.control, jobs).await?;
            self.restores.step(jobs).await?;
        }
        if now >= self.next_alerts {
            self.next_alerts = now + ALERTS;
            alerts::look(&self.control, jobs).await?;
            self.telling.step(&self.control, &self.stop).await?;
        }
        if now >= self.next_seldom {
            self.next_seldom = now + SELDOM;
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

    async fn note(&self) -> Result<()> {
        let jobs: Vec<Job> = self.control.catalog().all(None).await?;
        seen::note(&self.control, &jobs).await.map(|_| ())
    }

    /// Ends what is under way; the restores begin anew at the next start.
    pub(crate) async fn stop(&mut self) {
        // As things stand now they are known at the next start.
        if let Err(error) = self.note().await {
            tracing::warn!(%error, "how the jobs stand was not noted");
        }
        self.stop.cancel();
        self.restores.stop().await;
        self.telling.stop().await;
        for tasks in [&mut self.chores, &mut self.checks, &mut self.grooms] {
            while tasks.join_next().await.is_some() {}
        }
    }
}

/// Does something beside everything else, unless it is still at it; cut off by `stop`.
pub(crate) fn beside<F: Future<Output = Result<()>>>(
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
    forget::old(control).await?;
    restoring::clear_links(control).await?;
    usage::sample(control, jobs).await
}
