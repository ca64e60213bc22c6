use proptest::{collection::vec, prelude::*};

use super::{
    model::{Value, document},
    *,
};
use crate::write;

fn id_of(value: &Value) -> Vec<u8> {
    document(&[(b"_id".to_vec(), value.clone())])
}

fn key_of(value: &Value) -> Vec<u8> {
    id_key(&id_of(value)).unwrap()
}

/// Values that are near each other, so that equal ones and prefixes occur.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(vec![0, 1, 2, b'a', b'b', 0xFE, 0xFF]), 0..4)
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let names = [&b""[..], b"a", b"a", b"b", b"aa", b"a.b", b"\x01", b"\xFF"];
    prop::sample::select(names.map(<[u8]>::to_vec).to_vec())
}

fn decimal(negative: bool, coefficient: u128, exponent: i32) -> Value {
    let biased = u128::from((exponent + 6176).unsigned_abs());
    Value::Decimal(u128::from(negative) << 127 | biased << 113 | coefficient)
}

/// The decimal of 34 digits at or next to a double.
fn beside(value: f64, step: i64) -> Value {
    let text = format!("{:.33e}", value.abs());
    let (digits, exponent) = text.split_once('e').unwrap();
    let digits: i128 = digits.replace('.', "").parse().unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    let coefficient = (digits + i128::from(step)).clamp(0, 10_i128.pow(34) - 1);
    decimal(value < 0.0, coefficient.unsigned_abs(), exponent - 33)
}

fn number() -> impl Strategy<Value = Value> {
    let finite = || {
        prop_oneof![
            any::<f64>().prop_filter("finite", |v| v.is_finite()),
            (-9_i64..9).prop_map(|v| v as f64 / 4.0),
            any::<i64>().prop_map(|v| v as f64),
        ]
    };
    prop_oneof![
        (-12..12).prop_map(Value::Int),
        any::<i32>().prop_map(Value::Int),
        (-12_i64..12).prop_map(Value::Long),
        (0_u32..64, -2_i64..3)
            .prop_map(|(shift, near)| Value::Long((1_i64 << shift).wrapping_add(near))),
        any::<i64>().prop_map(Value::Long),
        finite().prop_map(|v| Value::Double(v.to_bits())),
        any::<u64>().prop_map(Value::Double),
        (0_u64..5).prop_map(Value::Double),
        (any::<bool>(), 0_u128..100, -3..3).prop_map(|(n, c, e)| decimal(n, c, e)),
        (any::<bool>(), 0..10_u128.pow(34), -6176..=6111).prop_map(|(n, c, e)| decimal(n, c, e)),
        any::<u128>().prop_map(Value::Decimal),
        (finite(), -1_i64..2).prop_map(|(v, step)| beside(v, step)),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => number(),
        1 => Just(Value::MinKey),
        1 => Just(Value::MaxKey),
        1 => Just(Value::Null),
        1 => Just(Value::Undefined),
        2 => bytes().prop_map(Value::Text),
        1 => bytes().prop_map(Value::Symbol),
        1 => (any::<bool>(), bytes()).prop_map(|(s, b)| Value::Binary(u8::from(s), b)),
        1 => any::<bool>().prop_map(|b| Value::ObjectId([u8::from(b); 12])),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => any::<i64>().prop_map(Value::Date),
        1 => any::<u64>().prop_map(Value::Timestamp),
        1 => (name(), name()).prop_map(|(p, f)| Value::Regex(p, f)),
        1 => (bytes(), any::<bool>()).prop_map(|(n, i)| Value::Pointer(n, [u8::from(i); 12])),
        1 => bytes().prop_map(Value::Code),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        let fields = || vec((name(), inner.clone()), 0..3);
        prop_oneof![
            2 => fields().prop_map(Value::Document),
            1 => fields().prop_map(Value::Array),
            1 => (bytes(), fields()).prop_map(|(c, s)| Value::Scoped(c, s)),
        ]
    })
}

/// A value with another spelling that the server holds for equal, where there is one.
fn respell(value: &Value) -> Value {
    let fields = |fields: &[(Vec<u8>, Value)]| {
        fields.iter().map(|(name, value)| (name.clone(), respell(value))).collect()
    };
    match value {
        Value::Int(v) => Value::Double(f64::from(*v).to_bits()),
        Value::Long(v) => decimal(*v < 0, v.unsigned_abs().into(), 0),
        Value::Text(v) => Value::Symbol(v.clone()),
        Value::Document(v) => Value::Document(fields(v)),
        Value::Array(v) => Value::Array(fields(v)),
        other => other.clone(),
    }
}

