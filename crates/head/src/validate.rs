//! Looking early for operations that do not fit: an update without its document is damage, and should be
//! found within minutes, not at a restore.

use bygone_base::Result;
use bygone_tree::{KeyRange, Merge, density::density};

use crate::{compact::merge_options, head::Head};

impl Head {
    /// Applies the operations that came since the last call to the documents they touch, reading at
    /// most about `leaves` leaves of the base; what is beyond is left to the next fold or restore.
    /// Returns how many leaves were read. Does nothing while the initial sync's window is open.
    ///
    /// # Errors
    /// Damaged naming collection, `_id` and moment.
    pub async fn validate(&mut self, leaves: u64) -> Result<u64> {
        let Some(at) = self.safe_point() else { return Ok(0) };
        let writer = self.new_writer();
        self.spill(&writer).await?;
        let fresh = &self.spilled[self.validated.min(self.spilled.len())..];
        let all: Vec<_> = self.base.runs.iter().chain(&self.spilled).cloned().collect();
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
            for range in ranges {
                let mut options = merge_options(collection, at.ts);
                options.range = range;
                let mut merge = Merge::open(self.reader(), &collection.tree, &all, options).await?;
                while let Some(_piece) =
                    merge.next().await.map_err(|e| e.within(collection.namespace()))?
                {
                }
            }
            read += touched;
        }
        self.validated = self.spilled.len();
        Ok(read)
    }
}

/// Neighbours are read as one range.
fn join(ranges: &mut Vec<KeyRange>, next: KeyRange) {
    match ranges.last_mut() {
        Some(last) if last.to.as_ref() == Some(&next.from) => last.to = next.to,
        _ => ranges.push(next),
    }
}
