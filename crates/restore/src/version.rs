//! Server versions, compared by what they can store.

use std::{fmt, str::FromStr};

use bygone_base::{Error, Result};

/// `major.minor.patch`; also a feature compatibility version (patch 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServerVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number, 0 where none is given.
    pub patch: u32,
}

impl ServerVersion {
    /// `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        ServerVersion { major, minor, patch: 0 }
    }

    /// Whether inserts may carry `bypassEmptyTsReplacement`, which keeps a
    /// top-level Timestamp(0,0) (8.0, 7.0.13, 6.0.17, 5.0.29).
    pub fn keeps_zero_timestamps(self) -> bool {
        match (self.major, self.minor) {
            (5, 0) => self.patch >= 29,
            (6, 0) => self.patch >= 17,
            (7, 0) => self.patch >= 13,
            (major, _) => major >= 8,
        }
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 { write!(f, ".{}", self.patch) } else { Ok(()) }
    }
}

impl FromStr for ServerVersion {
    type Err = Error;

    /// `8.2`, `8.2.0`, `9.0.0-alpha0`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::unsupported(format!("{text:?} is not a server version"));
        let plain = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = plain.split('.').map(|part| part.parse::<u32>().map_err(|_| bad()));
        let major = parts.next().ok_or_else(bad)??;
        let minor = parts.next().ok_or_else(bad)??;
        let patch = parts.next().transpose()?.unwrap_or(0);
        Ok(ServerVersion { major, minor, patch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_and_compare() {
        let v = |text: &str| text.parse::<ServerVersion>().unwrap();
        assert!(v("4.4") < v("4.4.10") && v("4.4.10") < v("5.0") && v("8.2.0") < v("10.0"));
        assert_eq!(v("9.0.0-alpha0"), v("9.0"));
        assert!("8".parse::<ServerVersion>().is_err() && "x.y".parse::<ServerVersion>().is_err());
        assert!(!v("7.0.11").keeps_zero_timestamps() && v("7.0.13").keeps_zero_timestamps());
        assert!(!v("6.1.0").keeps_zero_timestamps() && v("8.2.0").keeps_zero_timestamps());
    }
}
