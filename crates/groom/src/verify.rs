//! Verification: every byte that the snapshots of a part need is read and checked, every update
//! finds its document, every slice continues from the one before.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bygone_base::{BlockId, Clock, Error, ErrorKind, PackId, Result, SnapshotId, Ts};
use bygone_blockstore::{
    BlockReader, ObjectKind,
    audit::{check_keyrings, check_object, check_pack},
    names,
};
use bygone_head::{View, ViewOptions, choose, describe, reachable};
use bygone_snapshot::{
    Manifest, PartStore, catalogue, histories, oplog::OplogWalk, ranges::Range, timeline::includes,
};
use bygone_tree::{
    KeyRange,
    density::density,
    walk::{Start, Visit, walk_blocks},
};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Packs read.
    pub packs: u64,
    /// Blocks that the snapshots need.
    pub blocks: u64,
    /// Bytes of packs read.
    pub bytes: u64,
    /// Other objects read.
    pub objects: u64,
    /// Operations applied to their documents.
    pub operations: u64,
    /// What is wrong, a line each.
    pub damage: Vec<String>,
    /// Snapshots that restore.
    pub good: Vec<SnapshotId>,
    /// Snapshots that do not, and why.
    pub bad: Vec<(SnapshotId, String)>,
    /// Ranges that restore, as people read them, current history first.
    pub ranges: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.bad.is_empty()
    }
}

/// How thorough to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Structure, names and chains; blocks are only looked up.
    Quick,
    /// Every byte, every update.
    Full,
}

/// Verifies one part. `on` is told of each step, for progress: what, how many of how many.
///
/// # Errors
/// Only when the store cannot be looked at; damage is in the report.
pub async fn verify(
    part: &PartStore,
    oplog_part: &PartStore,
    depth: Depth,
    clock: Arc<dyn Clock>,
    mut on: impl FnMut(&str, u64, u64) + Send,
) -> Result<Report> {
    let mut run = Run {
        reader: BlockReader::new(part.repository().clone(), 64 << 20),
        part: part.clone(),
        oplog_part: oplog_part.clone(),
        clock,
        report: Report::default(),
        broken: HashSet::new(),
        lost: HashMap::new(),
        nodes: HashMap::new(),
        leaves: HashSet::new(),
    };
    run.packs(depth, &mut on).await?;
    run.objects(&mut on).await?;
    let manifests = run.manifests().await?;
    let total = manifests.len() as u64;
    for (n, manifest) in manifests.iter().enumerate() {
        on("snapshots", n as u64, total);
        run.snapshot(manifest, depth).await?;
    }
    run.report.blocks = (run.nodes.len() + run.leaves.len()) as u64;
    run.oplog(&manifests, depth, &mut on).await?;
    run.ranges(&manifests).await?;
    Ok(run.report)
}

struct Run {
    part: PartStore,
    oplog_part: PartStore,
    clock: Arc<dyn Clock>,
    reader: BlockReader,
    report: Report,
    /// Damaged blocks of packs that can be read otherwise.
    broken: HashSet<(PackId, BlockId)>,
    /// Packs that cannot be read at all.
    lost: HashMap<PackId, String>,
    /// Nodes seen, and whether all below them was good.
    nodes: HashMap<BlockId, bool>,
    leaves: HashSet<BlockId>,
}

/// Damage is a finding, anything else an error of the verification itself.
fn finding<T>(result: Result<T>) -> Result<std::result::Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::Damaged
                    | ErrorKind::NotFound
                    | ErrorKind::Unsupported
                    | ErrorKind::ResyncRequired
                    | ErrorKind::NotCovered
            ) =>
        {
            Ok(Err(e.to_string()))
        }
        Err(e) => Err(e),
    }
}

impl Run {
    async fn packs(
        &mut self,
        depth: Depth,
        on: &mut (impl FnMut(&str, u64, u64) + Send),
    ) -> Result<()> {
        let repo = self.part.repository().clone();
        let objects = repo.store().list(names::PACKS, None).await?;
        let total: u64 = objects.iter().map(|o| o.size).sum();
        for object in &objects {
            let Some(pack) = names::parse_pack(&object.name) else { continue };
            on("bytes of packs", self.report.bytes, total);
            self.report.packs += 1;
            self.report.bytes += object.size;
            if depth == Depth::Quick {
                if let Err(what) = finding(self.reader.toc(pack).await)? {
                    self.report.damage.push(format!("{}: {what}", object.name));
                    self.lost.insert(pack, what);
                }
                continue;
            }
            for damage in check_pack(&repo, pack).await? {
                self.report.damage.push(damage.to_string());
                match damage.block {
                    Some(block) => {
                        self.broken.insert((pack, block));
                    }
                    None => {
                        self.lost.insert(pack, damage.what);
                    }
                }
            }
        }
        for damage in check_keyrings(&repo).await? {
            self.report.damage.push(damage.to_string());
        }
        Ok(())
    }

