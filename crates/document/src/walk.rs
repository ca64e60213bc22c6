//! A bounded, zero-copy walker over raw BSON.
//!
//! A [`Doc`] is a byte slice whose length field and terminator are right. Its
//! [`Elements`] are found one after the other; each one's value is checked to lie
//! inside the document, nested documents are checked when they are walked (or
//! all at once by [`validate`]). Everything that a server stores is accepted:
//! deprecated types, duplicate names, invalid UTF-8 in values and names, array
//! keys that are not `0, 1, 2 ..`.

mod element;
mod stream;
#[cfg(test)]
mod tests;
pub mod types;

pub use element::Element;
pub use stream::{SplitStream, split_stream, validate};

use crate::{Error, Result, error::shown, tag};

/// A document whose length and terminator have been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doc<'a>(&'a [u8]);

impl Doc<'static> {
    /// The document without elements.
    pub const EMPTY: Doc<'static> = Doc(&[5, 0, 0, 0, 0]);
}

impl<'a> Doc<'a> {
    /// `bytes` must be one document, exactly. The size is not limited: callers
    /// that read from outside bound it (as [`split_stream`] does).
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let (doc, rest) = Doc::prefix(bytes)?;
        if !rest.is_empty() {
            return Err(Error::malformed("bytes after the end of the document", doc.0.len()));
        }
        Ok(doc)
    }

    /// The document at the front of `bytes`, and the bytes behind it.
    #[inline]
    pub fn prefix(bytes: &'a [u8]) -> Result<(Self, &'a [u8])> {
        let len = length_at(bytes, 0).ok_or(Error::malformed("length of a document", 0))?;
        if len < 5 {
            return Err(Error::malformed("a document's length is at least 5", 0));
        }
        let (doc, rest) =
            bytes.split_at_checked(len).ok_or(Error::malformed("document is cut short", 0))?;
        if doc.last() != Some(&0) {
            return Err(Error::malformed("document does not end with a zero byte", len - 1));
        }
        Ok((Doc(doc), rest))
    }

    /// A nested document that [`Elements`] has checked already.
    pub(crate) fn checked(bytes: &'a [u8]) -> Self {
        Doc(bytes)
    }

    /// The bytes, length field and terminator included.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether there is no element.
    pub fn is_empty(self) -> bool {
        self.0.len() == 5
    }

    /// The elements in order. After an error the iterator ends.
    #[inline]
    pub fn elements(self) -> Elements<'a> {
        Elements { doc: self.0, at: 4 }
    }

    /// The first element of this name.
    #[inline]
    pub fn get(self, name: impl AsRef<[u8]>) -> Result<Option<Element<'a>>> {
        let name = name.as_ref();
        for element in self.elements() {
            let element = element?;
            if element.name() == name {
                return Ok(Some(element));
            }
        }
        Ok(None)
    }

    /// The first element of this name; [`Error::MissingField`] without one.
    pub fn require(self, name: impl AsRef<[u8]>) -> Result<Element<'a>> {
        let name = name.as_ref();
        self.get(name)?.ok_or_else(|| Error::MissingField(shown(name)))
    }
}

/// Iterator over the elements of a [`Doc`].
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    doc: &'a [u8],
    at: usize,
}

impl Elements<'_> {
    /// Byte offset, in the document, of the element that `next` returns.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let end = self.doc.len() - 1;
        if self.at >= end {
            return None;
        }
        match element_at(self.doc, self.at, end) {
            Ok(element) => {
                self.at += element.raw().len();
                Some(Ok(element))
            }
            Err(error) => {
                self.at = end;
                Some(Err(error))
            }
        }
    }
}

/// The element at `at`, which must end at or before `end`.
#[inline]
fn element_at(doc: &[u8], at: usize, end: usize) -> Result<Element<'_>> {
    let rest = doc.get(at..end).ok_or(Error::malformed("element", at))?;
    let Some((&kind, named)) = rest.split_first() else {
        return Err(Error::malformed("element", at));
    };
    let name_len =
        zero_position(named).ok_or(Error::malformed("a field name does not end", at + 1))?;
    let value_at = name_len + 2;
    let value = rest.get(value_at..).unwrap_or_default();
    let len = value_len(kind, value).map_err(|what| Error::malformed(what, at + value_at))?;
    let raw = rest
        .get(..value_at + len)
        .ok_or(Error::malformed("a value is cut short", at + value_at))?;
    Ok(Element::new(raw, value_at))
}

/// Where the first zero byte is. Names are short, so this beats a library call.
#[inline]
fn zero_position(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == 0)
}

/// The length of a value of type `kind` at the front of `value`. The result may
/// be longer than `value`; the caller checks that. What is checked here is the
/// inner structure that typed accessors rely on.
#[inline]
fn value_len(kind: u8, value: &[u8]) -> Result<usize, &'static str> {
    match kind {
        tag::DOUBLE | tag::INT64 | tag::DATE | tag::TIMESTAMP => Ok(8),
        tag::INT32 => Ok(4),
        tag::STRING | tag::SYMBOL | tag::CODE => string_len(value),
        tag::DOCUMENT | tag::ARRAY => document_len(value),
        tag::OBJECT_ID => Ok(12),
        tag::BOOL => Ok(1),
        tag::NULL | tag::UNDEFINED | tag::MIN_KEY | tag::MAX_KEY => Ok(0),
        tag::BINARY => Ok(length_at(value, 0).ok_or("length of binary data")?.saturating_add(5)),
        tag::DECIMAL128 => Ok(16),
        tag::REGEX => {
            let pattern = zero_position(value).ok_or("a regex pattern does not end")? + 1;
            let flags = value.get(pattern..).and_then(zero_position);
            Ok(pattern + flags.ok_or("regex flags do not end")? + 1)
        }
        tag::DB_POINTER => Ok(string_len(value)?.saturating_add(12)),
        tag::CODE_WITH_SCOPE => code_with_scope_len(value),
        _ => Err("unknown type byte"),
    }
}

/// Length of a string value, its length field and terminator included.
#[inline]
fn string_len(value: &[u8]) -> Result<usize, &'static str> {
    let len = length_at(value, 0).ok_or("length of a string")?;
    if len == 0 {
        return Err("a string's length is at least 1");
    }
    let len = len.saturating_add(4);
    match value.get(len - 1) {
        Some(0) => Ok(len),
        Some(_) => Err("a string does not end with a zero byte"),
        None => Err("a string is cut short"),
    }
}

/// Length of an embedded document whose frame is right.
#[inline]
fn document_len(value: &[u8]) -> Result<usize, &'static str> {
    let len = length_at(value, 0).ok_or("length of an embedded document")?;
    if len < 5 {
        return Err("an embedded document's length is at least 5");
    }
    match value.get(len - 1) {
        Some(0) => Ok(len),
        Some(_) => Err("an embedded document does not end with a zero byte"),
        None => Err("an embedded document is cut short"),
    }
}

fn code_with_scope_len(value: &[u8]) -> Result<usize, &'static str> {
    let whole = length_at(value, 0).ok_or("length of code with scope")?;
    let inner = value.get(4..whole).ok_or("code with scope is cut short")?;
    let code = string_len(inner)?;
    let scope = inner.get(code..).ok_or("code with scope has no scope")?;
    if document_len(scope)? != scope.len() {
        return Err("code with scope has a wrong length");
    }
    Ok(whole)
}

/// The non-negative little-endian 32-bit length at `at`.
#[inline]
pub(crate) fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(i32::from_le_bytes(*field)).ok()
}
