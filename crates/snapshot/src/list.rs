//! What a part has in its repository: snapshots, timelines, pins, policy.

use bygone_base::{ErrorKind, JobName, PartName, Result, SnapshotId, TimelineId};
use bygone_blockstore::{ObjectKind, Put, Repository};

use crate::{
    manifest::Manifest,
    retention::Policy,
    timeline::{Stretch, Timeline, lineage},
};

/// One part of one job within a repository.
#[derive(Debug, Clone)]
pub struct PartStore {
    repository: Repository,
    job: JobName,
    part: PartName,
}

impl PartStore {
    /// The part's objects in `repository`.
    pub fn new(repository: Repository, job: JobName, part: PartName) -> Self {
        PartStore { repository, job, part }
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The job.
    pub fn job(&self) -> &JobName {
        &self.job
    }

    /// The part.
    pub fn part(&self) -> &PartName {
        &self.part
    }

    /// The name of one of the part's objects.
    pub fn name(&self, rest: &str) -> String {
        format!("jobs/{}/{}/{rest}", self.job, self.part)
    }

    /// Ids of the snapshots, ascending (by moment).
    pub async fn snapshot_ids(&self) -> Result<Vec<SnapshotId>> {
        let names = self.leaf_names("snapshots/").await?;
        names.iter().map(|name| name.parse()).collect()
    }

    /// One manifest.
    pub async fn manifest(&self, id: &SnapshotId) -> Result<Manifest> {
        let name = self.name(&format!("snapshots/{id}"));
        let bytes = self.repository.get_object(ObjectKind::Manifest, &name).await?;
        Manifest::from_bson(&bytes).map_err(|e| e.within(&name))
    }

    /// All manifests, in order of their moments. One that vanishes between
    /// listing and reading has just expired and is left out.
    pub async fn manifests(&self) -> Result<Vec<Manifest>> {
        let mut manifests = Vec::new();
        for id in self.snapshot_ids().await? {
            match self.manifest(&id).await {
                Ok(manifest) => manifests.push(manifest),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        manifests.sort_by_key(|m| (m.at, m.created));
        Ok(manifests)
    }

    /// Writes a manifest: from here on the snapshot exists.
    pub async fn publish(&self, manifest: &Manifest) -> Result<()> {
        let name = self.name(&format!("snapshots/{}", manifest.id));
        self.repository
            .put_object(ObjectKind::Manifest, &name, &manifest.to_bson())
            .await
            .map(|_: Put| ())
    }

    /// Deletes a manifest; what only it needed is freed by the next groom.
    pub async fn expire(&self, id: &SnapshotId) -> Result<()> {
        self.repository.store().delete(&self.name(&format!("snapshots/{id}"))).await
    }

    /// Ids of pinned snapshots.
    pub async fn pins(&self) -> Result<Vec<SnapshotId>> {
        let names = self.leaf_names("pins/").await?;
        names.iter().map(|name| name.parse()).collect()
    }

    /// All timelines, ascending.
    pub async fn timelines(&self) -> Result<Vec<Timeline>> {
        let mut timelines = Vec::new();
        for leaf in self.leaf_names("timelines/").await? {
            let name = self.name(&format!("timelines/{leaf}"));
            let bytes = self.repository.get_object(ObjectKind::Timeline, &name).await?;
            timelines.push(Timeline::from_bson(&bytes).map_err(|e| e.within(&name))?);
        }
        Ok(timelines)
    }

    /// The policy in force, if one was ever written.
    pub async fn policy(&self) -> Result<Option<Policy>> {
        let Some(newest) = self.leaf_names("policy/").await?.pop() else { return Ok(None) };
        let name = self.name(&format!("policy/{newest}"));
        let bytes = self.repository.get_object(ObjectKind::Policy, &name).await?;
        Policy::from_bson(&bytes).map(Some).map_err(|e| e.within(&name))
    }

    /// Puts a policy in force, unless it is already.
    pub async fn set_policy(&self, policy: &Policy) -> Result<()> {
        if self.policy().await?.as_ref() == Some(policy) {
            return Ok(());
        }
        let newest = self.leaf_names("policy/").await?.pop();
        let next = newest.and_then(|n| n.parse::<u32>().ok()).unwrap_or(0) + 1;
        let name = self.name(&format!("policy/{next:08}"));
        self.repository.put_object(ObjectKind::Policy, &name, &policy.to_bson()).await?;
        Ok(())
    }

    /// Last components of the object names under `folder`, ascending.
    pub async fn leaf_names(&self, folder: &str) -> Result<Vec<String>> {
        let prefix = self.name(folder);
        let objects = self.repository.store().list(&prefix, None).await?;
        Ok(objects
            .into_iter()
            .filter_map(|o| o.name.strip_prefix(&prefix).map(str::to_owned))
            .filter(|leaf| !leaf.contains('/'))
            .collect())
    }
}

/// The histories of a part, newest first: the one being continued, then those
/// that ended in a resync.
pub fn histories(timelines: &[Timeline]) -> Vec<Vec<Stretch>> {
    let mut histories = Vec::new();
    let mut below: Option<TimelineId> = None;
    while let Some(tip) =
        timelines.iter().rev().map(|t| t.id).find(|id| below.is_none_or(|b| *id < b))
    {
        let history = lineage(timelines, tip);
        below = Some(history.first().map_or(tip, |s| s.timeline.min(tip)));
        histories.push(history);
    }
    histories
}

/// Jobs and parts that have objects in the repository.
pub async fn parts(repository: &Repository) -> Result<Vec<(JobName, PartName)>> {
    let mut parts: Vec<(JobName, PartName)> = Vec::new();
    for object in repository.store().list("jobs/", None).await? {
        let mut path = object.name.split('/').skip(1);
        let (Some(job), Some(part)) = (path.next(), path.next()) else { continue };
        if parts.last().is_some_and(|(j, p)| j.as_str() == job && p.as_str() == part) {
            continue;
        }
        let entry = (job.parse()?, part.parse()?);
        if !parts.contains(&entry) {
            parts.push(entry);
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bygone_base::{OpTime, SyncId, Ts, UnixMillis};

    #[test]
    fn a_resync_begins_a_new_history_and_the_old_one_stays() {
        let line = |id: u32, parent: Option<(u32, u64)>, sync: bool| Timeline {
            id: TimelineId(id),
            start: OpTime::new(Ts(u64::from(id) * 10), 1),
            parent: parent.map(|(p, f)| (TimelineId(p), OpTime::new(Ts(f), 1))),
            reason: "test".into(),
            sync: sync.then_some(SyncId([0; 8])),
            created: UnixMillis(0),
        };
        let all = [
            line(1, None, true),
            line(2, Some((1, 15)), false),
            line(3, Some((2, 25)), true),
            line(4, Some((3, 35)), false),
        ];
        let found: Vec<Vec<u32>> =
            histories(&all).iter().map(|h| h.iter().map(|s| s.timeline.0).collect()).collect();
        assert_eq!(found, vec![vec![3, 4], vec![1, 2]]);
    }
}
