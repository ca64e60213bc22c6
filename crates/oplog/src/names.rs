//! Names of slice objects: docs/format.md section 1.

use bygone_base::{Error, JobName, OpTime, PartName, Result, TimelineId, Ts};

use crate::slice::SliceHeader;

/// What the name of a slice object says. Names of one timeline sort by `prev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceName {
    /// Timeline.
    pub timeline: TimelineId,
    /// The entry that it continues from.
    pub prev: OpTime,
    /// Where it ends; compacted slices only.
    pub last: Option<Ts>,
}

impl SliceName {
    /// The name for a slice with this header.
    pub fn of(timeline: TimelineId, header: &SliceHeader) -> Self {
        let last = header.compacted.then_some(header.last.ts);
        SliceName { timeline, prev: header.prev, last }
    }

    /// The object's whole name.
    pub fn object(&self, job: &JobName, part: &PartName) -> String {
        format!("{}{}", prefix(job, part, self.timeline), self.leaf())
    }

    /// The part of the name after the timeline's folder.
    pub fn leaf(&self) -> String {
        let prev = format!("{:016x}-{:016x}", self.prev.ts.0, self.prev.term as u64);
        match self.last {
            Some(last) => format!("{prev}+{:016x}", last.0),
            None => prev,
        }
    }

    /// Reads the part of the name after the timeline's folder. Damaged when it is none.
    pub fn parse_leaf(timeline: TimelineId, leaf: &str) -> Result<Self> {
        let bad = || Error::damaged(format!("{leaf:?} is not the name of an oplog slice"));
        let (prev, last) = match leaf.split_once('+') {
            Some((prev, last)) => (prev, Some(last)),
            None => (leaf, None),
        };
        let (ts, term) = prev.split_once('-').ok_or_else(bad)?;
        let prev = OpTime::new(Ts(hex(ts).ok_or_else(bad)?), hex(term).ok_or_else(bad)? as i64);
        let last = last.map(|last| hex(last).map(Ts).ok_or_else(bad)).transpose()?;
        if last.is_some_and(|last| last <= prev.ts) {
            return Err(bad());
        }
        Ok(SliceName { timeline, prev, last })
    }

    /// Reads an object's whole name, with its job and part.
    pub fn parse(object: &str) -> Result<(JobName, PartName, Self)> {
        let bad = || Error::damaged(format!("{object:?} is not the name of an oplog slice"));
        let parts: Vec<&str> = object.split('/').collect();
        let ["jobs", job, part, "oplog", timeline, leaf] = parts[..] else { return Err(bad()) };
        let digits = timeline.len() == 8 && timeline.bytes().all(|b| b.is_ascii_digit());
        let timeline = TimelineId(timeline.parse().ok().filter(|_| digits).ok_or_else(bad)?);
        Ok((job.parse()?, part.parse()?, SliceName::parse_leaf(timeline, leaf)?))
    }
}

/// The folder of a timeline's slices, with the final slash.
pub fn prefix(job: &JobName, part: &PartName, timeline: TimelineId) -> String {
    format!("jobs/{job}/{part}/oplog/{timeline}/")
}

fn hex(text: &str) -> Option<u64> {
    let good = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if good { u64::from_str_radix(text, 16).ok() } else { None }
}
