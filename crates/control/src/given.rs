//! A job whose settings are given with each start of the process, such as that of `bygone up`: what stands there holds.

use bygone_base::{PartName, Result};
use bygone_catalog::{
    Id, Lease,
    record::{AgentKey, Job, JobState, JobStores, Keeping, ScheduleSpec, Store},
};

use crate::{Action, By, Control, NewJob, NewSource, NewStore};

/// What is given of the job.
#[derive(Debug, Clone)]
pub struct Given {
    /// Name in the stores, and that of the cluster.
    pub name: String,
    /// The replica set that its source is.
    pub set: PartName,
    /// Source.
    pub source: NewSource,
    /// Stores by id.
    pub stores: JobStores,
    /// Schedule and retention.
    pub schedule: ScheduleSpec,
    /// What it keeps by rules of its own.
    pub keep: Option<Keeping>,
}

impl Control {
    /// Registers a store, or brings it in line with what is given.
    ///
    /// # Errors
    /// What opening it gives.
    pub async fn given_store(&self, wanted: NewStore) -> Result<()> {
        let id = wanted.id.clone();
        let stored = match self.catalog().find::<Store>(&id).await? {
            None => self.add_store(wanted, &By::system()).await,
            Some(row)
                if row.value.url == wanted.url
                    && row.value.key_file == wanted.key_file
                    && wanted.passphrase.is_none() =>
            {
                return Ok(());
            }
            Some(_) => self.edit_store(wanted, &By::system()).await,
        };
        stored.map(|_| ())
    }

    /// Makes the job, or brings it in line with what is given, and starts it. One that is being terminated stays so.
    ///
    /// # Errors
    /// Usage: something of it is wrong.
    pub async fn given_job(&self, project: &Id, given: Given) -> Result<Job> {
        let by = By::system();
        let Given { name, set, source, stores, schedule, keep } = given;
        let known: Vec<Job> = self.catalog().all(Some(project.as_str())).await?;
        let job = match known.into_iter().find(|job| job.name == name) {
            Some(job) => job,
            None => {
                let new = NewJob {
                    cluster: name.clone(),
                    source: source.clone(),
                    stores: Some(stores.clone()),
                    schedule: schedule.clone(),
                    name: Some(name),
                };
                self.create_job(project, new, &by).await?
            }
        };
        schedule.schedule()?;
        let source = self.source(&job.id, source)?;
        let changed = self.catalog().change::<Job>(job.id.as_str(), |job| {
            job.set = Some(set.as_str().to_owned());
            (job.source, job.stores) = (source.clone(), stores.clone());
            // What was announced on the page was of another schedule.
            job.announced = job.announced.filter(|_| job.schedule == schedule);
            (job.schedule, job.keep) = (schedule.clone(), keep);
            Ok(())
        });
        match changed.await?.state {
            JobState::Inactive | JobState::Stopped => {
                self.act(project, &job.id, Action::Start, &by).await
            }
            _ => self.within(project, job.id.as_str()).await,
        }
    }

    /// Lets agents in that have this key, which was made elsewhere.
    pub async fn given_agent_key(&self, project: &Id, key: &[u8]) -> Result<()> {
        let hash = blake3::hash(key).to_hex().to_string();
        let known: Vec<AgentKey> = self.catalog().all(Some(project.as_str())).await?;
        if known.iter().any(|key| key.hash == hash) {
            return Ok(());
        }
        let key = AgentKey {
            id: self.new_id(),
            project: project.clone(),
            description: "given at the start".to_owned(),
            hash,
            created: self.now(),
        };
        self.catalog().insert(&key).await
    }

    /// Ends the leases of what ran before on this catalog, for who knows that it runs no more: what they kept from
    /// others can go on at once.
    pub async fn end_leases(&self, of: impl Fn(&Lease) -> bool) -> Result<()> {
        let now = self.now();
        for lease in self.catalog().all::<Lease>(None).await? {
            if lease.until > now && of(&lease) {
                self.catalog().release(&lease, now).await?;
            }
        }
        Ok(())
    }
}
