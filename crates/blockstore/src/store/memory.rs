//! A store in memory, for tests and simulations.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use bygone_base::{Clock, Result, UnixMillis};
use bytes::Bytes;

use super::{ObjectStat, Put, Store, not_found, too_short};
use crate::names;

type Objects = BTreeMap<String, (Bytes, UnixMillis)>;

/// A store in memory. Clones share their objects.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    objects: Arc<Mutex<Objects>>,
}

impl MemoryStore {
    /// An empty store; `clock` gives the objects' times.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryStore { clock, objects: Arc::default() }
    }

    /// Replaces or adds an object whatever was there: damage for tests.
    pub fn overwrite(&self, name: &str, body: Bytes) {
        self.lock().insert(name.to_owned(), (body, self.clock.now()));
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn find(&self, name: &str) -> Result<(Bytes, UnixMillis)> {
        names::check(name)?;
        self.lock().get(name).cloned().ok_or_else(|| not_found(name, &self.location()))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put> {
        names::check(name)?;
        let now = self.clock.now();
        let mut objects = self.lock();
        if objects.contains_key(name) {
            return Ok(Put::Exists);
        }
        objects.insert(name.to_owned(), (body, now));
        Ok(Put::Created)
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        Ok(self.find(name)?.0)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let body = self.find(name)?.0;
        let size = body.len() as u64;
        if range.start > range.end || range.end > size {
            return Err(too_short(name, size, range.end));
        }
        Ok(body.slice(range.start as usize..range.end as usize))
    }

    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        let body = self.find(name)?.0;
        let size = body.len() as u64;
        Ok((body.slice(size.saturating_sub(max) as usize..), size))
    }

    async fn stat(&self, name: &str) -> Result<ObjectStat> {
        let (body, modified) = self.find(name)?;
        Ok(ObjectStat { name: name.to_owned(), size: body.len() as u64, modified })
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        names::check_prefix(prefix)?;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let objects = self.lock();
        Ok(objects
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, (body, modified))| ObjectStat {
                name: name.clone(),
                size: body.len() as u64,
                modified: *modified,
            })
            .collect())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        names::check(name)?;
        self.lock().remove(name);
        Ok(())
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}
