//! What is done beside the jobs, each by itself: what one waits for keeps no other waiting.

use std::{sync::Arc, time::Duration};

use bygone_base::Result;
use bygone_catalog::record::Job;
use futures::future::LocalBoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Control,
    alerts::{self, Telling},
    apart, checks, expiry, forget, grooms,
    restoring::{self, Queue},
    seen, usage,
};

/// Restores are looked for so often, and as soon as one is asked for in this process.
const RESTORES: Duration = Duration::from_secs(5);
/// Alerts are looked for so often, and told at once.
const ALERTS: Duration = Duration::from_secs(5);

/// Of the same work so many turns at once at most: a turn leaves alone what another one is at, so that a store which
/// takes long keeps no other waiting.
const TURNS: usize = 16;

/// What it does, with all jobs as they were.
type Work = fn(Arc<Control>, Vec<Job>) -> LocalBoxFuture<'static, Result<()>>;

/// All of them: name, how often, whether also as soon as something is asked for in this process, turns at once (several
/// only of what keeps apart what each is at), and what.
const CHORES: [(&str, u64, bool, usize, Work); 7] = [
    ("expiry", 1, true, 1, |control, jobs| {
        Box::pin(async move { expiry::expire(&control, &jobs).await })
    }),
    ("grooming", 5, true, TURNS, |control, jobs| {
        Box::pin(async move { grooms::groom(&control, &jobs).await })
    }),
    ("checks of jobs", 60, true, TURNS, |control, jobs| {
        Box::pin(async move { checks::of_jobs(&control, &jobs).await })
    }),
    ("checks of stores", 60, true, TURNS, |control, jobs| {
        Box::pin(async move { checks::of_stores(&control, &jobs).await })
    }),
    ("drills", 5, true, 1, |control, jobs| {
        Box::pin(async move { restoring::drills(&control, &jobs).await })
    }),
    ("samples of use", 60, false, 1, |control, jobs| {
        Box::pin(async move { usage::sample(&control, &jobs).await })
    }),
    ("tidying up", 60, false, 1, |control, _| {
        Box::pin(async move {
            control.forget_agents().await?;
            forget::old(&control).await?;
            restoring::clear_links(&control).await
        })
    }),
];

/// What is under way, and when what is next.
pub(crate) struct Housekeeping {
    control: Arc<Control>,
    restores: Queue,
    telling: Telling,
    next_restores: Duration,
    next_alerts: Duration,
    chores: Vec<Chore>,
    stop: CancellationToken,
}

struct Chore {
    name: &'static str,
    every: Duration,
    nudged: bool,
    work: Work,
    next: Duration,
    /// Turns at once.
    most: usize,
    tasks: JoinSet<()>,
}

impl Housekeeping {
    pub(crate) fn new(control: Arc<Control>, owner: String) -> Housekeeping {
        let chore = |(name, secs, nudged, most, work)| {
            let (next, tasks) = (Duration::ZERO, JoinSet::new());
            Chore { name, every: Duration::from_secs(secs), nudged, work, next, most, tasks }
        };
        Housekeeping {
            restores: Queue::new(control.clone(), owner),
            control,
            telling: Telling::default(),
            next_restores: Duration::ZERO,
            next_alerts: Duration::ZERO,
            chores: CHORES.into_iter().map(chore).collect(),
            stop: CancellationToken::new(),
        }
    }

    /// What is due now. Never waits for what takes long.
    pub(crate) async fn step(&mut self, jobs: &[Job]) -> Result<()> {
        let now = self.control.clock().monotonic();
        let nudged = self.control.nudged();
        for chore in &mut self.chores {
            // What was asked for while it is at work is looked at behind it.
            if nudged && chore.nudged {
                chore.next = now;
            }
            if now >= chore.next && chore.begin(&self.control, jobs, &self.stop) {
                chore.next = now + chore.every;
            }
        }
        if nudged || now >= self.next_restores {
            self.next_restores = now + RESTORES;
            self.restores.step(jobs).await?;
        }
        if now >= self.next_alerts {
            self.next_alerts = now + ALERTS;
            alerts::look(&self.control, jobs).await?;
            self.telling.step(&self.control, &self.stop).await?;
        }
        Ok(())
    }

    async fn note(&self) -> Result<()> {
        let jobs: Vec<Job> = self.control.catalog().all(None).await?;
        seen::note(&self.control, &jobs).await.map(|_| ())
    }

    /// Ends what is under way; it begins anew at the next start.
    pub(crate) async fn stop(&mut self) {
        // As things stand now they are known at the next start.
        if let Err(error) = self.note().await {
            tracing::warn!(%error, "how the jobs stand was not noted");
        }
        self.stop.cancel();
        self.restores.stop().await;
        self.telling.stop().await;
        for chore in &mut self.chores {
            while chore.tasks.join_next().await.is_some() {}
        }
    }
}

impl Chore {
    /// Begins with it, unless it is still at it. Whether it did.
    fn begin(&mut self, control: &Arc<Control>, jobs: &[Job], stop: &CancellationToken) -> bool {
        let (control, jobs, work) = (control.clone(), jobs.to_vec(), self.work);
        beside(&mut self.tasks, self.most, stop, self.name, move || work(control, jobs))
    }
}

/// Does something beside everything else, unless so many turns of it are still at it; cut off by `stop`. Whether it began.
pub(crate) fn beside<F: Future<Output = Result<()>>>(
    tasks: &mut JoinSet<()>,
    most: usize,
    stop: &CancellationToken,
    what: &'static str,
    work: impl FnOnce() -> F + Send + 'static,
) -> bool {
    while tasks.try_join_next().is_some() {}
    if tasks.len() >= most {
        return false;
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
    true
}
