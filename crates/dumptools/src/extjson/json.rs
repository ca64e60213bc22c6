//! JSON text as a tree that keeps the order of its fields and doubles among them.

use bygone_base::{Error, Result};

/// How deep values may nest.
const MAX_DEPTH: usize = 200;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn object(&self) -> Option<&[(String, Json)]> {
        match self {
            Json::Object(fields) => Some(fields),
            _ => None,
        }
    }
}

/// Reads exactly one value. `relaxed` also takes names without quotes and single quotes, as people write them
/// in a shell.
pub(super) fn parse(text: &str, relaxed: bool) -> Result<Json> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0, relaxed };
    let value = reader.value(0)?;
    reader.space();
    if reader.at < reader.bytes.len() {
        return Err(reader.bad("text after the end of the value"));
    }
    Ok(value)
}

/// Digits, with nothing before and behind them that the grammar does not have.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, part) = match mantissa.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && part.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}

/// Reads the value that `text` begins with, whatever stands behind it.
pub(super) fn parse_first(text: &str) -> Result<Json> {
    Reader { bytes: text.as_bytes(), at: 0, relaxed: false }.value(0)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    relaxed: bool,
}

impl Reader<'_> {
    fn bad(&self, what: &str) -> Error {
        Error::usage(format!("invalid JSON input at position {}: {what}", self.at))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it comes next, after spaces.
    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Result<Json> {
        if depth > MAX_DEPTH {
            return Err(self.bad("nested too deep"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string(b'"')?)),
            Some(b'\'') if self.relaxed => Ok(Json::String(self.string(b'\'')?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.word(),
            None => Err(self.bad("the text ends where a value is expected")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut fields = Vec::new();
        if self.take(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.space();
            let name = match self.peek() {
                Some(b'"') => self.string(b'"')?,
                Some(b'\'') if self.relaxed => self.string(b'\'')?,
                Some(_) if self.relaxed => self.bare_name()?,
                _ => return Err(self.bad("expected a name in double quotes")),
            };
            if !self.take(b':') {
                return Err(self.bad("expected a colon"));
            }
            fields.push((name, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Json::Object(fields));
            }
            if !self.take(b',') {
                return Err(self.bad("expected a comma or }"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut values = Vec::new();
        if self.take(b']') {
            return Ok(Json::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::Array(values));
            }
            if !self.take(b',') {
                return Err(self.bad("expected a comma or ]"));
            }
        }
    }

    fn run(&mut self, inside: impl Fn(u8) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&inside) {
            self.at += 1;
        }
        let run = self.bytes.get(start..self.at).unwrap_or_default();
        String::from_utf8_lossy(run).into_owned()
    }

    fn bare_name(&mut self) -> Result<String> {
        let name = self.run(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$');
        if name.is_empty() { Err(self.bad("expected a name")) } else { Ok(name) }
    }

    fn number(&mut self) -> Result<Json> {
        let start = self.at;
        let text = self.run(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
        if !is_number(&text) {
            self.at = start;
            return Err(self.bad("not a number"));
        }
        Ok(Json::Number(text))
    }

    fn word(&mut self) -> Result<Json> {
        let start = self.at;
        let word = self.run(|b| b.is_ascii_alphabetic());
        match word.as_str() {
            "null" => Ok(Json::Null),
            "true" => Ok(Json::Bool(true)),
            "false" => Ok(Json::Bool(false)),
            _ => {
                self.at = start;
                Err(self.bad("not a value"))
            }
        }
    }

    fn string(&mut self, quote: u8) -> Result<String> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.bad("a string does not end")),
                Some(b) if b == quote => break,
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                Some(b) => {
                    out.push(b);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        String::from_utf8(out).map_err(|_| self.bad("a string is not UTF-8"))
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Some(escaped) = self.peek() else { return Err(self.bad("a string does not end")) };
        self.at += 1;
        out.push(match escaped {
            b'"' | b'\\' | b'/' => escaped,
            b'\'' if self.relaxed => escaped,
            b'b' => 8,
            b't' => 9,
            b'n' => 10,
            b'f' => 12,
            b'r' => 13,
            b'u' => {
                let c = self.unicode()?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.bad("an unknown escape")),
        });
        Ok(())
    }

    fn four_digits(&mut self) -> Result<u32> {
        let digits = self.bytes.get(self.at..self.at + 4);
        let digits = digits.filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|d| std::str::from_utf8(d).ok());
        let value = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
        let value = value.ok_or_else(|| self.bad("\\u without four digits"))?;
        self.at += 4;
        Ok(value)
    }

    /// The character of `\uXXXX`, which may be one of two surrogates.
    fn unicode(&mut self) -> Result<char> {
        let first = self.four_digits()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let back = self.at;
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u")) {
            self.at += 2;
            let second = self.four_digits()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        self.at = back;
        Ok(char::REPLACEMENT_CHARACTER)
    }
}
