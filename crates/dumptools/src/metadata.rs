//! What a dump says of a collection besides its documents: one line of canonical Extended JSON.
//!
//! `{"options":{..},"indexes":[..],"uuid":"32 hex digits","collectionName":"..","type":"collection"}`; options are
//! left out when there are none, views have no UUID.

use bygone_base::{Error, Result};
use bygone_document::{Doc, Element, walk::types};
use bygone_restore::raw::{self, Build};

use crate::extjson::{self, Strictness};

/// What a namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A collection.
    Collection,
    /// A view.
    View,
    /// A time-series.
    TimeSeries,
}

impl Kind {
    /// As listCollections and metadata files say it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Collection => "collection",
            Kind::View => "view",
            Kind::TimeSeries => "timeseries",
        }
    }
}

/// Metadata of one collection, view or time-series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Options as listCollections gave them: a document.
    pub options: Vec<u8>,
    /// Indexes as listIndexes gave them, each a document.
    pub indexes: Vec<Vec<u8>>,
    /// The UUID's bytes.
    pub uuid: Option<[u8; 16]>,
    /// What stands for a UUID and is none: it matters only where UUIDs are kept.
    pub odd_uuid: Option<String>,
    /// The collection's name; empty in dumps of old tools.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

const EMPTY: [u8; 5] = [5, 0, 0, 0, 0];

impl Default for Metadata {
    fn default() -> Self {
        let options = EMPTY.to_vec();
        let (name, kind) = (String::new(), Kind::Collection);
        Metadata { options, indexes: Vec::new(), uuid: None, odd_uuid: None, name, kind }
    }
}

impl Metadata {
    /// The text of a metadata file.
    ///
    /// # Errors
    /// Damaged: an option or an index is no BSON. Unsupported: Extended JSON cannot say it, for example a document
    /// `{"$numberLong": "5"}` within a view's pipeline, which would be read as a number.
    pub fn to_text(&self) -> Result<String> {
        let mut build = Build::new();
        if self.options != EMPTY {
            build = build.doc("options", &self.options);
        }
        let indexes: Vec<&[u8]> = self.indexes.iter().map(Vec::as_slice).collect();
        build = build.docs("indexes", &indexes);
        if let Some(uuid) = self.uuid {
            build = build.str("uuid", &hex::encode(uuid));
        } else if let Some(odd) = &self.odd_uuid {
            build = build.str("uuid", odd);
        }
        let build = build.str("collectionName", &self.name).str("type", self.kind.name());
        let document = build.finish();
        let text = extjson::to_text(&document)?;
        match extjson::parse(&text, Strictness::Strict) {
            Ok(again) if again == document => Ok(text),
            _ => Err(Error::unsupported(format!(
                "error marshaling metadata json for collection `{}`: marshaling BSON to ExtJSON and back resulted in \
                 discrepancies",
                self.name
            ))),
        }
    }

    /// Reads the text of a metadata file; an empty one says nothing, and nothing stands behind its document.
    ///
    /// # Errors
    /// Damaged: it is not JSON, or not what a dump holds.
    pub fn parse(text: &str) -> Result<Metadata> {
        let mut found = Metadata::default();
        if text.trim().is_empty() {
            return Ok(found);
        }
        let bytes =
            extjson::parse_first(text).map_err(|e| Error::damaged(e.message().to_owned()))?;
        for field in Doc::new(&bytes)?.elements() {
            found.take(field?)?;
        }
        // Tools before 100.0 wrote no type.
        let options = Doc::new(&found.options)?;
        if options.get("viewOn")?.is_some() {
            found.kind = Kind::View;
        } else if options.get("timeseries")?.is_some() {
            found.kind = Kind::TimeSeries;
        }
        Ok(found)
    }

    /// Leaves out what no server builds: indexes without a name, and those whose name comes again. Gives what to say
    /// of them.
    pub fn settle_indexes(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        let mut kept: Vec<Vec<u8>> = Vec::new();
        for index in std::mem::take(&mut self.indexes) {
            let Some(name) = raw::text(&index, "name").filter(|name| !name.is_empty()) else {
                said.push("an index without a name is left out".to_owned());
                continue;
            };
            let same = kept.iter().position(|old| raw::text(old, "name") == Some(name));
            if let Some(same) = same {
                said.push(format!("of several indexes {name} the last one is taken"));
                kept.remove(same);
            }
            kept.push(index);
        }
        self.indexes = kept;
        said
    }

