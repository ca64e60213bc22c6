//! Databases, collections, indexes and views as the source lists them.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, cstr, doc, rawdoc, spec::BinarySubtype};
use bygone_base::{CollectionId, Error, Result};
use bygone_oplog::filter::Filter;

use super::{Fault, Listing, SourceCollection, error::SourceError, mongo::MongoMember, scan::uuid};

fn bad(what: &str) -> Error {
    Error::damaged(format!("listCollections of the source: {what}"))
}

/// What one document of listCollections stands for.
#[derive(Debug)]
enum Listed {
    Collection(CollectionId, String, RawDocumentBuf),
    View(RawDocumentBuf),
    /// `system.views` and the like: rebuilt from the rest.
    Nothing,
}

fn read_listed(db: &str, doc: &[u8], filter: &Filter) -> Result<Listed> {
    let doc = RawDocument::from_bytes(doc).map_err(|e| bad(&e.to_string()))?;
    let name = doc.get_str("name").map_err(|_| bad("no name"))?;
    let kind = doc.get_str("type").unwrap_or("collection");
    let empty = rawdoc! {};
    let options = doc.get_document("options").unwrap_or(&empty);
    if !filter.covers(db, name) {
        return Ok(Listed::Nothing);
    }
    match kind {
        "view" => Ok(Listed::View(view(db, name, options)?)),
        "timeseries" => Ok(Listed::View(time_series_view(db, name, options)?)),
        "collection" if name == "system.views" || name == "system.profile" => Ok(Listed::Nothing),
        "collection" => {
            let info = doc.get_document("info").map_err(|_| bad("no info"))?;
            let id = match info.get("uuid") {
                Ok(Some(RawBsonRef::Binary(b))) if b.subtype == BinarySubtype::Uuid => {
                    CollectionId::from_slice(b.bytes)
                }
                _ => None,
            };
            let id = id.ok_or_else(|| bad(&format!("{db}.{name} has no UUID")))?;
            Ok(Listed::Collection(id, name.to_owned(), options.to_owned()))
        }
        other => Err(Error::unsupported(format!("{db}.{name} is of the unknown type {other:?}"))),
    }
}

/// A document of system.views: reading that collection is refused to the
/// backup role, listCollections shows what it holds.
fn view(db: &str, name: &str, options: &RawDocument) -> Result<RawDocumentBuf> {
    let on = options.get_str("viewOn").map_err(|_| bad(&format!("view {db}.{name}: no viewOn")))?;
    let mut out = rawdoc! { "_id": format!("{db}.{name}"), "viewOn": on };
    match options.get_array("pipeline") {
        Ok(pipeline) => out.append(cstr!("pipeline"), pipeline.to_owned()),
        Err(_) => out.append(cstr!("pipeline"), bson::RawArrayBuf::new()),
    }
    if let Ok(collation) = options.get_document("collation") {
        out.append(cstr!("collation"), collation.to_owned());
    }
    Ok(out)
}

/// The view of a time series over its buckets, as the server writes it.
fn time_series_view(db: &str, name: &str, options: &RawDocument) -> Result<RawDocumentBuf> {
    let none = || bad(&format!("time series {db}.{name}: no options"));
    let series = options.get_document("timeseries").map_err(|_| none())?;
    let mut unpack = RawDocumentBuf::new();
    for field in series {
        let (field, value) = field.map_err(|_| none())?;
        if ["timeField", "metaField", "bucketMaxSpanSeconds"].contains(&field.as_str()) {
            unpack.append(field, value);
        }
    }
    let mut out = rawdoc! {
        "_id": format!("{db}.{name}"),
        "viewOn": format!("system.buckets.{name}"),
        "pipeline": [{ "$_internalUnpackBucket": unpack }],
    };
    if let Ok(collation) = options.get_document("collation") {
        out.append(cstr!("collation"), collation.to_owned());
    }
    Ok(out)
}

/// A finished index without `ns`; `None` while it is being built.
fn read_index(doc: &[u8]) -> Result<Option<RawDocumentBuf>> {
    let doc = RawDocument::from_bytes(doc).map_err(|e| bad(&e.to_string()))?;
    if matches!(doc.get("buildUUID"), Ok(Some(_))) {
        return Ok(None);
    }
    if !matches!(doc.get("ns"), Ok(Some(_))) {
        return Ok(Some(doc.to_owned()));
    }
    let mut out = RawDocumentBuf::new();
    for field in doc {
        let (name, value) = field.map_err(|e| bad(&e.to_string()))?;
        if name.as_str() != "ns" {
            out.append(name, value);
        }
    }
    Ok(Some(out))
}

impl MongoMember {
    pub(super) async fn list(&self, filter: &Filter) -> Result<Listing> {
        let command = doc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": false };
        let reply = self.command("admin", command, "listDatabases").await?;
        let dbs = reply.get_array("databases").map_err(|_| bad("no databases"))?;
        let mut listing = Listing::default();
        for db in dbs {
            let db = db.as_document().and_then(|d| d.get_str("name").ok());
            let db = db.ok_or_else(|| bad("a database without name"))?;
            if db != "local" {
                self.list_database(db, filter, &mut listing).await?;
            }
        }
        Ok(listing)
    }

    async fn list_database(&self, db: &str, filter: &Filter, out: &mut Listing) -> Result<()> {
        let command = rawdoc! { "listCollections": 1, "cursor": {} };
        for doc in self.documents(db, command, "listCollections").await? {
            match read_listed(db, &doc, filter)? {
                Listed::View(view) => out.views.push(view),
                Listed::Nothing => {}
                Listed::Collection(id, name, options) => {
                    // Dropped since it was listed: the oplog says so.
                    let Some(indexes) = self.indexes(db, id).await? else { continue };
                    let db = db.to_owned();
                    out.collections.push(SourceCollection { id, db, name, options, indexes });
                }
            }
        }
        Ok(())
    }

    async fn indexes(&self, db: &str, id: CollectionId) -> Result<Option<Vec<RawDocumentBuf>>> {
        let command = rawdoc! { "listIndexes": uuid(id), "includeBuildUUIDs": true, "cursor": {} };
        let docs = match self.documents(db, command, "listIndexes").await {
            Err(SourceError { fault: Fault::Gone, .. }) => return Ok(None),
            other => other?,
        };
        let mut indexes = Vec::new();
        for doc in docs {
            indexes.extend(read_index(&doc)?);
        }
        Ok(Some(indexes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_series_is_a_view_over_its_buckets() {
        let options = rawdoc! {
            "timeseries": { "timeField": "t", "metaField": "m", "granularity": "minutes", "bucketMaxSpanSeconds": 86400 },
        };
        let want = rawdoc! {
            "_id": "o.ts", "viewOn": "system.buckets.ts",
            "pipeline": [{ "$_internalUnpackBucket": { "timeField": "t", "metaField": "m", "bucketMaxSpanSeconds": 86400 } }],
        };
        assert_eq!(time_series_view("o", "ts", &options).unwrap(), want);
    }

    #[test]
    fn unfinished_indexes_are_left_out_and_ns_is_stripped() {
        let id = bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![1; 16] };
        let building = rawdoc! { "spec": { "v": 2, "name": "x" }, "buildUUID": id };
        assert!(read_index(building.as_bytes()).unwrap().is_none());
        let old = rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_", "ns": "a.b" };
        let want = rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
        assert_eq!(read_index(old.as_bytes()).unwrap(), Some(want));
    }
}
