//! How many cursors read a collection: pure.
//!
//! `-j` is how many there are in all. Where collections are fewer than that, or one is larger than its share, a large one
//! is read by several, each through records of its own, and its documents come as they are read. Unasked, so many as there
//! are processors: more read no faster, and each costs memory and turns (docs/performance.md).

use bson::RawDocument;

use super::{Found, Options};
use crate::metadata::Kind;

/// Less than this is not worth a cursor.
const LEAST: u64 = 64 << 20;

/// Cursors at once for this collection, of `total` bytes that all collections have.
pub(super) fn count(options: &Options, found: &Found, total: u64) -> usize {
    if options.query.is_some() || !divisible(found) {
        return 1;
    }
    let most = options.parallel.max(1) as u64;
    let share = (total / most).max(LEAST);
    let most = most.min(options.divided.max(1) as u64);
    usize::try_from(found.bytes.div_ceil(share).min(found.bytes / LEAST).clamp(1, most))
        .unwrap_or(1)
}

/// Only where each record has a number and the order does not matter; each `_id` has to be found, too.
fn divisible(found: &Found) -> bool {
    let of_the_server = matches!(found.db.as_str(), "admin" | "config" | "local");
    if found.kind != Kind::Collection || found.stored_in.is_none() || of_the_server {
        return false;
    }
    let Ok(options) = RawDocument::from_bytes(&found.options) else { return false };
    let has = |name| options.get(name).ok().flatten().is_some();
    let without_index = options.get_bool("autoIndexId").is_ok_and(|made| !made);
    !options.get_bool("capped").unwrap_or(false) && !has("clusteredIndex") && !without_index
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::{
        dump::Selection,
        sink::{Compression, Place},
    };

    fn options() -> Options {
        Options {
            selection: Selection::default(),
            query: None,
            place: Place::Documents,
            compression: Compression::None,
            oplog: false,
            users_and_roles: false,
            parallel: 4,
            divided: 4,
            threads: 1,
            views_as_collections: false,
        }
    }

    fn found(mb: u64, options: bson::RawDocumentBuf) -> Found {
        Found {
            db: "d".to_owned(),
            name: "c".to_owned(),
            kind: Kind::Collection,
            listed_as: Kind::Collection,
            options: options.into_bytes(),
            uuid: None,
            stored_in: Some([7; 16]),
            documents: 1000,
            bytes: mb << 20,
        }
    }

    #[test]
    fn a_large_collection_gets_its_share_of_cursors() {
        let count = |mb, total: u64| count(&options(), &found(mb, rawdoc! {}), total << 20);
        assert_eq!([1, 100, 130, 200, 5000].map(|mb| count(mb, mb)), [1, 1, 2, 3, 4]);
        assert_eq!([388, 554, 218].map(|mb| count(mb, 1160)), [2, 2, 1]);
        assert_eq!(count(300, 100_000), 1);
    }

    #[test]
    fn what_has_an_order_or_no_numbers_is_read_by_one() {
        let one = |found: &Found| assert_eq!(count(&options(), found, found.bytes), 1);
        one(&found(999, rawdoc! { "capped": true }));
        one(&found(999, rawdoc! { "clusteredIndex": { "unique": true } }));
        one(&found(999, rawdoc! { "autoIndexId": false }));
        one(&Found { kind: Kind::TimeSeries, ..found(999, rawdoc! {}) });
        one(&Found { stored_in: None, ..found(999, rawdoc! {}) });
        one(&Found { db: "config".to_owned(), ..found(999, rawdoc! {}) });
        let large = found(999, rawdoc! { "capped": false, "autoIndexId": true });
        assert_eq!(count(&options(), &large, large.bytes), 4);
        assert_eq!(count(&Options { divided: 3, ..options() }, &large, large.bytes), 3);
        assert_eq!(count(&Options { parallel: 1, ..options() }, &large, large.bytes), 1);
        let asked = Options { query: Some(Vec::new()), ..options() };
        assert_eq!(count(&asked, &large, large.bytes), 1);
    }
}
