//! Loads a capped collection in the order in which its documents entered it:
//! one connection, ordered inserts, so that natural order on the target is the source's.
//!
//! Documents come in key order. A first pass takes their positions and sizes (16 bytes each). Where the
//! source's log does not say what the limits cost, the oldest go, as they did there; where it does, all stay:
//! a collection holds more than its limits after a collMod or an update that grew, until something is
//! inserted. Then documents are taken in stretches of positions that fit in memory, one pass over the
//! collection for each.

use std::collections::VecDeque;

use bygone_base::{CollectionId, Error, Result};
use bytes::Bytes;

use crate::{
    batch::Cutter,
    create::Command,
    hash::StreamHash,
    insert::{self, Into},
    load::{self, Loaded, Shared},
    model::{Chunk, Documents, Position},
    names::Namespace,
    plan::{CappedLimits, CollectionPlan},
    raw::{self, Build},
    version::ServerVersion,
};

/// Bytes of documents that are sorted at once.
const STRETCH: u64 = 64 << 20;

/// `cappedMax` of a collection without one.
const NO_LIMIT: i64 = -1;
/// The BSON type of a 64-bit integer.
const INT64: u8 = 0x12;

/// Where documents stand and how large they are.
type Entry = (Position, u32);

/// Loads the collection.
pub(crate) async fn load(
    shared: &Shared,
    plan: &CollectionPlan,
    limits: CappedLimits,
    into: &Into,
) -> Result<Loaded> {
    let mut ordered = InOrder::new(&*shared.documents, plan.id, &plan.source, limits).await?;
    if let Some(bytes) = ordered.excess {
        resize(shared, plan, bytes, limits.documents.map(|_| NO_LIMIT)).await?;
    }
    let mut hash = shared.hash.then(|| StreamHash::new(plan.method));
    let mut loaded = Loaded::default();
    while let Some(stretch) = ordered.next().await? {
        let mut cutter = Cutter::default();
        let mut batches = Vec::new();
        for document in &stretch {
            loaded.documents += 1;
            loaded.bytes += document.len() as u64;
            if let Some(hash) = &mut hash {
                hash.update(document);
            }
            batches.extend(cutter.push(document)?);
        }
        for batch in batches.into_iter().chain(cutter.finish()) {
            insert::insert(&shared.target, into, &batch).await?;
            load::inserted(shared, &batch);
        }
    }
    if ordered.excess.is_some() {
        let documents = limits.documents.map(|max| i64::try_from(max).unwrap_or(NO_LIMIT));
        resize(shared, plan, limits.bytes, documents).await?;
    }
    loaded.hash = hash.map(StreamHash::finish);
    Ok(loaded)
}

/// Sets other limits. It drops nothing by itself: that comes with the next insert.
async fn resize(
    shared: &Shared,
    plan: &CollectionPlan,
    bytes: u64,
    documents: Option<i64>,
) -> Result<()> {
    let Namespace { db, coll } = &plan.target;
    if shared.version < ServerVersion::new(6, 0) {
        return Err(Error::unsupported(format!(
            "{} held more than its capped size; servers before 6.0 cannot load that",
            plan.source
        ))
        .hint("restore to a newer server, or leave it out with --ns-exclude"));
    }
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).to_le_bytes();
    let mut body = Build::new().str("collMod", coll).element(INT64, b"cappedSize", &bytes);
    if let Some(documents) = documents {
        body = body.element(INT64, b"cappedMax", &documents.to_le_bytes());
    }
    let body = body.majority().finish();
    let what = format!("set the limits of {}", plan.target);
    shared.target.run(&what, &Command { db: db.clone(), body }).await?;
    Ok(())
}

/// A capped collection's documents in the order in which they entered it.
pub struct InOrder<'a> {
    documents: &'a dyn Documents,
    id: CollectionId,
    shown: &'a Namespace,
    stretches: VecDeque<(Position, Position)>,
    /// All bytes, where they are more than the limits allow.
    excess: Option<u64>,
}

