//! The door to randomness.

use std::{fmt, sync::Mutex};

/// A source of random bytes.
pub trait Rng: Send + Sync + fmt::Debug {
    /// Fills `out`.
    fn fill(&self, out: &mut [u8]);

    /// A random number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's generator; for keys, salts and ids.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn fill(&self, out: &mut [u8]) {
        if let Err(error) = getrandom::fill(out) {
            // Without randomness no id and no key is safe: there is nothing to go on with.
            panic!("the operating system gives no random bytes: {error}");
        }
    }
}

/// A reproducible generator for simulations and tests: BLAKE3 in output mode.
#[derive(Debug)]
pub struct SeededRng {
    state: Mutex<(u64, u64)>,
}

impl SeededRng {
    /// Equal seeds give equal streams.
    pub fn new(seed: u64) -> Self {
        SeededRng { state: Mutex::new((seed, 0)) }
    }
}

impl Rng for SeededRng {
    fn fill(&self, out: &mut [u8]) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&state.0.to_le_bytes());
        hasher.update(&state.1.to_le_bytes());
        state.1 += 1;
        hasher.finalize_xof().fill(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_streams() {
        let (a, b) = (SeededRng::new(1), SeededRng::new(1));
        assert_eq!(a.next_u64(), b.next_u64());
        assert_eq!(a.next_u64(), b.next_u64());
        assert_ne!(a.next_u64(), SeededRng::new(2).next_u64());
    }
}
