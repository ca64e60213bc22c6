//! Documents and changes of them, with the result worked out here and not by the code under test.

use bson::{RawBson, RawDocument, RawDocumentBuf, raw::CString};

use crate::dice::Dice;

type Field = (String, RawBson);

fn fields(doc: &[u8]) -> Vec<Field> {
    let doc = RawDocument::from_bytes(doc).into_iter().flat_map(RawDocument::iter);
    doc.flatten().map(|(name, value)| (name.as_str().to_owned(), RawBson::from(value))).collect()
}

fn document(fields: &[Field]) -> RawDocumentBuf {
    let mut doc = RawDocumentBuf::new();
    for (name, value) in fields {
        if let Ok(name) = CString::try_from(name.clone()) {
            doc.append(name, value.clone());
        }
    }
    doc
}

fn one(name: &str, value: impl Into<RawBson>) -> RawDocumentBuf {
    document(&[(name.to_owned(), value.into())])
}

/// The `_id` number `n`: of several types, never two that are equal.
pub fn id(n: u64) -> RawBson {
    match n % 5 {
        0 => RawBson::String(format!("k{n:05}")),
        1 => RawBson::Int64(n as i64 * 3),
        2 => RawBson::Double(n as f64 + 0.5),
        3 => one("n", n as i64).into(),
        _ => RawBson::Int32(n as i32 * 3 + 1),
    }
}

/// A new document with this `_id`; `size` bounds its padding.
pub fn fresh(dice: &Dice, id: RawBson, size: u64) -> Vec<u8> {
    let letter = char::from(b'a' + dice.below(26) as u8);
    let mut doc = vec![
        ("_id".to_owned(), id),
        ("v".to_owned(), RawBson::Int64(dice.below(1 << 40) as i64)),
        ("pad".to_owned(), RawBson::String(letter.to_string().repeat(dice.below(size) as usize))),
    ];
    if dice.hits(500) {
        let sub = [("x".to_owned(), RawBson::Int32(1)), ("y".to_owned(), RawBson::Int32(2))];
        doc.push(("sub".to_owned(), document(&sub).into()));
    }
    document(&doc).into_bytes()
}

/// A change: `o` of the update entry, and the document after it.
#[derive(Debug, Clone)]
pub struct Change {
    /// As logged.
    pub o: RawDocumentBuf,
    /// The document after it.
    pub after: Vec<u8>,
}

/// A random change of a document. `old`: in the form of servers before 5.0. `keep_size`: the
/// document keeps its length (capped collections).
pub fn change(dice: &Dice, before: &[u8], old: bool, keep_size: bool) -> Change {
    let value = RawBson::Int64(dice.below(1 << 40) as i64);
    let form = if keep_size { 0 } else { dice.below(6) };
    let doc = fields(before);
    let has = |name: &str| doc.iter().any(|(n, _)| n == name);
    match form {
        1 if !old => replace(dice, before),
        2 if has("w") => unset(doc, "w", old),
        2 | 3 => set(doc, "w", value, old),
        4 if has("sub") && !old => set_within(doc, value),
        5 => set(doc, &format!("f{}", dice.below(4)), value, old),
        _ => set(doc, "v", value, old),
    }
}

fn replace(dice: &Dice, before: &[u8]) -> Change {
    let id = fields(before).into_iter().next().map_or(RawBson::Null, |(_, id)| id);
    let after = fresh(dice, id, 600);
    let o = RawDocumentBuf::from_bytes(after.clone()).unwrap_or_default();
    Change { o, after }
}

fn versioned(version: i32, name: &str, how: RawDocumentBuf) -> RawDocumentBuf {
    document(&[("$v".to_owned(), RawBson::Int32(version)), (name.to_owned(), how.into())])
}

fn set(mut doc: Vec<Field>, name: &str, value: RawBson, old: bool) -> Change {
    let there = doc.iter_mut().find(|(n, _)| n == name);
    let section = if there.is_some() { "u" } else { "i" };
    match there {
        Some(field) => field.1 = value.clone(),
        None => doc.push((name.to_owned(), value.clone())),
    }
    let o = match old {
        true => versioned(1, "$set", one(name, value)),
        false => versioned(2, "diff", one(section, one(name, value))),
    };
    Change { o, after: document(&doc).into_bytes() }
}

fn unset(mut doc: Vec<Field>, name: &str, old: bool) -> Change {
    doc.retain(|(n, _)| n != name);
    let o = match old {
        true => versioned(1, "$unset", one(name, true)),
        false => versioned(2, "diff", one("d", one(name, false))),
    };
    Change { o, after: document(&doc).into_bytes() }
}

fn set_within(mut doc: Vec<Field>, value: RawBson) -> Change {
    for (name, sub) in &mut doc {
        if let ("sub", RawBson::Document(old)) = (name.as_str(), &*sub) {
            let mut inner = fields(old.as_bytes());
            inner.iter_mut().filter(|(n, _)| n == "x").for_each(|(_, x)| *x = value.clone());
            *sub = document(&inner).into();
        }
    }
    let o = versioned(2, "diff", one("ssub", one("u", one("x", value))));
    Change { o, after: document(&doc).into_bytes() }
}
