//! `{a: true, l: n, u<i>: value, s<i>: diff}`: array diffs. The result's keys
//! are always `0, 1, 2 ..`, whatever they were before.

use super::{Applied, Copier, bad_field, deeper, diff};
use crate::{Doc, Element, Error, MAX_DOCUMENT, Result, error::shown, write};

#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Update(Element<'a>),
    Sub(Doc<'a>),
}

/// A checked array diff: positions rise and lie below the new length.
#[derive(Debug)]
pub(super) struct ArrayDiff<'a> {
    length: Option<u32>,
    changes: Vec<(u32, Change<'a>)>,
}

impl<'a> ArrayDiff<'a> {
    /// `None` when `diff` does not begin with `a`: then it is of an object.
    pub(super) fn new(diff: Doc<'a>) -> Result<Option<Self>> {
        let mut elements = diff.elements();
        match elements.next().transpose()? {
            Some(first) if first.name() == b"a" => {
                if first.as_bool() != Some(true) {
                    return Err(Error::bad_update("the header `a` of an array diff is not true"));
                }
            }
            _ => return Ok(None),
        }
        let mut parsed = ArrayDiff { length: None, changes: Vec::new() };
        for (n, element) in elements.enumerate() {
            let element = element?;
            match element.name() {
                b"l" if n == 0 => parsed.length = Some(length(element)?),
                [b'u', ..] => parsed.add(element, Change::Update(element))?,
                [b's', ..] => {
                    let inner = element.need(Element::as_doc, "document")?;
                    parsed.add(element, Change::Sub(inner))?;
                }
                name => {
                    let name = shown(name);
                    return Err(Error::unknown_update(format!(
                        "section {name:?} in an array diff"
                    )));
                }
            }
        }
        Ok(Some(parsed))
    }

    /// Servers read the positions in order and never come back: one out of
    /// order, or behind the new length, stops them.
    fn add(&mut self, element: Element<'a>, change: Change<'a>) -> Result<()> {
        let position = diff::position_of(element.name())?;
        let rising = self.changes.last().is_none_or(|(last, _)| *last < position);
        if !rising {
            return Err(bad_field("array position out of order:", element.name()));
        }
        if self.length.is_some_and(|length| position >= length) {
            return Err(bad_field("array position behind the new length:", element.name()));
        }
        self.changes.push((position, change));
        Ok(())
    }
}

fn length(element: Element<'_>) -> Result<u32> {
    let length = element.need(Element::as_i32, "int")?;
    u32::try_from(length).map_err(|_| Error::bad_update("negative length of an array"))
}

pub(super) fn apply(
    pre: Doc<'_>,
    diff: &ArrayDiff<'_>,
    out: &mut Vec<u8>,
    applied: &mut Applied,
    level: usize,
) -> Result<()> {
    let level = deeper(level)?;
    let start = write::begin(out);
    let mut cursor = Cursor { index: 0, name: write::Position::first(), diff, next: 0 };
    let mut copier = Copier::new(pre);
    let mut elements = pre.elements();
    let mut at = elements.at();
    while cursor.inside_length()
        && let Some(element) = elements.next()
    {
        let element = element?;
        let next = elements.at();
        let name = cursor.name.name();
        match cursor.change() {
            Some(change) => {
                copier.cut(at, next, out);
                match change {
                    Change::Update(new) => write::element(out, new.kind(), name, new.value()),
                    Change::Sub(sub) => diff::sub(element, name, sub, out, applied, level)?,
                }
            }
            None if element.name() != name => {
                copier.cut(at, next, out);
                write::element(out, element.kind(), name, element.value());
            }
            None => {}
        }
        at = next;
        cursor.step();
    }
    copier.cut(at, at, out);
    grow(cursor, start, out, applied)?;
    write::end(out, start)
}

/// Behind the old end: new elements, nulls between them and up to the length.
fn grow(
    mut cursor: Cursor<'_, '_>,
    start: usize,
    out: &mut Vec<u8>,
    applied: &mut Applied,
) -> Result<()> {
    while cursor.goes_on() {
        let name = cursor.name.name();
        match cursor.change() {
            Some(Change::Update(new)) => write::element(out, new.kind(), name, new.value()),
            Some(Change::Sub(_)) => {
                applied.beyond_array += 1;
                write::null(out, name);
            }
            None => write::null(out, name),
        }
        bounded(out, start)?;
        cursor.step();
    }
    Ok(())
}

/// Where the result's next element stands, and the next change.
#[derive(Debug)]
struct Cursor<'d, 'a> {
    index: u32,
    name: write::Position,
    diff: &'d ArrayDiff<'a>,
    /// Position in the diff's changes.
    next: usize,
}

impl<'a> Cursor<'_, 'a> {
    /// The change for the element at this position.
    fn change(&self) -> Option<Change<'a>> {
        let (position, change) = self.diff.changes.get(self.next)?;
        (*position == self.index).then_some(*change)
    }

    fn step(&mut self) {
        self.next += usize::from(self.change().is_some());
        self.index = self.index.saturating_add(1);
        self.name.step();
    }

    /// Whether an old element at this position stays.
    fn inside_length(&self) -> bool {
        self.diff.length.is_none_or(|length| self.index < length)
    }

    /// Whether the result needs an element at this position even without an old one.
    fn goes_on(&self) -> bool {
        self.next < self.diff.changes.len()
            || self.diff.length.is_some_and(|length| self.index < length)
    }
}

/// An element far behind the end must not fill the memory with nulls: checks
/// after each one what was written from `start` on.
pub(super) fn bounded(out: &[u8], start: usize) -> Result<()> {
    let len = out.len() - start;
    if len > MAX_DOCUMENT { Err(Error::TooLarge { len }) } else { Ok(()) }
}
