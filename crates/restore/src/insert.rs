//! One batch into the target, exactly once whatever happens on the way.
//!
//! An attempt whose reply was lost may have inserted all, some or none. It is
//! repeated; documents that are there already then answer "duplicate key" on `_id`, and
//! only then is that not an error: the collection was made empty by this restore, or what it
//! holds is looked at.

use std::{collections::BTreeSet, time::Duration};

use bson::{Document, RawDocumentBuf};
use bygone_base::{Error, ErrorKind, Result};

use crate::{
    batch::{Batch, Head, has_zero_timestamp},
    create::Command,
    error,
    names::Namespace,
    raw::{self, Build},
    target::{self, Target, denied_hint},
};

/// Where batches of one collection go.
#[derive(Debug)]
pub(crate) struct Into {
    pub(crate) name: Namespace,
    /// The name for collMod: the time-series' name for buckets.
    pub(crate) shown: Namespace,
    pub(crate) head: Head,
    /// The same, but the server says what it did.
    pub(crate) waiting: Head,
    pub(crate) ordered: bool,
    /// Documents with a top-level Timestamp(0,0) must be put right after they were inserted.
    pub(crate) fix_zero_timestamps: bool,
    pub(crate) refusals: Refusals,
    /// The collection may hold documents from before this restore.
    pub(crate) existed: bool,
}

impl Into {
    /// How a batch is sent. A document is put right by its `_id`: where nobody says whether it went in, that could replace
    /// another one that was there before.
    fn head(&self, batch: &Batch) -> &Head {
        let blind = self.head.is_unacknowledged() && self.fix_zero_timestamps;
        let zero = |document: Result<&[u8]>| document.is_ok_and(has_zero_timestamp);
        if blind && batch.iter().any(zero) { &self.waiting } else { &self.head }
    }
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

/// What became of a batch, also where inserting it failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Documents that are in; 0 where nobody waits for inserts.
    pub documents: u64,
    /// Why others are not, one text each.
    pub refused: Vec<String>,
    /// Documents that are not in either, and ended it.
    pub fatal: u64,
}

/// What is known of a batch before it is sent once more.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    /// Documents that are in, from the first on.
    skip: usize,
    /// An attempt may have inserted something.
    repeated: bool,
    /// Measurements that differ in type are allowed.
    mixed: bool,
    /// Nobody waits for the insert.
    unknown: bool,
    attempts: u32,
}

/// Places in what was sent, and the server's words.
type Places = Vec<(usize, String)>;

/// What a reply says of the documents that were sent.
#[derive(Debug, Default)]
struct Taken {
    documents: u64,
    /// What has its `_id` was there already: an attempt before has inserted it, or it was there before this restore.
    there: Places,
    refused: Places,
    fatal: Vec<usize>,
    /// Why nothing more should be sent.
    failed: Option<Error>,
}

