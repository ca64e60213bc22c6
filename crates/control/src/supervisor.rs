//! Makes it so: runs what the catalog says is to run in this process, and notes what became of it.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};

use bygone_base::{Error, ErrorKind, JobName, Result, UnixMillis};
use bygone_catalog::{
    Id, Lease,
    record::{Job as Record, JobState},
};
use bygone_daemon::{Job, JobOptions};
use bygone_ingest::{Ingest, Options};
use bygone_oplog::uplink::{PartKey, Uplink};
use bygone_snapshot::{Parts, Policy};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{By, Control, grooms, housekeeping::Housekeeping, running::Running, seen, terminate};

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);
/// Another server may take a job over when this one was not heard for so long.
const LEASE_MS: i64 = 30_000;
/// A job that could not be started is tried again after this long.
const AGAIN: Duration = Duration::from_secs(30);

/// Runs the jobs of a catalog.
pub struct Supervisor {
    control: Arc<Control>,
    /// Who holds the leases.
    owner: String,
    jobs: JoinSet<(Id, Result<()>)>,
    stops: std::collections::HashMap<Id, Stop>,
    /// Where data of jobs that were stopped may be on its way in yet.
    leaving: std::collections::HashMap<Id, Weak<Ingest>>,
    again: std::collections::HashMap<Id, Duration>,
    work: Housekeeping,
}

/// How a running job is stopped.
struct Stop {
    token: CancellationToken,
    lease: Lease,
}

