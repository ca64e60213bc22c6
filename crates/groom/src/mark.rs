//! Which blocks are reachable.

use std::collections::{BTreeSet, HashMap, HashSet, hash_map::Entry};

use bygone_base::{BlockId, ErrorKind, PackId, Result};
use bygone_blockstore::{BlockReader, BlockRef, ObjectKind, names, relocation::Relocation};
use bygone_snapshot::{
    Manifest, Parts, catalogue,
    sync::{self, SyncSliceRecord},
};
use bygone_tree::{
    NodeEntry, RunRoot,
    walk::{Start, Visit, walk_blocks},
};

use crate::parts::{Places, open_sync};

/// Moves of one block that are followed, as a reader does.
pub(crate) const MOST_MOVES: usize = 64;

/// Living blocks by the pack that holds them now. Eight bytes of a block's id tell it apart within a pack.
#[derive(Debug, Default)]
pub(crate) struct Living {
    packs: HashMap<PackId, HashSet<u64>>,
    /// Packs that are gone but whose relocation record is still followed.
    pub moved: HashSet<PackId>,
    /// Syncs of which nothing is known yet: nothing may be deleted.
    pub unplanned: Vec<String>,
    relocations: HashMap<PackId, Relocation>,
    present: HashSet<PackId>,
    nodes: HashSet<BlockId>,
}

/// The part of a block's id by which marks are kept.
pub(crate) fn short(id: BlockId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.0[..8]);
    u64::from_le_bytes(first)
}

impl Living {
    /// Marks everything below all roots of the repository.
    pub(crate) async fn mark(
        reader: &BlockReader,
        places: &Places,
        unpublished: &[RunRoot],
    ) -> Result<Living> {
        let mut living = Living::default();
        let packs = reader.repo().store().list(names::PACKS, None).await?;
        living.present = packs.iter().filter_map(|o| names::parse_pack(&o.name)).collect();
        for run in unpublished {
            living.tree(reader, run).await?;
        }
        // Until a look finds nothing new: a snapshot may be published, and the one that it goes on from
        // expire, while we mark.
        let mut seen = BTreeSet::new();
        loop {
            let before = seen.len();
            for part in places.parts().await? {
                for id in part.snapshots.snapshot_ids().await? {
                    let key = (part.snapshots.job().clone(), part.snapshots.part().clone(), id);
                    if !seen.contains(&key) {
                        living.snapshot(reader, &part, &key.2).await?;
                        seen.insert(key);
                    }
                }
            }
            if seen.len() == before {
                break;
            }
        }
        for part in places.parts().await? {
            living.open_sync(reader, &part).await?;
        }
        living.half_moved(reader).await?;
        Ok(living)
    }

    /// Living blocks of a pack.
    pub(crate) fn of(&self, pack: PackId) -> Option<&HashSet<u64>> {
        self.packs.get(&pack)
    }

    async fn snapshot(
        &mut self,
        reader: &BlockReader,
        part: &Parts,
        id: &bygone_base::SnapshotId,
    ) -> Result<()> {
        match part.snapshots.manifest(id).await {
            Ok(manifest) => {
                // A manifest says where its slices, and so its timelines, are.
                part.oplog.repository().expect_id(manifest.oplog_repository)?;
                self.manifest(reader, &manifest).await
            }
            // Expired since it was listed.
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn manifest(&mut self, reader: &BlockReader, manifest: &Manifest) -> Result<()> {
        let within = |e: bygone_base::Error| e.within(format!("snapshot {}", manifest.id));
        if let Some(root) = manifest.catalogue {
            self.tree(reader, root).await.map_err(within)?;
        }
        let catalogue = catalogue::load(reader, manifest.catalogue).await.map_err(within)?;
        for collection in catalogue.collections.values() {
            if let Some(root) = &collection.tree.root {
                self.tree(reader, root).await.map_err(within)?;
            }
        }
        for run in &manifest.runs {
            self.tree(reader, (run.root, run.level)).await.map_err(within)?;
        }
        Ok(())
    }

    /// The blocks of a sync that no manifest covers yet: unfinished, or finished and not yet built.
    async fn open_sync(&mut self, reader: &BlockReader, part: &Parts) -> Result<()> {
        let Some(open) = open_sync(part).await? else { return Ok(()) };
        if !open.planned {
            let (job, part) = (part.snapshots.job(), part.snapshots.part());
            self.unplanned.push(format!("the initial sync of job {job}, part {part}"));
        }
        let records = part.oplog.sync();
        let folder = sync::slices_folder(open.id);
        for leaf in records.leaf_names(&folder).await? {
            let name = records.name(&format!("{folder}{leaf}"));
            let bytes = records.repository().get_object(ObjectKind::Sync, &name).await?;
            let record = SyncSliceRecord::from_bson(&bytes).map_err(|e| e.within(&name))?;
            for entry in record.entries {
                self.follow(reader, entry.block).await?;
            }
        }
        Ok(())
    }

    async fn tree(&mut self, reader: &BlockReader, root: impl Into<Start>) -> Result<()> {
        // Following a move needs to read: what moved is collected first.
        let mut moved: Vec<BlockRef> = Vec::new();
        let Living { packs, present, nodes, .. } = self;
        walk_blocks(reader, root, |level, entry: &NodeEntry| {
            // The same node may lie in two packs, each the only one that some snapshot knows: every
            // reference is marked, though what is below is seen once.
            if present.contains(&entry.block.pack) {
                packs.entry(entry.block.pack).or_default().insert(short(entry.block.id));
            } else {
                moved.push(entry.block);
            }
            let known = level > 0 && !nodes.insert(entry.block.id);
            Ok(if known { Visit::Skip } else { Visit::Enter })
        })
        .await?;
        for block in moved {
            self.follow(reader, block).await?;
        }
        Ok(())
    }

    /// Marks a block where it is now, and every record on the way there.
    async fn follow(&mut self, reader: &BlockReader, block: BlockRef) -> Result<()> {
        let mut pack = block.pack;
        for _ in 0..MOST_MOVES {
            if self.present.contains(&pack) {
                self.packs.entry(pack).or_default().insert(short(block.id));
                return Ok(());
            }
            self.moved.insert(pack);
            let record = match self.relocations.entry(pack) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(free) => match Relocation::read(reader.repo(), pack).await {
                    Ok(record) => free.insert(record),
                    // Lost: verify reports it; a groom must not make it worse.
                    Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                    Err(e) => return Err(e),
                },
            };
            match record.find(block.id) {
                Some(next) => pack = next,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// A groom that was cut off after it recorded a move and before it deleted the pack: the new places
    /// must live until the old one is gone.
    async fn half_moved(&mut self, reader: &BlockReader) -> Result<()> {
        for object in reader.repo().store().list(names::MOVED, None).await? {
            let Some(pack) = parse_moved(&object.name) else { continue };
            if !self.present.contains(&pack) {
                continue;
            }
            let record = match Relocation::read(reader.repo(), pack).await {
                Ok(record) => record,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            for block in record.blocks() {
                self.follow(reader, block).await?;
            }
        }
        Ok(())
    }
}

/// The pack whose relocation record has this name.
pub(crate) fn parse_moved(name: &str) -> Option<PackId> {
    name.strip_prefix(names::MOVED)?.parse().ok()
}
