//! Documents of a scan become compressed blocks here: leaves where they arrive
//! in the order of their keys, sorted operations where they do not.

use std::ops::Range;

use bygone_base::{CollectionId, Error, Result, Ts};
use bygone_blockstore::compress_block;
use bygone_document::{Doc, id_key_into};
use bygone_oplog::uplink::SyncBlock;
use bygone_tree::{LeafBuilder, OpKind, Position, RunOp, cutter::Cutter, run::RunLeafBuilder};

/// Operations per slice of runs. Positions of slice `seq` begin at `seq << 16`,
/// so that a scan that starts again gives higher positions without knowing the old ones.
const OPS: usize = 1 << 16;

/// `{_id: x}` of a document.
pub(crate) fn id_document(doc: &[u8]) -> Result<Vec<u8>> {
    let id = Doc::new(doc)?.require("_id")?;
    let (kind, value) = (id.kind(), id.value());
    let len = 4 + 1 + 4 + value.len() + 1;
    let size = i32::try_from(len).map_err(|_| Error::damaged("an _id of more than 2 GiB"))?;
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(&size.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(b"_id\0");
    out.extend_from_slice(value);
    out.push(0);
    Ok(out)
}

/// Blocks that are ready to be sent.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    pub(crate) blocks: Vec<SyncBlock>,
    /// Compressed bytes of the blocks.
    pub(crate) bytes: usize,
    /// `{_id: x}` of the last document in them.
    pub(crate) resume: Option<Vec<u8>>,
}

/// Makes blocks of the documents of one range.
pub(crate) struct Packer {
    coll: CollectionId,
    level: i32,
    limit: usize,
    key: Vec<u8>,
    ready: Packed,
    shape: Shape,
}

enum Shape {
    Leaves { cutter: Cutter, leaf: LeafBuilder, first: Vec<u8>, last: Option<Vec<u8>> },
    Runs { at: Ts, ops: Vec<Op>, arena: Vec<u8> },
}

struct Op {
    key: Range<usize>,
    value: Range<usize>,
}

impl Packer {
    /// Leaves, cut by `cut`; a slice is ready at `limit` compressed bytes.
    pub(crate) fn leaves(coll: CollectionId, cut: u64, level: i32, limit: usize) -> Self {
        let (cutter, leaf) = (Cutter::new(cut), LeafBuilder::new(false));
        let shape = Shape::Leaves { cutter, leaf, first: Vec::new(), last: None };
        Packer { coll, level, limit, key: Vec::new(), ready: Packed::default(), shape }
    }

    /// Operations at `at`; a slice is ready at `limit` raw bytes.
    pub(crate) fn runs(coll: CollectionId, at: Ts, level: i32, limit: usize) -> Self {
        let shape = Shape::Runs { at, ops: Vec::new(), arena: Vec::new() };
        Packer { coll, level, limit, key: Vec::new(), ready: Packed::default(), shape }
    }

    /// Documents up to and including this key were packed before (a resumed range).
    pub(crate) fn after(&mut self, key: Vec<u8>) {
        if let Shape::Leaves { last, .. } = &mut self.shape {
            *last = Some(key);
        }
    }

    /// Takes a document; false when it was there before: a bound is inclusive
    /// and a cursor may show a document again that was written meanwhile.
    pub(crate) fn push(&mut self, doc: &[u8]) -> Result<bool> {
        self.key.clear();
        id_key_into(doc, &mut self.key)?;
        match &mut self.shape {
            Shape::Runs { ops, arena, .. } => {
                let key = arena.len()..arena.len() + self.key.len();
                arena.extend_from_slice(&self.key);
                let value = arena.len()..arena.len() + doc.len();
                arena.extend_from_slice(doc);
                ops.push(Op { key, value });
                Ok(true)
            }
            Shape::Leaves { cutter, leaf, first, last } => {
                match last.as_ref().map(|last| self.key.cmp(last)) {
                    Some(std::cmp::Ordering::Equal) => return Ok(false),
                    Some(std::cmp::Ordering::Less) => return Err(out_of_order(self.coll)),
                    _ => {}
                }
                if leaf.is_empty() {
                    first.clone_from(&self.key);
                }
                leaf.push(doc, Position::default());
                let full = cutter.push(&self.key, doc.len());
                std::mem::swap(last.get_or_insert_default(), &mut self.key);
                if full {
                    self.cut()?;
                    self.ready.resume = Some(id_document(doc)?);
                }
                Ok(true)
            }
        }
    }