impl Supervisor {
    /// Runs nothing yet.
    pub fn new(control: Arc<Control>) -> Supervisor {
        let owner = format!("server {:016x}", control.rng().next_u64());
        let work = Housekeeping::new(control.clone(), owner.clone());
        Supervisor {
            control,
            owner,
            jobs: JoinSet::new(),
            stops: Default::default(),
            leaving: Default::default(),
            again: Default::default(),
            work,
        }
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
                Some(Ok((id, ended))) = self.jobs.join_next() => {
                    self.ended(&id, &ended).await;
                }
                () = self.control.clock().sleep(EVERY) => {}
            }
        }
        for stop in self.stops.values() {
            stop.token.cancel();
        }
        self.work.stop().await;
        let mut failures = Vec::new();
        while let Some(joined) = self.jobs.join_next().await {
            if let Ok((id, ended)) = joined {
                self.ended(&id, &ended).await;
                failures.extend(ended.err());
            }
        }
        failures
    }

    /// Looks once: what is to run, and can, runs afterwards.
    ///
    /// # Errors
    /// The catalog could not be read or written.
    pub async fn step(&mut self) -> Result<()> {
        let jobs: Vec<Record> = self.control.catalog().all(None).await?;
        let there: HashSet<&Id> = jobs.iter().map(|job| &job.id).collect();
        for (id, stop) in &self.stops {
            if !there.contains(id) {
                stop.token.cancel();
            }
        }
        for job in &jobs {
            if let Err(error) = self.see_to(job).await {
                tracing::warn!(job = job.name, %error, "a job could not be seen to");
                self.again.insert(job.id.clone(), self.control.clock().monotonic() + AGAIN);
                self.say(job, Some(&error)).await?;
            }
        }
        self.work.step(&jobs).await
    }

    async fn see_to(&mut self, job: &Record) -> Result<()> {
        let runs = self.stops.contains_key(&job.id);
        let wanted = matches!(job.state, JobState::Active) && job.set.is_some();
        if runs {
            self.renew(job).await?;
            match self.control.running(&job.id) {
                Some(running) if !wanted || !running.is_of(job) => {
                    seen::note_last(&self.control, job, &running).await?;
                    self.stop(&job.id);
                }
                Some(running) => self.serve_requests(&running, job).await?,
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
    async fn serve_requests(&self, running: &Running, job: &Record) -> Result<()> {
        let served = running.serve_requests(job);
        if served > job.requests.snapshot_done {
            let note = |job: &mut Record| {
                job.requests.snapshot_done = job.requests.snapshot_done.max(served);
                Ok(())
            };
            self.control.catalog().change::<Record>(job.id.as_str(), note).await?;
        }
        Ok(())
    }

    async fn lease(&self, job: &Record) -> Result<Option<Lease>> {
        let now = self.control.now();
        let until = UnixMillis(now.0 + LEASE_MS);
        let name = format!("daemon/{}", job.id);
        self.control.catalog().lease(&name, &self.owner, now, until).await
    }

    async fn renew(&mut self, job: &Record) -> Result<()> {
        let held = self.lease(job).await?;
        let Some(stop) = self.stops.get_mut(&job.id) else { return Ok(()) };
        match held {
            Some(lease) if lease.epoch == stop.lease.epoch => stop.lease = lease,
            // Somebody else runs it by now.
            _ => self.stop(&job.id),
        }
        Ok(())
    }

    async fn start(&mut self, job: &Record) -> Result<()> {
        let Some(set) = &job.set else { return Ok(()) };
        let Some(lease) = self.lease(job).await? else { return Ok(()) };
        let (running, daemon) = match self.prepare(job, set).await {
            Ok(prepared) => prepared,
            Err(error) => {
                // Another server may reach what this one cannot; and nobody says that it runs.
                self.control.catalog().release(&lease, self.control.now()).await?;
                return Err(error);
            }
        };
        self.control.all_running().insert(job.id.clone(), running);
        let token = CancellationToken::new();
        self.stops.insert(job.id.clone(), Stop { token: token.clone(), lease });
        self.again.remove(&job.id);
        let id = job.id.clone();
        self.jobs.spawn(async move { (id, daemon.run(&token).await) });
        if job.message.is_some() {
            self.say(job, None).await?;
        }
        tracing::info!(job = job.name, "runs here");
        Ok(())
    }

    async fn prepare(&self, job: &Record, set: &str) -> Result<(Arc<Running>, Arc<Job>)> {
        let control = &self.control;
        let key = PartKey { job: job.name.parse()?, part: set.parse()? };
        let stores = control.stores_of(job).await?;
        let Parts { snapshots, oplog } = stores.part(key.job.clone(), key.part.clone());
        let options = options(job)?;
        // A groom by hand learns from it that the job has more elsewhere.
        snapshots.set_policy(&options.policy).await?;
        let (clock, rng) = (control.clock().clone(), control.rng().clone());
        let ingest = Arc::new(Ingest::new(stores, clock.clone(), rng, Options::default()));
        let (daemon, status) =
            Job::new(ingest.clone(), key.clone(), snapshots, oplog, clock, options);
        let daemon = Arc::new(daemon);
        let running = Running::new(job.clone(), key, ingest, daemon.clone(), status);
        Ok((Arc::new(running), daemon))
    }

    /// No more data is taken at once; the daemon ends what it is at.
    fn stop(&mut self, id: &Id) {
        let running = self.control.all_running().remove(id);
        if let Some(running) = running {
            self.leaving.insert(id.clone(), Arc::downgrade(&running.ingest));
        }
        if let Some(stop) = self.stops.get(id) {
            stop.token.cancel();
        }
    }

    async fn ended(&mut self, id: &Id, ended: &Result<()>) {
        self.control.all_running().remove(id);
        if let Err(error) = ended {
            tracing::warn!(job = %id, %error, "a job ended");
        }
        if let Some(stop) = self.stops.remove(id) {
            let released = self.control.catalog().release(&stop.lease, self.control.now()).await;
            if let Err(error) = released {
                tracing::warn!(job = %id, %error, "a lease was not given back");
            }
        }
    }

    /// Deletes what a job stored; done again from the beginning after a crash.
    async fn terminate(&mut self, job: &Record) -> Result<()> {
        let Some(lease) = self.lease(job).await? else { return Ok(()) };
        // Who reads is ended first, and what is on its way in has come to its end.
        let uploads = self.leaving.get(&job.id).is_some_and(|ingest| ingest.strong_count() > 0);
        if uploads || self.control.end_restores(job).await? > 0 {
            return Ok(());
        }
        self.leaving.remove(&job.id);
        let stores = self.control.stores_of(job).await?;
        let name: JobName = job.name.parse()?;
        let deleted = terminate::delete_all(&stores, &name).await?;
        let now = self.control.now();
        let changed = self.control.catalog().change::<Record>(job.id.as_str(), |job| {
            if job.state == JobState::Terminating {
                // What begins next is a new initial sync in any case.
                job.requests.resync_done = job.requests.resync;
                (job.state, job.since, job.set, job.message) =
                    (JobState::Inactive, now, None, None);
            }
            Ok(())
        });
        let changed = changed.await?;
        let message = format!("{} is inactive: {deleted} objects deleted", job.cluster);
        let kind = "RS_STATE_CHANGED_AUDIT";
        self.control
            .event(&By::system(), Some(&job.project), Some(&changed), kind, message)
            .await?;
        grooms::soon(&self.control, &changed).await?;
        self.control.catalog().release(&lease, now).await
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

/// How a job's daemon runs.
fn options(job: &Record) -> Result<JobOptions> {
    Ok(JobOptions {
        schedule: job.schedule.schedule()?,
        tiers: job.keep.is_none_or(|keep| keep.tiers),
        policy: Policy {
            window_secs: job.schedule.window_secs,
            keep_last: job.keep.and_then(|keep| keep.last),
            keep_within_secs: job.keep.and_then(|keep| keep.within_secs),
        },
        // A store that many jobs share is groomed once for all of them.
        groom_delay: job.keep.map(|keep| Duration::from_secs(keep.groom_delay_secs)),
        ..JobOptions::default()
    })
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
