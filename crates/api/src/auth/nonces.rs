//! What clients must prove with. A nonce carries its time and our own seal, so that only those that were used with a right
//! proof are remembered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bygone_base::{Clock, Rng};

/// A nonce is good for so long.
const GOOD_FOR: Duration = Duration::from_secs(300);
/// So many used ones are remembered.
const MOST: usize = 10_000;
/// So far behind the highest count a request may come late.
const BEHIND: u32 = 64;

/// Makes and checks nonces.
#[derive(Debug)]
pub(super) struct Nonces {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    key: [u8; 32],
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    /// By nonce: when it was made, and which counts were used.
    counts: HashMap<[u8; 16], (u64, Counts)>,
    /// What was made up to then and is not remembered is not good: it may have been used.
    forgotten: Option<u64>,
}

/// Which of the counts up to the highest were used: bit n is that of `highest - n`.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    highest: u32,
    bits: u64,
}

impl Counts {
    /// Whether the count is used for the first time.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let up = count - self.highest;
            self.bits = if up < BEHIND { self.bits << up | 1 } else { 1 };
            self.highest = count;
            return true;
        }
        let back = self.highest - count;
        let fresh = back < BEHIND && self.bits & 1 << back == 0 && count > 0;
        if fresh {
            self.bits |= 1 << back;
        }
        fresh
    }
}

impl Nonces {
    pub(super) fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Nonces {
        let mut key = [0; 32];
        rng.fill(&mut key);
        Nonces { clock, rng, key, used: Mutex::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// A new one: eight bytes of time, eight random ones, sixteen of a seal over both.
    pub(super) fn make(&self) -> String {
        let mut head = [0; 16];
        let (time, random) = head.split_at_mut(8);
        time.copy_from_slice(&self.now().to_be_bytes());
        self.rng.fill(random);
        hex::encode([head, self.seal(&head)].concat())
    }

    fn seal(&self, head: &[u8; 16]) -> [u8; 16] {
        let mut seal = [0; 16];
        blake3::Hasher::new_keyed(&self.key).update(head).finalize_xof().fill(&mut seal);
        seal
    }

    /// The part of a nonce that was made here and is still good; `None`: it is stale.
    pub(super) fn read(&self, nonce: &str) -> Option<[u8; 16]> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(nonce, &mut bytes).ok()?;
        let (head, seal) = bytes.split_first_chunk::<16>()?;
        let same = blake3::hash(seal) == blake3::hash(&self.seal(head));
        let made = time_of(head);
        (same && is_young(made, self.now())).then_some(*head)
    }

    /// Notes that a request with a right proof used the nonce for the count-th time; says whether it is the first to.
    pub(super) fn take(&self, nonce: [u8; 16], count: u32) -> bool {
        let made = time_of(&nonce);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counts)) = used.counts.get_mut(&nonce) {
            return counts.take(count);
        }
        if used.forgotten.is_some_and(|forgotten| made <= forgotten) {
            return false;
        }
        if used.counts.len() >= MOST {
            let now = self.now();
            used.counts.retain(|_, (made, _)| is_young(*made, now));
        }
        if used.counts.len() >= MOST {
            let oldest = used.counts.iter().min_by_key(|(_, (made, _))| *made);
            if let Some((oldest, made)) = oldest.map(|(nonce, (made, _))| (*nonce, *made)) {
                used.counts.remove(&oldest);
                used.forgotten = used.forgotten.max(Some(made));
            }
        }
        let mut counts = Counts::default();
        let fresh = counts.take(count);
        used.counts.insert(nonce, (made, counts));
        fresh
    }
}

/// Whether a nonce of that time is still good; one from the future never was.
fn is_young(made: u64, now: u64) -> bool {
    now.checked_sub(made).is_some_and(|age| age < GOOD_FOR.as_millis() as u64)
}

fn time_of(nonce: &[u8; 16]) -> u64 {
    nonce.first_chunk().map_or(0, |time| u64::from_be_bytes(*time))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use bygone_base::{SeededRng, UnixMillis};

    use super::*;

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    #[async_trait]
    impl Clock for Hand {
        fn now(&self) -> UnixMillis {
            UnixMillis(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::SeqCst))
        }

        async fn sleep(&self, _: Duration) {}
    }

    fn nonces(seed: u64) -> (Arc<Hand>, Nonces) {
        let clock = Arc::new(Hand::default());
        (clock.clone(), Nonces::new(clock, Arc::new(SeededRng::new(seed))))
    }

    #[test]
    fn a_nonce_is_ours_and_ends() {
        let (clock, ours) = nonces(1);
        let (_, theirs) = nonces(2);
        let nonce = ours.make();
        assert!(ours.read(&nonce).is_some() && theirs.read(&nonce).is_none());
        for bad in ["", "00", &"0".repeat(64), &nonce.replace(&nonce[60..], "0000")] {
            assert!(ours.read(bad).is_none(), "{bad}");
        }
        clock.0.store(GOOD_FOR.as_millis() as u64, Ordering::SeqCst);
        assert!(ours.read(&nonce).is_none());
    }

    #[test]
    fn a_count_is_good_once_also_when_it_comes_late() {
        let mut counts = Counts::default();
        assert!(!counts.take(0));
        assert!(counts.take(1) && !counts.take(1));
        assert!(counts.take(5) && counts.take(3) && !counts.take(3) && counts.take(4));
        assert!(counts.take(100) && !counts.take(5) && counts.take(99));
        assert!(!counts.take(100 - BEHIND) && counts.take(100 - BEHIND + 1));
        assert!(counts.take(u32::MAX) && !counts.take(u32::MAX));
    }

    #[test]
    fn what_was_forgotten_is_not_good_again() {
        let (clock, nonces) = nonces(3);
        let read = |nonces: &Nonces| nonces.read(&nonces.make()).unwrap();
        let first = read(&nonces);
        assert!(nonces.take(first, 1));
        clock.0.store(1, Ordering::SeqCst);
        for _ in 0..MOST {
            assert!(nonces.take(read(&nonces), 1));
        }
        assert!(!nonces.take(first, 1));
        assert!(nonces.used.lock().unwrap().counts.len() <= MOST);
    }
}
