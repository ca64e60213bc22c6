//! The head of a part: everything known up to the newest slice read.

use std::sync::Arc;

use bygone_base::{
    CollectionId, Error, ErrorKind, OpTime, Result, SnapshotId, TimelineId, Ts, UnixMillis, work,
};
use bygone_blockstore::{BlockReader, BlockWriter, WriterOptions};
use bygone_oplog::{assemble::Assembler, filter::Filter};
use bygone_snapshot::{
    Manifest, PartStore, SourceInfo, histories,
    oplog::{OplogWalk, Portion},
    timeline::{Stretch, includes},
};
use bygone_tree::RunRoot;

use crate::{Budget, base::Base, budget::Held, first_base, gather::Gatherer};

/// zstd level of runs that are written because memory is full: the source is busy then, and may be on the
/// same machine. A fold or a merge of runs compresses them better later.
const SPILL_LEVEL: i32 = 1;

/// How a head works.
#[derive(Debug, Clone)]
pub struct HeadOptions {
    /// Operations are written as a run when they take this much memory, in bytes.
    pub memory: usize,
    /// Cache of blocks read, in bytes.
    pub cache: usize,
    /// zstd level of blocks.
    pub level: i32,
    /// What the heads of all jobs of a process may take together; each for itself where not given.
    pub budget: Option<Budget>,
}

impl Default for HeadOptions {
    fn default() -> Self {
        HeadOptions { memory: 64 << 20, cache: 32 << 20, level: 3, budget: None }
    }
}

/// How far a head is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadProgress {
    /// The last entry read.
    pub position: OpTime,
    /// Moment of the base.
    pub base: Ts,
    /// Operations not yet in a published snapshot.
    pub ops: u64,
    /// Bytes of memory they take.
    pub memory: usize,
}

/// The head.
#[derive(Debug)]
pub struct Head {
    pub(crate) part: PartStore,
    pub(crate) oplog_part: PartStore,
    options: HeadOptions,
    /// What it holds of the budget.
    held: Option<Held>,
    reader: BlockReader,
    history: Vec<Stretch>,
    pub(crate) base: Base,
    pub(crate) gatherer: Gatherer,
    /// Runs written since the base was published.
    pub(crate) spilled: Vec<RunRoot>,
    /// How many of them were applied to their documents for a check.
    pub(crate) validated: usize,
    pub(crate) source: SourceInfo,
    pub(crate) filter: Filter,
    /// Collections that the initial sync did not find: the oplog must say that they were dropped.
    pub(crate) gone: Vec<CollectionId>,
    /// Blocks and bytes stored since the base was published (by the initial sync, as runs), which the next
    /// snapshot counts.
    pub(crate) stored: (u64, u64),
    /// The snapshot that the head goes on from and when it was taken; `None` when that is an initial sync.
    pub(crate) taken: Option<(SnapshotId, UnixMillis)>,
    /// Something failed half way that cannot be taken back: what is in memory is not whole.
    spent: bool,
}

