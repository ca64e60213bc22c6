//! The promise of the format: what version 1 wrote is read for ever, byte for byte as it is in
//! `fixtures/v1`, and written the same. To make the files of a new version: remove its folder and run this
//! test twice.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::{fs, path::PathBuf};

use bson::rawdoc;
use bygone_base::{
    BlockId, CollectionId, OpTime, PackId, RepositoryId, SnapshotId, SyncId, TimelineId, Ts,
    UnixMillis,
};
use bygone_blockstore::BlockRef;
use bygone_snapshot::{
    Manifest, Policy, RunInfo, SourceInfo, Stats, Timeline,
    sync::{Listed, SliceKey, SyncEndRecord, SyncSliceRecord},
};
use bygone_tree::NodeEntry;
use bytes::Bytes;

fn block(n: u8) -> BlockRef {
    BlockRef { id: BlockId([n; 32]), pack: PackId([n + 100; 16]) }
}

fn manifest() -> Manifest {
    Manifest {
        id: "20261120T103000Z-1a2b3c4d".parse::<SnapshotId>().unwrap(),
        job: "prod".parse().unwrap(),
        part: "rs0".parse().unwrap(),
        timeline: TimelineId(3),
        repository: RepositoryId([4; 16]),
        oplog_repository: RepositoryId([5; 16]),
        at: OpTime::new(Ts::new(1_795_170_600, 7), 12),
        replay_from: OpTime::new(Ts::new(1_795_170_500, 1), 11),
        created: UnixMillis(1_795_170_601_234),
        catalogue: Some((block(6), 2)),
        runs: vec![RunInfo {
            root: block(7),
            level: 1,
            min: Ts::new(1_795_170_000, 0),
            max: Ts::new(1_795_170_600, 6),
            ops: 1_000_000_000_000,
            bytes: 5,
        }],
        oldest: Ts::new(1_795_000_000, 2),
        source: SourceInfo { set: "rs0".into(), version: "8.2.0".into(), fcv: "8.2".into() },
        stats: Stats {
            collections: 3,
            documents: 4,
            bytes: 5,
            new_blocks: 6,
            new_bytes: 7,
            folded: 8,
        },
        filter: rawdoc! { "mode": "all", "patterns": [] },
    }
}

fn timeline() -> Timeline {
    Timeline {
        id: TimelineId(2),
        start: OpTime::new(Ts::new(50, 1), 3),
        parent: Some((TimelineId(1), OpTime::new(Ts::new(49, 1), 2))),
        reason: "resync".into(),
        sync: Some(SyncId([8; 8])),
        created: UnixMillis(1_795_170_601_234),
    }
}

fn slice() -> SyncSliceRecord {
    SyncSliceRecord {
        key: SliceKey { coll: CollectionId([3; 16]), range: 2, seq: 7 },
        entries: vec![NodeEntry {
            key: Bytes::from_static(b"k"),
            block: block(9),
            items: 3,
            bytes: 99,
            as_of: Ts::new(5, 1),
            valid_from: Ts::new(6, 2),
            max_ts: Ts(0),
        }],
        runs: false,
        valid_from: Ts::new(6, 2),
        resume: Some(rawdoc! { "_id": 5 }),
        done: true,
        gone: false,
    }
}

fn end() -> SyncEndRecord {
    SyncEndRecord {
        end: OpTime::new(Ts::new(9, 9), 4),
        listed: vec![Listed {
            coll: CollectionId([1; 16]),
            db: "db".into(),
            name: "c".into(),
            indexes: vec!["_id_".into(), "a_1".into()],
        }],
    }
}

/// The bytes kept of `name`; writes them where there are none yet.
fn kept(name: &str, written: &[u8]) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    let path = folder.join(format!("{name}.bson"));
    if !path.exists() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&path, written).unwrap();
        panic!("the fixture was missing and has been written: look at it and keep it");
    }
    fs::read(path).unwrap()
}

#[test]
fn manifests() {
    let bytes = kept("manifest", &manifest().to_bson());
    assert_eq!(Manifest::from_bson(&bytes).unwrap(), manifest());
    assert_eq!(bytes, manifest().to_bson());
    let bare = Manifest { catalogue: None, runs: Vec::new(), ..manifest() };
    let bytes = kept("manifest-of-nothing", &bare.to_bson());
    assert_eq!(Manifest::from_bson(&bytes).unwrap(), bare);
    assert_eq!(bytes, bare.to_bson());
}

#[test]
fn timelines() {
    let bytes = kept("timeline", &timeline().to_bson());
    assert_eq!(Timeline::from_bson(&bytes).unwrap(), timeline());
    assert_eq!(bytes, timeline().to_bson());
}

#[test]
fn policies() {
    let policy = Policy { keep_last: Some(7), keep_within_secs: None, window_secs: 86_400 };
    let bytes = kept("policy", &policy.to_bson());
    assert_eq!(Policy::from_bson(&bytes).unwrap(), policy);
    assert_eq!(bytes, policy.to_bson());
}

#[test]
fn records_of_a_sync() {
    let bytes = kept("sync-slice", &slice().to_bson());
    assert_eq!(SyncSliceRecord::from_bson(&bytes).unwrap(), slice());
    assert_eq!(bytes, slice().to_bson());
    let bytes = kept("sync-end", &end().to_bson());
    assert_eq!(SyncEndRecord::from_bson(&bytes).unwrap(), end());
    assert_eq!(bytes, end().to_bson());
}

#[test]
fn a_newer_format_is_refused_and_cut_bytes_are_damage() {
    use bygone_base::ErrorKind::{Damaged, Unsupported};
    let mut newer = manifest().to_bson();
    // `format` is the first field: length, type, name, then its four bytes.
    newer[4 + 1 + 7] = 2;
    assert_eq!(Manifest::from_bson(&newer).unwrap_err().kind(), Unsupported);
    let whole = manifest().to_bson();
    for len in 0..whole.len() {
        assert_eq!(Manifest::from_bson(&whole[..len]).unwrap_err().kind(), Damaged, "{len}");
    }
}
