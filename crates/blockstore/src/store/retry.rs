//! Repeats calls that failed for a passing reason, with a time limit for each
//! attempt. Everything else passes through at once.

use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bygone_base::{Clock, Error, ErrorKind, Result, Rng};
use bytes::Bytes;
use futures::future::{Either, select};

use super::{ObjectStat, Put, Store};

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct RetryOptions {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Longest wait before the second attempt; doubles with each.
    pub first_wait: Duration,
    /// Longest wait before any attempt.
    pub longest_wait: Duration,
    /// Time limit of an attempt, not counting its bytes.
    pub time_limit: Duration,
    /// The slowest transfer that is still believed to move, bytes per second.
    pub slowest: u64,
}

impl Default for RetryOptions {
    /// Eight attempts within about half a minute of waiting.
    fn default() -> Self {
        RetryOptions {
            attempts: 8,
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(10),
            time_limit: Duration::from_secs(60),
            slowest: 128 << 10,
        }
    }
}

/// Bytes assumed for calls that do not say how many they move.
const UNKNOWN_BYTES: u64 = 64 << 20;

/// A store whose calls are repeated while they are [`ErrorKind::Unavailable`].
#[derive(Debug)]
pub struct Retrying {
    inner: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    options: RetryOptions,
}

impl Retrying {
    /// Wraps `inner`.
    pub fn new(
        inner: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: RetryOptions,
    ) -> Self {
        Retrying { inner, clock, rng, options }
    }

    async fn retry<T, F>(&self, what: &str, bytes: u64, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut wait = self.options.first_wait;
        let mut attempt = 1;
        loop {
            let error = match self.limit(what, bytes, call()).await {
                Err(error) if error.kind().is_transient() => error,
                done => return done,
            };
            if attempt >= self.options.attempts {
                return Err(error.within(format!("gave up after {attempt} attempts")));
            }
            tracing::debug!(attempt, %error, "store call failed, trying again");
            self.clock.sleep(self.jitter(wait)).await;
            wait = (wait * 2).min(self.options.longest_wait);
            attempt += 1;
        }
    }

    async fn limit<T>(
        &self,
        what: &str,
        bytes: u64,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let transfer = Duration::from_secs(bytes / self.options.slowest.max(1));
        let limit = self.options.time_limit + transfer;
        let call = std::pin::pin!(call);
        match select(call, self.clock.sleep(limit)).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{what}: no answer from {} in {} s", self.location(), limit.as_secs()),
            )),
        }
    }

    /// Half of `wait` and a random part of the other half, so that many
    /// clients do not come back in step.
    fn jitter(&self, wait: Duration) -> Duration {
        let half = u64::try_from(wait.as_micros() / 2).unwrap_or(u64::MAX);
        Duration::from_micros(half.saturating_add(self.rng.next_u64() % (half + 1)))
    }
}

#[async_trait]
impl Store for Retrying {
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put> {
        let bytes = body.len() as u64;
        self.retry(name, bytes, || self.inner.put_new(name, body.clone())).await
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        self.retry(name, UNKNOWN_BYTES, || self.inner.get(name)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let bytes = range.end.saturating_sub(range.start);
        self.retry(name, bytes, || self.inner.get_range(name, range.clone())).await
    }

    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        self.retry(name, max, || self.inner.get_tail(name, max)).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectStat> {
        self.retry(name, 0, || self.inner.stat(name)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        self.retry(prefix, UNKNOWN_BYTES, || self.inner.list(prefix, after)).await
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.retry(prefix, UNKNOWN_BYTES, || self.inner.list_folders(prefix)).await
    }

    async fn sweep_leftovers(&self) -> Result<()> {
        self.inner.sweep_leftovers().await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.retry(name, 0, || self.inner.delete(name)).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
