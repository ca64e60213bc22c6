//! One document: what it was in the base, and what happened to it.

use bygone_base::{CollectionId, Error, Result, Ts};
use bygone_document::{Error as DocError, apply};

use crate::{
    leaf::Position,
    run::{OpKind, RunOp},
};

/// The moments that decide which operations count for the documents of one leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The base contains every change up to here: operations up to here do not count.
    pub as_of: Ts,
    /// The base may contain changes up to here: up to here, operations may not fit it.
    pub valid_from: Ts,
    /// The moment that is read: operations after it do not count.
    pub at: Ts,
}

impl Window {
    /// Whether an operation counts.
    #[inline]
    pub fn is_live(&self, ts: Ts) -> bool {
        self.as_of < ts && ts <= self.at
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no document.
    Absent,
    /// The document is as it was in the base.
    Base,
    /// The document is in the buffer.
    Changed,
}

/// Applies the operations of one key, in order, to its document. Reused from key to key.
#[derive(Debug)]
pub struct Resolver {
    state: State,
    position: Position,
    forgotten: Option<Position>,
    buffer: Vec<u8>,
    other: Vec<u8>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver {
    /// With no document.
    pub fn new() -> Self {
        Resolver {
            state: State::Absent,
            position: Position::default(),
            forgotten: None,
            buffer: Vec::new(),
            other: Vec::new(),
        }
    }

    /// Begins with a document of the base at `position`, or with none.
    pub fn begin(&mut self, base: Option<Position>) {
        self.state = if base.is_some() { State::Base } else { State::Absent };
        self.position = base.unwrap_or_default();
    }

    /// Applies `op`; `base` is the document that `begin` spoke of. Operations outside the window do nothing.
    ///
    /// # Errors
    /// Damaged when the operation cannot have been made on this document and the base is not fuzzy there.
    pub fn apply(&mut self, base: &[u8], op: &RunOp<'_>, window: &Window) -> Result<()> {
        if !window.is_live(op.ts) {
            return Ok(());
        }
        let fuzzy = op.ts <= window.valid_from;
        match op.kind {
            OpKind::Insert => {
                self.forget(fuzzy);
                self.put(op.value, Position { ts: op.ts, n: op.n });
            }
            OpKind::Scan => self.put(op.value, Position { ts: Ts::MIN, n: op.n }),
            OpKind::Replace => {
                let new = Position { ts: op.ts, n: op.n };
                let kept = if self.state == State::Absent { new } else { self.position };
                self.put(op.value, kept);
            }
            OpKind::Delete => self.state = State::Absent,
            OpKind::Update if self.state == State::Absent && fuzzy => {}
            OpKind::Update if self.state == State::Absent => {
                return Err(damage(op, "an update finds no document"));
            }
            OpKind::Update => self.update(base, op.value, op, fuzzy)?,
            OpKind::Upsert => self.upsert(base, op, fuzzy)?,
        }
        Ok(())
    }

    /// The highest position of a document that was there when its `_id` was inserted anew. Servers that do not
    /// log what a capped collection drops had dropped it by then, and all that stood before it.
    pub fn forgotten(&self) -> Option<Position> {
        self.forgotten
    }

    /// The document that stands here is gone, for it is inserted again: unless a copy of the base may have
    /// read what that insert made.
    fn forget(&mut self, fuzzy: bool) {
        let by_log = self.position.ts > Ts::MIN;
        if self.state != State::Absent && (by_log || !fuzzy) {
            self.forgotten = self.forgotten.max(Some(self.position));
        }
    }

    /// The document as it is now and its position.
    pub fn result<'a>(&'a self, base: &'a [u8]) -> Option<(&'a [u8], Position)> {
        match self.state {
            State::Absent => None,
            State::Base => Some((base, self.position)),
            State::Changed => Some((&self.buffer, self.position)),
        }
    }

    fn put(&mut self, doc: &[u8], position: Position) {
        self.buffer.clear();
        self.buffer.extend_from_slice(doc);
        self.state = State::Changed;
        self.position = position;
    }

    fn update(&mut self, base: &[u8], o: &[u8], op: &RunOp<'_>, fuzzy: bool) -> Result<()> {
        let pre = if self.state == State::Base { base } else { &self.buffer };
        self.other.clear();
        match apply(pre, o, &mut self.other) {
            Ok(applied) if applied.is_anomalous() && !fuzzy => {
                return Err(damage(op, "an update does not fit the document it finds"));
            }
            Ok(_) => {
                std::mem::swap(&mut self.buffer, &mut self.other);
                self.state = State::Changed;
            }
            // The document is newer than the update; what it would have changed is overwritten later.
            Err(DocError::TooLarge { .. }) if fuzzy => {}
            Err(error) => return Err(Error::from(error).within(of(op))),
        }
        Ok(())
    }

    /// `o2` is what the document begins with where there is none.
    fn upsert(&mut self, base: &[u8], op: &RunOp<'_>, fuzzy: bool) -> Result<()> {
        let len = op.value.first_chunk().map(|len| u32::from_le_bytes(*len));
        let parts = len
            .and_then(|len| usize::try_from(len).ok())
            .and_then(|len| op.value.split_at_checked(len));
        let Some((o2, o)) = parts else {
            return Err(damage(op, "an upsert is cut short"));
        };
        if self.state == State::Absent {
            self.put(o2, Position { ts: op.ts, n: op.n });
        }
        self.update(base, o, op, fuzzy)
    }
}

#[cold]
fn damage(op: &RunOp<'_>, what: &str) -> Error {
    Error::damaged(format!("{}: {what}", of(op)))
        .hint("take a new snapshot from the source (resync) and keep this store for examination")
}

fn of(op: &RunOp<'_>) -> String {
    format!("collection {}, _id {}, operation {} {}", Uuid(op.coll), ShownKey(op.key), op.ts, op.n)
}

struct Uuid(CollectionId);

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, byte) in self.0.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// First bytes of keys (docs/format-keys.md) that are shown as more than digits.
const OBJECT_ID: u8 = 0x48;
const STRING: u8 = 0x28;

/// A key as people can look it up: ObjectIds and strings as such, anything else as the key's bytes.
/// At most 64 bytes of it.
struct ShownKey<'a>(&'a [u8]);

impl std::fmt::Display for ShownKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, body) = match self.0.split_first() {
            Some((&OBJECT_ID, body)) => ("ObjectId", body),
            Some((&STRING, body)) => ("string", body.strip_suffix(&[0]).unwrap_or(body)),
            _ => ("key", self.0),
        };
        let cut = &body[..body.len().min(64)];
        write!(f, "{name}(")?;
        if name == "string" {
            write!(f, "{:?}", String::from_utf8_lossy(cut))?;
        } else {
            cut.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        f.write_str(if cut.len() < body.len() { "...)" } else { ")" })
    }
}
