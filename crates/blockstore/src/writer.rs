//! Writing blocks: compress, name, encrypt, gather into packs, put the packs
//! while the next one fills.
//!
//! ```text
//! put ─ id known? ─▶ compress ─▶ open pack ─ full ─▶ put (at most in_flight at once)
//! flush: close the open pack, wait until every pack is durable
//! ```

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use bygone_base::{BlockId, Error, ErrorKind, PackId, Result};
use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use crate::{
    Repository, codec, names,
    pack::{BlockRef, Codec, MAX_RAW, PackBuilder},
    put_new_checked,
};

/// How a [`BlockWriter`] works.
#[derive(Debug, Clone, Copy)]
pub struct WriterOptions {
    /// zstd's level; 3 is for blocks that stay, and a tuned one.
    pub level: i32,
    /// A pack is closed when it reaches so many bytes.
    pub pack_bytes: usize,
    /// Packs being put at once.
    pub in_flight: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions { level: 3, pack_bytes: 20 << 20, in_flight: 2 }
    }
}

/// What a writing session did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterStats {
    /// Blocks asked to be put.
    pub blocks: u64,
    /// Their raw bytes.
    pub raw_bytes: u64,
    /// Blocks that were not there yet.
    pub new_blocks: u64,
    /// Their raw bytes.
    pub new_raw_bytes: u64,
    /// Their bytes as stored.
    pub new_stored_bytes: u64,
    /// Packs started.
    pub packs: u64,
    /// Packs that are durable.
    pub durable_packs: u64,
}

/// One writing session. Its methods may be used from several tasks at once.
///
/// A reference is good for a manifest only after a [`BlockWriter::flush`] that
/// came later and gave `Ok`. After any error the session is spent: everything
/// fails from then on, and a new one must start over.
///
/// Memory: at most `pack_bytes × (in_flight + 1)`, one block, and 20 MB for
/// the names of the last 260,000 to 520,000 blocks. Content that came longer
/// ago may be written once more.
#[derive(Debug)]
pub struct BlockWriter {
    shared: Arc<Shared>,
    options: WriterOptions,
    open: tokio::sync::Mutex<Option<OpenPack>>,
    slots: Arc<Semaphore>,
    puts: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct OpenPack {
    builder: PackBuilder,
    slot: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Shared {
    repo: Repository,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    stats: WriterStats,
    failed: Option<Failure>,
}

/// The first error, to be given to everybody who comes later.
#[derive(Debug, Clone)]
struct Failure {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn of(error: &Error) -> Self {
        let hint = error.hint_text().map(str::to_owned);
        Failure { kind: error.kind(), message: error.to_string(), hint }
    }

    fn error(&self) -> Error {
        let error = Error::new(self.kind, self.message.clone());
        match &self.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        }
    }
}

/// Blocks seen lately: two generations, the older one dropped when the
/// younger is full.
#[derive(Debug, Default)]
struct Seen {
    young: HashMap<BlockId, PackId>,
    old: HashMap<BlockId, PackId>,
}

const GENERATION: usize = 260_000;

impl Seen {
    fn get(&self, id: BlockId) -> Option<BlockRef> {
        let pack = *self.young.get(&id).or_else(|| self.old.get(&id))?;
        Some(BlockRef { id, pack })
    }

    fn insert(&mut self, block: BlockRef) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(block.id, block.pack);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn check(&self) -> Result<()> {
        self.state().failed.as_ref().map_or(Ok(()), |failure| Err(failure.error()))
    }

    fn fail<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.state().failed.get_or_insert_with(|| Failure::of(error));
        }
        result
    }

    async fn put_pack(&self, builder: PackBuilder) -> Result<()> {
        let (pack, body) = builder.finish()?;
        put_new_checked(self.repo.store().as_ref(), &names::pack(pack), body).await?;
        self.state().stats.durable_packs += 1;
        Ok(())
    }
}

impl BlockWriter {
    /// A new session.
    pub fn new(repo: Repository, options: WriterOptions) -> Self {
        let slots = Arc::new(Semaphore::new(slots(&options)));
        BlockWriter {
            shared: Arc::new(Shared { repo, state: Mutex::default() }),
            options,
            open: tokio::sync::Mutex::new(None),
            slots,
            puts: Mutex::new(JoinSet::new()),
        }
    }

    /// Puts a block of 1 byte to 33 MiB. Content that the session knows is
    /// not written again.
    pub async fn put(&self, raw: &[u8]) -> Result<BlockRef> {
        let raw_len = checked_len(raw.len())?;
        let id = self.shared.repo.block_id(raw);
        if let Some(known) = self.reuse(id, raw_len)? {
            return Ok(known);
        }
        let packed = self.shared.fail(codec::compress_async(self.options.level, raw).await)?;
        let (codec, body) = match packed.len() < raw.len() {
            true => (Codec::Zstd, packed.as_slice()),
            false => (Codec::Raw, raw),
        };
        self.append(id, raw_len, codec, body).await
    }

    /// Like [`BlockWriter::put`] for a block compressed before: `zstd` is one
    /// frame of `raw_len` bytes whose name is `id`. The caller has checked
    /// that; what does not fit is found when it is read.
    pub async fn put_compressed(&self, id: BlockId, raw_len: u32, zstd: Bytes) -> Result<BlockRef> {
        checked_len(raw_len as usize)?;
        if let Some(known) = self.reuse(id, raw_len)? {
            return Ok(known);
        }
        let (codec, body) = stored_form(raw_len, zstd)?;
        self.append(id, raw_len, codec, &body).await
    }

