use bson::rawdoc;
use bygone_base::{
    CollectionId, Epoch, Error, ErrorKind, OpTime, SyncId, TimelineId, Ts, UnixMillis,
};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    filter::{Filter, Mode},
    testing::at,
    uplink::{
        Ack, AgentReport, CollectionPlan, Hello, ListedCollection, PartKey, PartState,
        RangeProgress, Session, SessionRef, Source, SyncBlock, SyncEnd, SyncPlan, SyncSlice,
        TimelineReason,
    },
};

fn key() -> PartKey {
    PartKey { job: "prod".parse().unwrap(), part: "rs0".parse().unwrap() }
}

fn reference() -> SessionRef {
    SessionRef { key: key(), epoch: Epoch(u64::MAX), timeline: TimelineId(u32::MAX) }
}

fn hello() -> Hello {
    Hello {
        key: key(),
        agent: "a1".into(),
        host: "h".into(),
        server_version: "8.2.0".into(),
        fcv: "8.2".into(),
        filter: Filter::new(Mode::Deny, vec!["a.*".into(), "b.c".into()]).unwrap(),
        take_over: true,
        identity: Some(CollectionId([4; 16])),
    }
}

fn plan() -> SyncPlan {
    let collection = CollectionPlan {
        coll: CollectionId([3; 16]),
        db: "d".into(),
        name: "c.with.dots".into(),
        options: rawdoc! { "capped": true },
        indexes: vec![rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
        natural: true,
        cut: u64::MAX,
        docs: 5,
        bytes: 1 << 50,
        ranges: vec![vec![1], vec![1, 2]],
        bounds: vec![rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }],
    };
    SyncPlan {
        sync: SyncId([9; 8]),
        start: OpTime::new(Ts::new(u32::MAX, 7), -1),
        settled: Ts::new(u32::MAX, 9),
        collections: vec![collection],
        views: vec![rawdoc! { "_id": "d.v", "viewOn": "c", "pipeline": [] }],
        filter: Filter::all(),
        source: Source {
            set: "rs0".into(),
            version: "8.2.0".into(),
            fcv: "8.2".into(),
            identity: None,
        },
    }
}

fn states() -> Vec<PartState> {
    let progress = |resume| RangeProgress {
        coll: CollectionId([3; 16]),
        range: 1,
        next_seq: 2,
        resume,
        done: false,
    };
    let resume = Some(rawdoc! { "_id": 5 }.into_bytes());
    vec![
        PartState::Empty { why: None },
        PartState::Empty { why: Some("another set".into()) },
        PartState::Syncing {
            plan: Some(Box::new(plan())),
            sync: SyncId([9; 8]),
            start: at(5),
            chain: at(6),
            progress: vec![progress(None), progress(resume)],
            ended: true,
        },
        PartState::Syncing {
            plan: None,
            sync: SyncId([9; 8]),
            start: at(5),
            chain: at(6),
            progress: vec![],
            ended: false,
        },
        PartState::Tailing { chain: at(6), recent: vec![at(6), at(2)] },
    ]
}

fn slice() -> SyncSlice {
    let block = |zstd: &'static [u8]| SyncBlock {
        raw_len: u32::MAX,
        items: 3,
        first_key: vec![1, 0, 255],
        zstd: Bytes::from_static(zstd),
    };
    SyncSlice {
        sync: SyncId([9; 8]),
        coll: CollectionId([3; 16]),
        range: 1,
        seq: 2,
        runs: true,
        valid_from: Ts(77),
        resume: Some(rawdoc! { "_id": "x" }.into_bytes()),
        done: true,
        gone: false,
        blocks: vec![block(b"one"), block(b""), block(b"three")],
    }
}

fn end() -> SyncEnd {
    SyncEnd {
        sync: SyncId([9; 8]),
        end: at(9),
        listed: vec![ListedCollection {
            coll: CollectionId([3; 16]),
            db: "d".into(),
            name: "c".into(),
            indexes: vec!["_id_".into()],
        }],
    }
}

fn report() -> Report {
    let report = AgentReport {
        phase: "tailing".into(),
        documents: u64::MAX,
        chain: at(4),
        at: UnixMillis(-1),
        ..AgentReport::default()
    };
    Report { session: reference(), report }
}

