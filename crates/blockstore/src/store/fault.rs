//! A store that fails on purpose, by a seed: for simulations and tests.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bygone_base::{Clock, Error, ErrorKind, Result, Rng};
use bytes::{Bytes, BytesMut};

use super::{ObjectStat, Put, Store};

/// Which faults, each in so many of 1,000 calls; all zero by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultPlan {
    /// The call fails and did nothing.
    pub before: u16,
    /// The call did its work, but its reply is lost.
    pub lost_reply: u16,
    /// The call takes up to `latency` longer.
    pub slow: u16,
    /// See `slow`.
    pub latency: Duration,
    /// A read gives one changed byte: what a bad disk or cable does.
    pub flipped: u16,
    /// A read of an object gives fewer bytes than it has.
    pub torn: u16,
    /// A read or stat does not find the object.
    pub absent: u16,
    /// Puts fail with [`ErrorKind::Full`] once so many bytes were put.
    pub full_after: Option<u64>,
}

/// A store that fails as its plan says.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    plan: Mutex<FaultPlan>,
    bytes_put: AtomicU64,
}

impl Faulty {
    /// Wraps `inner`; equal seeds of `rng` and equal calls give equal faults.
    pub fn new(
        inner: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        plan: FaultPlan,
    ) -> Self {
        Faulty { inner, clock, rng, plan: Mutex::new(plan), bytes_put: AtomicU64::new(0) }
    }

    /// Changes the plan from the next call on.
    pub fn set_plan(&self, plan: FaultPlan) {
        *self.plan.lock().unwrap_or_else(|p| p.into_inner()) = plan;
    }

    fn plan(&self) -> FaultPlan {
        *self.plan.lock().unwrap_or_else(|p| p.into_inner())
    }

    fn hit(&self, per_mille: u16) -> bool {
        per_mille > 0 && self.rng.next_u64() % 1000 < u64::from(per_mille)
    }

    async fn before(&self, plan: &FaultPlan, name: &str) -> Result<()> {
        if self.hit(plan.slow) {
            let micros = u64::try_from(plan.latency.as_micros()).unwrap_or(u64::MAX).max(1);
            self.clock.sleep(Duration::from_micros(self.rng.next_u64() % micros)).await;
        }
        if self.hit(plan.before) {
            return Err(Error::new(ErrorKind::Unavailable, format!("{name}: injected failure")));
        }
        Ok(())
    }

    fn after<T>(&self, plan: &FaultPlan, name: &str, result: Result<T>) -> Result<T> {
        if self.hit(plan.lost_reply) {
            return Err(Error::new(ErrorKind::Unavailable, format!("{name}: injected lost reply")));
        }
        result
    }

    /// Faults of a read: `whole` reads may come out short.
    fn spoil(&self, plan: &FaultPlan, name: &str, body: Bytes, whole: bool) -> Result<Bytes> {
        if self.hit(plan.absent) {
            return Err(super::not_found(name, &self.location()));
        }
        let mut body = body;
        if body.is_empty() {
            return Ok(body);
        }
        if whole && self.hit(plan.torn) {
            body.truncate((self.rng.next_u64() % body.len() as u64) as usize);
        }
        if !body.is_empty() && self.hit(plan.flipped) {
            let mut changed = BytesMut::from(body.as_ref());
            let at = (self.rng.next_u64() % changed.len() as u64) as usize;
            changed[at] ^= 1 << (self.rng.next_u64() % 8);
            body = changed.freeze();
        }
        Ok(body)
    }
}

#[async_trait]
impl Store for Faulty {
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put> {
        let plan = self.plan();
        self.before(&plan, name).await?;
        let bytes = body.len() as u64;
        if plan.full_after.is_some_and(|limit| self.bytes_put.load(Relaxed) + bytes > limit) {
            return Err(Error::new(ErrorKind::Full, format!("{name}: injected full store")));
        }
        let result = self.inner.put_new(name, body).await;
        if matches!(result, Ok(Put::Created)) {
            self.bytes_put.fetch_add(bytes, Relaxed);
        }
        self.after(&plan, name, result)
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        let plan = self.plan();
        self.before(&plan, name).await?;
        let body = self.inner.get(name).await?;
        self.spoil(&plan, name, body, true)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let plan = self.plan();
        self.before(&plan, name).await?;
        let body = self.inner.get_range(name, range).await?;
        self.spoil(&plan, name, body, false)
    }

    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        let plan = self.plan();
        self.before(&plan, name).await?;
        let (tail, size) = self.inner.get_tail(name, max).await?;
        let length = tail.len() as u64;
        let tail = self.spoil(&plan, name, tail, true)?;
        // A torn object ends earlier: its size shrinks with its tail.
        let size = size - (length - tail.len() as u64);
        Ok((tail, size))
    }

    async fn stat(&self, name: &str) -> Result<ObjectStat> {
        let plan = self.plan();
        self.before(&plan, name).await?;
        if self.hit(plan.absent) {
            return Err(super::not_found(name, &self.location()));
        }
        self.inner.stat(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        self.before(&self.plan(), prefix).await?;
        self.inner.list(prefix, after).await
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.before(&self.plan(), prefix).await?;
        self.inner.list_folders(prefix).await
    }

    async fn sweep_leftovers(&self) -> Result<()> {
        self.inner.sweep_leftovers().await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let plan = self.plan();
        self.before(&plan, name).await?;
        let result = self.inner.delete(name).await;
        self.after(&plan, name, result)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
