//! What differs between two trees of one collection, leaf by leaf.

use std::cmp::Ordering;

use bygone_base::Result;

use crate::{cursor::NodeCursor, node::NodeEntry, read::Tree};

/// A leaf that only one of the trees has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the first tree has it.
    Left(NodeEntry),
    /// Only the second tree has it.
    Right(NodeEntry),
}

/// Walks two trees side by side and skips what they share: the cost is in proportion to what differs.
pub struct Diff {
    left: NodeCursor,
    right: NodeCursor,
}

/// The leaves in which `left` and `right` differ, in key order.
pub fn diff(left: &Tree, right: &Tree) -> Diff {
    Diff { left: left.cursor(), right: right.cursor() }
}

/// What to do with the two heads.
enum Move {
    SkipBoth,
    Left,
    Right,
    Both,
    Done,
}

impl Diff {
    /// The next difference.
    pub async fn next(&mut self) -> Result<Option<Difference>> {
        loop {
            match self.compare() {
                Move::Done => return Ok(None),
                Move::SkipBoth => {
                    self.left.skip();
                    self.right.skip();
                }
                Move::Left => {
                    if let Some(entry) = leaf_or_open(&mut self.left).await? {
                        return Ok(Some(Difference::Left(entry)));
                    }
                }
                Move::Right => {
                    if let Some(entry) = leaf_or_open(&mut self.right).await? {
                        return Ok(Some(Difference::Right(entry)));
                    }
                }
                Move::Both => {
                    self.left.expand().await?;
                    self.right.expand().await?;
                }
            }
        }
    }

    fn compare(&self) -> Move {
        let ((a, left), (b, right)) = match (self.left.head(), self.right.head()) {
            (None, None) => return Move::Done,
            (Some(_), None) => return Move::Left,
            (None, Some(_)) => return Move::Right,
            (Some(left), Some(right)) => (left, right),
        };
        if a == b && left.block.id == right.block.id {
            return Move::SkipBoth;
        }
        // What lies before the other side's head cannot be there; at one key the higher is opened first, so
        // that equal subtrees meet.
        match left.key.cmp(&right.key).then(b.cmp(&a)) {
            Ordering::Less => Move::Left,
            Ordering::Greater => Move::Right,
            Ordering::Equal if a > 0 => Move::Both,
            Ordering::Equal => Move::Left,
        }
    }
}

/// Takes the head if it is a leaf, opens it otherwise.
async fn leaf_or_open(cursor: &mut NodeCursor) -> Result<Option<NodeEntry>> {
    let leaf = cursor.head().filter(|(level, _)| *level == 0).map(|(_, entry)| entry.clone());
    match leaf {
        Some(_) => cursor.skip(),
        None => cursor.expand().await?,
    }
    Ok(leaf)
}
