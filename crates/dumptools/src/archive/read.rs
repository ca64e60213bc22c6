//! Reading an archive, forward only, from anything: every length is bounded, damage is told with its position.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use bygone_base::{Error, Result};
use bygone_document::{Doc, MAX_DOCUMENT};
use bytes::Bytes;

use super::{Crc, END, Entry, MAGIC, Prelude};
use crate::frames::Piece;

/// Bytes read at once, and bytes of documents given out at once.
const PIECE: usize = 1 << 20;

/// What comes next in an archive.
#[derive(Debug, Clone)]
pub enum Event {
    /// Documents of a collection.
    Documents {
        /// Database.
        db: String,
        /// Collection.
        collection: String,
        /// The documents.
        piece: Piece,
    },
    /// A collection is complete, and its hash was right.
    End {
        /// Database.
        db: String,
        /// Collection.
        collection: String,
    },
}

type Name = (String, String);

/// Reads one archive.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were used.
    used: usize,
    /// Where in the archive the buffer begins.
    at: u64,
    open: Option<Name>,
    crcs: BTreeMap<Name, Crc>,
    ended: BTreeSet<Name>,
    /// What the prelude has.
    promised: BTreeSet<Name>,
    /// What of it has not ended.
    expected: BTreeSet<Name>,
    /// Where the entries of the prelude stand.
    places: Vec<u64>,
    /// Whose hash does not matter.
    muted: BTreeSet<Name>,
    /// Why no more could be read; what was read before comes first.
    broken: Option<Error>,
    failed: bool,
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Event>;

    /// Fails when a read does, and Damaged when the archive is cut, malformed, or a collection's hash is wrong;
    /// then it ends. Without a failure it ends only when everything that was promised has come.
    fn next(&mut self) -> Option<Result<Event>> {
        if self.failed {
            return None;
        }
        let next = self.step().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl<R: Read> Reader<R> {
    /// Reads from `input`, which stands at the archive's first byte.
    pub fn new(input: R) -> Self {
        Reader {
            input,
            buffer: Vec::new(),
            used: 0,
            at: 0,
            open: None,
            crcs: BTreeMap::new(),
            ended: BTreeSet::new(),
            promised: BTreeSet::new(),
            expected: BTreeSet::new(),
            places: Vec::new(),
            muted: BTreeSet::new(),
            broken: None,
            failed: false,
        }
    }

    /// Nobody wants this collection of the prelude: damage of its documents is passed over.
    pub fn mute(&mut self, db: &str, collection: &str) {
        self.muted.insert((db.to_owned(), collection.to_owned()));
    }

    /// Where the entry of that number stands in the archive.
    pub fn place(&self, entry: usize) -> u64 {
        self.places.get(entry).copied().unwrap_or_default()
    }

    /// Where the next unread byte stands.
    fn offset(&self) -> u64 {
        self.at + self.used as u64
    }

    fn bad(&self, what: impl std::fmt::Display) -> Error {
        bad_at(self.offset(), what)
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    /// Reads until at least `count` unread bytes are there, or the input ends.
    fn need(&mut self, count: usize) -> Result<bool> {
        if self.rest().len() >= count {
            return Ok(true);
        }
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        self.buffer.drain(..self.used);
        self.at += self.used as u64;
        self.used = 0;
        let more = count.max(PIECE) - self.buffer.len();
        let read = (&mut self.input).take(more as u64).read_to_end(&mut self.buffer);
        if let Err(error) = read {
            let at = self.at + self.buffer.len() as u64;
            self.broken = Some(Error::io(format!("error reading the archive at byte {at}"), error));
        }
        match self.broken.take_if(|_| self.buffer.len() < count) {
            Some(broken) => Err(broken),
            None => Ok(self.buffer.len() >= count),
        }
    }

    /// Whether `END` stands next; it is used up.
    fn at_end_mark(&mut self) -> Result<bool> {
        if !self.need(4)? {
            return Err(self.bad("the archive is truncated"));
        }
        let mark = self.rest().starts_with(&END);
        self.used += if mark { 4 } else { 0 };
        Ok(mark)
    }

    /// The length of the document that stands next, which is whole in the buffer.
    fn document(&mut self) -> Result<usize> {
        if !self.need(4)? {
            return Err(self.bad("the archive is truncated"));
        }
        let length = self.rest().first_chunk::<4>().map_or(0, |b| i32::from_le_bytes(*b));
        let length = match usize::try_from(length) {
            Ok(length) if (5..=MAX_DOCUMENT).contains(&length) => length,
            _ => return Err(self.bad(format_args!("{length} is not the length of a document"))),
        };
        if !self.need(length)? {
            return Err(self.bad("the archive is truncated inside a document"));
        }
        if self.rest().get(length - 1) != Some(&0) {
            return Err(self.bad("a document does not end with a zero byte"));
        }
        Ok(length)
    }

    /// Reads a document of the archive's own.
    fn own(&mut self) -> Result<Vec<u8>> {
        let length = self.document()?;
        let bytes = self.rest().get(..length).unwrap_or_default().to_vec();
        Ok(bytes)
    }

    /// What stands before the blocks. To be called first.
    ///
    /// # Errors
    /// Damaged: this is no archive, or it is cut.
    pub fn prelude(&mut self) -> Result<Prelude> {
        if !self.need(4)? || !self.rest().starts_with(&MAGIC) {
            return Err(Error::damaged("stream or file does not appear to be a mongodump archive")
                .hint("give --gzip if it is compressed"));
        }
        self.used += 4;
        let bytes = self.own()?;
        let mut prelude = header(&bytes).map_err(|e| self.bad(e))?;
        self.used += bytes.len();
        while !self.at_end_mark()? {
            let bytes = self.own()?;
            let entry = entry(&bytes).map_err(|e| self.bad(e))?;
            self.places.push(self.offset());
            self.used += bytes.len();
            self.promised.insert((entry.db.clone(), entry.collection.clone()));
            prelude.entries.push(entry);
        }
        self.expected = self.promised.clone();
        Ok(prelude)
    }

    /// What comes next; `None` at the end, when everything that was promised has come.
    fn step(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(name) = self.open.clone() {
                match self.in_block(&name)? {
                    Some(event) => return Ok(Some(event)),
                    None => self.open = None,
                }
                continue;
            }
            if !self.need(1)? {
                return self.finish();
            }
            if let Some(event) = self.block()? {
                return Ok(Some(event));
            }
        }
    }

    fn finish(&self) -> Result<Option<Event>> {
        let open = self.crcs.keys().chain(&self.expected).next();
        match open {
            None => Ok(None),
            Some((db, collection)) => Err(self.bad(format_args!(
                "archive finished before all collections were seen: {db}.{collection} has no end"
            ))),
        }
    }

    /// Begins a block, or gives the end of a collection.
    fn block(&mut self) -> Result<Option<Event>> {
        if self.need(4)? && self.rest().starts_with(&END) {
            return Err(self.bad("a block ends here, but none is open"));
        }
        let bytes = self.own()?;
        let Block { name, end, crc } = block(&bytes).map_err(|e| self.bad(e))?;
        let (db, collection) = &name;
        let plain = plain_name(&name);
        if !self.promised.contains(&name) && !self.promised.contains(&plain) {
            let text = format!("a block of {db}.{collection}, which the archive does not list");
            return Err(self.bad(text));
        }
        if self.ended.contains(&name) {
            let text = format!("a block of {db}.{collection}, which has ended before");
            return Err(self.bad(text));
        }
        self.used += bytes.len();
        if !end {
            self.crcs.entry(name.clone()).or_default();
            self.open = Some(name);
            return Ok(None);
        }
        let found = self.crcs.remove(&name).unwrap_or_default().finish();
        if found != crc && !self.muted.contains(&name) && !self.muted.contains(&plain) {
            return Err(self.bad(format_args!(
                "CRC mismatch for namespace {db}.{collection}, the archive is damaged"
            )));
        }
        if !self.at_end_mark()? {
            return Err(self.bad("documents behind the end of a collection"));
        }
        self.expected.remove(&name);
        self.expected.remove(&plain);
        self.ended.insert(name.clone());
        let (db, collection) = name;
        Ok(Some(Event::End { db, collection }))
    }

    /// Documents of the open block; `None` at its end.
    fn in_block(&mut self, name: &Name) -> Result<Option<Event>> {
        if self.at_end_mark()? {
            return Ok(None);
        }
        self.document()?;
        let (mut documents, mut end) = (0, 0);
        let rest = self.rest();
        while let Some(length) = whole_document(rest.get(end..).unwrap_or_default()) {
            documents += 1;
            end += length;
        }
        let bytes = Bytes::copy_from_slice(rest.get(..end).unwrap_or_default());
        self.used += end;
        if let Some(crc) = self.crcs.get_mut(name) {
            crc.update(&bytes);
        }
        let (db, collection) = name.clone();
        Ok(Some(Event::Documents { db, collection, piece: Piece { bytes, documents } }))
    }
}

/// The length of the document that `bytes` begins with, if it is whole and its frame is right.
fn whole_document(bytes: &[u8]) -> Option<usize> {
    let length = usize::try_from(i32::from_le_bytes(*bytes.first_chunk::<4>()?)).ok()?;
    let fits = (5..=MAX_DOCUMENT).contains(&length) && bytes.get(length - 1) == Some(&0);
    fits.then_some(length)
}

/// The name under which the prelude has what comes as `name`: buckets come under their own.
fn plain_name((db, collection): &Name) -> Name {
    let plain = collection.strip_prefix(bygone_restore::names::BUCKETS).unwrap_or(collection);
    (db.clone(), plain.to_owned())
}

fn bad_at(place: u64, what: impl std::fmt::Display) -> Error {
    Error::damaged(format!("archive format error at byte {place}: {what}"))
}

/// What the prelude begins with. Old tools say less in it.
fn header(bytes: &[u8]) -> Result<Prelude> {
    let doc = Doc::new(bytes)?;
    let concurrent = doc.get("concurrent_collections")?.and_then(|e| e.as_i32());
    Ok(Prelude {
        concurrent: concurrent.unwrap_or_default(),
        server: optional(doc, "server_version")?,
        tool: optional(doc, "tool_version")?,
        entries: Vec::new(),
    })
}

fn entry(bytes: &[u8]) -> Result<Entry> {
    let doc = Doc::new(bytes)?;
    Ok(Entry {
        db: text(doc, "db")?,
        collection: text(doc, "collection")?,
        metadata: optional(doc, "metadata")?,
        kind: optional(doc, "type")?,
    })
}

/// What a block begins with.
struct Block {
    name: Name,
    end: bool,
    crc: i64,
}

fn block(bytes: &[u8]) -> Result<Block> {
    let doc = Doc::new(bytes)?;
    let name = (text(doc, "db")?, text(doc, "collection")?);
    let wrong = |field: &str| Error::damaged(format!("a block with a malformed {field}"));
    let end = match doc.get("EOF")? {
        Some(end) => end.as_bool().ok_or_else(|| wrong("EOF"))?,
        None => false,
    };
    let crc = match doc.get("CRC")? {
        Some(crc) => crc.as_integer().ok_or_else(|| wrong("CRC"))?,
        None => 0,
    };
    Ok(Block { name, end, crc })
}

fn text(doc: Doc<'_>, name: &str) -> Result<String> {
    let text = doc.get(name)?.and_then(|e| e.as_str()).map(str::to_owned);
    text.ok_or_else(|| Error::damaged(format!("the archive has a header without {name}")))
}

/// A text that may be missing.
fn optional(doc: Doc<'_>, name: &str) -> Result<String> {
    let text = doc.get(name)?.and_then(|e| e.as_str());
    Ok(text.unwrap_or_default().to_owned())
}
