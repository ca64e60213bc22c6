//! PURE: everything in a sync slice is looked at before it is stored. A block
//! that passes here is a block as docs/format.md section 6 says, in its place.

use bygone_base::{BlockId, CollectionId, Error, PackId, Result, Ts};
use bygone_blockstore::{BlockRef, Repository, decompress_block};
use bygone_document::{key, walk};
use bygone_oplog::uplink::SyncBlock;
use bygone_tree::{
    Leaf, NodeEntry, OpKind,
    run::{RunLeaf, RunOp},
};
use bytes::Bytes;

/// What the plan and the slices before say about a slice.
#[derive(Debug, Clone)]
pub(crate) struct Expect {
    pub coll: CollectionId,
    /// Blocks of operations (kind 4) instead of documents.
    pub runs: bool,
    /// The sync's start: the blocks contain every change up to here.
    pub start: Ts,
    pub valid_from: Ts,
    /// First key of the range, if it has one.
    pub lower: Option<Vec<u8>>,
    /// First key of the next range, if there is one.
    pub upper: Option<Vec<u8>>,
    /// The last key of the range that is stored already.
    pub after: Option<Vec<u8>>,
}

/// The blocks of a slice, named, and their entries without a pack yet.
#[derive(Debug)]
pub(crate) struct Checked {
    pub blocks: Vec<(BlockId, u32, Bytes)>,
    pub entries: Vec<NodeEntry>,
    /// The last key of the slice (documents only).
    pub last_key: Option<Vec<u8>>,
}

/// Checks blocks one after the other; only one is decompressed at a time.
pub(crate) fn check(
    repository: &Repository,
    blocks: &[SyncBlock],
    expect: &Expect,
) -> Result<Checked> {
    let mut last_key = expect.after.clone();
    let mut checked = Checked { blocks: Vec::new(), entries: Vec::new(), last_key: None };
    for (at, block) in blocks.iter().enumerate() {
        let within = |e: Error| e.within(format!("block {at}"));
        let raw = decompress(block).map_err(within)?;
        let id = repository.block_id(&raw);
        let raw_block = raw.clone();
        let mut entry = if expect.runs {
            check_run(raw_block, expect).map_err(within)?
        } else {
            check_leaf(raw_block, expect, &mut last_key).map_err(within)?
        };
        if entry.items != u64::from(block.items) || entry.key != block.first_key {
            return Err(within(Error::damaged("the block is not what the slice says it is")));
        }
        if checked.entries.last().is_some_and(|last: &NodeEntry| last.key > entry.key) {
            return Err(within(Error::damaged("the blocks of the slice do not ascend")));
        }
        entry.block = BlockRef { id, pack: PackId::default() };
        entry.bytes = raw.len() as u64;
        checked.entries.push(entry);
        checked.blocks.push((id, block.raw_len, block.zstd.clone()));
    }
    checked.last_key = last_key;
    Ok(checked)
}

/// The names of blocks that were checked before.
pub(crate) fn block_ids(repository: &Repository, blocks: &[SyncBlock]) -> Result<Vec<BlockId>> {
    blocks.iter().map(|block| Ok(repository.block_id(&decompress(block)?))).collect()
}

fn decompress(block: &SyncBlock) -> Result<Bytes> {
    decompress_block(block.raw_len, &block.zstd)
        .map_err(|e| e.within("the block cannot be decompressed"))
}

/// Documents: whole BSON, in strictly ascending key order, within the range.
fn check_leaf(raw: Bytes, expect: &Expect, last: &mut Option<Vec<u8>>) -> Result<NodeEntry> {
    let leaf = Leaf::parse(raw)?;
    let mut first_key = None;
    let mut key = Vec::new();
    for doc in leaf.docs() {
        document_key(doc, &mut key)?;
        if last.as_ref().is_some_and(|last| key <= *last) {
            return Err(Error::damaged("the documents do not ascend by _id"));
        }
        if expect.lower.as_ref().is_some_and(|lower| key < *lower)
            || expect.upper.as_ref().is_some_and(|upper| key >= *upper)
        {
            return Err(Error::damaged("a document lies outside of its range"));
        }
        if first_key.is_none() {
            first_key = Some(Bytes::copy_from_slice(&key));
        }
        std::mem::swap(last.get_or_insert_default(), &mut key);
    }
    let key = first_key.ok_or_else(|| Error::damaged("a block without documents"))?;
    Ok(NodeEntry {
        items: leaf.len() as u64,
        as_of: expect.start,
        valid_from: expect.valid_from,
        ..entry(key)
    })
}

/// Operations of a scan, in ascending order (which the parser checks).
fn check_run(raw: Bytes, expect: &Expect) -> Result<NodeEntry> {
    let mut leaf = RunLeaf::parse(raw)?;
    let (mut items, mut first_key, mut key) = (0, None, Vec::new());
    let (mut min, mut max) = (Ts::MAX, Ts::MIN);
    while leaf.advance()? {
        let op = leaf.op().ok_or_else(|| Error::internal("a run's operation is not readable"))?;
        check_op(&op, expect, &mut key)?;
        if first_key.is_none() {
            first_key = Some(Bytes::from([&op.coll.0[..], op.key].concat()));
        }
        (min, max) = (min.min(op.ts), max.max(op.ts));
        items += 1;
    }
    let key = first_key.ok_or_else(|| Error::damaged("a run block without operations"))?;
    Ok(NodeEntry { items, as_of: min, max_ts: max, ..entry(key) })
}

fn check_op(op: &RunOp<'_>, expect: &Expect, key: &mut Vec<u8>) -> Result<()> {
    if op.kind != OpKind::Scan || op.coll != expect.coll {
        return Err(Error::damaged("an operation that is not of this scan"));
    }
    if op.ts > expect.valid_from {
        return Err(Error::damaged("a scanned document from after the scan"));
    }
    document_key(op.value, key)?;
    if op.key != key.as_slice() {
        return Err(Error::damaged("a scanned document under the key of another"));
    }
    Ok(())
}

fn document_key(doc: &[u8], key: &mut Vec<u8>) -> Result<()> {
    walk::validate(doc).map_err(|e| Error::damaged("a document is not BSON").source(e))?;
    key.clear();
    key::id_key_into(doc, key).map_err(|e| Error::damaged("a document has no usable _id").source(e))
}

fn entry(key: Bytes) -> NodeEntry {
    NodeEntry {
        key,
        block: BlockRef { id: BlockId::default(), pack: PackId::default() },
        items: 0,
        bytes: 0,
        as_of: Ts::MIN,
        valid_from: Ts::MIN,
        max_ts: Ts::MIN,
    }
}

/// The body of a fuzz target: any bytes as a block.
pub(crate) fn fuzz_block(bytes: &[u8]) {
    let expect = Expect {
        coll: CollectionId([1; 16]),
        runs: false,
        start: Ts(1),
        valid_from: Ts(2),
        lower: None,
        upper: None,
        after: None,
    };
    let raw = Bytes::copy_from_slice(bytes);
    let _ = check_leaf(raw.clone(), &expect, &mut None);
    let _ = check_run(raw, &expect);
    let _ = decompress(&SyncBlock {
        raw_len: u32::try_from(bytes.len()).unwrap_or(0),
        items: 1,
        first_key: Vec::new(),
        zstd: Bytes::copy_from_slice(bytes),
    });
}
