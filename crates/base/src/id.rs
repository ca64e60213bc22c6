//! Typed ids. Binary ids print and parse as lower-case hex.

use std::{fmt, str::FromStr};

use crate::{Error, Result, Rng};

macro_rules! binary_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// A fresh random id.
            pub fn random(rng: &dyn Rng) -> Self {
                let mut bytes = [0; $len];
                rng.fill(&mut bytes);
                $name(bytes)
            }

            /// From exactly this many bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| {
                    Error::usage(format!(concat!("{:?} is not a ", stringify!($name)), text))
                })?;
                Ok($name(bytes))
            }
        }
    };
}

binary_id!(
    /// The keyed BLAKE3 hash of a block's raw content: its name.
    BlockId, 32);
binary_id!(
    /// A pack file; random.
    PackId, 16);
binary_id!(
    /// A repository (one store URL); random, fixed at its creation.
    RepositoryId, 16);
binary_id!(
    /// A collection's UUID on the source.
    CollectionId, 16);
binary_id!(
    /// One attempt at an initial sync; random.
    SyncId, 8);

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Letters, digits, `.`, `_` and `-`, not starting with `.`: the
            /// text becomes part of object names.
            fn from_str(text: &str) -> Result<Self> {
                let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                if text.is_empty()
                    || text.len() > $max
                    || text.starts_with('.')
                    || !text.chars().all(good)
                {
                    return Err(Error::usage(format!(
                        concat!("{:?} is not a ", $what,
                            ": use 1 to ", stringify!($max), " letters, digits, '.', '_' or '-'"),
                        text
                    )));
                }
                Ok($name(text.to_owned()))
            }
        }
    };
}

name_id!(
    /// The name of a backup job within a store.
    JobName, "job name", 64);
name_id!(
    /// A part of a job: the name of the replica set.
    PartName, "part name", 128);

/// A snapshot's id: the moment it holds and a few random digits, so that ids
/// sort by time and can be typed: `20261120T103000Z-1a2b3c4d`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// The id of a snapshot of cluster second `secs`.
    pub fn new(secs: u32, rng: &dyn Rng) -> Self {
        let mut tail = [0; 4];
        rng.fill(&mut tail);
        let when = jiff::Timestamp::from_second(i64::from(secs)).unwrap_or_default();
        SnapshotId(format!("{}-{}", when.strftime("%Y%m%dT%H%M%SZ"), hex::encode(tail)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SnapshotId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = text.as_bytes();
        let shape = bytes.len() == 25
            && bytes[8] == b'T'
            && bytes[15] == b'Z'
            && bytes[16] == b'-'
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        if shape {
            Ok(SnapshotId(text.to_owned()))
        } else {
            Err(Error::usage(format!("{text:?} is not a snapshot id")))
        }
    }
}

/// One continuous history of a part. A rollback, a restored source or a resync
/// opens the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimelineId(pub u32);

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

/// A fencing epoch: the holder of the highest one may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRng;

    #[test]
    fn ids_print_and_parse() {
        let rng = SeededRng::new(7);
        let id = PackId::random(&rng);
        assert_eq!(id.to_string().parse::<PackId>().ok(), Some(id));
        let snapshot = SnapshotId::new(1_700_000_000, &rng);
        assert!(snapshot.as_str().starts_with("20231114T221320Z-"));
        assert_eq!(snapshot.as_str().parse::<SnapshotId>().ok(), Some(snapshot));
    }

    #[test]
    fn names_that_would_escape_a_folder_are_refused() {
        for bad in ["", "..", ".x", "a/b", "a b", "é"] {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
        }
        assert!("prod-rs0.eu_1".parse::<JobName>().is_ok());
    }
}
