//! One batch into the target, exactly once whatever happens on the way.
//!
//! An attempt whose reply was lost may have inserted all, some or none. It is
//! repeated; documents that are there already then answer "duplicate key" on `_id`, and
//! only then is that not an error: the collection was made empty by this restore.

use std::time::Duration;

use bson::{Document, RawDocumentBuf};
use bygone_base::{Error, ErrorKind, Result};

use crate::{
    batch::{Batch, Head, has_zero_timestamp},
    create::Command,
    error,
    names::Namespace,
    raw::{self, Build},
    target::{Target, denied_hint},
};

/// Where batches of one collection go.
#[derive(Debug)]
pub(crate) struct Into {
    pub(crate) name: Namespace,
    /// The name for collMod: the time-series' name for buckets.
    pub(crate) shown: Namespace,
    pub(crate) head: Head,
    pub(crate) ordered: bool,
    /// Documents with a top-level Timestamp(0,0) must be put right after they were inserted.
    pub(crate) fix_zero_timestamps: bool,
    pub(crate) refusals: Refusals,
}

/// What becomes of documents that the target refuses: a key is taken, or the validator does not like them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusals {
    /// They are errors: the collection was made empty by this restore.
    Fail,
    /// They are counted and the rest goes in.
    Count,
    /// They are counted, and nothing more should be inserted.
    Stop,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Documents that are in.
    pub documents: u64,
    /// Why others are not, one text each.
    pub refused: Vec<String>,
}

/// What a reply means.
#[derive(Debug)]
enum Outcome {
    Done,
    /// These were refused; of an ordered insert, so were all after the first one.
    Refused {
        taken: u64,
        /// Places in what was sent, and the server's words.
        why: Vec<(usize, String)>,
    },
    /// An ordered insert stopped at a document that is there already.
    Continue {
        skip: usize,
    },
    /// Nothing was wrong with the documents.
    Again,
    /// Buckets whose measurements differ in type are allowed only when told so.
    MixedSchema,
}

/// How often a batch is repeated that an election keeps interrupting.
const ATTEMPTS: u32 = 600;
const PAUSE: Duration = Duration::from_millis(200);
const DUPLICATE_KEY: i32 = 11000;
const MIXED_SCHEMA: i32 = 408;
const VALIDATION: i32 = 121;

/// Inserts a batch.
pub(crate) async fn insert(target: &Target, into: &Into, batch: &Batch) -> Result<Inserted> {
    let what = format!("insert into {}", into.name);
    let (mut skip, mut repeated, mut attempts) = (0, false, 0);
    let mut out = Vec::new();
    let mut inserted = Inserted { documents: batch.documents as u64, refused: Vec::new() };
    while skip < batch.documents {
        let reply = target.insert(&what, &into.name.db, &into.head, batch, skip).await;
        let reply = reply.map_err(|e| denied_hint(e, "restore"))?;
        repeated |= reply.repeated;
        let left = batch.documents - skip;
        match outcome(&what, &reply.document, left, into, repeated)? {
            Outcome::Done => break,
            Outcome::Refused { taken, why } => {
                let (places, refused): (Vec<usize>, Vec<String>) = why.into_iter().unzip();
                out = places.iter().map(|place| skip + place).collect();
                inserted = Inserted { documents: skip as u64 + taken, refused };
                break;
            }
            Outcome::Continue { skip: more } => skip += more,
            Outcome::Again if attempts < ATTEMPTS => {
                repeated = true;
                attempts += 1;
                target.clock().sleep(PAUSE).await;
            }
            Outcome::Again => {
                return Err(Error::new(ErrorKind::Unavailable, format!("{what}: no primary")));
            }
            Outcome::MixedSchema => {
                allow_mixed_schema(target, &into.shown).await?;
                repeated = true;
            }
        }
    }
    if into.fix_zero_timestamps {
        fix_zero_timestamps(target, into, batch, &out).await?;
    }
    Ok(inserted)
}

