//! When a job takes snapshots and how long they are kept: may change while it runs.

use std::time::Duration;

use bygone_schedule::{Next, Schedule};
use bygone_snapshot::Policy;

/// What is agreed on for a job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Terms {
    /// When snapshots are due.
    pub schedule: Schedule,
    /// Whether each snapshot is given the time that the schedule's retention says.
    pub tiers: bool,
    /// What else is kept.
    pub policy: Policy,
    /// The next snapshot, as it was announced when the schedule was last changed.
    pub announced: Option<Next>,
}

impl Terms {
    /// Every snapshot by itself at this interval.
    pub fn every(interval: Duration) -> Terms {
        Terms { schedule: Schedule { interval, ..Schedule::default() }, ..Terms::default() }
    }
}
