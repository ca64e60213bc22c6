//! Limits the bytes per second that a store moves, both ways together.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bygone_base::{Clock, Result};
use bytes::Bytes;

use super::{ObjectStat, Put, Store};

/// A store that moves at most so many bytes per second on average.
#[derive(Debug)]
pub struct Throttled {
    inner: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    bytes_per_second: u64,
    /// When (on the clock's monotonic scale) the line is free again.
    free_at: Mutex<Duration>,
}

impl Throttled {
    /// Wraps `inner`; `bytes_per_second` at least 1.
    pub fn new(inner: Arc<dyn Store>, clock: Arc<dyn Clock>, bytes_per_second: u64) -> Self {
        let bytes_per_second = bytes_per_second.max(1);
        Throttled { inner, clock, bytes_per_second, free_at: Mutex::new(Duration::ZERO) }
    }

    /// Waits until the line is free and takes it for `bytes`.
    async fn take(&self, bytes: u64) {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = self.clock.monotonic();
        let wait = {
            let mut free_at = self.free_at.lock().unwrap_or_else(|p| p.into_inner());
            let start = now.max(*free_at);
            *free_at = start.saturating_add(time);
            start.saturating_sub(now)
        };
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
        }
    }
}

#[async_trait]
impl Store for Throttled {
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put> {
        self.take(body.len() as u64).await;
        self.inner.put_new(name, body).await
    }

    /// The size is known only afterwards: what comes next waits for it.
    async fn get(&self, name: &str) -> Result<Bytes> {
        let body = self.inner.get(name).await?;
        self.take(body.len() as u64).await;
        Ok(body)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.take(range.end.saturating_sub(range.start)).await;
        self.inner.get_range(name, range).await
    }

    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        let (tail, size) = self.inner.get_tail(name, max).await?;
        self.take(tail.len() as u64).await;
        Ok((tail, size))
    }

    async fn stat(&self, name: &str) -> Result<ObjectStat> {
        self.inner.stat(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        self.inner.list(prefix, after).await
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.list_folders(prefix).await
    }

    async fn sweep_leftovers(&self) -> Result<()> {
        self.inner.sweep_leftovers().await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
