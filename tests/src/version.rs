//! The server versions that the tests run against, and what each of them can do.

use std::{env, fmt, path::PathBuf, str::FromStr, time::Duration};

/// A release series of MongoDB that real binaries exist for here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 4.4.10: `$v: 1` updates, no time-series.
    V4_4,
    /// 5.0.3: `$v: 2` diffs, time-series.
    V5_0,
    /// 7.0.11, under emulation: clustered collections, reads of the catalogue in the past.
    V7_0,
    /// 8.2.0: vectored inserts.
    V8_2,
}

impl Version {
    /// All of them.
    pub const ALL: [Version; 4] = [Version::V4_4, Version::V5_0, Version::V7_0, Version::V8_2];

    /// `8.2`
    pub fn name(self) -> &'static str {
        match self {
            Version::V4_4 => "4.4",
            Version::V5_0 => "5.0",
            Version::V7_0 => "7.0",
            Version::V8_2 => "8.2",
        }
    }

    /// The program `name` of this version, `mongod` for example, in the cache
    /// that `scripts/get-servers` fills.
    pub fn program(self, name: &str) -> PathBuf {
        let path = cache().join("bin").join(format!("{name}-{self}"));
        assert!(path.exists(), "{} is missing: run scripts/get-servers {self}", path.display());
        path
    }

    /// Time-series collections and `$v: 2` diffs.
    pub fn has_time_series(self) -> bool {
        self >= Version::V5_0
    }

    /// User collections clustered by `_id`, pre- and post-images by option,
    /// `collMod` of capped sizes and of unique indexes.
    pub fn has_clustered(self) -> bool {
        self >= Version::V7_0
    }

    /// Whether a read in the past sees the collections of that moment.
    /// Before 7.0 it sees today's, and refuses or leaves out what has changed.
    pub fn reads_catalogue_in_the_past(self) -> bool {
        self >= Version::V7_0
    }

    /// Whether a read in the past sees capped collections as they were. 4.4
    /// trims without a timestamp, so that what it trimmed since is gone from the past too.
    pub fn reads_capped_in_the_past(self) -> bool {
        self >= Version::V5_0
    }

    /// How much longer than a native server this one takes.
    pub fn slowness(self) -> u32 {
        if self == Version::V7_0 { 10 } else { 1 }
    }

    /// `limit` for a native server, stretched for this one.
    pub fn patience(self, limit: Duration) -> Duration {
        limit * self.slowness()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Version::ALL.into_iter().find(|version| version.name() == text);
        known.ok_or_else(|| format!("{text:?} is none of the versions that tests know"))
    }
}

/// The folder of `scripts/get-servers`.
pub fn cache() -> PathBuf {
    match env::var_os("BYGONE_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/bygone-test"),
    }
}

/// A program without a version in the cache: `mongodump`, `weed` ...
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = cache().join("bin").join(name);
    assert!(path.exists(), "{} is missing: run scripts/get-servers {package}", path.display());
    path
}
