//! The state of a part at any restorable moment, from the store alone.

use std::sync::Arc;

use bygone_base::{
    Clock, CollectionId, Error, ErrorKind, OpTime, Result, Rng as _, SystemRng, Ts, When,
};
use bygone_blockstore::{BlockReader, MemoryStore, Repository, Secret, create_store};
use bygone_oplog::filter::Filter;
use bygone_snapshot::{
    Catalogue, Collection, Found, Manifest, PartStore, Timeline, histories,
    oplog::{OplogWalk, covered, voids},
    ranges::{Range, reach, restorable, segments},
    timeline::{Stretch, includes},
};
use bygone_tree::{KeyRange, Merge, RunRoot, Tree, capped::Limits};
use bytes::Bytes;

use crate::{
    base::Base,
    compact::{limits, merge_options, trim_at},
    head::{Head, HeadOptions, Start, trims},
};

/// How a view works.
#[derive(Debug, Clone)]
pub struct ViewOptions {
    /// Memory for operations after the snapshot, in bytes; more is written to scratch.
    pub memory: usize,
    /// Cache of blocks, in bytes.
    pub cache: usize,
    /// Where scratch runs go: a store URL; `None` keeps them in memory.
    pub scratch: Option<String>,
}

impl Default for ViewOptions {
    fn default() -> Self {
        ViewOptions { memory: 64 << 20, cache: 32 << 20, scratch: None }
    }
}

/// What restores a moment: a snapshot and how far to go on from it.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The newest snapshot at or before the moment that leads there.
    pub manifest: Manifest,
    /// The moment.
    pub at: Ts,
    /// The history that the snapshot belongs to.
    pub history: Vec<Stretch>,
    /// The newest moment was asked for: an earlier one does when that one is not decided yet.
    pub latest: bool,
}

impl Choice {
    /// A snapshot itself.
    pub fn of_snapshot(manifest: Manifest) -> Self {
        Choice { at: manifest.at.ts, manifest, history: Vec::new(), latest: false }
    }
}

/// The state at one moment.
#[derive(Debug)]
pub struct View {
    /// The moment: everything decided up to and including it.
    pub at: Ts,
    /// Collections, indexes and views.
    pub catalogue: Arc<Catalogue>,
    /// The snapshot it starts from.
    pub manifest: Manifest,
    /// Operations merged above the snapshot, those of the snapshot's own runs included.
    pub operations: u64,
    reader: BlockReader,
    runs: Vec<RunRoot>,
    trims: bool,
}

impl View {
    /// Opens the state at `when`. `part` is the part in the repository of snapshots, `oplog_part` in that
    /// of slices. Reads the slices between the snapshot and the moment.
    ///
    /// # Errors
    /// NotCovered, listing the ranges that exist; Damaged.
    pub async fn open(
        part: &PartStore,
        oplog_part: &PartStore,
        when: &When,
        options: ViewOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<View> {
        let choice = choose(part, oplog_part, when).await?;
        View::of(part, oplog_part, choice, options, clock).await
    }

    /// Opens the state that [`choose`] chose.
    pub async fn of(
        part: &PartStore,
        oplog_part: &PartStore,
        choice: Choice,
        options: ViewOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<View> {
        let Choice { manifest, at, history, latest } = choice;
        part.repository().expect_id(manifest.repository)?;
        let reader = BlockReader::new(part.repository().clone(), options.cache);
        let base = Base::of_manifest(&manifest, &reader).await?;
        let source = manifest.source.clone();
        if at == manifest.at.ts {
            return Ok(View::new(at, base.catalogue, manifest, reader, base.runs, &source.fcv));
        }
        oplog_part.repository().expect_id(manifest.oplog_repository)?;
        let scratch = scratch(&options, clock).await?;
        let scratch_part = PartStore::new(scratch.clone(), part.job().clone(), part.part().clone());
        let head_options =
            HeadOptions { memory: options.memory, level: 1, ..HeadOptions::default() };
        let filter = Filter::from_bson(manifest.filter.as_bytes())?;
        let (gone, taken) = (Vec::new(), Some((manifest.id.clone(), manifest.created)));
        let start = Start { base, source, filter, gone, stored: (0, 0), taken };
        let mut head =
            Head::assemble(scratch_part, oplog_part.clone(), head_options, history, start);
        let at = head.read_until(at, latest).await?;
        let written = BlockReader::new(scratch, options.cache);
        let (catalogue, runs, fcv) = head.into_state(at, &reader, &written).await?;
        let both = reader.over(written).await?;
        Ok(View::new(at, catalogue, manifest, both, runs, &fcv))
    }

    fn new(
        at: Ts,
        catalogue: Catalogue,
        manifest: Manifest,
        reader: BlockReader,
        runs: Vec<RunRoot>,
        fcv: &str,
    ) -> View {
        let operations = runs.iter().map(|r| r.ops).sum();
        let trims = trims(fcv);
        View { at, catalogue: Arc::new(catalogue), manifest, operations, reader, runs, trims }
    }

    fn collection(&self, id: CollectionId) -> Result<&Collection> {
        self.catalogue.collections.get(&id).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("collection {id} does not exist at {}", self.at),
            )
        })
    }

    /// The documents of a collection within `range`, in key order.
    pub async fn merge(&self, id: CollectionId, range: KeyRange) -> Result<Merge> {
        let collection = self.collection(id)?;
        let mut options = merge_options(collection, self.at);
        options.range = range;
        Merge::open(&self.reader, &collection.tree, &self.runs, options)
            .await
            .map_err(|e| e.within(collection.namespace()))
    }

    /// At most `n - 1` keys that cut the collection into parts of about equal size.
    pub async fn splits(&self, id: CollectionId, n: usize) -> Result<Vec<Bytes>> {
        match &self.collection(id)?.tree.root {
            Some(root) => Tree::new(root.clone(), self.reader.clone()).splits(n).await,
            None => Ok(Vec::new()),
        }
    }

    /// For a capped collection of a server that does not log what it trims: what to keep.
    pub fn trim(&self, id: CollectionId) -> Result<Option<Limits>> {
        Ok(limits(self.collection(id)?).filter(|_| self.trims))
    }

    /// The runs above the trees.
    pub fn runs(&self) -> &[RunRoot] {
        &self.runs
    }

    /// Reads the view's blocks.
    pub fn reader(&self) -> &BlockReader {
        &self.reader
    }
}

