//! The repositories that a groom looks at.

use bygone_base::{Error, ErrorKind, Result, SyncId};
use bygone_blockstore::{ObjectKind, Repository};
use bygone_snapshot::{PartStore, histories, parts, sync, timeline::includes};

/// Where blocks and manifests, slices and timelines, and the records of initial syncs are; often one
/// repository three times.
#[derive(Debug, Clone)]
pub struct Stores {
    /// Blocks, manifests, policies: what is groomed.
    pub blocks: Repository,
    /// Timelines and oplog slices.
    pub oplog: Repository,
    /// Records of initial syncs.
    pub sync: Repository,
}

impl Stores {
    /// One repository for everything.
    pub fn one(repository: Repository) -> Self {
        Stores { oplog: repository.clone(), sync: repository.clone(), blocks: repository }
    }

    /// The parts that have objects beside the blocks.
    ///
    /// # Errors
    /// Usage when a part's timelines are in another store than the one given: what its initial sync
    /// has written could not be told from what nobody needs.
    pub(crate) async fn parts(&self) -> Result<Vec<Part>> {
        let mut found = Vec::new();
        for (job, name) in parts(&self.blocks).await? {
            let blocks = PartStore::new(self.blocks.clone(), job.clone(), name.clone());
            let oplog = PartStore::new(self.oplog.clone(), job, name).with_sync(self.sync.clone());
            let part = Part { blocks, oplog };
            // An agent takes an epoch before it opens a timeline, in the same store.
            let known = !part.oplog.timelines().await?.is_empty()
                || !part.oplog.leaf_names("epochs/").await?.is_empty();
            if !known {
                return Err(part.elsewhere());
            }
            found.push(part);
        }
        Ok(found)
    }
}

/// A part in its repositories.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// In that of blocks.
    pub blocks: PartStore,
    /// In that of slices.
    pub oplog: PartStore,
}

/// An initial sync whose blocks no manifest covers.
pub(crate) struct OpenSync {
    pub id: SyncId,
    /// Whether its plan is there: without it nothing is known of its blocks.
    pub planned: bool,
}

impl Part {
    fn elsewhere(&self) -> Error {
        let (job, part) = (self.blocks.job(), self.blocks.part());
        let location = self.oplog.repository().store().location();
        Error::usage(format!("the timelines of job {job}, part {part} are not in {location}"))
            .hint("name the stores that the job uses with --oplog-store and --sync-store")
    }

    /// The sync of the current history while no manifest covers it. An older history that never got a
    /// snapshot will not get one any more.
    pub(crate) async fn open_sync(&self) -> Result<Option<OpenSync>> {
        let timelines = self.oplog.timelines().await?;
        let Some(history) = histories(&timelines).into_iter().next() else { return Ok(None) };
        let manifests = self.blocks.manifests().await?;
        if manifests.iter().any(|m| includes(&history, m.timeline, m.at)) {
            return Ok(None);
        }
        let first = history.first().map(|s| s.timeline);
        let timeline = timelines.iter().find(|t| Some(t.id) == first);
        let Some(id) = timeline.and_then(|t| t.sync) else { return Ok(None) };
        let records = self.oplog.sync();
        let plan = records.name(&sync::plan_name(id));
        let planned = match records.repository().get_object(ObjectKind::Sync, &plan).await {
            Ok(_) => true,
            Err(e) if e.kind() == ErrorKind::NotFound => false,
            Err(e) => return Err(e),
        };
        Ok(Some(OpenSync { id, planned }))
    }

    /// All syncs that the part ever had.
    pub(crate) async fn syncs(&self) -> Result<Vec<SyncId>> {
        Ok(self.oplog.timelines().await?.into_iter().filter_map(|t| t.sync).collect())
    }
}