    /// Whether a slice's worth is ready.
    pub(crate) fn is_full(&self) -> bool {
        match &self.shape {
            Shape::Leaves { .. } => self.ready.bytes >= self.limit,
            Shape::Runs { ops, arena, .. } => arena.len() >= self.limit || ops.len() >= OPS,
        }
    }

    /// Ends the leaf that is being filled.
    fn cut(&mut self) -> Result<()> {
        let Shape::Leaves { cutter, leaf, first, .. } = &mut self.shape else { return Ok(()) };
        if leaf.is_empty() {
            return Ok(());
        }
        cutter.reset();
        let items = leaf.len();
        let raw = leaf.finish();
        let first_key = std::mem::take(first);
        self.add_block(&raw, items, first_key)
    }

    fn add_block(&mut self, raw: &[u8], items: usize, first_key: Vec<u8>) -> Result<()> {
        let zstd = compress_block(self.level, raw)?;
        let small = |n: usize| u32::try_from(n).map_err(|_| Error::internal("block too large"));
        self.ready.bytes += zstd.len();
        self.ready.blocks.push(SyncBlock {
            raw_len: small(raw.len())?,
            items: small(items)?,
            first_key,
            zstd,
        });
        Ok(())
    }

    /// What is ready, for slice number `seq`; with `all` also the leaf that is being filled.
    pub(crate) fn take(&mut self, seq: u32, all: bool) -> Result<Packed> {
        if matches!(self.shape, Shape::Runs { .. }) {
            self.sort_runs(seq)?;
        } else if all {
            self.cut()?;
        }
        Ok(std::mem::take(&mut self.ready))
    }

    fn sort_runs(&mut self, seq: u32) -> Result<()> {
        let Shape::Runs { at, ops, arena } = &mut self.shape else { return Ok(()) };
        let base = seq.checked_mul(OPS as u32).ok_or_else(|| {
            Error::unsupported("a collection in natural order of more than 4 billion documents")
        })?;
        let (at, ops, arena) = (*at, std::mem::take(ops), std::mem::take(arena));
        let key = |i: u32| arena.get(ops[i as usize].key.clone()).unwrap_or(&[]);
        let mut order: Vec<u32> = (0..ops.len() as u32).collect();
        order.sort_unstable_by(|a, b| key(*a).cmp(key(*b)).then(a.cmp(b)));
        let mut block = RunLeafBuilder::new();
        let mut first = Vec::new();
        for (place, i) in order.iter().enumerate() {
            if block.ops() == 0 {
                first = [&self.coll.0[..], key(*i)].concat();
            }
            let value = arena.get(ops[*i as usize].value.clone()).unwrap_or(&[]);
            let n = base + i;
            let op = RunOp { coll: self.coll, key: key(*i), ts: at, n, kind: OpKind::Scan, value };
            if block.push(&op) || place + 1 == order.len() {
                let items = block.ops() as usize;
                let raw = block.finish();
                self.add_block(&raw, items, std::mem::take(&mut first))?;
            }
        }
        Ok(())
    }

    /// Forgets what was not sent: the range starts again.
    pub(crate) fn clear(&mut self) {
        self.ready = Packed::default();
        match &mut self.shape {
            Shape::Runs { ops, arena, .. } => {
                ops.clear();
                arena.clear();
            }
            Shape::Leaves { cutter, leaf, .. } => {
                cutter.reset();
                *leaf = LeafBuilder::new(false);
            }
        }
    }
}

fn out_of_order(coll: CollectionId) -> Error {
    Error::damaged(format!("the _id index of collection {coll} on the source is out of order"))
        .hint("run validate() on the collection, or read another member (--member)")
}

#[cfg(test)]
mod tests;
