//! The server's order written down a second time, slowly and from its rules:
//! values as trees, numbers as fractions of big integers.

use std::cmp::Ordering;

use crate::{tag, write};

#[derive(Debug, Clone)]
pub(crate) enum Value {
    MinKey,
    Undefined,
    Null,
    Int(i32),
    Long(i64),
    Double(u64),
    Decimal(u128),
    Text(Vec<u8>),
    Symbol(Vec<u8>),
    Document(Vec<(Vec<u8>, Value)>),
    Array(Vec<(Vec<u8>, Value)>),
    Binary(u8, Vec<u8>),
    ObjectId([u8; 12]),
    Bool(bool),
    Date(i64),
    Timestamp(u64),
    Regex(Vec<u8>, Vec<u8>),
    Pointer(Vec<u8>, [u8; 12]),
    Code(Vec<u8>),
    Scoped(Vec<u8>, Vec<(Vec<u8>, Value)>),
    MaxKey,
}

impl Value {
    fn class(&self) -> u8 {
        match self {
            Value::MinKey => 0,
            Value::Undefined => 1,
            Value::Null => 2,
            Value::Int(_) | Value::Long(_) | Value::Double(_) | Value::Decimal(_) => 3,
            Value::Text(_) | Value::Symbol(_) => 4,
            Value::Document(_) => 5,
            Value::Array(_) => 6,
            Value::Binary(..) => 7,
            Value::ObjectId(_) => 8,
            Value::Bool(_) => 9,
            Value::Date(_) => 10,
            Value::Timestamp(_) => 11,
            Value::Regex(..) => 12,
            Value::Pointer(..) => 13,
            Value::Code(_) => 14,
            Value::Scoped(..) => 15,
            Value::MaxKey => 16,
        }
    }

    pub(crate) fn compare(&self, other: &Value) -> Ordering {
        use Value as V;
        let until_zero = |name: &[u8]| name.split(|b| *b == 0).next().unwrap().to_vec();
        self.class().cmp(&other.class()).then_with(|| match (self, other) {
            (V::Text(a) | V::Symbol(a), V::Text(b) | V::Symbol(b)) => a.cmp(b),
            (V::Code(a), V::Code(b)) => a.cmp(b),
            (V::Document(a), V::Document(b)) => documents(a, b),
            (V::Array(a), V::Array(b)) => {
                let values = |v: &[(Vec<u8>, Value)]| -> Vec<Value> {
                    v.iter().map(|(_, value)| value.clone()).collect()
                };
                let (a, b) = (values(a), values(b));
                let first = a.iter().zip(&b).map(|(a, b)| a.compare(b)).find(|o| o.is_ne());
                first.unwrap_or(a.len().cmp(&b.len()))
            }
            (V::Binary(s, a), V::Binary(t, b)) => {
                a.len().cmp(&b.len()).then(s.cmp(t)).then_with(|| a.cmp(b))
            }
            (V::ObjectId(a), V::ObjectId(b)) => a.cmp(b),
            (V::Bool(a), V::Bool(b)) => a.cmp(b),
            (V::Date(a), V::Date(b)) => a.cmp(b),
            (V::Timestamp(a), V::Timestamp(b)) => a.cmp(b),
            (V::Regex(a, f), V::Regex(b, g)) => a.cmp(b).then_with(|| f.cmp(g)),
            (V::Pointer(a, i), V::Pointer(b, j)) => {
                let (a, b) = (until_zero(a), until_zero(b));
                a.len().cmp(&b.len()).then_with(|| a.cmp(&b)).then_with(|| i.cmp(j))
            }
            (V::Scoped(a, s), V::Scoped(b, t)) => a.cmp(b).then_with(|| documents(s, t)),
            _ => match (Number::of(self), Number::of(other)) {
                (Some(a), Some(b)) => a.compare(&b),
                _ => Ordering::Equal,
            },
        })
    }

    /// Appends the value as an element.
    pub(crate) fn write(&self, name: &[u8], out: &mut Vec<u8>) {
        let mut put = |kind, parts: &[&[u8]]| write::element(out, kind, name, &parts.concat());
        let len = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
        let text =
            |bytes: &[u8]| [&(bytes.len() as u32 + 1).to_le_bytes()[..], bytes, b"\0"].concat();
        match self {
            Value::MinKey => put(tag::MIN_KEY, &[]),
            Value::Undefined => put(tag::UNDEFINED, &[]),
            Value::Null => put(tag::NULL, &[]),
            Value::Int(v) => put(tag::INT32, &[&v.to_le_bytes()]),
            Value::Long(v) => put(tag::INT64, &[&v.to_le_bytes()]),
            Value::Double(v) => put(tag::DOUBLE, &[&v.to_le_bytes()]),
            Value::Decimal(v) => put(tag::DECIMAL128, &[&v.to_le_bytes()]),
            Value::Text(v) => put(tag::STRING, &[&text(v)]),
            Value::Symbol(v) => put(tag::SYMBOL, &[&text(v)]),
            Value::Document(v) => put(tag::DOCUMENT, &[&document(v)]),
            Value::Array(v) => put(tag::ARRAY, &[&document(v)]),
            Value::Binary(s, v) => put(tag::BINARY, &[&len(v), &[*s], v]),
            Value::ObjectId(v) => put(tag::OBJECT_ID, &[v]),
            Value::Bool(v) => put(tag::BOOL, &[&[u8::from(*v)]]),
            Value::Date(v) => put(tag::DATE, &[&v.to_le_bytes()]),
            Value::Timestamp(v) => put(tag::TIMESTAMP, &[&v.to_le_bytes()]),
            Value::Regex(p, f) => put(tag::REGEX, &[p, b"\0", f, b"\0"]),
            Value::Pointer(n, id) => put(tag::DB_POINTER, &[&text(n), id]),
            Value::Code(v) => put(tag::CODE, &[&text(v)]),
            Value::Scoped(code, scope) => {
                let inner = [text(code), document(scope)].concat();
                let whole = (inner.len() as u32 + 4).to_le_bytes();
                put(tag::CODE_WITH_SCOPE, &[&whole, &inner]);
            }
            Value::MaxKey => put(tag::MAX_KEY, &[]),
        }
    }
}

