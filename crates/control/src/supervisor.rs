//! Makes it so: runs what the catalog says is to run in this process, and notes what became of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bygone_base::{Error, ErrorKind, JobName, Result, UnixMillis};
use bygone_catalog::{
    Id, Lease,
    record::{Job as Record, JobState},
};
use bygone_daemon::{Job, JobOptions};
use bygone_head::{Budget, HeadOptions};
use bygone_ingest::{Ingest, Options};
use bygone_oplog::uplink::{PartKey, Uplink};
use bygone_snapshot::Parts;
use tokio::{
    sync::Semaphore,
    task::{self, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    By, Control, grooms,
    housekeeping::{Housekeeping, beside},
    plan,
    running::Running,
    schedules::terms,
    seen, terminate,
};

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);
/// Another server may take a job over when this one was not heard for so long.
const LEASE_MS: i64 = 30_000;
/// What the heads of all jobs may gather in memory before the largest write it down: few jobs are as free as one
/// alone, many do not take many times as much.
const GATHERED: usize = 512 << 20;
/// Jobs that compact slices at once: each may hold some hundred MB for a moment.
const COMPACTING: usize = 2;
/// Blocks that the head of one job keeps.
const CACHE: usize = 8 << 20;
/// A job that could not be started is tried again after this long.
const AGAIN: Duration = Duration::from_secs(30);

/// Runs the jobs of a catalog. What takes long is done by tasks: nothing keeps leases from being renewed.
pub struct Supervisor {
    control: Arc<Control>,
    /// Who holds the leases.
    owner: String,
    /// One of a job at most.
    tasks: JoinSet<Done>,
    /// The jobs that have one.
    busy: HashMap<Id, Busy>,
    again: HashMap<Id, Duration>,
    shared: Shared,
    work: Housekeeping,
    /// Snapshots that were asked for are given their time: one at once, as it is seldom and waits for stores.
    keeping: JoinSet<()>,
    ended: CancellationToken,
}

/// What the jobs of this process share.
#[derive(Clone)]
struct Shared {
    /// What their heads gather.
    budget: Budget,
    /// Turns at compacting slices.
    compacting: Arc<Semaphore>,
}

/// A job that something is done for.
struct Busy {
    task: task::Id,
    lease: Lease,
    /// Stops it.
    token: CancellationToken,
    /// It is to run, and does not yet.
    starting: bool,
}

/// What became of a task.
enum Done {
    /// A job's stores are open: it can run.
    Prepared(Box<Record>, Result<(Arc<Running>, Arc<Job>)>),
    /// It runs no more.
    Ran(Result<()>),
    /// What it stored is deleted.
    Terminated(Box<Record>, Result<u64>),
}

impl Supervisor {
    /// Runs nothing yet.
    pub fn new(control: Arc<Control>) -> Supervisor {
        let owner = format!("server {:016x}", control.rng().next_u64());
        let work = Housekeeping::new(control.clone(), owner.clone());
        let (tasks, busy, again) = Default::default();
        let shared = Shared {
            budget: Budget::new(GATHERED),
            compacting: Arc::new(Semaphore::new(COMPACTING)),
        };
        let (keeping, ended) = Default::default();
        Supervisor { control, owner, tasks, busy, again, shared, work, keeping, ended }
    }

    /// Runs until `shutdown`, then lets every job end what it is at; gives the failures that still lasted. What fails
    /// is shown in the job it belongs to, and tried again.
    pub async fn run(mut self, shutdown: &CancellationToken) -> Vec<Error> {
        loop {
            if let Err(error) = self.step().await {
                tracing::warn!(%error, "the catalog could not be followed");
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(done) = self.tasks.join_next_with_id() => {
                    self.note(done).await;
                }
                () = self.control.clock().sleep(EVERY) => {}
            }
        }
        for busy in self.busy.values() {
            busy.token.cancel();
        }
        self.ended.cancel();
        while self.keeping.join_next().await.is_some() {}
        self.work.stop().await;
        let mut failures = Vec::new();
        while let Some(done) = self.tasks.join_next_with_id().await {
            failures.extend(self.note(done).await);
        }
        failures
    }

