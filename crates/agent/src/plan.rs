//! Pure decisions of an initial sync: how a collection is read, into how many
//! ranges it is cut and where.

use bson::RawDocument;
use bygone_base::Result;
use bygone_document::id_key;

use crate::{
    options::{AgentOptions, ScanOrder},
    source::{CollectionSize, ScanBy, Server, SourceCollection},
};

/// How one collection goes from the source to blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// Order of reading.
    pub by: ScanBy,
    /// The order is not that of the keys: operations of runs are made, not leaves.
    pub runs: bool,
}

impl Method {
    /// Whether a scan can go on after the last `_id` that arrived. One in
    /// natural order starts again: its tokens mean nothing on another member.
    pub fn resumes(&self) -> bool {
        self.by != ScanBy::Natural
    }

    /// Whether the collection can be cut into ranges of keys.
    pub fn splits(&self) -> bool {
        !self.runs && self.resumes()
    }
}

fn flag(options: &RawDocument, name: &str) -> bool {
    matches!(options.get_bool(name), Ok(true))
}

/// How to read a collection. `natural` is what the plan of a sync that is
/// resumed says, `None` when the plan is being made.
pub fn method(
    coll: &SourceCollection,
    server: &Server,
    order: ScanOrder,
    natural: Option<bool>,
) -> Method {
    let options = &coll.options;
    let clustered = matches!(options.get("clusteredIndex"), Ok(Some(_)));
    let has_id_index = clustered
        || coll.indexes.iter().any(|index| {
            let key = index.get_document("key").ok();
            key.is_some_and(|key| {
                key.iter().count() == 1
                    && matches!(key.get("_id"), Ok(Some(v)) if v.as_str().is_none())
            })
        });
    if flag(options, "capped") || !has_id_index {
        return Method { by: ScanBy::Natural, runs: true };
    }
    // In such a collection the index is in the order of the collation.
    if options.get_document("collation").is_ok() {
        return Method { by: ScanBy::IdIndex, runs: true };
    }
    if natural.unwrap_or(order == ScanOrder::Natural) {
        return Method { by: ScanBy::Natural, runs: true };
    }
    let buckets = coll.name.starts_with("system.buckets.");
    if clustered && buckets && server.major() < 6 {
        return Method { by: ScanBy::IdPredicate, runs: false };
    }
    Method { by: ScanBy::IdIndex, runs: false }
}

/// Number of ranges for a collection of this size.
pub fn ranges_for(size: CollectionSize, options: &AgentOptions) -> u32 {
    let wanted = size.bytes.div_ceil(options.range.0.max(1));
    let most = u64::from(options.max_ranges.max(1)).min(size.docs.max(1));
    u32::try_from(wanted.clamp(1, most)).unwrap_or(1)
}

/// Average size of a document; a guess where nothing is known.
pub fn average_doc(size: CollectionSize) -> u64 {
    size.bytes.checked_div(size.docs).unwrap_or(1024)
}

/// Documents per batch, so that a batch has about the size asked for: one of
/// about 1 MB stays in the processor's cache on its way.
pub fn batch_docs(size: CollectionSize, batch: u64) -> u32 {
    let average = average_doc(size).max(1);
    // Above 10,000 the count itself no longer matters.
    u32::try_from((batch / average).clamp(1, 10_000)).unwrap_or(1)
}

