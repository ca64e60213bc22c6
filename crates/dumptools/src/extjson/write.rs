//! Documents as canonical Extended JSON v2, straight from raw BSON: byte for byte
//! what the stock tools write (Go's driver, seen from bsondump 100.13).
//!
//! | type | rule |
//! |---|---|
//! | double | shortest digits; exponent form (`2.6E-05`) below 1e-4 and from 1e6 on; whole ones end in `.0` |
//! | string | control characters, U+2028 and U+2029 escaped; each invalid byte becomes `\ufffd` |
//! | DBPointer | `{"$dbPointer":{"$ref":..,"$id":..}}`, which stock bsondump leaves out with a complaint |

use bygone_document::{Doc, Element, Error, MAX_DEPTH, Result, walk::types as tag};

/// Documents within documents that a reader of Extended JSON takes; arrays are not counted.
const MAX_DOCUMENTS: usize = 200;

use super::{base64, decimal, number};

/// How the text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without spaces, on one line.
    Compact,
    /// A line per value, indented by tabs.
    Pretty,
}

/// Appends `doc` as canonical Extended JSON, without a line break behind it.
///
/// # Errors
/// The document is not BSON or nests deeper than [`MAX_DEPTH`]; `out` is then as before.
pub fn write(doc: &[u8], style: Style, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    let written = Doc::new(doc).and_then(|doc| match style {
        Style::Compact => Writer::<false>::new(out).document(doc, Shape::Object),
        Style::Pretty => Writer::<true>::new(out).document(doc, Shape::Object),
    });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

#[derive(Clone, Copy)]
enum Shape {
    Object,
    Array,
}

struct Writer<'o, const PRETTY: bool> {
    out: &'o mut Vec<u8>,
    depth: usize,
    /// Of the levels those that are documents.
    documents: usize,
}

