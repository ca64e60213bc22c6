//! Every kind of entry that real servers were seen to write (8.2, 5.0 and 4.4;
//! tests/data/oplog-examples.jsonl) and what it comes to. The table is
//! tests/data/expected.txt: `version | kind | part: changes`.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use bygone_base::{ErrorKind, OpTime};
use bygone_oplog::{
    assemble::{Assembler, Op},
    change::{Change, Ddl},
    entry::Entry,
    filter::Filter,
};

/// One group: entries that one command (or a few) made on one server.
struct Group {
    name: String,
    entries: Vec<Vec<u8>>,
}

fn groups() -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for line in include_str!("data/oplog-examples.jsonl").lines() {
        let line: bson::Document = serde_json::from_str(line).unwrap();
        let part = line.get_str("part").unwrap_or("-");
        let name = format!(
            "{} | {} | {part}",
            line.get_str("version").unwrap(),
            line.get_str("kind").unwrap()
        );
        let entry = line.get_document("entry").unwrap().to_vec().unwrap();
        match groups.iter_mut().find(|g| g.name == name) {
            Some(group) => group.entries.push(entry),
            None => groups.push(Group { name, entries: vec![entry] }),
        }
    }
    groups
}

fn word(op: &Op<'_>) -> String {
    match &op.change {
        Change::Put { insert: true, .. } => "insert".into(),
        Change::Put { insert: false, .. } => "replace".into(),
        Change::Delete { .. } => "delete".into(),
        Change::Update { upsert: false, .. } => "update".into(),
        Change::Update { upsert: true, .. } => "upsert".into(),
        Change::Ddl(ddl) => ddl_word(ddl),
    }
}

fn ddl_word(ddl: &Ddl) -> String {
    match ddl {
        Ddl::Create { db, name, options, id_index, .. } => {
            let names: Vec<_> = options.iter().map(|f| f.unwrap().0.to_string()).collect();
            let id = if id_index.is_some() { "_id_" } else { "no _id_" };
            format!("create {db}.{name} ({}; {id})", names.join(" "))
        }
        Ddl::Drop { db, name, .. } => format!("drop {db}.{name}"),
        Ddl::DropDatabase { db } => format!("drop database {db}"),
        Ddl::Rename { from, to, drop_target, stay_temp, .. } => format!(
            "rename {}.{} to {}.{}{}{}",
            from.0,
            from.1,
            to.0,
            to.1,
            if drop_target.is_some() { " over another" } else { "" },
            if *stay_temp { " staying temporary" } else { "" }
        ),
        Ddl::CollMod { db, name, effects, .. } => format!("collMod {db}.{name} x{}", effects.len()),
        Ddl::Truncate { .. } => "truncate".into(),
        Ddl::IndexesBuilt { db, name, specs, .. } => {
            let names: Vec<_> = specs.iter().map(|s| s.get_str("name").unwrap()).collect();
            format!("index {db}.{name} {}", names.join(" "))
        }
        Ddl::IndexDropped { db, name, index, .. } => format!("drop index {db}.{name} {index}"),
        Ddl::ViewPut { doc, .. } => format!("view {}", doc.get_str("_id").unwrap()),
        Ddl::ViewUpdate { o2, .. } => format!("modify view {}", o2.get_str("_id").unwrap()),
        Ddl::ViewDelete { id, .. } => format!("drop view {id}"),
        Ddl::ViewsDropped { db } => format!("drop views of {db}"),
        Ddl::FcvChanged { version, target } => {
            format!(
                "fcv {}{}",
                version.as_deref().unwrap_or("?"),
                match target {
                    Some(target) => format!(" to {target}"),
                    None => String::new(),
                }
            )
        }
    }
}

/// The changes of a group, runs of equal ones counted.
fn changes(group: &Group) -> Result<Vec<(String, u32)>, bygone_base::Error> {
    let first = Entry::position(&group.entries[0]).unwrap();
    let from = OpTime::new(first.ts.prev(), first.term);
    let mut assembler = Assembler::new(from, Filter::all());
    let mut out: Vec<(String, u32)> = Vec::new();
    for entry in &group.entries {
        assembler.push(entry, |op| {
            let word = word(&op);
            match out.last_mut() {
                Some((last, n)) if *last == word => *n += 1,
                _ => out.push((word, 1)),
            }
            Ok(())
        })?;
    }
    assert_eq!(assembler.buffered_bytes(), 0, "{}: undecided", group.name);
    Ok(out)
}

#[test]
fn every_kind_of_entry_comes_to_what_the_table_says() {
    let mut table = String::new();
    for group in groups() {
        let changes = changes(&group).unwrap_or_else(|e| panic!("{}: {e}", group.name));
        let words: Vec<_> = changes
            .iter()
            .map(|(word, n)| if *n == 1 { word.clone() } else { format!("{n} {word}") })
            .collect();
        let words = if words.is_empty() { "nothing".into() } else { words.join(", ") };
        writeln!(table, "{}: {words}", group.name).unwrap();
    }
    let expected = include_str!("data/expected.txt");
    for (ours, theirs) in table.lines().zip(expected.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(table.lines().count(), expected.lines().count());
}

#[test]
fn any_field_added_to_an_entry_is_refused_by_name() {
    for group in groups() {
        let entry = group.entries.last().unwrap();
        let parsed = Entry::parse(entry).unwrap();
        if matches!(parsed.kind, bygone_oplog::entry::Kind::Noop) {
            continue;
        }
        let mut doc = bson::RawDocumentBuf::from_bytes(entry.clone()).unwrap();
        doc.append(bson::cstr!("somethingNew"), true);
        let odd = Group { name: group.name, entries: vec![doc.into_bytes()] };
        match changes(&odd) {
            Err(error) => {
                let text = error.to_string();
                assert!(matches!(error.kind(), ErrorKind::Unsupported), "{}: {text}", odd.name);
                assert!(text.contains("somethingNew"), "{text}");
            }
            // Only where nothing is ever kept.
            Ok(changes) => assert!(changes.is_empty(), "{}: {changes:?}", odd.name),
        }
    }
}