/// Split points of `n` ranges out of a sample of `{_id: x}` documents: keys
/// with their documents, ascending, no two equal, at most `n - 1`.
pub fn split_points(sample: Vec<Vec<u8>>, n: u32) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut keyed = Vec::with_capacity(sample.len());
    for doc in sample {
        // MaxKey as a lower bound is refused by the server.
        let last = RawDocument::from_bytes(&doc)
            .is_ok_and(|d| matches!(d.get("_id"), Ok(Some(bson::RawBsonRef::MaxKey))));
        if !last {
            keyed.push((id_key(&doc)?, doc));
        }
    }
    keyed.sort();
    keyed.dedup_by(|a, b| a.0 == b.0);
    let n = n.max(1) as usize;
    let mut points: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for i in 1..n {
        let Some(point) = keyed.get(i * keyed.len() / n) else { break };
        // The very first sample as a bound would leave an empty first range.
        let fresh = points.last().is_none_or(|last| last.0 < point.0);
        if fresh && keyed.first().is_some_and(|first| first.0 < point.0) {
            points.push(point.clone());
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use bygone_base::{ByteSize, CollectionId};
    use proptest::prelude::*;

    use super::*;

    fn coll(name: &str, options: bson::RawDocumentBuf) -> SourceCollection {
        let indexes = vec![rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }];
        SourceCollection {
            id: CollectionId([1; 16]),
            db: "d".into(),
            name: name.into(),
            options,
            indexes,
        }
    }

    fn server(version: &str) -> Server {
        Server { version: version.into(), fcv: "5.0".into(), identity: None }
    }

    #[test]
    fn orders_that_are_not_the_keys_order_make_runs() {
        let way = |c: &SourceCollection, v: &str| method(c, &server(v), ScanOrder::ById, None);
        let plain = coll("a", rawdoc! {});
        assert_eq!(way(&plain, "8.2.0"), Method { by: ScanBy::IdIndex, runs: false });
        let capped = way(&coll("a", rawdoc! { "capped": true }), "8.2.0");
        assert_eq!(capped, Method { by: ScanBy::Natural, runs: true });
        let collation = way(&coll("a", rawdoc! { "collation": { "locale": "en" } }), "8.2.0");
        assert_eq!(collation, Method { by: ScanBy::IdIndex, runs: true });
        assert!(collation.resumes() && !collation.splits() && !capped.resumes());
        let natural = method(&plain, &server("8.2.0"), ScanOrder::Natural, None);
        assert_eq!(natural.by, ScanBy::Natural);
        // A resumed sync keeps to its plan whatever the option says now.
        assert_eq!(
            method(&plain, &server("8.2.0"), ScanOrder::Natural, Some(false)).by,
            ScanBy::IdIndex
        );
    }

    #[test]
    fn buckets_of_5_0_take_no_hint() {
        let mut buckets = coll("system.buckets.x", rawdoc! { "clusteredIndex": true });
        buckets.indexes.clear();
        let by = |v: &str| method(&buckets, &server(v), ScanOrder::ById, None).by;
        assert_eq!(by("5.0.3"), ScanBy::IdPredicate);
        assert_eq!(by("8.2.0"), ScanBy::IdIndex);
        let mut bare = coll("x", rawdoc! {});
        bare.indexes.clear();
        assert_eq!(method(&bare, &server("4.4.1"), ScanOrder::ById, None).by, ScanBy::Natural);
    }

    #[test]
    fn sizes_make_ranges_and_batches() {
        let mut options = AgentOptions::new("j".parse().unwrap());
        let size = |mb: u64, docs| CollectionSize { docs, bytes: mb << 20 };
        assert_eq!(ranges_for(size(10, 1000), &options), 1);
        assert_eq!(ranges_for(size(600, 1000), &options), 3);
        assert_eq!(ranges_for(size(1 << 20, 1 << 30), &options), 64);
        assert_eq!(ranges_for(CollectionSize::default(), &options), 1);
        options.range = ByteSize(0);
        assert_eq!(ranges_for(size(1, 10), &options), 10);
        assert_eq!(batch_docs(size(1000, 1_000_000), 1 << 20), 1000 << 20 >> 20);
        assert_eq!(batch_docs(size(160, 10), 1 << 20), 1);
        assert_eq!(batch_docs(CollectionSize::default(), 1 << 20), 1024);
    }

    #[test]
    fn max_key_is_never_a_bound() {
        let sample = vec![
            rawdoc! { "_id": bson::RawBson::MaxKey }.into_bytes(),
            rawdoc! { "_id": 1 }.into_bytes(),
        ];
        assert!(split_points(sample, 4).unwrap().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn split_points_ascend(ids in prop::collection::vec(any::<i64>(), 0..200), n in 1..70u32) {
            let sample = ids.iter().map(|id| rawdoc! { "_id": *id }.into_bytes()).collect();
            let points = split_points(sample, n).unwrap();
            prop_assert!(points.len() < n as usize);
            prop_assert!(points.windows(2).all(|w| w[0].0 < w[1].0));
            let mut distinct = ids.clone();
            distinct.sort_unstable();
            distinct.dedup();
            if distinct.len() >= 2 * n as usize {
                prop_assert_eq!(points.len(), n as usize - 1);
            }
        }
    }
}
