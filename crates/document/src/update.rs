//! Applies the `o` of an update oplog entry to a pre-image, bytes to bytes, as
//! the server's own oplog application does.
//!
//! ```text
//! classify(o)   top-level _id                                   Replacement
//!               $v: 2, diff: {d, u, i, b, s<field>}             DiffV2       (5.0 on)
//!               $set / $unset with dotted paths, $v: 1 or none  ModifiersV1  (4.4; 5.0 under FCV 4.4)
//!               anything else                                   an error that names it
//! ```
//!
//! A replacement wins over everything: a user's document may have fields `$v`,
//! `$set` and `diff`. Replacements without `_id` and modifiers without `$v`
//! come only from a user's own applyOps, which 4.4 and 5.0 log as it was sent.
//!
//! While a fuzzy copy catches up, entries meet documents that are newer than
//! they; what they then find wrong is tolerated as the server tolerates it,
//! because a later entry overwrites the place, and is counted in [`Applied`].
//! Outside that window such a count means damage.

mod array;
mod diff;
mod modifiers;
mod paths;
mod table;
#[cfg(test)]
mod tests;

use crate::{Doc, Element, Error, MAX_DEPTH, Result, error::shown, tag, write};

/// The form of an update entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The whole new document.
    Replacement,
    /// `{$v: 2, diff: ..}`
    DiffV2,
    /// `{$v: 1, $set: .., $unset: ..}`
    ModifiersV1,
}

/// What happened while an update was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The form that was found.
    pub form: Form,
    /// `u` fields that the document lacked; appended. Normal.
    pub missing_updates: u32,
    /// A sub-diff or binary diff met a value of another type (which became
    /// null), or a binary diff that begins behind the end (no change).
    pub type_mismatches: u32,
    /// A `$v: 1` path led through a value that is neither object nor array, or
    /// by a name into an array; skipped.
    pub blocked_paths: u32,
    /// A sub-diff for an array element behind the end; null.
    pub beyond_array: u32,
    /// Fields changed in a `$v: 2` diff that occur more than once in the
    /// document. All occurrences are changed, as on secondaries; the primary
    /// changes only the first, so the source's own members disagree here.
    pub duplicates: u32,
}

impl Applied {
    fn new(form: Form) -> Self {
        Applied {
            form,
            missing_updates: 0,
            type_mismatches: 0,
            blocked_paths: 0,
            beyond_array: 0,
            duplicates: 0,
        }
    }

    /// Whether the entry met a document that it was not made for: expected
    /// while a fuzzy copy catches up, damage otherwise.
    pub fn is_anomalous(&self) -> bool {
        self.type_mismatches + self.blocked_paths + self.beyond_array > 0
    }
}

/// Tells the form of an update entry's `o`; an unknown one is
/// [`Error::UnknownUpdate`] with its name.
pub fn classify(o: &[u8]) -> Result<Form> {
    let o = Doc::new(o)?;
    let mut version = None;
    let mut first = None;
    for element in o.elements() {
        let element = element?;
        match element.name() {
            b"_id" => return Ok(Form::Replacement),
            b"$v" if version.is_none() => version = Some(element),
            _ => {}
        }
        first = first.or(Some(element));
    }
    match version.map(Element::as_integer) {
        Some(Some(2)) => Ok(Form::DiffV2),
        None | Some(Some(1)) => match first {
            Some(first) if first.name().starts_with(b"$") => Ok(Form::ModifiersV1),
            _ => Ok(Form::Replacement),
        },
        Some(Some(other)) => Err(Error::unknown_update(format!("$v: {other}"))),
        Some(None) => {
            let kind = version.map(|v| tag::name(v.kind())).unwrap_or_default();
            Err(Error::unknown_update(format!("$v of type {kind}")))
        }
    }
}

/// Appends the post-image to `out`. `pre` is the document found under the
/// entry's `o2._id`; a replacement that has its `_id` does not look at it.
/// After an error `out` is as it was.
///
/// # Errors
/// [`Error::UnknownUpdate`]: a form or section that this version does not know.
/// [`Error::BadUpdate`]: an entry that no server can have applied.
/// [`Error::TooLarge`]: the result would be larger than any server's document.
pub fn apply(pre: &[u8], o: &[u8], out: &mut Vec<u8>) -> Result<Applied> {
    let before = out.len();
    let applied = dispatch(pre, o, out);
    if applied.is_err() {
        out.truncate(before);
    }
    applied
}

fn dispatch(pre: &[u8], o: &[u8], out: &mut Vec<u8>) -> Result<Applied> {
    let form = classify(o)?;
    let mut applied = Applied::new(form);
    let o = Doc::new(o)?;
    match form {
        Form::Replacement => replace(pre, o, out)?,
        Form::DiffV2 => {
            let diff = o.require(b"diff")?.need(Element::as_doc, "document")?;
            diff::apply(Doc::new(pre)?, diff, out, &mut applied)?;
        }
        Form::ModifiersV1 => modifiers::apply(Doc::new(pre)?, o, out, &mut applied)?,
    }
    Ok(applied)
}

/// The new document, its `_id` moved to the front or taken over from `pre`, as
/// the server does. Logged replacements begin with `_id` and are copied whole.
fn replace(pre: &[u8], o: Doc<'_>, out: &mut Vec<u8>) -> Result<()> {
    let first = o.elements().next().transpose()?;
    if first.is_some_and(|first| first.name() == b"_id") {
        if o.bytes().len() > crate::MAX_DOCUMENT {
            return Err(Error::TooLarge { len: o.bytes().len() });
        }
        out.extend_from_slice(o.bytes());
        return Ok(());
    }
    let own = o.get(b"_id")?;
    let id = match own {
        Some(id) => id,
        None => Doc::new(pre)?.get(b"_id")?.ok_or(Error::MissingId)?,
    };
    let start = write::begin(out);
    out.extend_from_slice(id.raw());
    let mut moved = own.is_none();
    for element in o.elements() {
        let element = element?;
        if !moved && element.name() == b"_id" {
            moved = true;
        } else {
            out.extend_from_slice(element.raw());
        }
    }
    write::end(out, start)
}

/// Copies unchanged stretches of a document in one piece.
#[derive(Debug)]
struct Copier<'a> {
    bytes: &'a [u8],
    from: usize,
}

impl<'a> Copier<'a> {
    fn new(doc: Doc<'a>) -> Self {
        Copier { bytes: doc.bytes(), from: 4 }
    }

    /// Copies what was not copied up to `at`, and goes on at `resume`.
    fn cut(&mut self, at: usize, resume: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes.get(self.from..at).unwrap_or_default());
        self.from = resume;
    }

    /// Copies the rest, without the terminator.
    fn finish(mut self, out: &mut Vec<u8>) {
        let end = self.bytes.len() - 1;
        self.cut(end, end, out);
    }
}

/// One level deeper, or [`Error::TooDeep`].
fn deeper(level: usize) -> Result<usize> {
    if level >= MAX_DEPTH { Err(Error::TooDeep) } else { Ok(level + 1) }
}

/// An array position in ASCII digits that fits 32 bits. Leading zeros are
/// accepted, as the server does.
fn position(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u32::from(digit - b'0')),
        _ => None,
    })
}

fn bad_field(what: &str, name: &[u8]) -> Error {
    Error::bad_update(format!("{what} {:?}", shown(name)))
}
