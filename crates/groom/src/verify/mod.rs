//! Verification: every byte that the snapshots of a part need is read and checked, every update
//! finds its document, every slice continues from the one before.
//!
//! ```text
//! packs (every block) ─▶ objects ─▶ blocks (what each snapshot reaches) ─▶ merges ─▶ oplog (chains) ─▶ ranges
//! ```

mod blocks;
mod oplog;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bygone_base::{BlockId, Clock, ErrorKind, OpTime, PackId, Result, SnapshotId, When};
use bygone_blockstore::{
    BlockReader, BlockRef, ObjectKind, Repository,
    audit::{check_keyrings, check_object, check_pack},
    names,
};
use bygone_head::{Choice, View, ViewOptions, choose, describe, expect_oplog};
use bygone_snapshot::{
    Manifest, PartStore, histories,
    list::{Found, ends},
    oplog::voids,
    ranges::restorable,
    timeline::includes,
};
use bygone_tree::{KeyRange, density::density};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Packs looked at.
    pub packs: u64,
    /// Blocks that the snapshots need.
    pub blocks: u64,
    /// Bytes of those packs.
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
    /// Packs that the snapshots need, ...
    pub needed: Vec<PackId>,
    /// ... and their bytes.
    pub needed_bytes: u64,
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
    /// Manifests, catalogues and inner nodes; that the packs and slices they need are there, by listings.
    Quick,
    /// Every byte, every update.
    Full,
}

/// Which packs are read for a [`Depth::Full`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packs {
    /// All of the store.
    All,
    /// Those that the snapshots of the part need. Damage of others is not this part's.
    Needed,
    /// None: somebody reads them for all parts, and found this of them damaged.
    Read(Vec<Suspect>),
}

/// A pack that is damaged, or one block of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Suspect {
    /// Pack.
    pub pack: PackId,
    /// The block; `None`: the pack cannot be read.
    pub block: Option<BlockId>,
}

/// Verifies one part and all packs of its store. `on` is told of each step, for progress: what, how many of how many.
///
/// # Errors
/// Only when the store cannot be looked at; damage is in the report.
pub async fn verify(
    part: &PartStore,
    oplog_part: &PartStore,
    depth: Depth,
    clock: Arc<dyn Clock>,
    on: impl FnMut(&str, u64, u64) + Send,
) -> Result<Report> {
    let views = ViewOptions::default();
    verify_with(part, oplog_part, depth, &Packs::All, &views, clock, on).await
}

/// Verifies one part, reading these packs; `views`: how states with operations after a snapshot are read.
///
/// # Errors
/// As [`verify`].
pub async fn verify_with(
    part: &PartStore,
    oplog_part: &PartStore,
    depth: Depth,
    packs: &Packs,
    views: &ViewOptions,
    clock: Arc<dyn Clock>,
    mut on: impl FnMut(&str, u64, u64) + Send,
) -> Result<Report> {
    let mut run = Run {
        reader: BlockReader::new(part.repository().clone(), 64 << 20),
        part: part.clone(),
        oplog_part: oplog_part.clone(),
        depth,
        views: views.clone(),
        clock,
        report: Report::default(),
        said: BTreeSet::new(),
        broken: HashSet::new(),
        told: true,
        present: HashMap::new(),
        nodes: HashMap::new(),
        leaves: HashSet::new(),
        needed: BTreeSet::new(),
    };
    run.list().await?;
    match packs {
        Packs::All => run.packs(run.present.keys().copied().collect(), &mut on).await?,
        Packs::Needed => run.needed_packs(&mut on).await?,
        Packs::Read(suspects) => {
            run.broken.extend(suspects.iter().copied());
            // Who found it told it of the store; here it is told where it is met.
            run.told = false;
        }
    }
    run.keyrings().await?;
    run.objects(&mut on).await?;
    let manifests = run.manifests().await?;
    expect_oplog(oplog_part, &manifests)?;
    let total = manifests.len() as u64;
    for (n, manifest) in manifests.iter().enumerate() {
        on("snapshots", n as u64, total);
        run.snapshot(manifest).await?;
    }
    run.report.blocks = (run.nodes.len() + run.leaves.len()) as u64;
    run.report.needed = run.needed.iter().copied().collect();
    run.report.needed_bytes = run.needed.iter().filter_map(|pack| run.present.get(pack)).sum();
    run.histories(&manifests, &mut on).await?;
    run.latest(&manifests).await?;
    Ok(run.report)
}

