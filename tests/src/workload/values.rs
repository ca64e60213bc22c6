//! Documents of every BSON type, written byte by byte: drivers refuse to make
//! half of what servers keep. Formats: <https://bsonspec.org/spec.html>.

use super::Dice;

/// Writes a raw document element by element.
#[derive(Debug, Clone)]
pub struct Raw(Vec<u8>);

/// The type byte and the bytes of a value.
pub type Value = (u8, Vec<u8>);

impl Raw {
    /// An empty document.
    pub fn new() -> Raw {
        Raw(vec![0; 4])
    }

    /// Appends an element.
    #[must_use]
    pub fn put(mut self, name: &[u8], (kind, value): &Value) -> Raw {
        self.0.push(*kind);
        self.0.extend_from_slice(name);
        self.0.push(0);
        self.0.extend_from_slice(value);
        self
    }

    /// The finished document.
    pub fn bytes(mut self) -> Vec<u8> {
        self.0.push(0);
        let length = i32::try_from(self.0.len()).expect("a document below 2 GB");
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self::new()
    }
}

/// A string value.
pub fn string(text: &[u8]) -> Value {
    let mut value = i32::try_from(text.len() + 1).expect("a short string").to_le_bytes().to_vec();
    value.extend_from_slice(text);
    value.push(0);
    (0x02, value)
}

/// A 32-bit integer.
pub fn int(n: i32) -> Value {
    (0x10, n.to_le_bytes().to_vec())
}

/// A 64-bit integer.
pub fn long(n: i64) -> Value {
    (0x12, n.to_le_bytes().to_vec())
}

/// A double.
pub fn double(x: f64) -> Value {
    (0x01, x.to_le_bytes().to_vec())
}

/// A date in milliseconds.
pub fn date(millis: i64) -> Value {
    (0x09, millis.to_le_bytes().to_vec())
}

/// Binary data of a subtype.
pub fn binary(subtype: u8, bytes: &[u8]) -> Value {
    let length = i32::try_from(bytes.len()).expect("short data");
    let mut value = Vec::with_capacity(bytes.len() + 9);
    if subtype == 2 {
        // The old form repeats the length inside.
        value.extend_from_slice(&(length + 4).to_le_bytes());
        value.push(subtype);
    }
    value.extend_from_slice(&length.to_le_bytes());
    if subtype != 2 {
        value.push(subtype);
    }
    value.extend_from_slice(bytes);
    (0x05, value)
}

/// An embedded document.
pub fn embedded(document: Raw) -> Value {
    (0x03, document.bytes())
}

/// An array, with the right keys.
pub fn array(values: &[Value]) -> Value {
    let mut raw = Raw::new();
    for (index, value) in values.iter().enumerate() {
        raw = raw.put(index.to_string().as_bytes(), value);
    }
    (0x04, raw.bytes())
}

/// How odd a document may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddness {
    /// What a driver would write: valid UTF-8, each name once.
    Tame,
    /// Odd names and invalid UTF-8, but each name once: from 5.0 on, members disagree about a document
    /// after an update of a name that it has twice, and 5.0.3 may end by itself.
    Odd,
    /// Everything that servers store byte for byte.
    Wild,
}

/// A document for updates to work on, with some random fields on top. Its
/// first field is `_id`.
pub fn document(dice: &Dice, id: &Value, oddness: Oddness) -> Vec<u8> {
    let numbers: Vec<Value> = (0..dice.below(9)).map(|_| int(dice.small())).collect();
    let tags: Vec<Value> = (0..dice.below(4)).map(|_| string(dice.word(3).as_bytes())).collect();
    let deep = Raw::new().put(b"n", &int(dice.small())).put(b"s", &string(dice.word(5).as_bytes()));
    let sub = Raw::new().put(b"n", &int(dice.small())).put(b"deep", &embedded(deep));
    let length = if dice.once_in(20) { 5_000 } else { dice.below(60) };
    let mut raw = Raw::new()
        .put(b"_id", id)
        .put(b"n", &int(dice.small()))
        .put(b"s", &string(dice.word(length).as_bytes()))
        .put(b"a", &array(&numbers))
        .put(b"sub", &embedded(sub))
        .put(b"d", &double(f64::from(dice.small()) / 8.0))
        .put(b"tags", &array(&tags))
        .put(b"at", &date(dice.between(1_500_000_000_000, 2_500_000_000_000)));
    raw = random_fields(dice, raw, oddness, 3);
    if oddness != Oddness::Tame {
        raw = odd(dice, raw, oddness);
    }
    raw.bytes()
}

