//! Writing BSON: frames with the length filled in afterwards.

use crate::{Error, MAX_DOCUMENT, Result, tag};

/// Starts a document or array at the end of `out`; the result goes to [`end`].
#[inline]
pub(crate) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}

/// Ends what [`begin`] started: terminator and length.
#[inline]
pub(crate) fn end(out: &mut Vec<u8>, start: usize) -> Result<()> {
    out.push(0);
    let len = out.len() - start;
    let field = i32::try_from(len).ok().filter(|_| len <= MAX_DOCUMENT);
    match (field, out.get_mut(start..start + 4)) {
        (Some(field), Some(place)) => {
            place.copy_from_slice(&field.to_le_bytes());
            Ok(())
        }
        _ => Err(Error::TooLarge { len }),
    }
}

/// Type byte and name of an element; its value follows.
#[inline]
pub(crate) fn head(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    out.push(kind);
    out.extend_from_slice(name);
    out.push(0);
}

/// A whole element.
#[inline]
pub(crate) fn element(out: &mut Vec<u8>, kind: u8, name: &[u8], value: &[u8]) {
    head(out, kind, name);
    out.extend_from_slice(value);
}

/// `name: null`.
#[inline]
pub(crate) fn null(out: &mut Vec<u8>, name: &[u8]) {
    head(out, tag::NULL, name);
}

/// The decimal name of array positions, counted up in place.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    digits: [u8; 20],
    start: usize,
}

impl Position {
    /// Position 0.
    pub(crate) fn first() -> Self {
        Position { digits: [b'0'; 20], start: 19 }
    }

    /// The name of this position.
    #[inline]
    pub(crate) fn name(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }

    /// The next position.
    #[inline]
    pub(crate) fn step(&mut self) {
        for (at, digit) in self.digits.iter_mut().enumerate().rev() {
            if *digit == b'9' {
                *digit = b'0';
                continue;
            }
            *digit += 1;
            self.start = self.start.min(at);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_decimal_names() {
        let mut position = Position::first();
        for expected in 0..12_345 {
            assert_eq!(position.name(), expected.to_string().as_bytes());
            position.step();
        }
    }

    #[test]
    fn a_document_over_the_limit_is_an_error() {
        let mut out = Vec::new();
        let start = begin(&mut out);
        out.resize(MAX_DOCUMENT - 1, 0);
        assert_eq!(end(&mut out, start), Ok(()));
        out.push(0);
        assert_eq!(end(&mut out, start), Err(Error::TooLarge { len: MAX_DOCUMENT + 2 }));
    }
}
