//! Ids of records: 24 hex digits, as clients of Ops Manager's API expect them.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use bygone_base::{Error, Result, Rng, UnixMillis};
use serde::{Deserialize, Serialize};

/// Ids made by this process; what is above [`COUNT`] bits is cut off.
static MADE: AtomicU32 = AtomicU32::new(0);
/// Bits of an id that count.
const COUNT: u32 = 22;

/// An id: second and millisecond of its making, a count, then random. Ids sort by time, and those of one process by the
/// order in which they were made (but where the count begins anew, once in four million).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// A new id, made at `now`.
    pub fn new(now: UnixMillis, rng: &dyn Rng) -> Id {
        let mut random = [0; 4];
        rng.fill(&mut random);
        // As an ObjectId has it: unsigned seconds, good until 2106.
        let secs = u32::try_from(now.0.div_euclid(1000)).unwrap_or_default();
        let millis = u32::try_from(now.0.rem_euclid(1000)).unwrap_or_default();
        let count = MADE.fetch_add(1, Ordering::Relaxed) & ((1 << COUNT) - 1);
        let order = millis << COUNT | count;
        Id(format!("{secs:08x}{order:08x}{}", hex::encode(random)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 24 && digits {
            Ok(Id(text.to_owned()))
        } else {
            Err(Error::usage(format!("{text:?} is not an id of 24 hex digits")))
        }
    }
}

impl TryFrom<String> for Id {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use bygone_base::SeededRng;

    use super::*;

    #[test]
    fn ids_parse_and_sort_by_time() {
        let rng = SeededRng::new(1);
        let early = Id::new(UnixMillis(1_700_000_000_000), &rng);
        let late = Id::new(UnixMillis(1_700_000_001_000), &rng);
        assert!(early < late);
        let ids: Vec<Id> = (0..100).map(|_| Id::new(UnixMillis(1_700_000_000_999), &rng)).collect();
        assert!(ids.is_sorted() && early < ids[0] && ids[99] < late, "{ids:?}");
        assert_eq!(early.as_str().parse::<Id>().unwrap(), early);
        for bad in ["", "xyz", "65541dE0000000000000000a", "65541de000000000000000000a"] {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }
}
