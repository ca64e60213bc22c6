//! Reading the stored oplog of one history in order: through compacted and small
//! slices, across forks, while ingest compacts and expires beside us.

use bygone_base::{Error, ErrorKind, OpTime, Result, TimelineId, Ts, work};
use bygone_blockstore::ObjectKind;
use bygone_oplog::{
    names::SliceName,
    slice::{DecodedSlice, Slice},
};

use crate::{
    list::PartStore,
    ranges::{Covered, Range},
    timeline::Stretch,
};

/// A listing is repeated so often when slices vanish under the reader.
const RELISTS: u32 = 8;

/// Goes along the oplog of a history. Every step proves that the entry reached so far exists in the
/// slice that goes on from it.
#[derive(Debug)]
pub struct OplogWalk {
    part: PartStore,
    /// What is still ahead, current stretch first.
    ahead: Vec<Stretch>,
    at: OpTime,
    names: Vec<SliceName>,
    listed: Option<TimelineId>,
}

/// Some consecutive entries of the oplog.
#[derive(Debug)]
pub struct Portion {
    slice: DecodedSlice,
    after: OpTime,
    until: Option<OpTime>,
}

impl Portion {
    /// The portion of one slice after `after`.
    ///
    /// # Errors
    /// Damaged when the slice does not hold `after`.
    pub fn new(slice: DecodedSlice, after: OpTime) -> Result<Portion> {
        drop(slice.entries_after(after)?);
        Ok(Portion { slice, after, until: None })
    }

    /// The entries, in order.
    pub fn entries(&self) -> Result<impl Iterator<Item = (OpTime, &[u8])>> {
        let until = self.until;
        let entries = self.slice.entries_after(self.after)?;
        Ok(entries.take_while(move |(at, _)| until.is_none_or(|until| at.ts <= until.ts)))
    }

    /// The last entry.
    pub fn last(&self) -> OpTime {
        let last = self.slice.header().last;
        self.until.filter(|until| until.ts < last.ts).unwrap_or(last)
    }
}

impl OplogWalk {
    /// From after `from` on.
    ///
    /// # Errors
    /// NotCovered when `from` lies outside the history.
    pub fn new(part: PartStore, history: &[Stretch], from: OpTime) -> Result<Self> {
        let holds =
            |s: &&Stretch| s.after.ts <= from.ts && s.until.is_none_or(|until| from.ts < until.ts);
        let first = history.iter().position(|s| holds(&s)).ok_or_else(|| {
            Error::new(ErrorKind::NotCovered, format!("{from} is not in the stored history"))
        })?;
        Ok(OplogWalk {
            part,
            ahead: history[first..].to_vec(),
            at: from,
            names: Vec::new(),
            listed: None,
        })
    }

    /// The entry reached.
    pub fn at(&self) -> OpTime {
        self.at
    }

    /// The next portion; `None` at the end of what is stored.
    ///
    /// # Errors
    /// Damaged at a hole or at a slice that does not hold the entry reached.
    pub async fn next(&mut self) -> Result<Option<Portion>> {
        loop {
            let Some(stretch) = self.ahead.first().copied() else { return Ok(None) };
            if stretch.until.is_some_and(|until| self.at.ts >= until.ts) {
                self.ahead.remove(0);
                continue;
            }
            let Some(slice) = self.slice_after(stretch.timeline).await? else {
                return match stretch.until {
                    None => Ok(None),
                    Some(until) => Err(Error::damaged(format!(
                        "the oplog of timeline {} ends at {}, before its fork at {until}",
                        stretch.timeline, self.at
                    ))),
                };
            };
            let mut portion = Portion::new(slice, self.at)?;
            portion.until = stretch.until;
            self.at = portion.last();
            return Ok(Some(portion));
        }
    }

    async fn slice_after(&mut self, timeline: TimelineId) -> Result<Option<DecodedSlice>> {
        if self.listed != Some(timeline) {
            self.names = names(&self.part, timeline).await?;
            self.listed = Some(timeline);
        }
        let mut looked_again = false;
        for _ in 0..RELISTS {
            if let Some(name) = pick(&self.names, self.at) {
                let Some(slice) = read(&self.part, &name).await? else {
                    // Compacted or expired since it was listed.
                    self.names = names(&self.part, timeline).await?;
                    continue;
                };
                if slice.header().last > self.at {
                    return self.decode(name, slice).await.map(Some);
                }
            }
            let Some(beyond) = self.names.iter().find(|name| name.prev.ts > self.at.ts) else {
                return Ok(None);
            };
            if looked_again {
                return Err(hole(self.at, beyond.prev));
            }
            // A listing made during a compaction may show neither the small slices nor the large one.
            self.names = names(&self.part, timeline).await?;
            looked_again = true;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the stored slices change faster than they are read",
        ))
    }

    async fn decode(&self, name: SliceName, slice: Slice) -> Result<DecodedSlice> {
        let object = name.object(self.part.job(), self.part.part());
        let decoded = work::run("a slice decoder", move || slice.decode())
            .await?
            .map_err(|e| e.within(&object))?;
        drop(decoded.entries_after(self.at).map_err(|e| e.within(&object))?);
        Ok(decoded)
    }
}

