//! A groom: mark, plan, sweep.

use bygone_base::{ByteSize, ErrorKind, PackId, Result};
use bygone_blockstore::{
    BlockReader, BlockRef, Repository, compress_block, names, relocation::Relocation, write_pack,
};
use bygone_snapshot::{PartStore, parts, sync};
use bygone_tree::RunRoot;

use crate::{
    lease,
    mark::{Living, open_syncs, short},
    plan::{Limits, PackFacts, Plan, plan},
    record,
};

/// Cache of the marking walk: nodes only.
const CACHE: usize = 16 << 20;
/// Blocks of a rewritten pack are gathered up to this size.
const PACK_BYTES: usize = 20 << 20;

/// How to groom.
#[derive(Debug, Clone, Copy)]
pub struct GroomOptions {
    /// Milliseconds a pack must have been unreachable before it goes.
    pub delay_ms: i64,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What a groom did, or in a dry run would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groomed {
    /// Packs in the store, and their bytes.
    pub packs: u64,
    /// Bytes of all packs.
    pub bytes: u64,
    /// Stored bytes of living blocks.
    pub living: u64,
    /// Packs deleted.
    pub deleted: u64,
    /// Their bytes.
    pub freed: u64,
    /// Packs whose living blocks were moved.
    pub rewritten: u64,
    /// Bytes of dead packs that must wait for the delay.
    pub waiting: u64,
    /// Readers that hold a lease: nothing was deleted.
    pub readers: Vec<String>,
}

impl std::fmt::Display for Groomed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} packs of {}, {} living; {} packs of {} freed, {} rewritten, {} waiting for the delay",
            self.packs,
            ByteSize(self.bytes),
            ByteSize(self.living),
            self.deleted,
            ByteSize(self.freed),
            self.rewritten,
            ByteSize(self.waiting)
        )?;
        match &self.readers[..] {
            [] => Ok(()),
            readers => write!(f, "; nothing deleted while read by {}", readers.join(", ")),
        }
    }
}

/// Grooms a repository. `unpublished` are the runs of a head in this process that no manifest names yet.
pub async fn groom(
    repo: &Repository,
    unpublished: &[RunRoot],
    options: GroomOptions,
) -> Result<Groomed> {
    let reader = BlockReader::new(repo.clone(), CACHE);
    let now = record::store_now(repo).await?;
    let (number, dead_since) = record::read(repo).await?;
    let living = Living::mark(&reader, unpublished).await?;
    let facts = facts(&reader, &living).await?;
    let limits = Limits { delay: options.delay_ms, rewrite_below: 0.5 };
    let mut todo = plan(&facts, &dead_since, &limits, now);
    let readers = lease::in_force(repo, now).await?;
    if !readers.is_empty() {
        hold_back(&mut todo, &dead_since, now);
    }
    let done = Groomed {
        packs: facts.len() as u64,
        bytes: facts.iter().map(|p| p.bytes).sum(),
        living: facts.iter().map(|p| p.living).sum(),
        deleted: todo.delete.len() as u64,
        freed: todo.freed,
        rewritten: todo.rewrite.len() as u64,
        waiting: todo.waiting,
        readers,
    };
    if options.dry_run {
        return Ok(done);
    }
    for pack in &todo.delete {
        repo.store().delete(&names::pack(*pack)).await?;
    }
    for pack in &todo.rewrite {
        rewrite(&reader, &living, *pack).await?;
    }
    // Only after the packs: a record forgotten too early could hide a pack that is still read.
    drop_relocations(repo, &living).await?;
    drop_covered_syncs(repo).await?;
    record::write(repo, number, &todo.dead).await?;
    Ok(done)
}

/// Nothing is deleted while somebody reads.
fn hold_back(
    todo: &mut Plan,
    dead_since: &std::collections::BTreeMap<PackId, bygone_base::UnixMillis>,
    now: bygone_base::UnixMillis,
) {
    for pack in std::mem::take(&mut todo.delete) {
        todo.dead.insert(pack, dead_since.get(&pack).copied().unwrap_or(now));
    }
    todo.waiting += std::mem::take(&mut todo.freed);
}

async fn facts(reader: &BlockReader, living: &Living) -> Result<Vec<PackFacts>> {
    let mut facts = Vec::new();
    for object in reader.repo().store().list(names::PACKS, None).await? {
        let Some(pack) = names::parse_pack(&object.name) else { continue };
        let alive = match living.of(pack) {
            None => 0,
            Some(blocks) => match reader.toc(pack).await {
                Ok(toc) => toc
                    .entries()
                    .iter()
                    .filter(|e| blocks.contains(&short(e.id)))
                    .map(|e| u64::from(e.stored))
                    .sum(),
                // Damaged: verify reports it; keep all of it.
                Err(e) if e.kind() == ErrorKind::Damaged => object.size,
                Err(e) => return Err(e),
            },
        };
        facts.push(PackFacts { pack, bytes: object.size, living: alive, written: object.modified });
    }
    Ok(facts)
}

/// Moves the living blocks of a pack and deletes it. A reader in the middle of it finds the relocation.
async fn rewrite(reader: &BlockReader, living: &Living, pack: PackId) -> Result<()> {
    let toc = reader.toc(pack).await?;
    let Some(alive) = living.of(pack) else { return Ok(()) };
    let mut moved = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for entry in toc.entries().iter().filter(|e| alive.contains(&short(e.id))) {
        let raw = reader.read(&BlockRef { id: entry.id, pack }).await?;
        let zstd = compress_block(3, &raw)?;
        bytes += zstd.len();
        batch.push((entry.id, entry.raw, zstd));
        if bytes >= PACK_BYTES {
            flush(reader.repo(), &mut batch, &mut moved).await?;
            bytes = 0;
        }
    }
    flush(reader.repo(), &mut batch, &mut moved).await?;
    Relocation::new(pack, moved).write(reader.repo()).await?;
    reader.repo().store().delete(&names::pack(pack)).await
}

async fn flush(
    repo: &Repository,
    batch: &mut Vec<(bygone_base::BlockId, u32, bytes::Bytes)>,
    moved: &mut Vec<BlockRef>,
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = batch.iter().map(|(id, ..)| *id).collect();
    let pack = write_pack(repo, std::mem::take(batch)).await?;
    moved.extend(ids.into_iter().map(|id| BlockRef { id, pack }));
    Ok(())
}

/// Relocation records that nothing follows any more.
async fn drop_relocations(repo: &Repository, living: &Living) -> Result<()> {
    for object in repo.store().list(names::MOVED, None).await? {
        let pack = object.name.strip_prefix(names::MOVED).and_then(|p| p.parse::<PackId>().ok());
        // One just written is followed by trees that were marked under the old pack's name.
        let followed = pack.is_some_and(|p| living.moved.contains(&p) || living.of(p).is_some());
        if !followed {
            repo.store().delete(&object.name).await?;
        }
    }
    Ok(())
}

/// Slice records of initial syncs that a manifest covers; plan and end stay with the timeline.
async fn drop_covered_syncs(repo: &Repository) -> Result<()> {
    for (job, part) in parts(repo).await? {
        let part = PartStore::new(repo.clone(), job, part);
        let open = open_syncs(&part).await?;
        for timeline in part.timelines().await? {
            let Some(id) = timeline.sync.filter(|id| !open.contains(id)) else { continue };
            for leaf in part.leaf_names(&sync::slices_folder(id)).await? {
                let name = part.name(&format!("{}{leaf}", sync::slices_folder(id)));
                repo.store().delete(&name).await?;
            }
        }
    }
    Ok(())
}
