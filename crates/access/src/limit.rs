//! How often somebody may fail.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bygone_base::{Clock, Error, ErrorKind, Result};

/// So many are remembered; beyond that the oldest is forgotten.
const MOST: usize = 10_000;

/// Counts failures by a word, in memory, over a window that begins with the first.
#[derive(Debug)]
pub struct Limit {
    clock: Arc<dyn Clock>,
    most: u32,
    window: Duration,
    failures: Mutex<HashMap<String, (u32, Duration)>>,
}

impl Limit {
    /// At most so many failures within the window.
    pub fn new(clock: Arc<dyn Clock>, most: u32, window: Duration) -> Limit {
        Limit { clock, most, window, failures: Mutex::default() }
    }

    /// Whether another attempt may be made.
    ///
    /// # Errors
    /// Unavailable: too many have failed; says when to come again.
    pub fn check(&self, word: &str) -> Result<()> {
        let now = self.clock.monotonic();
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(word) {
            Some((n, since)) if *n >= self.most && now < *since + self.window => {
                let minutes = (*since + self.window - now).as_secs().div_ceil(60);
                Err(Error::new(ErrorKind::Unavailable, "too many attempts have failed")
                    .hint(format!("try again in {minutes} minutes")))
            }
            _ => Ok(()),
        }
    }

    /// Counts a failure.
    pub fn failed(&self, word: &str) {
        let now = self.clock.monotonic();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
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
        entry.0 += 1;
    }

    /// Forgets the failures of somebody who has proved himself.
    pub fn proved(&self, word: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(word);
    }
}
