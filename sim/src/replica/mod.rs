//! A replica set in memory: members that replicate, lag, fail and are elected, an oplog of
//! real entries, and the truth of what it holds at every moment.
//!
//! ```text
//! traffic ─▶ log: entries + model          source: what an agent sees of it
//!              │                              ▲
//!              └──▶ members (how far each has applied, majority point)
//! ```

pub mod doc;
pub mod log;
pub mod model;
mod source;
pub mod traffic;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bygone_agent::source::{MemberState, SourceError};
use bygone_base::{Clock, ErrorKind, OpTime, Ts};

pub use log::{Log, Write};
pub use model::{Held, Meta, Model, Moment};
pub use source::FakeSource;

use crate::{clock::EPOCH, dice::Dice};

/// A member.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it says it is.
    pub state: MemberState,
    /// Entries of the log that it has applied.
    pub applied: usize,
    /// Takes new entries only now and then.
    pub lags: bool,
    /// Delayed on purpose by so many seconds.
    pub delay: i64,
    /// Rollback id.
    pub rbid: i64,
    /// Grows when its cursors die.
    pub cursors: u64,
}

/// A history that was left: by a rollback or by an older state put back.
#[derive(Debug, Clone)]
pub struct Left {
    /// The log as it was.
    pub log: Log,
    /// How many of its entries were majority committed.
    pub majority: usize,
}

/// Everything about the set.
#[derive(Debug)]
pub struct State {
    /// Log and truth of the history that goes on.
    pub log: Log,
    /// Entries that a majority has.
    pub majority: usize,
    /// Members; the host of number `i` is `m{i}:1`.
    pub members: Vec<Member>,
    /// Histories whose majority-committed entries were taken back.
    pub left: Vec<Left>,
    /// Highest term ever.
    pub highest_term: i64,
    /// One of so many cursor reads fails; 0: none.
    pub cut_one_of: u64,
    /// Natural scans lose their place so many times.
    pub position_lost: u32,
    /// No-ops written on request.
    pub notes: u32,
    /// Server version.
    pub version: &'static str,
}

/// The set.
pub struct ReplicaSet {
    state: Mutex<State>,
    /// Its members' clock.
    pub clock: Arc<dyn Clock>,
    /// Choices of its faults.
    pub dice: Dice,
}

impl fmt::Debug for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplicaSet")
    }
}

/// An error that passes.
pub fn unavailable(what: &str) -> SourceError {
    SourceError::new(bygone_agent::source::Fault::Other, ErrorKind::Unavailable, what)
}

impl State {
    /// Members that take part in the set now.
    fn up(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.members.iter().enumerate().filter(|(_, m)| m.state != MemberState::Unreadable)
    }

    /// The member that takes writes.
    pub fn primary(&self) -> Option<usize> {
        self.up().find(|(_, m)| m.state == MemberState::Primary).map(|(i, _)| i)
    }

    /// The last entry of the first `n`.
    pub fn entry(&self, n: usize) -> OpTime {
        n.checked_sub(1).and_then(|i| self.log.entries.get(i)).map(|e| e.at).unwrap_or_default()
    }

    /// The majority point.
    pub fn majority_at(&self) -> OpTime {
        self.entry(self.majority)
    }

    /// The primary has what was written; the majority point follows.
    fn settle(&mut self) {
        let len = self.log.entries.len();
        if let Some(primary) = self.primary() {
            self.members[primary].applied = len;
        }
        let mut applied: Vec<usize> = self.members.iter().map(|m| m.applied).collect();
        applied.sort_unstable();
        let needed = applied.len() / 2 + 1;
        let point = applied[applied.len() - needed];
        self.majority = self.majority.max(point);
    }
}

impl ReplicaSet {
    /// A set of `members`, the first one primary.
    pub fn new(members: usize, clock: Arc<dyn Clock>, dice: Dice) -> Arc<ReplicaSet> {
        let member = |i| Member {
            state: if i == 0 { MemberState::Primary } else { MemberState::Secondary },
            applied: 0,
            lags: false,
            delay: 0,
            rbid: 1,
            cursors: 0,
        };
        let state = State {
            log: Log { term: 1, ..Log::default() },
            majority: 0,
            members: (0..members).map(member).collect(),
            left: Vec::new(),
            highest_term: 1,
            cut_one_of: 0,
            position_lost: 0,
            notes: 0,
            version: "8.2.0",
        };
        let set = ReplicaSet { state: Mutex::new(state), clock, dice };
        set.write(|log, secs| log.noop(secs, "initiating set"));
        set.replicate_all();
        Arc::new(set)
    }

    /// Everything about it.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds of the primary's clock.
    pub fn secs(&self) -> u32 {
        u32::try_from(self.clock.now().0.max(EPOCH) / 1000).unwrap_or(u32::MAX)
    }

    /// Writes through the primary; nothing where there is none.
    pub fn write<T: Default>(&self, write: impl FnOnce(&mut Log, u32) -> T) -> T {
        let secs = self.secs();
        let mut state = self.lock();
        if state.primary().is_none() {
            return T::default();
        }
        let done = write(&mut state.log, secs);
        state.settle();
        done
    }