    /// Looks once, and waits until what is to run does, or its job says why not.
    ///
    /// # Errors
    /// The catalog could not be read or written.
    pub async fn begin(&mut self) -> Result<()> {
        self.step().await?;
        while self.busy.values().any(|busy| busy.starting)
            && let Some(done) = self.tasks.join_next_with_id().await
        {
            self.note(done).await;
        }
        Ok(())
    }

    /// Looks once: what is to run, and can, is begun with.
    ///
    /// # Errors
    /// The catalog could not be read or written.
    pub async fn step(&mut self) -> Result<()> {
        let jobs: Vec<Record> = self.control.catalog().all(None).await?;
        for (id, busy) in &self.busy {
            if jobs.iter().all(|job| job.id != *id) {
                busy.token.cancel();
            }
        }
        for job in &jobs {
            if let Err(error) = self.see_to(job).await {
                self.failed(job, &error).await?;
            }
        }
        self.work.step(&jobs).await
    }

    async fn see_to(&mut self, job: &Record) -> Result<()> {
        let wanted = matches!(job.state, JobState::Active) && job.set.is_some();
        if self.busy.contains_key(&job.id) {
            self.renew(job).await?;
            match self.control.running(&job.id) {
                Some(running) if !wanted || !running.is_of(job) => {
                    seen::note_last(&self.control, job, &running).await?;
                    self.stop(&job.id);
                }
                Some(running) => {
                    running.job.set_terms(terms(job)?);
                    self.serve_requests(&running, job).await?;
                    // What failed for a moment is over.
                    self.say(job, None).await?;
                }
                // It was abandoned while it was being deleted.
                None if job.state == JobState::Inactive => self.stop(&job.id),
                None => {}
            }
            return Ok(());
        }
        let now = self.control.clock().monotonic();
        if self.again.get(&job.id).is_some_and(|at| *at > now) {
            return Ok(());
        }
        if wanted {
            return self.start(job).await;
        }
        if job.state == JobState::Terminating {
            return self.terminate(job).await;
        }
        Ok(())
    }

    /// A request is served when its snapshot is there: a crash before that forgets none.
    async fn serve_requests(&mut self, running: &Running, job: &Record) -> Result<()> {
        let served = running.serve_requests(job);
        if served <= job.requests.snapshot_done {
            return Ok(());
        }
        let Some(days) = job.requests.snapshot_days else {
            return note_served(&self.control, job, served).await;
        };
        let (control, job) = (self.control.clone(), job.clone());
        beside(&mut self.keeping, 1, &self.ended, "keeping a snapshot", move || async move {
            control.keep_newest(&job, days).await?;
            note_served(&control, &job, served).await
        });
        Ok(())
    }

    async fn lease(&self, job: &Id) -> Result<Option<Lease>> {
        let now = self.control.now();
        let until = UnixMillis(now.0 + LEASE_MS);
        let name = format!("daemon/{job}");
        self.control.catalog().lease(&name, &self.owner, now, until).await
    }

    async fn renew(&mut self, job: &Record) -> Result<()> {
        let now = self.control.now();
        let until = UnixMillis(now.0 + LEASE_MS);
        // Nobody else can have taken what lasts: the catalog need not be asked.
        if self.busy.get(&job.id).is_some_and(|busy| busy.lease.lasts(now, until)) {
            return Ok(());
        }
        let held = self.lease(&job.id).await?;
        let Some(busy) = self.busy.get_mut(&job.id) else { return Ok(()) };
        match held {
            Some(lease) if lease.epoch == busy.lease.epoch => busy.lease = lease,
            // Somebody else does it by now.
            _ => self.stop(&job.id),
        }
        Ok(())
    }

    /// Has a task done for a job, under its lease.
    fn spawn(
        &mut self,
        job: &Id,
        lease: Lease,
        work: impl Future<Output = Done> + Send + 'static,
        token: CancellationToken,
    ) {
        let task = self.tasks.spawn(work).id();
        self.busy.insert(job.clone(), Busy { task, lease, token, starting: false });
    }

