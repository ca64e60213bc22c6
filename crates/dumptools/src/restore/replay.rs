//! Operations to the server, many in one command where they are documents' changes: one round trip for each would take
//! hours.
//!
//! A dump shows its collections at different moments of its oplog, so an update may come to a document that a later
//! delete had removed before it was read, and any change to a collection that was dropped before it was listed. Such
//! an operation is passed over, and remembered until what removed its document comes: when that never comes, the dump
//! lacks something, and the replay fails. The stock tool fails at once.

use std::collections::BTreeSet;

use bygone_base::{Error, ErrorKind, Result};
use bygone_restore::{
    Namespace, Target,
    create::Command,
    raw::{Build, kind},
};

use super::{Run, entry::Operation};

const WHAT: &str = "restore error: error applying oplog: applyOps";
/// Operations of one command.
const MAX_OPERATIONS: usize = 1000;
/// Bytes of one command, unless one operation is larger.
const MAX_BYTES: usize = 4 << 20;
/// Some operations were refused, and the others were applied.
const SOME_REFUSED: i32 = 8;
/// There is no such collection; nothing behind that operation was applied.
const NO_COLLECTION: i32 = 26;

/// Namespace, and the `_id` of a document of it.
type Lost = (String, Option<Vec<u8>>);

/// Gathers operations and sends them in their order.
#[derive(Debug, Default)]
pub(super) struct Replay {
    waiting: Vec<Operation>,
    bytes: usize,
    /// What operations were passed over for.
    lost: BTreeSet<Lost>,
}

impl Replay {
    /// Applies an operation, now or with those behind it.
    pub(super) async fn push(&mut self, run: &Run<'_>, operation: Operation) -> Result<()> {
        let full =
            self.waiting.len() >= MAX_OPERATIONS || self.bytes + operation.bytes.len() > MAX_BYTES;
        if operation.command || full {
            self.flush(run).await?;
        }
        let command = operation.command;
        self.bytes += operation.bytes.len();
        self.waiting.push(operation);
        if command { self.flush(run).await } else { Ok(()) }
    }

