//! The few things this crate needs of raw BSON: a bounded walk over the
//! elements of one document, and typed reads of their values.
//!
//! <https://bsonspec.org/spec.html>

use bson::RawDocumentBuf;
use bygone_base::{CollectionId, Error, OpTime, Result, Ts};

/// BSON type bytes that are looked at here.
pub(crate) mod types {
    pub(crate) const DOUBLE: u8 = 0x01;
    pub(crate) const STRING: u8 = 0x02;
    pub(crate) const DOCUMENT: u8 = 0x03;
    pub(crate) const ARRAY: u8 = 0x04;
    pub(crate) const BINARY: u8 = 0x05;
    pub(crate) const BOOL: u8 = 0x08;
    pub(crate) const INT32: u8 = 0x10;
    pub(crate) const TIMESTAMP: u8 = 0x11;
    pub(crate) const INT64: u8 = 0x12;
}

/// The largest document that a server writes to its oplog: a user document of
/// 16 MiB and the entry around it.
pub(crate) const MAX_ENTRY: usize = 16 * 1024 * 1024 + 16 * 1024;

fn bad(what: &str) -> Error {
    Error::damaged(format!("malformed BSON: {what}"))
}

/// One element of a document. The name may hold any bytes but NUL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) kind: u8,
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Walks the elements of a document.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
}

/// The elements of `doc`, whose length field and terminator are checked.
pub(crate) fn elements(doc: &[u8]) -> Result<Elements<'_>> {
    let body = match doc {
        [_, _, _, _, body @ .., 0] if read_len(doc) == Some(doc.len()) => body,
        _ => return Err(bad("length or terminator of a document")),
    };
    Ok(Elements { rest: body })
}

/// The length that stands at the front of a document or string.
pub(crate) fn read_len(bytes: &[u8]) -> Option<usize> {
    let head: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    usize::try_from(i32::from_le_bytes(head)).ok()
}

impl<'a> Elements<'a> {
    /// The next element, `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Element<'a>>> {
        let Some((&kind, rest)) = self.rest.split_first() else { return Ok(None) };
        let end = name_len(rest).ok_or_else(|| bad("unterminated name"))?;
        let (name, rest) = rest.split_at(end);
        let rest = &rest[1..];
        let len = value_len(kind, rest).ok_or_else(|| bad("value of an element"))?;
        let (value, rest) = rest.split_at_checked(len).ok_or_else(|| bad("value cut short"))?;
        self.rest = rest;
        Ok(Some(Element { kind, name, value }))
    }
}

/// How many bytes come before the first NUL. Names of an entry's fields are
/// short: the first eight bytes are looked at in one step.
#[inline]
fn name_len(bytes: &[u8]) -> Option<usize> {
    if let Some(word) = bytes.first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        // The lowest set bit marks the first zero byte.
        let zeros = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
        if zeros != 0 {
            return Some(zeros.trailing_zeros() as usize / 8);
        }
    }
    bytes.iter().position(|b| *b == 0)
}

/// The first eight bytes of a name as a number, to tell names apart quickly.
#[inline]
pub(crate) const fn tag(name: &[u8]) -> u64 {
    let mut out = 0;
    let mut i = 0;
    while i < name.len() && i < 8 {
        out |= (name[i] as u64) << (8 * i);
        i += 1;
    }
    out
}

/// How many bytes the value of type `kind` at the front of `rest` takes.
#[inline]
fn value_len(kind: u8, rest: &[u8]) -> Option<usize> {
    Some(match kind {
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x02 | 0x0D | 0x0E => read_len(rest)?.checked_add(4)?,
        0x03 | 0x04 | 0x0F => read_len(rest)?,
        0x05 => read_len(rest)?.checked_add(5)?,
        0x06 | 0x0A | 0x7F | 0xFF => 0,
        0x07 => 12,
        0x08 => 1,
        0x0B => {
            let pattern = rest.iter().position(|b| *b == 0)? + 1;
            pattern + rest[pattern..].iter().position(|b| *b == 0)? + 1
        }
        0x0C => read_len(rest)?.checked_add(16)?,
        0x10 => 4,
        0x13 => 16,
        _ => return None,
    })
}

impl<'a> Element<'a> {
    fn fixed<const N: usize>(&self, kind: u8) -> Option<[u8; N]> {
        if self.kind == kind { self.value.try_into().ok() } else { None }
    }

