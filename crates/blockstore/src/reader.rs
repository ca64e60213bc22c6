//! Reading blocks: find the pack, its table of contents, the bytes; check
//! everything; keep what is likely to be asked for again.

mod cache;
mod plan;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
};

use bygone_base::{BlockId, Error, ErrorKind, PackId, Result};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use crate::{
    BlockRef, Repository, Toc, TocEntry, codec, names,
    pack::{self, FOOTER, Footer, HEADER, open_block},
    relocation::Relocation,
};
use cache::ByteLru;

/// First guess at footer and table together: the table of 1,200 blocks.
const TAIL: u64 = 64 << 10;
/// Moves of one block that are followed; each takes a groom.
const MOST_MOVES: usize = 64;
/// Ranges of one `read_many` that are fetched at once.
const RANGES_AT_ONCE: usize = 4;

/// Reads blocks, checked, through bounded caches. Clones share the caches.
#[derive(Debug, Clone)]
pub struct BlockReader {
    inner: Arc<Inner>,
    over: Option<Arc<Scratch>>,
}

/// Another repository whose packs are read through the same reader.
#[derive(Debug)]
struct Scratch {
    packs: HashSet<PackId>,
    reader: BlockReader,
}

#[derive(Debug)]
struct Inner {
    repo: Repository,
    blocks: Mutex<ByteLru<BlockId, Bytes>>,
    tocs: Mutex<ByteLru<PackId, Arc<Toc>>>,
    moves: Mutex<ByteLru<PackId, Arc<Relocation>>>,
    /// Tables being loaded: everybody who needs one waits for the same load.
    loading: Mutex<HashMap<PackId, Arc<OnceCell<Arc<Toc>>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl BlockReader {
    /// A reader whose caches hold about `cache_bytes`: three quarters for
    /// blocks, the rest for tables of contents and relocation records.
    pub fn new(repo: Repository, cache_bytes: usize) -> Self {
        let eighth = cache_bytes / 8;
        let inner = Inner {
            repo,
            blocks: Mutex::new(ByteLru::new(cache_bytes - 2 * eighth)),
            tocs: Mutex::new(ByteLru::new(eighth)),
            moves: Mutex::new(ByteLru::new(eighth)),
            loading: Mutex::default(),
        };
        BlockReader { inner: Arc::new(inner), over: None }
    }

    /// A reader that finds the packs `scratch` has now there, and every other one here.
    pub async fn over(&self, scratch: BlockReader) -> Result<BlockReader> {
        let objects = scratch.repo().store().list(names::PACKS, None).await?;
        let packs = objects.iter().filter_map(|o| names::parse_pack(&o.name)).collect();
        let over = Some(Arc::new(Scratch { packs, reader: scratch }));
        Ok(BlockReader { inner: self.inner.clone(), over })
    }

    /// The repository.
    pub fn repo(&self) -> &Repository {
        &self.inner.repo
    }

    /// A block's raw content: its name, lengths, check sums and tag are as
    /// they were written, or it is [`ErrorKind::Damaged`].
    pub async fn read(&self, block: &BlockRef) -> Result<Bytes> {
        if let Some(raw) = lock(&self.inner.blocks).get(&block.id) {
            return Ok(raw);
        }
        if let Some(over) = self.over.as_ref().filter(|over| over.packs.contains(&block.pack)) {
            return Box::pin(over.reader.read(block)).await;
        }
        let raw = self.follow(block).await?;
        lock(&self.inner.blocks).insert(block.id, raw.clone(), raw.len());
        Ok(raw)
    }

    /// Several blocks in the order asked for; neighbours in a pack are read
    /// together. The caller bounds the sum of their sizes.
    pub async fn read_many(&self, blocks: &[BlockRef]) -> Result<Vec<Bytes>> {
        let mut found = vec![None; blocks.len()];
        let wanted = self.plan(blocks, &mut found).await?;
        let fetched: Vec<Vec<(usize, Bytes)>> = futures::stream::iter(wanted)
            .map(|range| self.read_range(range))
            .buffered(RANGES_AT_ONCE)
            .try_collect()
            .await?;
        for (at, raw) in fetched.into_iter().flatten() {
            lock(&self.inner.blocks).insert(blocks[at].id, raw.clone(), raw.len());
            found[at] = Some(raw);
        }
        let mut out = Vec::with_capacity(blocks.len());
        for (block, raw) in blocks.iter().zip(found) {
            // What a groom moved meanwhile is found one by one.
            out.push(match raw {
                Some(raw) => raw,
                None => self.read(block).await?,
            });
        }
        Ok(out)
    }

    /// The table of contents of a pack; [`ErrorKind::NotFound`] when a groom
    /// has removed it.
    pub async fn toc(&self, pack: PackId) -> Result<Arc<Toc>> {
        if let Some(toc) = lock(&self.inner.tocs).get(&pack) {
            return Ok(toc);
        }
        let cell = lock(&self.inner.loading).entry(pack).or_default().clone();
        let loaded = cell.get_or_try_init(|| load_toc(&self.inner.repo, pack)).await.cloned();
        if let Ok(toc) = &loaded {
            lock(&self.inner.tocs).insert(pack, toc.clone(), toc.weight());
        }
        lock(&self.inner.loading).remove(&pack);
        loaded
    }

    /// The pack that holds a block now.
    ///
    /// # Errors
    /// Damaged when it is lost.
    pub async fn locate(&self, block: &BlockRef) -> Result<PackId> {
        let mut pack = block.pack;
        for _ in 0..MOST_MOVES {
            match self.toc(pack).await {
                Ok(toc) if toc.find(block.id).is_some() => return Ok(pack),
                Ok(_) => {
                    return Err(Error::damaged(format!(
                        "block {} is not in pack {pack}",
                        block.id
                    )));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            pack = self.moved(pack, block).await?;
        }
        Err(Error::damaged(format!("{block} moved without end")))
    }

    /// Reads a block from its pack or from where it moved.
    async fn follow(&self, block: &BlockRef) -> Result<Bytes> {
        let mut pack = block.pack;
        for _ in 0..MOST_MOVES {
            match self.read_in(pack, block.id).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => return done,
            }
            // Also when the table was cached and only the bytes are gone.
            lock(&self.inner.tocs).remove(&pack);
            pack = self.moved(pack, block).await?;
        }
        Err(Error::damaged(format!("{block} moved without end")))
    }

    async fn moved(&self, pack: PackId, block: &BlockRef) -> Result<PackId> {
        let cached = lock(&self.inner.moves).get(&pack);
        let record = match cached {
            Some(record) => record,
            None => match Relocation::read(&self.inner.repo, pack).await {
                Ok(record) => {
                    let record = Arc::new(record);
                    lock(&self.inner.moves).insert(pack, record.clone(), record.weight());
                    record
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(Error::damaged(format!("{block} is lost: pack {pack} is missing")));
                }
                Err(error) => return Err(error),
            },
        };
        record.find(block.id).ok_or_else(|| {
            Error::damaged(format!("{block} is lost: pack {pack} was removed without it"))
        })
    }

    async fn read_in(&self, pack: PackId, id: BlockId) -> Result<Bytes> {
        let toc = self.toc(pack).await?;
        let Some((number, entry)) = toc.find(id) else {
            return Err(Error::damaged(format!("block {id} is not in pack {pack}")));
        };
        let entry = *entry;
        let store = self.inner.repo.store();
        let stored = store.get_range(&names::pack(pack), entry.range()).await?;
        self.open(toc, number, entry, stored).await
    }

    async fn open(
        &self,
        toc: Arc<Toc>,
        number: u32,
        entry: TocEntry,
        stored: Bytes,
    ) -> Result<Bytes> {
        let repo = self.inner.repo.clone();
        codec::run(entry.raw as usize, move || {
            open_block(&repo, &toc, number, &entry, stored).map_err(|what| {
                Error::damaged(format!("block {} of pack {}: {what}", entry.id, toc.pack()))
            })
        })
        .await
    }

    /// The ranges to fetch for the blocks that are not cached; what was moved
    /// or is missing is left out.
    async fn plan(
        &self,
        blocks: &[BlockRef],
        found: &mut [Option<Bytes>],
    ) -> Result<Vec<plan::FetchRange>> {
        let mut packs: BTreeMap<PackId, Vec<usize>> = BTreeMap::new();
        for (at, block) in blocks.iter().enumerate() {
            match lock(&self.inner.blocks).get(&block.id) {
                Some(raw) => found[at] = Some(raw),
                None => packs.entry(block.pack).or_default().push(at),
            }
        }
        let mut ranges = Vec::new();
        for (pack, wanted) in packs {
            let toc = match self.toc(pack).await {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                toc => toc?,
            };
            let entries = wanted.iter().filter_map(|at| {
                let (number, entry) = toc.find(blocks[*at].id)?;
                Some(plan::Wanted { at: *at, number, entry: *entry })
            });
            plan::coalesce(&toc, entries.collect(), &mut ranges);
        }
        ranges.sort_unstable_by_key(plan::FetchRange::first);
        Ok(ranges)
    }

    async fn read_range(&self, range: plan::FetchRange) -> Result<Vec<(usize, Bytes)>> {
        let name = names::pack(range.toc.pack());
        let bytes = match self.inner.repo.store().get_range(&name, range.bytes.clone()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let alone = range.wanted.len() == 1;
        let mut bytes = Some(bytes);
        let mut out = Vec::with_capacity(range.wanted.len());
        for want in range.wanted {
            let from = want.entry.offset - range.bytes.start;
            let part = match (&bytes, alone) {
                (Some(_), true) => bytes.take().unwrap_or_default(),
                // A copy: a cached block must not hold its neighbours in memory.
                (Some(bytes), false) => {
                    let end = from + u64::from(want.entry.stored);
                    Bytes::copy_from_slice(&bytes[from as usize..end as usize])
                }
                (None, _) => Bytes::new(),
            };
            let toc = range.toc.clone();
            out.push((want.at, self.open(toc, want.number, want.entry, part).await?));
        }
        Ok(out)
    }
}

/// Loads and checks a table of contents.
pub(crate) async fn load_toc(repo: &Repository, pack: PackId) -> Result<Arc<Toc>> {
    let name = names::pack(pack);
    let store = repo.store();
    let (header, tail) =
        futures::try_join!(store.get_range(&name, 0..HEADER as u64), store.get_tail(&name, TAIL))?;
    let (tail, size) = tail;
    let within = |e: Error| e.within(&name);
    let footer_at = tail.len().saturating_sub(FOOTER);
    let footer = Footer::parse(&tail[footer_at..], size).map_err(within)?;
    let length = footer.length as usize;
    let table = match footer_at.checked_sub(length) {
        Some(start) => tail.slice(start..footer_at),
        None => store.get_range(&name, footer.offset..footer.offset + length as u64).await?,
    };
    drop(tail);
    let toc = Toc::open(repo, pack, &header, &footer, table).map_err(within)?;
    Ok(Arc::new(toc))
}

/// The most bytes of stored blocks that are read at once.
pub(crate) const READ_AT_ONCE: u64 = plan::MOST;

const _: () = assert!(pack::HEADER == HEADER);

#[cfg(test)]
mod tests;
