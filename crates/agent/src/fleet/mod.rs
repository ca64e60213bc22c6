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
use bygone_base::{ByteSize, Clock, Error, ErrorKind, Result, Rng, work};
use bygone_oplog::{filter::Filter, uplink::Uplink};
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use conf::{Conf, ConfCall, Found, Hidden, Work, decode, encode};

use crate::{
    Agent, AgentOptions, MongoSource, Progress, Source, SourceUri, Wanted, source::set_name,
};

/// From one conf call to the next.
const EVERY: Duration = Duration::from_secs(5);
/// ... while there is something to tell: a set's name that the server waits for.
const SOON: Duration = Duration::from_millis(200);
/// An agent that ended with an error is started again after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// An agent that served for so long did not fail in a row.
const WELL: Duration = Duration::from_secs(600);

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
    /// What holds for all its agents.
    pub own: Own,
}

/// What holds for the agents of one process, whatever they are given.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Longest time before a change is stored; the usual one where not given.
    pub flush: Option<Duration>,
    /// Parts are taken over from agents that are still alive.
    pub take_over: bool,
    /// The job that the process is there for, if it is for one.
    pub watched: Option<Watched>,
}

/// The one job that a process is there for.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its id.
    pub job: String,
    /// Which failures of its agent end the process. Others are told to who hands out work.
    pub fatal: fn(&Error) -> bool,
    /// Where the progress of each agent that is started for it can be followed.
    pub started: UnboundedSender<watch::Receiver<Progress>>,
}

/// A job being served.
struct Served {
    work: Work,
    cell: Arc<Cell>,
    /// How many of the asked-for resyncs were handed on to it, ...
    handed: u64,
    /// ... and how many of them it has begun with.
    begun: u64,
    reason: Option<String>,
    /// When it may be started again, after it ended.
    ended: Option<Duration>,
    /// When it was started.
    started: Duration,
    /// How often in a row it failed.
    failures: u32,
}

