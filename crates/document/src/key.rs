//! Order-preserving keys: `_id` values as bytes whose `memcmp` order is the
//! order of the server's `_id` index, and which are equal exactly when the
//! server holds the values for equal.
//!
//! The encoding is part of the store format: docs/format-keys.md says the same
//! in a table. A key is a *class* byte and a body:
//!
//! ```text
//! class            body
//! 08 MinKey        -
//! 10 undefined     -
//! 18 null          -
//! 20 number        order:u16 [digits]           see `number`
//! 28 string        text                         symbols too
//! 30 document      element* 00                  element = class name 00 body
//! 38 array         (class body)* 00             names do not count
//! 40 binary        length subtype bytes         length: u8 below 255, else FF u32
//! 48 ObjectId      12 bytes
//! 50 bool          00 | 01
//! 58 date          i64 with the sign bit turned
//! 60 timestamp     u64
//! 68 regex         pattern 00 flags 00
//! 70 DBPointer     u32 length, name, 12 bytes   the name up to its first 00
//! 78 code          text
//! 80 code, scope   text element* 00
//! F8 MaxKey        -
//! text = bytes, 00 as 01 01 and 01 as 01 02, then 00      integers are big-endian
//! ```
//!
//! Every body ends itself, so no key is a prefix of another and bodies can be
//! nested. `00` stands before every key and `FF` behind every key.

mod decimal;
#[cfg(test)]
pub(crate) mod model;
mod number;
#[cfg(test)]
mod tests;

use crate::{Doc, Element, Error, MAX_DEPTH, Result, tag};

mod class {
    pub(super) const MIN_KEY: u8 = 0x08;
    pub(super) const UNDEFINED: u8 = 0x10;
    pub(super) const NULL: u8 = 0x18;
    pub(super) const NUMBER: u8 = 0x20;
    pub(super) const STRING: u8 = 0x28;
    pub(super) const DOCUMENT: u8 = 0x30;
    pub(super) const ARRAY: u8 = 0x38;
    pub(super) const BINARY: u8 = 0x40;
    pub(super) const OBJECT_ID: u8 = 0x48;
    pub(super) const BOOL: u8 = 0x50;
    pub(super) const DATE: u8 = 0x58;
    pub(super) const TIMESTAMP: u8 = 0x60;
    pub(super) const REGEX: u8 = 0x68;
    pub(super) const DB_POINTER: u8 = 0x70;
    pub(super) const CODE: u8 = 0x78;
    pub(super) const CODE_WITH_SCOPE: u8 = 0x80;
    pub(super) const MAX_KEY: u8 = 0xF8;
}

/// The key of a document's `_id` (the first field of that name);
/// [`Error::MissingId`] without one. The document's frame is checked, and its
/// elements up to the `_id`.
pub fn id_key(doc: &[u8]) -> Result<Vec<u8>> {
    let mut key = Vec::with_capacity(24);
    id_key_into(doc, &mut key)?;
    Ok(key)
}

/// Appends the key of a document's `_id` to `out`, as [`id_key`]. After an error
/// `out` is as it was.
#[inline]
pub fn id_key_into(doc: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let doc = Doc::new(doc)?;
    // Nearly every document begins with an ObjectId `_id`.
    if let Some(&[_, _, _, _, tag::OBJECT_ID, b'_', b'i', b'd', 0, ref id @ ..]) =
        doc.bytes().first_chunk::<21>()
    {
        let id: &[u8; 12] = id;
        out.push(class::OBJECT_ID);
        out.extend_from_slice(id);
        return Ok(());
    }
    let id = doc.get(b"_id")?.ok_or(Error::MissingId)?;
    value_key_into(id, out)
}

/// The key of one value; the element's name does not count.
pub fn value_key(element: Element<'_>) -> Result<Vec<u8>> {
    let mut key = Vec::with_capacity(24);
    value_key_into(element, &mut key)?;
    Ok(key)
}

/// Appends the key of one value to `out`. At most twice the value's length
/// plus a few bytes (numbers: at most 387 bytes). After an error `out` is as it was.
pub fn value_key_into(element: Element<'_>, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    let done = class_of(element).and_then(|class| {
        out.push(class);
        body(element, out, MAX_DEPTH)
    });
    if done.is_err() {
        out.truncate(before);
    }
    done
}

fn class_of(element: Element<'_>) -> Result<u8> {
    Ok(match element.kind() {
        tag::MIN_KEY => class::MIN_KEY,
        tag::UNDEFINED => class::UNDEFINED,
        tag::NULL => class::NULL,
        tag::DOUBLE | tag::INT32 | tag::INT64 | tag::DECIMAL128 => class::NUMBER,
        tag::STRING | tag::SYMBOL => class::STRING,
        tag::DOCUMENT => class::DOCUMENT,
        tag::ARRAY => class::ARRAY,
        tag::BINARY => class::BINARY,
        tag::OBJECT_ID => class::OBJECT_ID,
        tag::BOOL => class::BOOL,
        tag::DATE => class::DATE,
        tag::TIMESTAMP => class::TIMESTAMP,
        tag::REGEX => class::REGEX,
        tag::DB_POINTER => class::DB_POINTER,
        tag::CODE => class::CODE,
        tag::CODE_WITH_SCOPE => class::CODE_WITH_SCOPE,
        tag::MAX_KEY => class::MAX_KEY,
        _ => return Err(Error::malformed("unknown type byte", 0)),
    })
}

