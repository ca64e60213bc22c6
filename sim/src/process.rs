//! Processes: started, killed at any moment, started again on the same store.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bygone_agent::{Agent, AgentOptions};
use bygone_base::{Clock, Error, ErrorKind, Result};
use bygone_blockstore::{Repository, Secret, Store};
use bygone_daemon::{Job, JobOptions, JobPhase, JobStatus};
use bygone_ingest::{Ingest, Options};
use bygone_oplog::uplink::PartKey;
use bygone_snapshot::{Parts, Stores};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SimClock,
    dice::Dice,
    net::{Net, Running},
    replica::{FakeSource, ReplicaSet},
    trace::Trace,
};

/// What a process runs.
#[derive(Debug, Clone)]
pub struct Roles {
    /// Ingest and job.
    pub server: Option<JobOptions>,
    /// An agent.
    pub agent: Option<AgentOptions>,
}

/// What processes share with the world.
#[derive(Clone)]
pub struct Site {
    /// Its name in the trace.
    pub name: String,
    /// The store as it sees it.
    pub store: Arc<dyn Store>,
    /// That of its oplog, where it is another one.
    pub oplog: Option<Arc<dyn Store>>,
    /// The repository's key.
    pub secret: Option<Arc<Secret>>,
    /// The part.
    pub key: PartKey,
    /// Its machine's clock.
    pub clock: Arc<SimClock>,
    /// What its agent talks to; what its server answers at.
    pub net: Arc<Net>,
    /// The set that is backed up.
    pub set: Arc<ReplicaSet>,
    /// What it does is written here.
    pub trace: Trace,
    /// Its randomness.
    pub dice: Dice,
    /// What must not happen is said here.
    pub findings: Arc<Mutex<Vec<String>>>,
    /// The job's wish for a resync, which somebody hands to the agent.
    pub resync: watch::Sender<Option<String>>,
    /// Jobs that run, for who grooms the store for all of them.
    pub jobs: Arc<Mutex<Vec<Weak<Job>>>>,
}