    /// Secondaries take some of what they lack.
    pub fn replicate(&self) {
        let mut state = self.lock();
        let len = state.log.entries.len();
        for member in &mut state.members {
            let waits = member.lags && self.dice.hits(900);
            if member.state != MemberState::Secondary || waits || self.dice.hits(150) {
                continue;
            }
            let lacks = (len - member.applied) as u64;
            member.applied +=
                if self.dice.hits(700) { lacks } else { self.dice.below(lacks + 1) } as usize;
        }
        state.settle();
    }

    /// All members that are up have everything.
    pub fn replicate_all(&self) {
        let mut state = self.lock();
        let len = state.log.entries.len();
        for member in &mut state.members {
            if member.state != MemberState::Unreadable {
                member.applied = len;
            }
        }
        state.settle();
    }

    /// Makes `primary` the primary, which must have everything that is majority committed: what
    /// only others have is rolled back. False when it cannot be.
    pub fn elect(&self, primary: usize) -> bool {
        let secs = self.secs();
        let mut state = self.lock();
        let Some(applied) = state.members.get(primary).map(|m| m.applied) else { return false };
        if state.members[primary].state == MemberState::Unreadable || applied < state.majority {
            return false;
        }
        state.log.cut(applied);
        for (i, member) in state.members.iter_mut().enumerate() {
            if member.applied > applied {
                member.applied = applied;
                member.rbid += 1;
            }
            member.cursors += u64::from(i == primary || member.state == MemberState::Primary);
            if member.state != MemberState::Unreadable {
                member.state =
                    if i == primary { MemberState::Primary } else { MemberState::Secondary };
            }
        }
        state.highest_term += 1;
        state.log.term = state.highest_term;
        state.log.noop(secs, "new primary");
        state.settle();
        true
    }

    /// A member goes down or comes back.
    pub fn set_up(&self, member: usize, up: bool) {
        let mut state = self.lock();
        let len = state.log.entries.len();
        let Some(member) = state.members.get_mut(member) else { return };
        member.state = if up { MemberState::Secondary } else { MemberState::Unreadable };
        member.cursors += 1;
        // What is down takes no part in a rollback; it is found when it comes back.
        member.applied = member.applied.min(len);
    }

    /// Every member down.
    pub fn stop_all(&self) {
        let members = self.lock().members.len();
        (0..members).for_each(|i| self.set_up(i, false));
    }

    /// Every member back, the first one primary.
    pub fn start_all(&self) {
        let members = self.lock().members.len();
        (0..members).for_each(|i| self.set_up(i, true));
        let best = {
            let state = self.lock();
            (0..state.members.len()).max_by_key(|i| state.members[*i].applied).unwrap_or(0)
        };
        self.elect(best);
    }

    /// An older state of the data directories is put back: all entries after the first `keep` are gone.
    pub fn put_back(&self, keep: usize) {
        {
            let mut state = self.lock();
            let keep = keep.clamp(state.log.first + 1, state.log.entries.len());
            let left = Left { log: state.log.clone(), majority: state.majority };
            state.left.push(left);
            state.log.cut(keep);
            state.majority = keep;
            for member in &mut state.members {
                member.applied = keep;
                member.cursors += 1;
            }
        }
        self.start_all();
        self.replicate_all();
    }

    /// The oplog gives up its oldest entries, as far as that is possible: `keep` stay.
    pub fn roll_over(&self, keep: usize) {
        let mut state = self.lock();
        let open = state.log.undecided();
        let oldest = open.iter().map(|i| state.log.prepared[*i].first.ts).min();
        let entries = &state.log.entries;
        let bound = oldest.map_or(entries.len(), |ts| {
            entries.partition_point(|e| e.at.ts < ts).saturating_sub(1)
        });
        let first = entries
            .len()
            .saturating_sub(keep.max(1))
            .min(bound)
            .min(state.majority.saturating_sub(1));
        state.log.first = state.log.first.max(first);
    }

    /// The last majority-committed entry.
    pub fn majority(&self) -> OpTime {
        self.lock().majority_at()
    }

    /// The last entry.
    pub fn last(&self) -> OpTime {
        self.lock().log.last()
    }

    /// The log that has `entry`, this history's first: its model is the truth of the entry's history.
    pub fn log_with(&self, entry: OpTime) -> Option<Log> {
        let state = self.lock();
        let has = |log: &&Log| {
            let at = log.entries.partition_point(|e| e.at.ts < entry.ts);
            log.entries.get(at).is_some_and(|e| e.at == entry)
        };
        let left = state.left.iter().rev().map(|left| &left.log);
        std::iter::once(&state.log).chain(left).find(has).cloned()
    }

    /// Whether a majority had the entry at some time; its bytes.
    pub fn committed(&self, entry: OpTime) -> Option<Arc<[u8]>> {
        let state = self.lock();
        let find = |log: &Log, majority: usize| {
            let at = log.entries.partition_point(|e| e.at.ts < entry.ts);
            let found = log.entries.get(at).filter(|e| e.at == entry && at < majority);
            found.map(|e| e.raw.clone())
        };
        find(&state.log, state.majority)
            .or_else(|| state.left.iter().rev().find_map(|left| find(&left.log, left.majority)))
    }

    /// Timestamps of all entries.
    pub fn moments(&self) -> Vec<Ts> {
        self.lock().log.entries.iter().map(|e| e.at.ts).collect()
    }
}