    /// A document's bytes.
    pub(crate) fn doc(&self) -> Option<&'a [u8]> {
        (self.kind == types::DOCUMENT).then_some(self.value)
    }

    /// An array's bytes.
    pub(crate) fn array(&self) -> Option<&'a [u8]> {
        (self.kind == types::ARRAY).then_some(self.value)
    }

    /// A string's bytes, without length and terminator.
    pub(crate) fn str_bytes(&self) -> Option<&'a [u8]> {
        match self.value {
            [_, _, _, _, text @ .., 0] if self.kind == types::STRING => Some(text),
            _ => None,
        }
    }

    /// A string that is UTF-8.
    pub(crate) fn str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.str_bytes()?).ok()
    }

    /// A timestamp.
    pub(crate) fn ts(&self) -> Option<Ts> {
        self.fixed(types::TIMESTAMP).map(|b| Ts(u64::from_le_bytes(b)))
    }

    /// A whole number of any numeric type.
    pub(crate) fn int(&self) -> Option<i64> {
        match self.kind {
            types::INT64 => self.fixed(types::INT64).map(i64::from_le_bytes),
            types::INT32 => self.fixed(types::INT32).map(i32::from_le_bytes).map(i64::from),
            types::DOUBLE => {
                let value = f64::from_le_bytes(self.fixed(types::DOUBLE)?);
                let whole = value.trunc() == value && value.abs() < 9.0e15;
                whole.then_some(value as i64)
            }
            _ => None,
        }
    }

    /// A truth value; like the server, numbers count too (`safeBool`).
    pub(crate) fn bool(&self) -> Option<bool> {
        match self.kind {
            types::BOOL => self.fixed::<1>(types::BOOL).map(|b| b[0] != 0),
            _ => self.int().map(|n| n != 0),
        }
    }

    /// A UUID (binary of subtype 4).
    pub(crate) fn uuid(&self) -> Option<CollectionId> {
        match self.value {
            [16, 0, 0, 0, 4, id @ ..] if self.kind == types::BINARY => CollectionId::from_slice(id),
            _ => None,
        }
    }

    /// An embedded `{ts, t}`.
    pub(crate) fn op_time(&self) -> Option<OpTime> {
        let mut found = OpTime::default();
        let mut walk = elements(self.doc()?).ok()?;
        while let Some(element) = walk.next().ok()? {
            match element.name {
                b"ts" => found.ts = element.ts()?,
                b"t" => found.term = element.int()?,
                _ => {}
            }
        }
        Some(found)
    }
}

/// The first element called `name`.
pub(crate) fn get<'a>(doc: &'a [u8], name: &str) -> Result<Option<Element<'a>>> {
    let mut walk = elements(doc)?;
    while let Some(element) = walk.next()? {
        if element.name == name.as_bytes() {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

/// Puts a document together from raw elements.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    /// An empty document.
    pub(crate) fn new() -> Self {
        Builder { bytes: vec![0; 4] }
    }

    /// Adds an element as it is.
    pub(crate) fn push(&mut self, element: &Element<'_>) {
        self.put(element.kind, element.name, element.value);
    }

    /// Adds an element of these parts.
    pub(crate) fn put(&mut self, kind: u8, name: &[u8], value: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.bytes.extend_from_slice(value);
    }

    /// The document.
    pub(crate) fn finish(mut self) -> Result<RawDocumentBuf> {
        self.bytes.push(0);
        let len = i32::try_from(self.bytes.len()).map_err(|_| bad("document too large"))?;
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        owned(&self.bytes)
    }
}

/// A document of its own from checked bytes.
pub(crate) fn owned(doc: &[u8]) -> Result<RawDocumentBuf> {
    RawDocumentBuf::from_bytes(doc.to_vec()).map_err(|e| bad("document").source(e))
}

/// The documents that an array holds; anything else in it is an error.
pub(crate) fn docs(array: &[u8]) -> Result<Vec<RawDocumentBuf>> {
    let mut out = Vec::new();
    let mut walk = elements(array)?;
    while let Some(element) = walk.next()? {
        out.push(owned(element.doc().ok_or_else(|| bad("array of documents"))?)?);
    }
    Ok(out)
}

/// A whole number as the server writes it: 32 bits where they do.
pub(crate) fn number(value: i64) -> (u8, Vec<u8>) {
    match i32::try_from(value) {
        Ok(small) => (types::INT32, small.to_le_bytes().to_vec()),
        Err(_) => (types::INT64, value.to_le_bytes().to_vec()),
    }
}
