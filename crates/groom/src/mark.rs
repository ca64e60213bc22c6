//! Which blocks are reachable.

use std::collections::{HashMap, HashSet};

use bygone_base::{BlockId, ErrorKind, PackId, Result};
use bygone_blockstore::{BlockReader, BlockRef, names, relocation::Relocation};
use bygone_snapshot::{
    Manifest, PartStore, catalogue, histories, parts,
    sync::{self, SyncSliceRecord},
    timeline::includes,
};
use bygone_tree::{
    NodeEntry, RunRoot,
    walk::{Start, Visit, walk_blocks},
};

/// Living blocks by the pack that holds them now. Eight bytes of a block's id tell it apart within a pack.
#[derive(Debug, Default)]
pub(crate) struct Living {
    packs: HashMap<PackId, HashSet<u64>>,
    /// Packs that are gone but whose relocation record is still followed.
    pub moved: HashSet<PackId>,
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
    pub(crate) async fn mark(reader: &BlockReader, unpublished: &[RunRoot]) -> Result<Living> {
        let mut living = Living::default();
        let packs = reader.repo().store().list(names::PACKS, None).await?;
        living.present = packs.iter().filter_map(|o| names::parse_pack(&o.name)).collect();
        for (job, part) in parts(reader.repo()).await? {
            let part = PartStore::new(reader.repo().clone(), job, part);
            for manifest in part.manifests().await? {
                living.manifest(reader, &manifest).await?;
            }
            living.open_syncs(reader, &part).await?;
        }
        for run in unpublished {
            living.tree(reader, run).await?;
        }
        Ok(living)
    }

    /// Living blocks of a pack.
    pub(crate) fn of(&self, pack: PackId) -> Option<&HashSet<u64>> {
        self.packs.get(&pack)
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

    /// The blocks of syncs that no manifest covers yet: unfinished, or finished and not yet built.
    async fn open_syncs(&mut self, reader: &BlockReader, part: &PartStore) -> Result<()> {
        for sync in open_syncs(part).await? {
            let folder = sync::slices_folder(sync);
            for leaf in part.leaf_names(&folder).await? {
                let name = part.name(&format!("{folder}{leaf}"));
                let bytes =
                    reader.repo().get_object(bygone_blockstore::ObjectKind::Sync, &name).await?;
                for entry in SyncSliceRecord::from_bson(&bytes)?.entries {
                    self.block(reader, entry.block).await?;
                }
            }
        }
        Ok(())
    }

    async fn tree(&mut self, reader: &BlockReader, root: impl Into<Start>) -> Result<()> {
        // Collected first: marking may have to read relocation records.
        let mut blocks: Vec<BlockRef> = Vec::new();
        let nodes = &mut self.nodes;
        walk_blocks(reader, root, |level, entry: &NodeEntry| {
            if level > 0 && !nodes.insert(entry.block.id) {
                return Ok(Visit::Skip);
            }
            blocks.push(entry.block);
            Ok(Visit::Enter)
        })
        .await?;
        for block in blocks {
            self.block(reader, block).await?;
        }
        Ok(())
    }

    async fn block(&mut self, reader: &BlockReader, block: BlockRef) -> Result<()> {
        let mut pack = block.pack;
        while !self.present.contains(&pack) {
            self.moved.insert(pack);
            if !self.relocations.contains_key(&pack) {
                match Relocation::read(reader.repo(), pack).await {
                    Ok(record) => self.relocations.insert(pack, record),
                    // Lost: verify reports it; a groom must not make it worse.
                    Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                    Err(e) => return Err(e),
                };
            }
            match self.relocations.get(&pack).and_then(|r| r.find(block.id)) {
                Some(next) if !self.moved.contains(&next) => pack = next,
                _ => return Ok(()),
            }
        }
        self.packs.entry(pack).or_default().insert(short(block.id));
        Ok(())
    }
}

/// The sync of the current history while no manifest covers it. An older history that never got a
/// snapshot will not get one any more.
pub(crate) async fn open_syncs(part: &PartStore) -> Result<Vec<bygone_base::SyncId>> {
    let timelines = part.timelines().await?;
    let Some(history) = histories(&timelines).into_iter().next() else { return Ok(Vec::new()) };
    let manifests = part.manifests().await?;
    if manifests.iter().any(|m| includes(&history, m.timeline, m.at)) {
        return Ok(Vec::new());
    }
    let first = history.first().map(|s| s.timeline);
    let timeline = timelines.iter().find(|t| Some(t.id) == first);
    Ok(timeline.and_then(|t| t.sync).into_iter().collect())
}
