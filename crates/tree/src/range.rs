//! Ranges of keys.

use bytes::Bytes;

/// The keys from `from` (inclusive; empty = from the beginning) to `to` (exclusive; `None` = to the end).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KeyRange {
    /// First key of the range; empty means the beginning.
    pub from: Bytes,
    /// First key after the range; `None` means the end.
    pub to: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        KeyRange::default()
    }

    /// From `from` to `to`.
    pub fn new(from: impl Into<Bytes>, to: Option<Bytes>) -> Self {
        KeyRange { from: from.into(), to }
    }

    /// Whether the range is everything.
    pub fn is_all(&self) -> bool {
        self.from.is_empty() && self.to.is_none()
    }

    /// Whether the range holds no key.
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &*self.from && below(key, self.to.as_deref())
    }

    /// Whether the whole of `other` lies in this range.
    pub fn covers(&self, other: &KeyRange) -> bool {
        self.from <= other.from && reaches(self.to.as_deref(), other.to.as_deref())
    }

    /// The keys that lie in both ranges.
    #[must_use]
    pub fn meet(&self, other: &KeyRange) -> KeyRange {
        let from = self.from.clone().max(other.from.clone());
        let to =
            if reaches(self.to.as_deref(), other.to.as_deref()) { &other.to } else { &self.to };
        KeyRange { from, to: to.clone() }
    }

    /// The ranges between `splits` (ascending keys): one more than there are splits.
    pub fn between(splits: &[Bytes]) -> Vec<KeyRange> {
        let mut from = Bytes::new();
        let mut ranges = Vec::with_capacity(splits.len() + 1);
        for split in splits {
            ranges.push(KeyRange::new(from, Some(split.clone())));
            from = split.clone();
        }
        ranges.push(KeyRange::new(from, None));
        ranges
    }
}

/// Whether `key` is before the exclusive end `to`.
#[inline]
pub(crate) fn below(key: &[u8], to: Option<&[u8]>) -> bool {
    to.is_none_or(|to| key < to)
}

/// Whether the exclusive end `outer` is at or after the exclusive end `inner`.
pub(crate) fn reaches(outer: Option<&[u8]>, inner: Option<&[u8]>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => outer >= inner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_between_splits_cover_everything_once() {
        let splits = [Bytes::from_static(b"b"), Bytes::from_static(b"m")];
        let ranges = KeyRange::between(&splits);
        for key in [&b"a"[..], b"b", b"c", b"m", b"z"] {
            assert_eq!(ranges.iter().filter(|r| r.contains(key)).count(), 1);
        }
        assert!(KeyRange::all().covers(&ranges[1]) && !ranges[1].covers(&ranges[2]));
    }
}
