//! The agent process: asks its server for work, and runs an agent for each job that it is given.
//!
//! While the server cannot be reached, what was given goes on: the data waits in the agents, and whether somebody
//! else has taken over is decided by the epochs in the store, not here.

mod conf;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bygone_base::{ByteSize, Clock, Error, ErrorKind, Result, Rng};
use bygone_oplog::{filter::Filter, uplink::Uplink};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use conf::{Conf, ConfCall, Found, Hidden, Work, decode, encode};

use crate::{Agent, AgentOptions, MongoSource, Source, SourceUri, Wanted, source::set_name};

/// From one conf call to the next.
const EVERY: Duration = Duration::from_secs(5);
/// ... while there is something to tell: a set's name that the server waits for.
const SOON: Duration = Duration::from_millis(200);
/// An agent that ended with an error is started again after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// How sources are reached.
#[async_trait]
pub trait Sources: Send + Sync + fmt::Debug {
    /// The source of a URI.
    async fn open(&self, uri: &str) -> Result<Arc<dyn Source>>;
}

/// Real servers.
#[derive(Debug)]
pub struct MongoSources {
    /// Clock of their connections.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Sources for MongoSources {
    async fn open(&self, uri: &str) -> Result<Arc<dyn Source>> {
        let uri = SourceUri::parse(uri)?;
        Ok(Arc::new(MongoSource::new(uri, self.clock.clone()).await?))
    }
}

/// What a process of agents needs.
#[derive(Clone)]
pub struct Fleet {
    /// Who hands out work.
    pub conf: Arc<dyn Conf>,
    /// Where the data goes.
    pub uplink: Arc<dyn Uplink>,
    /// How sources are reached.
    pub sources: Arc<dyn Sources>,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The name of this host.
    pub host: String,
}

/// A job being served.
struct Served {
    work: Work,
    cell: Arc<Cell>,
    /// How many of the asked-for resyncs it knows of.
    resync: u64,
    reason: Option<String>,
    /// When it may be started again, after it ended.
    ended: Option<Duration>,
}

/// What a serving task shares with the loop.
#[derive(Default)]
struct Cell {
    stop: CancellationToken,
    agent: OnceLock<Arc<Agent>>,
    found: Mutex<(Option<String>, Option<String>)>,
}

impl Cell {
    fn found(&self) -> std::sync::MutexGuard<'_, (Option<String>, Option<String>)> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Ended = (String, Arc<Cell>, Result<()>);

impl Fleet {
    /// Serves until `shutdown`, then lets every agent end its work and says goodbye.
    ///
    /// # Errors
    /// Denied: the server does not know this agent's key.
    pub async fn run(&self, shutdown: &CancellationToken) -> Result<()> {
        let agent = format!("{:016x}", self.rng.next_u64());
        let mut served: HashMap<String, Served> = HashMap::new();
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        let mut reached = false;
        let end = loop {
            match self.conf.conf(&self.call(&agent, &served, false)).await {
                Ok(work) => {
                    reached = true;
                    self.follow(work, &mut served, &mut tasks);
                }
                Err(e) if e.kind() == ErrorKind::Denied && !reached => break Err(e),
                Err(error) => tracing::warn!(%error, "the server hands out no work for now"),
            }
            let untold = served.values().any(|s| s.work.set.is_none() && s.ended.is_some());
            let wait = if untold { SOON } else { EVERY };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break Ok(()),
                Some(Ok(ended)) = tasks.join_next() => self.note(ended, &mut served),
                () = self.clock.sleep(wait) => {}
            }
        };
        for one in served.values() {
            one.cell.stop.cancel();
        }
        while tasks.join_next().await.is_some() {}
        if reached {
            let goodbye = self.conf.conf(&self.call(&agent, &HashMap::new(), true)).await;
            if let Err(error) = goodbye {
                tracing::info!(%error, "the server was not told that this agent stops");
            }
        }
        end
    }

    fn call(&self, agent: &str, served: &HashMap<String, Served>, leaving: bool) -> ConfCall {
        let found = served.iter().map(|(job, one)| {
            let (set, problem) = one.cell.found().clone();
            Found { job: job.clone(), set, problem, resync: one.resync }
        });
        ConfCall {
            agent: agent.to_owned(),
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            found: found.collect(),
            leaving,
        }
    }

