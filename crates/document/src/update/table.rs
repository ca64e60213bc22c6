//! The sections of an object diff as one table by field name.

use super::bad_field;
use crate::{Doc, Element, Error, Result, error::shown};

/// What a diff does to one field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action<'a> {
    /// `d`: the field goes.
    Delete,
    /// `u`: the value changes in place; appended when missing.
    Update(Element<'a>),
    /// `i`: the field goes to the end.
    Insert(Element<'a>),
    /// `s<field>`: a diff of the value.
    Sub(Doc<'a>),
    /// `b`: bytes of binary data from `offset` on.
    Binary {
        /// How many old bytes stay.
        offset: usize,
        /// What follows them.
        data: &'a [u8],
    },
}

#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) action: Action<'a>,
    /// How often the document has had the field so far.
    pub(super) met: u32,
}

/// The sections `d`, `u`, `i`, `b`, `s<field>` must come in this order; servers
/// refuse another one. Entries keep the order of the diff.
#[derive(Debug)]
pub(super) struct Table<'a> {
    entries: Vec<Entry<'a>>,
    /// Positions in `entries` sorted by name; empty for small tables, which are
    /// searched from front to back.
    sorted: Vec<usize>,
}

/// Up to this many entries a linear search is faster.
const SMALL: usize = 12;

/// Where a section stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Section {
    Delete,
    Update,
    Insert,
    Binary,
    Sub,
}

impl<'a> Table<'a> {
    pub(super) fn new(diff: Doc<'a>) -> Result<Self> {
        let mut table = Table { entries: Vec::new(), sorted: Vec::new() };
        let mut last = None;
        for element in diff.elements() {
            let element = element?;
            let section = section(element.name())?;
            let ordered = last.is_none_or(|last| last < section);
            if !ordered && section != Section::Sub {
                return Err(bad_field("section out of order in a diff:", element.name()));
            }
            if last == Some(Section::Sub) && section != Section::Sub {
                return Err(bad_field("section after sub-diffs:", element.name()));
            }
            last = Some(section);
            table.add(section, element)?;
        }
        if table.entries.is_empty() && last.is_none() {
            return Err(Error::bad_update("empty diff"));
        }
        table.index()?;
        Ok(table)
    }

    fn add(&mut self, section: Section, element: Element<'a>) -> Result<()> {
        let inner = element.need(Element::as_doc, "document")?;
        if section == Section::Sub {
            let name = element.name().get(1..).unwrap_or_default();
            self.entries.push(Entry { name, action: Action::Sub(inner), met: 0 });
            return Ok(());
        }
        for field in inner.elements() {
            let field = field?;
            let action = match section {
                Section::Delete => Action::Delete,
                Section::Update => Action::Update(field),
                Section::Insert => Action::Insert(field),
                Section::Binary | Section::Sub => binary(field)?,
            };
            self.entries.push(Entry { name: field.name(), action, met: 0 });
        }
        Ok(())
    }

    /// Sorts large tables; a field named twice is an error, as on servers.
    fn index(&mut self) -> Result<()> {
        let double = if self.entries.len() <= SMALL {
            self.entries.iter().enumerate().find_map(|(n, entry)| {
                let earlier = self.entries.iter().take(n).any(|e| e.name == entry.name);
                earlier.then_some(entry.name)
            })
        } else {
            let names: Vec<&[u8]> = self.entries.iter().map(|e| e.name).collect();
            let name = |n: &usize| names.get(*n).copied().unwrap_or_default();
            self.sorted = (0..names.len()).collect();
            self.sorted.sort_unstable_by_key(name);
            self.sorted
                .iter()
                .zip(self.sorted.iter().skip(1))
                .find_map(|(a, b)| (name(a) == name(b)).then(|| name(a)))
        };
        double.map_or(Ok(()), |name| Err(bad_field("field twice in a diff:", name)))
    }

    /// The entry for a field of the document.
    #[inline]
    pub(super) fn find(&mut self, name: &[u8]) -> Option<&mut Entry<'a>> {
        let Table { entries, sorted } = self;
        if sorted.is_empty() {
            return entries.iter_mut().find(|entry| entry.name == name);
        }
        let of = |n: &usize| entries.get(*n).map_or(&[][..], |e| e.name);
        let at = sorted.binary_search_by(|n| of(n).cmp(name)).ok()?;
        entries.get_mut(*sorted.get(at)?)
    }

    pub(super) fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }
}

fn section(name: &[u8]) -> Result<Section> {
    match name {
        b"d" => Ok(Section::Delete),
        b"u" => Ok(Section::Update),
        b"i" => Ok(Section::Insert),
        b"b" => Ok(Section::Binary),
        [b's', ..] => Ok(Section::Sub),
        _ => Err(Error::unknown_update(format!("section {:?} in a diff", shown(name)))),
    }
}

/// `{o: offset, d: BinData}`
fn binary(field: Element<'_>) -> Result<Action<'_>> {
    let spec = field.need(Element::as_doc, "document")?;
    let offset = spec.require(b"o")?.need(Element::as_integer, "integer")?;
    let (_, data) = spec.require(b"d")?.need(Element::as_binary, "binary")?;
    let offset = usize::try_from(offset)
        .map_err(|_| bad_field("negative offset in a binary diff of", field.name()))?;
    Ok(Action::Binary { offset, data })
}
