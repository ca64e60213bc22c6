//! The parts that a groom looks at.

use std::collections::BTreeMap;

use bygone_base::{Error, ErrorKind, JobName, Result, SyncId};
use bygone_blockstore::ObjectKind;
use bygone_snapshot::{Parts, Stores, histories, parts, sync, timeline::includes};

/// Where the parts of jobs are whose blocks are in one repository.
#[derive(Debug, Clone)]
pub struct Places {
    /// Of jobs that are not named.
    pub usual: Stores,
    /// Of those that are; their blocks are in the same repository.
    pub jobs: BTreeMap<JobName, Stores>,
}

impl From<Stores> for Places {
    fn from(usual: Stores) -> Self {
        Places { usual, jobs: BTreeMap::new() }
    }
}

impl Places {
    /// The parts that have objects beside the blocks.
    ///
    /// # Errors
    /// Usage when a part's timelines are in another store than the one given: what its initial sync
    /// has written could not be told from what nobody needs.
    pub(crate) async fn parts(&self) -> Result<Vec<Parts>> {
        let mut found = Vec::new();
        for (job, name) in parts(&self.usual.blocks).await? {
            let part = self.jobs.get(&job).unwrap_or(&self.usual).part(job, name);
            // An agent takes an epoch before it opens a timeline, in the same store.
            let known = !part.oplog.timelines().await?.is_empty()
                || !part.oplog.leaf_names("epochs/").await?.is_empty();
            if !known {
                return Err(elsewhere(&part));
            }
            found.push(part);
        }
        Ok(found)
    }
}

/// An initial sync whose blocks no manifest covers.
pub(crate) struct OpenSync {
    pub id: SyncId,
    /// Whether its plan is there: without it nothing is known of its blocks.
    pub planned: bool,
}

fn elsewhere(part: &Parts) -> Error {
    let (job, name) = (part.snapshots.job(), part.snapshots.part());
    let location = part.oplog.repository().store().location();
    Error::usage(format!("the timelines of job {job}, part {name} are not in {location}"))
        .hint("name the stores that the job uses with --oplog-store and --sync-store")
}

/// The sync of the current history while no manifest covers it. An older history that never got a
/// snapshot will not get one any more.
pub(crate) async fn open_sync(part: &Parts) -> Result<Option<OpenSync>> {
    let timelines = part.oplog.timelines().await?;
    let Some(history) = histories(&timelines).into_iter().next() else { return Ok(None) };
    let manifests = part.snapshots.manifests().await?;
    if manifests.iter().any(|m| includes(&history, m.timeline, m.at)) {
        return Ok(None);
    }
    let first = history.first().map(|s| s.timeline);
    let timeline = timelines.iter().find(|t| Some(t.id) == first);
    let Some(id) = timeline.and_then(|t| t.sync) else { return Ok(None) };
    let records = part.oplog.sync();
    let plan = records.name(&sync::plan_name(id));
    let planned = match records.repository().get_object(ObjectKind::Sync, &plan).await {
        Ok(_) => true,
        Err(e) if e.kind() == ErrorKind::NotFound => false,
        Err(e) => return Err(e),
    };
    Ok(Some(OpenSync { id, planned }))
}

/// All syncs that the part ever had.
pub(crate) async fn syncs(part: &Parts) -> Result<Vec<SyncId>> {
    Ok(part.oplog.timelines().await?.into_iter().filter_map(|t| t.sync).collect())
}
