//! The rules, one by one, as seen on real servers 4.4, 5.0 and 8.2.

mod modifiers;
mod properties;

use bson::{Bson, Document, doc};

use super::*;
use crate::key::model::{Value, document};

fn bytes(doc: &Document) -> Vec<u8> {
    doc.to_vec().unwrap()
}

fn v2(diff: Document) -> Vec<u8> {
    bytes(&doc! {"$v": 2, "diff": diff})
}

fn run(pre: &[u8], o: &[u8]) -> Result<(Vec<u8>, Applied)> {
    let mut out = b"kept".to_vec();
    let result = apply(pre, o, &mut out);
    assert!(out.starts_with(b"kept"));
    assert!(result.is_ok() || out.len() == 4, "bytes left behind an error");
    result.map(|applied| (out.split_off(4), applied))
}

/// Applies `o` and expects `post`; returns what happened on the way.
#[track_caller]
fn expect(pre: &Document, o: &[u8], post: &Document) -> Applied {
    let (out, applied) = run(&bytes(pre), o).unwrap();
    assert_eq!(Document::from_reader(&out[..]).unwrap(), *post);
    assert_eq!(out, bytes(post));
    applied
}

#[track_caller]
fn refused(pre: &Document, o: &[u8]) -> Error {
    run(&bytes(pre), o).unwrap_err()
}

fn int(value: i32) -> Value {
    Value::Int(value)
}

fn fields(list: &[(&str, Value)]) -> Vec<(Vec<u8>, Value)> {
    list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone())).collect()
}

fn raw(list: &[(&str, Value)]) -> Vec<u8> {
    document(&fields(list))
}

fn array(list: &[(&str, Value)]) -> Value {
    Value::Array(fields(list))
}

#[test]
fn the_form_is_told_by_id_then_version() {
    let form = |o: Document| classify(&bytes(&o));
    assert_eq!(form(doc! {"_id": 1, "$v": 2, "diff": {}}), Ok(Form::Replacement));
    assert_eq!(form(doc! {"$v": 1, "$set": {}, "_id": 1}), Ok(Form::Replacement));
    assert_eq!(form(doc! {"$v": 2, "diff": {}}), Ok(Form::DiffV2));
    assert_eq!(form(doc! {"diff": {}, "$v": 2_i64}), Ok(Form::DiffV2));
    assert_eq!(form(doc! {"$v": 1, "$set": {}}), Ok(Form::ModifiersV1));
    assert_eq!(form(doc! {"$set": {}, "$v": 1}), Ok(Form::ModifiersV1));
    assert_eq!(form(doc! {"$set": {"a": 1}}), Ok(Form::ModifiersV1));
    assert_eq!(form(doc! {"a": 1, "$v": 1}), Ok(Form::Replacement));
    assert_eq!(form(doc! {}), Ok(Form::Replacement));
    assert_eq!(form(doc! {"$v": 3}), Err(Error::UnknownUpdate("$v: 3".into())));
    assert_eq!(form(doc! {"$v": "x"}), Err(Error::UnknownUpdate("$v of type string".into())));
}

#[test]
fn a_replacement_is_taken_whole() {
    let o = doc! {"_id": 5.0, "$v": 2, "diff": {"u": {"a": 1}}, "$set": 1};
    let applied = expect(&doc! {"_id": 5, "a": 1}, &bytes(&o), &o);
    assert_eq!(applied.form, Form::Replacement);
    assert!(run(b"no document", &bytes(&o)).is_ok(), "the pre-image is not needed");
}

#[test]
fn a_replacement_gets_its_id_in_front() {
    let pre = doc! {"_id": 5, "a": 1};
    expect(&pre, &bytes(&doc! {"q": 1, "_id": 5.0}), &doc! {"_id": 5.0, "q": 1});
    expect(&pre, &bytes(&doc! {"q": 1}), &doc! {"_id": 5, "q": 1});
    expect(&pre, &bytes(&doc! {}), &doc! {"_id": 5});
    assert_eq!(refused(&doc! {}, &bytes(&doc! {"q": 1})), Error::MissingId);
}

