//! What an entry of the oplog asks a replay to do. Pure.

use std::collections::BTreeMap;

use bygone_base::{Error, Result};
use bygone_restore::{
    Namespace,
    raw::{self, Build, Field, kind},
};

use super::catalogue::{Catalogue, EXPIRY};

/// Transactions that are not decided may hold so much.
const MAX_OPEN: usize = 1 << 30;
/// What of `config` is replayed: the rest is a server's bookkeeping.
const CONFIG: [&str; 7] =
    ["chunks", "collections", "databases", "settings", "shards", "tags", "version"];

/// Commands that only an index build's end matters of, or that a server does for itself.
const PASSED_OVER: [&[u8]; 4] =
    [b"startIndexBuild", b"abortIndexBuild", b"setMultikeyMetadata", b"dropIdent"];
/// What a collMod of today's servers does not take and older ones logged.
const GONE: [&str; 2] = ["noPadding", "usePowerOf2Sizes"];

/// One operation for applyOps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) bytes: Vec<u8>,
    /// A command, which is applied alone.
    pub(super) command: bool,
    /// What a rename drops.
    pub(super) replaces: Option<Namespace>,
}

impl Operation {
    /// `i`, `u`, `d` or `c`.
    pub(super) fn op(&self) -> &str {
        raw::text(&self.bytes, "op").unwrap_or_default()
    }

    /// The namespace.
    pub(super) fn ns(&self) -> &str {
        raw::text(&self.bytes, "ns").unwrap_or_default()
    }

    /// The `_id` that it is about: type and bytes.
    pub(super) fn id(&self) -> Option<Vec<u8>> {
        let holder = if self.op() == "u" { "o2" } else { "o" };
        let id = raw::get(raw::get(&self.bytes, holder)?.doc()?, "_id")?;
        Some([&[id.kind], id.value].concat())
    }

    /// Whether it drops a collection.
    pub(super) fn is_drop(&self) -> bool {
        let o = raw::get(&self.bytes, "o").and_then(|o| o.doc());
        self.command && o.and_then(first).is_some_and(|f| f.name == b"drop")
    }

    /// What is gone behind it: a collection by its name, or all of a database by its name and a dot.
    pub(super) fn removes(&self) -> Option<String> {
        let o = raw::get(&self.bytes, "o")?.doc()?;
        let db = self.ns().split_once('.')?.0;
        let first = first(o).filter(|_| self.command)?;
        match first.name {
            b"drop" => Some(format!("{db}.{}", first.text()?)),
            b"dropDatabase" => Some(format!("{db}.")),
            _ => None,
        }
    }

    /// The old name and the new one, where it gives a collection another.
    pub(super) fn renames(&self) -> Option<(&str, &str)> {
        let o = raw::get(&self.bytes, "o")?.doc()?;
        let first = first(o).filter(|f| self.command && f.name == b"renameCollection")?;
        Some((first.text()?, raw::text(o, "to")?))
    }
}

/// Follows an oplog from its first entry.
#[derive(Debug)]
pub(super) struct Follower {
    preserve_uuid: bool,
    /// Operations of transactions that are not decided, by session and number.
    open: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    open_bytes: usize,
}

/// Timestamp of an entry: seconds and number. One without comes before every limit.
pub(super) fn timestamp(entry: &[u8]) -> Result<(u32, u32)> {
    let Some(ts) = raw::get(entry, "ts") else { return Ok((0, 0)) };
    let bytes: Option<[u8; 8]> = ts.value.try_into().ok().filter(|_| ts.kind == kind::TIMESTAMP);
    let bits = u64::from_le_bytes(bytes.ok_or_else(|| bad("a ts that is no timestamp"))?);
    Ok(((bits >> 32) as u32, bits as u32))
}

fn bad(what: &str) -> Error {
    Error::damaged(format!("an oplog entry has {what}"))
}

/// The documents of an array.
fn documents<'a>(doc: &'a [u8], name: &str) -> Result<Vec<&'a [u8]>> {
    let array = raw::get(doc, name).filter(|f| f.kind == kind::ARRAY);
    let array = array.ok_or_else(|| bad(&format!("no array {name}")))?;
    raw::fields(array.value)
        .map(|f| f?.doc().ok_or_else(|| bad(&format!("something in {name} that is no document"))))
        .collect()
}