    async fn start(&mut self, job: &Record) -> Result<()> {
        let Some(lease) = self.lease(&job.id).await? else { return Ok(()) };
        let (control, job) = (self.control.clone(), Box::new(job.clone()));
        let (id, token) = (job.id.clone(), CancellationToken::new());
        let (stop, shared) = (token.clone(), self.shared.clone());
        let work = async move {
            let prepared = tokio::select! {
                biased;
                () = stop.cancelled() => Err(Error::new(ErrorKind::Cancelled, "stopped")),
                prepared = prepare(&control, &job, shared) => prepared,
            };
            Done::Prepared(job, prepared)
        };
        self.spawn(&id, lease, work, token);
        self.busy.entry(id).and_modify(|busy| busy.starting = true);
        Ok(())
    }

    /// Deletes what a job stored; done again from the beginning after a crash.
    async fn terminate(&mut self, job: &Record) -> Result<()> {
        let Some(lease) = self.lease(&job.id).await? else { return Ok(()) };
        let (control, job) = (self.control.clone(), Box::new(job.clone()));
        let (id, token) = (job.id.clone(), CancellationToken::new());
        let stop = token.clone();
        let work = async move {
            let deleted = tokio::select! {
                biased;
                () = stop.cancelled() => Err(Error::new(ErrorKind::Cancelled, "stopped")),
                deleted = delete_all(&control, &job) => deleted,
            };
            Done::Terminated(job, deleted)
        };
        self.spawn(&id, lease, work, token);
        Ok(())
    }

    /// No more data is taken at once; the daemon ends what it is at.
    fn stop(&self, id: &Id) {
        self.control.all_running().remove(id);
        if let Some(busy) = self.busy.get(id) {
            busy.token.cancel();
        }
    }

    /// Notes what became of a task; gives the failure that a job ended with.
    async fn note(
        &mut self,
        done: std::result::Result<(task::Id, Done), task::JoinError>,
    ) -> Option<Error> {
        let (task, done) = match done {
            Ok((task, done)) => (task, Some(done)),
            Err(error) => (error.id(), None),
        };
        let id = self.busy.iter().find(|(_, busy)| busy.task == task).map(|(id, _)| id.clone())?;
        let busy = self.busy.remove(&id)?;
        let (noted, failure) = match done {
            Some(Done::Prepared(job, Ok(prepared))) => {
                return self.run_job(&job, busy, prepared).await.err();
            }
            Some(Done::Prepared(job, Err(error))) => (self.failed(&job, &error).await, None),
            Some(Done::Terminated(job, Err(error))) => (self.failed(&job, &error).await, None),
            Some(Done::Terminated(job, Ok(n))) => (terminated(&self.control, &job, n).await, None),
            Some(Done::Ran(ended)) => (Ok(()), ended.err()),
            None => {
                self.again.insert(id.clone(), self.control.clock().monotonic() + AGAIN);
                (Err(Error::internal("what was done for a job was cut off")), None)
            }
        };
        self.control.all_running().remove(&id);
        if let Some(error) = &failure {
            tracing::warn!(job = %id, %error, "a job ended");
        }
        // Another server may reach what this one cannot; and nobody says that it runs.
        let released = self.control.catalog().release(&busy.lease, self.control.now()).await;
        if let Err(error) = noted.and(released) {
            tracing::warn!(job = %id, %error, "the end of a task was not noted");
        }
        failure
    }

    async fn run_job(
        &mut self,
        job: &Record,
        busy: Busy,
        (running, daemon): (Arc<Running>, Arc<Job>),
    ) -> Result<()> {
        let ingest = running.ingest.clone();
        let stop = busy.token.clone();
        self.control.all_running().insert(job.id.clone(), running);
        self.again.remove(&job.id);
        let work = async move {
            let ended = daemon.run(&stop).await;
            // What is on its way in comes to its end before anybody says that the job has stopped.
            ingest.close().await;
            Done::Ran(ended)
        };
        self.spawn(&job.id, busy.lease, work, busy.token);
        tracing::info!(job = job.name, "runs here");
        self.say(job, None).await
    }

    async fn failed(&mut self, job: &Record, error: &Error) -> Result<()> {
        if error.kind() == ErrorKind::Cancelled {
            return Ok(());
        }
        tracing::warn!(job = job.name, %error, "a job could not be seen to");
        self.again.insert(job.id.clone(), self.control.clock().monotonic() + AGAIN);
        self.say(job, Some(error)).await
    }