#[test]
fn fields_are_deleted_updated_and_inserted() {
    let pre = doc! {"_id": 1, "a": 1, "b": 2, "c": 3, "d": 4};
    let diff = doc! {"d": {"a": false}, "u": {"c": "new", "x": 8}, "i": {"b": 9, "y": 10}};
    let post = doc! {"_id": 1, "c": "new", "d": 4, "x": 8, "b": 9, "y": 10};
    let applied = expect(&pre, &v2(diff), &post);
    assert_eq!(applied.missing_updates, 1);
    assert!(!applied.is_anomalous());
}

/// As 5.0 and 8.2 log and store what pipelines do to `_id`.
#[test]
fn an_id_stays_in_front_and_may_change_its_type() {
    let pre = doc! {"_id": 5, "a": 1, "b": 2};
    let without = doc! {"d": {"_id": false}, "u": {"b": 6}};
    expect(&pre, &v2(without), &doc! {"_id": 5, "a": 1, "b": 6});
    let moved = doc! {"i": {"a": 1, "_id": 5.0}};
    expect(&pre, &v2(moved), &doc! {"_id": 5.0, "b": 2, "a": 1});
    let typed = doc! {"u": {"_id": 5_i64, "a": 3}};
    expect(&pre, &v2(typed), &doc! {"_id": 5_i64, "a": 3, "b": 2});
    let inside = doc! {"s_id": {"u": {"y": 2.0}}};
    let pre = doc! {"_id": {"x": 1, "y": 2}, "a": 1};
    expect(&pre, &v2(inside), &doc! {"_id": {"x": 1, "y": 2.0}, "a": 1});
    for other in [doc! {"u": {"_id": 7}}, doc! {"i": {"_id": "x"}}, doc! {"s_id": {"u": {"y": 3}}}]
    {
        let error = refused(&pre, &v2(other));
        assert!(error.to_string().contains("_id to another value"), "{error}");
    }
}

#[test]
fn names_of_diffs_are_never_split() {
    let pre = doc! {"a.b": 1, "": 2, "$x": 3, "0": 4};
    let diff = doc! {"u": {"a.b": 7, "": 8, "$x": 9, "0": 10}};
    expect(&pre, &v2(diff), &doc! {"a.b": 7, "": 8, "$x": 9, "0": 10});
    let diff = doc! {"s": {"u": {"a": 2}}};
    expect(&doc! {"": {"a": 1}}, &v2(diff), &doc! {"": {"a": 2}});
}

#[test]
fn sub_diffs_reach_nested_values() {
    let pre = doc! {"o": {"p": {"q": [{"a": 1}, 5]}}};
    let diff = doc! {"so": {"sp": {"sq": {"a": true, "s0": {"u": {"a": 5}, "i": {"b": 6}}}}}};
    expect(&pre, &v2(diff), &doc! {"o": {"p": {"q": [{"a": 5, "b": 6}, 5]}}});
}

#[test]
fn a_sub_diff_of_another_type_gives_null() {
    let object = || v2(doc! {"sx": {"u": {"0": 1}}});
    let list = || v2(doc! {"sx": {"a": true, "u0": 1}});
    for (pre, o) in [
        (doc! {"x": [1]}, object()),
        (doc! {"x": 1}, object()),
        (doc! {"x": {"a": 1}}, list()),
        (doc! {"x": Bson::Null}, list()),
    ] {
        let applied = expect(&pre, &o, &doc! {"x": Bson::Null});
        assert_eq!(applied.type_mismatches, 1);
        assert!(applied.is_anomalous());
    }
    let applied = expect(&doc! {"y": 1}, &object(), &doc! {"y": 1});
    assert!(!applied.is_anomalous());
}