fn outcome(
    what: &str,
    reply: &Document,
    sent: usize,
    into: &Into,
    repeated: bool,
) -> Result<Outcome> {
    let Ok(errors) = reply.get_array("writeErrors") else {
        return match reply.get_i32("n").map(usize::try_from) {
            Ok(Ok(n)) if n == sent => Ok(Outcome::Done),
            // Nobody is told what became of an insert that nobody waits for: `n` is 0 or missing.
            _ if into.head.is_unacknowledged() => Ok(Outcome::Done),
            _ => Err(Error::internal(format!("{what}: not all of {sent} documents were taken"))),
        };
    };
    let mut why = Vec::new();
    for failed in errors.iter().filter_map(|e| e.as_document()) {
        let code = failed.get_i32("code").unwrap_or_default();
        let on_id = failed.get_document("keyPattern").is_ok_and(|k| k.keys().eq(["_id"]));
        match code {
            DUPLICATE_KEY if repeated && on_id && into.ordered => {
                let index = failed.get_i32("index").ok().and_then(|i| usize::try_from(i).ok());
                return Ok(Outcome::Continue { skip: index.unwrap_or_default() + 1 });
            }
            DUPLICATE_KEY if repeated && on_id => {}
            MIXED_SCHEMA if !repeated => return Ok(Outcome::MixedSchema),
            code if error::is_transient(code) => return Ok(Outcome::Again),
            DUPLICATE_KEY | VALIDATION if into.refusals != Refusals::Fail => {
                let index = failed.get_i32("index").ok().and_then(|i| usize::try_from(i).ok());
                let text = failed.get_str("errmsg").unwrap_or_default().to_owned();
                why.push((index.unwrap_or_default(), text));
            }
            DUPLICATE_KEY => {
                let text = failed.get_str("errmsg").unwrap_or_default();
                return Err(Error::new(ErrorKind::Conflict, format!("{what}: {text}")).hint(
                    "somebody else writes to the target; keep it to the restore and repeat with --drop",
                ));
            }
            code => {
                return Err(error::server(
                    what,
                    code,
                    failed.get_str("errmsg").unwrap_or_default(),
                ));
            }
        }
    }
    if why.is_empty() {
        return Ok(Outcome::Done);
    }
    let taken = reply.get_i32("n").ok().and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
    Ok(Outcome::Refused { taken, why })
}

async fn allow_mixed_schema(target: &Target, series: &Namespace) -> Result<()> {
    let body = Build::new()
        .str("collMod", &series.coll)
        .bool("timeseriesBucketsMayHaveMixedSchemaData", true)
        .majority()
        .finish();
    let what = format!("allow mixed measurements in {series}");
    target.run(&what, &Command { db: series.db.clone(), body }).await.map(|_| ())
}

/// Replaces documents with a top-level Timestamp(0,0) by themselves: servers that
/// put the current time there on insert keep it in an update by pipeline.
/// Documents that are not in, which `out` has the places of, stay out; ordered, so do all behind them.
async fn fix_zero_timestamps(
    target: &Target,
    into: &Into,
    batch: &Batch,
    out: &[usize],
) -> Result<()> {
    for (place, document) in batch.iter().enumerate() {
        let document = document?;
        if into.ordered && out.contains(&place) {
            return Ok(());
        }
        if !has_zero_timestamp(document) || out.contains(&place) {
            continue;
        }
        let what = format!("keep Timestamp(0,0) in {}", into.name);
        let body = replace(&into.name, document)?;
        let reply = target.retry(&what, &into.name.db, || Ok(body.clone())).await;
        let reply = reply.map_err(|e| denied_hint(e, "readWriteAnyDatabase"))?.document;
        if let Some(failed) = reply.get_array("writeErrors").ok().and_then(|e| e.first()) {
            let failed = failed.as_document().cloned().unwrap_or_default();
            let code = failed.get_i32("code").unwrap_or_default();
            return Err(error::server(&what, code, failed.get_str("errmsg").unwrap_or_default()));
        }
        if reply.get_i32("n").is_ok_and(|n| n != 1) {
            return Err(Error::internal(format!("{what}: the document is not there")));
        }
    }
    Ok(())
}