fn first(doc: &[u8]) -> Option<Field<'_>> {
    raw::fields(doc).next()?.ok()
}

impl Follower {
    pub(super) fn new(preserve_uuid: bool) -> Follower {
        Follower { preserve_uuid, open: BTreeMap::new(), open_bytes: 0 }
    }

    /// What to apply for the next entry, if it is one that changes anything. Indexes and expiry are not applied: they go
    /// into `catalogue`.
    pub(super) fn next(
        &mut self,
        entry: &[u8],
        catalogue: &mut Catalogue,
    ) -> Result<Option<Vec<Operation>>> {
        if is_bookkeeping(entry)? {
            return Ok(None);
        }
        let mut out = Vec::new();
        self.entry(entry, catalogue, &mut out, 0)?;
        Ok(Some(out))
    }

    fn entry(
        &mut self,
        entry: &[u8],
        catalogue: &mut Catalogue,
        out: &mut Vec<Operation>,
        depth: usize,
    ) -> Result<()> {
        if is_bookkeeping(entry)? {
            return Ok(());
        }
        let op = raw::text(entry, "op").unwrap_or_default();
        let ns = raw::text(entry, "ns").unwrap_or_default();
        let (db, coll) = ns.split_once('.').unwrap_or((ns, ""));
        let o = raw::get(entry, "o").and_then(|o| o.doc()).ok_or_else(|| bad("no o"))?;
        match op {
            "i" if coll == "system.indexes" => legacy_index(db, o, catalogue),
            "i" | "u" | "d" => {
                out.push(self.operation(entry, o, false)?);
                Ok(())
            }
            "c" => self.command(entry, o, db, catalogue, out, depth),
            other => Err(Error::unsupported(format!("an oplog entry of unknown kind {other:?}"))),
        }
    }

    /// Only what applyOps needs, with this `o`.
    fn operation(&self, entry: &[u8], o: &[u8], command: bool) -> Result<Operation> {
        let mut bytes = Build::new();
        for field in raw::fields(entry) {
            let field = field?;
            let keep = match field.name {
                b"o" => {
                    bytes = bytes.doc("o", o);
                    false
                }
                b"op" | b"ns" => true,
                b"o2" | b"b" => !command,
                b"ui" => self.preserve_uuid,
                _ => false,
            };
            if keep {
                bytes = bytes.field(&field);
            }
        }
        Ok(Operation { bytes: bytes.finish(), command, replaces: None })
    }

    fn command(
        &mut self,
        entry: &[u8],
        o: &[u8],
        db: &str,
        catalogue: &mut Catalogue,
        out: &mut Vec<Operation>,
        depth: usize,
    ) -> Result<()> {
        let name = first(o).ok_or_else(|| bad("an empty command"))?;
        let coll = name.text().map(|coll| Namespace::new(db, coll));
        match (name.name, coll) {
            (b"applyOps", _) => return self.apply_ops(entry, o, catalogue, out, depth),
            (b"commitTransaction", _) => {
                let operations = self.close(entry);
                return self.all(operations, catalogue, out, depth);
            }
            (b"abortTransaction", _) => {
                self.close(entry);
            }
            (what, _) if PASSED_OVER.contains(&what) => {}
            (b"upgradeDowngradeViewlessTimeseries", _) => {
                return Err(Error::unsupported(
                    "the oplog has a time-series that changed its form with the feature compatibility version",
                )
                .hint("no server can replay that; end before it with --oplogLimit"));
            }
            (b"commitIndexBuild", Some(coll)) => {
                for index in documents(o, "indexes")? {
                    catalogue.add(&coll, index.to_vec());
                }
            }
            (b"createIndexes", Some(coll)) => {
                let spec = match raw::get(o, "spec").and_then(|s| s.doc()) {
                    Some(spec) => spec.to_vec(),
                    None => raw::without(o, &["createIndexes"])?,
                };
                catalogue.add(&coll, spec);
            }
            (b"dropIndexes" | b"dropIndex" | b"deleteIndexes" | b"deleteIndex", Some(coll)) => {
                catalogue.drop_indexes(&coll, o)?;
            }
            (b"collMod", Some(coll)) => out.extend(self.modify(entry, o, &coll, catalogue)?),
            (b"create", Some(coll)) => {
                catalogue.created(&coll, o);
                let o = raw::without(o, &[EXPIRY, "recordIdsReplicated"])?;
                out.push(self.operation(entry, &o, true)?);
            }
            (b"renameCollection", _) => out.push(self.rename(entry, o, catalogue)?),
            (what, coll) => {
                match (what, coll) {
                    (b"drop", Some(coll)) => catalogue.dropped(&coll),
                    (b"dropDatabase", _) => catalogue.dropped_database(db),
                    _ => {}
                }
                out.push(self.operation(entry, o, true)?);
            }
        }
        Ok(())
    }

