//! Several runs into one, leaving out what no reader needs.

use std::sync::Arc;

use bygone_base::{CollectionId, Result, Ts};
use bygone_blockstore::BlockWriter;

use super::{OpKind, RunBuilder, RunCursor, RunOp, RunRoot, RunsCursor};

/// Operations of one key that are held back at most, in bytes; beyond, they are written though perhaps dead.
const HOLD: usize = 8 << 20;

/// What may be left out when runs are merged.
pub struct MergeRunsOptions<'a> {
    /// Operations for which this is false are left out (of dropped collections; at or before `as_of`).
    pub keep: &'a (dyn Fn(&RunOp<'_>) -> bool + Send + Sync),
    /// Whether a collection is capped: there a replacement needs the insert before it for its position, and
    /// an insert shows that the server had dropped what an earlier one of the same `_id` made.
    pub capped: &'a (dyn Fn(CollectionId) -> bool + Send + Sync),
    /// No state before this moment will be read from the merged run: of what happened to a document up to
    /// here, only the last put or delete and what follows it is needed.
    pub floor: Ts,
}

/// Merges `cursors` (none advanced yet) into a run. `None` when nothing is left.
pub async fn merge_runs(
    cursors: Vec<RunCursor>,
    options: &MergeRunsOptions<'_>,
    writer: &Arc<BlockWriter>,
) -> Result<Option<RunRoot>> {
    let mut runs = RunsCursor::new(cursors).await?;
    let mut out = RunBuilder::new(writer.clone());
    let mut held = Held::default();
    while let Some(op) = runs.head() {
        if (options.keep)(&op) {
            if !held.is_of(&op) {
                held.write(&mut out).await?;
            }
            if op.ts <= options.floor {
                if ends_history(op.kind, (options.capped)(op.coll)) {
                    held.clear();
                }
                held.push(&op);
                if held.values.len() > HOLD {
                    held.write(&mut out).await?;
                }
            } else {
                held.write(&mut out).await?;
                out.push(&op).await?;
            }
        }
        runs.advance().await?;
    }
    held.write(&mut out).await?;
    out.finish().await
}

/// Whether an operation makes what came before it on its document irrelevant.
fn ends_history(kind: OpKind, capped: bool) -> bool {
    match kind {
        OpKind::Delete | OpKind::Scan => true,
        OpKind::Insert | OpKind::Replace => !capped,
        OpKind::Update | OpKind::Upsert => false,
    }
}

/// Operations of one key, held back until it is known whether a later one ends them.
#[derive(Default)]
struct Held {
    coll: CollectionId,
    key: Vec<u8>,
    ops: Vec<(Ts, u32, OpKind, usize)>,
    values: Vec<u8>,
}

impl Held {
    fn is_of(&self, op: &RunOp<'_>) -> bool {
        self.coll == op.coll && self.key == op.key
    }

    fn clear(&mut self) {
        self.ops.clear();
        self.values.clear();
    }

    fn push(&mut self, op: &RunOp<'_>) {
        self.coll = op.coll;
        self.key.clear();
        self.key.extend_from_slice(op.key);
        self.values.extend_from_slice(op.value);
        self.ops.push((op.ts, op.n, op.kind, self.values.len()));
    }

    async fn write(&mut self, out: &mut RunBuilder) -> Result<()> {
        let mut from = 0;
        for (ts, n, kind, to) in &self.ops {
            out.push(&RunOp {
                coll: self.coll,
                key: &self.key,
                ts: *ts,
                n: *n,
                kind: *kind,
                value: &self.values[from..*to],
            })
            .await?;
            from = *to;
        }
        self.clear();
        Ok(())
    }
}