/// What follows the class byte. `depth` levels may still be entered.
fn body(element: Element<'_>, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    match element.kind() {
        tag::INT32 => number::int(element.as_i32().map(i64::from).unwrap_or_default(), out),
        tag::INT64 => number::int(element.as_i64().unwrap_or_default(), out),
        tag::DOUBLE => number::double(element.as_f64().unwrap_or_default(), out),
        tag::DECIMAL128 => decimal::decimal(element.as_decimal128().unwrap_or_default(), out),
        tag::STRING | tag::SYMBOL | tag::CODE => text(element.text().unwrap_or_default(), out),
        tag::DOCUMENT => {
            let doc = element.as_doc().ok_or(Error::malformed("document", 0))?;
            return fields(doc, out, depth);
        }
        tag::ARRAY => {
            let array = element.as_array().ok_or(Error::malformed("array", 0))?;
            return items(array, out, depth);
        }
        tag::CODE_WITH_SCOPE => {
            let (code, scope) =
                element.as_code_with_scope().ok_or(Error::malformed("code with scope", 0))?;
            text(code, out);
            return fields(scope, out, depth);
        }
        tag::BINARY => binary(element, out)?,
        tag::DATE => {
            let millis = element.as_date().unwrap_or_default();
            out.extend_from_slice(&(millis ^ i64::MIN).to_be_bytes());
        }
        tag::TIMESTAMP => {
            let ts = element.as_timestamp().unwrap_or_default();
            out.extend_from_slice(&ts.0.to_be_bytes());
        }
        tag::BOOL => out.push(u8::from(element.as_bool().unwrap_or_default())),
        tag::DB_POINTER => db_pointer(element, out)?,
        // The two texts of a regex end with a zero byte and hold none.
        tag::OBJECT_ID | tag::REGEX => out.extend_from_slice(element.value()),
        _ => {}
    }
    Ok(())
}

/// The elements of a document: the class counts first, then the name, then the
/// value; fewer elements sort before more.
fn fields(doc: Doc<'_>, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    let below = depth.checked_sub(1).ok_or(Error::TooDeep)?;
    for element in doc.elements() {
        let element = element?;
        out.push(class_of(element)?);
        out.extend_from_slice(element.name());
        out.push(0);
        body(element, out, below)?;
    }
    out.push(0);
    Ok(())
}

fn items(array: Doc<'_>, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    let below = depth.checked_sub(1).ok_or(Error::TooDeep)?;
    for element in array.elements() {
        let element = element?;
        out.push(class_of(element)?);
        body(element, out, below)?;
    }
    out.push(0);
    Ok(())
}

/// Text of any bytes, in `memcmp` order; `00` only ever ends it.
fn text(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    // Without an early exit this looks at many bytes at once.
    let escapes = bytes.iter().fold(false, |any, b| any | (*b <= 1));
    while escapes && let Some(at) = rest.iter().position(|b| *b <= 1) {
        let (plain, low) = rest.split_at(at);
        out.extend_from_slice(plain);
        out.extend_from_slice(if low.first() == Some(&0) { &[1, 1] } else { &[1, 2] });
        rest = low.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(0);
}

fn binary(element: Element<'_>, out: &mut Vec<u8>) -> Result<()> {
    let (subtype, bytes) = element.as_binary().ok_or(Error::malformed("binary data", 0))?;
    match u8::try_from(bytes.len()) {
        Ok(len) if len < 0xFF => out.push(len),
        _ => {
            out.push(0xFF);
            out.extend_from_slice(&length(bytes)?);
        }
    }
    out.push(subtype);
    out.extend_from_slice(bytes);
    Ok(())
}

fn db_pointer(element: Element<'_>, out: &mut Vec<u8>) -> Result<()> {
    let value = element.value();
    let parts = value.len().checked_sub(12).and_then(|at| value.split_at_checked(at));
    let (name, id) = parts.ok_or(Error::malformed("DBPointer", 0))?;
    // Servers read the name as a C string: what follows a zero byte does not count.
    let name = name.get(4..).unwrap_or_default().split(|b| *b == 0).next().unwrap_or_default();
    out.extend_from_slice(&length(name)?);
    out.extend_from_slice(name);
    out.extend_from_slice(id);
    Ok(())
}

fn length(bytes: &[u8]) -> Result<[u8; 4]> {
    u32::try_from(bytes.len())
        .map(u32::to_be_bytes)
        .map_err(|_| Error::TooLarge { len: bytes.len() })
}