    /// What is left of a collMod without what goes into the catalogue.
    fn modify(
        &self,
        entry: &[u8],
        o: &[u8],
        coll: &Namespace,
        catalogue: &mut Catalogue,
    ) -> Result<Option<Operation>> {
        if let Some(index) = raw::get(o, "index") {
            let index = index.doc().ok_or_else(|| bad("a wrong index"))?;
            catalogue.modify_index(coll, index)?;
        }
        if let Some(expiry) = raw::get(o, EXPIRY) {
            catalogue.expire(coll, &expiry);
        }
        let rest = raw::without(&raw::without(o, &["index", EXPIRY])?, &GONE)?;
        match raw::fields(&rest).count() {
            0 | 1 => Ok(None),
            _ => self.operation(entry, &rest, true).map(Some),
        }
    }

    /// An entry says what a rename drops by its UUID, and where another one is found, which it is without
    /// --preserveUUID, servers keep that under a temporary name: so it is dropped before.
    fn rename(&self, entry: &[u8], o: &[u8], catalogue: &mut Catalogue) -> Result<Operation> {
        let name = |field| raw::text(o, field).and_then(|n| n.parse::<Namespace>().ok());
        let (Some(from), Some(to)) = (name("renameCollection"), name("to")) else {
            return Err(bad("a rename without names"));
        };
        catalogue.renamed(&from, &to);
        let drops = raw::get(o, "dropTarget").filter(|f| f.kind != kind::BOOL || f.is_true());
        let operation = self.operation(entry, &raw::without(o, &["dropTarget"])?, true)?;
        Ok(Operation { replaces: drops.map(|_| to), ..operation })
    }

    fn all(
        &mut self,
        operations: Vec<Vec<u8>>,
        catalogue: &mut Catalogue,
        out: &mut Vec<Operation>,
        depth: usize,
    ) -> Result<()> {
        if depth > 10 {
            return Err(bad("applyOps nested too deep"));
        }
        for operation in operations {
            self.entry(&operation, catalogue, out, depth + 1)?;
        }
        Ok(())
    }

    /// A transaction's entry waits for its decision; others are applied at once.
    fn apply_ops(
        &mut self,
        entry: &[u8],
        o: &[u8],
        catalogue: &mut Catalogue,
        out: &mut Vec<Operation>,
        depth: usize,
    ) -> Result<()> {
        let operations: Vec<Vec<u8>> =
            documents(o, "applyOps")?.into_iter().map(<[u8]>::to_vec).collect();
        let several = raw::get(entry, "multiOpType").and_then(|m| m.number()) == Some(1.0);
        let Some(key) = session(entry).filter(|_| !several) else {
            return self.all(operations, catalogue, out, depth);
        };
        self.open_bytes += operations.iter().map(Vec::len).sum::<usize>();
        if self.open_bytes > MAX_OPEN {
            return Err(Error::unsupported(
                "transactions that are not decided hold more than 1 GiB",
            ));
        }
        self.open.entry(key).or_default().extend(operations);
        if raw::is_true(o, "partialTxn") || raw::is_true(o, "prepare") {
            return Ok(());
        }
        let operations = self.close(entry);
        self.all(operations, catalogue, out, depth)
    }

    /// The operations of a transaction that is decided now.
    fn close(&mut self, entry: &[u8]) -> Vec<Vec<u8>> {
        let operations = session(entry).and_then(|key| self.open.remove(&key)).unwrap_or_default();
        self.open_bytes -= operations.iter().map(Vec::len).sum::<usize>();
        operations
    }
}

/// What tells transactions apart.
fn session(entry: &[u8]) -> Option<Vec<u8>> {
    let (lsid, number) = (raw::get(entry, "lsid")?, raw::get(entry, "txnNumber")?);
    Some([lsid.value, number.value].concat())
}