#[test]
fn arrays_change_grow_and_shrink() {
    let pre = doc! {"x": [0, 1, 2, 3]};
    let diff = |d: Document| v2(doc! {"sx": d});
    let null = Bson::Null;
    expect(&pre, &diff(doc! {"a": true, "u1": 9}), &doc! {"x": [0, 9, 2, 3]});
    expect(&pre, &diff(doc! {"a": true, "l": 2}), &doc! {"x": [0, 1]});
    expect(&pre, &diff(doc! {"a": true, "l": 0}), &doc! {"x": []});
    expect(&pre, &diff(doc! {"a": true, "l": 2, "u0": "n"}), &doc! {"x": ["n", 1]});
    let post = doc! {"x": [0, 1, 2, 3, &null, 9]};
    expect(&pre, &diff(doc! {"a": true, "u5": 9}), &post);
    let post = doc! {"x": [0, 1, 2, 3, &null, &null]};
    expect(&pre, &diff(doc! {"a": true, "l": 6}), &post);
    let applied = expect(&pre, &diff(doc! {"a": true, "s5": {"u": {"z": 1}}}), &post);
    assert_eq!(applied.beyond_array, 1);
    expect(&pre, &diff(doc! {"a": true, "u01": 9}), &doc! {"x": [0, 9, 2, 3]});
}

#[test]
fn wrong_array_keys_are_put_right_by_a_diff() {
    let pre = raw(&[("x", array(&[("5", int(1)), ("7", int(2)), ("q", int(3))]))]);
    let (out, _) = run(&pre, &v2(doc! {"sx": {"a": true, "u1": 9}})).unwrap();
    assert_eq!(out, bytes(&doc! {"x": [1, 9, 3]}));
    let untouched = array(&[("5", int(1)), ("7", int(2)), ("q", int(3))]);
    let (out, _) = run(&pre, &v2(doc! {"u": {"y": 9}})).unwrap();
    assert_eq!(out, raw(&[("x", untouched), ("y", int(9))]));
}

#[test]
fn all_duplicates_of_a_name_are_changed_and_counted() {
    let pre = raw(&[("a", int(1)), ("b", int(2)), ("a", int(3)), ("a", int(4))]);
    let (out, applied) = run(&pre, &v2(doc! {"u": {"a": 9}})).unwrap();
    assert_eq!(out, raw(&[("a", int(9)), ("b", int(2)), ("a", int(9)), ("a", int(9))]));
    assert_eq!(applied.duplicates, 1);
    let (out, _) = run(&pre, &v2(doc! {"d": {"a": false}})).unwrap();
    assert_eq!(out, raw(&[("b", int(2))]));
    let (out, _) = run(&pre, &v2(doc! {"i": {"a": 9}})).unwrap();
    assert_eq!(out, raw(&[("b", int(2)), ("a", int(9))]));
    let (out, applied) = run(&pre, &v2(doc! {"u": {"b": 9}})).unwrap();
    assert_eq!(out, raw(&[("a", int(1)), ("b", int(9)), ("a", int(3)), ("a", int(4))]));
    assert_eq!(applied.duplicates, 0);
}

#[test]
fn binary_diffs_keep_bytes_and_put_others_behind() {
    let column = |subtype, bytes: &[u8]| raw(&[("x", Value::Binary(subtype, bytes.to_vec()))]);
    let data = Bson::Binary(bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes: b"ZZ".to_vec(),
    });
    let diff = |offset: i32| v2(doc! {"b": {"x": {"o": offset, "d": &data}}});
    let pre = column(7, b"abcd");
    for (offset, expected) in [(0, "ZZ"), (2, "abZZ"), (4, "abcdZZ")] {
        let (out, applied) = run(&pre, &diff(offset)).unwrap();
        assert_eq!(out, column(7, expected.as_bytes()));
        assert!(!applied.is_anomalous());
    }
    let (out, applied) = run(&pre, &diff(5)).unwrap();
    assert_eq!((out, applied.type_mismatches), (pre.clone(), 1));
    let (_, applied) = run(&column(0, b"abcd"), &diff(2)).unwrap();
    assert_eq!(applied.type_mismatches, 1);
    let applied = expect(&doc! {"x": 4}, &diff(2), &doc! {"x": Bson::Null});
    assert_eq!(applied.type_mismatches, 1);
    expect(&doc! {"y": 4}, &diff(2), &doc! {"y": 4});
    assert!(matches!(refused(&doc! {}, &diff(-1)), Error::BadUpdate(_)));
}

