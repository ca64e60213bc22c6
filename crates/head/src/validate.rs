//! Looking early for operations that do not fit: an update without its document is damage, and should be
//! found within minutes, not at a restore.

use std::sync::Arc;

use bygone_base::{Error, Result};
use bygone_blockstore::BlockReader;
use bygone_tree::{KeyRange, Merge, MergeOptions, RunRoot, TreeInfo, density::density};
use tokio::task::JoinSet;

use crate::{compact::merge_options, head::Head};

/// Merges at once. They mostly decompress, so that more would only hold more memory.
const TASKS: usize = 2;

impl Head {
    /// Applies the operations that came since the last call to the documents they touch, reading at
    /// most about `leaves` leaves of the base; what is beyond is left to the next fold or restore.
    /// Returns how many leaves were read. Does nothing while the initial sync's window is open.
    ///
    /// # Errors
    /// Damaged naming collection, `_id` and moment.
    pub async fn validate(&mut self, leaves: u64) -> Result<u64> {
        let Some(at) = self.safe_point() else { return Ok(0) };
        self.spill_to_read().await?;
        let fresh = &self.spilled[self.validated.min(self.spilled.len())..];
        let all: Arc<[RunRoot]> = self.base.runs.iter().chain(&self.spilled).cloned().collect();
        let catalogue = self.catalogue_at(at.ts)?;
        let mut read = 0;
        for collection in catalogue.collections.values() {
            let mut ranges: Vec<KeyRange> = Vec::new();
            let mut touched = 0;
            density(self.reader(), &collection.tree, fresh, collection.id, at.ts, |leaf| {
                if read + touched < leaves {
                    touched += 1;
                    join(&mut ranges, leaf.range);
                }
            })
            .await?;
            let check = Arc::new(Check {
                reader: self.reader().clone(),
                base: collection.tree.clone(),
                runs: Arc::clone(&all),
                options: merge_options(collection, at.ts),
            });
            check.all(&ranges).await.map_err(|e| e.within(collection.namespace()))?;
            read += touched;
        }
        self.validated = self.spilled.len();
        Ok(read)
    }
}

/// What the merges of one collection have in common.
struct Check {
    reader: BlockReader,
    base: TreeInfo,
    runs: Arc<[RunRoot]>,
    options: MergeOptions,
}

impl Check {
    /// Merges the ranges, a part of them in each of a few tasks.
    async fn all(self: Arc<Self>, ranges: &[KeyRange]) -> Result<()> {
        let mut tasks = JoinSet::new();
        for part in ranges.chunks(ranges.len().div_ceil(TASKS).max(1)) {
            let (check, part) = (Arc::clone(&self), part.to_vec());
            tasks.spawn(async move { check.merge(part).await });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|e| Error::internal("a check was cut off").source(e))??;
        }
        Ok(())
    }

    async fn merge(&self, ranges: Vec<KeyRange>) -> Result<()> {
        for range in ranges {
            let options = MergeOptions { range, ..self.options.clone() };
            let mut merge = Merge::open(&self.reader, &self.base, &self.runs, options).await?;
            while merge.next().await?.is_some() {}
        }
        Ok(())
    }
}

/// Neighbours are read as one range.
fn join(ranges: &mut Vec<KeyRange>, next: KeyRange) {
    match ranges.last_mut() {
        Some(last) if last.to.as_ref() == Some(&next.from) => last.to = next.to,
        _ => ranges.push(next),
    }
}
