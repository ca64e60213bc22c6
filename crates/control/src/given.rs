//! A job whose settings are given with each start of the process, such as that of `bygone up`: what stands there holds.

use bygone_base::{PartName, Result};
use bygone_catalog::{
    Id, Lease,
    record::{Agent, AgentKey, Job, JobState, JobStores, Keeping, ScheduleSpec, Store},
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
    /// Registers a store, or brings it in line with what is given: where it is, how it opens, what it is for and how much
    /// it may hold. The rest stays as people have set it.
    ///
    /// # Errors
    /// What opening it gives.
    pub async fn given_store(&self, wanted: NewStore) -> Result<()> {
        let id = wanted.id.clone();
        let Some(row) = self.catalog().find::<Store>(&id).await? else {
            return self.add_store(wanted, &By::system()).await.map(|_| ());
        };
        let kept = row.value;
        let opens_alike = kept.url == wanted.url
            && kept.key_file == wanted.key_file
            && wanted.passphrase.is_none();
        if opens_alike && kept.purposes == wanted.purposes && kept.max_bytes == wanted.max_bytes {
            return Ok(());
        }
        if opens_alike {
            // Nothing of it has to be opened, which a store that is away could not be.
            let changed = self.catalog().change::<Store>(&id, |store| {
                (store.purposes, store.max_bytes) = (wanted.purposes.clone(), wanted.max_bytes);
                Ok(())
            });
            changed.await?;
            let message = format!("store {id} changed by the configuration");
            return self.event(&By::system(), None, None, "STORE_CHANGED_AUDIT", message).await;
        }
        let wanted = NewStore {
            assignment_enabled: kept.assignment_enabled,
            labels: kept.labels,
            load_factor: kept.load_factor,
            ..wanted
        };
        self.edit_store(wanted, &By::system()).await.map(|_| ())
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
                // Its schedule, which may be finer than people may ask for, is set below.
                let new = NewJob {
                    cluster: name.clone(),
                    source: source.clone(),
                    stores: Some(stores.clone()),
                    schedule: ScheduleSpec::default(),
                    name: Some(name),
                };
                self.make_job(project, new, true, &by).await?
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

    /// Ends what the agents of a process that ran before on this catalog held, for who knows that it runs no more. Those of
    /// other processes go on.
    pub async fn end_own_agents(&self) -> Result<()> {
        let agents: Vec<Agent> = self.catalog().all(None).await?;
        for agent in agents.iter().filter(|agent| agent.here && !agent.left) {
            let left = self.catalog().change::<Agent>(&agent.id, |agent| {
                (agent.left, agent.serves) = (true, Vec::new());
                Ok(())
            });
            left.await?;
            self.end_leases(|lease| lease.owner == agent.id).await?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bygone_base::{SystemClock, SystemRng};
    use bygone_catalog::{Catalog, Seal, Sqlite, record::Purpose};

    use super::*;

    #[tokio::test]
    async fn what_the_configuration_says_of_a_store_holds_at_each_start() {
        let catalog = Catalog::new(Arc::new(Sqlite::in_memory().unwrap()));
        let clock = Arc::new(SystemClock::new());
        let seal = Seal::new(&[3; 32]).unwrap();
        let control = Control::new(catalog, seal, clock, Arc::new(SystemRng));
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}", dir.path().display());
        let first = NewStore::new("main", &url);
        control.given_store(first.clone()).await.unwrap();
        let labelled = NewStore { labels: vec!["gold".into()], ..first.clone() };
        control.edit_store(labelled, &By::system()).await.unwrap();
        let purposes = vec![Purpose::Oplog];
        let second = NewStore { purposes: purposes.clone(), max_bytes: Some(5), ..first };
        control.given_store(second).await.unwrap();
        let kept = control.catalog().get::<Store>("main").await.unwrap().value;
        assert_eq!((kept.purposes, kept.max_bytes), (purposes, Some(5)));
        assert_eq!(kept.labels, ["gold"]);
    }
}