    /// Brings what is served in line with what is to be.
    fn follow(
        &self,
        wanted: Vec<Work>,
        served: &mut HashMap<String, Served>,
        tasks: &mut JoinSet<Ended>,
    ) {
        let wanted: HashMap<String, Work> =
            wanted.into_iter().map(|work| (work.job.clone(), work)).collect();
        served.retain(|job, one| {
            let stays = wanted.get(job).is_some_and(|work| same(work, &one.work));
            if !stays {
                one.cell.stop.cancel();
            }
            // One that still runs is waited for: two agents of one part would fence each other off.
            stays || one.ended.is_none()
        });
        let now = self.clock.monotonic();
        for (job, work) in wanted {
            match served.get_mut(&job) {
                Some(one) if one.cell.stop.is_cancelled() => {}
                Some(one) => {
                    if one.ended.is_some_and(|at| at <= now) {
                        *one = self.start(work, tasks);
                    } else {
                        resync(one, &work);
                    }
                }
                None => {
                    served.insert(job, self.start(work, tasks));
                }
            }
        }
    }

    fn start(&self, work: Work, tasks: &mut JoinSet<Ended>) -> Served {
        let cell = Arc::new(Cell::default());
        let (fleet, shared, wanted) = (self.clone(), Arc::clone(&cell), work.clone());
        tasks.spawn(async move {
            let ended = fleet.serve(&wanted, &shared).await;
            (wanted.job, shared, ended)
        });
        Served { resync: work.resync_done, reason: work.reason.clone(), work, cell, ended: None }
    }

    fn note(&self, (job, cell, ended): Ended, served: &mut HashMap<String, Served>) {
        let Some(one) = served.get_mut(&job).filter(|one| Arc::ptr_eq(&one.cell, &cell)) else {
            return;
        };
        if one.cell.stop.is_cancelled() {
            served.remove(&job);
            return;
        }
        let known = one.work.set.is_some();
        one.ended = Some(self.clock.monotonic() + if known { AGAIN } else { SOON });
        if let Err(error) = ended {
            tracing::warn!(job, %error, "a job cannot be served");
            let hint = error.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
            cell.found().1 = Some(format!("{error}{hint}"));
            one.ended = Some(self.clock.monotonic() + AGAIN);
        }
    }

    /// Serves one job until it is stopped or fails.
    async fn serve(&self, work: &Work, cell: &Cell) -> Result<()> {
        let options = options(work)?;
        let source = self.sources.open(&work.uri.0).await?;
        let set = set_name(&*source).await?;
        cell.found().0 = Some(set.as_str().to_owned());
        let Some(expected) = &work.set else { return Ok(()) };
        if set.as_str() != expected {
            return Err(Error::usage(format!(
                "the source is replica set {set}, but this job backs up {expected}"
            ))
            .hint("make another job for it"));
        }
        let (agent, progress) =
            Agent::new(source, self.uplink.clone(), self.clock.clone(), self.rng.clone(), options);
        let agent = cell.agent.get_or_init(|| Arc::new(agent));
        let ended = agent.run(&cell.stop).await;
        drop(progress);
        ended.map(|_| ())
    }
}

/// Whether it is the same work, whatever resyncs are asked for.
fn same(new: &Work, old: &Work) -> bool {
    let plain = |work: &Work| Work { resync: 0, resync_done: 0, reason: None, ..work.clone() };
    plain(new) == plain(old)
}

/// Hands a wish for a new initial sync on, once.
fn resync(one: &mut Served, work: &Work) {
    let asked = work.resync > one.resync;
    let needed = work.reason.is_some() && work.reason != one.reason;
    let Some(agent) = one.cell.agent.get() else { return };
    if asked || needed {
        let reason = work.reason.as_deref().filter(|_| needed).unwrap_or("it was asked for");
        if let Err(error) = agent.request_resync(reason) {
            one.cell.found().1 = Some(error.to_string());
        }
    }
    one.resync = work.resync;
    one.reason.clone_from(&work.reason);
}

fn options(work: &Work) -> Result<AgentOptions> {
    let mut options = AgentOptions::new(work.name.parse()?);
    options.filter = Filter::of(&work.include, &work.exclude)?;
    options.workers = usize::try_from(work.workers).unwrap_or(2).clamp(1, 64);
    options.throttle = work.throttle.map(ByteSize);
    options.member.wanted = match (&work.member, &work.member_tag) {
        (Some(host), _) => Some(Wanted::Host(host.clone())),
        (None, Some(tag)) => Some(Wanted::tag(tag)?),
        (None, None) => None,
    };
    Ok(options)
}
