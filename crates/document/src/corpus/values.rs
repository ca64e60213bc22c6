//! Everything but numbers.

use super::{Value, document, length};
use crate::tag;

fn one(kind: u8, value: impl AsRef<[u8]>) -> Vec<Value> {
    vec![(kind, value.as_ref().to_vec())]
}

fn text(kind: u8, bytes: &[u8]) -> Value {
    let mut value = length(bytes.len() + 1).to_vec();
    value.extend_from_slice(bytes);
    value.push(0);
    (kind, value)
}

fn int(value: i32) -> Value {
    (tag::INT32, value.to_le_bytes().to_vec())
}

fn double(value: f64) -> Value {
    (tag::DOUBLE, value.to_le_bytes().to_vec())
}

fn doc(fields: &[(&str, Value)]) -> Value {
    (tag::DOCUMENT, document(fields))
}

fn array(fields: &[(&str, Value)]) -> Value {
    (tag::ARRAY, document(fields))
}

fn binary(subtype: u8, bytes: &[u8]) -> Value {
    let mut value = length(bytes.len()).to_vec();
    value.push(subtype);
    value.extend_from_slice(bytes);
    (tag::BINARY, value)
}

/// The old subtype has a second length inside.
fn old_binary(bytes: &[u8]) -> Value {
    let mut inner = length(bytes.len()).to_vec();
    inner.extend_from_slice(bytes);
    binary(2, &inner)
}

fn db_pointer(name: &[u8], id: u8) -> Value {
    let (_, mut value) = text(tag::STRING, name);
    value.extend_from_slice(&[id; 12]);
    (tag::DB_POINTER, value)
}

fn scoped(code: &[u8], scope: &[(&str, Value)]) -> Value {
    let (_, code) = text(tag::STRING, code);
    let scope = document(scope);
    let mut value = length(4 + code.len() + scope.len()).to_vec();
    value.extend_from_slice(&code);
    value.extend_from_slice(&scope);
    (tag::CODE_WITH_SCOPE, value)
}

fn regex(pattern: &str, flags: &str) -> Value {
    (tag::REGEX, format!("{pattern}\0{flags}\0").into_bytes())
}

const NULL: Value = (tag::NULL, Vec::new());
const MIN_KEY: Value = (tag::MIN_KEY, Vec::new());
const MAX_KEY: Value = (tag::MAX_KEY, Vec::new());
const UNDEFINED: Value = (tag::UNDEFINED, Vec::new());

pub(super) fn strings() -> Vec<Vec<Value>> {
    let texts: [&[u8]; 17] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0a",
        b"\0\xFF",
        b"\x01",
        b"A",
        b"a",
        b"a\0",
        b"a\0\0",
        b"a\0b",
        b"a\x01",
        b"aa",
        b"b",
        "\u{e9}".as_bytes(),
        "\u{10FFFF}".as_bytes(),
        b"\xFF",
    ];
    let both = |bytes| vec![text(tag::STRING, bytes), text(tag::SYMBOL, bytes)];
    texts.into_iter().map(both).collect()
}

pub(super) fn documents() -> Vec<Vec<Value>> {
    let mut groups = vec![
        vec![doc(&[])],
        vec![doc(&[("a", MIN_KEY)])],
        vec![doc(&[("a", UNDEFINED)])],
        vec![doc(&[("", NULL)])],
        vec![doc(&[("a", NULL)])],
        vec![doc(&[("a", NULL), ("a", NULL)])],
        vec![doc(&[("a", NULL), ("b", int(1))])],
        vec![doc(&[("", int(1))])],
        vec![doc(&[("a", double(f64::NAN))])],
        vec![doc(&[("a", int(-1))])],
        vec![doc(&[("a", int(1))]), doc(&[("a", double(1.0))])],
        vec![doc(&[("a", int(1)), ("b", int(1))]), doc(&[("a", double(1.0)), ("b", int(1))])],
        vec![doc(&[("a", int(1)), ("b", int(2))])],
        vec![doc(&[("a", int(1)), ("b", text(tag::STRING, b""))])],
        vec![doc(&[("a", int(2))])],
        vec![doc(&[("a.b", int(1))])],
        vec![doc(&[("aa", int(1))])],
        vec![doc(&[("b", int(1))])],
        vec![doc(&[("b", int(1)), ("a", int(1))])],
    ];
    groups.extend(nested());
    groups
}