/// Adds some random fields.
fn random_fields(dice: &Dice, mut raw: Raw, oddness: Oddness, depth: usize) -> Raw {
    let mut names = Vec::new();
    for _ in 0..dice.below(5) {
        let name = name(dice, oddness);
        if oddness == Oddness::Wild || !names.contains(&name) {
            raw = raw.put(&name, &value(dice, oddness, depth));
            names.push(name);
        }
    }
    raw
}

/// Adds what no driver would send.
fn odd(dice: &Dice, raw: Raw, oddness: Oddness) -> Raw {
    match dice.below(8) {
        0 if oddness == Oddness::Wild => {
            raw.put(b"twice", &int(1)).put(b"twice", &string(b"again"))
        }
        1 => raw.put(b"bad utf-8", &string(&[b'a', 0xff, 0xfe, b'z'])),
        2 => raw.put(&[b'k', 0xc3, 0x28], &int(1)),
        3 => {
            let crooked = Raw::new().put(b"7", &int(1)).put(b"x", &int(2)).put(b"", &int(3));
            raw.put(b"crooked", &(0x04, crooked.bytes()))
        }
        4 => raw.put(b"nan", &(0x01, 0x7ff8_0000_0000_1234_u64.to_le_bytes().to_vec())),
        5 => raw.put(b"flags", &(0x0b, b"a+b\0zzxi\0".to_vec())),
        6 => raw.put(b"deep", &nested(60 + dice.below(60))),
        _ => raw.put(b"ts", &embedded(Raw::new().put(b"zero", &(0x11, vec![0; 8])))),
    }
}

/// Documents inside documents.
fn nested(depth: usize) -> Value {
    let mut value = int(1);
    for level in 0..depth {
        value =
            if level % 3 == 0 { array(&[value]) } else { embedded(Raw::new().put(b"x", &value)) };
    }
    value
}

/// The name of a random field.
fn name(dice: &Dice, oddness: Oddness) -> Vec<u8> {
    let tame = ["x", "y", "extra", "m", "größe", "a_long_name_of_a_field", "0", "12"];
    let odd = ["", "with.dot", ".", "a..b", " ", "sub.n", "a.0"];
    if oddness != Oddness::Tame && dice.percent(30) {
        dice.pick(&odd).as_bytes().to_vec()
    } else {
        dice.pick(&tame).as_bytes().to_vec()
    }
}

/// A value of any type.
pub fn value(dice: &Dice, oddness: Oddness, depth: usize) -> Value {
    match dice.below(12) {
        0 | 1 if depth > 0 => {
            let values: Vec<Value> =
                (0..dice.below(5)).map(|_| value(dice, oddness, depth - 1)).collect();
            array(&values)
        }
        2 | 3 if depth > 0 => {
            let mut raw = random_fields(dice, Raw::new(), oddness, depth - 1);
            // Below the top level every server keeps such names.
            if oddness != Oddness::Tame && dice.once_in(10) {
                raw = raw.put(b"$set", &int(1)).put(b"$v", &int(2));
            }
            embedded(raw)
        }
        4 => (0x06, Vec::new()),
        5 => (0x0b, b"^a.*[0-9]\0imsx\0".to_vec()),
        _ => scalar(dice),
    }
}

