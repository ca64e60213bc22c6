//! The first base: the blocks of an initial sync put together. Blocks are not read; sorted ranges
//! become inner nodes, and slices scanned in another order become runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bygone_base::{CollectionId, Error, ErrorKind, PackId, Result, SyncId, Ts};
use bygone_blockstore::{BlockReader, BlockWriter, ObjectKind, WriterOptions, names};
use bygone_oplog::uplink::{CollectionPlan, SyncPlan};
use bygone_snapshot::{
    Catalogue, Collection, Manifest, PartStore, SourceInfo, TreeInfo, ViewDef, catalogue,
    sync::{self, SyncEndRecord, SyncSliceRecord},
    timeline::Stretch,
};
use bygone_tree::{
    KeyRange, LeafCursor, NodeEntry, RunRoot, Tree, TreeBuilder, run::root_of_leaves,
};

use crate::{
    base::Base,
    head::{Head, Start, is_damage},
};

/// Builds the base of a finished sync; `None` while it is not finished. Equal leaves of `old`'s trees
/// (matched by UUID, else by namespace) take the old blocks, so a resync stores little that is new.
pub(crate) async fn build(
    part: &PartStore,
    sync_part: &PartStore,
    sync: SyncId,
    old: Option<&Manifest>,
    reader: &BlockReader,
    level: i32,
) -> Result<Option<Start>> {
    let Some(end) = read(sync_part, &sync::end_name(sync)).await? else { return Ok(None) };
    let end = SyncEndRecord::from_bson(&end)?;
    let plan = plan_of(sync_part, sync).await?;
    let mut records = records(sync_part, sync).await?;
    if records.is_empty() && !plan.collections.is_empty() {
        // A groom took them away when a snapshot covered them. That snapshot is not of this history, or gone.
        return Err(Error::new(
            ErrorKind::ResyncRequired,
            "no snapshot of the source's history is left to go on from: it went back too far",
        )
        .hint("a new initial sync is needed; stored blocks are used again"));
    }
    let window_end = records
        .values()
        .flatten()
        .map(|r| r.valid_from)
        .chain([end.end.ts])
        .max()
        .unwrap_or(end.end.ts);
    let old = match old {
        Some(manifest) => old_catalogue(manifest, reader).await?,
        None => Catalogue::default(),
    };
    let options = WriterOptions { level, ..WriterOptions::default() };
    let writer = Arc::new(BlockWriter::new(part.repository().clone(), options));
    let mut build = Build {
        plan: &plan,
        window_end,
        old,
        reader,
        writer,
        runs: Vec::new(),
        new: NewBlocks::default(),
    };
    let mut catalogue = Catalogue::default();
    let mut gone = Vec::new();
    for planned in &plan.collections {
        let of = records.remove(&planned.coll).unwrap_or_default();
        if of.iter().any(|r| r.gone) {
            gone.push(planned.coll);
        }
        let collection = build.collection(planned, of).await?;
        catalogue.collections.insert(planned.coll, collection);
    }
    for view in &plan.views {
        let (id, def) = view_def(view)?;
        catalogue.views.insert(id, def);
    }
    build.writer.flush().await?;
    let stored = build.new.stored(reader).await?;
    let base = Base {
        at: plan.start.ts,
        settled: plan.settled,
        replay_from: plan.start,
        catalogue,
        catalogue_root: None,
        runs: build.runs,
        readable_from: window_end,
    };
    let source = source_of(&plan);
    Ok(Some(Start { base, source, filter: plan.filter.clone(), gone, stored, taken: None }))
}

async fn plan_of(part: &PartStore, sync: SyncId) -> Result<SyncPlan> {
    let plan = read(part, &sync::plan_name(sync)).await?;
    let missing = || Error::damaged(format!("the plan of initial sync {sync} is missing"));
    SyncPlan::from_bson(&plan.ok_or_else(missing)?)
}

fn source_of(plan: &SyncPlan) -> SourceInfo {
    let source = &plan.source;
    SourceInfo { set: source.set.clone(), version: source.version.clone(), fcv: source.fcv.clone() }
}

