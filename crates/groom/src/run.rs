//! A groom: mark, plan, sweep.

use std::collections::{HashMap, HashSet};

use bygone_base::{ByteSize, ErrorKind, PackId, Result, UnixMillis};
use bygone_blockstore::{
    BlockReader, BlockRef, Repository, Toc, TocEntry, compress_block, names,
    relocation::Relocation, write_pack,
};
use bygone_snapshot::{Stores, sync};
use bygone_tree::RunRoot;

use crate::{
    lease,
    mark::{Living, parse_moved, short},
    parts::{Places, open_sync, syncs},
    plan::{Limits, PackFacts, Plan, plan, plan_moved},
    record,
};

/// Cache of the marking walk: nodes only.
pub(crate) const CACHE: usize = 16 << 20;
/// Blocks of a rewritten pack are gathered up to this size.
const PACK_BYTES: usize = 20 << 20;

/// How to groom.
#[derive(Debug, Clone, Copy)]
pub struct GroomOptions {
    /// Milliseconds a pack must have been unreachable before it goes.
    pub delay_ms: i64,
    /// Only say what would be done if the store's clock showed this: nothing is written, not even to ask for
    /// its time.
    pub dry_run: Option<UnixMillis>,
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

/// Grooms a repository that holds everything of its jobs. `unpublished` are the runs of a head in this
/// process that no manifest names yet.
pub async fn groom(
    repo: &Repository,
    unpublished: &[RunRoot],
    options: GroomOptions,
) -> Result<Groomed> {
    groom_in(&Stores::one(repo.clone()).into(), unpublished, options).await
}

/// Grooms the repository of blocks, where timelines or syncs may be in others.
pub async fn groom_in(
    places: &Places,
    unpublished: &[RunRoot],
    options: GroomOptions,
) -> Result<Groomed> {
    let repo = &places.usual.blocks;
    let reader = BlockReader::new(repo.clone(), CACHE);
    let now = match options.dry_run {
        Some(now) => now,
        None => record::store_now(repo).await?,
    };
    let (number, dead_since) = record::read(repo).await?;
    let living = Living::mark(&reader, places, unpublished).await?;
    let facts = facts(&reader, &living).await?;
    let limits = Limits { delay: options.delay_ms, rewrite_below: 0.5 };
    let mut todo = plan(&facts, &dead_since, &limits, now);
    plan_moved(&unfollowed(repo, &living).await?, &dead_since, &limits, now, &mut todo);
    let mut readers = lease::in_force(repo, now, options.dry_run.is_none()).await?;
    readers.extend(living.unplanned.iter().cloned());
    if !readers.is_empty() {
        todo.hold_back(&dead_since, now);
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
    if options.dry_run.is_none() {
        sweep(&reader, places, &living, &todo, number).await?;
    }
    Ok(done)
}

async fn sweep(
    reader: &BlockReader,
    places: &Places,
    living: &Living,
    todo: &Plan,
    number: u32,
) -> Result<()> {
    let repo = reader.repo();
    for pack in &todo.delete {
        repo.store().delete(&names::pack(*pack)).await?;
    }
    for pack in
        todo.rewrite.iter().chain(todo.replaced.iter().filter(|p| !todo.rewrite.contains(p)))
    {
        rewrite(reader, living, *pack, todo.replaced.contains(pack)).await?;
    }
    for pack in &todo.forget {
        repo.store().delete(&names::moved(*pack)).await?;
    }
    drop_covered_syncs(places).await?;
    record::write(repo, number, &todo.dead).await?;
    repo.store().sweep_leftovers().await
}

async fn facts(reader: &BlockReader, living: &Living) -> Result<Vec<PackFacts>> {
    let records = reader.repo().store().list(names::MOVED, None).await?;
    let records: HashMap<PackId, UnixMillis> =
        records.iter().filter_map(|o| Some((parse_moved(&o.name)?, o.modified))).collect();
    let mut facts = Vec::new();
    for object in reader.repo().store().list(names::PACKS, None).await? {
        let Some(pack) = names::parse_pack(&object.name) else { continue };
        let (stored, alive) = match living.of(pack) {
            None => (object.size, 0),
            Some(blocks) => match reader.toc(pack).await {
                Ok(toc) => share(&toc, blocks),
                // Damaged: verify reports it; keep all of it.
                Err(e) if e.kind() == ErrorKind::Damaged => (object.size, object.size),
                // Another groom was faster.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            },
        };
        let (bytes, written, moved) = (object.size, object.modified, records.get(&pack).copied());
        facts.push(PackFacts { pack, bytes, stored, living: alive, written, moved });
    }
    Ok(facts)
}

/// Stored bytes of all blocks and of the living ones; at least one byte when one lives.
fn share(toc: &Toc, alive: &HashSet<u64>) -> (u64, u64) {
    let bytes = |all: bool| {
        let entries = toc.entries().iter().filter(|e| all || alive.contains(&short(e.id)));
        entries.map(|e| u64::from(e.stored)).sum::<u64>()
    };
    (bytes(true), bytes(false).max(1))
}

/// Relocation records that nothing follows, and when they were written.
async fn unfollowed(repo: &Repository, living: &Living) -> Result<Vec<(PackId, UnixMillis)>> {
    let mut found = Vec::new();
    for object in repo.store().list(names::MOVED, None).await? {
        let Some(pack) = parse_moved(&object.name) else { continue };
        // While the pack is there (another groom is about to delete it), trees may know it by its name.
        if !living.moved.contains(&pack) && living.of(pack).is_none() {
            found.push((pack, object.modified));
        }
    }
    Ok(found)
}

/// Sees to it that the living blocks of a pack are elsewhere, and deletes it when that is due. A reader in the
/// middle of it finds the relocation.
async fn rewrite(reader: &BlockReader, living: &Living, pack: PackId, delete: bool) -> Result<()> {
    let Some(alive) = living.of(pack) else { return Ok(()) };
    match move_blocks(reader, alive, pack).await {
        Ok(_) if !delete => Ok(()),
        Ok(true) => reader.repo().store().delete(&names::pack(pack)).await,
        Ok(false) => Ok(()),
        // Of a pack that is damaged nothing is given away; verify reports it.
        Err(e) if e.kind() == ErrorKind::Damaged => {
            tracing::warn!(%pack, error = %e, "a pack cannot be rewritten");
            Ok(())
        }
        Err(e) => Err(e),
    }
}

/// Copies the living blocks of a pack and records where they are; whether the pack may go.
async fn move_blocks(reader: &BlockReader, alive: &HashSet<u64>, pack: PackId) -> Result<bool> {
    let toc = match reader.toc(pack).await {
        Ok(toc) => toc,
        // Another groom was faster.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    let entries: Vec<_> = toc.entries().iter().filter(|e| alive.contains(&short(e.id))).collect();
    if let Some(moved) = half_moved(reader, pack, &entries).await? {
        return Ok(moved);
    }
    let mut moved = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for entry in entries {
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
    match Relocation::new(pack, moved).write(reader.repo()).await {
        Ok(_) => Ok(true),
        // Another groom was faster: its copies count, ours will be found dead.
        Err(e) if e.kind() == ErrorKind::Conflict => Ok(false),
        Err(e) => Err(e),
    }
}

/// What a groom that was cut off recorded: `Some(true)` when every living block is in its new place.
async fn half_moved(
    reader: &BlockReader,
    pack: PackId,
    alive: &[&TocEntry],
) -> Result<Option<bool>> {
    let record = match Relocation::read(reader.repo(), pack).await {
        Ok(record) => record,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    for entry in alive {
        let Some(next) = record.find(entry.id) else { return Ok(Some(false)) };
        match reader.locate(&BlockRef { id: entry.id, pack: next }).await {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Damaged => return Ok(Some(false)),
            Err(e) => return Err(e),
        }
    }
    Ok(Some(true))
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

/// Slice records of initial syncs that a manifest covers; plan and end stay with the timeline.
async fn drop_covered_syncs(places: &Places) -> Result<()> {
    for part in places.parts().await? {
        let open = open_sync(&part).await?.map(|open| open.id);
        let records = part.oplog.sync();
        for id in syncs(&part).await?.into_iter().filter(|id| Some(*id) != open) {
            for leaf in records.leaf_names(&sync::slices_folder(id)).await? {
                let name = records.name(&format!("{}{leaf}", sync::slices_folder(id)));
                records.repository().store().delete(&name).await?;
            }
        }
    }
    Ok(())
}
