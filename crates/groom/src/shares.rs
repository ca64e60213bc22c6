//! Whose the stored bytes are: what goes with one snapshot, what only one job's snapshots hold, what several jobs share.
//!
//! Every snapshot's trees are walked; what a walk finds known with the same owner it does not enter again, so a block
//! is seen at most three times however many snapshots hold it. Memory: about 20 bytes per block.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use bygone_base::{BlockId, ErrorKind, JobName, PackId, Result, SnapshotId};
use bygone_blockstore::{BlockReader, BlockRef, Repository, relocation::Relocation};
use bygone_snapshot::{Manifest, PartStore, catalogue, parts};
use bygone_tree::walk::{Start, Visit, walk_blocks};

use crate::{
    mark::{MOST_MOVES, short},
    run::CACHE,
};

/// Stored bytes of blocks, by who holds them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shares {
    /// Bytes that one snapshot alone holds: what its end frees.
    pub snapshots: BTreeMap<(JobName, SnapshotId), u64>,
    /// Bytes that several snapshots of one job hold.
    pub jobs: BTreeMap<JobName, u64>,
    /// Bytes that snapshots of several jobs hold.
    pub shared: u64,
}

/// Who holds a block. Numbers count snapshots, and jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Snapshot { job: u32, snapshot: u32 },
    Job(u32),
    All,
}

impl Owner {
    fn job(self) -> Option<u32> {
        match self {
            Owner::Snapshot { job, .. } | Owner::Job(job) => Some(job),
            Owner::All => None,
        }
    }

    /// Who holds it when both do.
    fn and(self, other: Owner) -> Owner {
        match (self.job(), other.job()) {
            _ if self == other => self,
            (Some(a), Some(b)) if a == b => Owner::Job(a),
            _ => Owner::All,
        }
    }
}

/// The owners of blocks, by pack and the beginning of their names.
#[derive(Default)]
struct Owners {
    packs: HashMap<PackId, HashMap<u64, Owner>>,
}

impl Owners {
    /// Whether that changed anything.
    fn add(&mut self, pack: PackId, block: u64, owner: Owner) -> bool {
        match self.packs.entry(pack).or_default().entry(block) {
            Entry::Vacant(free) => {
                free.insert(owner);
                true
            }
            Entry::Occupied(mut known) => {
                let both = known.get().and(owner);
                known.insert(both) != both
            }
        }
    }

    async fn snapshot(
        &mut self,
        reader: &BlockReader,
        manifest: &Manifest,
        owner: Owner,
    ) -> Result<()> {
        if let Some(root) = manifest.catalogue {
            self.tree(reader, root, owner).await?;
        }
        let catalogue = catalogue::load(reader, manifest.catalogue).await?;
        for collection in catalogue.collections.values() {
            if let Some(root) = &collection.tree.root {
                self.tree(reader, root, owner).await?;
            }
        }
        for run in &manifest.runs {
            self.tree(reader, (run.root, run.level), owner).await?;
        }
        Ok(())
    }

    async fn tree(
        &mut self,
        reader: &BlockReader,
        root: impl Into<Start>,
        owner: Owner,
    ) -> Result<()> {
        walk_blocks(reader, root, |_, entry| {
            let changed = self.add(entry.block.pack, short(entry.block.id), owner);
            Ok(if changed { Visit::Enter } else { Visit::Skip })
        })
        .await
    }
}

/// Finds out for all snapshots in a repository of blocks.
///
/// # Errors
/// What reading gives; Damaged: `verify` says what is.
pub async fn shares(repo: &Repository) -> Result<Shares> {
    let reader = BlockReader::new(repo.clone(), CACHE);
    let mut owners = Owners::default();
    let (mut jobs, mut names) = (Vec::<JobName>::new(), Vec::new());
    for (job, name) in parts(repo).await? {
        let number = match jobs.iter().position(|known| *known == job) {
            Some(number) => number,
            None => {
                jobs.push(job.clone());
                jobs.len() - 1
            }
        };
        let part = PartStore::new(repo.clone(), job.clone(), name);
        for id in part.snapshot_ids().await? {
            let manifest = match part.manifest(&id).await {
                Ok(manifest) => manifest,
                // Expired since it was listed.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let owner = Owner::Snapshot { job: count(number), snapshot: count(names.len()) };
            owners.snapshot(&reader, &manifest, owner).await?;
            names.push((job.clone(), id));
        }
    }
    let mut shares = Shares::default();
    shares.snapshots.extend(names.iter().cloned().map(|name| (name, 0)));
    weigh(&reader, owners, |owner, bytes| {
        let place = match owner {
            Owner::Snapshot { snapshot, .. } => {
                names.get(snapshot as usize).and_then(|name| shares.snapshots.get_mut(name))
            }
            Owner::Job(job) => {
                jobs.get(job as usize).map(|job| shares.jobs.entry(job.clone()).or_default())
            }
            Owner::All => Some(&mut shares.shared),
        };
        if let Some(place) = place {
            *place += bytes;
        }
    })
    .await?;
    Ok(shares)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Tells of each block how long it is, where it is now.
async fn weigh(
    reader: &BlockReader,
    mut owners: Owners,
    mut tell: impl FnMut(Owner, u64),
) -> Result<()> {
    for _ in 0..MOST_MOVES {
        let mut moved = Owners::default();
        for (pack, blocks) in owners.packs {
            match reader.toc(pack).await {
                Ok(toc) => {
                    for entry in toc.entries() {
                        if let Some(owner) = blocks.get(&short(entry.id)) {
                            tell(*owner, u64::from(entry.stored));
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    follow(reader.repo(), pack, &blocks, &mut moved).await?;
                }
                Err(e) => return Err(e),
            }
        }
        if moved.packs.is_empty() {
            break;
        }
        owners = moved;
    }
    Ok(())
}

/// Where the blocks of a pack that is gone went.
async fn follow(
    repo: &Repository,
    pack: PackId,
    blocks: &HashMap<u64, Owner>,
    moved: &mut Owners,
) -> Result<()> {
    let record = match Relocation::read(repo, pack).await {
        Ok(record) => record,
        // Lost: verify reports it.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for BlockRef { id, pack } in record.blocks() {
        let id: BlockId = id;
        if let Some(owner) = blocks.get(&short(id)) {
            moved.add(pack, short(id), *owner);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_only_grow() {
        let one = Owner::Snapshot { job: 1, snapshot: 1 };
        let two = Owner::Snapshot { job: 1, snapshot: 2 };
        let other = Owner::Snapshot { job: 2, snapshot: 3 };
        assert_eq!(one.and(one), one);
        assert_eq!(one.and(two), Owner::Job(1));
        assert_eq!(Owner::Job(1).and(two), Owner::Job(1));
        assert_eq!(one.and(other), Owner::All);
        assert_eq!(Owner::Job(1).and(other), Owner::All);
        assert_eq!(Owner::All.and(one), Owner::All);
    }
}
