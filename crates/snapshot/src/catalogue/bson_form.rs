//! Catalogue entries as BSON documents (docs/format.md, section 8).

use bson::{RawArrayBuf, RawBson, RawDocumentBuf, rawdoc};
use bygone_base::{CollectionId, Result};
use bygone_tree::TreeRoot;

use super::{Collection, TreeInfo, ViewDef};
use crate::{
    fields::{Fields, binary, long, timestamp, uuid},
    manifest::block_ref,
};

/// One entry of the catalogue's tree.
pub(super) enum Entry {
    Collection(Collection),
    /// With its `_id`.
    View(String, ViewDef),
}

pub(super) fn collection_bson(c: &Collection) -> RawDocumentBuf {
    let mut indexes = RawArrayBuf::new();
    c.indexes.iter().for_each(|spec| indexes.push(spec.clone()));
    let truncated = c.truncated.map_or(RawBson::Null, |ts| RawBson::Timestamp(timestamp(ts)));
    rawdoc! {
        "_id": uuid(c.id.0),
        "db": c.db.as_str(),
        "coll": c.name.as_str(),
        "options": c.options.clone(),
        "indexes": indexes,
        "tree": tree_bson(&c.tree),
        "capped": c.capped(),
        "truncated": truncated,
    }
}

pub(super) fn view_bson(id: &str, v: &ViewDef) -> RawDocumentBuf {
    rawdoc! { "_id": id, "db": v.db.as_str(), "coll": v.name.as_str(), "view": v.doc.clone() }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Entry> {
    let f = Fields::new(bytes, "catalogue entry")?;
    let (db, name) = (f.str("db")?.to_owned(), f.str("coll")?.to_owned());
    if f.optional("view")?.is_some() {
        let view = ViewDef { db, name, doc: f.doc("view")?.to_owned() };
        return Ok(Entry::View(f.str("_id")?.to_owned(), view));
    }
    let tree = Fields::of(f.doc("tree")?, "tree of a catalogue entry");
    Ok(Entry::Collection(Collection {
        id: CollectionId::from_slice(f.binary("_id")?).ok_or_else(|| f.bad("_id"))?,
        db,
        name,
        options: f.doc("options")?.to_owned(),
        indexes: f.docs("indexes")?.into_iter().map(ToOwned::to_owned).collect(),
        tree: tree_from(&tree)?,
        truncated: f.optional_ts("truncated")?,
    }))
}

fn tree_bson(tree: &TreeInfo) -> RawDocumentBuf {
    let root = tree.root.as_ref();
    rawdoc! {
        "root": root.map_or(RawBson::Null, |r| RawBson::Binary(binary(&r.block.to_bytes()))),
        "level": root.map_or(0, |r| i32::from(r.level)),
        "docs": root.map_or(0, |r| long(r.items)),
        "bytes": root.map_or(0, |r| long(r.bytes)),
        // A threshold is any u64: kept bit for bit.
        "cut": tree.cut.cast_signed(),
        "as_of": timestamp(tree.as_of),
        "valid_from": timestamp(tree.valid_from),
    }
}

fn tree_from(f: &Fields<'_>) -> Result<TreeInfo> {
    let (as_of, valid_from) = (f.ts("as_of")?, f.ts("valid_from")?);
    let root = match f.optional("root")? {
        None => None,
        Some(_) => Some(TreeRoot {
            block: block_ref(f.binary("root")?)?,
            level: f.u8("level")?,
            items: f.count("docs")?,
            bytes: f.count("bytes")?,
            as_of,
            valid_from,
        }),
    };
    Ok(TreeInfo::of(root, f.i64("cut")?.cast_unsigned(), as_of, valid_from))
}
