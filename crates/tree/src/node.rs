//! Inner nodes: block kind 3, and the entries that sync slices carry.

use bygone_base::{BlockId, Error, PackId, Result, Ts};
use bygone_blockstore::BlockRef;
use bytes::Bytes;

use crate::{
    codec::{Input, put_varint},
    cutter::NODE_MAX,
};

pub(crate) const KIND_NODE: u8 = 3;
/// Largest level: with at least two entries per node no tree of 2^64 items is higher.
pub const MAX_LEVEL: u8 = 64;
/// Bytes of an entry with an empty key and small numbers: bounds a count before allocating.
const MIN_ENTRY: usize = 1 + BlockRef::LEN + 1 + 1 + 24;

/// One child of a node: where it is and what its subtree holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Where the child's key range starts: the key of its first item, or, for the first leaf of a folded
    /// range, the key at which that range starts.
    pub key: Bytes,
    /// The child.
    pub block: BlockRef,
    /// Documents (or operations) in the subtree.
    pub items: u64,
    /// Raw bytes of the leaves' blocks in the subtree.
    pub bytes: u64,
    /// Documents: every change up to here is contained (the smallest of the subtree).
    /// Runs: the smallest timestamp.
    pub as_of: Ts,
    /// Documents: no change after this is contained (the largest of the subtree). Runs: 0.
    pub valid_from: Ts,
    /// Runs: the largest timestamp. Documents: 0.
    pub max_ts: Ts,
}

impl NodeEntry {
    /// Appends the encoded entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.key.len() as u64);
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.block.id.0);
        out.extend_from_slice(&self.block.pack.0);
        put_varint(out, self.items);
        put_varint(out, self.bytes);
        for ts in [self.as_of, self.valid_from, self.max_ts] {
            out.extend_from_slice(&ts.0.to_le_bytes());
        }
    }

    fn parse(raw: &Bytes, input: &mut Input<'_>) -> Result<NodeEntry> {
        let key = input.sized()?;
        let end = input.at();
        let key = raw.slice(end - key.len()..end);
        let block = BlockRef { id: BlockId(input.array()?), pack: PackId(input.array()?) };
        Ok(NodeEntry {
            key,
            block,
            items: input.varint()?,
            bytes: input.varint()?,
            as_of: input.ts()?,
            valid_from: input.ts()?,
            max_ts: input.ts()?,
        })
    }
}

/// A parsed node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// 1 = the children are leaves.
    pub level: u8,
    /// The children, in ascending key order, at least one.
    pub entries: Vec<NodeEntry>,
}

impl Node {
    /// Parses and checks a node's raw block. Keys must ascend (equal ones occur in runs).
    pub fn parse(raw: &Bytes) -> Result<Node> {
        let mut input = Input::new(raw, 0);
        let kind = input.u8()?;
        let level = input.u8()?;
        if kind != KIND_NODE || !(1..=MAX_LEVEL).contains(&level) {
            return Err(Error::damaged(format!(
                "block of kind {kind} is not a node (level {level})"
            )));
        }
        let entries = parse_list(raw, &mut input, NODE_MAX)?;
        if entries.is_empty() {
            return Err(Error::damaged("node without entries"));
        }
        Ok(Node { level, entries })
    }

    /// The raw block of a node.
    pub fn encode(level: u8, entries: &[NodeEntry]) -> Vec<u8> {
        let mut out = vec![KIND_NODE, level];
        out.extend_from_slice(&encode_entries(entries));
        out
    }
}

/// Entries preceded by their count (u32): the form of sync slice records and of nodes.
pub fn encode_entries(entries: &[NodeEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + entries.len() * (MIN_ENTRY + 16));
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for entry in entries {
        entry.encode(&mut out);
    }
    out
}

/// Parses what [`encode_entries`] wrote; nothing may follow.
pub fn parse_entries(raw: &Bytes) -> Result<Vec<NodeEntry>> {
    parse_list(raw, &mut Input::new(raw, 0), usize::MAX)
}

fn parse_list(raw: &Bytes, input: &mut Input<'_>, max: usize) -> Result<Vec<NodeEntry>> {
    let count = usize::try_from(input.u32()?).unwrap_or(usize::MAX);
    if count > max || count > input.left() / MIN_ENTRY {
        return Err(Error::damaged(format!("node of {} bytes says {count} entries", raw.len())));
    }
    let mut entries: Vec<NodeEntry> = Vec::with_capacity(count);
    for _ in 0..count {
        let entry = NodeEntry::parse(raw, input)?;
        if entries.last().is_some_and(|last| last.key > entry.key) {
            return Err(Error::damaged("the keys of a node do not ascend"));
        }
        entries.push(entry);
    }
    match input.left() {
        0 => Ok(entries),
        left => Err(Error::damaged(format!("{left} bytes follow the entries of a node"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &[u8]) -> NodeEntry {
        NodeEntry {
            key: Bytes::copy_from_slice(key),
            block: BlockRef { id: BlockId([7; 32]), pack: PackId([9; 16]) },
            items: 300,
            bytes: 131_072,
            as_of: Ts::new(5, 1),
            valid_from: Ts::new(6, 2),
            max_ts: Ts(0),
        }
    }

    #[test]
    fn nodes_round_trip_and_truncations_are_refused() {
        let entries = vec![entry(b""), entry(b"k"), entry(b"k"), entry(b"m")];
        let raw: Bytes = Node::encode(2, &entries).into();
        assert_eq!(Node::parse(&raw).unwrap(), Node { level: 2, entries: entries.clone() });
        for len in 0..raw.len() {
            assert!(Node::parse(&raw.slice(..len)).is_err(), "{len}");
        }
        let list: Bytes = encode_entries(&entries).into();
        assert_eq!(parse_entries(&list).unwrap(), entries);
        assert!(parse_entries(&encode_entries(&[]).into()).unwrap().is_empty());
    }

    #[test]
    fn a_node_out_of_order_or_without_entries_is_refused() {
        let bad: Bytes = Node::encode(1, &[entry(b"b"), entry(b"a")]).into();
        assert!(Node::parse(&bad).is_err());
        assert!(Node::parse(&Node::encode(1, &[]).into()).is_err());
        assert!(Node::parse(&Node::encode(0, &[entry(b"a")]).into()).is_err());
    }
}
