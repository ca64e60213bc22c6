//! Choices of the simulator, by a seed.

use std::sync::Arc;

use bygone_base::{Rng, SeededRng};

/// A stream of choices; clones share it.
#[derive(Debug, Clone)]
pub struct Dice(Arc<SeededRng>);

impl Dice {
    /// Equal seeds and purposes give equal choices.
    pub fn new(seed: u64, purpose: u64) -> Dice {
        Dice(Arc::new(SeededRng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose)))
    }

    /// As a source of randomness for the code under test.
    pub fn rng(&self) -> Arc<dyn Rng> {
        self.0.clone()
    }

    /// A number below `n` (0 when `n` is 0).
    pub fn below(&self, n: u64) -> u64 {
        self.0.next_u64() % n.max(1)
    }

    /// A number from `low` up to and including `high`.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `n` of 1,000 cases.
    pub fn hits(&self, n: u64) -> bool {
        self.below(1000) < n
    }

    /// One of `items`.
    pub fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// The position of one of `weights`, the heavier the more often.
    pub fn weighted(&self, weights: &[u64]) -> usize {
        let mut at = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if at < *weight {
                return index;
            }
            at -= weight;
        }
        0
    }
}
