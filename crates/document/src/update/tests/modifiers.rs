//! `$set` and `$unset`, as 4.4 and 5.0 under FCV 4.4 apply them.

use super::*;

fn v1(o: Document) -> Vec<u8> {
    let mut all = doc! {"$v": 1};
    all.extend(o);
    bytes(&all)
}

fn set(fields: Document) -> Vec<u8> {
    v1(doc! {"$set": fields})
}

#[test]
fn paths_are_set_and_unset() {
    let pre = doc! {"_id": 1, "a": 1, "o": {"x": 1, "y": 2}, "b": 2};
    let o = v1(
        doc! {"$set": {"a": 9, "o.x": 8, "p.q.r": 7, "z": 6}, "$unset": {"b": true, "o.y": true}},
    );
    let post = doc! {"_id": 1, "a": 9, "o": {"x": 8}, "p": {"q": {"r": 7}}, "z": 6};
    let applied = expect(&pre, &o, &post);
    assert!(!applied.is_anomalous());
    expect(&pre, &bytes(&doc! {"$set": {"a": 9}}), &{
        let mut post = pre.clone();
        post.insert("a", 9);
        post
    });
    expect(&pre, &v1(doc! {"$unset": {"no.such.path": true}}), &pre);
    expect(&pre, &v1(doc! {}), &pre);
    expect(&pre, &set(doc! {}), &pre);
}

#[test]
fn new_fields_come_in_the_logged_order() {
    // 4.4 logs bytes in order, 5.0 numbers by value; other lists are walked as 4.4 would.
    let bytewise = doc! {"10": 1, "9": 2, "A": 3, "_": 4, "b": 5};
    expect(&doc! {}, &set(bytewise.clone()), &bytewise);
    let by_value = doc! {"9": 3, "11": 1, "B": 2, "_": 3, "b": 1};
    expect(&doc! {}, &set(by_value.clone()), &by_value);
    expect(&doc! {}, &set(doc! {"b": 1, "a": 2}), &doc! {"a": 2, "b": 1});
    let o = set(doc! {"x.b": 1, "q": 5, "x.a": 2});
    expect(&doc! {}, &o, &doc! {"q": 5, "x": {"a": 2, "b": 1}});
    let o = set(doc! {"a-b": 1, "a.b": 2});
    expect(&doc! {}, &o, &doc! {"a": {"b": 2}, "a-b": 1});
}

#[test]
fn numbers_are_positions_in_arrays_only() {
    let null = Bson::Null;
    let pre = doc! {"x": [1, {"k": 1}]};
    expect(&pre, &set(doc! {"x.0": 9, "x.1.k": 8}), &doc! {"x": [9, {"k": 8}]});
    expect(&pre, &set(doc! {"x.01.k": 8}), &doc! {"x": [1, {"k": 8}]});
    expect(&pre, &set(doc! {"x.4": 9}), &doc! {"x": [1, {"k": 1}, &null, &null, 9]});
    expect(&pre, &set(doc! {"x.3.q": 9}), &doc! {"x": [1, {"k": 1}, &null, {"q": 9}]});
    let o = v1(doc! {"$unset": {"x.0": true, "x.1.k": true, "x.7": true}});
    expect(&pre, &o, &doc! {"x": [&null, {}]});
    expect(&doc! {}, &set(doc! {"x.0": 9}), &doc! {"x": {"0": 9}});
}

#[test]
fn blocked_paths_are_skipped_and_counted() {
    for (pre, path) in [
        (doc! {"a": 1}, "a.b"),
        (doc! {"a": Bson::Null}, "a.b"),
        (doc! {"a": [1]}, "a.name"),
        (doc! {"a": [1]}, "a.4294967296"),
        (doc! {"a": [Bson::Null]}, "a.0.b"),
    ] {
        let applied = expect(&pre, &set(doc! {path: 5}), &pre);
        assert_eq!(applied.blocked_paths, 1, "{path}");
        let applied = expect(&pre, &v1(doc! {"$unset": {path: true}}), &pre);
        assert_eq!(applied.blocked_paths, 0, "{path}");
    }
    // `a.10` is walked first and makes a.3 null.
    let o = set(doc! {"a.10": 1, "a.3.k": 2});
    let (out, applied) = run(&bytes(&doc! {"a": []}), &o).unwrap();
    let out = Document::from_reader(&out[..]).unwrap();
    assert_eq!(out.get_array("a").unwrap()[3], Bson::Null);
    assert_eq!(applied.blocked_paths, 1);
}