#[test]
fn diffs_that_no_server_applies_are_refused() {
    let pre = doc! {"a": 1, "o": {"a": 1}, "x": [1, 2, 3]};
    for diff in [
        doc! {},
        doc! {"so": {}},
        doc! {"i": {"c": 1}, "u": {"a": 9}},
        doc! {"so": {"u": {"a": 4}}, "u": {"a": 9}},
        doc! {"u": {"a": 1}, "i": {"a": 2}},
        doc! {"sx": {"a": false, "u1": 8}},
        doc! {"sx": {"a": true, "l": -1}},
        doc! {"sx": {"a": true, "u4": 9, "u1": 8}},
        doc! {"sx": {"a": true, "u1": 9, "u01": 8}},
        doc! {"sx": {"a": true, "l": 2, "u2": 8}},
        doc! {"sx": {"a": true, "u": 8}},
        doc! {"sx": {"a": true, "u+1": 8}},
        doc! {"sx": {"a": true, "u99999999999": 8}},
    ] {
        let error = refused(&pre, &v2(diff.clone()));
        assert!(matches!(error, Error::BadUpdate(_)), "{diff}: {error}");
    }
    let twice = Value::Document(fields(&[("a", int(5)), ("a", int(6))]));
    let twice = Value::Document(fields(&[("u", twice)]));
    let o = raw(&[("$v", int(2)), ("diff", twice)]);
    assert!(refused(&pre, &o).to_string().contains("twice"));
}

#[test]
fn unknown_sections_are_named() {
    let pre = doc! {"x": [1]};
    let error = refused(&pre, &v2(doc! {"q": {"a": 1}}));
    assert_eq!(error, Error::UnknownUpdate("section \"q\" in a diff".into()));
    let error = refused(&pre, &v2(doc! {"sx": {"a": true, "d1": 1}}));
    assert_eq!(error, Error::UnknownUpdate("section \"d1\" in an array diff".into()));
    let error = refused(&pre, &bytes(&doc! {"$v": 2}));
    assert_eq!(error, Error::MissingField("diff".into()));
}

#[test]
fn positions_far_away_are_errors_not_allocations() {
    let pre = doc! {"x": [1]};
    for diff in
        [doc! {"sx": {"a": true, "l": i32::MAX}}, doc! {"sx": {"a": true, "u2000000000": 1}}]
    {
        assert!(matches!(refused(&pre, &v2(diff)), Error::TooLarge { .. }));
    }
}

#[test]
fn large_diffs_are_looked_up_by_name() {
    let pre: Document = (0..500).map(|n| (format!("f{n}"), Bson::Int32(n))).collect();
    let changed: Document = (0..500).rev().map(|n| (format!("f{n}"), Bson::Int32(-n))).collect();
    let post: Document = (0..500).map(|n| (format!("f{n}"), Bson::Int32(-n))).collect();
    let applied = expect(&pre, &v2(doc! {"u": &changed}), &post);
    assert_eq!(applied.missing_updates, 0);
    expect(&doc! {}, &v2(doc! {"u": &changed}), &changed);
    let both = doc! {"u": &changed, "i": {"f7": 1}};
    assert!(refused(&pre, &v2(both)).to_string().contains("\"f7\""));
}

#[test]
fn deep_diffs_are_bounded() {
    let mut diff = doc! {"u": {"a": 1}};
    let mut pre = doc! {"a": 0};
    for _ in 0..MAX_DEPTH {
        diff = doc! {"sa": diff};
        pre = doc! {"a": pre};
    }
    assert_eq!(refused(&pre, &v2(diff)), Error::TooDeep);
}
