//! PURE: when snapshots are due, and how long each is kept. `now` is an argument everywhere.
//!
//! ```text
//! Schedule ──grid──▶ moments at which snapshots are due, from a reference time of day
//!          ──due───▶ whether one is due now, and when the next will be
//!          ──keep──▶ the moment at which a snapshot expires, set when it is taken
//! ```
//!
//! Rules:
//! 1. The grid begins anew every day at the reference time where the interval divides a day, so that a clock
//!    that is put forward or back moves no snapshot of the days after.
//! 2. What was missed is caught up once: never two snapshots for one delay.
//! 3. A change of the schedule never brings the next snapshot forward, and never deletes an existing one.
//! 4. A snapshot is kept for the longest of what it is: every one is a base snapshot; the first of a day,
//!    week, month or year is that day's, week's, month's or year's too. Periods begin at the reference time.
//!
//! Not here: what retention deletes (snapshot::retention), who takes the snapshot (daemon).

mod due;
mod grid;
mod keep;
mod model;

pub use due::{Due, Next, due, next_after_change};
pub use keep::{Period, expiry, preview, roles};
pub use model::{Reference, Retention, Schedule, zone};

#[cfg(test)]
mod tests;