fn check(a: &Value, b: &Value) -> Result<(), TestCaseError> {
    let (ka, kb) = (key_of(a), key_of(b));
    prop_assert_eq!(ka.cmp(&kb), a.compare(b), "{:?} {:?} {:02x?} {:02x?}", a, b, ka, kb);
    prop_assert!(ka == kb || (!ka.starts_with(&kb) && !kb.starts_with(&ka)), "{:?} {:?}", a, b);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]

    #[test]
    fn keys_of_numbers_are_in_the_servers_order(a in number(), b in number()) {
        check(&a, &b)?;
    }

    #[test]
    fn keys_are_in_the_servers_order(a in value(), b in value()) {
        check(&a, &b)?;
        check(&a, &respell(&a))?;
    }
}

#[test]
fn keys_as_documented() {
    let key = |value: Value| hex(&key_of(&value));
    assert_eq!(key(Value::Int(123_456)), "20a005194570");
    assert_eq!(key(Value::Int(-5)), "2060009b");
    assert_eq!(key(Value::Int(0)), "208000");
    assert_eq!(key(Value::Double(0.5_f64.to_bits())), "209fff64");
    assert_eq!(key(Value::Text(b"a\0b\x01".to_vec())), "28610101620102".to_owned() + "00");
    assert_eq!(key(Value::ObjectId([7; 12])), format!("48{}", "07".repeat(12)));
    assert_eq!(key(Value::Bool(true)), "5001");
    let doc = Value::Document(vec![(b"a".to_vec(), Value::Int(1))]);
    assert_eq!(key(doc), "30206100a0001400");
}

/// Keys are stored: whoever makes this fail makes a new version of the format.
#[test]
fn the_keys_of_the_corpus_are_for_ever() {
    let keys: Vec<u8> = crate::corpus::ids().iter().flat_map(|id| id_key(id).unwrap()).collect();
    let hash = keys.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    assert_eq!((keys.len(), hash), (75_860, 3_679_258_983_397_725_909));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_id_is_found_wherever_it_stands() {
    let id = Value::ObjectId([3; 12]);
    let first = document(&[(b"_id".to_vec(), id.clone()), (b"a".to_vec(), Value::Int(1))]);
    let last = document(&[(b"a".to_vec(), Value::Int(1)), (b"_id".to_vec(), id.clone())]);
    assert_eq!(id_key(&first).unwrap(), key_of(&id));
    assert_eq!(id_key(&last).unwrap(), key_of(&id));
    let none = document(&[(b"a".to_vec(), Value::Int(1))]);
    assert_eq!(id_key(&none), Err(Error::MissingId));
}

#[test]
fn an_error_leaves_the_buffer_alone() {
    let mut deep = Value::Null;
    for _ in 0..=MAX_DEPTH {
        deep = Value::Document(vec![(b"a".to_vec(), deep)]);
    }
    let mut out = b"before".to_vec();
    assert_eq!(id_key_into(&id_of(&deep), &mut out), Err(Error::TooDeep));
    assert_eq!(out, b"before");
    assert!(id_key_into(b"rubbish", &mut out).is_err());
    assert_eq!(out, b"before");
}

#[test]
fn an_id_of_16_megabytes_has_a_key() {
    let big = Value::Text(vec![0; 16 * 1024 * 1024 - 64]);
    assert_eq!(key_of(&big).len(), 2 * (16 * 1024 * 1024 - 64) + 2);
}

#[test]
fn the_longest_number_is_a_double_near_the_smallest_normal_one() {
    let key = key_of(&Value::Double(f64::MIN_POSITIVE.to_bits() - 1));
    assert_eq!(key.len(), 3 + 767_usize.div_ceil(2));
    let key = key_of(&Value::Double(f64::MAX.to_bits()));
    assert_eq!(key.len(), 3 + 309_usize.div_ceil(2));
}

#[test]
fn the_name_of_a_value_does_not_count() {
    let key = |name: &[u8]| {
        let mut bytes = Vec::new();
        let start = write::begin(&mut bytes);
        Value::Int(5).write(name, &mut bytes);
        write::end(&mut bytes, start).unwrap();
        let doc = Doc::new(&bytes).unwrap();
        value_key(doc.elements().next().unwrap().unwrap()).unwrap()
    };
    assert_eq!(key(b"_id"), key(b"anything"));
}
