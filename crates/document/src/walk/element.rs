//! One element of a document, and typed views of its value.

use bygone_base::Ts;

use super::Doc;
use crate::{Error, Result, error::shown, tag};

/// One element: type byte, name, value. The name may be invalid UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// Type byte, name, zero byte, value; never empty.
    raw: &'a [u8],
    /// Where the value starts in `raw`; at least 2.
    value_at: usize,
}

impl<'a> Element<'a> {
    #[inline]
    pub(super) fn new(raw: &'a [u8], value_at: usize) -> Self {
        Element { raw, value_at }
    }

    /// The type byte, one of [`types`](super::types).
    #[inline]
    pub fn kind(self) -> u8 {
        self.raw.first().copied().unwrap_or_default()
    }

    /// The name's bytes, without the zero byte.
    #[inline]
    pub fn name(self) -> &'a [u8] {
        self.raw.get(1..self.value_at - 1).unwrap_or_default()
    }

    /// The value's bytes as in the document.
    #[inline]
    pub fn value(self) -> &'a [u8] {
        self.raw.get(self.value_at..).unwrap_or_default()
    }

    /// The whole element: type byte, name, zero byte, value.
    #[inline]
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// A typed view, or [`Error::WrongType`] naming the field:
    /// `element.need(Element::as_timestamp, "timestamp")`.
    pub fn need<T>(
        self,
        view: impl FnOnce(Self) -> Option<T>,
        expected: &'static str,
    ) -> Result<T> {
        view(self).ok_or_else(|| Error::WrongType {
            field: shown(self.name()),
            expected,
            found: tag::name(self.kind()),
        })
    }

    fn chunk<const N: usize>(self, kind: u8) -> Option<[u8; N]> {
        if self.kind() == kind { self.value().try_into().ok() } else { None }
    }

    /// A 32-bit integer.
    #[inline]
    pub fn as_i32(self) -> Option<i32> {
        self.chunk(tag::INT32).map(i32::from_le_bytes)
    }

    /// A 64-bit integer (not a 32-bit one: see [`Element::as_integer`]).
    #[inline]
    pub fn as_i64(self) -> Option<i64> {
        self.chunk(tag::INT64).map(i64::from_le_bytes)
    }

    /// A double.
    #[inline]
    pub fn as_f64(self) -> Option<f64> {
        self.chunk(tag::DOUBLE).map(f64::from_le_bytes)
    }

    /// An int, a long, or a double without fraction: how servers read numbers
    /// in commands.
    pub fn as_integer(self) -> Option<i64> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if let Some(double) = self.as_f64() {
            let whole = double.trunc() == double && double.abs() <= EXACT;
            return whole.then_some(double as i64);
        }
        self.as_i64().or_else(|| self.as_i32().map(i64::from))
    }

    /// A bool; a byte other than 0 is true.
    #[inline]
    pub fn as_bool(self) -> Option<bool> {
        self.chunk(tag::BOOL).map(|[b]| b != 0)
    }

    /// The bytes of a string, without its zero byte; maybe invalid UTF-8,
    /// maybe with zero bytes inside.
    #[inline]
    pub fn as_str_bytes(self) -> Option<&'a [u8]> {
        if self.kind() == tag::STRING { self.text() } else { None }
    }

    /// A string that is valid UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.as_str_bytes()?).ok()
    }

    /// The bytes of a string, symbol or code.
    #[inline]
    pub(crate) fn text(self) -> Option<&'a [u8]> {
        let value = self.value();
        value.get(4..value.len().checked_sub(1)?)
    }

    /// An embedded document.
    #[inline]
    pub fn as_doc(self) -> Option<Doc<'a>> {
        (self.kind() == tag::DOCUMENT).then(|| Doc::checked(self.value()))
    }

    /// An array, as the document of its elements.
    #[inline]
    pub fn as_array(self) -> Option<Doc<'a>> {
        (self.kind() == tag::ARRAY).then(|| Doc::checked(self.value()))
    }

    /// A timestamp.
    #[inline]
    pub fn as_timestamp(self) -> Option<Ts> {
        self.chunk(tag::TIMESTAMP).map(|b| Ts(u64::from_le_bytes(b)))
    }

    /// A date in milliseconds since 1970.
    #[inline]
    pub fn as_date(self) -> Option<i64> {
        self.chunk(tag::DATE).map(i64::from_le_bytes)
    }

    /// An ObjectId.
    #[inline]
    pub fn as_object_id(self) -> Option<[u8; 12]> {
        self.chunk(tag::OBJECT_ID)
    }

    /// The 16 bytes of a decimal as stored (little-endian).
    #[inline]
    pub fn as_decimal128(self) -> Option<[u8; 16]> {
        self.chunk(tag::DECIMAL128)
    }

    /// Subtype and bytes of binary data. For the old subtype 2 the bytes begin
    /// with the inner length.
    #[inline]
    pub fn as_binary(self) -> Option<(u8, &'a [u8])> {
        if self.kind() != tag::BINARY {
            return None;
        }
        self.value().get(4..)?.split_first().map(|(subtype, bytes)| (*subtype, bytes))
    }

    /// A UUID: binary data of subtype 4 and 16 bytes.
    pub fn as_uuid(self) -> Option<[u8; 16]> {
        match self.as_binary()? {
            (4, bytes) => bytes.try_into().ok(),
            _ => None,
        }
    }

    /// Code and scope of a code with scope.
    pub fn as_code_with_scope(self) -> Option<(&'a [u8], Doc<'a>)> {
        if self.kind() != tag::CODE_WITH_SCOPE {
            return None;
        }
        let inner = self.value().get(4..)?;
        let end = super::length_at(inner, 0)?.checked_add(4)?;
        let code = inner.get(4..end.checked_sub(1)?)?;
        Some((code, Doc::checked(inner.get(end..)?)))
    }

    /// The document inside, for the three types that have one: documents,
    /// arrays, and the scope of code.
    pub fn nested(self) -> Option<Doc<'a>> {
        match self.kind() {
            tag::DOCUMENT | tag::ARRAY => Some(Doc::checked(self.value())),
            tag::CODE_WITH_SCOPE => self.as_code_with_scope().map(|(_, scope)| scope),
            _ => None,
        }
    }
}
