//! Writing an archive: what bytes come next. Where they go is the caller's business.

use bygone_base::{Error, Result};
use bygone_restore::raw::{Build, kind};

use super::{END, MAGIC, Prelude, VERSION};

/// Remembers which block is open.
#[derive(Debug, Default)]
pub struct Writer {
    /// The namespace of the open block.
    open: Option<(String, String)>,
}

fn int(build: Build, name: &str, value: i32) -> Build {
    build.element(kind::INT32, name.as_bytes(), &value.to_le_bytes())
}

fn header(db: &str, collection: &str, crc: Option<i64>) -> Vec<u8> {
    let build = Build::new()
        .str("db", db)
        .str("collection", collection)
        .bool("EOF", crc.is_some())
        .element(kind::INT64, b"CRC", &crc.unwrap_or_default().to_le_bytes());
    build.finish()
}

impl Writer {
    /// A writer at the beginning.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// What an archive begins with.
    ///
    /// # Errors
    /// Unsupported: a collection's metadata does not fit a document.
    pub fn prelude(&mut self, prelude: &Prelude) -> Result<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        let header = int(Build::new(), "concurrent_collections", prelude.concurrent)
            .str("version", VERSION)
            .str("server_version", &prelude.server)
            .str("tool_version", &prelude.tool);
        out.extend(header.finish());
        for entry in &prelude.entries {
            let build = Build::new()
                .str("db", &entry.db)
                .str("collection", &entry.collection)
                .str("metadata", &entry.metadata);
            let meta = int(build, "size", 0).str("type", &entry.kind).finish();
            if meta.len() > bygone_document::MAX_DOCUMENT {
                let name = format!("{}.{}", entry.db, entry.collection);
                return Err(Error::unsupported(format!("the metadata of {name} is too large")));
            }
            out.extend(meta);
        }
        out.extend(END);
        Ok(out)
    }

    /// The bytes that must stand before documents of this namespace; the caller writes the documents.
    pub fn before(&mut self, db: &str, collection: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let same = self.open.as_ref().is_some_and(|(d, c)| d == db && c == collection);
        if !same {
            self.close(&mut out);
            out.extend(header(db, collection, None));
            self.open = Some((db.to_owned(), collection.to_owned()));
        }
        out
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            out.extend(END);
        }
    }

    /// The last block of a collection, whose documents the caller has hashed.
    pub fn end(&mut self, db: &str, collection: &str, crc: i64) -> Vec<u8> {
        let mut out = Vec::new();
        self.close(&mut out);
        out.extend(header(db, collection, Some(crc)));
        out.extend(END);
        out
    }
}