    /// Tells of a block that the store has: later puts of its content give
    /// this reference.
    pub fn known(&self, block: BlockRef) {
        self.shared.state().seen.insert(block);
    }

    /// What was done so far.
    pub fn stats(&self) -> WriterStats {
        self.shared.state().stats
    }

    /// Everything that was put before is durable when this gives `Ok`.
    pub async fn flush(&self) -> Result<WriterStats> {
        let mut open = self.open.lock().await;
        if let Some(pack) = open.take() {
            self.start_put(pack);
        }
        // All slots free: no pack is open (ours is the lock) and none under way.
        let all = u32::try_from(slots(&self.options)).unwrap_or(u32::MAX);
        let idle = self.slots.acquire_many(all).await;
        drop(idle.map_err(|_| Error::internal("the block writer is closed"))?);
        self.reap();
        self.shared.check()?;
        let stats = self.stats();
        if stats.packs == stats.durable_packs {
            return Ok(stats);
        }
        self.shared.fail(Err(Error::internal("the put of a pack was cut off")))
    }

    /// The reference of a block that is known; counts the put in any case.
    fn reuse(&self, id: BlockId, raw_len: u32) -> Result<Option<BlockRef>> {
        self.shared.check()?;
        let mut state = self.shared.state();
        state.stats.blocks += 1;
        state.stats.raw_bytes += u64::from(raw_len);
        Ok(state.seen.get(id))
    }

    async fn append(
        &self,
        id: BlockId,
        raw_len: u32,
        codec: Codec,
        body: &[u8],
    ) -> Result<BlockRef> {
        let mut open = self.open.lock().await;
        self.shared.check()?;
        // Another task may have put the same content meanwhile.
        if let Some(known) = self.shared.state().seen.get(id) {
            return Ok(known);
        }
        let over = |pack: &OpenPack| {
            let len = pack.builder.len() + body.len();
            pack.builder.blocks() > 0
                && (len > self.options.pack_bytes || !pack.builder.fits(body.len()))
        };
        if let Some(full) = open.take_if(|pack| over(pack)) {
            self.start_put(full);
        }
        let pack = match open.as_mut() {
            Some(pack) => pack,
            None => open.insert(self.open_pack(body.len()).await?),
        };
        self.shared.fail(pack.builder.push(id, raw_len, codec, body))?;
        let block = BlockRef { id, pack: pack.builder.id() };
        let mut state = self.shared.state();
        state.seen.insert(block);
        state.stats.new_blocks += 1;
        state.stats.new_raw_bytes += u64::from(raw_len);
        state.stats.new_stored_bytes += body.len() as u64;
        Ok(block)
    }

    /// Waits for a slot: this is what holds the callers back.
    async fn open_pack(&self, first: usize) -> Result<OpenPack> {
        let slot = self.slots.clone().acquire_owned().await;
        let slot = slot.map_err(|_| Error::internal("the block writer is closed"))?;
        self.shared.check()?;
        let capacity = self.options.pack_bytes.max(first);
        let builder = self.shared.fail(PackBuilder::new(&self.shared.repo, capacity))?;
        self.shared.state().stats.packs += 1;
        Ok(OpenPack { builder, slot })
    }

    /// Puts a pack in the background; the owner's `flush` waits for it, and
    /// dropping the writer stops it.
    fn start_put(&self, pack: OpenPack) {
        let shared = self.shared.clone();
        self.reap();
        let mut puts = self.puts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        puts.spawn(async move {
            let OpenPack { builder, slot } = pack;
            let put = shared.put_pack(builder).await;
            // The error is kept for whoever comes next.
            let _ = shared.fail(put);
            drop(slot);
        });
    }

    fn reap(&self) {
        let mut puts = self.puts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while puts.try_join_next().is_some() {}
    }
}

/// One pack is filled while `in_flight` are put.
fn slots(options: &WriterOptions) -> usize {
    options.in_flight.clamp(1, 64) + 1
}

fn checked_len(len: usize) -> Result<u32> {
    match u32::try_from(len) {
        Ok(len) if (1..=MAX_RAW).contains(&len) => Ok(len),
        _ => Err(Error::internal(format!("a block of {len} bytes is outside the limits"))),
    }
}

/// A frame that does not save anything is stored as what is in it.
fn stored_form(raw_len: u32, zstd: Bytes) -> Result<(Codec, Bytes)> {
    if zstd.len() < raw_len as usize {
        return Ok((Codec::Zstd, zstd));
    }
    Ok((Codec::Raw, codec::decompress_block(raw_len, &zstd)?))
}

/// Puts one pack of these compressed blocks (id, raw length, one zstd frame
/// each, checked by the caller); it is durable when this gives `Ok`.
pub async fn write_pack(repo: &Repository, blocks: Vec<(BlockId, u32, Bytes)>) -> Result<PackId> {
    let bytes: usize = blocks.iter().map(|(_, _, zstd)| zstd.len()).sum();
    let mut builder = PackBuilder::new(repo, bytes)?;
    for (id, raw_len, zstd) in blocks {
        checked_len(raw_len as usize)?;
        let (codec, body) = stored_form(raw_len, zstd)?;
        builder.push(id, raw_len, codec, &body)?;
    }
    let (pack, body) = builder.finish()?;
    put_new_checked(repo.store().as_ref(), &names::pack(pack), body).await?;
    Ok(pack)
}

#[cfg(test)]
mod tests;