    fn take(&mut self, field: Element<'_>) -> Result<()> {
        if field.kind() == types::NULL {
            return Ok(());
        }
        let wrong = || {
            let name = String::from_utf8_lossy(field.name()).into_owned();
            Error::damaged(format!("metadata with a malformed {name:?}"))
        };
        match field.name() {
            b"options" => self.options = field.as_doc().ok_or_else(wrong)?.bytes().to_vec(),
            b"indexes" => {
                for index in field.as_array().ok_or_else(wrong)?.elements() {
                    self.indexes.push(index?.as_doc().ok_or_else(wrong)?.bytes().to_vec());
                }
            }
            b"uuid" => {
                let text = field.as_str().ok_or_else(wrong)?;
                self.uuid = hex::decode(text).ok().and_then(|b| b.try_into().ok());
                let odd = self.uuid.is_none() && !text.is_empty();
                self.odd_uuid = odd.then(|| text.to_owned());
            }
            b"collectionName" => self.name = field.as_str().ok_or_else(wrong)?.to_owned(),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    /// As mongodump 100.13 wrote it.
    const SEEN: &str = concat!(
        r#"{"options":{"capped":true,"size":{"$numberInt":"4096"}},"indexes":[{"v":{"$numberInt":"2"},"#,
        r#""key":{"_id":{"$numberInt":"1"}},"name":"_id_"}],"uuid":"0102030405060708090a0b0c0d0e0f10","#,
        r#""collectionName":"x","type":"collection"}"#
    );

    #[test]
    fn a_line_is_read_and_written() {
        let found = Metadata::parse(SEEN).unwrap();
        assert_eq!(found.name, "x");
        assert_eq!(found.indexes.len(), 1);
        assert_eq!(found.to_text().unwrap(), SEEN);
    }

    #[test]
    fn options_that_are_empty_are_left_out() {
        let view = Metadata {
            options: rawdoc! {"viewOn": "a", "pipeline": []}.into_bytes(),
            name: "v".to_owned(),
            kind: Kind::View,
            ..Metadata::default()
        };
        let text = view.to_text().unwrap();
        assert_eq!(Metadata::parse(&text).unwrap(), view);
        assert!(!Metadata::default().to_text().unwrap().contains("options"));
        assert_eq!(Metadata::parse("").unwrap(), Metadata::default());
    }

    #[test]
    fn what_json_would_change_is_refused() {
        let text = |literal: bson::RawDocumentBuf| {
            let options =
                rawdoc! {"viewOn": "a", "pipeline": [{"$addFields": {"l": {"$literal": literal}}}]};
            let options = options.into_bytes();
            Metadata { options, name: "v".to_owned(), ..Metadata::default() }.to_text()
        };
        assert!(text(rawdoc! {"$regex": "^x", "$options": "m"}).is_ok());
        for literal in [rawdoc! {"$numberLong": "5"}, rawdoc! {"$oid": "x"}, rawdoc! {"$date": 0}] {
            let failed = text(literal).unwrap_err();
            assert!(failed.message().contains("`v`") && failed.message().contains("discrepancies"));
        }
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        for text in ["[]", "{", r#"{"indexes":1}"#, r#"{"uuid":12}"#, r#"{"options":[]}"#] {
            assert!(Metadata::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_stock_tool_passes_over_is_passed_over() {
        let found = Metadata::parse(r#"{"options":null,"indexes":null,"uuid":null} and more"#);
        assert_eq!(found.unwrap(), Metadata::default());
        for odd in ["12", "01020304-0506-0708-090a-0b0c0d0e0f10"] {
            let found = Metadata::parse(&format!(r#"{{"uuid":"{odd}"}}"#)).unwrap();
            assert_eq!((found.uuid, found.odd_uuid.as_deref()), (None, Some(odd)));
        }
    }

    #[test]
    fn of_indexes_with_one_name_the_last_is_taken() {
        let text = r#"{"indexes":[{"key":{"a":1}},{"key":{"b":1},"name":"x"},{"key":{"c":1},"name":"y"},
            {"key":{"d":1},"name":"x"}]}"#;
        let mut found = Metadata::parse(text).unwrap();
        assert_eq!(found.settle_indexes().len(), 2);
        let names: Vec<_> = found.indexes.iter().map(|i| raw::text(i, "name").unwrap()).collect();
        assert_eq!(names, ["y", "x"]);
        assert!(
            raw::get(raw::get(&found.indexes[1], "key").unwrap().doc().unwrap(), "d").is_some()
        );
    }
}