/// What an older snapshot holds, to use its blocks again. Where it is damaged, nothing is.
async fn old_catalogue(manifest: &Manifest, reader: &BlockReader) -> Result<Catalogue> {
    match catalogue::load(reader, manifest.catalogue).await {
        Err(error) if is_damage(&error) => {
            tracing::warn!(%error, "blocks of the snapshot before are not used again");
            Ok(Catalogue::default())
        }
        loaded => loaded,
    }
}

async fn read(part: &PartStore, name: &str) -> Result<Option<bytes::Bytes>> {
    match part.repository().get_object(ObjectKind::Sync, &part.name(name)).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The records of a sync by collection, each in order of range and sequence.
async fn records(
    part: &PartStore,
    sync: SyncId,
) -> Result<BTreeMap<CollectionId, Vec<SyncSliceRecord>>> {
    let mut records: BTreeMap<CollectionId, Vec<SyncSliceRecord>> = BTreeMap::new();
    // Names sort by collection, range and sequence.
    for leaf in part.leaf_names(&sync::slices_folder(sync)).await? {
        let name = format!("{}{leaf}", sync::slices_folder(sync));
        let bytes = read(part, &name)
            .await?
            .ok_or_else(|| Error::damaged(format!("sync slice {name} vanished")))?;
        let record = SyncSliceRecord::from_bson(&bytes).map_err(|e| e.within(&name))?;
        records.entry(record.key.coll).or_default().push(record);
    }
    Ok(records)
}

struct Build<'a> {
    plan: &'a SyncPlan,
    window_end: Ts,
    old: Catalogue,
    reader: &'a BlockReader,
    writer: Arc<BlockWriter>,
    runs: Vec<RunRoot>,
    /// Blocks of the sync that no older snapshot has, and their packs' bytes.
    new: NewBlocks,
}

impl Build<'_> {
    async fn collection(
        &mut self,
        planned: &CollectionPlan,
        records: Vec<SyncSliceRecord>,
    ) -> Result<Collection> {
        check_ranges(planned, &records)?;
        let mut old = self.old_leaves(planned);
        let mut tree = TreeBuilder::new(self.writer.clone()).valid_from_at_least(self.window_end);
        let mut sorted = false;
        for record in records {
            self.new.take(&record.entries);
            if record.runs {
                let root = root_of_leaves(record.entries, &self.writer).await?;
                self.runs.extend(root);
                continue;
            }
            for mut entry in record.entries {
                old.reuse(&mut entry, self.reader).await?;
                tree.push_leaf(entry).await?;
                sorted = true;
            }
        }
        let start = self.plan.start.ts;
        // What was scanned in another order is operations decided at the sync's start.
        let as_of = if sorted { start } else { start.prev() };
        let root = tree.finish().await?;
        Ok(Collection {
            id: planned.coll,
            db: planned.db.clone(),
            name: planned.name.clone(),
            options: planned.options.clone(),
            indexes: planned.indexes.clone(),
            tree: TreeInfo::of(root, planned.cut, as_of, self.window_end),
            truncated: None,
        })
    }

    /// The leaves of the collection in the snapshot before the resync.
    fn old_leaves(&self, planned: &CollectionPlan) -> OldLeaves {
        let old = &self.old;
        let found =
            (old.collections.get(&planned.coll)).or_else(|| old.find(&planned.db, &planned.name));
        let root = found.and_then(|c| c.tree.root.clone());
        let cursor = root.map(|root| Tree::new(root, self.reader.clone()).leaves(KeyRange::all()));
        OldLeaves { cursor, current: None }
    }
}

/// What the sync wrote.
#[derive(Debug, Default)]
struct NewBlocks {
    blocks: u64,
    packs: BTreeSet<PackId>,
}

impl NewBlocks {
    fn take(&mut self, entries: &[NodeEntry]) {
        self.blocks += entries.len() as u64;
        self.packs.extend(entries.iter().map(|e| e.block.pack));
    }

