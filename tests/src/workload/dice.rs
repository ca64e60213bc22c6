//! Reproducible choices.

use std::collections::BTreeMap;

use bygone_base::{Rng as _, SeededRng};

/// A seeded source of choices; equal seeds choose equally.
#[derive(Debug)]
pub struct Dice(SeededRng);

impl Dice {
    /// New dice.
    pub fn new(seed: u64) -> Dice {
        Dice(SeededRng::new(seed))
    }

    /// Any number.
    pub fn any(&self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n` (0 when `n` is 0).
    pub fn below(&self, n: usize) -> usize {
        let n = u64::try_from(n.max(1)).expect("a size");
        usize::try_from(self.any() % n).expect("below a size")
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&self, low: i64, high: i64) -> i64 {
        let span = high.abs_diff(low).saturating_add(1).max(1);
        low.wrapping_add_unsigned(self.any() % span)
    }

    /// A small number, as most counts are.
    pub fn small(&self) -> i32 {
        i32::try_from(self.between(-9, 99)).expect("small")
    }

    /// True `percent` times out of a hundred.
    pub fn percent(&self, percent: u64) -> bool {
        self.any() % 100 < percent
    }

    /// True once in `n` times.
    pub fn once_in(&self, n: u64) -> bool {
        self.any().is_multiple_of(n)
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// So many random bytes.
    pub fn bytes(&self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.0.fill(&mut bytes);
        bytes
    }

    /// A lower-case word of `n` letters.
    pub fn word(&self, n: usize) -> String {
        self.bytes(n).iter().map(|byte| char::from(b'a' + byte % 26)).collect()
    }

    /// A key by its weight.
    pub fn weighted<K: Copy + Ord>(&self, weights: &BTreeMap<K, u32>) -> K {
        let total: u64 = weights.values().copied().map(u64::from).sum();
        let mut left = self.any() % total.max(1);
        for (key, weight) in weights {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return *key,
            }
        }
        panic!("nothing to choose from")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_bounds() {
        let dice = Dice::new(3);
        for _ in 0..1000 {
            assert!((-2..=2).contains(&dice.between(-2, 2)));
            assert!(dice.below(3) < 3);
        }
        assert_eq!(dice.between(i64::MIN, i64::MIN), i64::MIN);
        let _ = dice.between(i64::MIN, i64::MAX);
    }

    #[test]
    fn chooses_by_weight() {
        let dice = Dice::new(4);
        let weights = BTreeMap::from([('a', 0), ('b', 9), ('c', 1)]);
        let picks: Vec<char> = (0..1000).map(|_| dice.weighted(&weights)).collect();
        assert!(!picks.contains(&'a'));
        assert!((50..200).contains(&picks.iter().filter(|c| **c == 'c').count()));
    }
}
