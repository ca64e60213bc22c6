//! Memory that the heads of one process share for what they gather.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A bound for the heads of many jobs together. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    most: usize,
    used: AtomicUsize,
    /// Heads that hold anything.
    holders: AtomicUsize,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(most: usize) -> Budget {
        let (used, holders) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Budget(Arc::new(Pool { most, used, holders }))
    }

    /// The part of one head, nothing yet.
    pub(crate) fn part(&self) -> Held {
        Held { pool: Arc::clone(&self.0), bytes: 0 }
    }
}

/// What one head holds of a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Held {
    /// Notes how much it is now.
    pub(crate) fn set(&mut self, bytes: usize) {
        let Held { pool, bytes: before } = self;
        pool.used.fetch_add(bytes, Ordering::Relaxed);
        pool.used.fetch_sub(*before, Ordering::Relaxed);
        match (*before > 0, bytes > 0) {
            (false, true) => pool.holders.fetch_add(1, Ordering::Relaxed),
            (true, false) => pool.holders.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        *before = bytes;
    }

    /// Whether this head should write what it holds: all together hold too much, and it no less than the others do
    /// on average. Of several there is always one to which this applies; those with little are left alone.
    pub(crate) fn is_too_much(&self) -> bool {
        let used = self.pool.used.load(Ordering::Relaxed);
        let holders = self.pool.holders.load(Ordering::Relaxed).max(1);
        used > self.pool.most && self.bytes >= used / holders
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_ones_make_room_and_the_small_ones_are_left_alone() {
        let budget = Budget::new(100);
        let (mut large, mut small, mut none) = (budget.part(), budget.part(), budget.part());
        large.set(80);
        small.set(20);
        none.set(0);
        assert!(!large.is_too_much() && !small.is_too_much());
        small.set(21);
        assert!(large.is_too_much() && !small.is_too_much() && !none.is_too_much());
        large.set(0);
        assert!(!small.is_too_much());
        small.set(101);
        assert!(small.is_too_much(), "one alone is the average");
        drop(small);
        large.set(100);
        assert!(!large.is_too_much());
    }
}