    /// Notes in the job why it does not run, or that it does again.
    async fn say(&self, job: &Record, error: Option<&Error>) -> Result<()> {
        let text = error.map(|e| match e.hint_text() {
            Some(hint) => format!("{e}; {hint}"),
            None => e.to_string(),
        });
        if text == job.message {
            return Ok(());
        }
        let said = self.control.catalog().change::<Record>(job.id.as_str(), |job| {
            job.message.clone_from(&text);
            Ok(())
        });
        said.await.map(|_| ())
    }
}

async fn prepare(
    control: &Control,
    job: &Record,
    shared: Shared,
) -> Result<(Arc<Running>, Arc<Job>)> {
    let set = job.set.as_deref().unwrap_or_default();
    let key = PartKey { job: job.name.parse()?, part: set.parse()? };
    let stores = control.stores_of(job).await?;
    let Parts { snapshots, oplog } = stores.part(key.job.clone(), key.part.clone());
    // A job with a way of keeping of its own has the process for itself.
    let alone = HeadOptions { budget: Some(shared.budget), ..HeadOptions::default() };
    let head = if job.keep.is_some() { alone } else { HeadOptions { cache: CACHE, ..alone } };
    let compacting = Some(shared.compacting);
    let options = JobOptions { head, terms: terms(job)?, compacting, ..JobOptions::default() };
    // A groom by hand learns from it that the job has more elsewhere.
    snapshots.set_policy(&options.terms.policy).await?;
    let (clock, rng) = (control.clock().clone(), control.rng().clone());
    let ingest = Arc::new(Ingest::new(stores, clock.clone(), rng, Options::default()));
    let (daemon, status) = Job::new(ingest.clone(), key.clone(), snapshots, oplog, clock, options);
    let daemon = Arc::new(daemon);
    let running = Running::new(job.clone(), key, ingest, daemon.clone(), status);
    Ok((Arc::new(running), daemon))
}

/// Notes that so many of the snapshots that were asked for are there.
async fn note_served(control: &Control, job: &Record, served: u64) -> Result<()> {
    let note = |job: &mut Record| {
        let asked = &mut job.requests;
        asked.snapshot_done = asked.snapshot_done.max(served);
        if asked.snapshot_done >= asked.snapshot {
            asked.snapshot_days = None;
        }
        Ok(())
    };
    control.catalog().change::<Record>(job.id.as_str(), note).await.map(|_| ())
}

async fn delete_all(control: &Control, job: &Record) -> Result<u64> {
    // Who reads is ended first.
    while control.end_restores(job).await? > 0 {
        control.clock().sleep(EVERY).await;
    }
    let stores = control.stores_of(job).await?;
    let name: JobName = job.name.parse()?;
    terminate::delete_all(&stores, &name, control.clock(), control.rng()).await
}

/// Notes that what a job stored is deleted.
async fn terminated(control: &Control, job: &Record, deleted: u64) -> Result<()> {
    // First: a job that is inactive is not looked at again after a crash, and what it held would stay.
    grooms::soon(control, job).await?;
    let now = control.now();
    let changed = control.catalog().change::<Record>(job.id.as_str(), |job| {
        if job.state == JobState::Terminating {
            plan::end(job, now);
        }
        Ok(())
    });
    let changed = changed.await?;
    let message = format!("{} is inactive: {deleted} objects deleted", job.cluster);
    let (by, kind) = (By::system(), "RS_STATE_CHANGED_AUDIT");
    control.event(&by, Some(&job.project), Some(&changed), kind, message).await
}

impl Control {
    /// Where the data of a part goes, for an agent of `project`.
    ///
    /// # Errors
    /// `NotFound`: no such job, or another project's. `Unavailable`: it does not run here, or not yet.
    pub(crate) fn uplink(&self, project: &str, key: &PartKey) -> Result<Arc<dyn Uplink>> {
        let running = self.all_running();
        match running.values().find(|running| running.key == *key) {
            Some(running) if running.record.project.as_str() == project => {
                Ok(Arc::<Ingest>::clone(&running.ingest))
            }
            Some(_) => Err(Error::new(ErrorKind::NotFound, format!("there is no job {}", key.job))),
            None => {
                let why = format!("job {} does not run on this server now", key.job);
                Err(Error::new(ErrorKind::Unavailable, why))
            }
        }
    }
}