impl Served {
    /// A resync that was handed on counts as begun when its sync is: until then it would be lost with this process.
    fn note_begun(&mut self) {
        if self.cell.agent.get().is_some_and(|agent| !agent.is_resync_pending()) {
            self.begun = self.handed;
        }
    }
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
    /// Denied: the server does not know this agent's key. A failure of the watched job that is fatal ([`Watched`]).
    pub async fn run(&self, shutdown: &CancellationToken) -> Result<()> {
        let agent = format!("{:016x}", self.rng.next_u64());
        let mut served: HashMap<String, Served> = HashMap::new();
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        let mut reached = false;
        let end = loop {
            served.values_mut().for_each(Served::note_begun);
            let heard = match self.conf.conf(&self.call(&agent, &served, false)).await {
                Ok(work) => {
                    reached = true;
                    if let Err(error) = self.follow(&agent, work, &mut served, &mut tasks) {
                        break Err(error);
                    }
                    true
                }
                Err(e) if e.kind() == ErrorKind::Denied && !reached => break Err(e),
                Err(error) => {
                    tracing::warn!(%error, "the server hands out no work for now");
                    false
                }
            };
            let untold = served.values().any(|s| s.work.set.is_none() && s.ended.is_some());
            let wait = if untold { SOON } else { EVERY };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break Ok(()),
                Some(Ok(ended)) = tasks.join_next() => {
                    if let Err(error) = self.note(ended, &mut served, heard) {
                        break Err(error);
                    }
                }
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
            let stuck = || one.cell.agent.get().and_then(|agent| agent.stuck());
            let problem = problem.or_else(stuck);
            let (resync, failures) = (one.begun, one.failures);
            Found { job: job.clone(), set, problem, resync, failures }
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
        agent: &str,
        wanted: Vec<Work>,
        served: &mut HashMap<String, Served>,
        tasks: &mut JoinSet<Ended>,
    ) -> Result<()> {
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
                        let failures = one.failures;
                        *one = Served { failures, ..self.start(agent, work, tasks) };
                    } else if let Err(error) = resync(one, &work) {
                        one.cell.found().1 = Some(error.to_string());
                        self.unless_fatal(&work.job, error)?;
                    }
                }
                None => {
                    served.insert(job, self.start(agent, work, tasks));
                }
            }
        }
        Ok(())
    }

    fn watched(&self, job: &str) -> Option<&Watched> {
        self.own.watched.as_ref().filter(|watched| watched.job == job)
    }

    fn unless_fatal(&self, job: &str, error: Error) -> Result<()> {
        let fatal = self.watched(job).is_some_and(|watched| (watched.fatal)(&error));
        if fatal { Err(error) } else { Ok(()) }
    }

    fn start(&self, agent: &str, work: Work, tasks: &mut JoinSet<Ended>) -> Served {
        let cell = Arc::new(Cell::default());
        let (fleet, shared, wanted) = (self.clone(), Arc::clone(&cell), work.clone());
        let agent = agent.to_owned();
        tasks.spawn(async move {
            // A panic is a failure of this job alone.
            let ended = work::guarded("an agent", fleet.serve(agent, &wanted, &shared)).await;
            (wanted.job, shared, ended.and_then(|ended| ended))
        });
        Served {
            handed: work.resync_done,
            begun: work.resync_done,
            // One that is needed already is handed on as any other.
            reason: None,
            work,
            cell,
            ended: None,
            started: self.clock.monotonic(),
            failures: 0,
        }
    }

    /// `heard`: the server was, at the last call.
    fn note(
        &self,
        (job, cell, ended): Ended,
        served: &mut HashMap<String, Served>,
        heard: bool,
    ) -> Result<()> {
        let Some(one) = served.get_mut(&job).filter(|one| Arc::ptr_eq(&one.cell, &cell)) else {
            return Ok(());
        };
        if one.cell.stop.is_cancelled() {
            served.remove(&job);
            return Ok(());
        }
        let known = one.work.set.is_some();
        one.ended = Some(self.clock.monotonic() + if known { AGAIN } else { SOON });
        if let Err(error) = ended {
            tracing::warn!(job, %error, "a job cannot be served");
            let hint = error.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
            cell.found().1 = Some(format!("{error}{hint}"));
            let now = self.clock.monotonic();
            let went_well = now.saturating_sub(one.started) >= WELL;
            // While the server is away nothing can be served, by another agent neither.
            let before = if went_well { 0 } else { one.failures };
            one.failures = before + u32::from(heard);
            one.ended = Some(now + AGAIN);
            self.unless_fatal(&job, error)?;
        }
        Ok(())
    }

    /// Serves one job until it is stopped or fails.
    async fn serve(&self, agent: String, work: &Work, cell: &Cell) -> Result<()> {
        let options = AgentOptions { id: Some(agent), ..self.options(work)? };
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
        if let Some(watched) = self.watched(&work.job) {
            // Nobody needs to look.
            let _ = watched.started.send(progress);
        }
        let agent = cell.agent.get_or_init(|| Arc::new(agent));
        agent.run(&cell.stop).await.map(|_| ())
    }

    fn options(&self, work: &Work) -> Result<AgentOptions> {
        let mut options = AgentOptions::new(work.name.parse()?);
        options.filter = Filter::of(&work.include, &work.exclude)?;
        options.workers = usize::try_from(work.workers).unwrap_or(2).clamp(1, 64);
        options.throttle = work.throttle.map(ByteSize);
        options.take_over = self.own.take_over;
        if let Some(flush) = self.own.flush {
            options.flush = flush;
        }
        options.member.wanted = match (&work.member, &work.member_tag) {
            (Some(host), _) => Some(Wanted::Host(host.clone())),
            (None, Some(tag)) => Some(Wanted::tag(tag)?),
            (None, None) => None,
        };
        Ok(options)
    }
}

/// Whether it is the same work, whatever resyncs are asked for.
fn same(new: &Work, old: &Work) -> bool {
    let plain = |work: &Work| Work { resync: 0, resync_done: 0, reason: None, ..work.clone() };
    plain(new) == plain(old)
}

/// Hands a wish for a new initial sync on, once.
fn resync(one: &mut Served, work: &Work) -> Result<()> {
    let asked = work.resync > one.handed;
    let needed = work.reason.is_some() && work.reason != one.reason;
    let Some(agent) = one.cell.agent.get() else { return Ok(()) };
    one.handed = work.resync;
    one.reason.clone_from(&work.reason);
    if asked || needed {
        let reason = work.reason.as_deref().filter(|_| needed).unwrap_or("it was asked for");
        agent.request_resync(reason)?;
    }
    Ok(())
}
