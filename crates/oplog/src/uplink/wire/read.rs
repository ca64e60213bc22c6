//! Typed reads of a BSON message, each with an error that names message and field.

use bson::RawDocumentBuf;
use bygone_base::{CollectionId, Error, OpTime, Result, Ts};

use crate::raw::{self, Element, types};

/// A document that is read field by field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    doc: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `doc`, called `what` in errors.
    pub(crate) fn new(what: &'static str, doc: &'a [u8]) -> Result<Self> {
        raw::elements(doc)?;
        Ok(Reader { what, doc })
    }

    /// The document's bytes.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.doc
    }

    fn bad(&self, name: &str) -> Error {
        Error::damaged(format!("{}: field {name:?} is missing or of another type", self.what))
    }

    fn get<T>(&self, name: &str, read: impl Fn(&Element<'a>) -> Option<T>) -> Result<T> {
        raw::get(self.doc, name)?.and_then(|e| read(&e)).ok_or_else(|| self.bad(name))
    }

    /// Whether the field is there and not null.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        Ok(raw::get(self.doc, name)?.is_some_and(|e| e.kind != 0x0A))
    }

    /// A string.
    pub(crate) fn str(&self, name: &str) -> Result<&'a str> {
        self.get(name, Element::str)
    }

    /// A string.
    pub(crate) fn string(&self, name: &str) -> Result<String> {
        self.str(name).map(str::to_owned)
    }

    /// A truth value.
    pub(crate) fn bool(&self, name: &str) -> Result<bool> {
        self.get(name, Element::bool)
    }

    /// A number that fits 32 bits without sign.
    pub(crate) fn u32(&self, name: &str) -> Result<u32> {
        self.get(name, |e| e.int().and_then(|n| u32::try_from(n).ok()))
    }

    /// The 64 bits of an int64.
    pub(crate) fn u64(&self, name: &str) -> Result<u64> {
        self.get(name, |e| if e.kind == types::INT64 { e.int() } else { None }).map(|n| n as u64)
    }

    /// A signed number.
    pub(crate) fn i64(&self, name: &str) -> Result<i64> {
        self.u64(name).map(|n| n as i64)
    }

    /// A timestamp.
    pub(crate) fn ts(&self, name: &str) -> Result<Ts> {
        self.get(name, Element::ts)
    }

    /// A position, in two fields.
    pub(crate) fn op_time(&self, ts: &str, term: &str) -> Result<OpTime> {
        Ok(OpTime::new(self.ts(ts)?, self.i64(term)?))
    }

    /// A UUID.
    pub(crate) fn uuid(&self, name: &str) -> Result<CollectionId> {
        self.get(name, Element::uuid)
    }

    /// A UUID, or `None` where the field is not there.
    pub(crate) fn optional_uuid(&self, name: &str) -> Result<Option<CollectionId>> {
        if self.has(name)? { self.uuid(name).map(Some) } else { Ok(None) }
    }

    /// Generic binary.
    pub(crate) fn binary(&self, name: &str) -> Result<&'a [u8]> {
        self.get(name, generic)
    }

    /// Generic binary of exactly this length.
    pub(crate) fn id<const N: usize>(&self, name: &str) -> Result<[u8; N]> {
        self.get(name, |e| generic(e)?.try_into().ok())
    }

    /// A document's bytes, or `None` where there is null.
    pub(crate) fn optional_doc(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if self.has(name)? { Ok(Some(self.doc(name)?.bytes().to_vec())) } else { Ok(None) }
    }

    /// An embedded document.
    pub(crate) fn doc(&self, name: &str) -> Result<Reader<'a>> {
        Reader::new(self.what, self.get(name, Element::doc)?)
    }

    /// An embedded document of its own.
    pub(crate) fn owned(&self, name: &str) -> Result<RawDocumentBuf> {
        raw::owned(self.get(name, Element::doc)?)
    }

    /// An array, element by element.
    fn list<T>(
        &self,
        name: &str,
        mut read: impl FnMut(&Element<'a>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut walk = raw::elements(self.get(name, Element::array)?)?;
        let mut out = Vec::new();
        while let Some(element) = walk.next()? {
            out.push(read(&element)?);
        }
        Ok(out)
    }

    /// An array of documents, read one by one.
    pub(crate) fn each<T>(
        &self,
        name: &str,
        mut read: impl FnMut(Reader<'a>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.list(name, |e| read(Reader::new(self.what, e.doc().ok_or_else(|| self.bad(name))?)?))
    }

    /// An array of documents.
    pub(crate) fn docs(&self, name: &str) -> Result<Vec<RawDocumentBuf>> {
        self.list(name, |e| raw::owned(e.doc().ok_or_else(|| self.bad(name))?))
    }

    /// An array of generic binaries.
    pub(crate) fn binaries(&self, name: &str) -> Result<Vec<Vec<u8>>> {
        self.list(name, |e| generic(e).map(<[u8]>::to_vec).ok_or_else(|| self.bad(name)))
    }

    /// An array of strings.
    pub(crate) fn strings(&self, name: &str) -> Result<Vec<String>> {
        self.list(name, |e| e.str().map(str::to_owned).ok_or_else(|| self.bad(name)))
    }
}

fn generic<'a>(e: &Element<'a>) -> Option<&'a [u8]> {
    match e.value {
        [_, _, _, _, 0, body @ ..] if e.kind == types::BINARY => Some(body),
        _ => None,
    }
}