impl Site {
    fn find(&self, what: String) {
        self.trace.say(&self.name, format_args!("FINDING {what}"));
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

struct Alive {
    tasks: JoinSet<()>,
    killed: CancellationToken,
    shutdown: CancellationToken,
    ended: Arc<Mutex<bool>>,
}

fn set(flag: &Mutex<bool>) -> MutexGuard<'_, bool> {
    flag.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One process and who starts it again.
pub struct Process {
    /// Where it runs.
    pub site: Site,
    roles: Roles,
    alive: Option<Alive>,
    /// Not started before this moment.
    pub restart_at: Duration,
}

impl Process {
    /// A process that does not run yet.
    pub fn new(site: Site, roles: Roles) -> Process {
        Process { site, roles, alive: None, restart_at: Duration::ZERO }
    }

    /// Starts it when it is down and due.
    pub fn tend(&mut self) {
        let now = self.site.clock.monotonic();
        if self.alive.as_ref().is_some_and(|alive| *set(&alive.ended)) {
            self.alive = None;
            self.detach();
            self.restart_at = now + Duration::from_millis(self.site.dice.between(200, 20_000));
        }
        if self.alive.is_none() && now >= self.restart_at {
            self.start();
        }
    }

    fn detach(&self) {
        if self.roles.server.is_some() {
            self.site.net.attach(None);
        }
    }

    fn start(&mut self) {
        self.site.trace.say(&self.site.name, "starts");
        let alive = Alive {
            tasks: JoinSet::new(),
            killed: CancellationToken::new(),
            shutdown: CancellationToken::new(),
            ended: Arc::default(),
        };
        let alive = self.alive.insert(alive);
        let (site, roles) = (self.site.clone(), self.roles.clone());
        let (killed, shutdown) = (alive.killed.clone(), alive.shutdown.clone());
        let ended = Arc::clone(&alive.ended);
        alive.tasks.spawn(async move {
            main(&site, roles, killed, &shutdown).await;
            *set(&ended) = true;
        });
    }

    /// Kills it: nothing that it was doing goes on.
    pub fn kill(&mut self) {
        if let Some(mut alive) = self.alive.take() {
            self.site.trace.say(&self.site.name, "is killed");
            self.detach();
            alive.killed.cancel();
            alive.tasks.abort_all();
        }
    }

    /// Asks it to stop, as Ctrl-C does.
    pub fn stop(&mut self) {
        if let Some(alive) = &self.alive {
            self.site.trace.say(&self.site.name, "is stopped");
            alive.shutdown.cancel();
        }
    }
}

/// Like `main`: all roles until one ends.
async fn main(site: &Site, roles: Roles, killed: CancellationToken, shutdown: &CancellationToken) {
    let server = async {
        if let Some(options) = roles.server {
            let done = serve(site, options, killed, shutdown).await;
            ended(site, "server", done);
            shutdown.cancel();
        }
    };
    let agent = async {
        if let Some(options) = roles.agent {
            let source = Arc::new(FakeSource(Arc::clone(&site.set)));
            let (net, clock) = (Arc::clone(&site.net), Arc::clone(&site.clock));
            let (agent, _) = Agent::new(source, net, clock, site.dice.rng(), options);
            let done = tokio::select! {
                biased;
                done = agent.run(shutdown) => done.map(|_| ()),
                refused = resync_when_asked(&agent, site.resync.subscribe()) => Err(refused),
            };
            ended(site, "agent", done);
            shutdown.cancel();
        }
    };
    tokio::join!(server, agent);
}

/// Hands the job's wish for a resync to the agent, as `bygone up` does.
async fn resync_when_asked(agent: &Agent, mut wishes: watch::Receiver<Option<String>>) -> Error {
    let mut asked = None;
    loop {
        let wish = wishes.borrow_and_update().clone();
        if wish != asked
            && let Some(reason) = &wish
            && let Err(refused) = agent.request_resync(reason)
        {
            return refused;
        }
        asked = wish;
        if wishes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn ended(site: &Site, who: &str, done: Result<()>) {
    match done {
        Ok(()) => site.trace.say(&site.name, format_args!("{who} ends")),
        Err(e) => {
            site.trace.say(&site.name, format_args!("{who} ends: {:?} {e}", e.kind()));
            if !is_expected(&e) {
                site.find(format!("{who} of {} ended: {:?} {e}", site.name, e.kind()));
            }
        }
    }
}

/// What may end a process without being a bug.
fn is_expected(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Unavailable | ErrorKind::Full)
}

async fn repository(site: &Site, store: &Arc<dyn Store>) -> Result<Repository> {
    let (store, secret) = (Arc::clone(store), site.secret.as_deref());
    Repository::open_or_create(store, secret, site.dice.rng(), site.clock.as_ref()).await
}

async fn stores(site: &Site) -> Result<Stores> {
    let blocks = repository(site, &site.store).await?;
    Ok(match &site.oplog {
        None => Stores::one(blocks),
        Some(store) => {
            let oplog = repository(site, store).await?;
            Stores { blocks, sync: oplog.clone(), oplog }
        }
    })
}

async fn serve(
    site: &Site,
    options: JobOptions,
    killed: CancellationToken,
    shutdown: &CancellationToken,
) -> Result<()> {
    let stores = stores(site).await?;
    let Parts { snapshots, oplog } = stores.part(site.key.job.clone(), site.key.part.clone());
    if site.oplog.is_some() {
        // A groom learns from it that the job has more elsewhere.
        snapshots.set_policy(&options.terms.policy).await?;
    }
    let clock: Arc<dyn Clock> = site.clock.clone();
    let ingest = Ingest::new(stores, clock.clone(), site.dice.rng(), Options::default());
    let ingest = Arc::new(ingest);
    site.net.attach(Some(Running { ingest: Arc::clone(&ingest), killed }));
    let (job, mut status) = Job::new(ingest, site.key.clone(), snapshots, oplog, clock, options);
    let job = Arc::new(job);
    site.jobs.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&job));
    let behind = status.clone();
    let watch = async {
        let mut said = String::new();
        while status.changed().await.is_ok() {
            let now = status.borrow_and_update().clone();
            site.resync.send_replace(now.resync.clone());
            if now.message != said {
                site.trace.say(&site.name, format_args!("job {:?}: {}", now.phase, now.message));
                if now.phase == JobPhase::Stopped && now.failure.is_some() && now.resync.is_none() {
                    stopped(site, &now.message);
                }
                said = now.message;
            }
        }
    };
    tokio::select! {
        biased;
        () = watch => Ok(()),
        () = free(site, &job, behind) => Ok(()),
        done = job.run(shutdown) => {
            if let Err(e) = done {
                site.trace.say(&site.name, format_args!("job failed until the end: {e}"));
            }
            Ok(())
        }
    }
}

/// Expires and grooms behind each snapshot, while the job goes on.
async fn free(site: &Site, job: &Job, mut status: watch::Receiver<JobStatus>) {
    let mut taken = 0;
    while status.wait_for(|now| now.taken > taken).await.map(|now| taken = now.taken).is_ok() {
        let freed = match job.tidy().await {
            Ok(_) => job.groom().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = freed {
            site.trace.say(&site.name, format_args!("nothing was freed: {error}"));
        }
    }
    std::future::pending().await
}

/// The job waits for a person: a bug, unless the store is full. (It stays in that phase while a
/// later try fails for a passing reason.)
fn stopped(site: &Site, message: &str) {
    if !message.contains("injected") {
        site.find(format!("the job of {} stopped: {message}", site.name));
    }
}
