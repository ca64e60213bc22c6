//! Where leaves and nodes end (format.md section 6, "Cutting").

use crate::codec::key_hash;

/// Raw size at which leaves aim on average, in bytes.
pub const LEAF_TARGET: u64 = 131_072;
/// Raw size of documents at which a leaf ends in any case, in bytes.
pub const LEAF_MAX: usize = 524_288;
/// Raw size at which a run's leaf ends, in bytes.
pub const RUN_LEAF: usize = 131_072;
/// Entries at which a node ends in any case.
pub const NODE_MAX: usize = 1024;
/// Encoded size at which a node of at least two entries ends in any case, in bytes: keys can be large.
pub const NODE_MAX_BYTES: usize = 1 << 20;
/// A node ends after an entry whose key hash is below this.
const NODE_CUT: u64 = 1 << 56;

/// The cut of a collection from the average size of its documents in bytes:
/// `min(1, average / 131,072) × 2^64`, saturating.
pub fn cut_for(average: u64) -> u64 {
    if average >= LEAF_TARGET {
        return u64::MAX;
    }
    // LEAF_TARGET is 2^17, so this is average × 2^47 and cannot overflow.
    average.max(1) << 47
}

/// Decides where leaves of documents end.
#[derive(Debug, Clone)]
pub struct Cutter {
    cut: u64,
    bytes: usize,
}

impl Cutter {
    /// For a collection with this `cut`.
    pub fn new(cut: u64) -> Self {
        Cutter { cut, bytes: 0 }
    }

    /// Takes the next document's key and length; true when the leaf ends after it.
    pub fn push(&mut self, key: &[u8], len: usize) -> bool {
        self.bytes = self.bytes.saturating_add(len);
        let ends = self.bytes >= LEAF_MAX || key_hash(key) < self.cut;
        if ends {
            self.bytes = 0;
        }
        ends
    }

    /// A leaf was ended by force (the end of a scanned or folded range).
    pub fn reset(&mut self) {
        self.bytes = 0;
    }
}

/// Whether a node of `entries` entries and `bytes` encoded bytes ends after the entry with `key`.
/// Its first entry never ends it: many run leaves can start at one key, and levels must converge.
pub fn node_ends(key: &[u8], entries: usize, bytes: usize) -> bool {
    entries >= NODE_MAX || (entries >= 2 && (bytes >= NODE_MAX_BYTES || key_hash(key) < NODE_CUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_the_target_size_on_average() {
        let mut cutter = Cutter::new(cut_for(1000));
        let (mut leaves, docs) = (0, 200_000u32);
        for i in 0..docs {
            leaves += usize::from(cutter.push(&i.to_be_bytes(), 1000));
        }
        let average = docs as usize * 1000 / leaves;
        assert!((110_000..150_000).contains(&average), "{average}");
    }

    #[test]
    fn large_documents_stand_alone_and_small_cuts_saturate() {
        assert_eq!(cut_for(LEAF_TARGET), u64::MAX);
        assert_eq!(cut_for(0), cut_for(1));
        let mut cutter = Cutter::new(0);
        assert!(cutter.push(b"a", LEAF_MAX));
        assert!(!cutter.push(b"a", LEAF_MAX - 1));
        assert!(cutter.push(b"b", 1));
    }
}
