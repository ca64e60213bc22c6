//! What happened, in order: the same seed gives the same trace.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bygone_base::Clock;

use crate::clock::SimClock;

#[derive(Default)]
struct Inner {
    hasher: blake3::Hasher,
    lines: Vec<String>,
    seen: u64,
}

/// Lines that are kept for a person when not all are.
const LAST: usize = 400;

/// A shared list of events.
#[derive(Clone)]
pub struct Trace {
    clock: Arc<SimClock>,
    inner: Arc<Mutex<Inner>>,
    all: bool,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trace")
    }
}

impl Trace {
    /// An empty trace; keeps `all` lines or only the last ones.
    pub fn new(clock: Arc<SimClock>, all: bool) -> Trace {
        Trace { clock, inner: Arc::default(), all }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event.
    pub fn say(&self, who: &str, what: impl Display) {
        let line = format!("{:12.6} {who:8} {what}", self.clock.monotonic().as_secs_f64());
        let mut inner = self.lock();
        inner.hasher.update(line.as_bytes());
        inner.seen += 1;
        inner.lines.push(line);
        if !self.all && inner.lines.len() > 2 * LAST {
            inner.lines.drain(..LAST);
        }
    }

    /// Hash of every event so far.
    pub fn hash(&self) -> blake3::Hash {
        self.lock().hasher.finalize()
    }

    /// The lines kept.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// Events so far.
    pub fn len(&self) -> u64 {
        self.lock().seen
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
