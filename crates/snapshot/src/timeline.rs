//! Timelines: the histories of a part. A rollback or a source put back to an older
//! state forks one; a resync starts one afresh (docs/format.md, section 9).

use bson::rawdoc;
use bygone_base::{OpTime, Result, SyncId, TimelineId, Ts, UnixMillis};

use crate::fields::{Fields, binary, timestamp};

/// One timeline record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Its number.
    pub id: TimelineId,
    /// The entry it starts after.
    pub start: OpTime,
    /// The history it shares up to the fork point, if any.
    pub parent: Option<(TimelineId, OpTime)>,
    /// Why it was opened.
    pub reason: String,
    /// The initial sync that fills it, when it does not continue its parent's data.
    pub sync: Option<SyncId>,
    /// When, by our clock.
    pub created: UnixMillis,
}

impl Timeline {
    /// The object's plain bytes.
    pub fn to_bson(&self) -> Vec<u8> {
        let mut doc = rawdoc! {
            "format": 1_i32,
            "id": self.id.0 as i32,
            "start_ts": timestamp(self.start.ts),
            "start_term": self.start.term,
        };
        match self.parent {
            Some((parent, fork)) => {
                doc.append(bson::cstr!("parent"), parent.0 as i32);
                doc.append(bson::cstr!("fork_ts"), timestamp(fork.ts));
                doc.append(bson::cstr!("fork_term"), fork.term);
            }
            None => {
                doc.append(bson::cstr!("parent"), bson::RawBson::Null);
                doc.append(bson::cstr!("fork_ts"), timestamp(Ts::MIN));
                doc.append(bson::cstr!("fork_term"), 0_i64);
            }
        }
        doc.append(bson::cstr!("reason"), self.reason.as_str());
        match self.sync {
            Some(sync) => doc.append(bson::cstr!("sync"), binary(&sync.0)),
            None => doc.append(bson::cstr!("sync"), bson::RawBson::Null),
        }
        doc.append(bson::cstr!("created"), bson::DateTime::from_millis(self.created.0));
        doc.into_bytes()
    }

    /// Reads the object's plain bytes.
    pub fn from_bson(bytes: &[u8]) -> Result<Timeline> {
        let f = Fields::new(bytes, "timeline record")?;
        f.format_one()?;
        let id = |name| -> Result<TimelineId> {
            Ok(TimelineId(u32::try_from(f.i32(name)?).map_err(|_| f.bad(name))?))
        };
        let parent = match f.optional("parent")? {
            None => None,
            Some(_) => Some((id("parent")?, OpTime::new(f.ts("fork_ts")?, f.i64("fork_term")?))),
        };
        let sync = match f.optional("sync")? {
            None => None,
            Some(_) => Some(SyncId::from_slice(f.binary("sync")?).ok_or_else(|| f.bad("sync"))?),
        };
        Ok(Timeline {
            id: id("id")?,
            start: OpTime::new(f.ts("start_ts")?, f.i64("start_term")?),
            parent,
            reason: f.str("reason")?.to_owned(),
            sync,
            created: UnixMillis(f.millis("created")?),
        })
    }
}

/// The stretch of one timeline that belongs to another one's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The timeline that holds the slices.
    pub timeline: TimelineId,
    /// Entries after this one.
    pub after: OpTime,
    /// Up to and including this one; `None`: to its end.
    pub until: Option<OpTime>,
}

/// The history of timeline `id`, oldest stretch first: its own slices and, where
/// it forked from another, that one's up to the fork. Ends at a timeline that a
/// sync filled.
pub fn lineage(timelines: &[Timeline], id: TimelineId) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut next = Some((id, None));
    // A chain cannot be longer than the list: guards against a damaged cycle.
    while let Some((id, until)) = next
        && stretches.len() < timelines.len()
        && let Some(timeline) = timelines.iter().find(|t| t.id == id)
    {
        stretches.push(Stretch { timeline: id, after: timeline.start, until });
        next = match (timeline.sync, timeline.parent) {
            // A later fork may lie before an earlier one: it voids what the timelines between them share too.
            (None, Some((parent, fork))) => {
                Some((parent, Some(until.map_or(fork, |until| until.min(fork)))))
            }
            _ => None,
        };
    }
    stretches.reverse();
    stretches
}

/// Whether a state of timeline `of` at `at` belongs to the history `lineage`.
pub fn includes(lineage: &[Stretch], of: TimelineId, at: OpTime) -> bool {
    lineage.iter().any(|s| s.timeline == of && s.until.is_none_or(|until| at.ts <= until.ts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u32, start: u64, parent: Option<(u32, u64)>, sync: bool) -> Timeline {
        Timeline {
            id: TimelineId(id),
            start: OpTime::new(Ts(start), 1),
            parent: parent.map(|(p, f)| (TimelineId(p), OpTime::new(Ts(f), 1))),
            reason: "test".into(),
            sync: sync.then_some(SyncId([1; 8])),
            created: UnixMillis(5),
        }
    }

    #[test]
    fn a_record_reads_back() {
        for timeline in [line(1, 10, None, true), line(2, 50, Some((1, 50)), false)] {
            assert_eq!(Timeline::from_bson(&timeline.to_bson()).unwrap(), timeline);
        }
    }

    #[test]
    fn what_a_fork_voids_is_not_in_the_lineage() {
        let all = [
            line(1, 10, None, true),
            line(2, 50, Some((1, 50)), false),
            line(3, 80, Some((2, 80)), false),
        ];
        let history = lineage(&all, TimelineId(3));
        assert_eq!(history.iter().map(|s| s.timeline.0).collect::<Vec<_>>(), [1, 2, 3]);
        let at = |ts| OpTime::new(Ts(ts), 1);
        assert!(includes(&history, TimelineId(1), at(50)));
        assert!(!includes(&history, TimelineId(1), at(51)));
        assert!(includes(&history, TimelineId(2), at(80)));
        assert!(includes(&history, TimelineId(3), at(1000)));
    }

    #[test]
    fn a_fork_before_an_earlier_fork_voids_both() {
        let all = [
            line(1, 10, None, true),
            line(2, 50, Some((1, 50)), false),
            line(3, 30, Some((2, 30)), false),
        ];
        let history = lineage(&all, TimelineId(3));
        let at = |ts| OpTime::new(Ts(ts), 1);
        let untils: Vec<_> = history.iter().map(|s| s.until.map(|u| u.ts.0)).collect();
        assert_eq!(untils, [Some(30), Some(30), None]);
        assert!(!includes(&history, TimelineId(1), at(31)));
        assert!(!includes(&history, TimelineId(2), at(60)));
    }

    #[test]
    fn a_resync_starts_a_history_of_its_own() {
        let all = [line(1, 10, None, true), line(2, 99, Some((1, 60)), true)];
        assert_eq!(lineage(&all, TimelineId(2)).len(), 1);
    }
}
