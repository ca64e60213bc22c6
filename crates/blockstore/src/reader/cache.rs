//! A cache bounded by bytes that forgets what was not used for longest.

use std::{fmt::Debug, hash::Hash};

use lru::LruCache;

/// Bytes that an entry costs beyond its value.
const OVERHEAD: usize = 128;

#[derive(Debug)]
pub(super) struct ByteLru<K: Hash + Eq + Debug, V: Debug> {
    entries: LruCache<K, (V, usize)>,
    bytes: usize,
    most: usize,
}

impl<K: Hash + Eq + Debug, V: Clone + Debug> ByteLru<K, V> {
    pub(super) fn new(most: usize) -> Self {
        ByteLru { entries: LruCache::unbounded(), bytes: 0, most }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.entries.get(key).map(|(value, _)| value.clone())
    }

    /// Keeps `value` of `bytes`; one that is a large part of the whole cache
    /// would only drive out everything else.
    pub(super) fn insert(&mut self, key: K, value: V, bytes: usize) {
        let bytes = bytes + OVERHEAD;
        if bytes > self.most / 2 {
            return;
        }
        if let Some((_, old)) = self.entries.put(key, (value, bytes)) {
            self.bytes -= old;
        }
        self.bytes += bytes;
        while self.bytes > self.most {
            match self.entries.pop_lru() {
                Some((_, (_, old))) => self.bytes -= old,
                None => self.bytes = 0,
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some((_, old)) = self.entries.pop(key) {
            self.bytes -= old;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bytes_and_keeps_what_is_used() {
        let mut cache = ByteLru::new(10 * (100 + OVERHEAD));
        for key in 0..100 {
            cache.insert(key, key, 100);
            assert_eq!(cache.get(&0), Some(0), "after {key}");
            assert!(cache.bytes <= cache.most);
        }
        assert_eq!(cache.get(&50), None);
        assert_eq!(cache.get(&99), Some(99));
        cache.insert(7, 7, 100_000);
        assert_eq!(cache.get(&7), None);
        cache.remove(&99);
        assert_eq!(cache.get(&99), None);
    }
}
