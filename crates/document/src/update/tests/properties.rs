//! Random documents: a diff made by an independent differ leads to the other
//! document; modifiers agree with a model that walks path by path.

use proptest::{collection::vec, prelude::*};

use super::*;

type Fields = Vec<(Vec<u8>, Value)>;

fn name() -> impl Strategy<Value = Vec<u8>> {
    let names = ["a", "b", "c", "0", "1", "10", "2"];
    prop::sample::select(names.map(|n| n.as_bytes().to_vec()).to_vec())
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..4).prop_map(Value::Int),
        Just(Value::Null),
        vec(prop::sample::select(b"xy".to_vec()), 0..3).prop_map(Value::Text),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec((name(), inner.clone()), 0..4).prop_map(|f| Value::Document(unique(f))),
            vec(inner, 0..4).prop_map(list),
        ]
    })
}

fn list(values: Vec<Value>) -> Value {
    let named = values.into_iter().enumerate();
    Value::Array(named.map(|(n, value)| (n.to_string().into_bytes(), value)).collect())
}

fn unique(fields: Fields) -> Fields {
    let mut seen = std::collections::HashSet::new();
    fields.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect()
}

fn top() -> impl Strategy<Value = Fields> {
    vec((name(), value()), 0..6).prop_map(unique)
}

fn same(a: &Value, b: &Value) -> bool {
    let bytes = |v: &Value| document(&[(Vec::new(), v.clone())]);
    bytes(a) == bytes(b)
}

fn find<'a>(fields: &'a Fields, name: &[u8]) -> Option<&'a Value> {
    fields.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

/// A `$v: 2` diff from one object to another: fields that keep their relative
/// order change in place, from the first one that does not on all are inserted.
fn differ(pre: &Fields, post: &Fields) -> Fields {
    let mut sections: [Fields; 3] = Default::default();
    let mut subs = Fields::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some((name, new)) = post.get(kept) {
        let Some(offset) = pre[at..].iter().position(|(n, _)| n == name) else { break };
        let old = &pre[at + offset].1;
        at += offset + 1;
        kept += 1;
        let sub_name = || [b"s", name.as_slice()].concat();
        match (old, new) {
            _ if same(old, new) => {}
            (Value::Document(old), Value::Document(new)) => {
                subs.push((sub_name(), Value::Document(differ(old, new))));
            }
            (Value::Array(old), Value::Array(new)) => {
                subs.push((sub_name(), Value::Document(array_differ(old, new))));
            }
            _ => sections[1].push((name.clone(), new.clone())),
        }
    }
    let (in_place, appended) = post.split_at(kept);
    for (name, _) in pre {
        if find(post, name).is_none() {
            sections[0].push((name.clone(), Value::Bool(false)));
        }
    }
    assert!(in_place.len() == kept);
    sections[2].extend_from_slice(appended);
    let mut diff = Fields::new();
    for (letter, section) in [b"d", b"u", b"i"].into_iter().zip(sections) {
        if !section.is_empty() {
            diff.push((letter.to_vec(), Value::Document(section)));
        }
    }
    diff.extend(subs);
    diff
}

fn array_differ(pre: &Fields, post: &Fields) -> Fields {
    let mut diff = vec![(b"a".to_vec(), Value::Bool(true))];
    if post.len() < pre.len() {
        diff.push((b"l".to_vec(), Value::Int(post.len() as i32)));
    }
    for (n, (_, new)) in post.iter().enumerate() {
        let sub = |inner| (format!("s{n}").into_bytes(), Value::Document(inner));
        match (pre.get(n).map(|(_, old)| old), new) {
            (Some(old), new) if same(old, new) => {}
            (Some(Value::Document(old)), Value::Document(new)) => diff.push(sub(differ(old, new))),
            (Some(Value::Array(old)), Value::Array(new)) => diff.push(sub(array_differ(old, new))),
            _ => diff.push((format!("u{n}").into_bytes(), new.clone())),
        }
    }
    diff
}

fn path() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(name(), 1..4)
}

/// Paths in the order of 4.4, none leading through another.
fn paths() -> impl Strategy<Value = Vec<(Vec<Vec<u8>>, Option<Value>)>> {
    vec((path(), proptest::option::weighted(0.7, value())), 1..6).prop_map(|mut paths| {
        paths.sort_by(|a, b| a.0.cmp(&b.0));
        paths.dedup_by(|b, a| b.0.starts_with(&a.0));
        paths
    })
}

fn modify(fields: &mut Fields, in_array: bool, path: &[Vec<u8>], new: Option<&Value>) {
    let (first, rest) = path.split_first().unwrap();
    let position = std::str::from_utf8(first).unwrap().parse::<usize>().ok();
    let at = match (in_array, position) {
        (true, None) => return,
        (true, Some(position)) => Some(position).filter(|p| *p < fields.len()),
        (false, _) => fields.iter().position(|(name, _)| name == first),
    };
    let Some(at) = at else {
        let Some(new) = new else { return };
        while in_array && Some(fields.len()) < position {
            fields.push((fields.len().to_string().into_bytes(), Value::Null));
        }
        let value = rest
            .iter()
            .rev()
            .fold(new.clone(), |inner, name| Value::Document(vec![(name.clone(), inner)]));
        fields.push((first.clone(), value));
        return;
    };
    if !rest.is_empty() {
        return match &mut fields[at].1 {
            Value::Document(inner) => modify(inner, false, rest, new),
            Value::Array(inner) => modify(inner, true, rest, new),
            _ => {}
        };
    }
    match new {
        Some(new) => fields[at].1 = new.clone(),
        None if in_array => fields[at].1 = Value::Null,
        None => drop(fields.remove(at)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_diff_leads_from_one_document_to_the_other(pre in top(), post in top()) {
        let diff = differ(&pre, &post);
        prop_assume!(!diff.is_empty());
        let o = raw(&[("$v", int(2)), ("diff", Value::Document(diff))]);
        let (out, applied) = run(&document(&pre), &o).unwrap();
        prop_assert_eq!(out, document(&post));
        prop_assert!(!applied.is_anomalous() && applied.missing_updates == 0);
    }

    #[test]
    fn a_diff_applied_again_changes_nothing_more(pre in top(), post in top()) {
        let diff = differ(&pre, &post);
        prop_assume!(!diff.is_empty());
        let o = raw(&[("$v", int(2)), ("diff", Value::Document(diff))]);
        let (again, _) = run(&document(&post), &o).unwrap();
        prop_assert_eq!(again, document(&post));
    }

    #[test]
    fn modifiers_agree_with_a_walk_path_by_path(pre in top(), paths in paths()) {
        let (mut sets, mut unsets) = (Fields::new(), Fields::new());
        let mut post = pre.clone();
        for (path, new) in &paths {
            modify(&mut post, false, path, new.as_ref());
            let name = path.join(&b'.');
            match new {
                Some(new) => sets.push((name, new.clone())),
                None => unsets.push((name, Value::Bool(true))),
            }
        }
        let (sets, unsets) = (Value::Document(sets), Value::Document(unsets));
        let o = raw(&[("$v", int(1)), ("$set", sets), ("$unset", unsets)]);
        let (out, _) = run(&document(&pre), &o).unwrap();
        prop_assert_eq!(out, document(&post));
    }
}
