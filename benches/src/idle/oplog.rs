//! The oplog of a set that nobody writes to.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bson::{DateTime, RawDocumentBuf, Timestamp, rawdoc};
use bygone_base::{Clock as _, SystemClock, Ts};
use tokio::sync::watch;

use super::locked;

/// The term of every entry.
pub(super) const TERM: i64 = 1;

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) ts: Ts,
    pub(super) doc: RawDocumentBuf,
    /// When it was written, by the clock's own time.
    written: Duration,
}

/// Entries in order; what is written is committed.
#[derive(Debug)]
pub struct Oplog {
    clock: Arc<SystemClock>,
    entries: Mutex<Vec<Entry>>,
    written: watch::Sender<usize>,
}

impl Oplog {
    pub(super) fn new(clock: Arc<SystemClock>) -> Oplog {
        let (written, _) = watch::channel(0);
        let oplog = Oplog { clock, entries: Mutex::default(), written };
        oplog.append("initiating set");
        oplog.append("new primary");
        oplog
    }

    /// Writes a no-op.
    pub(super) fn append(&self, message: &str) -> Ts {
        let mut entries = locked(&self.entries);
        let now = self.clock.now();
        let secs = u32::try_from(now.0 / 1000).expect("seconds");
        let ts = match entries.last() {
            Some(last) if last.ts.secs() >= secs => Ts::new(last.ts.secs(), last.ts.inc() + 1),
            _ => Ts::new(secs, 1),
        };
        let doc = rawdoc! {
            "op": "n", "ns": "", "o": { "msg": message },
            "ts": Timestamp { time: ts.secs(), increment: ts.inc() },
            "t": TERM, "v": 2_i64, "wall": DateTime::from_millis(now.0),
        };
        entries.push(Entry { ts, doc, written: self.clock.monotonic() });
        self.written.send_replace(entries.len());
        ts
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        locked(&self.entries).len()
    }

    /// The newest one.
    pub fn newest(&self) -> Ts {
        locked(&self.entries).last().map_or(Ts::MIN, |entry| entry.ts)
    }

    /// The first one after `ts`: when it was written.
    pub fn written_after(&self, ts: Ts) -> Option<Duration> {
        let entries = locked(&self.entries);
        entries.iter().find(|entry| entry.ts > ts).map(|entry| entry.written)
    }

    /// Those from the `from`th on.
    pub(super) fn from(&self, from: usize) -> Vec<Entry> {
        locked(&self.entries).get(from..).unwrap_or_default().to_vec()
    }

    /// Waits until there are more than `n`, but not longer than `limit`.
    pub(super) async fn more_than(&self, n: usize, limit: Duration) {
        let mut written = self.written.subscribe();
        tokio::select! {
            _ = written.wait_for(|len| *len > n) => {}
            () = self.clock.sleep(limit) => {}
        }
    }
}
