//! Which key ranges to fold. Pure.

use crate::range::KeyRange;

/// A leaf's key range and what the runs hold for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafDensity {
    /// The leaf's key range.
    pub range: KeyRange,
    /// Documents in the leaf.
    pub docs: u64,
    /// Raw bytes of the leaf.
    pub bytes: u64,
    /// Operations that count.
    pub ops: u64,
    /// Their raw bytes.
    pub op_bytes: u64,
}

/// When a range is dense enough to be rewritten. (Why two limits: updates of single fields are so small that
/// many of them stay below any share of the bytes, and applying them is what costs a restore.)
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoldPolicy {
    /// Fold when the operations' bytes reach this share of the leaf's.
    pub bytes_share: f64,
    /// Fold when there are this many operations per document.
    pub ops_per_doc: f64,
}

impl Default for FoldPolicy {
    fn default() -> Self {
        FoldPolicy { bytes_share: 0.25, ops_per_doc: 0.5 }
    }
}

impl FoldPolicy {
    /// Whether this much should be folded.
    pub fn is_dense(&self, docs: u64, bytes: u64, ops: u64, op_bytes: u64) -> bool {
        ops > 0
            && (op_bytes as f64 >= self.bytes_share * bytes as f64
                || ops as f64 >= self.ops_per_doc * docs as f64)
    }
}

/// A leaf below this many raw bytes is taken along when it lies beside a range that is folded: deletes leave
/// small and empty leaves behind, which would otherwise stay for ever.
pub const SLIGHT: u64 = 16 << 10;

/// Chooses ranges from leaves given in key order.
#[derive(Debug, Default)]
pub struct FoldPlan {
    policy: FoldPolicy,
    ranges: Vec<KeyRange>,
    /// Slight leaves in a row just before here, not (yet) taken.
    slight: Option<KeyRange>,
    folded: Totals,
    seen: Totals,
}

/// Sums over leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Leaves.
    pub leaves: u64,
    /// Their documents.
    pub docs: u64,
    /// Their raw bytes.
    pub bytes: u64,
    /// Operations that count.
    pub ops: u64,
    /// Their raw bytes.
    pub op_bytes: u64,
}

impl Totals {
    fn add(&mut self, leaf: &LeafDensity) {
        self.leaves += 1;
        self.docs += leaf.docs;
        self.bytes += leaf.bytes;
        self.ops += leaf.ops;
        self.op_bytes += leaf.op_bytes;
    }
}

impl FoldPlan {
    /// Under `policy`.
    pub fn new(policy: FoldPolicy) -> Self {
        FoldPlan { policy, ..FoldPlan::default() }
    }

    /// Takes the next leaf; leaves may be left out.
    pub fn push(&mut self, leaf: LeafDensity) {
        self.seen.add(&leaf);
        if self.policy.is_dense(leaf.docs, leaf.bytes, leaf.ops, leaf.op_bytes) {
            self.folded.add(&leaf);
            if let Some(slight) = self.slight.take().filter(|slight| meets(slight, &leaf.range)) {
                self.take(slight);
            }
            self.take(leaf.range);
        } else if leaf.bytes < SLIGHT {
            if self.ranges.last().is_some_and(|last| meets(last, &leaf.range)) {
                self.take(leaf.range);
            } else {
                self.hold(leaf.range);
            }
        } else {
            self.slight = None;
        }
    }

    fn hold(&mut self, range: KeyRange) {
        match &mut self.slight {
            Some(slight) if meets(slight, &range) => slight.to = range.to,
            other => *other = Some(range),
        }
    }

    fn take(&mut self, range: KeyRange) {
        match self.ranges.last_mut() {
            Some(last) if meets(last, &range) => last.to = range.to,
            _ => self.ranges.push(range),
        }
    }

    /// What was seen, and of it what is dense.
    pub fn totals(&self) -> (Totals, Totals) {
        (self.seen, self.folded)
    }

    /// The ranges to fold, neighbours joined, in key order.
    pub fn finish(self) -> Vec<KeyRange> {
        self.ranges
    }
}

/// Whether `b` starts where `a` ends.
fn meets(a: &KeyRange, b: &KeyRange) -> bool {
    a.to.as_ref() == Some(&b.from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn leaf(from: &'static str, to: &'static str, bytes: u64, ops: u64) -> LeafDensity {
        let to = (!to.is_empty()).then(|| Bytes::from_static(to.as_bytes()));
        let range = KeyRange::new(Bytes::from_static(from.as_bytes()), to);
        LeafDensity { range, docs: 100, bytes, ops, op_bytes: ops * 10 }
    }

    fn ranges(plan: FoldPlan) -> Vec<(String, Option<String>)> {
        let text = |key: &Bytes| String::from_utf8_lossy(key).into_owned();
        plan.finish().iter().map(|r| (text(&r.from), r.to.as_ref().map(text))).collect()
    }

    #[test]
    fn dense_neighbours_are_joined_and_sparse_leaves_left() {
        let mut plan = FoldPlan::new(FoldPolicy::default());
        plan.push(leaf("", "b", 100_000, 50));
        plan.push(leaf("b", "c", 100_000, 60));
        plan.push(leaf("c", "d", 100_000, 49));
        plan.push(leaf("d", "", 1_000_000, 99_999));
        let expected = [("".into(), Some("c".into())), ("d".into(), None)];
        assert_eq!(ranges(plan), expected);
    }

    #[test]
    fn slight_leaves_beside_a_dense_range_go_along() {
        let mut plan = FoldPlan::new(FoldPolicy::default());
        plan.push(leaf("a", "b", 5, 0));
        plan.push(leaf("b", "c", 5, 0));
        plan.push(leaf("c", "d", 100_000, 60));
        plan.push(leaf("d", "e", 5, 0));
        plan.push(leaf("x", "y", 5, 0));
        assert_eq!(ranges(plan), [("a".into(), Some("e".into()))]);
    }

    #[test]
    fn an_empty_base_is_dense_as_soon_as_there_is_an_operation() {
        let policy = FoldPolicy::default();
        assert!(policy.is_dense(0, 0, 1, 1) && !policy.is_dense(0, 0, 0, 0));
    }
}