/// A repository for runs that are needed only while the view is: in memory or in a scratch folder,
/// encrypted with a key that nobody keeps.
async fn scratch(options: &ViewOptions, clock: Arc<dyn Clock>) -> Result<Repository> {
    let store = match &options.scratch {
        Some(url) => create_store(url, clock.clone()).await?,
        None => Arc::new(MemoryStore::new(clock.clone())),
    };
    let rng = Arc::new(SystemRng);
    let mut key = [0; 32];
    rng.fill(&mut key);
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let secret = Secret::parse_key(&format!("bygone-key-1:{key}"))
        .ok_or_else(|| Error::internal("a fresh key does not parse"))?;
    Repository::create(store, Some(&secret), rng, clock.as_ref()).await
}

/// Finds the snapshot and history for `when`.
///
/// # Errors
/// NotFound for an unknown snapshot; NotCovered, listing the ranges that exist.
pub async fn choose(part: &PartStore, oplog_part: &PartStore, when: &When) -> Result<Choice> {
    if let When::Snapshot(id) = when {
        return match part.manifest(id).await {
            Ok(manifest) => Ok(Choice::of_snapshot(manifest)),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::NotFound, format!("there is no snapshot {id}"))
                    .hint("`bygone snapshots` lists those that exist"))
            }
            Err(e) => Err(e),
        };
    }
    let manifests = part.find_manifests().await?.manifests;
    expect_oplog(oplog_part, &manifests)?;
    let (mut exist, mut void) = (Vec::new(), false);
    for history in histories(&oplog_part.timelines().await?) {
        let known = Known::of(oplog_part, &manifests, history).await?;
        if let Some(choice) = known.choose(when) {
            return Ok(choice);
        }
        exist.extend(known.ranges());
        void |= known.is_void(when);
    }
    Err(not_covered(when, &exist, void, part))
}

/// What a part has, read once.
#[derive(Debug, Default)]
pub struct Overview {
    /// Snapshots in order of their moments, those that cannot be read apart.
    pub snapshots: Found,
    /// Timelines, ascending.
    pub timelines: Vec<Timeline>,
    /// The ranges of restorable moments, by history, the one being continued first.
    pub ranges: Vec<Vec<Range>>,
}

/// Reads manifests, timelines, and the names of slices (and of each timeline the last slice).
pub async fn overview(part: &PartStore, oplog_part: &PartStore) -> Result<Overview> {
    let snapshots = part.find_manifests().await?;
    expect_oplog(oplog_part, &snapshots.manifests)?;
    let timelines = oplog_part.timelines().await?;
    let mut ranges = Vec::new();
    for history in histories(&timelines) {
        ranges.push(Known::of(oplog_part, &snapshots.manifests, history).await?.ranges());
    }
    Ok(Overview { snapshots, timelines, ranges })
}

/// The newest snapshot says where its slices are.
///
/// # Errors
/// As [`bygone_blockstore::Repository::expect_id`] when `oplog_part` is in another repository.
pub fn expect_oplog(oplog_part: &PartStore, manifests: &[Manifest]) -> Result<()> {
    let Some(newest) = manifests.last() else { return Ok(()) };
    let expected = oplog_part.repository().expect_id(newest.oplog_repository);
    expected.map_err(|e| e.hint("name the store that holds the job's oplog with --oplog-store"))
}

/// One history, its snapshots and the stored oplog.
struct Known<'a> {
    history: Vec<Stretch>,
    own: Vec<&'a Manifest>,
    segments: Vec<(OpTime, OpTime)>,
    voids: Vec<Range>,
}

