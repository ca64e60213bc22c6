//! Appending an oplog slice to the chain: never a gap, never a fork, and an
//! answer only once it is durable.
//!
//! The name of a slice is the position that it continues from, and it is put if
//! absent: of all writers on one bucket only one can continue from a position.
//! A name that is taken is either our own write whose reply was lost, or a
//! rival's: the contents tell.

use std::sync::Arc;

use bygone_base::{Error, ErrorKind, OpTime, Result};
use bygone_blockstore::Put;
use bygone_oplog::{
    chain::{Accept, Chain},
    slice::{DecodedSlice, Slice, SliceBuilder},
    uplink::{Ack, SessionRef},
};
use bytes::Bytes;

use crate::{
    Event, Ingest,
    chain_read::{Walk, blocking, decode},
    history::{self, History},
    ingest::conflict,
    part::Part,
};

/// Each round either ends or learns more of the chain; rivals that write all
/// the time are fenced long before.
const ROUNDS: usize = 8;

/// A slice on its way in.
struct Candidate {
    bytes: Bytes,
    decoded: Arc<DecodedSlice>,
}

impl Candidate {
    async fn new(bytes: Bytes) -> Result<Candidate> {
        let slice = Slice::parse(bytes.clone())?;
        if slice.header().compacted {
            return Err(Error::usage("an agent does not send compacted slices"));
        }
        Ok(Candidate { bytes, decoded: Arc::new(decode(slice).await?) })
    }

    fn prev(&self) -> OpTime {
        self.decoded.header().prev
    }

    fn last(&self) -> OpTime {
        self.decoded.header().last
    }

    /// What comes after `at`, as a slice of its own.
    async fn after(&self, at: OpTime, level: i32) -> Result<Candidate> {
        let decoded = Arc::clone(&self.decoded);
        let bytes = blocking(move || {
            let mut builder = SliceBuilder::new(at);
            for (position, entry) in decoded.entries_after(at)? {
                builder.push(entry, position)?;
            }
            builder.finish(level)
        })
        .await?;
        Candidate::new(bytes).await
    }
}

impl Ingest {
    pub(crate) async fn append(&self, s: &SessionRef, bytes: Bytes) -> Result<Ack> {
        let part = self.part(&s.key);
        let weight = Slice::parse(bytes.clone())?.header().raw_len as usize + bytes.len();
        let _memory = self.reserve(weight).await?;
        let mut slice = Candidate::new(bytes).await.map_err(|e| e.within(&s.key.part))?;
        let _order = part.order.lock().await;
        let mut fresh = false;
        for _ in 0..ROUNDS {
            let history = self.session_at(&part, s).await?;
            match (Chain { at: history.chain }).accept(slice.decoded.header()) {
                Accept::Append if !self.confirm(&part, s, &history).await? => fresh = true,
                Accept::Append => {
                    if let Some(ack) = self.put(&part, s, &history, &slice).await? {
                        return Ok(ack);
                    }
                    fresh = true;
                }
                // Another process may have gone on: look before refusing.
                _ if !fresh => {
                    self.reload_chain(&part, s, &history).await?;
                    fresh = true;
                }
                Accept::Duplicate => {
                    same_as_stored(&part, &history, &slice, slice.last()).await?;
                    return Ok(Ack::AlreadyStored);
                }
                Accept::Overlap { end } => {
                    same_as_stored(&part, &history, &slice, end).await?;
                    slice = slice.after(end, self.options.level).await?;
                }
                Accept::Gap { end, prev } => {
                    return Err(conflict(format!(
                        "slice refused: it continues from {prev}, but the chain ends at {end}"
                    )));
                }
                Accept::Fork { end, other } => return Err(forked(end, other)),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "the chain changes faster than slices come in"))
    }

    /// Whether the chain still ends where we think. Another process that serves
    /// the same session may have gone on, and what it stored may be compacted by now, so
    /// that the name which would tell is free again.
    async fn confirm(&self, part: &Part, s: &SessionRef, history: &History) -> Result<bool> {
        if self.is_confirmed(part).await {
            return Ok(true);
        }
        if part.files.continues(s.timeline, history.chain).await? {
            self.reload_chain(part, s, history).await?;
            return Ok(false);
        }
        self.advance(part, s, history.clone()).await?;
        Ok(true)
    }