impl<'o, const PRETTY: bool> Writer<'o, PRETTY> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        Writer { out, depth: 0, documents: 0 }
    }

    fn document(&mut self, doc: Doc<'_>, shape: Shape) -> Result<()> {
        let (open, close, more) = match shape {
            Shape::Object => (b'{', b'}', 1),
            Shape::Array => (b'[', b']', 0),
        };
        self.documents += more;
        if self.depth >= MAX_DEPTH || self.documents > MAX_DOCUMENTS {
            return Err(Error::TooDeep);
        }
        self.out.push(open);
        self.depth += 1;
        let mut first = true;
        for element in doc.elements() {
            let element = element?;
            self.next(&mut first);
            if let Shape::Object = shape {
                text(element.name(), self.out);
                self.colon();
            }
            self.value(element)?;
        }
        self.depth -= 1;
        self.documents -= more;
        if !first {
            self.line();
        }
        self.out.push(close);
        Ok(())
    }

    /// Goes to where the next value of an object or array stands.
    #[inline]
    fn next(&mut self, first: &mut bool) {
        if !std::mem::replace(first, false) {
            self.out.push(b',');
        }
        self.line();
    }

    #[inline]
    fn line(&mut self) {
        if PRETTY {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + self.depth, b'\t');
        }
    }

    #[inline]
    fn colon(&mut self) {
        self.out.extend_from_slice(if PRETTY { b": " } else { b":" });
    }

    /// `{"name":...}` around one value.
    fn wrapped(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        self.out.push(b'{');
        self.depth += 1;
        self.key(name, true);
        value(self);
        self.depth -= 1;
        self.line();
        self.out.push(b'}');
    }

    /// A name that needs no escapes.
    fn key(&mut self, name: &str, mut first: bool) {
        self.next(&mut first);
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'"');
        self.colon();
    }

    /// A text that needs no escapes, quoted.
    fn quoted(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(bytes);
        self.out.push(b'"');
    }

    fn value(&mut self, element: Element<'_>) -> Result<()> {
        let bytes = element.value();
        match element.kind() {
            tag::STRING => text(string(bytes), self.out),
            tag::DOCUMENT => return self.nested(element.as_doc(), Shape::Object),
            tag::ARRAY => return self.nested(element.as_array(), Shape::Array),
            tag::INT32 => {
                let n = element.as_i32().unwrap_or_default();
                self.wrapped("$numberInt", |w| w.integer(i64::from(n)));
            }
            tag::INT64 => {
                let n = element.as_i64().unwrap_or_default();
                self.wrapped("$numberLong", |w| w.integer(n));
            }
            tag::DOUBLE => {
                let x = element.as_f64().unwrap_or_default();
                self.wrapped("$numberDouble", |w| {
                    w.out.push(b'"');
                    number::double(x, w.out);
                    w.out.push(b'"');
                });
            }
            tag::BOOL => {
                if bytes.first().is_some_and(|byte| *byte > 1) {
                    return Err(Error::Malformed { what: "invalid byte for boolean", at: 0 });
                }
                let yes = element.as_bool().unwrap_or_default();
                self.out.extend_from_slice(if yes { b"true" } else { b"false" });
            }
            tag::NULL => self.out.extend_from_slice(b"null"),
            tag::OBJECT_ID => self.wrapped("$oid", |w| w.object_id(bytes)),
            tag::DATE => {
                let millis = element.as_date().unwrap_or_default();
                self.wrapped("$date", |w| w.wrapped("$numberLong", |w| w.integer(millis)));
            }
            _ => return self.rare(element),
        }
        Ok(())
    }

    fn nested(&mut self, doc: Option<Doc<'_>>, shape: Shape) -> Result<()> {
        self.document(doc.unwrap_or(Doc::EMPTY), shape)
    }

    fn rare(&mut self, element: Element<'_>) -> Result<()> {
        let bytes = element.value();
        match element.kind() {
            tag::BINARY => return self.binary(element),
            tag::TIMESTAMP => self.timestamp(bytes),
            tag::DECIMAL128 => {
                let bits = element.as_decimal128().unwrap_or_default();
                self.wrapped("$numberDecimal", |w| {
                    w.out.push(b'"');
                    decimal::format(bits, w.out);
                    w.out.push(b'"');
                });
            }
            tag::REGEX => self.regex(bytes),
            tag::CODE => self.wrapped("$code", |w| text(string(bytes), w.out)),
            tag::SYMBOL => self.wrapped("$symbol", |w| text(string(bytes), w.out)),
            tag::UNDEFINED => {
                self.wrapped("$undefined", |w| w.out.extend_from_slice(b"true"));
            }
            tag::MIN_KEY => self.wrapped("$minKey", |w| w.out.push(b'1')),
            tag::MAX_KEY => self.wrapped("$maxKey", |w| w.out.push(b'1')),
            tag::DB_POINTER => self.db_pointer(bytes),
            tag::CODE_WITH_SCOPE => return self.scoped(element),
            _ => return Err(Error::Malformed { what: "unknown type byte", at: 0 }),
        }
        Ok(())
    }

    fn integer(&mut self, n: i64) {
        self.out.push(b'"');
        number::integer(n, self.out);
        self.out.push(b'"');
    }

    fn object_id(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        for byte in bytes.iter().take(12) {
            self.out.extend_from_slice(&hex(*byte));
        }
        self.out.push(b'"');
    }

    fn binary(&mut self, element: Element<'_>) -> Result<()> {
        let (subtype, mut bytes) = element.as_binary().unwrap_or_default();
        if let (2, Some((length, inside))) = (subtype, bytes.split_first_chunk::<4>())
            && !inside.is_empty()
        {
            // The old subtype repeats its length inside; what is shorter than that is taken as it is.
            let length = u32::from_le_bytes(*length) as usize;
            let short =
                Error::Malformed { what: "binary data of the old kind that ends early", at: 0 };
            bytes = inside.get(..length).ok_or(short)?;
        }
        self.wrapped("$binary", |w| {
            w.out.push(b'{');
            w.depth += 1;
            w.key("base64", true);
            w.out.push(b'"');
            base64::encode(bytes, w.out);
            w.out.push(b'"');
            w.key("subType", false);
            w.quoted(&hex(subtype));
            w.depth -= 1;
            w.line();
            w.out.push(b'}');
        });
        Ok(())
    }

    fn timestamp(&mut self, bytes: &[u8]) {
        let part = |at: usize| {
            let part = bytes.get(at..).and_then(|b| b.first_chunk::<4>());
            i64::from(part.map_or(0, |b| u32::from_le_bytes(*b)))
        };
        self.wrapped("$timestamp", |w| {
            w.out.push(b'{');
            w.depth += 1;
            w.key("t", true);
            number::integer(part(4), w.out);
            w.key("i", false);
            number::integer(part(0), w.out);
            w.depth -= 1;
            w.line();
            w.out.push(b'}');
        });
    }

    fn regex(&mut self, bytes: &[u8]) {
        let mut parts = bytes.split(|b| *b == 0);
        let pattern = parts.next().unwrap_or_default();
        let mut flags = parts.next().unwrap_or_default().to_vec();
        flags.sort_unstable();
        self.wrapped("$regularExpression", |w| {
            w.out.push(b'{');
            w.depth += 1;
            w.key("pattern", true);
            text(pattern, w.out);
            w.key("options", false);
            text(&flags, w.out);
            w.depth -= 1;
            w.line();
            w.out.push(b'}');
        });
    }

    fn db_pointer(&mut self, bytes: &[u8]) {
        let (name, id) = bytes.split_at(bytes.len().saturating_sub(12));
        self.wrapped("$dbPointer", |w| {
            w.out.push(b'{');
            w.depth += 1;
            w.key("$ref", true);
            text(string(name), w.out);
            w.key("$id", false);
            w.wrapped("$oid", |w| w.object_id(id));
            w.depth -= 1;
            w.line();
            w.out.push(b'}');
        });
    }

    fn scoped(&mut self, element: Element<'_>) -> Result<()> {
        let bytes = element.value().get(4..).unwrap_or_default();
        let length = bytes.first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b) as usize);
        let code = bytes.get(..length.saturating_add(4)).unwrap_or_default();
        let scope = Doc::new(bytes.get(code.len()..).unwrap_or_default())?;
        self.out.push(b'{');
        self.depth += 1;
        self.key("$code", true);
        text(string(code), self.out);
        self.key("$scope", false);
        self.document(scope, Shape::Object)?;
        self.depth -= 1;
        self.line();
        self.out.push(b'}');
        Ok(())
    }
}