struct Run {
    part: PartStore,
    oplog_part: PartStore,
    depth: Depth,
    views: ViewOptions,
    clock: Arc<dyn Clock>,
    reader: BlockReader,
    report: Report,
    /// Lines of damage so far: each is said once.
    said: BTreeSet<String>,
    /// Damaged blocks of packs that can be read otherwise, and packs that cannot.
    broken: HashSet<Suspect>,
    /// Whether these are in the report already.
    told: bool,
    /// Packs in the store, and their sizes.
    present: HashMap<PackId, u64>,
    /// Nodes seen, and what is wrong with them or below them.
    nodes: HashMap<BlockRef, Option<Arc<str>>>,
    /// Leaves that are good: pack and the beginning of the block's id.
    leaves: HashSet<(PackId, u64)>,
    /// The packs that hold these.
    needed: BTreeSet<PackId>,
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
    fn damage(&mut self, line: impl Into<String>) {
        let line = line.into();
        if self.said.insert(line.clone()) {
            self.report.damage.push(line);
        }
    }

    async fn list(&mut self) -> Result<()> {
        let objects = self.part.repository().store().list(names::PACKS, None).await?;
        let packs = objects.iter().filter_map(|o| Some((names::parse_pack(&o.name)?, o.size)));
        self.present = packs.collect();
        Ok(())
    }

    /// Reads these packs, or at a quick look only counts them.
    async fn packs(
        &mut self,
        mut packs: Vec<PackId>,
        on: &mut (impl FnMut(&str, u64, u64) + Send),
    ) -> Result<()> {
        packs.sort_unstable();
        let repo = self.part.repository().clone();
        let size = |pack: &PackId| self.present.get(pack).copied().unwrap_or_default();
        let sizes: Vec<u64> = packs.iter().map(size).collect();
        let total: u64 = sizes.iter().sum();
        for (pack, size) in packs.into_iter().zip(sizes) {
            on("bytes of packs", self.report.bytes, total);
            self.report.packs += 1;
            self.report.bytes += size;
            if self.depth == Depth::Quick {
                continue;
            }
            for damage in check_pack(&repo, pack).await? {
                self.broken.insert(Suspect { pack, block: damage.block });
                self.damage(damage.to_string());
            }
        }
        Ok(())
    }

    /// Finds out which packs the snapshots need, and reads those. What it meets on the way is looked at again afterwards,
    /// with what was found in them.
    async fn needed_packs(&mut self, on: &mut (impl FnMut(&str, u64, u64) + Send)) -> Result<()> {
        for manifest in self.part.find_manifests().await?.manifests {
            drop(self.reaches(&manifest).await?);
        }
        self.nodes.clear();
        self.leaves.clear();
        self.said.clear();
        self.report.damage.clear();
        let needed = self.needed.iter().copied().collect();
        self.packs(needed, on).await
    }

    async fn keyrings(&mut self) -> Result<()> {
        let repo = self.part.repository().clone();
        let sync = self.oplog_part.sync().repository().clone();
        let mut repositories = vec![repo, self.oplog_part.repository().clone(), sync];
        repositories.dedup_by_key(|repo| repo.id());
        for repo in repositories {
            for damage in check_keyrings(&repo).await? {
                self.damage(damage.to_string());
            }
        }
        Ok(())
    }

    /// The small objects of the part, but the slices, which are read in order later.
    async fn objects(&mut self, on: &mut (impl FnMut(&str, u64, u64) + Send)) -> Result<()> {
        let (oplog, sync) = (&self.oplog_part, self.oplog_part.sync());
        let mut folders: Vec<(Repository, ObjectKind, String)> = Vec::new();
        let mut folder = |part: &PartStore, kind, name: &str| {
            folders.push((part.repository().clone(), kind, part.name(name)));
        };
        folder(oplog, ObjectKind::Timeline, "timelines/");
        folder(&self.part, ObjectKind::Policy, "policy/");
        folder(&self.part, ObjectKind::Policy, "keeps/");
        if self.depth == Depth::Full {
            folder(oplog, ObjectKind::Epoch, "epochs/");
            folder(&sync, ObjectKind::Sync, "sync/");
            let repository = self.part.repository().clone();
            let records = crate::record::FOLDER.to_owned();
            folders.push((repository.clone(), ObjectKind::Groom, records));
            folders.push((repository, ObjectKind::Relocation, names::MOVED.to_owned()));
        }
        let mut all = Vec::new();
        for (repo, kind, prefix) in folders {
            for object in repo.store().list(&prefix, None).await? {
                all.push((repo.clone(), kind, object.name));
            }
        }
        let total = all.len() as u64;
        for (n, (repo, kind, name)) in all.into_iter().enumerate() {
            on("objects", n as u64, total);
            self.report.objects += 1;
            let Some(damage) = check_object(&repo, kind, &name).await? else { continue };
            // A groom replaces its record, and may have done so since the listing.
            if kind == ObjectKind::Groom && finding(repo.store().stat(&name).await)?.is_err() {
                continue;
            }
            self.damage(damage.to_string());
        }
        Ok(())
    }

