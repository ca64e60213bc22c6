//! Several runs read as one.

use std::cmp::Ordering;

use bygone_base::Result;

use super::{RunCursor, RunOp, cursor::Step};

/// Operations of several runs in one order; one that stands in several runs is given once.
pub struct RunsCursor {
    cursors: Vec<RunCursor>,
    /// Cursors that have an operation, by its order: the first is the head.
    order: Vec<usize>,
}

impl RunsCursor {
    /// Before nothing: the head is the first operation of all `cursors`, none of which was advanced yet.
    pub async fn new(cursors: Vec<RunCursor>) -> Result<Self> {
        let mut this = RunsCursor { order: Vec::with_capacity(cursors.len()), cursors };
        for index in 0..this.cursors.len() {
            if this.cursors[index].advance().await? {
                this.insert(index);
            }
        }
        this.drop_twins().await?;
        Ok(this)
    }

    /// The smallest operation not yet passed.
    #[inline]
    pub fn head(&self) -> Option<RunOp<'_>> {
        self.cursors.get(*self.order.first()?)?.op()
    }

    /// Goes past the head.
    pub async fn advance(&mut self) -> Result<()> {
        let Some(&first) = self.order.first() else { return Ok(()) };
        self.move_on(0, first).await?;
        if self.order.len() > 1 { self.drop_twins().await } else { Ok(()) }
    }

    /// Advances the cursor at `place` of the order and puts it where it then belongs.
    async fn move_on(&mut self, place: usize, index: usize) -> Result<()> {
        let cursor = &mut self.cursors[index];
        let more = match cursor.step()? {
            Step::Op => true,
            Step::Block => {
                cursor.next_leaf().await?;
                cursor.advance().await?
            }
            Step::End => false,
        };
        if more && self.order.get(place + 1).is_none_or(|next| self.compare(index, *next).is_lt()) {
            return Ok(());
        }
        self.order.remove(place);
        if more {
            self.insert(index);
        }
        Ok(())
    }

    fn insert(&mut self, index: usize) {
        let place = self.order.partition_point(|other| self.compare(*other, index).is_lt());
        self.order.insert(place, index);
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        let order = |index: usize| self.cursors[index].op().map(|op| op.order());
        order(a).cmp(&order(b))
    }

    /// Passes operations that equal the head: the same one, read twice.
    async fn drop_twins(&mut self) -> Result<()> {
        while let [first, second, ..] = self.order[..] {
            if self.compare(first, second).is_ne() {
                break;
            }
            self.move_on(1, second).await?;
        }
        Ok(())
    }
}
