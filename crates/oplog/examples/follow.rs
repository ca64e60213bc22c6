//! Follows a dump of an oplog (entries one after the other) and compares the
//! catalogue that results with what a server listed on the way.
//!
//! `follow OPLOG.bson LISTINGS.bson`: LISTINGS holds documents
//! `{step, ts, cat: [{db, name, type, uuid, options, indexes}]}` in order.
//! Prints each difference and, at the end, how many steps were equal.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use bson::{RawDocument, RawDocumentBuf};
use bygone_base::{CollectionId, OpTime, Ts};
use bygone_oplog::{
    assemble::Assembler,
    change::{Change, Ddl},
    ddl,
    entry::Entry,
    filter::Filter,
};

#[derive(Default)]
struct Catalogue {
    collections: BTreeMap<CollectionId, Collection>,
    counts: BTreeMap<&'static str, u64>,
}

struct Collection {
    ns: (String, String),
    options: RawDocumentBuf,
    indexes: Vec<RawDocumentBuf>,
}

impl Collection {
    /// What this one shows and the other does not.
    fn only(&self, other: &Collection) -> String {
        let (mut mine, theirs) = (fields(&self.options), fields(&other.options));
        mine.retain(|field| !theirs.contains(field));
        let mut indexes: Vec<_> = self.indexes.iter().map(|i| fields(i)).collect();
        let theirs: Vec<_> = other.indexes.iter().map(|i| fields(i)).collect();
        indexes.retain(|index| !theirs.contains(index));
        format!("{mine:?} {indexes:?}")
    }
}

impl Catalogue {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn apply(&mut self, ddl: Ddl) {
        match ddl {
            Ddl::Create { coll, db, name, options, id_index } => {
                self.count("create");
                let indexes = id_index.into_iter().collect();
                self.collections.insert(coll, Collection { ns: (db, name), options, indexes });
            }
            Ddl::Drop { coll, .. } => {
                self.count("drop");
                self.collections.remove(&coll).expect("drop of an unknown collection");
            }
            Ddl::DropDatabase { db } => {
                self.count("dropDatabase");
                assert!(!self.collections.values().any(|c| c.ns.0 == db), "left in {db}");
            }
            Ddl::Rename { coll, to, drop_target, stay_temp, .. } => {
                self.count("rename");
                if let Some(target) = drop_target {
                    self.collections.remove(&target).expect("unknown target");
                }
                let c = self.collections.get_mut(&coll).expect("unknown collection");
                c.ns = to;
                if !stay_temp {
                    c.options = without(&c.options, "temp");
                }
            }
            Ddl::CollMod { coll, effects, o2, db, name, .. } => {
                self.count("collMod");
                let Some(c) = self.collections.get_mut(&coll) else {
                    assert_eq!(db, "config", "unknown collection {name}");
                    return;
                };
                let before = o2.and_then(|o2| ddl::options_before(&o2).unwrap()).expect("o2");
                if fields(&before) != fields(&c.options) {
                    println!(
                        "{db}.{name}: old options {:?} are not ours {:?}",
                        fields(&before),
                        fields(&c.options)
                    );
                    c.options = before;
                }
                (c.options, c.indexes) =
                    ddl::apply_coll_mod(&c.options, &c.indexes, &effects).expect("collMod");
            }
            Ddl::IndexesBuilt { coll, specs, .. } => {
                self.count("indexes built");
                self.collections.get_mut(&coll).expect("unknown").indexes.extend(specs);
            }
            Ddl::IndexDropped { coll, index, .. } => {
                self.count("index dropped");
                let c = self.collections.get_mut(&coll).expect("unknown collection");
                let before = c.indexes.len();
                c.indexes.retain(|spec| spec.get_str("name").ok() != Some(&index));
                assert_eq!(before, c.indexes.len() + 1, "index {index}");
            }
            Ddl::Truncate { .. } => self.count("truncate"),
            Ddl::ViewPut { .. } | Ddl::ViewUpdate { .. } => self.count("view put"),
            Ddl::ViewDelete { .. } => self.count("view delete"),
            Ddl::ViewsDropped { .. } => self.count("views dropped"),
            Ddl::FcvChanged { .. } => self.count("fcv"),
        }
    }

