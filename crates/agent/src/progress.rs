//! What the agent is doing, for people and for ingest.

use std::{collections::VecDeque, time::Duration};

use bygone_base::{Clock, OpTime, Ts};
use tokio::sync::watch;

/// Where a part stands, in Ops Manager's words; the later phases of an initial
/// sync are the daemon's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Choosing a member, pinning the start, listing collections.
    #[default]
    Starting,
    /// Scanning collections while the oplog is tailed.
    Transferring,
    /// The scan is complete; tailing until the end of the sync is stored.
    Finishing,
    /// Following the oplog.
    Tailing,
    /// Something failed; waiting before the next attempt.
    Waiting,
    /// Stopped.
    Stopped,
}

impl Phase {
    /// The word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Transferring => "transferring",
            Phase::Finishing => "finishing",
            Phase::Tailing => "tailing",
            Phase::Waiting => "waiting",
            Phase::Stopped => "stopped",
        }
    }
}

/// A moment's view of the agent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Phase.
    pub phase: Phase,
    /// The member that is read.
    pub member: String,
    /// Collections of the initial sync whose ranges are all stored.
    pub collections_done: u64,
    /// Collections of the initial sync.
    pub collections: u64,
    /// Documents scanned in this run.
    pub documents: u64,
    /// Documents to scan, by the source's metadata.
    pub documents_total: u64,
    /// Raw bytes scanned in this run.
    pub bytes: u64,
    /// Raw bytes to scan, by the source's metadata.
    pub bytes_total: u64,
    /// Compressed bytes sent, of scan and oplog.
    pub sent: u64,
    /// Raw bytes per second of the scan so far.
    pub bytes_per_second: u64,
    /// Oplog entries stored in this run.
    pub entries: u64,
    /// The end of the stored chain.
    pub chain: OpTime,
    /// The newest majority point seen on any member.
    pub newest: Ts,
    /// Why the agent waits, or what it decided last.
    pub message: Option<String>,
    /// What people must learn of even when it is over by the time that they look: a resync, a history
    /// that went back. The newest ones, oldest first.
    pub notices: VecDeque<String>,
    /// How many there were altogether.
    pub noticed: u64,
}

/// Notices that are kept for who looks late.
const NOTICES: usize = 16;

impl Progress {
    /// How far the stored chain is behind the source, in seconds of cluster time.
    pub fn lag_secs(&self) -> u32 {
        self.newest.secs().saturating_sub(self.chain.ts.secs())
    }

    /// The notices after the first `seen` ones.
    pub fn notices_after(&self, seen: u64) -> impl Iterator<Item = &str> {
        let new = usize::try_from(self.noticed.saturating_sub(seen)).unwrap_or(usize::MAX);
        let skip = self.notices.len().saturating_sub(new);
        self.notices.iter().skip(skip).map(String::as_str)
    }
}

/// Where progress is written.
#[derive(Debug)]
pub(crate) struct Tracker {
    sender: watch::Sender<Progress>,
}

impl Tracker {
    pub(crate) fn new() -> (Tracker, watch::Receiver<Progress>) {
        let (sender, receiver) = watch::channel(Progress::default());
        (Tracker { sender }, receiver)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Progress)) {
        self.sender.send_modify(change);
    }

    /// Says something that must not be missed.
    pub(crate) fn notice(&self, text: String) {
        self.change(|p| {
            if p.notices.len() >= NOTICES {
                p.notices.pop_front();
            }
            p.notices.push_back(text);
            p.noticed += 1;
        });
    }

    pub(crate) fn phase(&self, phase: Phase) {
        self.change(|p| p.phase = phase);
    }

    pub(crate) fn now(&self) -> Progress {
        self.sender.borrow().clone()
    }

    /// Counts a batch of the scan that began at `since`.
    pub(crate) fn scanned(&self, documents: u64, bytes: u64, since: Duration, clock: &dyn Clock) {
        let took = clock.monotonic().saturating_sub(since).as_secs_f64().max(0.001);
        self.change(|p| {
            p.documents += documents;
            p.bytes += bytes;
            p.bytes_per_second = (p.bytes as f64 / took) as u64;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_notice_is_lost_to_who_looks_late() {
        let (tracker, seen) = Tracker::new();
        for n in 1..=3 {
            tracker.notice(n.to_string());
        }
        let after = |n| seen.borrow().notices_after(n).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(after(0), ["1", "2", "3"]);
        assert_eq!(after(2), ["3"]);
        assert!(after(3).is_empty());
        for n in 4..=40 {
            tracker.notice(n.to_string());
        }
        assert_eq!(after(38), ["39", "40"]);
        assert_eq!(after(0).len(), NOTICES);
    }
}