/// No stored slice leads on from `at`, and there are slices after it.
pub fn hole(at: OpTime, beyond: OpTime) -> Error {
    Error::damaged(format!("the stored oplog has a hole: nothing leads from {at} to {beyond}"))
        .hint(
            "bring the missing object back from a copy of the store, or back up under a new --name",
        )
}

/// The slices of a timeline, in order.
pub async fn names(part: &PartStore, timeline: TimelineId) -> Result<Vec<SliceName>> {
    let leaves = part.leaf_names(&format!("oplog/{timeline}/")).await?;
    let mut names = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        names.push(SliceName::parse_leaf(timeline, &leaf)?);
    }
    names.sort_unstable();
    Ok(names)
}

/// One slice, header checked; `None` when it is gone.
pub async fn read(part: &PartStore, name: &SliceName) -> Result<Option<Slice>> {
    let object = name.object(part.job(), part.part());
    match part.repository().get_object(ObjectKind::Slice, &object).await {
        Ok(bytes) => {
            let slice = Slice::parse(bytes).map_err(|e| e.within(&object))?;
            if slice.header().prev != name.prev
                || name.last.is_some_and(|last| last != slice.header().last.ts)
            {
                return Err(Error::damaged(format!("{object} holds another slice")));
            }
            Ok(Some(slice))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The compacted slice that reaches furthest beyond `at`, else the small one that begins last at or
/// before `at`.
fn pick(names: &[SliceName], at: OpTime) -> Option<SliceName> {
    let begun = &names[..names.partition_point(|name| name.prev.ts <= at.ts)];
    let compacted = begun.iter().filter(|name| name.last.is_some_and(|last| last > at.ts));
    let small = || begun.iter().rev().find(|name| name.last.is_none());
    compacted.max_by_key(|name| name.last).or_else(small).copied()
}

/// What the slices of a history cover, for [`crate::ranges`]. A small slice's name does not tell its end:
/// it ends where the next one begins, and only the last one is read.
pub async fn covered(part: &PartStore, history: &[Stretch]) -> Result<Vec<Covered>> {
    let mut all = Vec::new();
    for stretch in history {
        let names = names(part, stretch.timeline).await?;
        for (i, name) in names.iter().enumerate() {
            let next = names.get(i + 1..).and_then(|rest| rest.iter().find(|n| n.prev > name.prev));
            let last = match (name.last, next) {
                (Some(ts), _) => OpTime::new(ts, name.prev.term),
                (None, Some(next)) => next.prev,
                (None, None) => match read(part, name).await? {
                    Some(slice) => slice.header().last,
                    None => continue,
                },
            };
            all.push(Covered { timeline: stretch.timeline, prev: name.prev, last });
        }
    }
    Ok(all)
}

/// The moments in which a history went back, both ends included: after a fork, as long as the older timeline
/// had gone on, until something else was logged. What the source held then is void, and to give the state at
/// the fork for it would be to answer another question.
///
/// # Errors
/// Those of the store; a slice that cannot be read makes a stretch shorter.
pub async fn voids(part: &PartStore, history: &[Stretch]) -> Result<Vec<Range>> {
    let mut voids = Vec::new();
    for (n, older) in history.iter().enumerate() {
        let Some(fork) = older.until.map(|until| until.ts) else { continue };
        let ends = covered(part, std::slice::from_ref(older)).await?;
        let Some(end) = ends.iter().map(|slice| slice.last.ts).max() else { continue };
        if end <= fork {
            continue;
        }
        let first = first_after(part, history.get(n + 1..).unwrap_or_default()).await?;
        let to = first.map_or(end, Ts::prev);
        if fork < to {
            voids.push(Range { from: fork.next(), to });
        }
    }
    Ok(voids)
}

/// The first entry of these stretches; one that went back again before it logged anything has none.
async fn first_after(part: &PartStore, stretches: &[Stretch]) -> Result<Option<Ts>> {
    for stretch in stretches {
        let all = names(part, stretch.timeline).await?;
        let Some(name) = all.first() else { continue };
        let Some(slice) = readable(read(part, name).await)? else { continue };
        let first = slice.header().first;
        if stretch.until.is_none_or(|until| first <= until.ts) {
            return Ok(Some(first));
        }
    }
    Ok(None)
}

/// A damaged slice is none: `verify` names it, and who needs it meets it.
fn readable(slice: Result<Option<Slice>>) -> Result<Option<Slice>> {
    slice.or_else(|error| if error.kind() == ErrorKind::Damaged { Ok(None) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(prev: u64, last: Option<u64>) -> SliceName {
        SliceName { timeline: TimelineId(1), prev: OpTime::new(Ts(prev), 1), last: last.map(Ts) }
    }

    #[test]
    fn the_furthest_compacted_slice_wins() {
        let names = [name(10, None), name(10, Some(30)), name(10, Some(60)), name(60, None)];
        let at = |ts| OpTime::new(Ts(ts), 1);
        assert_eq!(pick(&names, at(10)), Some(names[2]));
        assert_eq!(pick(&names, at(59)), Some(names[2]));
        assert_eq!(pick(&names, at(60)), Some(names[3]));
        assert_eq!(pick(&names, at(9)), None);
    }
}
