//! How far a restore is; watched through a channel.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::watch;

/// What a restore does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Dropping what is in the way, creating collections.
    #[default]
    Preparing,
    /// Documents go in; indexes are built behind them.
    Loading,
    /// The last indexes, views, users and roles.
    Completing,
    /// The target is asked for its hashes.
    Proving,
    /// All is done.
    Done,
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// What it does.
    pub phase: Phase,
    /// Collections with all documents.
    pub collections: u64,
    /// Collections in all.
    pub collections_total: u64,
    /// Documents inserted.
    pub documents: u64,
    /// Documents in all, about.
    pub documents_total: u64,
    /// Bytes inserted.
    pub bytes: u64,
    /// Bytes in all, about.
    pub bytes_total: u64,
    /// Indexes built.
    pub indexes: u64,
    /// Indexes in all.
    pub indexes_total: u64,
    /// Since the beginning.
    pub elapsed: Duration,
}

impl Progress {
    /// Bytes per second so far.
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.bytes as f64 / seconds } else { 0.0 }
    }

    /// How long the documents will still take, once that can be told.
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.bytes_total.saturating_sub(self.bytes) as f64;
        let seconds = left / self.rate();
        (self.bytes > 0 && seconds.is_finite()).then(|| Duration::from_secs_f64(seconds))
    }
}

/// Counts, and tells those who watch.
#[derive(Debug)]
pub(crate) struct Meter {
    sender: watch::Sender<Progress>,
    documents: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    pub(crate) fn new(sender: watch::Sender<Progress>) -> Meter {
        Meter { sender, documents: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    pub(crate) fn inserted(&self, documents: u64, bytes: u64, elapsed: Duration) {
        let documents = self.documents.fetch_add(documents, Ordering::Relaxed) + documents;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.change(|p| {
            p.documents = p.documents.max(documents);
            p.bytes = p.bytes.max(bytes);
            p.elapsed = elapsed;
        });
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Progress)) {
        self.sender.send_modify(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_told_from_the_rate() {
        let progress = Progress {
            bytes: 100,
            bytes_total: 300,
            elapsed: Duration::from_secs(2),
            ..Progress::default()
        };
        assert_eq!(progress.remaining(), Some(Duration::from_secs(4)));
        assert_eq!(Progress::default().remaining(), None);
    }
}
