//! What can be wrong with a document.

use crate::{MAX_DEPTH, MAX_DOCUMENT};

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with a document or an update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not BSON. `at` counts from the start of the innermost
    /// document that was being read.
    #[error("malformed BSON at byte {at}: {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// Byte offset.
        at: usize,
    },
    /// Documents inside documents beyond [`MAX_DEPTH`].
    #[error("BSON nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Longer than [`MAX_DOCUMENT`]. `len` is the length, or what of it was
    /// written when it was given up.
    #[error("a document of {len} bytes is larger than the limit of {MAX_DOCUMENT}")]
    TooLarge {
        /// Bytes.
        len: usize,
    },
    /// There is no `_id` where one is needed.
    #[error("the document has no _id")]
    MissingId,
    /// A field that must be there is not.
    #[error("the document has no field {0:?}")]
    MissingField(String),
    /// A field has another type than it must have.
    #[error("field {field:?} is of type {found}, expected {expected}")]
    WrongType {
        /// The field's name.
        field: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// An update in a form that this version does not know.
    #[error("update entry in an unknown form: {0}")]
    UnknownUpdate(String),
    /// An update that no server can have applied.
    #[error("malformed update entry: {0}")]
    BadUpdate(String),
}

impl Error {
    pub(crate) fn malformed(what: &'static str, at: usize) -> Self {
        Error::Malformed { what, at }
    }

    pub(crate) fn bad_update(what: impl Into<String>) -> Self {
        Error::BadUpdate(what.into())
    }

    pub(crate) fn unknown_update(what: impl Into<String>) -> Self {
        Error::UnknownUpdate(what.into())
    }
}

impl From<Error> for bygone_base::Error {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::UnknownUpdate(_) => bygone_base::Error::unsupported(text)
                .hint("the backup stops here; a newer version may know this form"),
            _ => bygone_base::Error::damaged(text),
        }
    }
}

/// A name as it is shown in messages: at most 64 bytes, invalid UTF-8 replaced.
pub(crate) fn shown(name: &[u8]) -> String {
    let cut = name.get(..64).unwrap_or(name);
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() < name.len() {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bygone_base::ErrorKind;

    #[test]
    fn the_kind_tells_damage_from_the_unknown() {
        let kind = |e: Error| bygone_base::Error::from(e).kind();
        assert_eq!(kind(Error::UnknownUpdate("$v: 3".into())), ErrorKind::Unsupported);
        assert_eq!(kind(Error::TooDeep), ErrorKind::Damaged);
        assert_eq!(kind(Error::MissingId), ErrorKind::Damaged);
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shown(b"a\xFF"), "a\u{FFFD}");
        assert_eq!(shown(&[b'x'; 100]).len(), 67);
    }
}
