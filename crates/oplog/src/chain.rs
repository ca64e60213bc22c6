//! Continuity: a chain of slices has no gap, no fork and no doubt.

use bygone_base::{Error, ErrorKind, OpTime, Result};

use crate::{names::SliceName, slice::SliceHeader};

/// The end of a chain of slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// The last entry of the chain.
    pub at: OpTime,
}

/// How a slice fits a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// It continues from the end exactly.
    Append,
    /// It lies wholly in what the chain claims to hold: compare the content before saying so.
    Duplicate,
    /// It begins before the end and goes beyond it: another cut of the same
    /// history, or a fork. The sender must continue at the end.
    Overlap {
        /// The chain's end.
        end: OpTime,
    },
    /// Entries between the end and the slice are missing.
    Gap {
        /// The chain's end.
        end: OpTime,
        /// What the slice continues from.
        prev: OpTime,
    },
    /// It continues from another entry with the same timestamp: another history.
    Fork {
        /// The chain's end.
        end: OpTime,
        /// What the slice says stands there.
        other: OpTime,
    },
}

impl Chain {
    /// How a slice fits.
    pub fn accept(&self, slice: &SliceHeader) -> Accept {
        let end = self.at;
        if slice.prev == end {
            return Accept::Append;
        }
        for other in [slice.prev, slice.last] {
            if other.ts == end.ts && other.term != end.term {
                return Accept::Fork { end, other };
            }
        }
        if slice.prev.ts > end.ts {
            Accept::Gap { end, prev: slice.prev }
        } else if slice.last.ts <= end.ts {
            Accept::Duplicate
        } else {
            Accept::Overlap { end }
        }
    }

    /// The chain with the slice at its end.
    #[must_use]
    pub fn append(self, slice: &SliceHeader) -> Self {
        Chain { at: slice.last }
    }
}

/// Which slices to read, in order, to get from `from` to the end of a timeline.
///
/// `names` are the timeline's slices in ascending order; compacted ones and
/// those that they were made of may stand side by side. Read each with
/// [`DecodedSlice::entries_after`](crate::slice::DecodedSlice::entries_after) from the position reached so far. The first one may turn out
/// to end at or before `from` (its name does not say); pass it over then. NotCovered when the slices after `from` do not reach back to it.
pub fn plan_read(names: &[SliceName], from: OpTime) -> Result<Vec<SliceName>> {
    let mut plan = Vec::new();
    let mut at = from.ts;
    loop {
        let begun = names.partition_point(|name| name.prev.ts <= at);
        let (before, after) = names.split_at(begun);
        let compacted = before.iter().filter(|name| name.last.is_some_and(|last| last > at));
        if let Some(best) = compacted.max_by_key(|name| name.last) {
            plan.push(*best);
            at = best.last.unwrap_or(at);
            continue;
        }
        // A slice that does not tell its end ends where the next one begins: ends of
        // slices that were removed lie within a compacted one, which came first above.
        let plain = before.iter().rev().find(|name| name.last.is_none());
        match (plain, after.first()) {
            (Some(slice), next) if covers(slice, plan.last(), at) => {
                plan.push(*slice);
                match next {
                    Some(next) => at = next.prev.ts,
                    None => return Ok(plan),
                }
            }
            (_, None) => return Ok(plan),
            (_, Some(next)) => {
                return Err(Error::new(
                    ErrorKind::NotCovered,
                    format!("no oplog slice leads from {at} to {}", next.prev),
                ));
            }
        }
    }
}

/// Whether a plain slice may go on at `at`: it is not the one just read, and
/// it is not older than what was just read.
fn covers(slice: &SliceName, last: Option<&SliceName>, at: bygone_base::Ts) -> bool {
    match last {
        None => slice.prev.ts <= at,
        Some(_) => slice.prev.ts == at,
    }
}

#[cfg(test)]
mod tests;
