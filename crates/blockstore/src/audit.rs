//! Looking for damage: reads everything of an object and says what is wrong.

use bygone_base::{BlockId, Error, ErrorKind, PackId, Result};
use bytes::Bytes;

use crate::{
    ObjectKind, Repository, Toc, codec, keyring, names,
    pack::open_block,
    reader::{READ_AT_ONCE, load_toc},
};

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object's name.
    pub object: String,
    /// The block, when it is one block of a pack.
    pub block: Option<BlockId>,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.block {
            Some(block) => write!(f, "{}: block {block}: {}", self.object, self.what),
            None => write!(f, "{}: {}", self.object, self.what),
        }
    }
}

/// Whether an error says that an object is bad, rather than that it could not
/// be looked at.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound | ErrorKind::Unsupported)
}

fn damage_of<T>(object: &str, result: Result<T>) -> Result<Result<T, Damage>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if is_damage(&error) => {
            Ok(Err(Damage { object: object.to_owned(), block: None, what: error.to_string() }))
        }
        Err(error) => Err(error),
    }
}

/// Reads every byte of a pack and checks header, table of contents, and every
/// block's length, check sum, tag, raw length and name. An error means that
/// the pack could not be looked at; memory stays within two ranges of 4 MiB
/// or two blocks.
pub async fn check_pack(repo: &Repository, pack: PackId) -> Result<Vec<Damage>> {
    let name = names::pack(pack);
    let toc = match damage_of(&name, load_toc(repo, pack).await)? {
        Ok(toc) => toc,
        Err(damage) => return Ok(vec![damage]),
    };
    let mut found = Vec::new();
    let mut next = 0;
    while next < toc.entries().len() {
        let end = batch_end(&toc, next);
        let first = toc.entries()[next].range().start;
        let last = toc.entries()[end - 1].range().end;
        let read = repo.store().get_range(&name, first..last).await;
        let bytes = match damage_of(&name, read)? {
            Ok(bytes) => bytes,
            Err(damage) => {
                found.push(damage);
                return Ok(found);
            }
        };
        let (repo, toc, name) = (repo.clone(), toc.clone(), name.clone());
        let check = move || Ok(check_batch(&repo, &toc, &name, next..end, &bytes));
        found.extend(codec::blocking(check).await?);
        next = end;
    }
    Ok(found)
}

/// The blocks from `first` on that are read together: at least one.
fn batch_end(toc: &Toc, first: usize) -> usize {
    let entries = &toc.entries()[first..];
    let start = entries.first().map_or(0, |entry| entry.offset);
    let more = entries.iter().take_while(|entry| entry.range().end - start <= READ_AT_ONCE);
    first + more.count().max(1)
}

fn check_batch(
    repo: &Repository,
    toc: &Toc,
    name: &str,
    numbers: std::ops::Range<usize>,
    bytes: &Bytes,
) -> Vec<Damage> {
    let start = toc.entries()[numbers.start].offset;
    let mut found = Vec::new();
    for number in numbers {
        let entry = &toc.entries()[number];
        let from = (entry.offset - start) as usize;
        let stored = bytes.slice(from..from + entry.stored as usize);
        if let Err(what) = open_block(repo, toc, number as u32, entry, stored) {
            let (object, what) = (name.to_owned(), what.to_owned());
            found.push(Damage { object, block: Some(entry.id), what });
        }
    }
    found
}

/// Reads an object in an envelope and checks all of it.
pub async fn check_object(
    repo: &Repository,
    kind: ObjectKind,
    name: &str,
) -> Result<Option<Damage>> {
    Ok(damage_of(name, repo.get_object(kind, name).await)?.err())
}

/// Checks every keyring, also those that are not in force any more: a rotation
/// may have to be undone.
pub async fn check_keyrings(repo: &Repository) -> Result<Vec<Damage>> {
    let mut found = Vec::new();
    for stat in repo.store().list(names::KEYS, None).await? {
        let name = stat.name;
        let bytes = match damage_of(&name, repo.store().get(&name).await)? {
            Ok(bytes) => bytes,
            Err(damage) => {
                found.push(damage);
                continue;
            }
        };
        found.extend(damage_of(&name, keyring::check_keyring(&bytes, repo.id()))?.err());
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
