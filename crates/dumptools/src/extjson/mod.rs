//! Extended JSON v2 (<https://github.com/mongodb/specifications/blob/master/source/extended-json.md>)
//! to and from raw BSON: what bsondump prints, what metadata files and queries are written in.

pub(crate) mod base64;
mod decimal;
mod json;
mod number;
mod read;
mod write;

pub use read::{Strictness, parse, parse_first};
pub use write::{Style, write};

/// `doc` as compact canonical Extended JSON.
///
/// # Errors
/// As [`write`].
pub fn to_text(doc: &[u8]) -> bygone_base::Result<String> {
    let mut out = Vec::new();
    write(doc, Style::Compact, &mut out)?;
    String::from_utf8(out).map_err(|e| bygone_base::Error::internal("Extended JSON").source(e))
}