/// What is no change of anybody's: no-ops, the books of replicated record ids, and a server's own collections. A
/// transaction's own entry stands in admin, and its sessions' bookkeeping in config.
fn is_bookkeeping(entry: &[u8]) -> Result<bool> {
    let op = raw::text(entry, "op").ok_or_else(|| bad("no op"))?;
    let ns = raw::text(entry, "ns").unwrap_or_default();
    let (db, coll) = ns.split_once('.').unwrap_or((ns, ""));
    let own = db == "local"
        || db.starts_with("__mdb_internal")
        || db == "config" && !CONFIG.contains(&coll);
    Ok(own || matches!(op, "n" | "km" | "ci" | "cu" | "cd"))
}

/// How servers before 4.2 could log an index: as a document of a collection that today's do not have.
fn legacy_index(db: &str, index: &[u8], catalogue: &mut Catalogue) -> Result<()> {
    let ns = raw::text(index, "ns").and_then(|ns| ns.split_once('.'));
    let (_, coll) = ns.ok_or_else(|| bad("an index without a collection"))?;
    catalogue.add(&Namespace::new(db, coll), index.to_vec());
    Ok(())
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn bytes(doc: Document) -> Vec<u8> {
        bson::serialize_to_vec(&doc).unwrap()
    }

    fn insert(id: i32) -> Document {
        doc! {"op": "i", "ns": "a.b", "o": {"_id": id}, "ui": 1, "ts": 2}
    }

    #[test]
    fn transactions_wait_for_their_decision() {
        let mut follower = Follower::new(false);
        let mut catalogue = Catalogue::default();
        let entry = |o: Document| {
            bytes(
                doc! {"op": "c", "ns": "admin.$cmd", "o": o, "lsid": {"id": 1}, "txnNumber": 7_i64},
            )
        };
        let part = entry(doc! {"applyOps": [insert(1)], "partialTxn": true});
        assert_eq!(follower.next(&part, &mut catalogue).unwrap(), Some(Vec::new()));
        let prepared = entry(doc! {"applyOps": [insert(2)], "prepare": true});
        assert_eq!(follower.next(&prepared, &mut catalogue).unwrap(), Some(Vec::new()));
        let commit = entry(doc! {"commitTransaction": 1});
        let done = follower.next(&commit, &mut catalogue).unwrap().unwrap();
        assert_eq!(done.len(), 2);
        assert_eq!(done[0].bytes, bytes(doc! {"op": "i", "ns": "a.b", "o": {"_id": 1}}));
        let again = entry(doc! {"applyOps": [insert(3)]});
        assert_eq!(follower.next(&again, &mut catalogue).unwrap().unwrap().len(), 1);
    }

    #[test]
    fn indexes_go_into_the_catalogue() {
        let mut follower = Follower::new(false);
        let mut catalogue = Catalogue::default();
        let name = Namespace::new("a", "b");
        let mut run = |o: Document| {
            let entry = bytes(doc! {"op": "c", "ns": "a.$cmd", "o": o});
            follower.next(&entry, &mut catalogue).unwrap().unwrap().len()
        };
        assert_eq!(run(doc! {"createIndexes": "b", "v": 2, "key": {"x": 1}, "name": "x_1"}), 0);
        assert_eq!(
            run(doc! {"collMod": "b", "index": {"name": "x_1", "expireAfterSeconds": 5}}),
            0
        );
        assert_eq!(
            run(doc! {"commitIndexBuild": "b", "indexes": [{"key": {"y": 1}, "name": "y_1"}]}),
            0
        );
        assert_eq!(run(doc! {"dropIndexes": "b", "index": "y_1"}), 0);
        assert_eq!(run(doc! {"create": "c"}), 1);
        let left = &catalogue.by_collection[&name];
        assert_eq!(left.len(), 1);
        assert_eq!(raw::get(&left[0], "expireAfterSeconds").unwrap().number(), Some(5.0));
    }

    #[test]
    fn what_is_unknown_stops() {
        let mut catalogue = Catalogue::default();
        let odd = bytes(doc! {"op": "zz", "ns": "a.b", "o": {}});
        assert!(Follower::new(false).next(&odd, &mut catalogue).is_err());
        let noop = bytes(doc! {"op": "n", "ns": "", "o": {}});
        assert_eq!(Follower::new(false).next(&noop, &mut catalogue).unwrap(), None);
        let no_index = bytes(doc! {"op": "i", "ns": "a.system.indexes", "o": {"name": "x"}});
        assert!(Follower::new(false).next(&no_index, &mut catalogue).is_err());
        let form = doc! {"upgradeDowngradeViewlessTimeseries": "b"};
        let form = bytes(doc! {"op": "c", "ns": "a.$cmd", "o": form});
        assert!(Follower::new(false).next(&form, &mut catalogue).is_err());
    }

    #[test]
    fn what_servers_keep_for_themselves_is_passed_over() {
        let mut catalogue = Catalogue::default();
        let mut next =
            |entry: Document| Follower::new(false).next(&bytes(entry), &mut catalogue).unwrap();
        for entry in [
            doc! {"op": "cu", "ns": "a.b", "o": {"_id": 1}},
            doc! {"op": "km", "ns": "a.b", "o": {}},
            doc! {"op": "i", "ns": "config.system.sessions", "o": {"_id": 1}},
            doc! {"op": "i", "ns": "__mdb_internal_x.b", "o": {"_id": 1}},
        ] {
            assert_eq!(next(entry.clone()), None, "{entry}");
        }
        for command in ["dropIdent", "startIndexBuild", "setMultikeyMetadata"] {
            let entry = doc! {"op": "c", "ns": "a.$cmd", "o": {command: "x"}};
            assert_eq!(next(entry), Some(Vec::new()), "{command}");
        }
    }

    /// The `o`s of what is applied for one command.
    fn applied(keep: bool, catalogue: &mut Catalogue, command: Document) -> Vec<Document> {
        let entry = bytes(doc! {"op": "c", "ns": "a.$cmd", "o": command, "ui": 1});
        let found = Follower::new(keep).next(&entry, catalogue).unwrap().unwrap();
        let o = |operation: &Operation| {
            let o = raw::get(&operation.bytes, "o").unwrap().doc().unwrap();
            Document::from_reader(o).unwrap()
        };
        found.iter().map(o).collect()
    }

    #[test]
    fn expiry_waits_for_the_end() {
        let mut catalogue = Catalogue::default();
        let mut run = |command| applied(false, &mut catalogue, command);
        let made = run(doc! {"create": "b", EXPIRY: 60_i64, "recordIdsReplicated": true});
        assert_eq!(made, [doc! {"create": "b"}]);
        assert!(run(doc! {"collMod": "b", EXPIRY: "off"}).is_empty());
        assert!(run(doc! {"collMod": "b", "usePowerOf2Sizes": true}).is_empty());
        let both = run(doc! {"collMod": "b", EXPIRY: 90_i64, "validationLevel": "off"});
        assert_eq!(both, [doc! {"collMod": "b", "validationLevel": "off"}]);
        let found: Vec<_> =
            catalogue.expiry().map(|(name, f)| (name.clone(), f.number())).collect();
        assert_eq!(found, [(Namespace::new("a", "b"), Some(90.0))]);
    }

    #[test]
    fn a_rename_drops_what_is_there_whatever_its_id_is() {
        let id = bson::Uuid::from_bytes([7; 16]);
        for keep in [false, true] {
            let replaces = |drop: bson::Bson| {
                let o = doc! {"renameCollection": "a.b", "to": "a.c", "dropTarget": drop};
                let entry = bytes(doc! {"op": "c", "ns": "a.$cmd", "o": o});
                let mut catalogue = Catalogue::default();
                let found = Follower::new(keep).next(&entry, &mut catalogue).unwrap().unwrap();
                assert_eq!(found.len(), 1);
                assert_eq!(found[0].renames(), Some(("a.b", "a.c")));
                found[0].replaces.clone()
            };
            assert_eq!(replaces(id.into()), Some(Namespace::new("a", "c")));
            assert_eq!(replaces(true.into()), Some(Namespace::new("a", "c")));
            assert_eq!(replaces(false.into()), None);
        }
    }

    #[test]
    fn an_index_of_old_servers_is_an_index() {
        let mut catalogue = Catalogue::default();
        let index = doc! {"v": 1, "key": {"x": 1}, "name": "x_1", "ns": "a.b"};
        let entry = bytes(doc! {"op": "i", "ns": "a.system.indexes", "o": index});
        let next = Follower::new(false).next(&entry, &mut catalogue).unwrap();
        assert_eq!(next, Some(Vec::new()));
        assert_eq!(catalogue.by_collection[&Namespace::new("a", "b")].len(), 1);
    }
}
