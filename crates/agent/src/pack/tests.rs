//! Packing: leaves and runs, cut, resumed and started again.

use bson::rawdoc;
use bygone_tree::{Leaf, cutter::cut_for, run::RunLeaf};
use bytes::Bytes;

use super::*;

const COLL: CollectionId = CollectionId([9; 16]);

fn doc(id: i64, size: usize) -> Vec<u8> {
    rawdoc! { "_id": id, "x": "y".repeat(size) }.into_bytes()
}

fn raw(block: &SyncBlock) -> Bytes {
    let raw = zstd::bulk::decompress(&block.zstd, block.raw_len as usize).unwrap();
    assert_eq!(raw.len(), block.raw_len as usize);
    raw.into()
}

fn leaf_docs(packed: &Packed) -> Vec<Vec<u8>> {
    let leaves = packed.blocks.iter().map(|b| Leaf::parse(raw(b)).unwrap());
    leaves.flat_map(|leaf| leaf.docs().map(<[u8]>::to_vec).collect::<Vec<_>>()).collect()
}

#[test]
fn a_slice_ends_at_a_leaf_and_names_its_last_document() {
    let mut packer = Packer::leaves(COLL, cut_for(1000), 1, 20_000);
    let mut sent = Vec::new();
    let mut id = 0;
    while !packer.is_full() {
        assert!(packer.push(&doc(id, 900)).unwrap());
        id += 1;
    }
    let first = packer.take(0, false).unwrap();
    sent.extend(leaf_docs(&first));
    let resume = first.resume.unwrap();
    assert_eq!(resume, rawdoc! { "_id": sent.len() as i64 - 1 }.into_bytes());
    // What was not sent is read again by the next scan, from the last `_id` on.
    let mut next = Packer::leaves(COLL, cut_for(1000), 1, 20_000);
    next.after(bygone_document::id_key(&resume).unwrap());
    for again in sent.len() as i64 - 1..id + 100 {
        next.push(&doc(again, 900)).unwrap();
    }
    sent.extend(leaf_docs(&next.take(1, true).unwrap()));
    let want: Vec<_> = (0..id + 100).map(|id| doc(id, 900)).collect();
    assert!(sent == want);
}

#[test]
fn equal_ids_are_taken_once_and_a_wrong_order_is_refused() {
    let mut packer = Packer::leaves(COLL, 0, 1, 1000);
    assert!(packer.push(&doc(5, 1)).unwrap());
    assert!(!packer.push(&rawdoc! { "_id": 5.0 }.into_bytes()).unwrap());
    assert!(packer.push(&doc(4, 1)).is_err());
    assert!(packer.push(&rawdoc! { "x": 1 }.into_bytes()).is_err());
}

#[test]
fn a_document_of_16_mib_is_a_leaf_of_its_own() {
    let mut packer = Packer::leaves(COLL, cut_for(1000), 1, 1 << 20);
    packer.push(&doc(1, 10)).unwrap();
    packer.push(&doc(2, (16 << 20) - 100)).unwrap();
    packer.push(&doc(3, 10)).unwrap();
    let packed = packer.take(0, true).unwrap();
    assert_eq!(leaf_docs(&packed).len(), 3);
    assert!(packed.blocks.len() >= 2);
}

#[test]
fn runs_are_sorted_by_key_and_later_readings_stand_higher() {
    let mut packer = Packer::runs(COLL, Ts(7), 1, 1 << 20);
    for seq in 0..2 {
        for id in [30, 10, 20, 10] {
            assert!(packer.push(&doc(id, 10)).unwrap());
        }
        let packed = packer.take(seq, false).unwrap();
        let mut leaf = RunLeaf::parse(raw(&packed.blocks[0])).unwrap();
        let mut seen = Vec::new();
        while leaf.advance().unwrap() {
            let op = leaf.op().unwrap();
            assert_eq!((op.coll, op.ts, op.kind), (COLL, Ts(7), OpKind::Scan));
            seen.push((op.value[9], op.n));
        }
        let base = seq << 16;
        assert_eq!(seen, [(10, base + 1), (10, base + 3), (20, base + 2), (30, base)]);
        assert_eq!(packed.blocks[0].items, 4);
        assert!(packed.blocks[0].first_key.starts_with(&COLL.0));
    }
    assert!(packer.take(65_535, true).unwrap().blocks.is_empty());
    assert!(packer.take(65_536, true).is_err());
}

#[test]
fn clearing_forgets_what_was_not_sent() {
    for mut packer in [Packer::runs(COLL, Ts(7), 1, 1 << 20), Packer::leaves(COLL, 0, 1, 1 << 20)] {
        packer.push(&doc(1, 10)).unwrap();
        packer.clear();
        assert!(packer.take(0, true).unwrap().blocks.is_empty());
    }
}
