//! A set, a store, processes, and everything that happens to them.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use bygone_agent::AgentOptions;
use bygone_base::{Clock, JobName};
use bygone_blockstore::{
    MemoryStore, Repository, Secret, Store,
    store::{FaultPlan, Faulty, RetryOptions, Retrying},
};
use bygone_daemon::Job;
use bygone_oplog::uplink::PartKey;
use bygone_snapshot::PartStore;

use crate::{
    clock::SimClock,
    dice::Dice,
    ledger::Ledger,
    net::Net,
    plan::{Plan, Shape},
    process::{Process, Roles, Site},
    replica::ReplicaSet,
    store::Recorded,
    trace::Trace,
};

/// The simulated world.
pub struct World {
    /// The seed.
    pub seed: u64,
    /// What it decided.
    pub plan: Plan,
    /// The replica set and the truth.
    pub set: Arc<ReplicaSet>,
    /// The store itself, without faults.
    pub store: Arc<MemoryStore>,
    /// The store as each process sees it.
    pub faulty: Vec<Arc<Faulty>>,
    /// Processes.
    pub processes: Vec<Process>,
    /// Ways from agents to servers.
    pub nets: Vec<Arc<Net>>,
    /// The clock that is right: of the source and of the store.
    pub clock: Arc<SimClock>,
    /// The servers' clock.
    pub server_clock: Arc<SimClock>,
    /// What was promised.
    pub ledger: Arc<Ledger>,
    /// What happened.
    pub trace: Trace,
    /// The world's choices.
    pub dice: Dice,
    /// Randomness of those who look at the store.
    pub looking: Dice,
    /// What must not have happened.
    pub findings: Arc<Mutex<Vec<String>>>,
    /// The repository's key.
    pub secret: Option<Arc<Secret>>,
    /// The part.
    pub key: PartKey,
    /// Jobs that run.
    pub jobs: Arc<Mutex<Vec<Weak<Job>>>>,
}

impl World {
    /// The world of a seed, at its beginning.
    pub fn new(seed: u64, plan: Plan, all: bool) -> World {
        let clock = Arc::new(SimClock::new());
        let trace = Trace::new(Arc::clone(&clock), all);
        let set = ReplicaSet::new(plan.members, clock.clone(), Dice::new(seed, 2));
        {
            let mut state = set.lock();
            state.version = plan.version;
            state.log.old = plan.version.starts_with('4');
        }
        let traffic_dice = Dice::new(seed, 3);
        plan.traffic.fill(&set, &traffic_dice, plan.fill.0, plan.fill.1);
        let key = format!("bygone-key-1:{:064x}", seed);
        let secret = plan.encrypted.then(|| Secret::parse_key(&key)).flatten().map(Arc::new);
        let mut world = World {
            seed,
            set,
            store: Arc::new(MemoryStore::new(clock.clone())),
            faulty: Vec::new(),
            processes: Vec::new(),
            nets: Vec::new(),
            server_clock: Arc::new(SimClock::new()),
            clock,
            ledger: Arc::default(),
            trace,
            dice: Dice::new(seed, 4),
            looking: Dice::new(seed, 9),
            findings: Arc::default(),
            secret,
            key: part_key(),
            jobs: Arc::default(),
            plan,
        };
        world.people();
        world
    }

    fn people(&mut self) {
        let agent = Some(self.plan.agent.clone());
        let server = Some(self.plan.job.clone());
        match self.plan.shape {
            Shape::Together => self.process("up", 0, Roles { server, agent }),
            Shape::Rivals => {
                self.process("up-a", 0, Roles { server: server.clone(), agent: agent.clone() });
                self.process("up-b", 1, Roles { server, agent });
            }
            Shape::Apart => {
                self.process("server", 0, Roles { server, agent: None });
                self.process("agent", 0, Roles { server: None, agent });
            }
        }
    }

