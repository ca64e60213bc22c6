//! What an entry of the oplog asks a replay to do. Pure.

use std::collections::BTreeMap;

use bygone_base::{Error, Result};
use bygone_restore::{
    Namespace,
    raw::{self, Build, Field, kind},
};

use super::indexes::Catalogue;

/// Transactions that are not decided may hold so much.
const MAX_OPEN: usize = 1 << 30;
/// What of `config` is replayed: the rest is a server's bookkeeping.
const CONFIG: [&str; 7] =
    ["chunks", "collections", "databases", "settings", "shards", "tags", "version"];

/// One operation for applyOps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) bytes: Vec<u8>,
    /// A command, which is applied alone.
    pub(super) command: bool,
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
        let first = first(o)?;
        match first.name {
            b"drop" => Some(format!("{db}.{}", first.text()?)),
            b"dropDatabase" => Some(format!("{db}.")),
            b"renameCollection" => first.text().map(str::to_owned),
            _ => None,
        }
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

/// Timestamp of an entry: seconds and number.
pub(super) fn timestamp(entry: &[u8]) -> Result<(u32, u32)> {
    let bytes = raw::get(entry, "ts").filter(|f| f.kind == kind::TIMESTAMP).map(|f| f.value);
    let bytes: Option<[u8; 8]> = bytes.and_then(|b| b.try_into().ok());
    let bits = u64::from_le_bytes(bytes.ok_or_else(|| bad("no ts"))?);
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

    /// What to apply for the next entry. Indexes are not applied: they go into `catalogue`.
    pub(super) fn next(
        &mut self,
        entry: &[u8],
        catalogue: &mut Catalogue,
    ) -> Result<Vec<Operation>> {
        let mut out = Vec::new();
        self.entry(entry, catalogue, &mut out, 0)?;
        Ok(out)
    }

    fn entry(
        &mut self,
        entry: &[u8],
        catalogue: &mut Catalogue,
        out: &mut Vec<Operation>,
        depth: usize,
    ) -> Result<()> {
        let op = raw::text(entry, "op").ok_or_else(|| bad("no op"))?;
        let ns = raw::text(entry, "ns").unwrap_or_default();
        let (db, coll) = ns.split_once('.').unwrap_or((ns, ""));
        if op == "n" || op == "km" || db == "local" || db == "config" && !CONFIG.contains(&coll) {
            // A transaction's own entry stands in admin, and its sessions' bookkeeping in config.
            return Ok(());
        }
        let o = raw::get(entry, "o").and_then(|o| o.doc()).ok_or_else(|| bad("no o"))?;
        match op {
            "i" | "u" | "d" => {
                out.push(self.operation(entry, false)?);
                Ok(())
            }
            "c" => self.command(entry, o, db, catalogue, out, depth),
            other => Err(Error::unsupported(format!("an oplog entry of unknown kind {other:?}"))),
        }
    }

    /// Only what applyOps needs.
    fn operation(&self, entry: &[u8], command: bool) -> Result<Operation> {
        let mut bytes = Build::new();
        for field in raw::fields(entry) {
            let field = field?;
            let keep = match field.name {
                b"op" | b"ns" | b"o" => true,
                b"o2" | b"b" => !command,
                b"ui" => self.preserve_uuid,
                _ => false,
            };
            if keep {
                bytes = bytes.field(&field);
            }
        }
        Ok(Operation { bytes: bytes.finish(), command })
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
            (b"startIndexBuild" | b"abortIndexBuild", _) => {}
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
            (b"dropIndexes" | b"deleteIndexes", Some(coll)) => drop_index(o, &coll, catalogue),
            (b"collMod", Some(coll)) if raw::get(o, "index").is_some() => {
                modify_index(o, &coll, catalogue)?;
                let rest = raw::without(o, &["index"])?;
                if raw::fields(&rest).count() > 1 {
                    let entry = Build::new().str("op", "c").str("ns", &format!("{db}.$cmd"));
                    let entry = entry.doc("o", &rest).finish();
                    out.push(self.operation(&entry, true)?);
                }
            }
            (b"renameCollection", coll) if !self.preserve_uuid && replaces(o).is_some() => {
                follow(b"renameCollection", coll, o, db, catalogue);
                let command = |db: &str, o: &[u8]| {
                    let ns = format!("{db}.$cmd");
                    Build::new().str("op", "c").str("ns", &ns).doc("o", o).finish()
                };
                if let Some(to) = replaces(o) {
                    let drop = Build::new().str("drop", &to.coll).finish();
                    out.push(self.operation(&command(&to.db, &drop), true)?);
                }
                let rename = command(db, &raw::without(o, &["dropTarget"])?);
                out.push(self.operation(&rename, true)?);
            }
            (what, coll) => {
                follow(what, coll, o, db, catalogue);
                out.push(self.operation(entry, true)?);
            }
        }
        Ok(())
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

fn drop_index(o: &[u8], coll: &Namespace, catalogue: &mut Catalogue) {
    let Some(index) = raw::get(o, "index") else { return };
    if let Some(name) = index.text() {
        return catalogue.remove(coll, name);
    }
    let by_key = catalogue.by_collection.get(coll).and_then(|indexes| {
        indexes.iter().find(|i| raw::get(i, "key").map(|k| k.value) == index.doc())
    });
    let name = by_key.and_then(|i| raw::text(i, "name")).map(str::to_owned);
    if let Some(name) = name {
        catalogue.remove(coll, &name);
    }
}

/// Takes over what a collMod changes of an index.
fn modify_index(o: &[u8], coll: &Namespace, catalogue: &mut Catalogue) -> Result<()> {
    let change = raw::get(o, "index").and_then(|i| i.doc()).ok_or_else(|| bad("a wrong index"))?;
    let name = raw::text(change, "name");
    let key = raw::get(change, "keyPattern").map(|k| k.value);
    let indexes = catalogue.by_collection.entry(coll.clone()).or_default();
    let found = indexes.iter_mut().find(|index| match name {
        Some(_) => raw::text(index, "name") == name,
        None => key.is_some() && raw::get(index, "key").map(|k| k.value) == key,
    });
    let Some(index) = found else { return Ok(()) };
    let changed: Vec<Field<'_>> = raw::fields(change)
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|f| !matches!(f.name, b"name" | b"keyPattern"))
        .collect();
    let names: Vec<&str> =
        changed.iter().filter_map(|f| std::str::from_utf8(f.name).ok()).collect();
    let kept = raw::without(index, &names)?;
    let mut out = Build::new();
    for field in raw::fields(&kept) {
        out = out.field(&field?);
    }
    for field in &changed {
        let undone =
            matches!(field.name, b"unique" | b"prepareUnique" | b"hidden") && !field.is_true();
        out = if undone { out } else { out.field(field) };
    }
    *index = out.finish();
    Ok(())
}

