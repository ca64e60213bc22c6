//! Taking a snapshot: runs, folds, catalogue, and last of all the manifest.

use std::sync::Arc;

use bygone_base::{Error, ErrorKind, OpTime, Result, SnapshotId, Ts, UnixMillis};
use bygone_blockstore::BlockWriter;
use bygone_snapshot::{
    Catalogue, Manifest, RunInfo, Stats,
    catalogue::{self, Window},
};
use bygone_tree::RunRoot;

use crate::{
    base::Base,
    compact::{compact, split, trim_at},
    head::{Head, trims},
};

impl Head {
    /// The newest moment of which a snapshot could be taken; `None` while the initial sync's window is open.
    /// The entries up to it tell everything of it: whether a fork voids a snapshot, its moment alone decides.
    pub fn safe_point(&self) -> Option<OpTime> {
        let position = self.position();
        let ts = self.gatherer.settled(self.gatherer.assembler().safe(position.ts));
        (ts >= self.base.readable_from && ts >= self.base.at)
            .then_some(OpTime::new(ts, position.term))
    }

    /// Publishes a snapshot of the newest safe moment. When it returns, the snapshot exists and is durable; when
    /// it fails, the store may hold some unreferenced packs (or the snapshot, when only the reply was lost)
    /// and the head goes on as before, unless it says that it must be opened anew.
    ///
    /// # Errors
    /// Unavailable while the initial sync's window is open; Damaged when operations do not fit the base.
    pub async fn snapshot(&mut self, now: UnixMillis) -> Result<Manifest> {
        let at = self.safe_point().ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "no snapshot yet: the oplog has not reached the end of the initial sync",
            )
        })?;
        let writer = self.new_writer();
        self.spill(&writer).await?;
        let mut catalogue = self.catalogue_at(at.ts)?;
        let (upto, later) = split(&self.spilled, at.ts, self.reader(), &writer).await?;
        let runs: Vec<RunRoot> = self.base.runs.iter().cloned().chain(upto).collect();
        let trimming = trims(self.fcv_at(at.ts));
        let ended = self.trims_ended(at.ts);
        trim_at(&ended, &mut catalogue, &runs, self.reader(), &writer).await?;
        let (runs, compacted) =
            compact(&mut catalogue, runs, at.ts, trimming, self.reader(), &writer).await?;
        let catalogue_root = self.save_catalogue(&catalogue, at.ts, &writer).await?;
        let written = writer.flush().await?;
        let replay_from = self.gatherer.assembler().replay_from(at);
        let stats = Stats {
            collections: (catalogue.collections.len() + catalogue.views.len()) as u64,
            documents: total(&catalogue, |r| r.items),
            bytes: total(&catalogue, |r| r.bytes),
            new_blocks: written.new_blocks + self.stored.0,
            new_bytes: written.new_stored_bytes + self.stored.1,
            folded: compacted.folded_leaves,
        };
        let base = Base {
            at: at.ts,
            settled: at.ts,
            replay_from,
            readable_from: self.base.readable_from,
            catalogue,
            catalogue_root,
            runs,
        };
        let manifest = self.manifest(&base, at, now, stats)?;
        self.part.publish(&manifest).await?;
        self.adopt(base, &manifest, later);
        Ok(manifest)
    }

    /// The base's catalogue with the DDL decided since, up to `at`.
    pub(crate) fn catalogue_at(&self, at: Ts) -> Result<Catalogue> {
        let mut catalogue = self.base.catalogue.clone();
        for (ts, _, ddl) in self.gatherer.ddl_between(self.base.at, at) {
            let window = if *ts <= self.base.readable_from { Window::Fuzzy } else { Window::Exact };
            catalogue.apply(*ts, ddl, window)?;
        }
        if let Some(gone) = self.gone.iter().find(|id| catalogue.collections.contains_key(*id)) {
            return Err(Error::new(
                ErrorKind::ResyncRequired,
                format!(
                    "collection {gone} was not found during the initial sync, but the oplog does not say that it was dropped"
                ),
            ));
        }
        Ok(catalogue)
    }

    async fn save_catalogue(
        &self,
        catalogue: &Catalogue,
        at: Ts,
        writer: &Arc<BlockWriter>,
    ) -> Result<Option<(bygone_blockstore::BlockRef, u8)>> {
        let old = self.base.catalogue_root.map(|root| catalogue::tree(self.reader(), root));
        let root = catalogue::save(catalogue, at, old.as_ref(), writer).await?;
        Ok(root.map(|root| (root.block, root.level)))
    }

    fn manifest(&self, base: &Base, at: OpTime, now: UnixMillis, stats: Stats) -> Result<Manifest> {
        let mut source = self.source.clone();
        self.fcv_at(at.ts).clone_into(&mut source.fcv);
        let repository = self.part.repository();
        Ok(Manifest {
            id: SnapshotId::new(at.ts.secs(), repository.rng().as_ref()),
            job: self.part.job().clone(),
            part: self.part.part().clone(),
            timeline: self.timeline(),
            repository: repository.id(),
            oplog_repository: self.oplog_part.repository().id(),
            at,
            replay_from: base.replay_from,
            created: now,
            catalogue: base.catalogue_root,
            runs: base.runs.iter().map(run_info).collect(),
            oldest: base.catalogue.oldest().unwrap_or(at.ts),
            source,
            stats,
            filter: self.filter.to_bson(),
        })
    }

    /// Goes on from a published base.
    fn adopt(&mut self, base: Base, manifest: &Manifest, later: Vec<RunRoot>) {
        self.source = manifest.source.clone();
        self.taken = Some((manifest.id.clone(), manifest.created));
        self.gatherer.rebase(base.at);
        self.gatherer.adopt_trees(&base.catalogue);
        self.spilled = later;
        self.validated = 0;
        self.gone.clear();
        self.stored = (0, 0);
        self.base = base;
    }
}

fn total(catalogue: &Catalogue, of: impl Fn(&bygone_tree::TreeRoot) -> u64) -> u64 {
    catalogue.collections.values().filter_map(|c| c.tree.root.as_ref()).map(of).sum()
}

fn run_info(run: &RunRoot) -> RunInfo {
    RunInfo {
        root: run.block,
        level: run.level,
        min: run.min,
        max: run.max,
        ops: run.ops,
        bytes: run.bytes,
    }
}