    /// Every object of the part but the slices, which are read in order later, and relocation records.
    async fn objects(&mut self, on: &mut (impl FnMut(&str, u64, u64) + Send)) -> Result<()> {
        let kinds = [
            ("epochs/", ObjectKind::Epoch),
            ("timelines/", ObjectKind::Timeline),
            ("policy/", ObjectKind::Policy),
            ("pins/", ObjectKind::Policy),
            ("sync/", ObjectKind::Sync),
        ];
        let mut all = Vec::new();
        for (folder, kind) in kinds {
            let prefix = self.oplog_part.name(folder);
            for object in self.oplog_part.repository().store().list(&prefix, None).await? {
                all.push((self.oplog_part.repository().clone(), kind, object.name));
            }
        }
        for object in self.part.repository().store().list(names::MOVED, None).await? {
            all.push((self.part.repository().clone(), ObjectKind::Relocation, object.name));
        }
        let total = all.len() as u64;
        for (n, (repo, kind, name)) in all.into_iter().enumerate() {
            on("objects", n as u64, total);
            self.report.objects += 1;
            if let Some(damage) = check_object(&repo, kind, &name).await? {
                self.report.damage.push(damage.to_string());
            }
        }
        Ok(())
    }

    async fn manifests(&mut self) -> Result<Vec<Manifest>> {
        let mut manifests = Vec::new();
        for id in self.part.snapshot_ids().await? {
            self.report.objects += 1;
            match finding(self.part.manifest(&id).await)? {
                Ok(manifest) => manifests.push(manifest),
                Err(what) => {
                    self.report.damage.push(format!("snapshot {id}: {what}"));
                    self.report.bad.push((id, what));
                }
            }
        }
        manifests.sort_by_key(|m| (m.at, m.created));
        Ok(manifests)
    }

    /// Walks everything a manifest names, then applies its operations to their documents.
    async fn snapshot(&mut self, manifest: &Manifest, depth: Depth) -> Result<()> {
        let mut why = self.walk(manifest).await?;
        if why.is_none() && depth == Depth::Full {
            why = finding(self.merge(manifest).await)?.err();
            if let Some(what) = &why {
                self.report.damage.push(format!("snapshot {}: {what}", manifest.id));
            }
        }
        match why {
            None => self.report.good.push(manifest.id.clone()),
            Some(why) => self.report.bad.push((manifest.id.clone(), why)),
        }
        Ok(())
    }

