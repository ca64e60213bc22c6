//! MongoDB's times and ours.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, SnapshotId};

/// An oplog (cluster) timestamp: seconds in the high 32 bits, increment in the
/// low. Unsigned order is the server's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Ts(pub u64);

impl Ts {
    /// Before every entry.
    pub const MIN: Ts = Ts(0);
    /// After every entry.
    pub const MAX: Ts = Ts(u64::MAX);

    /// From seconds since 1970 and the increment within the second.
    pub fn new(secs: u32, inc: u32) -> Self {
        Ts(u64::from(secs) << 32 | u64::from(inc))
    }

    /// Seconds since 1970.
    pub fn secs(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Increment within the second.
    pub fn inc(self) -> u32 {
        self.0 as u32
    }

    /// The timestamp just before this one (saturating).
    #[must_use]
    pub fn prev(self) -> Ts {
        Ts(self.0.saturating_sub(1))
    }

    /// The timestamp just after this one (saturating).
    #[must_use]
    pub fn next(self) -> Ts {
        Ts(self.0.saturating_add(1))
    }

    /// As an RFC 3339 instant in UTC, for people.
    pub fn to_rfc3339(self) -> String {
        UnixMillis(i64::from(self.secs()) * 1000).to_rfc3339_seconds()
    }
}

impl fmt::Display for Ts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.secs(), self.inc())
    }
}

impl fmt::Debug for Ts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ts({self})")
    }
}

impl FromStr for Ts {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::usage(format!("{text:?} is not an oplog timestamp (SECS:INC)"));
        let (secs, inc) = text.split_once(':').ok_or_else(bad)?;
        Ok(Ts::new(secs.parse().map_err(|_| bad())?, inc.parse().map_err(|_| bad())?))
    }
}

/// The position of one oplog entry: its timestamp and the election term that
/// wrote it. Two histories can share a timestamp, never both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OpTime {
    /// Timestamp.
    pub ts: Ts,
    /// Election term.
    pub term: i64,
}

impl OpTime {
    /// A position.
    pub fn new(ts: Ts, term: i64) -> Self {
        OpTime { ts, term }
    }
}

impl fmt::Display for OpTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (term {})", self.ts, self.term)
    }
}

/// Milliseconds since 1970 by our own clock.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// `2026-11-20T10:30:00Z`
    pub fn to_rfc3339_seconds(self) -> String {
        jiff::Timestamp::from_millisecond(self.0)
            .map(|t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_else(|_| format!("{} ms", self.0))
    }

    /// This moment minus another, in milliseconds (negative when the clock went back).
    pub fn since(self, earlier: UnixMillis) -> i64 {
        self.0 - earlier.0
    }
}

/// A moment as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The newest restorable moment.
    Latest,
    /// The moment of a snapshot.
    Snapshot(SnapshotId),
    /// Every operation whose cluster time is before this second.
    BeforeSecond(u32),
    /// Every operation up to and including this oplog timestamp.
    Including(Ts),
}

impl When {
    /// The last timestamp that belongs to the state asked for, where it is
    /// known without looking at the store.
    pub fn bound(&self) -> Option<Ts> {
        match self {
            When::BeforeSecond(secs) => Some(Ts::new(*secs, 0).prev()),
            When::Including(ts) => Some(*ts),
            When::Latest | When::Snapshot(_) => None,
        }
    }
}

impl FromStr for When {
    type Err = Error;

    /// `latest`, a snapshot id, `SECS:INC`, or an RFC 3339 instant (rounded
    /// down to the second).
    fn from_str(text: &str) -> Result<Self> {
        if text == "latest" {
            return Ok(When::Latest);
        }
        if let Ok(id) = text.parse::<SnapshotId>() {
            return Ok(When::Snapshot(id));
        }
        if let Ok(ts) = text.parse::<Ts>() {
            return Ok(When::Including(ts));
        }
        let instant: jiff::Timestamp = text.parse().map_err(|_| {
            Error::usage(format!("{text:?} is not a moment")).hint(
                "use latest, a snapshot id, SECS:INC, or an instant such as 2026-11-20T10:30:00Z",
            )
        })?;
        let secs = u32::try_from(instant.as_millisecond().div_euclid(1000))
            .map_err(|_| Error::usage(format!("{text:?} is outside 1970 to 2106")))?;
        Ok(When::BeforeSecond(secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_rounded_down_and_exclusive() {
        let when: When = "2026-11-20T10:30:00.987Z".parse().unwrap();
        let secs = 1_795_170_600;
        assert_eq!(when, When::BeforeSecond(secs));
        assert_eq!(when.bound(), Some(Ts::new(secs - 1, u32::MAX)));
    }

    #[test]
    fn an_oplog_timestamp_is_inclusive() {
        let when: When = "17:3".parse().unwrap();
        assert_eq!(when.bound(), Some(Ts::new(17, 3)));
        assert!("17:".parse::<When>().is_err());
        assert!("yesterday".parse::<When>().is_err());
    }

    #[test]
    fn timestamps_order_past_2038() {
        assert!(Ts::new(u32::MAX, 1) > Ts::new(0x8000_0000, 9));
    }
}
