//! Raw BSON pieces for commands: taking documents apart and putting them
//! together without decoding what is inside, so that every option and every name
//! arrives as it was stored.

use bson::RawDocumentBuf;
use bygone_base::{Error, Result};

/// Type bytes that this crate looks at (<https://bsonspec.org/spec.html>).
pub mod kind {
    /// 64-bit double.
    pub const DOUBLE: u8 = 0x01;
    /// String.
    pub const STRING: u8 = 0x02;
    /// Embedded document.
    pub const DOCUMENT: u8 = 0x03;
    /// Array.
    pub const ARRAY: u8 = 0x04;
    /// Boolean.
    pub const BOOL: u8 = 0x08;
    /// 32-bit integer.
    pub const INT32: u8 = 0x10;
    /// Timestamp.
    pub const TIMESTAMP: u8 = 0x11;
    /// 64-bit integer.
    pub const INT64: u8 = 0x12;
    /// Decimal128.
    pub const DECIMAL128: u8 = 0x13;
}

/// One element of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Type byte.
    pub kind: u8,
    /// Name without its terminator; need not be UTF-8.
    pub name: &'a [u8],
    /// The value's bytes.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The value as a number, where it is one that fits.
    pub fn number(&self) -> Option<f64> {
        match self.kind {
            kind::DOUBLE => Some(f64::from_le_bytes(self.value.try_into().ok()?)),
            kind::INT32 => Some(f64::from(i32::from_le_bytes(self.value.try_into().ok()?))),
            kind::INT64 => Some(i64::from_le_bytes(self.value.try_into().ok()?) as f64),
            _ => None,
        }
    }

    /// True, or a number other than zero: the server takes both for yes.
    pub fn is_true(&self) -> bool {
        match self.kind {
            kind::BOOL => self.value == [1],
            _ => self.number().is_some_and(|n| n != 0.0),
        }
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&'a str> {
        let bytes = (self.kind == kind::STRING).then_some(self.value)?;
        std::str::from_utf8(bytes.get(4..bytes.len().checked_sub(1)?)?).ok()
    }

    /// An embedded document.
    pub fn doc(&self) -> Option<&'a [u8]> {
        (self.kind == kind::DOCUMENT).then_some(self.value)
    }
}

/// The elements of a document in order.
pub fn fields(doc: &[u8]) -> Fields<'_> {
    let length = doc.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize);
    let good = length == Some(doc.len()) && doc.len() >= 5 && doc.last() == Some(&0);
    if good { Fields { rest: &doc[4..], bad: false } } else { Fields { rest: &[], bad: true } }
}

/// Iterator of [`fields`]; gives an error once on damaged bytes.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    bad: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self) -> Option<Field<'a>> {
        let (&kind, after) = self.rest.split_first()?;
        let end = after.iter().position(|b| *b == 0)?;
        let (name, after) = (&after[..end], &after[end + 1..]);
        let length = value_length(kind, after)?;
        // The document's own terminator must remain.
        if length >= after.len() {
            return None;
        }
        let (value, rest) = after.split_at(length);
        self.rest = rest;
        Some(Field { kind, name, value })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest == [0] || self.rest.is_empty() && !self.bad {
            return None;
        }
        let field = self.take();
        if field.is_none() {
            (self.rest, self.bad) = (&[], false);
            return Some(Err(Error::damaged("a stored document is not BSON")));
        }
        field.map(Ok)
    }
}

/// Length of a value, from its first bytes; see bsonspec.org.
fn value_length(kind: u8, bytes: &[u8]) -> Option<usize> {
    let prefix = || bytes.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize);
    let c_string = |from: usize| bytes.get(from..)?.iter().position(|b| *b == 0).map(|n| n + 1);
    match kind {
        0x01 | 0x09 | 0x11 | 0x12 => Some(8),
        0x02 | 0x0d | 0x0e => prefix()?.checked_add(4),
        0x03 | 0x04 | 0x0f => prefix(),
        0x05 => prefix()?.checked_add(5),
        0x06 | 0x0a | 0x7f | 0xff => Some(0),
        0x07 => Some(12),
        0x08 => Some(1),
        0x0b => c_string(0).and_then(|first| c_string(first).map(|second| first + second)),
        0x0c => prefix()?.checked_add(16),
        0x10 => Some(4),
        0x13 => Some(16),
        _ => None,
    }
}

/// The first element of that name; `None` also for a damaged document.
pub fn get<'a>(doc: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(doc).map_while(Result::ok).find(|f| f.name == name.as_bytes())
}

/// Whether the named element is there and true.
pub fn is_true(doc: &[u8], name: &str) -> bool {
    get(doc, name).is_some_and(|f| f.is_true())
}

/// The named string.
pub fn text<'a>(doc: &'a [u8], name: &str) -> Option<&'a str> {
    get(doc, name).and_then(|f| f.text())
}