    /// Applies what waits.
    async fn flush(&mut self, run: &Run<'_>) -> Result<()> {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = &waiting[..];
        while !rest.is_empty() {
            let done = self.send(run, rest).await?;
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends operations; gives how many of them are dealt with.
    async fn send(&mut self, run: &Run<'_>, operations: &[Operation]) -> Result<usize> {
        if let [rename] = operations {
            make_room(run, rename).await?;
        }
        let bodies: Vec<&[u8]> = operations.iter().map(|o| o.bytes.as_slice()).collect();
        let body = Build::new()
            .docs("applyOps", &bodies)
            // All of it has happened already, whatever a validator says of it.
            .bool("bypassDocumentValidation", true)
            .majority()
            .finish();
        let command = Command { db: "admin".to_owned(), body };
        let reply = run.target.answer(WHAT, &command).await?;
        let code = reply.get_i32("code").unwrap_or_default();
        let results = reply.get_array("results").map(Vec::as_slice).unwrap_or_default();
        if reply.get_f64("ok").is_ok_and(|ok| ok == 1.0)
            || reply.get_i32("ok").is_ok_and(|ok| ok == 1)
        {
            operations.iter().for_each(|operation| self.found(operation));
            return Ok(operations.len());
        }
        if !matches!(code, SOME_REFUSED | NO_COLLECTION) || results.is_empty() {
            return Err(Target::refusal(WHAT, &reply));
        }
        // In their order: what one lacks, one behind it may have removed.
        for (place, (operation, result)) in operations.iter().zip(results).enumerate() {
            // What is to be gone, is.
            let gone = code == NO_COLLECTION && operation.is_drop();
            if result.as_bool() == Some(true) || gone {
                self.found(operation);
                continue;
            }
            let collection_only = code == NO_COLLECTION;
            let later = operations.get(place + 1..results.len()).unwrap_or_default();
            let lost = self.is_lost(run, operation, later, collection_only).await?;
            let Some(lost) = lost else { return Err(Target::refusal(WHAT, &reply)) };
            run.log.info(format_args!(
                "passed over a change of {}: what it changes is not in the dump",
                lost.0
            ));
            self.lost.insert(lost);
        }
        Ok(results.len().min(operations.len()))
    }

    /// What a refused operation lacks on the server; `None` when something else is wrong.
    async fn is_lost(
        &self,
        run: &Run<'_>,
        operation: &Operation,
        later: &[Operation],
        collection_only: bool,
    ) -> Result<Option<Lost>> {
        let ns = operation.ns().to_owned();
        if collection_only {
            return Ok((!operation.command).then_some((ns, None)));
        }
        let (Some(id), "u") = (operation.id(), operation.op()) else { return Ok(None) };
        // What came later in the same command may have made it anew.
        let ends = |o: &Operation| {
            matches!(o.op(), "i" | "d") && o.ns() == ns && o.id().as_ref() == Some(&id)
        };
        if later.iter().any(ends) {
            return Ok(Some((ns.clone(), Some(id))));
        }
        let Some((db, coll)) = ns.split_once('.') else { return Ok(None) };
        let (kind, value) = id.split_first().unwrap_or((&0, &[]));
        let equal = Build::new().element(*kind, b"$eq", value).finish();
        let filter = Build::new().doc("_id", &equal).finish();
        let find = Build::new().str("find", coll).doc("filter", &filter).bool("singleBatch", true);
        let found = run.target.cursor("look for a document", db, find.command()?).await?;
        Ok(found.is_empty().then(|| (ns.clone(), Some(id))))
    }

    /// Forgets what an operation has made or removed; what has another name now is missed under that.
    fn found(&mut self, operation: &Operation) {
        if self.lost.is_empty() {
            return;
        }
        if let Some(gone) = operation.removes() {
            let database = gone.ends_with('.');
            self.lost.retain(|(ns, _)| if database { !ns.starts_with(&gone) } else { *ns != gone });
        } else if let Some((from, to)) = operation.renames() {
            let lost = std::mem::take(&mut self.lost).into_iter().filter(|(ns, _)| ns != to);
            let named = |(ns, id)| (if ns == from { to.to_owned() } else { ns }, id);
            self.lost = lost.map(named).collect();
        } else if let ("i" | "d", Some(id)) = (operation.op(), operation.id()) {
            self.lost.remove(&(operation.ns().to_owned(), Some(id)));
        }
    }

    /// Applies what waits; all that was passed over must have been removed.
    pub(super) async fn finish(&mut self, run: &Run<'_>) -> Result<()> {
        self.flush(run).await?;
        let Some((ns, _)) = self.lost.first() else { return Ok(()) };
        Err(Error::damaged(format!(
            "the oplog changes {} documents or collections that the dump does not have and that nothing removes, \
             one of them in {ns}",
            self.lost.len()
        ))
        .hint("the oplog does not belong to this dump, or entries before its first one are missing"))
    }
}

/// Drops what a rename replaces, as servers do only where they find the UUID that the entry names. A rename of what is
/// not there does nothing: then what has the new name is what it was to become.
async fn make_room(run: &Run<'_>, rename: &Operation) -> Result<()> {
    let (Some(old), Some((from, _))) = (&rename.replaces, rename.renames()) else { return Ok(()) };
    let from: Namespace = from.parse()?;
    let filter = Build::new().str("name", &from.coll).finish();
    let list = Build::new().element(kind::INT32, b"listCollections", &1_i32.to_le_bytes());
    let list = list.doc("filter", &filter).bool("nameOnly", true).command()?;
    if run.target.cursor("look for a collection", &from.db, list).await?.is_empty() {
        return Ok(());
    }
    let body = Build::new().str("drop", &old.coll).majority().finish();
    let command = Command { db: old.db.clone(), body };
    match run.target.run(&format!("error dropping {old}"), &command).await {
        Err(failed) if failed.kind() == ErrorKind::NotFound => Ok(()),
        dropped => dropped.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn operation(doc: Document, command: bool) -> Operation {
        Operation { bytes: bson::serialize_to_vec(&doc).unwrap(), command, replaces: None }
    }

    #[test]
    fn what_is_lost_stays_so_under_another_name() {
        let mut replay = Replay::default();
        let command = |o: Document| operation(doc! {"op": "c", "ns": "a.$cmd", "o": o}, true);
        let rename = command(doc! {"renameCollection": "a.b", "to": "a.c"});
        replay.lost.insert(("a.b".to_owned(), Some(vec![1])));
        replay.lost.insert(("a.c".to_owned(), None));
        replay.found(&rename);
        assert_eq!(replay.lost, BTreeSet::from([("a.c".to_owned(), Some(vec![1]))]));
        replay.found(&command(doc! {"drop": "b"}));
        assert_eq!(replay.lost.len(), 1);
        replay.found(&command(doc! {"drop": "c"}));
        assert!(replay.lost.is_empty());
        // An insert without an _id names no document that anything could bring back.
        replay.lost.insert(("a.b".to_owned(), None));
        replay.found(&operation(doc! {"op": "i", "ns": "a.b", "o": {"x": 1}}, false));
        assert_eq!(replay.lost.len(), 1);
    }

    #[test]
    fn what_is_lost_is_found_by_its_end() {
        let mut replay = Replay::default();
        let update = operation(doc! {"op": "u", "ns": "a.b", "o": {}, "o2": {"_id": 1}}, false);
        let delete = operation(doc! {"op": "d", "ns": "a.b", "o": {"_id": 1}}, false);
        let other = operation(doc! {"op": "d", "ns": "a.b", "o": {"_id": 2}}, false);
        let lost = || (update.ns().to_owned(), update.id());
        replay.lost.insert(lost());
        replay.found(&other);
        assert_eq!(replay.lost.len(), 1);
        replay.found(&delete);
        assert!(replay.lost.is_empty());
        for end in [doc! {"drop": "b"}, doc! {"dropDatabase": 1}] {
            replay.lost.insert(lost());
            replay.lost.insert(("a.b".to_owned(), None));
            let end = operation(doc! {"op": "c", "ns": "a.$cmd", "o": end}, true);
            replay.found(&end);
            assert!(replay.lost.is_empty());
        }
    }
}