    /// Puts a slice that fits the end of the chain; `None` when that was not
    /// the end, or may not have been: the chain was loaded anew then.
    async fn put(
        &self,
        part: &Part,
        s: &SessionRef,
        history: &History,
        slice: &Candidate,
    ) -> Result<Option<Ack>> {
        let name = part.files.slice_name(s.timeline, slice.prev(), None);
        let began = self.clock.monotonic();
        let put = part.files.put_slice(&name, &slice.bytes).await?;
        // So long that another may have gone on meanwhile, and been compacted.
        let slow = self.clock.monotonic().saturating_sub(began) >= self.options.fence_check;
        if slow || (put == Put::Exists && !same_slice(part, &name, &slice.bytes).await?) {
            self.check_fence(part, s).await?;
            self.reload_chain(part, s, history).await?;
            return Ok(None);
        }
        self.advance(part, s, history.at(slice.last())).await?;
        part.feed.send(&Event::Slice {
            timeline: s.timeline,
            header: *slice.decoded.header(),
            bytes: slice.bytes.clone(),
        });
        Ok(Some(if put == Put::Created { Ack::Stored } else { Ack::AlreadyStored }))
    }

    /// Reads the end of the chain from the store again.
    async fn reload_chain(&self, part: &Part, s: &SessionRef, history: &History) -> Result<()> {
        let Some(timeline) = history.newest() else { return Ok(()) };
        let end = history::chain_end(&part.files, timeline).await?;
        if end != history.chain {
            // Somebody else appended: a daemon that follows our events has to look.
            part.feed.send(&Event::Lagged);
            self.advance(part, s, history.at(end)).await?;
        }
        Ok(())
    }
}

async fn same_slice(part: &Part, name: &str, bytes: &Bytes) -> Result<bool> {
    // Gone again means compacted: the chain tells what became of it.
    Ok(part.files.slice(name).await?.is_some_and(|stored| stored.bytes() == bytes))
}

/// Checks that the chain holds exactly the slice's entries up to `until`.
async fn same_as_stored(
    part: &Part,
    history: &History,
    slice: &Candidate,
    until: OpTime,
) -> Result<()> {
    let mut walk = Walk::new(&part.files, history.timeline()).await?;
    let mut at = slice.prev();
    while at < until {
        let other = |e: Error| {
            if e.kind() == ErrorKind::Damaged {
                return conflict(format!("slice refused: the stored history is another one ({e})"));
            }
            e
        };
        let Some(stored) = walk.next(at).await.map_err(other)? else {
            return Err(conflict(format!(
                "slice refused: the stored slices after {at} are gone, it cannot be compared"
            )));
        };
        let ours = Arc::clone(&slice.decoded);
        at = blocking(move || compare(&ours, &stored, at, until)).await?;
    }
    Ok(())
}

/// Compares entry by entry after `at`, as far as both reach but not beyond
/// `until`; how far that was.
fn compare(
    ours: &DecodedSlice,
    stored: &DecodedSlice,
    at: OpTime,
    until: OpTime,
) -> Result<OpTime> {
    let end = stored.header().last.min(until);
    let other =
        |e: Error| conflict(format!("slice refused: the stored history is another one ({e})"));
    let mut theirs = stored.entries_after(at)?.take_while(|(position, _)| *position <= end);
    for (position, entry) in ours.entries_after(at).map_err(other)? {
        if position > end {
            break;
        }
        match theirs.next() {
            Some(stored) if stored == (position, entry) => {}
            Some((stored, _)) => return Err(forked(stored, position)),
            None => return Err(forked(end, position)),
        }
    }
    match theirs.next() {
        Some((stored, _)) => Err(forked(stored, end)),
        None => Ok(end),
    }
}

fn forked(stored: OpTime, sent: OpTime) -> Error {
    conflict(format!("slice refused: it would fork the history (stored: {stored}, sent: {sent})"))
}
