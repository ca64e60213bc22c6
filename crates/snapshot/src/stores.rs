//! The repositories of a job, and a part in them.

use bygone_base::{JobName, PartName};
use bygone_blockstore::Repository;

use crate::PartStore;

/// The three stores of a job; often the same repository three times.
#[derive(Debug, Clone)]
pub struct Stores {
    /// Blocks, also of initial syncs, manifests and policies.
    pub blocks: Repository,
    /// Epochs, timelines and oplog slices.
    pub oplog: Repository,
    /// Plan, records and end of initial syncs.
    pub sync: Repository,
}

/// A part of a job in its stores.
#[derive(Debug, Clone)]
pub struct Parts {
    /// In that of the snapshots.
    pub snapshots: PartStore,
    /// In that of the oplog; knows that of the initial syncs.
    pub oplog: PartStore,
}

impl Stores {
    /// One repository for everything.
    pub fn one(repository: Repository) -> Self {
        Stores { oplog: repository.clone(), sync: repository.clone(), blocks: repository }
    }

    /// Whether everything is in one repository.
    pub fn are_one(&self) -> bool {
        self.blocks.id() == self.oplog.id() && self.blocks.id() == self.sync.id()
    }

    /// Those that are not the same, that of the blocks first.
    pub fn distinct(&self) -> Vec<&Repository> {
        let mut all: Vec<&Repository> = Vec::new();
        for repository in [&self.blocks, &self.oplog, &self.sync] {
            if all.iter().all(|known| known.id() != repository.id()) {
                all.push(repository);
            }
        }
        all
    }

    /// A part.
    pub fn part(&self, job: JobName, part: PartName) -> Parts {
        let snapshots = PartStore::new(self.blocks.clone(), job.clone(), part.clone());
        let oplog = PartStore::new(self.oplog.clone(), job, part).with_sync(self.sync.clone());
        Parts { snapshots, oplog }
    }
}

impl Parts {
    /// The stores that it is in.
    pub fn stores(&self) -> Stores {
        Stores {
            blocks: self.snapshots.repository().clone(),
            oplog: self.oplog.repository().clone(),
            sync: self.oplog.sync().repository().clone(),
        }
    }
}