impl Head {
    /// Opens the head of the part's current history: its newest snapshot, else its finished initial sync.
    /// `None` when there is neither: the sync is still running, or there is no history at all.
    ///
    /// `part` is the part in the repository of snapshots, `oplog_part` in that of slices and sync records.
    pub async fn open(
        part: PartStore,
        oplog_part: PartStore,
        options: HeadOptions,
    ) -> Result<Option<Head>> {
        let timelines = oplog_part.timelines().await?;
        let Some(history) = histories(&timelines).into_iter().next() else { return Ok(None) };
        let reader = BlockReader::new(part.repository().clone(), options.cache);
        let found = part.find_manifests().await?.manifests;
        let fits = |m: &&Manifest| {
            includes(&history, m.timeline, m.at) && includes(&history, m.timeline, m.replay_from)
        };
        let mut damage = None;
        for manifest in found.iter().rev().filter(fits) {
            match start_at_manifest(manifest, &reader).await {
                Ok(start) => {
                    return Ok(Some(Head::assemble(part, oplog_part, options, history, start)));
                }
                // An older one and the slices since give the same state.
                Err(error) if is_damage(&error) => {
                    tracing::warn!(%error, snapshot = %manifest.id, "a snapshot cannot be gone on from");
                    damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = damage {
            return Err(error);
        }
        let first = history.first().map(|s| s.timeline);
        let timeline = timelines.iter().find(|t| Some(t.id) == first);
        let Some(sync) = timeline.and_then(|t| t.sync) else { return Ok(None) };
        let (records, old, level) = (oplog_part.sync(), found.last(), options.level);
        let start = first_base::build(&part, &records, sync, old, &reader, level).await?;
        Ok(start.map(|start| Head::assemble(part, oplog_part, options, history, start)))
    }

    /// A head that goes on from `start`.
    pub(crate) fn assemble(
        part: PartStore,
        oplog_part: PartStore,
        options: HeadOptions,
        history: Vec<Stretch>,
        start: Start,
    ) -> Head {
        let reader = BlockReader::new(part.repository().clone(), options.cache);
        let Start { mut base, source, filter, gone, stored, taken } = start;
        base.catalogue.fcv.clone_from(&source.fcv);
        let assembler =
            Assembler::resume(base.replay_from, base.at, filter.clone()).settled(base.settled);
        let fuzzy_until = base.at.max(base.readable_from);
        let gatherer = Gatherer::new(assembler, base.catalogue.clone(), base.at, fuzzy_until);
        let spilled = Vec::new();
        let held = options.budget.as_ref().map(Budget::part);
        Head {
            part,
            oplog_part,
            options,
            held,
            reader,
            history,
            base,
            gatherer,
            spilled,
            validated: 0,
            source,
            filter,
            gone,
            stored,
            taken,
            spent: false,
        }
    }

    /// The last entry read.
    pub fn position(&self) -> OpTime {
        self.gatherer.assembler().position()
    }

    /// The timeline that is being followed.
    pub fn timeline(&self) -> TimelineId {
        self.history.last().map_or(TimelineId(0), |s| s.timeline)
    }

    /// The moment of the newest snapshot (or where the initial sync started).
    pub fn base_at(&self) -> Ts {
        self.base.at
    }

    /// When the newest snapshot of the history was taken; `None` when it has none yet.
    pub fn taken(&self) -> Option<UnixMillis> {
        self.taken.as_ref().map(|(_, at)| *at)
    }

    /// Whether the snapshot that the head goes on from is still there. A rival on the same store may have
    /// taken a newer one and let it expire, and then a groom its blocks: the head must be opened anew.
    pub async fn stands(&self) -> Result<bool> {
        match &self.taken {
            Some((id, _)) => Ok(self.part.snapshot_ids().await?.contains(id)),
            None => Ok(true),
        }
    }

    /// The end of the initial sync's window: no snapshot can be taken before the oplog reaches it.
    pub fn readable_from(&self) -> Ts {
        self.base.readable_from
    }

    /// How far the head is.
    pub fn progress(&self) -> HeadProgress {
        let spilled: u64 = self.spilled.iter().map(|r| r.ops).sum();
        HeadProgress {
            position: self.position(),
            base: self.base.at,
            ops: spilled + self.gatherer.buffer().ops(),
            memory: self.gatherer.bytes(),
        }
    }

    /// Reads every slice stored after the position. Returns how many entries that were.
    ///
    /// # Errors
    /// Unsupported naming an entry that this version does not know; Damaged at a hole. After an error the
    /// head must be opened anew.
    pub async fn catch_up(&mut self) -> Result<u64> {
        let mut walk = OplogWalk::new(self.oplog_part.clone(), &self.history, self.position())?;
        let mut entries = 0;
        loop {
            match walk.next().await {
                Ok(Some(portion)) => entries += self.apply(&portion).await?,
                Ok(None) => return Ok(entries),
                Err(error) => return Err(self.before_a_fork(error, walk.at())),
            }
        }
    }

    /// What leads up to a fork may have expired: a newer snapshot, which the fork made void, had covered it.
    fn before_a_fork(&self, error: Error, at: OpTime) -> Error {
        let fork = self.history.last().map_or(at, |stretch| stretch.after);
        if error.kind() != ErrorKind::Damaged || self.history.len() < 2 || at.ts >= fork.ts {
            return error;
        }
        Error::new(
            ErrorKind::ResyncRequired,
            format!(
                "the source went back to {fork}, and the stored oplog does not lead there from {at}"
            ),
        )
        .source(error)
        .hint("a new initial sync is needed; stored blocks are used again")
    }

    /// Takes a portion of the oplog that goes on from the position. See [`Head::catch_up`] for errors.
    pub async fn apply(&mut self, portion: &Portion) -> Result<u64> {
        self.apply_until(portion, Ts::MAX).await
    }

    /// Like [`Head::apply`], but stops when the state at `until` is decided, before an entry that comes later:
    /// whatever that is, also one that stops the part, it has no say in the state asked for.
    pub(crate) async fn apply_until(&mut self, portion: &Portion, until: Ts) -> Result<u64> {
        self.sound()?;
        let mut count = 0;
        for (at, entry) in portion.entries()? {
            if self.is_decided(until) || self.nothing_open(at.ts, until) {
                break;
            }
            if at.ts <= self.position().ts {
                return Err(Error::internal(format!("entry {at} was read already")));
            }
            self.gatherer.push(entry).inspect_err(|_| self.spent = true)?;
            count += 1;
        }
        self.hold();
        let shared = self.held.as_ref().is_some_and(Held::is_too_much);
        if shared || self.gatherer.buffer().bytes() > self.options.memory {
            self.spill_early(SPILL_LEVEL).await?;
        }
        Ok(count)
    }

    /// Notes in the budget what is gathered now.
    fn hold(&mut self) {
        let bytes = self.gatherer.buffer().bytes();
        if let Some(held) = &mut self.held {
            held.set(bytes);
        }
    }

    /// Refuses to go on with what is not whole.
    fn sound(&self) -> Result<()> {
        if self.spent {
            return Err(Error::internal("the head failed half way: it must be opened anew"));
        }
        Ok(())
    }

    /// Whether every operation decided up to `at` was read.
    pub(crate) fn is_decided(&self, at: Ts) -> bool {
        let last = self.position().ts;
        last >= at && self.gatherer.assembler().safe(last) >= at
    }

    /// Whether the state at `at` is decided because the next entry, at `next`, comes after it.
    pub(crate) fn nothing_open(&self, next: Ts, at: Ts) -> bool {
        next > at && self.gatherer.assembler().safe(at) >= at
    }

    /// The history that is being followed.
    pub(crate) fn history(&self) -> &[Stretch] {
        &self.history
    }

    /// Writes what is in memory as a run; it is durable when this gives `Ok`. When it does not, or is
    /// dropped half way, the operations are neither here nor there, and the head refuses to go on.
    pub(crate) async fn spill(&mut self, writer: &Arc<BlockWriter>) -> Result<()> {
        self.sound()?;
        if self.gatherer.buffer().is_empty() {
            return Ok(());
        }
        self.spent = true;
        let buffer = self.gatherer.take_buffer();
        let sorted = work::run("sorting a run", move || buffer.sort()).await?;
        let run = sorted.write(writer).await.map_err(|e| e.within("write a run"))?;
        writer.flush().await.map_err(|e| e.within("write a run"))?;
        self.spilled.extend(run);
        self.hold();
        self.spent = false;
        Ok(())
    }

    /// Writes what is in memory as a run before the next snapshot does.
    async fn spill_early(&mut self, level: i32) -> Result<()> {
        let writer = self.writer(level);
        self.spill(&writer).await?;
        let written = writer.stats();
        self.stored.0 += written.new_blocks;
        self.stored.1 += written.new_stored_bytes;
        Ok(())
    }

    /// [`Head::spill`] for a reader of the runs.
    pub(crate) async fn spill_to_read(&mut self) -> Result<()> {
        self.spill_early(self.options.level).await
    }

    /// Runs that no manifest names yet: a groom must keep them.
    pub fn unpublished(&self) -> &[RunRoot] {
        &self.spilled
    }

    pub(crate) fn reader(&self) -> &BlockReader {
        &self.reader
    }

    pub(crate) fn new_writer(&self) -> Arc<BlockWriter> {
        self.writer(self.options.level)
    }

    fn writer(&self, level: i32) -> Arc<BlockWriter> {
        let options = WriterOptions { level, ..WriterOptions::default() };
        Arc::new(BlockWriter::new(self.part.repository().clone(), options))
    }

    /// The feature compatibility version at `at`.
    pub(crate) fn fcv_at(&self, at: Ts) -> &str {
        let written = self.gatherer.versions_between(self.base.at, at);
        written.last().map_or(&self.source.fcv, |(_, version)| *version)
    }

    /// Moments up to `at` at which the server began to log what capped collections lose: whatever it had
    /// dropped before, without a word, must be dropped there too.
    pub(crate) fn trims_ended(&self, at: Ts) -> Vec<Ts> {
        let mut before = self.source.fcv.as_str();
        let mut ended = Vec::new();
        for (ts, version) in self.gatherer.versions_between(self.base.at, at) {
            if trims(before) && !trims(version) {
                // No state within the initial sync's window can be read.
                ended.push(ts.max(self.base.readable_from));
            }
            before = version;
        }
        ended
    }

    /// Compares the catalogue with what the source listed when its sync ended, where no DDL came after.
    /// Does nothing once there is a snapshot: what came between the listing and it is not looked at again.
    pub async fn check_listing(&self) -> Result<()> {
        if self.taken.is_some() {
            return Ok(());
        }
        first_base::check_listing(&self.oplog_part, &self.history, self).await
    }

    /// The catalogue as of the newest entry.
    pub(crate) fn live(&self) -> &bygone_snapshot::Catalogue {
        self.gatherer.live()
    }
}

/// Whether a server of this feature compatibility version leaves the trimming of capped collections to the
/// reader of its oplog (below 5.0; server facts, 0.5).
pub(crate) fn trims(fcv: &str) -> bool {
    fcv.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|m| m < 5)
}

/// What a head starts from.
pub(crate) struct Start {
    pub base: Base,
    pub source: SourceInfo,
    pub filter: Filter,
    pub gone: Vec<CollectionId>,
    /// Blocks and bytes that the initial sync stored; they count in the first snapshot.
    pub stored: (u64, u64),
    /// The snapshot and when it was taken, if it is one.
    pub taken: Option<(SnapshotId, UnixMillis)>,
}

/// Whether something stored is bad, rather than not to be reached.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound)
}

async fn start_at_manifest(manifest: &Manifest, reader: &BlockReader) -> Result<Start> {
    reader.repo().expect_id(manifest.repository)?;
    Ok(Start {
        base: Base::of_manifest(manifest, reader).await?,
        source: manifest.source.clone(),
        filter: Filter::from_bson(manifest.filter.as_bytes())?,
        gone: Vec::new(),
        stored: (0, 0),
        taken: Some((manifest.id.clone(), manifest.created)),
    })
}

/// The error of a part that has nothing to restore yet.
pub(crate) fn nothing_yet(part: &PartStore) -> Error {
    Error::new(
        ErrorKind::NotCovered,
        format!("job {} has no snapshot of {} yet", part.job(), part.part()),
    )
    .hint("the initial sync must complete first; see `bygone status`")
}
