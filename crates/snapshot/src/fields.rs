//! Reading the BSON of our own objects: every missing or mistyped field is damage, with its name.

use bson::{RawArray, RawDocument, Timestamp, raw::RawBsonRef, spec::BinarySubtype};
use bygone_base::{Error, Result, Ts};

/// Typed access to one document; `what` names it in errors.
pub(crate) struct Fields<'a> {
    doc: &'a RawDocument,
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Result<Self> {
        let doc = RawDocument::from_bytes(bytes)
            .map_err(|e| Error::damaged(format!("{what} is not BSON")).source(e))?;
        Ok(Fields { doc, what })
    }

    pub(crate) fn of(doc: &'a RawDocument, what: &'static str) -> Self {
        Fields { doc, what }
    }

    /// The field, `None` when missing or null.
    pub(crate) fn optional(&self, name: &str) -> Result<Option<RawBsonRef<'a>>> {
        let value = self.doc.get(name).map_err(|e| self.bad(name).source(e))?;
        Ok(value.filter(|v| !matches!(v, RawBsonRef::Null)))
    }

    fn required(&self, name: &str) -> Result<RawBsonRef<'a>> {
        self.optional(name)?.ok_or_else(|| self.bad(name))
    }

    pub(crate) fn bad(&self, name: &str) -> Error {
        Error::damaged(format!("{} has no good field {name:?}", self.what))
    }

    pub(crate) fn format_one(&self) -> Result<()> {
        match self.i32("format")? {
            1 => Ok(()),
            other => Err(Error::unsupported(format!(
                "{} has format {other}; this version reads format 1",
                self.what
            ))
            .hint("use the newer version of bygone that wrote this store")),
        }
    }

    pub(crate) fn i32(&self, name: &str) -> Result<i32> {
        self.required(name)?.as_i32().ok_or_else(|| self.bad(name))
    }

    pub(crate) fn u8(&self, name: &str) -> Result<u8> {
        u8::try_from(self.i32(name)?).map_err(|_| self.bad(name))
    }

    pub(crate) fn i64(&self, name: &str) -> Result<i64> {
        self.required(name)?.as_i64().ok_or_else(|| self.bad(name))
    }

    /// A count or size: int64, not negative.
    pub(crate) fn count(&self, name: &str) -> Result<u64> {
        u64::try_from(self.i64(name)?).map_err(|_| self.bad(name))
    }

    pub(crate) fn bool(&self, name: &str) -> Result<bool> {
        self.required(name)?.as_bool().ok_or_else(|| self.bad(name))
    }

    pub(crate) fn str(&self, name: &str) -> Result<&'a str> {
        self.required(name)?.as_str().ok_or_else(|| self.bad(name))
    }

    pub(crate) fn ts(&self, name: &str) -> Result<Ts> {
        self.optional_ts(name)?.ok_or_else(|| self.bad(name))
    }

    pub(crate) fn optional_ts(&self, name: &str) -> Result<Option<Ts>> {
        match self.optional(name)? {
            None => Ok(None),
            Some(value) => {
                let ts = value.as_timestamp().ok_or_else(|| self.bad(name))?;
                Ok(Some(Ts::new(ts.time, ts.increment)))
            }
        }
    }

    pub(crate) fn millis(&self, name: &str) -> Result<i64> {
        let at = self.required(name)?.as_datetime().ok_or_else(|| self.bad(name))?;
        Ok(at.timestamp_millis())
    }

    pub(crate) fn binary(&self, name: &str) -> Result<&'a [u8]> {
        let binary = self.required(name)?.as_binary().ok_or_else(|| self.bad(name))?;
        Ok(binary.bytes)
    }

    pub(crate) fn doc(&self, name: &str) -> Result<&'a RawDocument> {
        self.required(name)?.as_document().ok_or_else(|| self.bad(name))
    }

    pub(crate) fn array(&self, name: &str) -> Result<&'a RawArray> {
        self.required(name)?.as_array().ok_or_else(|| self.bad(name))
    }

    /// The documents of an array.
    pub(crate) fn docs(&self, name: &str) -> Result<Vec<&'a RawDocument>> {
        let mut docs = Vec::new();
        for value in self.array(name)? {
            let value = value.map_err(|e| self.bad(name).source(e))?;
            docs.push(value.as_document().ok_or_else(|| self.bad(name))?);
        }
        Ok(docs)
    }
}

pub(crate) fn timestamp(ts: Ts) -> Timestamp {
    Timestamp { time: ts.secs(), increment: ts.inc() }
}

pub(crate) fn binary(bytes: &[u8]) -> bson::Binary {
    bson::Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}

pub(crate) fn uuid(bytes: [u8; 16]) -> bson::Binary {
    bson::Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() }
}

/// Counts are u64 in memory and int64 in BSON.
pub(crate) fn long(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
