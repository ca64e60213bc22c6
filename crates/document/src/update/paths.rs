//! The dotted paths of `$set` and `$unset` as one sorted list, from which each
//! level of the document takes its groups.
//!
//! New fields are created in the order in which the server walks the paths, and
//! the primary logged them in that order: 4.4 sorts the components as bytes,
//! 5.0 (under FCV 4.4) sorts numbers among them by value. A list in neither order
//! can only come from a user's applyOps, and is walked in 4.4's.

use std::cmp::Ordering;

use super::position;
use crate::{Doc, Element, Error, MAX_DEPTH, Result, error::shown};

#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    path: &'a [u8],
    /// The new value, or `None` for `$unset`.
    pub(super) set: Option<Element<'a>>,
    /// When this change creates a field, before or after which others.
    rank: usize,
}

/// The changes below one name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group<'c, 'a> {
    pub(super) name: &'a [u8],
    pub(super) changes: &'c [Change<'a>],
    /// Where the next component starts in each path.
    pub(super) next: usize,
    /// The change of this very field; then it is the only one.
    pub(super) leaf: Option<Change<'a>>,
    /// Whether the document has the field.
    pub(super) met: bool,
}

impl Group<'_, '_> {
    /// The smallest rank of what this group sets; `None` when it only unsets.
    pub(super) fn rank(&self) -> Option<usize> {
        self.changes.iter().filter(|c| c.set.is_some()).map(|c| c.rank).min()
    }
}

/// All changes of an entry, sorted by path components.
pub(super) fn parse(o: Doc<'_>) -> Result<Vec<Change<'_>>> {
    let mut changes = Vec::new();
    for section in o.elements() {
        let section = section?;
        let sets = match section.name() {
            b"$v" => continue,
            b"$set" => true,
            b"$unset" => false,
            [b'$', ..] => {
                let name = shown(section.name());
                return Err(Error::unknown_update(format!("modifier {name}")));
            }
            name => {
                let name = shown(name);
                return Err(Error::unknown_update(format!("field {name:?} beside modifiers")));
            }
        };
        for field in section.need(Element::as_doc, "document")?.elements() {
            let field = field?;
            check_path(field.name())?;
            let rank = changes.len();
            changes.push(Change { path: field.name(), set: sets.then_some(field), rank });
        }
    }
    sort(&mut changes);
    Ok(changes)
}

fn check_path(path: &[u8]) -> Result<()> {
    let mut components = 0;
    for component in components_of(path) {
        components += 1;
        if component.is_empty() {
            return Err(super::bad_field("empty name in path", path));
        }
        if component.starts_with(b"$[") {
            return Err(Error::unknown_update(format!("positional path {:?}", shown(path))));
        }
        if components == 1 && component == b"_id" {
            return Err(Error::bad_update("modifiers that change _id"));
        }
    }
    if components > MAX_DEPTH { Err(Error::TooDeep) } else { Ok(()) }
}

fn components_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'.')
}

fn sort(changes: &mut [Change<'_>]) {
    let sets = || changes.iter().filter(|c| c.set.is_some()).map(|c| c.path);
    let logged = sets().is_sorted_by(|a, b| by_bytes(a, b).is_le())
        || sets().is_sorted_by(|a, b| by_number(a, b).is_le());
    changes.sort_by(|a, b| by_bytes(a.path, b.path));
    if !logged {
        for (rank, change) in changes.iter_mut().enumerate() {
            change.rank = rank;
        }
    }
}

fn by_bytes(a: &[u8], b: &[u8]) -> Ordering {
    components_of(a).cmp(components_of(b))
}

/// As [`by_bytes`], but two numbers compare by value.
fn by_number(a: &[u8], b: &[u8]) -> Ordering {
    let mut others = components_of(b);
    for ours in components_of(a) {
        let Some(other) = others.next() else { return Ordering::Greater };
        let order = match (position(ours), position(other)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => ours.cmp(other),
        };
        if order.is_ne() {
            return order;
        }
    }
    if others.next().is_some() { Ordering::Less } else { Ordering::Equal }
}

/// Groups sorted changes by the component at `offset`. A path that is changed
/// and entered, or changed twice, is an error, as on servers.
pub(super) fn groups<'c, 'a>(
    changes: &'c [Change<'a>],
    offset: usize,
) -> Result<Vec<Group<'c, 'a>>> {
    let mut groups = Vec::new();
    let same = |a: &Change<'a>, b: &Change<'a>| component(a, offset) == component(b, offset);
    for changes in changes.chunk_by(same) {
        let Some(first) = changes.first() else { continue };
        let name = component(first, offset);
        let next = offset + name.len() + 1;
        let leaf = changes.iter().find(|c| c.path.len() < next).copied();
        if leaf.is_some() && changes.len() > 1 {
            return Err(super::bad_field("conflicting changes at", name));
        }
        groups.push(Group { name, changes, next, leaf, met: false });
    }
    Ok(groups)
}

fn component<'a>(change: &Change<'a>, offset: usize) -> &'a [u8] {
    let rest = change.path.get(offset..).unwrap_or_default();
    components_of(rest).next().unwrap_or_default()
}
