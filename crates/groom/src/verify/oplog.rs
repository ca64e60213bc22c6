//! Reading every slice of a history and proving that each continues from the one before.

use std::collections::VecDeque;

use bygone_base::{ErrorKind, OpTime, Result, work};
use bygone_oplog::{names::SliceName, slice::DecodedSlice};
use bygone_snapshot::{
    Manifest,
    oplog::{covered, hole, names, read},
    ranges,
    timeline::Stretch,
};

use super::{Depth, Run, finding};

/// Whether what is missing before `first` lies before a fork: it may have expired with a newer snapshot of its time, which
/// the fork has voided since. The history cannot be gone on with (a resync follows), and its ranges show the gap.
fn expired_before_a_fork(history: &[Stretch], first: OpTime) -> bool {
    history.iter().skip(1).any(|stretch| first.ts <= stretch.after.ts)
}

/// A listing is repeated so often when slices vanish under the reader.
const RELISTS: u32 = 8;

/// Stretches of the oplog that are whole: from after the first entry up to the last one.
type Segments = Vec<(OpTime, OpTime)>;

impl Run {
    /// Reads the slices of a history in order and reports holes and damage. `own` are the snapshots of the
    /// history, ascending; `over`: it has left the window, so that its slices go while its snapshots may stay.
    pub(super) async fn chain(
        &mut self,
        history: &[Stretch],
        own: &[&Manifest],
        over: bool,
        on: &mut (impl FnMut(&str, u64, u64) + Send),
    ) -> Result<Segments> {
        let segments = match self.depth {
            Depth::Full => self.read_chain(history, on).await?,
            Depth::Quick => match finding(covered(&self.oplog_part, history).await)? {
                Ok(covered) => ranges::segments(history, &covered),
                Err(what) => {
                    self.damage(what);
                    Vec::new()
                }
            },
        };
        if over {
            return Ok(segments);
        }
        for pair in segments.windows(2) {
            self.damage(hole(pair[0].1, pair[1].0).to_string());
        }
        // Slices before the newest snapshot may have expired, those after it never have.
        if let (Some(newest), Some((first, _))) = (own.last(), segments.first())
            && newest.replay_from.ts < first.ts
            && !expired_before_a_fork(history, *first)
        {
            self.damage(hole(newest.replay_from, *first).to_string());
        }
        Ok(segments)
    }

    async fn read_chain(
        &mut self,
        history: &[Stretch],
        on: &mut (impl FnMut(&str, u64, u64) + Send),
    ) -> Result<Segments> {
        let mut segments = Segments::new();
        for stretch in history {
            let names = match finding(names(&self.oplog_part, stretch.timeline).await)? {
                Ok(names) => names,
                Err(what) => {
                    self.damage(what);
                    continue;
                }
            };
            let mut ahead = VecDeque::from(names);
            let mut relists = 0;
            let total = ahead.len() as u64;
            while let Some(name) = ahead.pop_front() {
                // What a fork voided is not needed.
                if stretch.until.is_some_and(|until| name.prev.ts >= until.ts) {
                    continue;
                }
                on("slices", total.saturating_sub(ahead.len() as u64), total);
                match finding(self.slice(&name).await)? {
                    Ok(Some(slice)) => self.join(&mut segments, &name, &slice, stretch),
                    // Compacted or expired since it was listed.
                    Ok(None) if relists < RELISTS => {
                        relists += 1;
                        ahead = self.relist(stretch, segments.last().map(|(_, end)| *end)).await?;
                    }
                    Ok(None) => {}
                    Err(what) => self.damage(what),
                }
            }
        }
        Ok(segments)
    }

    /// The slices as they are named now that may lead on from `end`.
    async fn relist(&self, stretch: &Stretch, end: Option<OpTime>) -> Result<VecDeque<SliceName>> {
        let end = end.unwrap_or_default();
        let mut names = VecDeque::from(names(&self.oplog_part, stretch.timeline).await?);
        names.retain(|name| name.prev.ts >= end.ts || name.last.is_some_and(|last| last > end.ts));
        Ok(names)
    }

    async fn slice(&mut self, name: &SliceName) -> Result<Option<DecodedSlice>> {
        let Some(slice) = read(&self.oplog_part, name).await? else { return Ok(None) };
        self.report.objects += 1;
        let object = name.object(self.oplog_part.job(), self.oplog_part.part());
        let decoded = work::run("a slice decoder", move || slice.decode()).await?;
        decoded.map(Some).map_err(|e| e.within(object))
    }

    /// Adds a slice to the segment that it continues, or begins another one.
    fn join(
        &mut self,
        segments: &mut Segments,
        name: &SliceName,
        slice: &DecodedSlice,
        stretch: &Stretch,
    ) {
        let header = slice.header();
        let last = match stretch.until {
            Some(until) if header.last.ts > until.ts => until,
            _ => header.last,
        };
        if let Some((_, end)) = segments.last_mut() {
            // A compacted slice and the small ones that it was made of overlap.
            if header.last.ts <= end.ts {
                return;
            }
            match slice.entries_after(*end) {
                Ok(_) => {
                    *end = (*end).max(last);
                    return;
                }
                Err(e) if header.prev.ts <= end.ts && e.kind() == ErrorKind::Damaged => {
                    let object = name.object(self.oplog_part.job(), self.oplog_part.part());
                    self.damage(e.within(object).to_string());
                }
                Err(_) => {}
            }
        }
        if header.prev.ts < last.ts {
            segments.push((header.prev, last));
        }
    }
}