/// `{a: x}` for the classes behind numbers.
fn nested() -> Vec<Vec<Value>> {
    let a = |value: Value| doc(&[("a", value)]);
    vec![
        vec![a(text(tag::STRING, b"")), a(text(tag::SYMBOL, b""))],
        vec![a(text(tag::STRING, b"x\0y"))],
        vec![a(doc(&[]))],
        vec![a(doc(&[("a", int(1))]))],
        vec![a(doc(&[("a", doc(&[("a", int(1))]))]))],
        vec![a(array(&[]))],
        vec![a(array(&[("0", NULL)]))],
        vec![a(array(&[("0", int(1))])), a(array(&[("7", double(1.0))]))],
        vec![a(array(&[("0", int(1)), ("1", int(2))])), a(array(&[("1", int(1)), ("0", int(2))]))],
        vec![a(array(&[("0", int(2))]))],
        vec![a(array(&[("0", array(&[]))]))],
        vec![a(binary(0, b""))],
        vec![a((tag::OBJECT_ID, vec![7; 12]))],
        vec![a((tag::BOOL, vec![0]))],
        vec![a((tag::BOOL, vec![1]))],
        vec![a((tag::DATE, 0_i64.to_le_bytes().to_vec()))],
        vec![a((tag::TIMESTAMP, 0_u64.to_le_bytes().to_vec()))],
        vec![a(regex("", ""))],
        vec![a(regex("a", ""))],
        vec![a(regex("a", "i"))],
        vec![a(regex("ab", ""))],
        vec![a(db_pointer(b"n", 1))],
        vec![a(text(tag::CODE, b"f"))],
        vec![a(scoped(b"f", &[]))],
        vec![a(MAX_KEY)],
    ]
}

pub(super) fn others() -> Vec<Vec<Value>> {
    let mut groups = binaries();
    for id in [[0; 12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0x6A; 12], [0xFF; 12]] {
        groups.push(one(tag::OBJECT_ID, id));
    }
    groups.push(one(tag::BOOL, [0]));
    groups.push(one(tag::BOOL, [1]));
    for millis in [i64::MIN, -1, 0, 1, 1_795_170_600_000, i64::MAX] {
        groups.push(one(tag::DATE, millis.to_le_bytes()));
    }
    for ts in [0, 1, u64::from(u32::MAX), 1 << 32, 0x8000_0000_0000_0000, u64::MAX] {
        groups.push(one(tag::TIMESTAMP, ts.to_le_bytes()));
    }
    groups.extend([
        vec![db_pointer(b"", 0)],
        vec![db_pointer(b"b", 1), db_pointer(b"b\0c", 1)],
        vec![db_pointer(b"b", 2)],
        vec![db_pointer(b"aa", 0)],
        vec![text(tag::CODE, b"")],
        vec![text(tag::CODE, b"f")],
        vec![text(tag::CODE, b"f\0")],
        vec![text(tag::CODE, b"ff")],
        vec![scoped(b"", &[])],
        vec![scoped(b"f", &[])],
        vec![scoped(b"f", &[("a", int(1))]), scoped(b"f", &[("a", double(1.0))])],
        vec![scoped(b"ff", &[])],
    ]);
    groups
}

fn binaries() -> Vec<Vec<Value>> {
    vec![
        vec![binary(0, b"")],
        vec![binary(0x80, b"")],
        vec![binary(0, b"a")],
        vec![binary(0, b"b")],
        vec![binary(1, b"a")],
        vec![binary(0x80, b"a")],
        vec![binary(0xFF, b"a")],
        vec![binary(0, b"\0\0")],
        vec![binary(0, b"aa")],
        vec![old_binary(b"a")],
        vec![binary(0, b"aaaaa\0")],
        vec![old_binary(b"aa")],
        vec![binary(3, &[1; 16])],
        vec![binary(4, &[0; 16])],
        vec![binary(4, &[1; 16])],
        vec![binary(0, &[0; 254])],
        vec![binary(0, &[0; 255])],
        vec![binary(0x80, &[0; 255])],
        vec![binary(0, &[0; 256])],
        vec![binary(0, &[0; 70_000])],
    ]
}