/// What a rename drops. Its entry says that by the dropped collection's UUID, and where another one is found, which it is
/// without --preserveUUID, servers keep that under a temporary name: so it is dropped first.
fn replaces(o: &[u8]) -> Option<Namespace> {
    let drops = raw::get(o, "dropTarget")?;
    let drops = drops.kind != kind::BOOL || drops.is_true();
    raw::text(o, "to").filter(|_| drops)?.parse().ok()
}

/// Keeps the catalogue of indexes with its collections.
fn follow(what: &[u8], coll: Option<Namespace>, o: &[u8], db: &str, catalogue: &mut Catalogue) {
    match (what, coll) {
        (b"create", Some(coll)) => {
            let collation = raw::get(o, "collation").and_then(|c| c.doc());
            let simple = collation.is_none_or(|c| raw::text(c, "locale") == Some("simple"));
            catalogue.collated.insert(coll.clone(), !simple);
            catalogue.by_collection.entry(coll).or_default();
        }
        (b"drop", Some(coll)) => {
            catalogue.by_collection.remove(&coll);
            catalogue.collated.remove(&coll);
        }
        (b"dropDatabase", _) => {
            catalogue.by_collection.retain(|name, _| name.db != db);
            catalogue.collated.retain(|name, _| name.db != db);
        }
        (b"renameCollection", _) => {
            let name = |field| raw::text(o, field).and_then(|n| n.parse::<Namespace>().ok());
            let (Some(from), Some(to)) = (name("renameCollection"), name("to")) else { return };
            // What had the new name is gone, with its indexes.
            let indexes = catalogue.by_collection.remove(&from).unwrap_or_default();
            catalogue.by_collection.insert(to.clone(), indexes);
            if let Some(collated) = catalogue.collated.remove(&from) {
                catalogue.collated.insert(to, collated);
            }
        }
        _ => {}
    }
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
        assert!(follower.next(&part, &mut catalogue).unwrap().is_empty());
        let prepared = entry(doc! {"applyOps": [insert(2)], "prepare": true});
        assert!(follower.next(&prepared, &mut catalogue).unwrap().is_empty());
        let commit = entry(doc! {"commitTransaction": 1});
        let done = follower.next(&commit, &mut catalogue).unwrap();
        assert_eq!(done.len(), 2);
        assert_eq!(done[0].bytes, bytes(doc! {"op": "i", "ns": "a.b", "o": {"_id": 1}}));
        let again = entry(doc! {"applyOps": [insert(3)]});
        assert_eq!(follower.next(&again, &mut catalogue).unwrap().len(), 1);
    }

    #[test]
    fn indexes_go_into_the_catalogue() {
        let mut follower = Follower::new(false);
        let mut catalogue = Catalogue::default();
        let name = Namespace::new("a", "b");
        let mut run = |o: Document| {
            let entry = bytes(doc! {"op": "c", "ns": "a.$cmd", "o": o});
            follower.next(&entry, &mut catalogue).unwrap().len()
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
        assert!(Follower::new(false).next(&noop, &mut catalogue).unwrap().is_empty());
    }

    #[test]
    fn a_rename_drops_what_is_there_whatever_its_id_is() {
        let id = bson::Uuid::from_bytes([7; 16]);
        let rename = |drop: bson::Bson| {
            let rename = doc! {"renameCollection": "a.b", "to": "a.c", "dropTarget": drop};
            bytes(doc! {"op": "c", "ns": "a.$cmd", "o": rename})
        };
        let applied = |keep: bool, entry: &[u8]| {
            let mut catalogue = Catalogue::default();
            let found = Follower::new(keep).next(entry, &mut catalogue).unwrap();
            let o = |operation: &Operation| {
                let o = raw::get(&operation.bytes, "o").and_then(|o| o.doc()).unwrap().to_vec();
                let names =
                    raw::fields(&o).map(|f| String::from_utf8_lossy(f.unwrap().name).into());
                names.collect::<Vec<String>>()
            };
            found.iter().map(o).collect::<Vec<_>>()
        };
        let first = applied(false, &rename(id.into()));
        assert_eq!(first, [vec!["drop"], vec!["renameCollection", "to"]]);
        assert_eq!(applied(true, &rename(id.into())).len(), 1);
        assert_eq!(applied(false, &rename(false.into())).len(), 1);
    }
}