#[test]
fn the_first_of_duplicates_counts() {
    let pre = raw(&[("a", int(1)), ("b", int(2)), ("a", int(3))]);
    let (out, _) = run(&pre, &set(doc! {"a": 9})).unwrap();
    assert_eq!(out, raw(&[("a", int(9)), ("b", int(2)), ("a", int(3))]));
    let (out, _) = run(&pre, &v1(doc! {"$unset": {"a": true}})).unwrap();
    assert_eq!(out, raw(&[("b", int(2)), ("a", int(3))]));
}

#[test]
fn wrong_array_keys_stay_only_when_all_is_written_in_place() {
    let list = |a, b, c, value: i32| array(&[(a, int(1)), (b, int(value)), (c, int(3))]);
    let pre = raw(&[("x", list("5", "7", "q", 2)), ("a", int(1))]);
    let post = |x: Value, a: i32| raw(&[("x", x), ("a", int(a))]);
    let check = |o: Document, post: Vec<u8>| {
        let (out, _) = run(&pre, &v1(o)).unwrap();
        assert_eq!(out, post);
    };
    check(doc! {"$set": {"x.1": 9}}, post(list("5", "7", "q", 9), 1));
    check(doc! {"$set": {"a": 4, "x.1": 9}}, post(list("5", "7", "q", 9), 4));
    check(doc! {"$set": {"x.1": 2}}, pre.clone());
    check(doc! {"$unset": {"a": true}, "$set": {"x.1": 2}}, raw(&[("x", list("5", "7", "q", 2))]));
    check(doc! {"$unset": {"a": true}, "$set": {"x.1": 9}}, raw(&[("x", list("0", "1", "2", 9))]));
    let longer = array(&[("0", int(1)), ("1", Value::Text(b"long".to_vec())), ("2", int(3))]);
    check(doc! {"$set": {"x.1": "long"}}, post(longer, 1));
    let grown = array(&[("0", int(1)), ("1", int(2)), ("2", int(3)), ("3", int(9))]);
    check(doc! {"$set": {"x.3": 9}}, post(grown, 1));
    // Null over null counts when it is unset, not when it is set.
    let nulls = |key| raw(&[("x", array(&[(key, Value::Null)]))]);
    let applied = |o: Document| {
        let (mut out, _) = run(&nulls("7"), &v1(o)).unwrap();
        let end = out.len() - 1 - b"\x0Az\0".len();
        out.splice(end.., [0]);
        out[0] = out.len() as u8;
        out
    };
    let null = Bson::Null;
    assert_eq!(applied(doc! {"$set": {"z": &null}, "$unset": {"x.0": true}}), nulls("0"));
    assert_eq!(applied(doc! {"$set": {"x.0": &null, "z": &null}}), nulls("7"));
}

#[test]
fn modifiers_that_no_server_logs_are_refused() {
    let pre = doc! {"a": 1, "x": [1, 2]};
    for o in [
        doc! {"$set": {"q..b": 1}},
        doc! {"$set": {"q.": 1}},
        doc! {"$set": {"": 1}},
        doc! {"$set": {"q": 1, "q.b": 2}},
        doc! {"$set": {"a": 5}, "$unset": {"a": true}},
        doc! {"$set": {"x.1": 5, "x.01": 6}},
        doc! {"$set": {"_id.x": 5}},
    ] {
        let error = refused(&pre, &v1(o.clone()));
        assert!(matches!(error, Error::BadUpdate(_)), "{o}: {error}");
    }
    for (o, name) in [
        (doc! {"$inc": {"a": 1}}, "$inc"),
        (doc! {"$set": {"a": 1}, "zz": 1}, "zz"),
        (doc! {"$set": {"x.$[].y": 1}}, "x.$[].y"),
    ] {
        let error = refused(&pre, &v1(o));
        assert!(matches!(&error, Error::UnknownUpdate(what) if what.contains(name)), "{error}");
    }
    assert!(matches!(refused(&pre, &v1(doc! {"$set": 5})), Error::WrongType { .. }));
}

#[test]
fn positions_far_away_are_errors_not_allocations() {
    let o = set(doc! {"x.4294967295": 1});
    assert!(matches!(refused(&doc! {"x": []}, &o), Error::TooLarge { .. }));
}

#[test]
fn many_paths_and_deep_paths() {
    let pre: Document = (0..300).map(|n| (format!("f{n}"), Bson::Int32(n))).collect();
    let sets: Document = (0..300).map(|n| (format!("f{n}"), Bson::Int32(-n))).collect();
    expect(&pre, &set(sets.clone()), &sets);
    let deep = vec!["a"; MAX_DEPTH + 1].join(".");
    assert_eq!(refused(&pre, &set(doc! {deep: 1})), Error::TooDeep);
}
