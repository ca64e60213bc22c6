//! What was promised: kept beside the system, compared with what it stores.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bygone_base::{OpTime, TimelineId, Ts};
use bygone_oplog::slice::Slice;
use bytes::Bytes;

/// Acknowledged entries.
#[derive(Debug, Default)]
pub struct Promises {
    /// By timeline and timestamp: entry, its bytes' hash.
    pub entries: BTreeMap<TimelineId, BTreeMap<Ts, (OpTime, blake3::Hash)>>,
    /// Slices acknowledged.
    pub slices: u64,
    /// What was done that must not be.
    pub broken: Vec<String>,
    /// For every epoch that was given: when, and whether a higher one was given since.
    pub epochs: BTreeMap<u64, std::time::Duration>,
    /// Moments that were once inside a reported range end here at the latest.
    pub reported: Option<Ts>,
}

/// Shared by all connections.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Promises>);

impl Ledger {
    /// Everything promised so far.
    pub fn lock(&self) -> MutexGuard<'_, Promises> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slice of `timeline` was acknowledged.
    pub fn acknowledged(&self, timeline: TimelineId, slice: Bytes) {
        let decoded = Slice::parse(slice).and_then(|slice| slice.decode());
        let mut promises = self.lock();
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(e) => return promises.broken.push(format!("a bad slice was acknowledged: {e}")),
        };
        promises.slices += 1;
        let mut forks = Vec::new();
        let entries = promises.entries.entry(timeline).or_default();
        for (at, raw) in decoded.entries() {
            let hash = blake3::hash(raw);
            if let Some(old) = entries.insert(at.ts, (at, hash))
                && old != (at, hash)
            {
                forks.push(format!("timeline {timeline}: {} and {at} both acknowledged", old.0));
            }
        }
        promises.broken.extend(forks);
    }
}
