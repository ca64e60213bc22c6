//! What a replica set is started with.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use crate::{Version, disk::SmallDisk};

/// Whether clients must log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Anybody may do anything.
    Off,
    /// A key file between the members; `ReplicaSet` creates the user [`super::USER`].
    On,
}

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// They are not.
    Off,
    /// They must be; clients need no certificate.
    Required,
    /// They must be, and clients must show a certificate.
    ClientCertificate,
}

/// One member of the replica set's configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// 0 never becomes primary.
    pub priority: f64,
    /// Not shown to clients.
    pub hidden: bool,
    /// Seconds that it stays behind (hidden then, with priority 0).
    pub delay: u32,
    /// Votes without data.
    pub arbiter: bool,
}

impl Default for Member {
    fn default() -> Self {
        Member { priority: 1.0, hidden: false, delay: 0, arbiter: false }
    }
}

/// What a replica set is started with; `Options::new(version)` is one member
/// without authentication, fit for most tests.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server's version.
    pub version: Version,
    /// The set's name.
    pub name: String,
    /// Its members; the first one with a priority becomes the first primary.
    pub members: Vec<Member>,
    /// Whether clients must log in.
    pub auth: Auth,
    /// Whether connections are encrypted.
    pub tls: Tls,
    /// Size of the oplog in MB.
    pub oplog_mb: u32,
    /// WiredTiger's cache in GB.
    pub cache_gb: f64,
    /// How long members wait for a primary before they elect another.
    pub election_timeout: Duration,
    /// How long the server can be asked for its state in the past.
    pub history: Duration,
    /// Whether expired documents are deleted (every second then).
    pub ttl: bool,
    /// Further `--setParameter name=value`.
    pub parameters: Vec<(String, String)>,
    /// Further arguments of `mongod`.
    pub arguments: Vec<String>,
    /// Where the data is if not in the member's folder, and what starts a process that sees it.
    pub disk: Option<(PathBuf, Vec<OsString>)>,
}

impl Options {
    /// One member of `version`, no authentication, no TLS.
    pub fn new(version: Version) -> Self {
        Options {
            version,
            name: "rs0".to_owned(),
            members: vec![Member::default()],
            auth: Auth::Off,
            tls: Tls::Off,
            oplog_mb: 256,
            // With less, a transaction of 16 MB and its oplog entry can fill it with what must not be evicted.
            cache_gb: 0.5,
            election_timeout: version.patience(Duration::from_secs(2)),
            history: Duration::from_secs(3600),
            ttl: false,
            parameters: Vec::new(),
            arguments: Vec::new(),
            disk: None,
        }
    }

    /// With `n` equal members.
    #[must_use]
    pub fn members(mut self, n: usize) -> Self {
        self.members = vec![Member::default(); n];
        self
    }

    /// With a key file and users.
    #[must_use]
    pub fn auth(mut self) -> Self {
        self.auth = Auth::On;
        self
    }

    /// With encrypted connections.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// With one more `--setParameter`.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With its data on a small disk; for sets of one member.
    #[must_use]
    pub fn disk(mut self, disk: &SmallDisk) -> Self {
        self.disk = Some((disk.path().to_owned(), disk.enter()));
        self
    }

    /// With an oplog of so many MB.
    #[must_use]
    pub fn oplog_mb(mut self, mb: u32) -> Self {
        self.oplog_mb = mb;
        self
    }

    /// With a member that clients do not see.
    #[must_use]
    pub fn hidden_member(mut self) -> Self {
        self.members.push(Member { hidden: true, ..Member::default() });
        self
    }

    /// With a member that stays so many seconds behind.
    #[must_use]
    pub fn delayed_member(mut self, seconds: u32) -> Self {
        self.members.push(Member { delay: seconds, ..Member::default() });
        self
    }

    /// All `--setParameter`s.
    pub(super) fn set_parameters(&self) -> Vec<String> {
        let history = self.history.as_secs();
        let mut all = vec![
            // So that dbHash answers for moments in the past, and fail points exist.
            "enableTestCommands=1".to_owned(),
            "diagnosticDataCollectionEnabled=false".to_owned(),
            format!("ttlMonitorEnabled={}", self.ttl),
            "ttlMonitorSleepSecs=1".to_owned(),
            // Locks held by whatever else runs on the machine are no reason to refuse DDL in a transaction.
            "maxTransactionLockRequestTimeoutMillis=5000".to_owned(),
        ];
        if self.version >= Version::V5_0 {
            all.push(format!("minSnapshotHistoryWindowInSeconds={history}"));
            // A primary with secondaries waits 15 s on SIGTERM otherwise.
            all.push("shutdownTimeoutMillisForSignaledShutdown=0".to_owned());
        }
        if self.version < Version::V5_0 {
            // It has no such window: without this it forgets after a few seconds.
            let always = "failpoint.WTPreserveSnapshotHistoryIndefinitely={mode:'alwaysOn'}";
            all.push(always.to_owned());
        }
        all.extend(self.parameters.iter().map(|(name, value)| format!("{name}={value}")));
        all
    }
}