    /// Compares, reports differences and takes the listing over where it differs.
    fn compare(&mut self, step: &str, listing: &RawDocument) -> bool {
        let mut equal = true;
        let mut listed = 0;
        for item in listing.get_array("cat").unwrap() {
            let item = item.unwrap().as_document().unwrap();
            if item.get_str("type").ok() != Some("collection") {
                continue;
            }
            let uuid = CollectionId::from_slice(item.get_binary("uuid").unwrap().bytes).unwrap();
            let ns =
                (item.get_str("db").unwrap().to_owned(), item.get_str("name").unwrap().to_owned());
            if Filter::never(&ns.0, &ns.1) {
                continue;
            }
            listed += 1;
            let theirs = Collection {
                ns: ns.clone(),
                options: item.get_document("options").unwrap().to_owned(),
                indexes: item
                    .get_array("indexes")
                    .unwrap()
                    .into_iter()
                    .map(|i| i.unwrap().as_document().unwrap().to_owned())
                    .collect(),
            };
            let Some(ours) = self.collections.get(&uuid) else {
                println!("{step}: {ns:?} was not created");
                self.collections.insert(uuid, theirs);
                equal = false;
                continue;
            };
            let mine: Vec<_> = ours.indexes.iter().map(|i| fields(i)).collect();
            let listed: Vec<_> = theirs.indexes.iter().map(|i| fields(i)).collect();
            let pairs = [
                ("name", ns != ours.ns),
                ("options", fields(&theirs.options) != fields(&ours.options)),
                ("indexes", sorted(listed) != sorted(mine)),
            ];
            if pairs.iter().any(|(_, differs)| *differs) {
                equal = false;
                println!("{step}: {ns:?} {pairs:?}");
                println!("   listed only {}", theirs.only(ours));
                println!("   ours only   {}", ours.only(&theirs));
                self.collections.insert(uuid, theirs);
            }
        }
        // The listings leave the database config out.
        let known = self.collections.values().filter(|c| c.ns.0 != "config").count();
        if listed != known {
            println!("{step}: {listed} collections listed, {known} known");
            equal = false;
        }
        equal
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

/// Fields by name, with their raw values: the listings' order is the server's own.
fn fields(doc: &RawDocument) -> Vec<(String, String)> {
    sorted(doc.iter().map(|f| f.map(|(k, v)| (k.to_string(), format!("{v:?}"))).unwrap()).collect())
}

fn without(doc: &RawDocument, name: &str) -> RawDocumentBuf {
    let mut out = RawDocumentBuf::new();
    for field in doc {
        let (key, value) = field.unwrap();
        if key.as_str() != name {
            out.append(key, value);
        }
    }
    out
}

fn docs(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let len = i32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let (doc, tail) = rest.split_at(len);
        out.push(doc);
        rest = tail;
    }
    out
}

fn main() {
    let mut args = std::env::args().skip(1);
    let oplog = std::fs::read(args.next().expect("OPLOG")).unwrap();
    let listings = std::fs::read(args.next().expect("LISTINGS")).unwrap();
    let mut entries = docs(&oplog).into_iter().peekable();
    let first = Entry::position(entries.peek().unwrap()).unwrap();
    let mut assembler = Assembler::new(OpTime::new(first.ts.prev(), first.term), Filter::all());
    let mut catalogue = Catalogue::default();
    // Collections from before the dump begins.
    let (mut equal, mut steps) = (0, 0);
    for listing in docs(&listings) {
        let listing = RawDocument::from_bytes(listing).unwrap();
        let ts = listing.get_timestamp("ts").unwrap();
        let until = Ts::new(ts.time, ts.increment);
        while let Some(entry) = entries.next_if(|e| Entry::position(e).unwrap().ts <= until) {
            assembler
                .push(entry, |op| {
                    match op.change {
                        Change::Ddl(ddl) => catalogue.apply(*ddl),
                        Change::Put { insert: true, .. } => catalogue.count("insert"),
                        Change::Put { insert: false, .. } => catalogue.count("replace"),
                        Change::Delete { .. } => catalogue.count("delete"),
                        Change::Update { .. } => catalogue.count("update"),
                    }
                    Ok(())
                })
                .unwrap_or_else(|e| panic!("{e}"));
        }
        steps += 1;
        equal += u32::from(catalogue.compare(listing.get_str("step").unwrap(), listing));
    }
    println!("{equal} of {steps} steps equal; {:?}", catalogue.counts);
    let end = assembler.position();
    println!(
        "undecided: {} bytes, replay from {}",
        assembler.buffered_bytes(),
        assembler.replay_from(end)
    );
}
