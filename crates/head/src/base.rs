//! What a head stands on: the state of a manifest, or of a finished initial sync.

use bygone_base::{OpTime, Result, Ts};
use bygone_blockstore::{BlockReader, BlockRef};
use bygone_snapshot::{Catalogue, Manifest, catalogue};
use bygone_tree::RunRoot;

/// Trees, runs and catalogue at one moment.
#[derive(Debug, Clone)]
pub struct Base {
    /// The catalogue holds every DDL entry decided up to here, the trees and runs every operation.
    pub at: Ts,
    /// Slices after this entry go on from here.
    pub replay_from: OpTime,
    /// Transactions decided by entries up to here are in it, whole (as [`SyncPlan::settled`]).
    ///
    /// [`SyncPlan::settled`]: bygone_oplog::uplink::SyncPlan::settled
    pub settled: Ts,
    /// Collections with their trees.
    pub catalogue: Catalogue,
    /// The catalogue's own tree, for sharing with the next.
    pub catalogue_root: Option<(BlockRef, u8)>,
    /// Runs above the trees.
    pub runs: Vec<RunRoot>,
    /// No state before this moment can be read: the end of the initial sync's window.
    pub readable_from: Ts,
}

impl Base {
    /// The state that a manifest names.
    pub async fn of_manifest(manifest: &Manifest, reader: &BlockReader) -> Result<Base> {
        let catalogue = catalogue::load(reader, manifest.catalogue)
            .await
            .map_err(|e| e.within(format!("snapshot {}", manifest.id)))?;
        let runs = manifest
            .runs
            .iter()
            .map(|run| RunRoot {
                block: run.root,
                level: run.level,
                min: run.min,
                max: run.max,
                ops: run.ops,
                bytes: run.bytes,
            })
            .collect();
        Ok(Base {
            at: manifest.at.ts,
            settled: manifest.at.ts,
            replay_from: manifest.replay_from,
            readable_from: catalogue.readable_from(),
            catalogue,
            catalogue_root: manifest.catalogue,
            runs,
        })
    }
}