#[test]
fn every_message_reads_back() {
    assert_eq!(decode_hello(&encode_hello(&hello())).unwrap(), hello());
    for state in states() {
        let session = Session { epoch: Epoch(3), timeline: TimelineId(2), state };
        assert_eq!(decode_session(&encode_session(&session)).unwrap(), session);
    }
    let begin = BeginSync { session: reference(), start: at(5), reason: TimelineReason::RollOver };
    assert_eq!(BeginSync::decode(&begin.encode()).unwrap(), begin);
    let begun = (TimelineId(4), SyncId([1; 8]));
    assert_eq!(decode_sync_begun(&encode_sync_begun(begun.0, begun.1)).unwrap(), begun);
    let planned = decode_plan_sync(&encode_plan_sync(&reference(), &plan())).unwrap();
    assert_eq!(planned, (reference(), plan()));
    let sliced = encode_sync_slice(&reference(), &slice());
    assert_eq!(decode_sync_slice(&sliced.into()).unwrap(), (reference(), slice()));
    let ended = decode_sync_end(&encode_sync_end(&reference(), &end())).unwrap();
    assert_eq!(ended, (reference(), end()));
    let oplog = encode_oplog_slice(&reference(), b"bytes");
    assert_eq!(decode_oplog_slice(&oplog.into()).unwrap(), (reference(), Bytes::from("bytes")));
    let fork = Fork { session: reference(), common: at(8) };
    assert_eq!(Fork::decode(&fork.encode()).unwrap(), fork);
    assert_eq!(decode_fork_reply(&encode_fork_reply(TimelineId(8))).unwrap(), TimelineId(8));
    assert_eq!(Report::decode(&report().encode()).unwrap(), report());
    for ack in [Ack::Stored, Ack::AlreadyStored] {
        assert_eq!(decode_ack(&encode_ack(ack)).unwrap(), ack);
    }
}

#[test]
fn errors_keep_their_kind_and_hint() {
    let error = Error::new(ErrorKind::Conflict, "fenced").hint("stop");
    let back = decode_error(&encode_error(&error)).unwrap();
    assert_eq!(
        (back.kind(), back.message(), back.hint_text()),
        (ErrorKind::Conflict, "fenced", Some("stop"))
    );
    let back = decode_error(&encode_error(&Error::internal("x"))).unwrap();
    assert_eq!((back.kind(), back.hint_text()), (ErrorKind::Internal, None));
}

#[test]
fn names_that_would_leave_their_folder_are_refused() {
    let bytes = encode_hello(&hello());
    let mut doc = rawdoc! { "job": "../x", "part": "rs0" };
    for field in bson::RawDocument::from_bytes(&bytes).unwrap().iter().skip(2) {
        let (name, value) = field.unwrap();
        doc.append(name, value);
    }
    assert_eq!(decode_hello(doc.as_bytes()).unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn blocks_must_be_as_long_as_they_say() {
    let bytes: Bytes = encode_sync_slice(&reference(), &slice()).into();
    for cut in 0..bytes.len() {
        assert!(decode_sync_slice(&bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let mut longer = bytes.to_vec();
    longer.push(1);
    assert!(decode_sync_slice(&longer.into()).is_err());
}

/// Every decoder on the same bytes: none may panic.
fn decode_all(bytes: &Bytes) {
    let _ = decode_hello(bytes);
    let _ = decode_session(bytes);
    let _ = BeginSync::decode(bytes);
    let _ = decode_sync_begun(bytes);
    let _ = decode_plan_sync(bytes);
    let _ = decode_sync_slice(bytes);
    let _ = decode_sync_end(bytes);
    let _ = decode_oplog_slice(bytes);
    let _ = Fork::decode(bytes);
    let _ = decode_fork_reply(bytes);
    let _ = Report::decode(bytes);
    let _ = decode_ack(bytes);
    let _ = decode_error(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_a_decoder_panic(
        which in 0..5usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let session = Session { epoch: Epoch(3), timeline: TimelineId(2), state: states().remove(1) };
        let mut bytes = match which {
            0 => encode_hello(&hello()),
            1 => encode_session(&session),
            2 => encode_plan_sync(&reference(), &plan()),
            3 => encode_sync_slice(&reference(), &slice()),
            _ => encode_sync_end(&reference(), &end()),
        };
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        decode_all(&bytes.into());
    }
}