/// Builds a document element by element.
#[derive(Debug, Clone)]
pub struct Build {
    bytes: Vec<u8>,
}

impl Default for Build {
    fn default() -> Self {
        Build::new()
    }
}

impl Build {
    /// A document without elements.
    pub fn new() -> Self {
        Build { bytes: vec![0; 4] }
    }

    /// Goes on with a document whose terminator is not yet there.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Build { bytes }
    }

    /// Any element, verbatim.
    pub fn element(mut self, kind: u8, name: &[u8], value: &[u8]) -> Self {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.bytes.extend_from_slice(value);
        self
    }

    /// An element of another document, verbatim.
    pub fn field(self, field: &Field<'_>) -> Self {
        self.element(field.kind, field.name, field.value)
    }

    /// A string.
    pub fn str(self, name: &str, value: &str) -> Self {
        let mut bytes = Vec::with_capacity(value.len() + 5);
        bytes.extend_from_slice(&u32::try_from(value.len() + 1).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.element(kind::STRING, name.as_bytes(), &bytes)
    }

    /// A boolean.
    pub fn bool(self, name: &str, value: bool) -> Self {
        self.element(kind::BOOL, name.as_bytes(), &[u8::from(value)])
    }

    /// An embedded document.
    pub fn doc(self, name: &str, value: &[u8]) -> Self {
        self.element(kind::DOCUMENT, name.as_bytes(), value)
    }

    /// An array of documents.
    pub fn docs(self, name: &str, values: &[&[u8]]) -> Self {
        let mut array = Build::new();
        for (index, value) in values.iter().enumerate() {
            array = array.doc(&index.to_string(), value);
        }
        self.element(kind::ARRAY, name.as_bytes(), &array.finish())
    }

    /// `writeConcern: {w: "majority"}`, which every write of a restore carries.
    pub fn majority(self) -> Self {
        self.doc("writeConcern", &Build::new().str("w", "majority").finish())
    }

    /// The document's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0);
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes
    }

    /// The document as a command.
    pub fn command(self) -> Result<RawDocumentBuf> {
        RawDocumentBuf::from_bytes(self.finish())
            .map_err(|e| Error::internal("build a command").source(e))
    }
}

/// `doc` without the named elements.
pub fn without(doc: &[u8], names: &[&str]) -> Result<Vec<u8>> {
    let mut out = Build::new();
    for field in fields(doc) {
        let field = field?;
        if !names.iter().any(|n| n.as_bytes() == field.name) {
            out = out.field(&field);
        }
    }
    Ok(out.finish())
}

/// Documents laid one after the other, as leaves hold them.
pub fn split(stream: &[u8]) -> Split<'_> {
    Split { rest: stream }
}

/// Iterator of [`split`].
#[derive(Debug, Clone)]
pub struct Split<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Split<'a> {
    type Item = Result<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.rest.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize);
        match length.filter(|n| *n >= 5).and_then(|n| self.rest.split_at_checked(n)) {
            Some((doc, rest)) => {
                self.rest = rest;
                Some(Ok(doc))
            }
            None => {
                self.rest = &[];
                Some(Err(Error::damaged("a stored document has a wrong length")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_come_apart_and_together_unchanged() {
        let doc = rawdoc! {
            "a": 1, "b": 2_i64, "c": "x", "d": {"e": [1, 2.5, true, null]},
            "f": bson::Timestamp { time: 1, increment: 2 },
            "g": bson::Regex { pattern: bson::cstr!("x").into(), options: bson::cstr!("i").into() },
            "h": bson::oid::ObjectId::from_bytes([7; 12]),
        };
        assert_eq!(without(doc.as_bytes(), &[]).unwrap(), doc.as_bytes());
        let less = without(doc.as_bytes(), &["a", "d", "g"]).unwrap();
        assert!(get(&less, "a").is_none());
        assert_eq!(text(&less, "c"), Some("x"));
        assert_eq!(get(&less, "b").unwrap().number(), Some(2.0));
    }

    #[test]
    fn a_stream_is_split_and_a_cut_one_refused() {
        let one = rawdoc! {"a": 1};
        let two = [one.as_bytes(), one.as_bytes()].concat();
        assert_eq!(split(&two).map(|d| d.unwrap().to_vec()).collect::<Vec<_>>().len(), 2);
        assert!(split(&two[..two.len() - 1]).any(|d| d.is_err()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_run_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(fields(&bytes).count() <= 80);
            let mut framed = (bytes.len() as u32 + 5).to_le_bytes().to_vec();
            framed.extend(&bytes);
            framed.push(0);
            prop_assert!(fields(&framed).count() <= 90);
            prop_assert!(split(&bytes).count() <= 80);
        }
    }
}
