//! Operations gathered in memory, then sorted and written as a run.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use bygone_base::{CollectionId, Result, Ts};
use bygone_blockstore::BlockWriter;

use super::{RunBuilder, RunOp, RunRoot, parse_tail};
use crate::codec::Input;

/// Where one operation lies, with enough of its order to sort most pairs without looking there.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// First 16 bytes of the key, big endian, padded with zeros: an ObjectId's key fits whole.
    prefix: (u64, u64),
    /// The moment, when the prefix is the whole key; else 0.
    ts: u64,
    /// Offset of the encoded operation (without its collection).
    at: usize,
}

/// An unsorted gatherer of operations. Memory: [`RunBuffer::bytes`].
#[derive(Debug, Default)]
pub struct RunBuffer {
    arena: Vec<u8>,
    colls: Vec<(CollectionId, Vec<Slot>)>,
    index: HashMap<CollectionId, usize>,
    /// The collection of the last operation: neighbours in an oplog often share it.
    last: usize,
    ops: u64,
    min: Option<Ts>,
    max: Option<Ts>,
}

impl RunBuffer {
    /// An empty gatherer.
    pub fn new() -> Self {
        RunBuffer::default()
    }

    /// Takes a copy of `op`; any order.
    pub fn push(&mut self, op: &RunOp<'_>) {
        // No key is a prefix of another, so equal prefixes that are whole keys are equal keys.
        let ts = if op.key.len() <= 16 { op.ts.0 } else { 0 };
        let slot = Slot { prefix: prefix(op.key), ts, at: self.arena.len() };
        op.encode_tail(&mut self.arena);
        self.slots(op.coll).push(slot);
        self.ops += 1;
        self.min = Some(self.min.map_or(op.ts, |min| min.min(op.ts)));
        self.max = Some(self.max.map_or(op.ts, |max| max.max(op.ts)));
    }

    fn slots(&mut self, coll: CollectionId) -> &mut Vec<Slot> {
        if self.colls.get(self.last).is_none_or(|(last, _)| *last != coll) {
            self.last = *self.index.entry(coll).or_insert(self.colls.len());
            if self.last == self.colls.len() {
                self.colls.push((coll, Vec::new()));
            }
        }
        &mut self.colls[self.last].1
    }

    /// Bytes held: encoded operations and their places.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.ops as usize * size_of::<Slot>()
    }

    /// Number of operations.
    pub fn ops(&self) -> u64 {
        self.ops
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.ops == 0
    }

    /// Smallest and largest timestamp.
    pub fn span(&self) -> Option<(Ts, Ts)> {
        Some((self.min?, self.max?))
    }

    /// Sorts; this takes CPU time (about 0.2 s per million operations), so call it off the async threads.
    pub fn sort(self) -> SortedRun {
        let mut colls = self.colls;
        colls.sort_unstable_by_key(|(coll, _)| *coll);
        for (_, slots) in &mut colls {
            slots.sort_unstable_by(|a, b| {
                let quick = (a.prefix, a.ts).cmp(&(b.prefix, b.ts));
                quick.then_with(|| compare(&self.arena, a.at, b.at))
            });
        }
        SortedRun { arena: self.arena, colls }
    }
}

#[inline]
fn prefix(key: &[u8]) -> (u64, u64) {
    let mut padded = [0; 16];
    let len = key.len().min(16);
    padded[..len].copy_from_slice(&key[..len]);
    let value = u128::from_be_bytes(padded);
    ((value >> 64) as u64, value as u64)
}

/// The order (key, ts, n) of two encoded operations. The arena holds only what `encode_tail` wrote.
fn compare(arena: &[u8], a: usize, b: usize) -> Ordering {
    let read = |at| {
        let mut input = Input::new(arena, at);
        let key = input.sized().ok();
        (key, input.ts().ok(), input.varint().ok())
    };
    read(a).cmp(&read(b))
}

/// Sorted operations, ready to be written.
#[derive(Debug)]
pub struct SortedRun {
    arena: Vec<u8>,
    colls: Vec<(CollectionId, Vec<Slot>)>,
}

impl SortedRun {
    /// Calls `with` for each operation in order; of equal (collection, key, ts, n) the first only.
    pub fn for_each(&self, mut with: impl FnMut(&RunOp<'_>) -> Result<()>) -> Result<()> {
        for (coll, slots) in &self.colls {
            let mut last = None;
            for slot in slots {
                let (at, _) = self.read(*coll, slot)?;
                let order = (&self.arena[at.key.clone()], at.ts, at.n);
                if last == Some(order) {
                    continue;
                }
                last = Some(order);
                let Some(kind) = super::OpKind::from_u8(at.kind) else { continue };
                with(&RunOp {
                    coll: *coll,
                    key: order.0,
                    ts: at.ts,
                    n: at.n,
                    kind,
                    value: &self.arena[at.value.clone()],
                })?;
            }
        }
        Ok(())
    }

    fn read(&self, coll: CollectionId, slot: &Slot) -> Result<(super::OpAt, usize)> {
        let mut input = Input::new(&self.arena, slot.at);
        let op = parse_tail(coll, &mut input)?;
        Ok((op, input.at()))
    }

    /// Writes the run. `None` when there is nothing. Durable only after the writer's flush.
    pub async fn write(&self, writer: &Arc<BlockWriter>) -> Result<Option<RunRoot>> {
        let mut run = RunBuilder::new(writer.clone());
        for (coll, slots) in &self.colls {
            let mut last = None;
            for slot in slots {
                let (op, end) = self.read(*coll, slot)?;
                let key = &self.arena[op.key.clone()];
                let order = (key, op.ts, op.n);
                if last == Some(order) {
                    continue;
                }
                last = Some(order);
                run.push_encoded(*coll, key, op.ts, &self.arena[slot.at..end]).await?;
            }
        }
        run.finish().await
    }
}
