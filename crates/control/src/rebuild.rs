//! The catalog made anew from the stores, after it was lost.

use std::collections::HashSet;

use bygone_base::{Error, ErrorKind, JobName, PartName, Result, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Job, JobState, JobStores, Requests, ScheduleSpec, Source, Store},
};
use bygone_snapshot::{Keep, PartStore, Policy, parts};

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
            let found = self.repository(store).await?;
            let snapshots_of = PartStore::new(found, name.clone(), part.clone());
            let policy = snapshots_of.policy().await?;
            pin(&snapshots_of, policy.as_ref()).await?;
            let schedule = schedule(policy.as_ref());
            let mut job =
                self.stopped_job(project, name.as_str(), part.as_str(), stores, schedule)?;
            self.insert_job(&mut job, &HashSet::new()).await?;
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

    fn stopped_job(
        &self,
        project: &Id,
        name: &str,
        set: &str,
        stores: JobStores,
        schedule: ScheduleSpec,
    ) -> Result<Job> {
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
            schedule,
            keep: None,
            requests: Requests::default(),
            announced: None,
            drill: None,
            message: Some("rebuilt from its stores: give its source, then restart it".to_owned()),
        })
    }
}

/// The schedule of a job of which only the policy in its store is known: nothing goes earlier than it would have gone.
fn schedule(policy: Option<&Policy>) -> ScheduleSpec {
    let usual = ScheduleSpec::default();
    let Some(policy) = policy else { return usual };
    let within = policy.keep_within_secs.unwrap_or_default();
    ScheduleSpec {
        base_secs: usual.base_secs.max(within),
        window_secs: policy.window_secs,
        ..usual
    }
}

/// Snapshots that were kept by rules, and not until moments of their own, are given such, so that the schedule's tiers do
/// not decide on them.
async fn pin(part: &PartStore, policy: Option<&Policy>) -> Result<()> {
    let keeps = part.keeps().await?;
    let manifests = part.manifests().await?;
    let moments: Vec<UnixMillis> = manifests.iter().map(|m| m.created).collect();
    let given = manifests.iter().zip(given(policy, &moments));
    for (manifest, keep) in given.filter(|(manifest, _)| !keeps.contains_key(&manifest.id)) {
        part.set_keep(&manifest.id, &keep).await?;
    }
    Ok(())
}

/// How long snapshots of these moments, ascending, are kept: as long as the rule of age says. Those that only a count
/// keeps, or nothing that is known, stay until somebody says otherwise.
fn given(policy: Option<&Policy>, moments: &[UnixMillis]) -> Vec<Keep> {
    let within = policy.and_then(|policy| policy.keep_within_secs);
    let last = policy.and_then(|policy| policy.keep_last).unwrap_or_default();
    let counted = moments.len().saturating_sub(usize::try_from(last).unwrap_or(usize::MAX));
    let keep = |(n, at): (usize, &UnixMillis)| {
        let due = u64::try_from(at.0.div_euclid(1000)).unwrap_or_default();
        let until = within.filter(|_| n < counted).map(|within| due.saturating_add(within));
        Keep { due: Some(due), until }
    };
    moments.iter().enumerate().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_says_is_never_shortened() {
        let policy = |keep_last, keep_within_secs| Policy {
            keep_last,
            keep_within_secs,
            window_secs: 604_800,
        };
        let week = policy(Some(1), Some(604_800));
        let spec = schedule(Some(&week));
        assert_eq!((spec.window_secs, spec.base_secs), (604_800, 604_800));
        assert!(spec.schedule().is_ok());
        assert_eq!(schedule(Some(&policy(None, Some(60)))).base_secs, 2 * 86_400);
        let moments = [UnixMillis(1_000_000), UnixMillis(2_000_000)];
        let until = |policy: Option<Policy>| {
            given(policy.as_ref(), &moments).iter().map(|k| k.until).collect::<Vec<_>>()
        };
        assert_eq!(until(Some(week)), [Some(1_000 + 604_800), None], "the newest by count");
        assert_eq!(until(Some(policy(None, Some(5)))), [Some(1_005), Some(2_005)]);
        assert_eq!(until(Some(policy(None, None))), [None, None]);
        assert_eq!(until(None), [None, None]);
    }
}