    /// Blocks, and stored bytes of their packs.
    async fn stored(&self, reader: &BlockReader) -> Result<(u64, u64)> {
        let objects = reader.repo().store().list(names::PACKS, None).await?;
        let ours = |name: &str| names::parse_pack(name).is_some_and(|p| self.packs.contains(&p));
        let bytes = objects.iter().filter(|o| ours(&o.name)).map(|o| o.size).sum();
        Ok((self.blocks, bytes))
    }
}

/// An old tree that is walked beside the new one.
struct OldLeaves {
    cursor: Option<LeafCursor>,
    current: Option<NodeEntry>,
}

impl OldLeaves {
    /// Gives `entry` the old block when the old tree has the same one at the same key, and it is still there.
    async fn reuse(&mut self, entry: &mut NodeEntry, reader: &BlockReader) -> Result<()> {
        while self.current.as_ref().is_none_or(|old| old.key < entry.key) {
            let Some(cursor) = &mut self.cursor else { return Ok(()) };
            match cursor.next().await {
                Ok(Some(span)) => self.current = Some(span.entry),
                Ok(None) => self.cursor = None,
                // What is damaged is no help, and no obstacle.
                Err(error) if is_damage(&error) => self.cursor = None,
                Err(error) => return Err(error),
            }
        }
        let Some(old) = self.current.as_ref().filter(|old| old.block.id == entry.block.id) else {
            return Ok(());
        };
        match reader.locate(&old.block).await {
            Ok(_) => entry.block = old.block,
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Every range of the plan ended, or the collection was gone.
fn check_ranges(planned: &CollectionPlan, records: &[SyncSliceRecord]) -> Result<()> {
    if records.iter().any(|r| r.gone) {
        return Ok(());
    }
    for range in 0..=planned.ranges.len() as u32 {
        let own = || records.iter().filter(|r| r.key.range == range);
        let whole = own().enumerate().all(|(i, r)| r.key.seq == i as u32);
        if !whole || !own().any(|r| r.done) {
            return Err(Error::damaged(format!(
                "the initial sync ended, but range {range} of {}.{} is not complete",
                planned.db, planned.name
            )));
        }
    }
    Ok(())
}

fn view_def(doc: &bson::RawDocument) -> Result<(String, ViewDef)> {
    let id = doc
        .get_str("_id")
        .map_err(|e| Error::damaged("a view of the sync plan has no string _id").source(e))?;
    let (db, name) = id
        .split_once('.')
        .ok_or_else(|| Error::damaged(format!("view {id:?} of the sync plan has no database")))?;
    let def = ViewDef { db: db.to_owned(), name: name.to_owned(), doc: doc.to_owned() };
    Ok((id.to_owned(), def))
}

/// See [`Head::check_listing`].
pub(crate) async fn check_listing(
    part: &PartStore,
    history: &[Stretch],
    head: &Head,
) -> Result<()> {
    let timelines = part.timelines().await?;
    let first = history.first().map(|s| s.timeline);
    let sync = timelines.iter().find(|t| Some(t.id) == first).and_then(|t| t.sync);
    let Some(sync) = sync else { return Ok(()) };
    let Some(end) = read(&part.sync(), &sync::end_name(sync)).await? else { return Ok(()) };
    let end = SyncEndRecord::from_bson(&end)?;
    if !head.gatherer.ddl_between(end.end.ts, Ts::MAX).is_empty() {
        // DDL since the listing: they may rightly differ.
        return Ok(());
    }
    for listed in &end.listed {
        let Some(have) = head.live().collections.get(&listed.coll) else {
            return Err(differs(&listed.db, &listed.name, "is not in the backup"));
        };
        let mut names: Vec<&str> =
            have.indexes.iter().filter_map(|i| i.get_str("name").ok()).collect();
        let mut expected: Vec<&str> = listed.indexes.iter().map(String::as_str).collect();
        names.sort_unstable();
        expected.sort_unstable();
        if names != expected {
            let what =
                format!("has indexes {names:?} in the backup and {expected:?} at the source");
            return Err(differs(&listed.db, &listed.name, &what));
        }
    }
    Ok(())
}

fn differs(db: &str, name: &str, what: &str) -> Error {
    Error::new(ErrorKind::ResyncRequired, format!("collection {db}.{name} {what}"))
}