/// What a reply means.
#[derive(Debug)]
enum Outcome {
    /// Nothing is left to be sent: what is not in stays out.
    Taken(Taken),
    /// An ordered insert stopped at a document whose `_id` is there already.
    Stopped { at: usize, why: String },
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

/// Inserts a batch; what went in and what did not is told in `inserted`, also before a failure.
pub(crate) async fn insert(
    target: &Target,
    into: &Into,
    batch: &Batch,
    inserted: &mut Inserted,
) -> Result<()> {
    let mut out = Vec::new();
    let sent = send(target, into, batch, inserted, &mut out).await;
    let fixed = match into.fix_zero_timestamps {
        true => fix_zero_timestamps(target, into, batch, &out).await,
        false => Ok(()),
    };
    sent.and(fixed)
}

/// Sends it until nothing is left to be sent; `out` gets the places of documents that are not in.
async fn send(
    target: &Target,
    into: &Into,
    batch: &Batch,
    inserted: &mut Inserted,
    out: &mut Vec<usize>,
) -> Result<()> {
    let what = format!("insert into {}", into.name);
    let head = into.head(batch);
    let mut before = Before { unknown: head.is_unacknowledged(), ..Before::default() };
    while before.skip < batch.documents {
        let reply = target.insert(&what, &into.name.db, head, batch, before.skip).await;
        let reply = reply.map_err(|e| denied_hint(e, "restore"))?;
        before.repeated |= reply.repeated;
        match outcome(&what, &reply.document, batch.documents - before.skip, into, before) {
            Outcome::Taken(mut taken) => {
                let foreign = foreign(target, into, batch, before.skip, &taken.there).await?;
                taken.documents += (taken.there.len() - foreign.len()) as u64;
                taken.refused.extend(foreign);
                let places =
                    taken.refused.iter().map(|(place, _)| *place).chain(taken.fatal.clone());
                out.extend(places.map(|place| before.skip + place));
                inserted.documents += taken.documents;
                inserted.refused.extend(taken.refused.into_iter().map(|(_, why)| why));
                inserted.fatal += taken.fatal.len() as u64;
                return taken.failed.map_or(Ok(()), Err);
            }
            Outcome::Stopped { at, why } => {
                inserted.documents += at as u64;
                let foreign = foreign(target, into, batch, before.skip, &[(at, why)]).await?;
                if !foreign.is_empty() {
                    out.push(before.skip + at);
                    inserted.refused.extend(foreign.into_iter().map(|(_, why)| why));
                    return Ok(());
                }
                inserted.documents += 1;
                before.skip += at + 1;
            }
            Outcome::Again if before.attempts < ATTEMPTS => {
                before.repeated = true;
                before.attempts += 1;
                target.clock().sleep(PAUSE).await;
            }
            Outcome::Again => {
                return Err(Error::new(ErrorKind::Unavailable, format!("{what}: no primary")));
            }
            Outcome::MixedSchema => {
                allow_mixed_schema(target, &into.shown).await?;
                (before.repeated, before.mixed) = (true, true);
            }
        }
    }
    Ok(())
}

fn outcome(what: &str, reply: &Document, sent: usize, into: &Into, before: Before) -> Outcome {
    let n = reply.get_i32("n").ok().and_then(|n| u64::try_from(n).ok());
    let mut taken = Taken { documents: n.unwrap_or_default(), ..Taken::default() };
    let errors = reply.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
    for failed in errors.iter().filter_map(|e| e.as_document()) {
        let code = failed.get_i32("code").unwrap_or_default();
        let on_id = failed.get_document("keyPattern").is_ok_and(|k| k.keys().eq(["_id"]));
        let place = failed.get_i32("index").ok().and_then(|i| usize::try_from(i).ok());
        let place = place.unwrap_or_default();
        let why = failed.get_str("errmsg").unwrap_or_default();
        match code {
            DUPLICATE_KEY if before.repeated && on_id && into.ordered => {
                return Outcome::Stopped { at: place, why: why.to_owned() };
            }
            DUPLICATE_KEY if before.repeated && on_id => taken.there.push((place, why.to_owned())),
            MIXED_SCHEMA if !before.mixed => return Outcome::MixedSchema,
            code if error::is_transient(code) => return Outcome::Again,
            DUPLICATE_KEY | VALIDATION if into.refusals != Refusals::Fail => {
                taken.refused.push((place, why.to_owned()));
            }
            code => {
                taken.fatal.push(place);
                taken.failed.get_or_insert_with(|| refused(what, code, why));
            }
        }
    }
    if taken.failed.is_none() {
        taken.failed = target::unacknowledged(what, reply);
    }
    // Nobody is told what became of an insert that nobody waits for: `n` is 0 or missing.
    if before.unknown {
        taken.documents = 0;
    } else if errors.is_empty() && taken.documents != sent as u64 {
        let text = format!("{what}: not all of {sent} documents were taken");
        taken.failed.get_or_insert_with(|| Error::internal(text));
    }
    Outcome::Taken(taken)
}

/// A document that the server cannot take, or should not have had to refuse.
fn refused(what: &str, code: i32, why: &str) -> Error {
    if code != DUPLICATE_KEY {
        return error::server(what, code, why);
    }
    Error::new(ErrorKind::Conflict, format!("{what}: {why}"))
        .hint("somebody else writes to the target; keep it to the restore and repeat with --drop")
}

/// Which of the documents with a taken `_id` an earlier attempt has not inserted: the collection held others of theirs
/// before this restore.
async fn foreign(
    target: &Target,
    into: &Into,
    batch: &Batch,
    skip: usize,
    there: &[(usize, String)],
) -> Result<Places> {
    if there.is_empty() || !into.existed {
        return Ok(Vec::new());
    }
    let documents = batch.iter().skip(skip).collect::<Result<Vec<_>>>()?;
    let mut ids = Build::new();
    let mut sent = Vec::new();
    for (number, (place, why)) in there.iter().enumerate() {
        let Some(document) = documents.get(*place) else { continue };
        if let Some(id) = raw::get(document, "_id") {
            ids = ids.element(id.kind, number.to_string().as_bytes(), id.value);
        }
        sent.push((*place, why, as_stored(document)?));
    }
    let any = Build::new().element(raw::kind::ARRAY, b"$in", &ids.finish()).finish();
    let filter = Build::new().doc("_id", &any).finish();
    let find = Build::new().str("find", &into.name.coll).doc("filter", &filter).command()?;
    let what = format!("look which documents of {} are in", into.name);
    let found = target.cursor(&what, &into.name.db, find).await?;
    let found: BTreeSet<&[u8]> = found.iter().map(|d| d.as_bytes()).collect();
    let foreign = sent.into_iter().filter(|(_, _, document)| {
        // What gets its zero back only later is not yet as it was sent.
        let changed = into.fix_zero_timestamps && has_zero_timestamp(document);
        !changed && !found.contains(document.as_slice())
    });
    Ok(foreign.map(|(place, why, _)| (place, why.clone())).collect())
}

/// A document as servers keep it: with its `_id` first.
fn as_stored(document: &[u8]) -> Result<Vec<u8>> {
    let Some(id) = raw::get(document, "_id") else { return Ok(document.to_vec()) };
    let mut out = Build::new().field(&id);
    for field in raw::fields(&raw::without(document, &["_id"])?) {
        out = out.field(&field?);
    }
    Ok(out.finish())
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
    use crate::batch::Cutter;

    fn judged(reply: Document, ordered: bool, repeated: bool) -> Outcome {
        let before = Before { repeated, ..Before::default() };
        outcome("insert", &reply, 3, &into(ordered, Refusals::Fail), before)
    }

    fn into(ordered: bool, refusals: Refusals) -> Into {
        let name = Namespace::new("a", "b");
        let head = Head::new(&name, ordered, true);
        let (shown, waiting) = (name.clone(), head.clone());
        let (fix_zero_timestamps, existed) = (false, false);
        Into { name, shown, head, waiting, ordered, fix_zero_timestamps, refusals, existed }
    }

    /// What was taken, how many were refused, how many ended it, whether it failed.
    fn taken(outcome: Outcome) -> (u64, usize, usize, bool) {
        match outcome {
            Outcome::Taken(t) => (t.documents, t.refused.len(), t.fatal.len(), t.failed.is_some()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn refused_documents_are_counted_where_they_may_be() {
        let counting = into(false, Refusals::Count);
        let found = outcome("insert", &duplicate("x"), 3, &counting, Before::default());
        assert!(
            matches!(found, Outcome::Taken(t) if t.documents == 2 && t.refused == [(1, "dup".to_owned())])
        );
    }

    #[test]
    fn what_is_in_beside_a_fatal_document_is_counted() {
        let counting = into(false, Refusals::Count);
        let failed = doc! {"index": 1, "code": 53, "errmsg": "an array"};
        let reply = doc! {"n": 2, "writeErrors": [failed]};
        let found = outcome("insert", &reply, 3, &counting, Before::default());
        assert_eq!(taken(found), (2, 0, 1, true));
    }

    fn duplicate(key: &str) -> Document {
        let failed = doc! {"index": 1, "code": 11000, "keyPattern": {key: 1}, "errmsg": "dup"};
        doc! {"n": 2, "writeErrors": [failed]}
    }

    #[test]
    fn all_must_be_taken() {
        assert_eq!(taken(judged(doc! {"n": 3}, false, false)), (3, 0, 0, false));
        assert_eq!(taken(judged(doc! {"n": 2}, false, false)), (2, 0, 0, true));
        assert_eq!(taken(judged(doc! {}, false, false)), (0, 0, 0, true));
    }

    #[test]
    fn documents_that_the_majority_lacks_are_counted() {
        let late = doc! {"n": 3, "writeConcernError": {"code": 64, "errmsg": "waiting"}};
        assert_eq!(taken(judged(late, false, false)), (3, 0, 0, true));
    }

    #[test]
    fn nothing_is_known_of_what_nobody_waits_for() {
        let unknown = Before { unknown: true, ..Before::default() };
        for reply in [doc! {"n": 0}, doc! {}] {
            let found = outcome("insert", &reply, 3, &into(false, Refusals::Count), unknown);
            assert_eq!(taken(found), (0, 0, 0, false));
        }
    }

    #[test]
    fn what_is_put_right_is_waited_for() {
        let mut careless = into(false, Refusals::Count);
        let concern = Build::new().element(raw::kind::INT32, b"w", &[0; 4]).finish();
        careless.head = Head::with(&careless.name, false, false, false, &concern);
        let batch = |document: RawDocumentBuf| {
            let mut cutter = Cutter::default();
            let full = cutter.push(&document.into_bytes().into()).unwrap();
            assert!(full.is_empty());
            cutter.flush().unwrap()
        };
        let zero = bson::Timestamp { time: 0, increment: 0 };
        let (plain, zero) = (batch(bson::rawdoc! {"_id": 1}), batch(bson::rawdoc! {"t": zero}));
        assert!(careless.head(&zero).is_unacknowledged());
        careless.fix_zero_timestamps = true;
        assert!(!careless.head(&zero).is_unacknowledged());
        assert!(careless.head(&plain).is_unacknowledged());
    }

    #[test]
    fn duplicates_are_fine_only_when_repeated_and_on_id() {
        assert!(taken(judged(duplicate("_id"), false, false)).3);
        assert!(taken(judged(duplicate("other"), false, true)).3);
        let again = judged(duplicate("_id"), false, true);
        assert!(matches!(again, Outcome::Taken(t) if t.there.len() == 1 && t.failed.is_none()));
        let ordered = judged(duplicate("_id"), true, true);
        assert!(matches!(ordered, Outcome::Stopped { at: 1, .. }));
    }

    #[test]
    fn elections_are_waited_out_and_refusals_are_not() {
        let failed =
            |code: i32| doc! {"n": 0, "writeErrors": [{"index": 0, "code": code, "errmsg": "x"}]};
        assert!(matches!(judged(failed(11602), false, false), Outcome::Again));
        assert!(matches!(judged(failed(408), false, false), Outcome::MixedSchema));
        // An attempt before says nothing of the measurements.
        assert!(matches!(judged(failed(408), false, true), Outcome::MixedSchema));
        let mixed = Before { mixed: true, repeated: true, ..Before::default() };
        let into = into(false, Refusals::Fail);
        assert!(taken(outcome("insert", &failed(408), 1, &into, mixed)).3);
        assert!(taken(judged(failed(2), false, false)).3);
    }

    #[test]
    fn servers_keep_the_id_first() {
        let sent = bson::rawdoc! {"a": 1, "_id": 2, "b": 3};
        let kept = bson::rawdoc! {"_id": 2, "a": 1, "b": 3};
        assert_eq!(as_stored(sent.as_bytes()).unwrap(), kept.as_bytes());
    }
}
