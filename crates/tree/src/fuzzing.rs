//! Bodies of the fuzz targets: none may panic, whatever the bytes.

use bytes::Bytes;

use crate::{leaf::Leaf, node, run::RunLeaf};

/// A leaf of documents from outside.
pub fn fuzz_leaf(bytes: &[u8]) {
    let Ok(leaf) = Leaf::parse(Bytes::copy_from_slice(bytes)) else { return };
    let docs = leaf.docs().map(<[u8]>::len).sum::<usize>();
    let positions = (0..leaf.len()).filter_map(|index| leaf.position(index)).count();
    // What was accepted is consistent.
    assert_eq!(docs, leaf.docs_bytes().len());
    assert_eq!(positions, if leaf.is_capped() { leaf.len() } else { 0 });
}

/// A node from outside: what is accepted comes out as it went in, or shorter (numbers may be overlong).
pub fn fuzz_node(bytes: &[u8]) {
    let raw = Bytes::copy_from_slice(bytes);
    if let Ok(node) = node::Node::parse(&raw) {
        let again: Bytes = node::Node::encode(node.level, &node.entries).into();
        assert!(again.len() <= raw.len());
        assert_eq!(node::Node::parse(&again).ok(), Some(node));
    }
    let _ = node::parse_entries(&raw);
}

/// A run's leaf from outside.
pub fn fuzz_run(bytes: &[u8]) {
    let Ok(mut leaf) = RunLeaf::parse(Bytes::copy_from_slice(bytes)) else { return };
    while let Ok(true) = leaf.advance() {
        assert!(leaf.op().is_some());
    }
}