/// The bytes of a string value without length and terminator.
fn string(value: &[u8]) -> &[u8] {
    value.get(4..value.len().saturating_sub(1)).unwrap_or_default()
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hex(byte: u8) -> [u8; 2] {
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// What a byte of a string needs: 0 nothing, 1 an escape, 2 a look at the character.
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte < 0x20 || byte == b'"' as usize || byte == b'\\' as usize {
            table[byte] = 1;
        } else if byte >= 0x80 {
            table[byte] = 2;
        }
        byte += 1;
    }
    table
}

static CLASSES: [u8; 256] = classes();

/// Appends a quoted string.
pub(super) fn text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = bytes;
    while let Some(plain) = rest.iter().position(|b| CLASSES[usize::from(*b)] != 0) {
        let (before, from) = rest.split_at(plain);
        out.extend_from_slice(before);
        let Some(&byte) = from.first() else { break };
        let taken = if byte < 0x80 { escape(byte, out) } else { wide(from, out) };
        rest = from.get(taken..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) -> usize {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        8 => out.extend_from_slice(b"\\b"),
        9 => out.extend_from_slice(b"\\t"),
        10 => out.extend_from_slice(b"\\n"),
        12 => out.extend_from_slice(b"\\f"),
        13 => out.extend_from_slice(b"\\r"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&hex(byte));
        }
    }
    1
}

/// One character above ASCII, or one invalid byte; gives how many bytes it took.
fn wide(from: &[u8], out: &mut Vec<u8>) -> usize {
    let head = from.get(..4).unwrap_or(from);
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => {
            head.get(..error.valid_up_to()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or("")
        }
    };
    match valid.chars().next() {
        None => {
            out.extend_from_slice(b"\\ufffd");
            1
        }
        Some('\u{2028}') => {
            out.extend_from_slice(b"\\u2028");
            3
        }
        Some('\u{2029}') => {
            out.extend_from_slice(b"\\u2029");
            3
        }
        Some(c) => {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            c.len_utf8()
        }
    }
}
