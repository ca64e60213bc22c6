//! `$set` and `$unset` with dotted paths (`$v: 1`). Rules (seen on 4.4 and on
//! 5.0 under FCV 4.4):
//!
//! - the first of duplicate names is the one that counts;
//! - missing objects on the way are created, numbers in their paths are names;
//! - in an array a number is a position, nulls fill up to it; `$unset` makes an
//!   element null;
//! - a path blocked by another value, or by a name in an array, is skipped;
//! - an array in which something changed gets the keys `0, 1, 2 ..`, unless all
//!   changes of the entry overwrite a value by one of the same length: then the
//!   server writes in place and leaves every key.

use super::{
    Applied, Copier,
    array::bounded,
    bad_field, deeper,
    paths::{Change, Group, groups, parse},
    position,
};
use crate::{Doc, Element, Result, tag, write};

pub(super) fn apply(
    pre: Doc<'_>,
    o: Doc<'_>,
    out: &mut Vec<u8>,
    applied: &mut Applied,
) -> Result<()> {
    let changes = parse(o)?;
    let start = out.len();
    let mut run = Run { blocked: 0, in_place: true, odd_keys: false, renumber: false };
    run.object(pre, &changes, 0, out, 0)?;
    if run.odd_keys && !run.in_place {
        out.truncate(start);
        run = Run { blocked: 0, in_place: true, odd_keys: false, renumber: true };
        run.object(pre, &changes, 0, out, 0)?;
    }
    applied.blocked_paths += run.blocked;
    Ok(())
}

/// One pass over the document.
#[derive(Debug)]
struct Run {
    blocked: u32,
    /// Whether every change so far overwrites a value of the same length.
    in_place: bool,
    /// Whether a changed array has keys other than its positions.
    odd_keys: bool,
    /// Whether changed arrays are to get their positions as keys.
    renumber: bool,
}