/// Raw bytes of a document.
pub(crate) fn document(fields: &[(Vec<u8>, Value)]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = write::begin(&mut out);
    for (name, value) in fields {
        value.write(name, &mut out);
    }
    write::end(&mut out, start).unwrap();
    out
}

fn documents(a: &[(Vec<u8>, Value)], b: &[(Vec<u8>, Value)]) -> Ordering {
    for ((name, value), (other_name, other)) in a.iter().zip(b) {
        let order = value
            .class()
            .cmp(&other.class())
            .then_with(|| name.cmp(other_name))
            .then_with(|| value.compare(other));
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// A number as the fraction `mantissa * 2^twos * 10^tens`.
#[derive(Debug)]
enum Number {
    Nan,
    Infinite { negative: bool },
    Finite { negative: bool, mantissa: u128, twos: i32, tens: i32 },
}

impl Number {
    fn of(value: &Value) -> Option<Number> {
        let whole = |v: i64| Number::Finite {
            negative: v < 0,
            mantissa: v.unsigned_abs().into(),
            twos: 0,
            tens: 0,
        };
        Some(match value {
            Value::Int(v) => whole(i64::from(*v)),
            Value::Long(v) => whole(*v),
            Value::Double(bits) => Number::double(f64::from_bits(*bits)),
            Value::Decimal(bits) => Number::decimal(*bits),
            _ => return None,
        })
    }

    fn double(value: f64) -> Number {
        let negative = value.is_sign_negative();
        if value.is_nan() {
            return Number::Nan;
        }
        if value.is_infinite() {
            return Number::Infinite { negative };
        }
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7FF) as i32;
        let fraction = u128::from(bits & ((1 << 52) - 1));
        let (mantissa, twos) =
            if exponent == 0 { (fraction, -1074) } else { (fraction + (1 << 52), exponent - 1075) };
        Number::Finite { negative, mantissa, twos, tens: 0 }
    }

    /// By the bits of the specification: sign, 2 bits that choose the form.
    fn decimal(bits: u128) -> Number {
        let negative = bits >> 127 != 0;
        let high = (bits >> 64) as u64;
        if high >> 58 & 0x1F == 0x1F {
            return Number::Nan;
        }
        if high >> 58 & 0x1F == 0x1E {
            return Number::Infinite { negative };
        }
        if high >> 61 & 3 == 3 {
            return Number::Finite { negative, mantissa: 0, twos: 0, tens: 0 };
        }
        let tens = (high >> 49 & 0x3FFF) as i32 - 6176;
        let mantissa = bits & ((1 << 113) - 1);
        let mantissa = if mantissa >= 10_u128.pow(34) { 0 } else { mantissa };
        Number::Finite { negative, mantissa, twos: 0, tens }
    }

    fn compare(&self, other: &Number) -> Ordering {
        let rank = |n: &Number| match n {
            Number::Nan => 0,
            Number::Infinite { negative: true } => 1,
            Number::Finite { mantissa: 0, .. } => 3,
            Number::Finite { negative, .. } => 4 - 2 * i32::from(*negative),
            Number::Infinite { negative: false } => 5,
        };
        rank(self).cmp(&rank(other)).then_with(|| match (self, other) {
            (
                Number::Finite { negative, mantissa: m, twos: a, tens: c },
                Number::Finite { mantissa: n, twos: b, tens: d, .. },
            ) if *m > 0 && *n > 0 => {
                let (twos, tens) = (a.min(b), c.min(d));
                let left = scaled(*m, a - twos, c - tens);
                let right = scaled(*n, b - twos, d - tens);
                let order = left.len().cmp(&right.len());
                let order = order.then_with(|| left.iter().rev().cmp(right.iter().rev()));
                if *negative { order.reverse() } else { order }
            }
            _ => Ordering::Equal,
        })
    }
}

/// `mantissa * 2^twos * 10^tens` in base 2^32, lowest digit first.
fn scaled(mantissa: u128, twos: i32, tens: i32) -> Vec<u32> {
    let mut digits: Vec<u32> = (0..4).map(|n| (mantissa >> (32 * n)) as u32).collect();
    for (count, step, base) in [(twos, 31, 2_u32), (tens, 9, 10)] {
        let mut left = count;
        while left > 0 {
            let power = left.min(step);
            multiply(&mut digits, base.pow(power as u32));
            left -= power;
        }
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    digits
}

fn multiply(digits: &mut Vec<u32>, factor: u32) {
    let mut carry = 0_u64;
    for digit in digits.iter_mut() {
        carry += u64::from(*digit) * u64::from(factor);
        *digit = carry as u32;
        carry >>= 32;
    }
    if carry > 0 {
        digits.push(carry as u32);
    }
}
