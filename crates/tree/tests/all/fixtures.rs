//! The bytes of version 1, kept for ever: what is written today equals them, and they can be read.
//! `BLESS=1` writes fixtures that do not exist yet; it never changes one.

use std::path::PathBuf;

use crate::formats::samples;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(format!("{name}.hex"))
}

#[test]
fn version_1_is_written_and_read_as_ever() {
    for (name, raw) in samples() {
        let path = path(name);
        if std::env::var_os("BLESS").is_some() && !path.exists() {
            std::fs::write(&path, format!("{}\n", hex::encode(&raw))).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(hex::encode(&raw), kept.trim(), "{name}");
    }
}

#[test]
fn cuts_of_version_1_do_not_move() {
    use bygone_tree::cutter::{Cutter, node_ends};
    let key = |id: u32| [&[0x48, 0, 0, 0, 0, 0, 0, 0, 0][..], &id.to_be_bytes()].concat();
    let mut cutter = Cutter::new(u64::MAX / 100);
    let ends: Vec<u32> = (0..500).filter(|id| cutter.push(&key(*id), 100)).collect();
    let nodes: Vec<u32> = (0..1500).filter(|id| node_ends(&key(*id), 2, 0)).collect();
    assert_eq!(ends, LEAF_ENDS);
    assert_eq!(nodes, NODE_ENDS);
}

const LEAF_ENDS: &[u32] = &[7, 40, 96, 257, 362, 492];
const NODE_ENDS: &[u32] = &[96, 257, 362, 693, 702, 1007, 1104, 1238, 1427];
