//! Parsers of blocks against random and damaged bytes.

use bygone_base::{BlockId, PackId, Ts};
use bygone_blockstore::BlockRef;
use bygone_tree::{
    LeafBuilder, NodeEntry, OpKind, Position, RunOp, fuzzing,
    node::{Node, parse_entries},
    run::{RunLeaf, RunLeafBuilder},
};
use bytes::Bytes;
use proptest::prelude::*;

use crate::util::{COLL, doc, key, set_v};

/// One small block of each kind, as fixtures keep them.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut docs = LeafBuilder::new(false);
    let mut capped = LeafBuilder::new(true);
    for id in 0..3 {
        docs.push(&doc(id, id, 4), Position::default());
        capped.push(&doc(id, id, 4), Position { ts: Ts::new(9, 1), n: 3 - id as u32 });
    }
    let entries: Vec<NodeEntry> = (0..3)
        .map(|id| NodeEntry {
            key: key(id * 100).into(),
            block: BlockRef { id: BlockId([id as u8; 32]), pack: PackId([0xee; 16]) },
            items: 300 + id as u64,
            bytes: 131_072,
            as_of: Ts::new(8, 1),
            valid_from: Ts::new(9, 1),
            max_ts: Ts(0),
        })
        .collect();
    let mut run = RunLeafBuilder::new();
    let set = set_v(3);
    let document = doc(2, 0, 4);
    let ops = [
        (1, OpKind::Insert, &document[..]),
        (2, OpKind::Update, &set),
        (3, OpKind::Replace, &document),
        (4, OpKind::Delete, &[]),
        (5, OpKind::Scan, &document),
    ];
    for (n, kind, value) in ops {
        run.push(&RunOp { coll: COLL, key: &key(2), ts: Ts::new(9, n), n, kind, value });
    }
    vec![
        ("documents", docs.finish()),
        ("capped", capped.finish()),
        ("node", Node::encode(1, &entries)),
        ("entries", bygone_tree::node::encode_entries(&entries)),
        ("run", run.finish()),
    ]
}

/// Whether a damaged block is accepted by its parser as far as framing goes.
fn accepts(name: &str, raw: &[u8]) -> bool {
    let raw = Bytes::copy_from_slice(raw);
    match name {
        "documents" | "capped" => bygone_tree::Leaf::parse(raw).is_ok(),
        "node" => Node::parse(&raw).is_ok(),
        "entries" => parse_entries(&raw).is_ok(),
        _ => RunLeaf::parse(raw).is_ok_and(|mut leaf| {
            loop {
                match leaf.advance() {
                    Ok(true) => {}
                    Ok(false) => return true,
                    Err(_) => return false,
                }
            }
        }),
    }
}

#[test]
fn every_truncation_is_refused() {
    for (name, raw) in samples() {
        assert!(accepts(name, &raw), "{name}");
        for len in 0..raw.len() {
            assert!(!accepts(name, &raw[..len]), "{name} cut at {len}");
        }
        let mut longer = raw.clone();
        longer.push(0);
        assert!(!accepts(name, &longer), "{name} with a byte more");
    }
}

fn fuzz(bytes: &[u8]) {
    fuzzing::fuzz_leaf(bytes);
    fuzzing::fuzz_node(bytes);
    fuzzing::fuzz_run(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn no_bytes_make_a_parser_panic(kind in 0..5u8, mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        bytes.insert(0, kind);
        fuzz(&bytes);
    }

    #[test]
    fn no_damage_makes_a_parser_panic(
        sample in 0..5usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (_, mut raw) = samples().swap_remove(sample);
        for (at, byte) in flips {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        fuzz(&raw);
    }
}

/// A block's name is the hash of its content, so no damage is ever parsed: it is found before.
#[test]
fn a_flipped_byte_of_any_block_of_a_store_is_refused() {
    crate::util::run(async {
        use crate::util::*;
        let place = place().await;
        let docs: Vec<Vec<u8>> = (0..40).map(|id| doc(id, 0, 5)).collect();
        let root = build(&place, &docs, 1).await.unwrap();
        let store = place.repo.store().clone();
        let pack = store.list("packs/", None).await.unwrap().remove(0);
        let body = store.get(&pack.name).await.unwrap();
        for at in (0..body.len()).step_by(7) {
            let mut bad = body.to_vec();
            bad[at] ^= 1;
            store.delete(&pack.name).await.unwrap();
            store.put_new(&pack.name, bad.into()).await.unwrap();
            let reader = bygone_blockstore::BlockReader::new(place.repo.clone(), 0);
            let options = bygone_tree::MergeOptions::new(COLL, Ts(5));
            let base = info(Some(root.clone()), 1);
            let read = async {
                let mut merge = bygone_tree::Merge::open(&reader, &base, &[], options).await?;
                while merge.next().await?.is_some() {}
                Ok::<(), bygone_base::Error>(())
            };
            assert!(read.await.is_err(), "byte {at}");
        }
    });
}