impl<'a> InOrder<'a> {
    /// Of the collection `id`, which errors call `shown`; what `limits` push out is left out, unless they
    /// are exact.
    ///
    /// # Errors
    /// Damaged: a document has no position.
    pub async fn new(
        documents: &'a dyn Documents,
        id: CollectionId,
        shown: &'a Namespace,
        limits: CappedLimits,
    ) -> Result<InOrder<'a>> {
        let mut ordered =
            InOrder { documents, id, shown, stretches: VecDeque::new(), excess: None };
        let mut entries = Vec::new();
        let take = |position, document: Bytes| {
            entries.push((position, u32::try_from(document.len()).unwrap_or(u32::MAX)));
        };
        ordered.each(take).await?;
        entries.sort_unstable();
        let within = trim(&entries, limits);
        if limits.exact && within.len() < entries.len() {
            ordered.excess = Some(entries.iter().map(|(_, size)| u64::from(*size)).sum());
        }
        let kept = if limits.exact { &entries[..] } else { within };
        ordered.stretches = stretches(kept, STRETCH).into();
        Ok(ordered)
    }

    /// The next documents, about 64 MB; `None` at the end.
    ///
    /// # Errors
    /// As reading the collection.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>> {
        let Some((first, last)) = self.stretches.pop_front() else { return Ok(None) };
        let mut taken: Vec<(Position, Bytes)> = Vec::new();
        let take = |position, document| {
            if (first..=last).contains(&position) {
                taken.push((position, document));
            }
        };
        self.each(take).await?;
        taken.sort_unstable_by_key(|(position, _)| *position);
        Ok(Some(taken.into_iter().map(|(_, document)| document).collect()))
    }

    /// Passes over all documents with their positions.
    async fn each(&self, mut take: impl FnMut(Position, Bytes)) -> Result<()> {
        let mut stream = self.documents.open(self.id).await?;
        while let Some(Chunk { documents, positions, .. }) = stream.next().await? {
            let missing =
                || Error::damaged(format!("capped collection {} has no order", self.shown));
            let mut positions = positions.ok_or_else(missing)?.into_iter();
            let mut start = 0;
            for document in raw::split(&documents) {
                let end = start + document?.len();
                take(positions.next().ok_or_else(missing)?, documents.slice(start..end));
                start = end;
            }
        }
        Ok(())
    }
}

/// What stays of `entries`, which are in order: the newest that fit, at least one.
fn trim(entries: &[Entry], limits: CappedLimits) -> &[Entry] {
    let (mut bytes, mut count) = (0_u64, 0_u64);
    let fits = |entry: &&Entry| {
        bytes = bytes.saturating_add(u64::from(entry.1));
        count += 1;
        count == 1 || bytes <= limits.bytes && limits.documents.is_none_or(|max| count <= max)
    };
    let stay = entries.iter().rev().take_while(fits).count();
    &entries[entries.len() - stay..]
}

/// Cuts into stretches of at most `limit` bytes (or one document).
fn stretches(entries: &[Entry], limit: u64) -> Vec<(Position, Position)> {
    let mut found: Vec<(Position, Position)> = Vec::new();
    let mut bytes = 0;
    for (position, size) in entries {
        bytes += u64::from(*size);
        match found.last_mut() {
            Some(stretch) if bytes <= limit => stretch.1 = *position,
            _ => {
                bytes = u64::from(*size);
                found.push((*position, *position));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(sizes: &[u32]) -> Vec<Entry> {
        sizes.iter().enumerate().map(|(i, n)| ((i as u64, 0), *n)).collect()
    }

    fn limits(bytes: u64, documents: Option<u64>) -> CappedLimits {
        CappedLimits { bytes, documents, exact: false }
    }

    #[test]
    fn the_oldest_go_first() {
        let all = entries(&[10, 10, 10, 10]);
        let kept = |bytes, documents| trim(&all, limits(bytes, documents)).len();
        assert_eq!(kept(u64::MAX, None), 4);
        assert_eq!(kept(35, None), 3);
        assert_eq!(kept(30, None), 3);
        assert_eq!(kept(100, Some(2)), 2);
        assert_eq!(kept(5, None), 1);
        let kept = trim(&all, limits(20, None));
        assert_eq!(kept, &all[2..]);
        assert!(trim(&[], limits(1, None)).is_empty());
    }

    #[test]
    fn stretches_cover_everything_once() {
        let all = entries(&[40, 40, 40, 200, 1]);
        let cut = stretches(&all, 100);
        assert_eq!(cut, [((0, 0), (1, 0)), ((2, 0), (2, 0)), ((3, 0), (3, 0)), ((4, 0), (4, 0))]);
        assert!(stretches(&[], 100).is_empty());
    }
}