/// A value that may be an `_id`, other than an embedded document.
fn scalar(dice: &Dice) -> Value {
    match dice.below(18) {
        0 => number(dice),
        1 => int(dice.small()),
        2 => long(dice.between(i64::MIN, i64::MAX)),
        3 => decimal(dice),
        4 => string(dice.word(dice.below(30)).as_bytes()),
        5 => string("NUL \0 inside, and ü 日 🙂".as_bytes()),
        6 => (0x0e, string(dice.word(4).as_bytes()).1),
        7 => binary(*dice.pick(&[0, 1, 2, 3, 4, 5, 8, 9, 0x80, 0xff]), &dice.bytes(dice.below(20))),
        8 => binary(4, &dice.bytes(16)),
        9 => (0x07, dice.bytes(12)),
        10 => (0x08, vec![u8::from(dice.percent(50))]),
        11 => date(dice.between(-62_135_596_800_000, 253_402_300_799_999)),
        12 => (0x0a, Vec::new()),
        13 => (0x0d, string(b"function () { return 1; }").1),
        14 => code_with_scope(dice),
        15 => (0x11, dice.any().to_le_bytes().to_vec()),
        16 => {
            let mut pointer = string(b"db.collection").1;
            pointer.extend_from_slice(&dice.bytes(12));
            (0x0c, pointer)
        }
        _ => (*dice.pick(&[0xff, 0x7f]), Vec::new()),
    }
}

fn code_with_scope(dice: &Dice) -> Value {
    let code = string(b"return x;").1;
    let scope = Raw::new().put(b"x", &int(dice.small())).bytes();
    let length = i32::try_from(4 + code.len() + scope.len()).expect("short code");
    let mut value = length.to_le_bytes().to_vec();
    value.extend_from_slice(&code);
    value.extend_from_slice(&scope);
    (0x0f, value)
}

fn number(dice: &Dice) -> Value {
    let odd = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        0.1,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        9_007_199_254_740_992.0,
        1e300,
        -1e-300,
    ];
    double(*dice.pick(&odd))
}

/// Decimal128 (binary integer significand): 0, -0, 5.00, NaN, infinities, the extremes, and random bits.
fn decimal(dice: &Dice) -> Value {
    const ZERO: u128 = 0x3040 << 112;
    let odd = [
        ZERO,
        0xb040 << 112,
        0x303c << 112 | 500,
        0x7c00 << 112,
        0x7800 << 112,
        0xf800 << 112,
        0x5fff << 112 | 0x0001_ed09_bead_87c0_378d_8e63_ffff_ffff,
        1,
        ZERO | u128::from(dice.any()),
    ];
    (0x13, dice.pick(&odd).to_le_bytes().to_vec())
}

/// An `_id`: mostly of the usual types, sometimes of any that is allowed.
/// Often one of few values, so that ids of equal worth but other types meet.
pub fn id(dice: &Dice, serial: u64) -> Value {
    let serial = i64::try_from(serial).expect("a serial number");
    match dice.below(20) {
        0..7 => (0x07, dice.bytes(12)),
        7..10 => long(serial),
        10..12 => string(format!("{}{serial}", dice.word(3)).as_bytes()),
        12 => binary(4, &dice.bytes(16)),
        13 => renumbered(dice, dice.between(0, 300)),
        14 | 15 => {
            let inner = Raw::new().put(b"n", &renumbered(dice, dice.between(0, 50)));
            embedded(inner.put(b"s", &string(dice.word(1).as_bytes())))
        }
        16 => embedded(Raw::new().put(b"list", &array(&[scalar(dice), scalar(dice)]))),
        _ => scalar(dice),
    }
}

/// An `_id` that nobody has.
pub fn new_id(dice: &Dice) -> Value {
    (0x07, dice.bytes(12))
}

/// The same number in one of the four numeric types; servers take them for equal.
pub fn renumbered(dice: &Dice, n: i64) -> Value {
    match dice.below(4) {
        0 => int(i32::try_from(n).unwrap_or_default()),
        1 => long(n),
        2 => double(n as f64),
        _ => (0x13, (0x3040_u128 << 112 | u128::from(n.unsigned_abs())).to_le_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use bson::RawDocument;

    use super::*;

    #[test]
    fn tame_documents_are_valid_everywhere() {
        let dice = Dice::new(1);
        for serial in 0..500 {
            let bytes = document(&dice, &id(&dice, serial), Oddness::Tame);
            let raw = RawDocument::from_bytes(&bytes).unwrap();
            bson::Document::try_from(raw).unwrap();
        }
    }

    #[test]
    fn every_type_comes_up() {
        let dice = Dice::new(2);
        let kinds: std::collections::BTreeSet<u8> =
            (0..2000).map(|_| value(&dice, Oddness::Wild, 1).0).collect();
        let all = (0x01..=0x13).chain([0x7f, 0xff]);
        assert_eq!(kinds, all.collect());
    }
}
