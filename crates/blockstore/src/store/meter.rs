//! Counts what is asked of a store.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use bygone_base::Result;
use bytes::Bytes;

use super::{ObjectStat, Put, Store};

/// Calls and bytes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Puts that created an object.
    pub created: u64,
    /// Puts that found the object there.
    pub existed: u64,
    /// Bytes of the objects created.
    pub bytes_put: u64,
    /// Reads of whole objects, ranges and tails.
    pub gets: u64,
    /// Bytes read.
    pub bytes_got: u64,
    /// Stats.
    pub stats: u64,
    /// Listings.
    pub lists: u64,
    /// Objects listed.
    pub listed: u64,
    /// Deletions.
    pub deletes: u64,
    /// Calls that failed.
    pub errors: u64,
}

#[derive(Debug, Default)]
struct Counters {
    created: AtomicU64,
    existed: AtomicU64,
    bytes_put: AtomicU64,
    gets: AtomicU64,
    bytes_got: AtomicU64,
    stats: AtomicU64,
    lists: AtomicU64,
    listed: AtomicU64,
    deletes: AtomicU64,
    errors: AtomicU64,
}

/// A store that counts.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Store>,
    counters: Counters,
}

impl Metered {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Metered { inner, counters: Counters::default() }
    }

    /// What was counted so far.
    pub fn usage(&self) -> Usage {
        let c = &self.counters;
        Usage {
            created: c.created.load(Relaxed),
            existed: c.existed.load(Relaxed),
            bytes_put: c.bytes_put.load(Relaxed),
            gets: c.gets.load(Relaxed),
            bytes_got: c.bytes_got.load(Relaxed),
            stats: c.stats.load(Relaxed),
            lists: c.lists.load(Relaxed),
            listed: c.listed.load(Relaxed),
            deletes: c.deletes.load(Relaxed),
            errors: c.errors.load(Relaxed),
        }
    }

    fn count<T>(&self, calls: &AtomicU64, result: Result<T>) -> Result<T> {
        calls.fetch_add(1, Relaxed);
        if result.is_err() {
            self.counters.errors.fetch_add(1, Relaxed);
        }
        result
    }
}

#[async_trait]
impl Store for Metered {
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put> {
        let bytes = body.len() as u64;
        let result = self.inner.put_new(name, body).await;
        match &result {
            Ok(Put::Created) => {
                self.counters.created.fetch_add(1, Relaxed);
                self.counters.bytes_put.fetch_add(bytes, Relaxed);
            }
            Ok(Put::Exists) => {
                self.counters.existed.fetch_add(1, Relaxed);
            }
            Err(_) => {
                self.counters.errors.fetch_add(1, Relaxed);
            }
        }
        result
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        let body = self.count(&self.counters.gets, self.inner.get(name).await)?;
        self.counters.bytes_got.fetch_add(body.len() as u64, Relaxed);
        Ok(body)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let body = self.count(&self.counters.gets, self.inner.get_range(name, range).await)?;
        self.counters.bytes_got.fetch_add(body.len() as u64, Relaxed);
        Ok(body)
    }

    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        let (tail, size) = self.count(&self.counters.gets, self.inner.get_tail(name, max).await)?;
        self.counters.bytes_got.fetch_add(tail.len() as u64, Relaxed);
        Ok((tail, size))
    }

    async fn stat(&self, name: &str) -> Result<ObjectStat> {
        self.count(&self.counters.stats, self.inner.stat(name).await)
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        let found = self.count(&self.counters.lists, self.inner.list(prefix, after).await)?;
        self.counters.listed.fetch_add(found.len() as u64, Relaxed);
        Ok(found)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        let found = self.count(&self.counters.lists, self.inner.list_folders(prefix).await)?;
        self.counters.listed.fetch_add(found.len() as u64, Relaxed);
        Ok(found)
    }

    async fn sweep_leftovers(&self) -> Result<()> {
        self.inner.sweep_leftovers().await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.count(&self.counters.deletes, self.inner.delete(name).await)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