fn replace(name: &Namespace, document: &[u8]) -> Result<RawDocumentBuf> {
    let id = raw::get(document, "_id")
        .ok_or_else(|| Error::damaged(format!("a document of {name} has no _id")))?;
    let equal = Build::new().element(id.kind, b"$eq", id.value).finish();
    let literal = Build::new().doc("$literal", document).finish();
    let stage = Build::new().doc("$replaceWith", &literal).finish();
    let update = Build::new()
        .doc("q", &Build::new().doc("_id", &equal).finish())
        .docs("u", &[&stage])
        .finish();
    Build::new()
        .str("update", &name.coll)
        .docs("updates", &[&update])
        .bool("bypassDocumentValidation", true)
        .majority()
        .command()
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn judged(reply: Document, ordered: bool, repeated: bool) -> Result<Outcome> {
        outcome("insert", &reply, 3, &into(ordered, Refusals::Fail), repeated)
    }

    fn into(ordered: bool, refusals: Refusals) -> Into {
        let name = Namespace::new("a", "b");
        let head = Head::new(&name, ordered, true);
        let shown = name.clone();
        Into { name, shown, head, ordered, fix_zero_timestamps: false, refusals }
    }

    #[test]
    fn refused_documents_are_counted_where_they_may_be() {
        let counting = into(false, Refusals::Count);
        let found = outcome("insert", &duplicate("x"), 3, &counting, false).unwrap();
        assert!(
            matches!(found, Outcome::Refused { taken: 2, why } if why == [(1, "dup".to_owned())])
        );
    }

    fn duplicate(key: &str) -> Document {
        let failed = doc! {"index": 1, "code": 11000, "keyPattern": {key: 1}, "errmsg": "dup"};
        doc! {"n": 2, "writeErrors": [failed]}
    }

    #[test]
    fn all_must_be_taken() {
        assert!(matches!(judged(doc! {"n": 3}, false, false), Ok(Outcome::Done)));
        assert!(judged(doc! {"n": 2}, false, false).is_err());
        assert!(judged(doc! {}, false, false).is_err());
    }

    #[test]
    fn nothing_is_known_of_what_nobody_waits_for() {
        let mut careless = into(false, Refusals::Count);
        let concern = Build::new().element(raw::kind::INT32, b"w", &[0; 4]).finish();
        careless.head = Head::with(&careless.name, false, true, false, &concern);
        for reply in [doc! {"n": 0}, doc! {}] {
            assert!(matches!(outcome("insert", &reply, 3, &careless, false), Ok(Outcome::Done)));
        }
    }

    #[test]
    fn duplicates_are_fine_only_when_repeated_and_on_id() {
        assert!(judged(duplicate("_id"), false, false).is_err());
        assert!(judged(duplicate("other"), false, true).is_err());
        assert!(matches!(judged(duplicate("_id"), false, true), Ok(Outcome::Done)));
        let ordered = judged(duplicate("_id"), true, true);
        assert!(matches!(ordered, Ok(Outcome::Continue { skip: 2 })));
    }

    #[test]
    fn elections_are_waited_out_and_refusals_are_not() {
        let failed =
            |code: i32| doc! {"n": 0, "writeErrors": [{"index": 0, "code": code, "errmsg": "x"}]};
        assert!(matches!(judged(failed(11602), false, false), Ok(Outcome::Again)));
        assert!(matches!(judged(failed(408), false, false), Ok(Outcome::MixedSchema)));
        assert!(judged(failed(2), false, false).is_err());
    }
}
