//! The loop: open a session, sync or tail, and after a failure go on with
//! another member.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bygone_base::{Clock, Error, ErrorKind, OpTime, PartName, Result, Rng, TimelineId, Ts};
use bygone_oplog::uplink::{
    Hello, PartKey, PartState, Session, SessionRef, TimelineReason, Uplink,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    env::Env,
    history::{Verdict, judge},
    member::{choose, newest_majority},
    options::{AgentOptions, Resync},
    progress::{Phase, Progress, Tracker},
    source::{Member, Server, Source},
    sync::{Sync, pin},
    tail::{Acked, Tail, TailEnd},
};

/// Shortest and longest pause after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// An agent that never reached its source gives up after this long.
const FIRST: Duration = Duration::from_secs(15);
/// An agent that has reached its source and does no more gives up after this long: another one may reach it.
const AWAY: Duration = Duration::from_secs(120);
/// What keeps an agent waiting is told when it has lasted this long: an election takes less.
const STUCK: Duration = Duration::from_secs(10);
/// A run with an end gives up when nothing went forward for this long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Captures one replica set.
pub struct Agent {
    env: Arc<Env>,
    id: String,
    memory: Mutex<Memory>,
}

/// What is kept from one attempt to the next.
#[derive(Default)]
struct Memory {
    /// Members that failed lately: chosen last.
    failed: BTreeSet<String>,
    /// The source was reached and found fit once.
    reached: bool,
    /// The chain has to reach this, where a run has an end.
    goal: Option<Ts>,
    /// The last tail found that the source does not continue our chain.
    diverged: bool,
    /// A new initial sync is wanted.
    resync: Option<TimelineReason>,
    /// Why the source cannot be read, and since when.
    waiting: Option<(Duration, String)>,
    /// Ends the attempt that is under way, and no other.
    attempt: CancellationToken,
}

/// The member of one attempt.
struct Chosen {
    member: Arc<dyn Member>,
    server: Server,
    set: String,
}

/// How an attempt ended without an error.
enum Ended {
    /// All is done, or a stop was asked for.
    Done(OpTime),
    /// Choose a member and open a session again.
    Again(String),
}

impl Agent {
    /// An agent, and where its progress can be seen.
    pub fn new(
        source: Arc<dyn Source>,
        uplink: Arc<dyn Uplink>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: AgentOptions,
    ) -> (Agent, watch::Receiver<Progress>) {
        let (progress, receiver) = Tracker::new();
        let id = options.id.clone().unwrap_or_else(|| format!("{:016x}", rng.next_u64()));
        let env = Arc::new(Env { source, uplink, clock, rng, options, progress });
        (Agent { env, id, memory: Mutex::default() }, receiver)
    }

    /// Captures until `shutdown`. Returns the end of the stored chain.
    pub async fn run(&self, shutdown: &CancellationToken) -> Result<OpTime> {
        self.drive(false, shutdown).await
    }

    /// Captures until the chain has reached the majority point that the set
    /// has now (after an initial sync, its end). Returns the end of the chain.
    pub async fn run_until_now(&self, shutdown: &CancellationToken) -> Result<OpTime> {
        self.drive(true, shutdown).await
    }

    /// Leaves what is being followed and begins a new initial sync: the backup cannot be gone on with for this
    /// `reason`, which the agent itself cannot see. Does nothing while one is about to begin.
    ///
    /// # Errors
    /// ResyncRequired with the reason when the agent is told not to begin one by itself.
    pub fn request_resync(&self, reason: &str) -> Result<()> {
        if self.env.options.resync == Resync::Stop {
            return Err(Error::new(ErrorKind::ResyncRequired, reason)
                .hint("a new initial sync is needed, and automatic ones are switched off"));
        }
        let mut memory = self.memory();
        if memory.resync.is_none() {
            self.say_resync(&reason);
            memory.resync = Some(TimelineReason::Resync);
            memory.attempt.cancel();
        }
        Ok(())
    }

    /// Whether a new initial sync is wanted and has not begun yet.
    pub fn is_resync_pending(&self) -> bool {
        self.memory().resync.is_some()
    }

