//! One document and its operations: what counts, what is tolerated, what is damage.

use bson::rawdoc;
use bygone_base::{ErrorKind, Ts};
use bygone_tree::{
    OpKind, Position, RunOp, TreeInfo,
    resolve::{Resolver, Window},
};

use crate::util::*;

const WINDOW: Window = Window { as_of: Ts(10), valid_from: Ts(20), at: Ts(30) };

fn apply(
    base: Option<&[u8]>,
    ops: &[(u64, OpKind, &[u8])],
) -> bygone_base::Result<Option<Vec<u8>>> {
    let mut resolver = Resolver::new();
    resolver.begin(base.map(|_| Position::default()));
    let doc = base.unwrap_or_default();
    for (ts, kind, value) in ops {
        let (coll, key, n) = (COLL, key(1), 0);
        let op = RunOp { coll, key: &key, ts: Ts(*ts), n, kind: *kind, value };
        resolver.apply(doc, &op, &WINDOW)?;
    }
    Ok(resolver.result(doc).map(|(doc, _)| doc.to_vec()))
}

#[test]
fn only_operations_within_the_window_count() {
    let (old, new) = (doc(1, 0, 3), doc(1, 5, 3));
    let ops = [(10, OpKind::Delete, &[][..]), (31, OpKind::Delete, &[])];
    assert_eq!(apply(Some(&old), &ops).unwrap(), Some(old.clone()));
    let ops = [(11, OpKind::Update, &set_v(5)[..])];
    assert_eq!(apply(Some(&old), &ops).unwrap(), Some(new.clone()));
    assert_eq!(apply(Some(&old), &[(30, OpKind::Delete, &[])]).unwrap(), None);
    assert_eq!(apply(None, &[(30, OpKind::Replace, &new)]).unwrap(), Some(new));
}

#[test]
fn an_update_without_its_document_is_damage_after_the_fuzzy_window_only() {
    let set = set_v(5);
    assert_eq!(apply(None, &[(20, OpKind::Update, &set)]).unwrap(), None);
    let error = apply(None, &[(21, OpKind::Update, &set)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let text = error.to_string();
    assert!(
        text.contains("c0c0c0c0-c0c0") && text.contains("0:21") && text.contains("_id"),
        "{text}"
    );
    let ops = [(22, OpKind::Delete, &[][..]), (23, OpKind::Update, &set)];
    assert!(apply(Some(&doc(1, 0, 0)), &ops).is_err());
}

#[test]
fn an_update_that_does_not_fit_is_tolerated_within_the_window_only() {
    let old = doc(1, 0, 3);
    let deep = rawdoc! { "$v": 2, "diff": { "sv": { "u": { "x": 1 } } } }.into_bytes();
    assert!(apply(Some(&old), &[(20, OpKind::Update, &deep)]).is_ok());
    let error = apply(Some(&old), &[(21, OpKind::Update, &deep)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
}

#[test]
fn an_unknown_form_of_update_stops_in_any_case() {
    let odd = rawdoc! { "$v": 3, "diff": { "u": { "v": 1 } } }.into_bytes();
    for ts in [20, 21] {
        let error = apply(Some(&doc(1, 0, 3)), &[(ts, OpKind::Update, &odd)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("0:2"), "{error}");
    }
}

#[test]
fn an_upsert_makes_the_document_or_changes_it() {
    let value = upsert(1, 4, 3);
    assert_eq!(apply(None, &[(25, OpKind::Upsert, &value)]).unwrap(), Some(doc(1, 4, 3)));
    let old = rawdoc! { "_id": 1, "z": 1 }.into_bytes();
    let new = rawdoc! { "_id": 1, "z": 1, "v": 4, "s": "xxx" }.into_bytes();
    assert_eq!(apply(Some(&old), &[(25, OpKind::Upsert, &value)]).unwrap(), Some(new));
    assert!(apply(None, &[(25, OpKind::Upsert, &value[..9])]).is_err());
    assert!(apply(None, &[(25, OpKind::Upsert, &[])]).is_err());
}

/// A collection in collation order is scanned into runs above an empty base.
#[test]
fn a_fuzzy_scan_into_runs_tolerates_its_own_window() {
    run(async {
        let place = place().await;
        let mut base = TreeInfo::empty(CUT, Ts(10));
        base.valid_from = Ts(20);
        let ops = [
            Op::new(1, 11, OpKind::Scan, doc(1, 0, 2)),
            Op::new(2, 15, OpKind::Update, set_v(3)),
            Op::new(2, 16, OpKind::Delete, Vec::new()),
            Op::new(1, 25, OpKind::Update, set_v(3)),
        ];
        let runs = [write_run(&place, &ops).await.unwrap()];
        assert_eq!(read_at(&place, &base, &runs, 25).await.unwrap(), doc(1, 3, 2));
        assert!(read_at(&place, &base, &runs, 19).await.is_err());
    });
}
