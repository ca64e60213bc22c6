//! Ids of records: 24 hex digits, as clients of Ops Manager's API expect them.

use std::{fmt, str::FromStr};

use bygone_base::{Error, Result, Rng, UnixMillis};
use serde::{Deserialize, Serialize};

/// An id: the second of its making, then random. Ids sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// A new id, made at `now`.
    pub fn new(now: UnixMillis, rng: &dyn Rng) -> Id {
        let mut random = [0; 8];
        rng.fill(&mut random);
        // As an ObjectId has it: unsigned seconds, good until 2106.
        let secs = u32::try_from(now.0.div_euclid(1000)).unwrap_or_default();
        Id(format!("{secs:08x}{}", hex::encode(random)))
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
        assert_eq!(early.as_str().parse::<Id>().unwrap(), early);
        for bad in ["", "xyz", "65541dE0000000000000000a", "65541de000000000000000000a"] {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }
}