    /// Why nothing has been read from the source for a while; `None` while it is read, or nothing is known to be wrong.
    pub fn stuck(&self) -> Option<String> {
        let now = self.env.clock.monotonic();
        let (since, why) = self.memory().waiting.clone()?;
        (now.saturating_sub(since) >= STUCK).then_some(why)
    }

    fn say_resync(&self, why: &dyn std::fmt::Display) {
        let text = format!("backup requires a resync, which begins now: {why}");
        self.env.progress.notice(text);
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drive(&self, catch_up: bool, shutdown: &CancellationToken) -> Result<OpTime> {
        let env = &self.env;
        self.memory().goal = None;
        let mut wait = BACK_OFF.0;
        let mut forward = (env.clock.monotonic(), self.mark());
        let mut failing = None;
        loop {
            let this = shutdown.child_token();
            self.memory().attempt = this.clone();
            let ended = self.attempt(catch_up, &this).await;
            let left = this.is_cancelled() && !shutdown.is_cancelled();
            if self.mark() != forward.1 {
                forward = (env.clock.monotonic(), self.mark());
                wait = BACK_OFF.0;
                failing = None;
            }
            let message = match ended {
                Ok(Ended::Done(_)) if left => "backup requires a resync".into(),
                Err(error) if left && error.kind() == ErrorKind::Cancelled => {
                    "backup requires a resync".into()
                }
                Ok(Ended::Done(chain)) => {
                    env.progress.phase(Phase::Stopped);
                    return Ok(chain);
                }
                Ok(Ended::Again(why)) => why,
                Err(error) if error.kind() == ErrorKind::Cancelled && shutdown.is_cancelled() => {
                    env.progress.phase(Phase::Stopped);
                    return Ok(env.progress.now().chain);
                }
                Err(error) => {
                    // A source that is idle goes not forward either: then it counts from the first failure.
                    let now = env.clock.monotonic();
                    let since = *failing.get_or_insert(now);
                    let since = if catch_up { forward.0 } else { since };
                    let why = self.judge_error(error, catch_up, now.saturating_sub(since))?;
                    let mut memory = self.memory();
                    let since = memory.waiting.as_ref().map_or(now, |(since, _)| *since);
                    memory.waiting = Some((since, why.clone()));
                    why
                }
            };
            tracing::info!(reason = %message, "the agent starts over");
            env.progress.change(|p| (p.phase, p.message) = (Phase::Waiting, Some(message)));
            tokio::select! {
                biased;
                () = env.clock.sleep(self.jitter(wait)) => {}
                () = shutdown.cancelled() => return Ok(env.progress.now().chain),
            }
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }

    /// Something that grows whenever anything is stored.
    fn mark(&self) -> (u64, OpTime) {
        let p = self.env.progress.now();
        (p.sent, p.chain)
    }

    /// Between half and the whole of `wait`, so that agents do not come in step.
    fn jitter(&self, wait: Duration) -> Duration {
        let part = (self.env.rng.next_u64() % 512) as u32;
        wait / 2 + wait / 2 * part / 512
    }

    /// The message of an error after which to try again; an error to stop at.
    fn judge_error(&self, error: Error, catch_up: bool, stuck: Duration) -> Result<String> {
        let mut memory = self.memory();
        match error.kind() {
            ErrorKind::ResyncRequired => {
                if self.env.options.resync == Resync::Stop {
                    return Err(error);
                }
                memory.resync.get_or_insert(TimelineReason::Resync);
                self.say_resync(&error);
                Ok(error.to_string())
            }
            ErrorKind::Unavailable => {
                let patience = match (memory.reached, catch_up) {
                    (false, _) => FIRST,
                    (true, true) => PATIENCE,
                    (true, false) => AWAY,
                };
                if stuck >= patience {
                    return Err(error);
                }
                let host = self.env.progress.now().member;
                if memory.failed.contains(&host) {
                    memory.failed.clear();
                }
                memory.failed.insert(host);
                Ok(error.to_string())
            }
            _ => Err(error),
        }
    }

    async fn choose(&self, catch_up: bool) -> Result<Chosen> {
        let env = &self.env;
        env.progress.phase(Phase::Starting);
        let members = env.source.survey().await?;
        let failed = self.memory().failed.clone();
        let info = choose(&members, &env.options.member, &failed)?;
        let newest = newest_majority(&members);
        env.progress.change(|p| {
            p.member.clone_from(&info.host);
            p.newest = p.newest.max(newest);
        });
        let set = info.set.clone().ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, format!("{} is not initiated", info.host))
                .hint("run rs.initiate()")
        })?;
        let member = env.source.connect(&info.host).await?;
        let server = member.check().await?;
        let mut memory = self.memory();
        memory.reached = true;
        if catch_up {
            memory.goal.get_or_insert(newest);
        }
        Ok(Chosen { member, server, set })
    }

    async fn open(&self, chosen: &Chosen) -> Result<(Session, SessionRef)> {
        let env = &self.env;
        let part: PartName = chosen.set.parse().map_err(|e: Error| {
            e.within(format!("the replica set's name {:?} cannot name a part", chosen.set))
        })?;
        let key = PartKey { job: env.options.job.clone(), part };
        let hello = Hello {
            key: key.clone(),
            agent: self.id.clone(),
            host: chosen.member.host().to_owned(),
            server_version: chosen.server.version.clone(),
            fcv: chosen.server.fcv.clone(),
            filter: env.options.filter.clone(),
            identity: chosen.server.identity,
            take_over: env.options.take_over,
        };
        let session = env.uplink.open(hello).await?;
        let reference = SessionRef { key, epoch: session.epoch, timeline: session.timeline };
        Ok((session, reference))
    }

    async fn attempt(&self, catch_up: bool, shutdown: &CancellationToken) -> Result<Ended> {
        if shutdown.is_cancelled() {
            return Ok(Ended::Done(self.env.progress.now().chain));
        }
        let chosen = self.choose(catch_up).await?;
        let (session, mut at) = self.open(&chosen).await?;
        let resync = self.memory().resync;
        if let Some(reason) = resync {
            return self.sync(chosen, at, None, reason, catch_up, shutdown).await;
        }
        match session.state {
            PartState::Empty { why } if at.timeline != TimelineId(0) => {
                let why = why.unwrap_or_else(|| "nothing stored can be gone on with".to_owned());
                let host = chosen.member.host();
                Err(Error::new(ErrorKind::ResyncRequired, format!("{host}: {why}")))
            }
            PartState::Empty { .. } => {
                let reason = TimelineReason::InitialSync;
                self.sync(chosen, at, None, reason, catch_up, shutdown).await
            }
            // No slice before the end of the sync is a point to fork from.
            PartState::Syncing { chain, ended: true, .. } => {
                self.go_on(&chosen, &mut at, chain, &[], shutdown).await
            }
            state @ PartState::Syncing { .. } => {
                let reason = TimelineReason::Resync;
                self.sync(chosen, at, Some(state), reason, catch_up, shutdown).await
            }
            PartState::Tailing { chain, recent } => {
                self.go_on(&chosen, &mut at, chain, &recent, shutdown).await
            }
        }
    }

    /// Follows the oplog, after a look at what became of our chain where the
    /// last tail did not find it.
    async fn go_on(
        &self,
        chosen: &Chosen,
        at: &mut SessionRef,
        chain: OpTime,
        recent: &[OpTime],
        shutdown: &CancellationToken,
    ) -> Result<Ended> {
        let mut chain = chain;
        let diverged = std::mem::take(&mut self.memory().diverged);
        if diverged {
            match self.reconcile(chosen, at, chain, recent).await? {
                Some(common) => chain = common,
                None => return Ok(Ended::Again("a new initial sync begins".into())),
            }
        }
        self.tail(chosen, at, chain, shutdown).await
    }

    /// Finds out what happened to the source's history and acts on it. Returns
    /// where to go on from, `None` when a resync is needed.
    async fn reconcile(
        &self,
        chosen: &Chosen,
        at: &mut SessionRef,
        chain: OpTime,
        recent: &[OpTime],
    ) -> Result<Option<OpTime>> {
        let host = chosen.member.host();
        let verdict = judge(chosen.member.as_ref(), chain, recent).await;
        // A judgement that fails half way is made again next time.
        let verdict = verdict.inspect_err(|_| self.memory().diverged = true)?;
        let (reason, message) = match verdict {
            Verdict::Intact => return Ok(Some(chain)),
            Verdict::Fork(common) => {
                let message =
                    format!("the history of {host} went back: a new timeline from {common}");
                at.timeline = self.env.uplink.fork(at, common).await?;
                self.env.progress.change(|p| p.chain = common);
                self.env.progress.notice(message);
                return Ok(Some(common));
            }
            Verdict::RolledOver { oldest } => (
                TimelineReason::RollOver,
                format!("the oplog of {host} begins at {oldest}, after {chain}: entries are lost"),
            ),
            Verdict::Lost => (
                TimelineReason::Rollback,
                format!(
                    "{host} has another history and no entry in common with {chain} and before"
                ),
            ),
        };
        let error = Error::new(ErrorKind::ResyncRequired, message)
            .hint("a new initial sync is needed; make the oplog larger if it rolled over");
        if self.env.options.resync == Resync::Stop {
            return Err(error);
        }
        self.say_resync(&error);
        self.memory().resync = Some(reason);
        Ok(None)
    }

    async fn sync(
        &self,
        chosen: Chosen,
        mut at: SessionRef,
        resumed: Option<PartState>,
        reason: TimelineReason,
        catch_up: bool,
        shutdown: &CancellationToken,
    ) -> Result<Ended> {
        let env = &self.env;
        let (plan, sync, start, chain, stored) = match resumed {
            Some(PartState::Syncing { plan, sync, start, chain, progress, .. }) => {
                (plan.map(|plan| *plan), sync, start, chain, progress)
            }
            _ => {
                let start = pin(chosen.member.as_ref()).await?.start;
                let (timeline, sync) = env.uplink.begin_sync(&at, start, reason).await?;
                at.timeline = timeline;
                self.memory().resync = None;
                // What is counted is counted of one initial sync.
                env.progress.change(|p| (p.documents, p.bytes, p.collections_done) = (0, 0, 0));
                (None, sync, start, start, Vec::new())
            }
        };
        self.memory().waiting = None;
        let run = Sync {
            env: Arc::clone(env),
            member: Arc::clone(&chosen.member),
            server: chosen.server.clone(),
            set: chosen.set.clone(),
            session: at.clone(),
            sync,
            start,
            chain,
            plan,
            stored,
        };
        let (chain, end) = run.run(shutdown).await?;
        env.report(&at).await;
        match end {
            _ if catch_up || shutdown.is_cancelled() => Ok(Ended::Done(chain)),
            TailEnd::Stopped | TailEnd::Reached => self.tail(&chosen, &at, chain, shutdown).await,
            end => self.ended(end, chain),
        }
    }

    async fn tail(
        &self,
        chosen: &Chosen,
        at: &SessionRef,
        chain: OpTime,
        shutdown: &CancellationToken,
    ) -> Result<Ended> {
        let env = &self.env;
        self.memory().waiting = None;
        env.progress.change(|p| (p.phase, p.message) = (Phase::Tailing, None));
        env.report(at).await;
        let goal = self.memory().goal;
        let tail = Tail {
            env: Arc::clone(env),
            member: Arc::clone(&chosen.member),
            session: at.clone(),
            acked: watch::channel(Acked { chain, last_ddl: Ts::MIN }).0,
            syncing: false,
            stop: shutdown.child_token(),
            goal,
        };
        let end = tail.run().await?;
        let chain = tail.acked.borrow().chain;
        self.ended(end, chain)
    }

    fn ended(&self, end: TailEnd, chain: OpTime) -> Result<Ended> {
        match end {
            TailEnd::Stopped | TailEnd::Reached => Ok(Ended::Done(chain)),
            TailEnd::Diverged => {
                self.memory().diverged = true;
                Ok(Ended::Again(format!("the source does not continue {chain}")))
            }
            TailEnd::Uncovered(why) => Err(Error::new(ErrorKind::ResyncRequired, why)),
            TailEnd::Rechoose(why) => Ok(Ended::Again(why)),
        }
    }
}
