//! `{$v: 2, diff: ..}`: object diffs. Rules (seen on 8.2 and 5.0):
//!
//! - the document keeps its order; missing `u` fields are appended, then the
//!   `i` fields, which also leave their old place;
//! - a sub-diff of a missing field does nothing, of a value of another type
//!   makes it null;
//! - names are never split at dots;
//! - of duplicate names all occurrences are changed;
//! - `_id` stands first afterwards, wherever the diff puts it, and cannot be taken away: `$replaceWith`
//!   without `_id` is logged with it in `d`. Its value may only become an equal one of another type.

use super::{
    Applied, Copier, array, bad_field, deeper,
    table::{Action, Table},
};
use crate::{Doc, Element, Error, Result, key::id_key, tag, write};

/// The subtype of time-series columns.
const COLUMN: u8 = 7;

pub(super) fn apply(
    pre: Doc<'_>,
    diff: Doc<'_>,
    out: &mut Vec<u8>,
    applied: &mut Applied,
) -> Result<()> {
    let table = Table::new(diff)?;
    if !table.entries().iter().any(|entry| entry.name == b"_id") {
        return object(pre, table, out, applied, 0);
    }
    let mut changed = Vec::with_capacity(pre.bytes().len());
    object(pre, table, &mut changed, applied, 0)?;
    let start = out.len();
    super::replace(pre.bytes(), Doc::new(&changed)?, out)?;
    if id_key(out.get(start..).unwrap_or_default())? != id_key(pre.bytes())? {
        return Err(Error::bad_update("a diff that changes _id to another value"));
    }
    Ok(())
}

fn object(
    pre: Doc<'_>,
    mut table: Table<'_>,
    out: &mut Vec<u8>,
    applied: &mut Applied,
    level: usize,
) -> Result<()> {
    let level = deeper(level)?;
    let start = write::begin(out);
    let mut copier = Copier::new(pre);
    let mut elements = pre.elements();
    let mut at = elements.at();
    while let Some(element) = elements.next() {
        let element = element?;
        let next = elements.at();
        if let Some(entry) = table.find(element.name()) {
            copier.cut(at, next, out);
            applied.duplicates += u32::from(entry.met == 1);
            entry.met = entry.met.saturating_add(1);
            let action = entry.action;
            change(element, action, out, applied, level)?;
        }
        at = next;
    }
    copier.finish(out);
    append(&table, out, applied);
    write::end(out, start)
}

/// One field that the diff names.
fn change(
    old: Element<'_>,
    action: Action<'_>,
    out: &mut Vec<u8>,
    applied: &mut Applied,
    level: usize,
) -> Result<()> {
    match action {
        Action::Delete | Action::Insert(_) => {}
        Action::Update(new) => out.extend_from_slice(new.raw()),
        Action::Sub(diff) => sub(old, old.name(), diff, out, applied, level)?,
        Action::Binary { offset, data } => binary(old, offset, data, out, applied)?,
    }
    Ok(())
}

/// A diff of an object or array; `name` is what the result is called.
pub(super) fn sub(
    old: Element<'_>,
    name: &[u8],
    diff: Doc<'_>,
    out: &mut Vec<u8>,
    applied: &mut Applied,
    level: usize,
) -> Result<()> {
    // Both kinds of diff are checked even where the value does not fit them.
    if let Some(diff) = array::ArrayDiff::new(diff)? {
        if let Some(pre) = old.as_array() {
            write::head(out, tag::ARRAY, name);
            return array::apply(pre, &diff, out, applied, level);
        }
    } else {
        let table = Table::new(diff)?;
        if let Some(pre) = old.as_doc() {
            write::head(out, tag::DOCUMENT, name);
            return object(pre, table, out, applied, level);
        }
    }
    applied.type_mismatches += 1;
    write::null(out, name);
    Ok(())
}

/// Keeps `offset` bytes and puts `data` behind them. Servers do this for
/// time-series columns only; another subtype is counted as a mismatch.
fn binary(
    old: Element<'_>,
    offset: usize,
    data: &[u8],
    out: &mut Vec<u8>,
    applied: &mut Applied,
) -> Result<()> {
    let Some((subtype, bytes)) = old.as_binary() else {
        applied.type_mismatches += 1;
        write::null(out, old.name());
        return Ok(());
    };
    applied.type_mismatches += u32::from(subtype != COLUMN);
    let Some(kept) = bytes.get(..offset) else {
        applied.type_mismatches += 1;
        out.extend_from_slice(old.raw());
        return Ok(());
    };
    let len = kept.len() + data.len();
    let field = i32::try_from(len).map_err(|_| Error::TooLarge { len })?;
    write::head(out, tag::BINARY, old.name());
    out.extend_from_slice(&field.to_le_bytes());
    out.push(subtype);
    out.extend_from_slice(kept);
    out.extend_from_slice(data);
    Ok(())
}

/// What goes to the end: `u` fields that were not met, then all `i` fields.
fn append(table: &Table<'_>, out: &mut Vec<u8>, applied: &mut Applied) {
    for entry in table.entries() {
        match entry.action {
            Action::Update(new) if entry.met == 0 => {
                applied.missing_updates += 1;
                out.extend_from_slice(new.raw());
            }
            Action::Insert(new) => out.extend_from_slice(new.raw()),
            _ => {}
        }
    }
}

/// The position behind the letter of `u<i>` or `s<i>`.
pub(super) fn position_of(name: &[u8]) -> Result<u32> {
    name.get(1..)
        .and_then(super::position)
        .ok_or_else(|| bad_field("no array position in section", name))
}
