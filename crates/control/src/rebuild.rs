//! The catalog made anew from the stores, after it was lost.

use bygone_base::{Error, ErrorKind, JobName, PartName, Result};
use bygone_catalog::{
    Id,
    record::{Job, JobState, JobStores, Requests, ScheduleSpec, Source, Store},
};
use bygone_snapshot::{PartStore, parts};

use crate::{By, Control};

/// The URI of a source that no store knows: it must be given again before the job can start.
const UNKNOWN: &str = "mongodb://source-not-known.invalid/";

/// A job that was found in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Its name in the stores.
    pub name: String,
    /// Its replica set.
    pub set: String,
    /// Its id now.
    pub id: Id,
    /// Snapshots that it has.
    pub snapshots: usize,
}

impl Control {
    /// Makes a stopped job in `project` of every part that the registered stores hold and no job names yet. Its
    /// snapshots can be restored at once; to go on, its source must be given (stores hold no secrets).
    ///
    /// A job's parts are looked for in every store: blocks in one, its oplog where its timelines are.
    pub async fn rebuild(&self, project: &Id, by: &By) -> Result<Vec<Rebuilt>> {
        self.project(project).await?;
        let known: Vec<Job> = self.catalog().all(None).await?;
        let stores: Vec<Store> = self.catalog().all(None).await?;
        let mut found = Vec::new();
        for store in &stores {
            let repository = self.repository(&store.id).await?;
            for (name, part) in parts(&repository).await? {
                let parts = PartStore::new(repository.clone(), name.clone(), part.clone());
                let snapshots = parts.snapshot_ids().await?.len();
                let taken = known.iter().any(|job| job.name == name.as_str());
                if taken || (snapshots == 0 && parts.timelines().await?.is_empty()) {
                    continue;
                }
                found.push((name, part, store.id.clone(), snapshots));
            }
        }
        let mut rebuilt: Vec<Rebuilt> = Vec::new();
        for (name, part, store, snapshots) in &found {
            if *snapshots == 0 || rebuilt.iter().any(|done| done.name == name.as_str()) {
                continue;
            }
            let oplog = self.oplog_store(&stores, name, part).await?;
            let sync = oplog.clone();
            let stores = JobStores { snapshot: store.clone(), oplog, sync };
            let mut job = self.stopped_job(project, name.as_str(), part.as_str(), stores)?;
            self.insert_job(&mut job).await?;
            let message = format!("job {name} rebuilt from store {store}");
            self.event(by, Some(project), Some(&job), "BACKUP_CONFIG_REBUILT", message).await?;
            rebuilt.push(Rebuilt {
                name: job.name,
                set: part.as_str().to_owned(),
                id: job.id,
                snapshots: *snapshots,
            });
        }
        Ok(rebuilt)
    }

    /// The store that holds a part's timelines.
    async fn oplog_store(
        &self,
        stores: &[Store],
        name: &JobName,
        part: &PartName,
    ) -> Result<String> {
        for store in stores {
            let repository = self.repository(&store.id).await?;
            let parts = PartStore::new(repository, name.clone(), part.clone());
            if !parts.timelines().await?.is_empty() {
                return Ok(store.id.clone());
            }
        }
        Err(Error::new(ErrorKind::NotFound, format!("no store holds the oplog of job {name}"))
            .hint("register the store of its oplog too"))
    }

    fn stopped_job(&self, project: &Id, name: &str, set: &str, stores: JobStores) -> Result<Job> {
        let id = self.new_id();
        let uri = self.seal().seal(UNKNOWN, &format!("job/{id}"), &**self.rng())?;
        Ok(Job {
            id,
            project: project.clone(),
            name: name.to_owned(),
            cluster: name.to_owned(),
            set: Some(set.to_owned()),
            state: JobState::Stopped,
            since: self.now(),
            created: self.now(),
            source: Source {
                uri,
                shown: UNKNOWN.to_owned(),
                include: Vec::new(),
                exclude: Vec::new(),
                member: None,
                member_tag: None,
                throttle: None,
                workers: 2,
            },
            stores,
            schedule: ScheduleSpec::default(),
            keep: None,
            requests: Requests::default(),
            drill: None,
            message: Some("rebuilt from its stores: give its source, then restart it".to_owned()),
        })
    }
}