    async fn walk(&mut self, manifest: &Manifest) -> Result<Option<String>> {
        let mut roots: Vec<Start> =
            manifest.runs.iter().map(|r| (r.root, r.level).into()).collect();
        if let Some(root) = manifest.catalogue {
            if let Some(why) = self.walk_tree(root.into()).await? {
                return Ok(Some(why));
            }
            match finding(catalogue::load(&self.reader, Some(root)).await)? {
                Ok(catalogue) => {
                    let trees = catalogue.collections.values();
                    roots.extend(trees.filter_map(|c| c.tree.root.as_ref()).map(Start::from));
                }
                Err(what) => return Ok(Some(what)),
            }
        }
        for root in roots {
            if let Some(why) = self.walk_tree(root).await? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// What is wrong below a root, if anything.
    async fn walk_tree(&mut self, root: Start) -> Result<Option<String>> {
        let mut why = None;
        let mut inner = Vec::new();
        let (nodes, leaves) = (&mut self.nodes, &mut self.leaves);
        let (broken, lost) = (&self.broken, &self.lost);
        let mut unlocated = Vec::new();
        let walked = walk_blocks(&self.reader, root, |level, entry| {
            let block = entry.block;
            if broken.contains(&(block.pack, block.id)) {
                why.get_or_insert(format!("block {} of pack {} is damaged", block.id, block.pack));
                return Ok(Visit::Skip);
            }
            if let Some(what) = lost.get(&block.pack) {
                why.get_or_insert(format!("pack {}: {what}", block.pack));
                return Ok(Visit::Skip);
            }
            if level == 0 {
                if leaves.insert(block.id) {
                    unlocated.push(block);
                }
                return Ok(Visit::Enter);
            }
            match nodes.get(&block.id) {
                Some(true) => Ok(Visit::Skip),
                Some(false) => {
                    why.get_or_insert(format!("below block {} something is damaged", block.id));
                    Ok(Visit::Skip)
                }
                None => {
                    inner.push(block.id);
                    Ok(Visit::Enter)
                }
            }
        })
        .await;
        if let Err(what) = finding(walked)? {
            why.get_or_insert(what);
        }
        for block in unlocated {
            if let Err(what) = finding(self.reader.locate(&block).await)? {
                self.report.damage.push(format!("block {}: {what}", block.id));
                self.leaves.remove(&block.id);
                why.get_or_insert(what);
            }
        }
        inner.into_iter().for_each(|id| {
            self.nodes.insert(id, why.is_none());
        });
        Ok(why)
    }

    /// Applies a manifest's operations to the documents they touch.
    async fn merge(&mut self, manifest: &Manifest) -> Result<()> {
        let when = bygone_base::When::Snapshot(manifest.id.clone());
        let choice = choose(&self.part, &self.oplog_part, &when).await?;
        let options = ViewOptions::default();
        let view =
            View::of(&self.part, &self.oplog_part, choice, options, self.clock.clone()).await?;
        self.report.operations += view.operations;
        merge_touched(&view).await
    }

    /// Reads the slices of every history in order, and applies those after the newest snapshot.
    async fn oplog(
        &mut self,
        manifests: &[Manifest],
        depth: Depth,
        on: &mut (impl FnMut(&str, u64, u64) + Send),
    ) -> Result<()> {
        let timelines = self.oplog_part.timelines().await?;
        for history in histories(&timelines) {
            let own = manifests.iter().filter(|m| includes(&history, m.timeline, m.at));
            let covered = bygone_snapshot::oplog::covered(&self.oplog_part, &history).await;
            let covered = match finding(covered)? {
                Ok(covered) => covered,
                Err(what) => {
                    self.report.damage.push(what);
                    continue;
                }
            };
            let starts: BTreeSet<_> =
                bygone_snapshot::ranges::segments(&history, &covered).into_iter().collect();
            if starts.len() > 1 && own.clone().count() > 0 {
                let holes: Vec<String> = starts
                    .iter()
                    .zip(starts.iter().skip(1))
                    .map(|(a, b)| format!("{} to {}", a.1.ts, b.0.ts))
                    .collect();
                self.report.damage.push(format!("the oplog has holes: {}", holes.join(", ")));
            }
            for (start, end) in starts {
                on("oplog", u64::from(start.ts.secs()), u64::from(end.ts.secs()));
                let walk = OplogWalk::new(self.oplog_part.clone(), &history, start);
                let read = match walk {
                    Ok(walk) => read_all(walk, &mut self.report.objects, end.ts).await,
                    Err(e) => Err(e),
                };
                if let Err(what) = finding(read)? {
                    self.report.damage.push(what);
                }
            }
        }
        if depth == Depth::Full && self.report.is_clean() && !manifests.is_empty() {
            let latest = bygone_base::When::Latest;
            let merged = async {
                let choice = choose(&self.part, &self.oplog_part, &latest).await?;
                let options = ViewOptions::default();
                let clock = self.clock.clone();
                let view = View::of(&self.part, &self.oplog_part, choice, options, clock).await?;
                self.report.operations += view.operations;
                merge_touched(&view).await
            };
            if let Err(what) = finding(merged.await)? {
                self.report.damage.push(format!("the newest moment: {what}"));
            }
        }
        Ok(())
    }

    /// What restores: ranges that begin at a good snapshot, as far as their slices were readable.
    async fn ranges(&mut self, manifests: &[Manifest]) -> Result<()> {
        let bad: BTreeMap<Ts, ()> = manifests
            .iter()
            .filter(|m| self.report.bad.iter().any(|(id, _)| *id == m.id))
            .map(|m| (m.at.ts, ()))
            .collect();
        let all = match finding(reachable(&self.part, &self.oplog_part).await)? {
            Ok(all) => all,
            Err(_) => return Ok(()),
        };
        for range in all.into_iter().flatten() {
            let good = manifests
                .iter()
                .map(|m| m.at.ts)
                .find(|at| *at >= range.from && *at <= range.to && !bad.contains_key(at));
            if let Some(from) = good {
                self.report.ranges.push(describe(&Range { from, to: range.to }));
            }
        }
        Ok(())
    }
}

async fn read_all(mut walk: OplogWalk, slices: &mut u64, until: Ts) -> Result<()> {
    while let Some(portion) = walk.next().await? {
        *slices += 1;
        if portion.last().ts >= until {
            return Ok(());
        }
    }
    if walk.at().ts < until {
        return Err(Error::damaged(format!(
            "the stored oplog ends at {}, but its names say {until}",
            walk.at()
        )));
    }
    Ok(())
}

/// Merges the leaves that operations touch: each update must find its document.
async fn merge_touched(view: &View) -> Result<()> {
    for (id, collection) in &view.catalogue.collections {
        let mut ranges: Vec<KeyRange> = Vec::new();
        density(view.reader(), &collection.tree, view.runs(), *id, view.at, |leaf| {
            match ranges.last_mut() {
                Some(last) if last.to.as_ref() == Some(&leaf.range.from) => last.to = leaf.range.to,
                _ => ranges.push(leaf.range),
            }
        })
        .await?;
        for range in ranges {
            let mut merge = view.merge(*id, range).await?;
            while merge.next().await.map_err(|e| e.within(collection.namespace()))?.is_some() {}
        }
    }
    Ok(())
}
