//! What of an oplog belongs to a dump of some collections only. Pure.
//!
//! Writes and commands on other namespaces are left out, also inside of transactions; what cannot be cut so is refused.

use std::{borrow::Cow, collections::BTreeSet};

use bygone_base::{Error, Result};
use bygone_restore::{
    names::BUCKETS,
    raw::{self, Build, kind},
};

use super::{
    Found,
    list::Selection,
    oplog::{VERSION, VERSION_CHANGE, refused},
};
use crate::metadata::Kind;

/// Entries within entries.
const DEPTH: u32 = 10;

/// Which collections a dump holds.
#[derive(Debug)]
pub(super) struct Part<'a> {
    selection: &'a Selection,
    /// Databases of which a view or a time-series was dumped.
    views: BTreeSet<&'a str>,
}

fn bad(what: &str) -> Error {
    Error::damaged(format!("an oplog entry has {what}"))
}

impl<'a> Part<'a> {
    pub(super) fn new(selection: &'a Selection, found: &'a [Found]) -> Part<'a> {
        let views = found.iter().filter(|one| one.kind != Kind::Collection);
        Part { selection, views: views.map(|one| one.db.as_str()).collect() }
    }

    /// The entry, or what of it belongs to the dump.
    pub(super) fn of<'e>(&self, entry: &'e [u8]) -> Result<Option<Cow<'e, [u8]>>> {
        self.entry(entry, 0)
    }

    fn holds(&self, db: &str, coll: &str) -> bool {
        self.selection.holds(db, coll.strip_prefix(BUCKETS).unwrap_or(coll))
    }

    fn holds_ns(&self, ns: &str) -> bool {
        ns.split_once('.').is_some_and(|(db, coll)| self.holds(db, coll))
    }

    fn entry<'e>(&self, entry: &'e [u8], depth: u32) -> Result<Option<Cow<'e, [u8]>>> {
        let op = raw::text(entry, "op").ok_or_else(|| bad("no op"))?;
        let ns = raw::text(entry, "ns").unwrap_or_default();
        let (db, coll) = ns.split_once('.').unwrap_or((ns, ""));
        let whole = |kept: bool| Ok(kept.then_some(Cow::Borrowed(entry)));
        match op {
            "n" | "km" | "ci" | "cu" | "cd" => Ok(None),
            "i" | "u" | "d" if coll == "system.views" => whole(self.view(entry, op, db)?),
            "i" | "u" | "d" if ns == VERSION && self.holds(db, coll) => {
                Err(refused(VERSION_CHANGE))
            }
            "i" | "u" | "d" => whole(self.holds(db, coll)),
            "c" => self.command(entry, db, depth),
            other => Err(refused(&format!("an entry of kind {other:?}"))),
        }
    }

    /// A change of a view, or of what a time-series is called by.
    fn view(&self, entry: &[u8], op: &str, db: &str) -> Result<bool> {
        if self.selection.whole(db) {
            return Ok(true);
        }
        let holder = raw::get(entry, if op == "u" { "o2" } else { "o" }).and_then(|o| o.doc());
        let name = holder.and_then(|o| raw::text(o, "_id")).ok_or_else(|| bad("no view"))?;
        if self.holds_ns(name) {
            Err(refused("a view or time-series that was made or changed"))
        } else {
            Ok(false)
        }
    }

    fn command<'e>(&self, entry: &'e [u8], db: &str, depth: u32) -> Result<Option<Cow<'e, [u8]>>> {
        let o = raw::get(entry, "o").and_then(|o| o.doc()).ok_or_else(|| bad("no o"))?;
        let first = raw::fields(o).next().ok_or_else(|| bad("an empty command"))??;
        let name = String::from_utf8_lossy(first.name).into_owned();
        let target = first.text().unwrap_or_default();
        let kept = match name.as_str() {
            "applyOps" => return self.apply_ops(entry, o, depth),
            "commitTransaction" | "abortTransaction" => true,
            "create" | "drop" if target == "system.views" => {
                let whole = self.selection.whole(db);
                if !whole && name == "drop" && self.views.contains(db) {
                    return Err(refused("the drop of a database's views"));
                }
                whole
            }
            "create" | "drop" | "collMod" | "createIndexes" | "startIndexBuild"
            | "commitIndexBuild" | "abortIndexBuild" | "dropIndexes" | "deleteIndexes"
            | "emptycapped" | "convertToCapped" => self.holds(db, target),
            // Before it each collection is dropped by an entry of its own.
            "dropDatabase" => self.selection.whole(db),
            "renameCollection" | "importCollection" => {
                let to = raw::text(o, "to").unwrap_or_default();
                if self.holds_ns(target) || self.holds_ns(to) {
                    return Err(refused("a renamed or imported collection"));
                }
                false
            }
            _ if db != "admin" && self.selection.db.as_deref().is_some_and(|only| only != db) => {
                false
            }
            other => return Err(refused(&format!("a command {other:?}"))),
        };
        Ok(kept.then_some(Cow::Borrowed(entry)))
    }

    /// A transaction, or writes that were logged together.
    fn apply_ops<'e>(
        &self,
        entry: &'e [u8],
        o: &[u8],
        depth: u32,
    ) -> Result<Option<Cow<'e, [u8]>>> {
        let list = raw::get(o, "applyOps").filter(|f| f.kind == kind::ARRAY);
        let list = list.ok_or_else(|| bad("no operations"))?;
        if depth > DEPTH {
            return Err(bad("applyOps nested too deep"));
        }
        let (mut kept, mut same) = (Vec::new(), true);
        for operation in raw::fields(list.value) {
            let operation = operation?.doc().ok_or_else(|| bad("a wrong operation"))?;
            match self.entry(operation, depth + 1)? {
                Some(part) => {
                    same &= matches!(part, Cow::Borrowed(_));
                    kept.push(part);
                }
                None => same = false,
            }
        }
        if same {
            return Ok(Some(Cow::Borrowed(entry)));
        }
        // A transaction of several entries is decided by its last one, even where nothing is left in it.
        let together = raw::get(entry, "multiOpType").and_then(|m| m.number()) == Some(1.0);
        if kept.is_empty() && (together || raw::get(entry, "txnNumber").is_none()) {
            return Ok(None);
        }
        let mut fewer = Build::new();
        for field in raw::fields(o) {
            let field = field?;
            let parts: Vec<&[u8]> = kept.iter().map(|part| &**part).collect();
            fewer = if field.name == b"applyOps" {
                fewer.docs("applyOps", &parts)
            } else {
                fewer.field(&field)
            };
        }
        let (fewer, mut whole) = (fewer.finish(), Build::new());
        for field in raw::fields(entry) {
            let field = field?;
            whole = if field.name == b"o" { whole.doc("o", &fewer) } else { whole.field(&field) };
        }
        Ok(Some(Cow::Owned(whole.finish())))
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn selection(coll: Option<&str>) -> Selection {
        let (db, collection) = (Some("a".to_owned()), coll.map(str::to_owned));
        Selection { db, collection, ..Selection::default() }
    }

    /// What is left of an entry; `Err` where it is refused.
    fn left(
        selection: &Selection,
        entry: &Document,
    ) -> std::result::Result<Option<Document>, String> {
        let bytes = bson::serialize_to_vec(entry).unwrap();
        let found = Part::new(selection, &[]).of(&bytes).map_err(|e| e.to_string())?;
        Ok(found.map(|bytes| Document::from_reader(&bytes[..]).unwrap()))
    }

    #[test]
    fn only_what_is_dumped_is_kept() {
        let (db, coll) = (selection(None), selection(Some("x")));
        let insert = |ns: &str| doc! {"op": "i", "ns": ns, "o": {"_id": 1}};
        let command = |db: &str, o: Document| doc! {"op": "c", "ns": format!("{db}.$cmd"), "o": o};
        let kept = |selection, entry: Document| left(selection, &entry).unwrap().is_some();
        assert!(kept(&db, insert("a.x")) && kept(&db, insert("a.system.buckets.x")));
        assert!(!kept(&db, insert("b.x")) && !kept(&coll, insert("a.y")));
        assert!(!kept(&db, doc! {"op": "n", "ns": "", "o": {}}));
        assert!(kept(&coll, command("a", doc! {"drop": "x"})));
        assert!(!kept(&coll, command("a", doc! {"create": "y"})));
        assert!(kept(&db, command("a", doc! {"dropDatabase": 1})));
        assert!(!kept(&coll, command("a", doc! {"dropDatabase": 1})));
        assert!(kept(&coll, command("admin", doc! {"commitTransaction": 1})));
        assert!(!kept(&coll, command("b", doc! {"whatever": 1})));
        assert!(!kept(&db, command("b", doc! {"renameCollection": "b.x", "to": "b.y"})));
        for entry in [
            command("a", doc! {"whatever": 1}),
            command("b", doc! {"renameCollection": "b.x", "to": "a.x"}),
            doc! {"op": "i", "ns": "a.system.views", "o": {"_id": "a.x"}},
            doc! {"op": "xi", "ns": "a.x", "o": {}},
        ] {
            assert!(left(&coll, &entry).is_err(), "{entry}");
        }
        assert!(kept(&db, doc! {"op": "i", "ns": "a.system.views", "o": {"_id": "a.v"}}));
    }

    #[test]
    fn a_change_of_the_version_cannot_be_cut() {
        let admin = Selection { db: Some("admin".to_owned()), ..Selection::default() };
        for op in ["i", "u", "d"] {
            let entry = doc! {"op": op, "ns": VERSION, "o": {"_id": "authSchema"}};
            assert!(left(&admin, &entry).is_err(), "{op}");
            assert_eq!(left(&selection(None), &entry).unwrap(), None, "{op}");
        }
    }

    #[test]
    fn transactions_lose_what_is_not_dumped() {
        let insert = |ns: &str| doc! {"op": "i", "ns": ns, "o": {"_id": 1}};
        let entry = |operations: Vec<Document>| {
            doc! {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": operations, "count": 2}, "txnNumber": 1_i64, "v": 2}
        };
        let part = selection(None);
        let mixed = entry(vec![insert("b.x"), insert("a.x")]);
        assert_eq!(left(&part, &mixed).unwrap(), Some(entry(vec![insert("a.x")])));
        let other = entry(vec![insert("b.x")]);
        assert_eq!(left(&part, &other).unwrap(), Some(entry(Vec::new())));
        let mut together = other;
        together.insert("multiOpType", 1);
        assert_eq!(left(&part, &together).unwrap(), None);
        let all = entry(vec![insert("a.x"), insert("a.y")]);
        assert_eq!(left(&part, &all).unwrap(), Some(all));
    }
}
