//! What a part has in its repository: snapshots, timelines, policy.

use bygone_base::{
    Error, ErrorKind, JobName, OpTime, PartName, Result, SnapshotId, TimelineId, Ts,
};
use bygone_blockstore::{ObjectKind, Put, Repository};
use futures::StreamExt as _;

use crate::{
    manifest::Manifest,
    retention::Policy,
    timeline::{Stretch, Timeline, lineage},
};

/// Small objects read at once.
pub(crate) const AT_ONCE: usize = 8;
/// How often another writer may put a numbered object between our look and our put.
pub(crate) const TRIES: u32 = 8;

/// One part of one job within a repository.
#[derive(Debug, Clone)]
pub struct PartStore {
    repository: Repository,
    /// The repository of the records of initial syncs, where it is another one.
    sync: Option<Repository>,
    job: JobName,
    part: PartName,
}

/// The manifests of a part, those that cannot be read apart.
#[derive(Debug, Default)]
pub struct Found {
    /// In order of their moments.
    pub manifests: Vec<Manifest>,
    /// What is damaged, and how.
    pub damaged: Vec<(SnapshotId, Error)>,
}

impl PartStore {
    /// The part's objects in `repository`.
    pub fn new(repository: Repository, job: JobName, part: PartName) -> Self {
        PartStore { repository, sync: None, job, part }
    }

    /// The same part, with the records of its initial syncs in another repository.
    #[must_use]
    pub fn with_sync(self, sync: Repository) -> Self {
        PartStore { sync: Some(sync), ..self }
    }

    /// The part in the repository of the records of its initial syncs.
    #[must_use]
    pub fn sync(&self) -> PartStore {
        let repository = self.sync.as_ref().unwrap_or(&self.repository).clone();
        PartStore { repository, sync: None, job: self.job.clone(), part: self.part.clone() }
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
        let id = |name: &String| name.parse().map_err(|_| self.strange("snapshots/", name));
        names.iter().map(id).collect()
    }

    pub(crate) fn strange(&self, folder: &str, leaf: &str) -> Error {
        Error::damaged(format!("{}{leaf} is not an object of ours", self.name(folder)))
            .hint("move it away: nothing else may be in this folder")
    }

    /// One manifest.
    pub async fn manifest(&self, id: &SnapshotId) -> Result<Manifest> {
        let name = self.name(&format!("snapshots/{id}"));
        let bytes = self.repository.get_object(ObjectKind::Manifest, &name).await?;
        let manifest = Manifest::from_bson(&bytes).map_err(|e| e.within(&name))?;
        if manifest.id == *id && manifest.job == self.job && manifest.part == self.part {
            return Ok(manifest);
        }
        Err(Error::damaged(format!("{name} is the manifest of snapshot {}", manifest.id)))
    }

    /// All manifests; damaged when one of them is.
    pub async fn manifests(&self) -> Result<Vec<Manifest>> {
        let Found { manifests, damaged } = self.find_manifests().await?;
        match damaged.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(manifests),
        }
    }

    /// All manifests, those that are damaged apart: one bad object must not hide the good ones.
    /// One that vanishes between listing and reading has just expired and is left out.
    pub async fn find_manifests(&self) -> Result<Found> {
        let mut found = Found::default();
        let ids = self.snapshot_ids().await?;
        let read = |id: SnapshotId| async move { (self.manifest(&id).await, id) };
        let mut reads = futures::stream::iter(ids).map(read).buffered(AT_ONCE);
        while let Some((read, id)) = reads.next().await {
            match read {
                Ok(manifest) => found.manifests.push(manifest),
                Err(e) => match e.kind() {
                    ErrorKind::NotFound => {}
                    ErrorKind::Damaged | ErrorKind::Unsupported => found.damaged.push((id, e)),
                    _ => return Err(e),
                },
            }
        }
        found.manifests.sort_by_key(|m| (m.at, m.created));
        Ok(found)
    }

    /// Writes a manifest: from here on the snapshot exists.
    pub async fn publish(&self, manifest: &Manifest) -> Result<()> {
        let name = self.name(&format!("snapshots/{}", manifest.id));
        // One that is there is ours, its reply lost, or another one that chance gave the same name.
        self.repository
            .put_object_checked(ObjectKind::Manifest, &name, &manifest.to_bson())
            .await
            .map(|_: Put| ())
    }

    /// Deletes a manifest; what only it needed is freed by the next groom.
    pub async fn expire(&self, id: &SnapshotId) -> Result<()> {
        self.repository.store().delete(&self.name(&format!("snapshots/{id}"))).await?;
        self.forget_keep(id).await
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
        Ok(self.newest_policy().await?.1)
    }

    /// Number (0: none) and content of the policy in force.
    async fn newest_policy(&self) -> Result<(u32, Option<Policy>)> {
        let Some(leaf) = self.leaf_names("policy/").await?.pop() else { return Ok((0, None)) };
        let number = leaf.parse().map_err(|_| self.strange("policy/", &leaf))?;
        let name = self.name(&format!("policy/{leaf}"));
        let bytes = self.repository.get_object(ObjectKind::Policy, &name).await?;
        let policy = Policy::from_bson(&bytes).map_err(|e| e.within(&name))?;
        Ok((number, Some(policy)))
    }

    /// Puts a policy in force, unless it is already.
    pub async fn set_policy(&self, policy: &Policy) -> Result<()> {
        for _ in 0..TRIES {
            let (number, newest) = self.newest_policy().await?;
            if newest.as_ref() == Some(policy) {
                return Ok(());
            }
            let name = self.name(&format!("policy/{:08}", number.saturating_add(1)));
            let put =
                self.repository.put_object(ObjectKind::Policy, &name, &policy.to_bson()).await?;
            if put == Put::Created {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "policies are written faster than they can be read"))
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

/// For each history (as [`histories`] gives them) where its stored oplog ended: where it was when the
/// resync after it began. `None` for the one being continued.
pub fn ends(timelines: &[Timeline], histories: &[Vec<Stretch>]) -> Vec<Option<OpTime>> {
    let root = |history: &Vec<Stretch>| {
        let first = history.first()?.timeline;
        timelines.iter().find(|t| t.id == first)
    };
    let next = histories.iter().map(|next| {
        // Unknown counts as just ended: nothing of it goes early.
        let end = root(next).and_then(|t| t.parent).map(|(_, end)| end);
        Some(end.unwrap_or(OpTime::new(Ts::MAX, i64::MAX)))
    });
    std::iter::once(None).chain(next).take(histories.len()).collect()
}

/// The history that holds timeline `id`, voided stretches included, as a number in `histories`.
pub fn history_of(histories: &[Vec<Stretch>], id: TimelineId) -> Option<usize> {
    histories.iter().position(|h| h.first().is_some_and(|root| root.timeline <= id))
}

/// Jobs and parts that have objects in the repository.
pub async fn parts(repository: &Repository) -> Result<Vec<(JobName, PartName)>> {
    let mut parts = Vec::new();
    for job in repository.store().list_folders("jobs/").await? {
        for part in repository.store().list_folders(&format!("jobs/{job}/")).await? {
            parts.push((job.parse()?, part.parse()?));
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bygone_base::{SyncId, UnixMillis};

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
        let histories = histories(&all);
        assert_eq!(ends(&all, &histories), [None, Some(OpTime::new(Ts(25), 1))]);
        let of = |id| history_of(&histories, TimelineId(id));
        assert_eq!([of(4), of(3), of(2), of(1), of(0)], [Some(0), Some(0), Some(1), Some(1), None]);
    }
}