    async fn manifests(&mut self) -> Result<Vec<Manifest>> {
        let Found { manifests, damaged } = self.part.find_manifests().await?;
        self.report.objects += (manifests.len() + damaged.len()) as u64;
        for (id, error) in damaged {
            self.damage(format!("snapshot {id}: {error}"));
            self.report.bad.push((id, error.to_string()));
        }
        Ok(manifests)
    }

    /// Walks everything a manifest names, then applies its operations to their documents.
    async fn snapshot(&mut self, manifest: &Manifest) -> Result<()> {
        let mut why = self.reaches(manifest).await?;
        if why.is_none() && self.depth == Depth::Full {
            why = finding(self.merge(manifest).await)?.err();
            if let Some(what) = &why {
                self.damage(format!("snapshot {}: {what}", manifest.id));
            }
        }
        match why {
            None => self.report.good.push(manifest.id.clone()),
            Some(why) => self.report.bad.push((manifest.id.clone(), why)),
        }
        Ok(())
    }

    /// Applies a manifest's operations to the documents they touch.
    async fn merge(&mut self, manifest: &Manifest) -> Result<()> {
        let choice = Choice::of_snapshot(manifest.clone());
        self.merge_at(choice).await
    }

    async fn merge_at(&mut self, choice: Choice) -> Result<()> {
        let (options, clock) = (self.views.clone(), self.clock.clone());
        let view = View::of(&self.part, &self.oplog_part, choice, options, clock).await?;
        self.report.operations += view.operations;
        merge_touched(&view).await
    }

    /// Reads the slices of every history in order; what restores are ranges that begin at a good
    /// snapshot, as far as the slices that were read lead on.
    async fn histories(
        &mut self,
        manifests: &[Manifest],
        on: &mut (impl FnMut(&str, u64, u64) + Send),
    ) -> Result<()> {
        let timelines = match finding(self.oplog_part.timelines().await)? {
            Ok(timelines) => timelines,
            Err(what) => {
                self.damage(what);
                return Ok(());
            }
        };
        // These records are never deleted.
        let named = manifests.iter().map(|m| m.timeline);
        let named = named.chain(timelines.iter().filter_map(|t| t.parent.map(|(id, _)| id)));
        for id in named {
            if timelines.iter().all(|t| t.id != id) {
                let name = self.oplog_part.name(&format!("timelines/{id}"));
                self.damage(format!("{name} is missing"));
            }
        }
        let histories = histories(&timelines);
        let policy = finding(self.part.policy().await)?.unwrap_or_default();
        let mut newest = None;
        for (history, ended) in histories.iter().zip(ends(&timelines, &histories)) {
            let over = policy.as_ref().zip(ended).zip(newest);
            let over = over.is_some_and(|((policy, ended), end)| policy.is_over(ended, end));
            let own: Vec<&Manifest> =
                manifests.iter().filter(|m| includes(history, m.timeline, m.at)).collect();
            let segments = self.chain(history, &own, over, on).await?;
            // Just after a resync there is a snapshot and no slice yet.
            let end = segments.last().map(|(_, end)| end.ts).max(own.last().map(|m| m.at.ts));
            newest = newest.or(end);
            let good: Vec<(OpTime, OpTime)> = own
                .iter()
                .filter(|m| self.report.good.contains(&m.id))
                .map(|m| (m.at, m.replay_from))
                .collect();
            let voids = voids(&self.oplog_part, history).await?;
            let ranges = restorable(&segments, &good, &voids);
            self.report.ranges.extend(ranges.iter().map(describe));
        }
        Ok(())
    }

    /// Applies what came after the newest snapshot to the documents it touches.
    async fn latest(&mut self, manifests: &[Manifest]) -> Result<()> {
        if self.depth == Depth::Quick || !self.report.is_clean() || manifests.is_empty() {
            return Ok(());
        }
        let merged = async {
            let choice = choose(&self.part, &self.oplog_part, &When::Latest).await?;
            self.merge_at(choice).await
        };
        match merged.await {
            // The source went back before every snapshot, and the resync has none yet. Nothing is damaged: what
            // there is restores by its id.
            Err(e) if e.kind() == ErrorKind::NotCovered => {}
            merged => {
                if let Err(what) = finding(merged)? {
                    self.damage(format!("the newest moment: {what}"));
                }
            }
        }
        Ok(())
    }
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