    fn process(&mut self, name: &str, net: u64, roles: Roles) {
        let number = self.processes.len() as u64;
        let dice = |purpose: u64| Dice::new(self.seed, 100 * (number + 1) + purpose);
        let recorded = Arc::new(Recorded {
            inner: self.store.clone(),
            who: name.to_owned(),
            trace: self.trace.clone(),
        });
        let faulty = Arc::new(Faulty::new(
            recorded,
            self.server_clock.clone(),
            dice(1).rng(),
            FaultPlan::default(),
        ));
        let options = RetryOptions { attempts: 4, ..RetryOptions::default() };
        let clock = self.server_clock.clone();
        let store = Retrying::new(faulty.clone(), clock.clone(), dice(2).rng(), options);
        self.faulty.push(faulty);
        if self.nets.len() <= net as usize {
            let (ledger, trace) = (Arc::clone(&self.ledger), self.trace.clone());
            self.nets.push(Net::new(ledger, self.clock.clone(), dice(3), trace, name));
        }
        let site = Site {
            name: name.to_owned(),
            store: Arc::new(store),
            oplog: None,
            jobs: Arc::clone(&self.jobs),
            secret: self.secret.clone(),
            key: self.key.clone(),
            clock,
            net: Arc::clone(&self.nets[net as usize]),
            set: Arc::clone(&self.set),
            trace: self.trace.clone(),
            dice: dice(4),
            findings: Arc::clone(&self.findings),
            // Processes of one site share what the job wishes.
            resync: match self.processes.last() {
                Some(last) if self.plan.shape == Shape::Apart => last.site.resync.clone(),
                _ => tokio::sync::watch::channel(None).0,
            },
        };
        self.processes.push(Process::new(site, roles));
    }

    /// Another job of the same set and with its blocks in the same store, but its oplog in one of its own, which is given
    /// back; its process is the last one.
    pub fn beside(&mut self, job: &str) -> Arc<MemoryStore> {
        let (agent, server) = (self.plan.agent.clone(), self.plan.job.clone());
        let Ok(name) = job.parse::<JobName>() else { unreachable!("a good name") };
        let key = PartKey { job: name.clone(), ..self.key.clone() };
        let others = std::mem::take(&mut self.ledger);
        let whole = std::mem::replace(&mut self.key, key);
        let agent = AgentOptions { job: name, ..agent };
        let net = self.nets.len() as u64;
        self.process(job, net, Roles { server: Some(server), agent: Some(agent) });
        (self.ledger, self.key) = (others, whole);
        let oplog = Arc::new(MemoryStore::new(self.clock.clone()));
        if let Some(process) = self.processes.last_mut() {
            process.site.oplog = Some(oplog.clone());
        }
        oplog
    }

    /// The part as it lies in the store, read without faults; `None` before there is a repository.
    pub async fn part(&self) -> Option<PartStore> {
        let store: Arc<dyn Store> = self.store.clone();
        let rng = self.looking.rng();
        let repo = Repository::open(store, self.secret.as_deref(), rng).await.ok()?;
        Some(PartStore::new(repo, self.key.job.clone(), self.key.part.clone()))
    }

    /// Something that must not be.
    pub fn find(&self, what: String) {
        self.trace.say("check", format_args!("FINDING {what}"));
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What must not have been, so far.
    pub fn found(&self) -> Vec<String> {
        let mut found = self.findings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        found.extend(self.ledger.lock().broken.iter().cloned());
        found
    }

    /// Lets time pass while processes are looked after.
    pub async fn pass(&mut self, time: Duration) {
        let until = self.clock.monotonic() + time;
        loop {
            self.processes.iter_mut().for_each(Process::tend);
            self.set.replicate();
            let left = until.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return;
            }
            self.clock.sleep(left.min(Duration::from_millis(500))).await;
        }
    }

    /// Everything works again: no faults, every member up, every process running.
    pub fn heal(&mut self) {
        self.trace.say("world", "heals");
        // Two that take over from each other for ever never get to anything.
        if self.plan.shape == Shape::Rivals
            && let Some(mut rival) = self.processes.pop()
        {
            rival.kill();
        }
        self.faulty.iter().for_each(|faulty| faulty.set_plan(FaultPlan::default()));
        for net in &self.nets {
            net.lose_one_of.store(0, Relaxed);
            net.cut.store(false, Relaxed);
        }
        self.set.start_all();
        {
            let mut state = self.set.lock();
            state.members.iter_mut().for_each(|member| member.lags = false);
            state.cut_one_of = 0;
        }
        self.set.replicate_all();
    }
}

/// The part of every simulation.
pub fn part_key() -> PartKey {
    let job = "sim".parse();
    let part = "rs0".parse();
    match (job, part) {
        (Ok(job), Ok(part)) => PartKey { job, part },
        _ => unreachable!("good names"),
    }
}