impl<'a> Known<'a> {
    async fn of(
        oplog_part: &PartStore,
        manifests: &'a [Manifest],
        history: Vec<Stretch>,
    ) -> Result<Known<'a>> {
        let own: Vec<&Manifest> =
            manifests.iter().filter(|m| includes(&history, m.timeline, m.at)).collect();
        // Without a snapshot nothing restores, whatever slices there are.
        if own.is_empty() {
            return Ok(Known { history, own, segments: Vec::new(), voids: Vec::new() });
        }
        let segments = segments(&history, &covered(oplog_part, &history).await?);
        let voids = voids(oplog_part, &history).await?;
        Ok(Known { history, own, segments, voids })
    }

    fn ranges(&self) -> Vec<Range> {
        let moments: Vec<_> = self.own.iter().map(|m| (m.at, m.replay_from)).collect();
        restorable(&self.segments, &moments, &self.voids)
    }

    /// Whether the history went back at that moment.
    fn is_void(&self, when: &When) -> bool {
        when.bound().is_some_and(|at| self.voids.iter().any(|void| void.contains(at)))
    }

    fn choose(&self, when: &When) -> Option<Choice> {
        let at = match when {
            When::Snapshot(_) => return None,
            When::Latest => self.ranges().last()?.to,
            when => when.bound().filter(|_| !self.is_void(when))?,
        };
        let leads =
            |m: &&&Manifest| m.at.ts <= at && at <= reach(&self.segments, m.at, m.replay_from);
        let manifest = (*self.own.iter().rev().find(leads)?).clone();
        let latest = *when == When::Latest;
        Some(Choice { manifest, at, history: self.history.clone(), latest })
    }
}

fn not_covered(when: &When, exist: &[Range], void: bool, part: &PartStore) -> Error {
    if exist.is_empty() {
        return crate::head::nothing_yet(part);
    }
    let mut list: Vec<String> = exist.iter().map(describe).collect();
    list.dedup();
    let what = match when {
        When::Latest => "latest".to_owned(),
        When::Snapshot(id) => id.to_string(),
        When::BeforeSecond(secs) => Ts::new(*secs, 0).to_rfc3339(),
        When::Including(ts) => format!("{ts} ({})", ts.to_rfc3339()),
    };
    let can = format!("what can: {}", list.join("; "));
    if void {
        let why = "the source's history went back, and what it held then is void";
        return Error::new(ErrorKind::NotCovered, format!("{what} cannot be restored: {why}"))
            .hint(format!("{can}; a snapshot taken then still restores by its id"));
    }
    Error::new(ErrorKind::NotCovered, format!("{what} cannot be restored")).hint(can)
}

/// A range as people read it.
pub fn describe(range: &Range) -> String {
    if range.from == range.to {
        return format!("{} ({})", range.from.to_rfc3339(), range.from);
    }
    format!(
        "{} to {} ({} to {})",
        range.from.to_rfc3339(),
        range.to.to_rfc3339(),
        range.from,
        range.to
    )
}

impl Head {
    /// Reads entries until everything decided up to `at` was seen; gives `at`.
    ///
    /// An entry after `at` may decide a transaction at or before it, so reading goes on
    /// while a transaction prepared up to `at` is undecided. When the stored oplog ends before it is, and the
    /// `latest` moment was asked for, the one just before that transaction is what there is.
    async fn read_until(&mut self, at: Ts, latest: bool) -> Result<Ts> {
        let mut walk = OplogWalk::new(self.oplog_part.clone(), self.history(), self.position())?;
        while let Some(portion) = walk.next().await? {
            self.apply_until(&portion, at).await?;
            // What of this portion is at or before `at` was read.
            if self.is_decided(at) || self.nothing_open(portion.last().ts, at) {
                return Ok(at);
            }
        }
        match self.safe_point() {
            _ if self.is_decided(at) => Ok(at),
            Some(safe) if latest => Ok(safe.ts.min(at)),
            _ => Err(Error::new(
                ErrorKind::NotCovered,
                format!("at {at} a prepared transaction is undecided in what is stored"),
            )
            .hint("ask again when it is decided, or for an earlier moment")),
        }
    }

    /// The catalogue at `at`, the runs written, and the feature compatibility version. What was written is read by
    /// `written`, everything below by `reader`.
    async fn into_state(
        mut self,
        at: Ts,
        reader: &BlockReader,
        written: &BlockReader,
    ) -> Result<(Catalogue, Vec<RunRoot>, String)> {
        let mut catalogue = self.catalogue_at(at)?;
        let writer = self.new_writer();
        self.spill(&writer).await?;
        let fcv = self.fcv_at(at).to_owned();
        let ended = self.trims_ended(at);
        let mut runs = self.spilled;
        runs.extend(self.base.runs);
        if !ended.is_empty() {
            let both = reader.over(written.clone()).await?;
            trim_at(&ended, &mut catalogue, &runs, &both, &writer).await?;
        }
        Ok((catalogue, runs, fcv))
    }
}