impl Run {
    /// Returns whether anything changed.
    fn object(
        &mut self,
        pre: Doc<'_>,
        changes: &[Change<'_>],
        offset: usize,
        out: &mut Vec<u8>,
        level: usize,
    ) -> Result<bool> {
        let level = deeper(level)?;
        let mut groups = groups(changes, offset)?;
        let start = write::begin(out);
        let mut copier = Copier::new(pre);
        let mut changed = false;
        let mut elements = pre.elements();
        let mut at = elements.at();
        while let Some(element) = elements.next() {
            let element = element?;
            let next = elements.at();
            if let Some(group) = find(&mut groups, element.name()) {
                group.met = true;
                copier.cut(at, next, out);
                let group = *group;
                changed |= match group.leaf {
                    Some(Change { set: None, .. }) => {
                        self.in_place = false;
                        true
                    }
                    _ => self.value(element, &group, out, level)?,
                };
            }
            at = next;
        }
        copier.finish(out);
        groups.retain(|group| !group.met && group.rank().is_some());
        groups.sort_by_key(Group::rank);
        for group in &groups {
            self.create(group, group.name, out, level)?;
            changed = true;
        }
        write::end(out, start)?;
        Ok(changed)
    }

    /// Changes a value that is there and keeps its name. An `$unset` makes it null.
    fn value(
        &mut self,
        old: Element<'_>,
        group: &Group<'_, '_>,
        out: &mut Vec<u8>,
        level: usize,
    ) -> Result<bool> {
        if let Some(leaf) = group.leaf {
            let (kind, value) = leaf.set.map_or((tag::NULL, &[][..]), |e| (e.kind(), e.value()));
            write::element(out, kind, old.name(), value);
            self.in_place &= value.len() == old.value().len();
            // The server takes even null over null for a change when it unsets.
            return Ok(leaf.set.is_none() || kind != old.kind() || value != old.value());
        }
        if let Some(pre) = old.as_doc() {
            write::head(out, old.kind(), old.name());
            return self.object(pre, group.changes, group.next, out, level);
        }
        if let Some(pre) = old.as_array() {
            write::head(out, old.kind(), old.name());
            return self.array(pre, group.changes, group.next, out, level);
        }
        self.block(group);
        out.extend_from_slice(old.raw());
        Ok(false)
    }

    /// Writes a field that was not there, with the objects on the way to it.
    fn create(
        &mut self,
        group: &Group<'_, '_>,
        name: &[u8],
        out: &mut Vec<u8>,
        level: usize,
    ) -> Result<()> {
        self.in_place = false;
        if let Some(new) = group.leaf.and_then(|leaf| leaf.set) {
            write::element(out, new.kind(), name, new.value());
            return Ok(());
        }
        write::head(out, tag::DOCUMENT, name);
        self.object(Doc::EMPTY, group.changes, group.next, out, level)?;
        Ok(())
    }

    fn array(
        &mut self,
        pre: Doc<'_>,
        changes: &[Change<'_>],
        offset: usize,
        out: &mut Vec<u8>,
        level: usize,
    ) -> Result<bool> {
        let level = deeper(level)?;
        let mut groups = self.positions(groups(changes, offset)?)?.into_iter().peekable();
        let start = write::begin(out);
        let mut copier = Copier::new(pre);
        let (mut changed, mut odd) = (false, false);
        let mut index = 0_u32;
        let mut name = write::Position::first();
        let mut elements = pre.elements();
        let mut at = elements.at();
        while let Some(element) = elements.next() {
            let element = element?;
            let next = elements.at();
            odd |= element.name() != name.name();
            if let Some((_, group)) = groups.next_if(|(position, _)| *position == index) {
                copier.cut(at, next, out);
                changed |= self.value(element, &group, out, level)?;
            }
            at = next;
            index = index.saturating_add(1);
            name.step();
        }
        copier.finish(out);
        changed |= self.grow(groups.collect(), (index, name, start), out, level)?;
        write::end(out, start)?;
        if changed && odd {
            self.odd_keys = true;
            if self.renumber {
                renumber(out, start)?;
            }
        }
        Ok(changed)
    }

    /// Sets elements behind the end of an array that began at `start` and has
    /// come to position `index`, and fills the gaps with null.
    fn grow(
        &mut self,
        groups: Vec<(u32, Group<'_, '_>)>,
        (mut index, mut name, start): (u32, write::Position, usize),
        out: &mut Vec<u8>,
        level: usize,
    ) -> Result<bool> {
        let groups = self.reachable(groups);
        for (position, group) in &groups {
            while index < *position {
                write::null(out, name.name());
                bounded(out, start)?;
                index += 1;
                name.step();
            }
            self.create(group, name.name(), out, level)?;
            index = index.saturating_add(1);
            name.step();
        }
        Ok(!groups.is_empty())
    }

    /// Leaves out the paths through elements that are null by the time they are
    /// walked, because a path walked earlier has set an element behind them.
    fn reachable<'c, 'a>(
        &mut self,
        groups: Vec<(u32, Group<'c, 'a>)>,
    ) -> Vec<(u32, Group<'c, 'a>)> {
        let mut earliest = usize::MAX;
        let mut kept = Vec::with_capacity(groups.len());
        for (position, group) in groups.into_iter().rev() {
            let Some(rank) = group.rank() else { continue };
            if group.leaf.is_none() && earliest < rank {
                self.block(&group);
            } else {
                earliest = earliest.min(rank);
                kept.push((position, group));
            }
        }
        kept.reverse();
        kept
    }

    /// The groups of an array by position. Names are blocked there.
    fn positions<'c, 'a>(
        &mut self,
        groups: Vec<Group<'c, 'a>>,
    ) -> Result<Vec<(u32, Group<'c, 'a>)>> {
        let mut found = Vec::with_capacity(groups.len());
        for group in groups {
            match position(group.name) {
                Some(position) => found.push((position, group)),
                None => self.block(&group),
            }
        }
        found.sort_by_key(|(position, _)| *position);
        // `1` and `01` in one entry.
        match found.iter().zip(found.iter().skip(1)).find(|(a, b)| a.0 == b.0) {
            Some((_, (_, group))) => Err(bad_field("array position named twice:", group.name)),
            None => Ok(found),
        }
    }

    fn block(&mut self, group: &Group<'_, '_>) {
        self.blocked += u32::from(group.rank().is_some());
    }
}

/// Up to this many groups a linear search is faster.
const SMALL: usize = 12;

/// The group of a name that was not met yet; `groups` is sorted by name.
fn find<'g, 'c, 'a>(groups: &'g mut [Group<'c, 'a>], name: &[u8]) -> Option<&'g mut Group<'c, 'a>> {
    let group = if groups.len() <= SMALL {
        groups.iter_mut().find(|group| group.name == name)
    } else {
        let at = groups.binary_search_by(|group| group.name.cmp(name)).ok()?;
        groups.get_mut(at)
    };
    group.filter(|group| !group.met)
}

/// Gives the array that was written from `start` on its positions as keys.
fn renumber(out: &mut Vec<u8>, start: usize) -> Result<()> {
    let old = out.split_off(start);
    let mut name = write::Position::first();
    let start = write::begin(out);
    for element in Doc::new(&old)?.elements() {
        let element = element?;
        write::element(out, element.kind(), name.name(), element.value());
        name.step();
    }
    write::end(out, start)
}
