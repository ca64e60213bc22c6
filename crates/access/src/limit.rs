//! How often somebody may fail.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bygone_base::{Clock, Error, ErrorKind, Result};

/// So many are remembered; beyond that the oldest is forgotten.
const MOST: usize = 10_000;

/// Counts failures by a word, in memory, over a window that begins with the first.
#[derive(Debug)]
pub(crate) struct Limit {
    clock: Arc<dyn Clock>,
    most: u32,
    window: Duration,
    failures: Mutex<HashMap<String, (u32, Duration)>>,
}

impl Limit {
    /// At most so many failures within the window.
    pub(crate) fn new(clock: Arc<dyn Clock>, most: u32, window: Duration) -> Limit {
        Limit { clock, most, window, failures: Mutex::default() }
    }

    /// Counts an attempt before it is made.
    ///
    /// # Errors
    /// Unavailable: too many were counted; says when to come again. It is not counted then.
    pub(crate) fn begin(&self, word: &str) -> Result<()> {
        let now = self.clock.monotonic();
        let mut failures = self.failures();
        if failures.len() >= MOST && !failures.contains_key(word) {
            failures.retain(|_, (_, since)| now < *since + self.window);
            let oldest = failures.iter().min_by_key(|(_, (_, since))| *since);
            if let Some(oldest) = oldest.map(|(word, _)| word.clone())
                && failures.len() >= MOST
            {
                failures.remove(&oldest);
            }
        }
        let entry = failures.entry(word.to_owned()).or_insert((0, now));
        if now >= entry.1 + self.window {
            *entry = (0, now);
        }
        if entry.0 >= self.most {
            let minutes = (entry.1 + self.window - now).as_secs().div_ceil(60);
            return Err(Error::new(ErrorKind::Unavailable, "too many attempts have failed")
                .hint(format!("try again in {minutes} minutes")));
        }
        entry.0 += 1;
        Ok(())
    }

    /// Takes one back: it was right, or was not made.
    pub(crate) fn give_back(&self, word: &str) {
        let mut failures = self.failures();
        if let Some(entry) = failures.get_mut(word) {
            entry.0 = entry.0.saturating_sub(1);
            if entry.0 == 0 {
                failures.remove(word);
            }
        }
    }

    /// Forgets the failures of somebody who has proved himself.
    pub(crate) fn forget(&self, word: &str) {
        self.failures().remove(word);
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<String, (u32, Duration)>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
