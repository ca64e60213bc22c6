//! Real MongoDB servers on 127.0.0.1, each with a folder of its own.
//!
//! `Mongod` is one process; `ReplicaSet` is members, users and clients. What
//! they are started with is in `Options`.

mod cluster;
mod mongod;
mod options;
mod pki;
mod prepared;
mod set;

pub use cluster::Cluster;
pub use mongod::Mongod;
pub use options::{Auth, Member, Options, Tls};
pub use pki::Pki;
pub use prepared::Prepared;
pub use set::{PASSWORD, ReplicaSet, USER};

use bson::{Document, Timestamp};
use bygone_base::Ts;

/// The server's timestamp as ours.
pub fn ts(timestamp: Timestamp) -> Ts {
    Ts::new(timestamp.time, timestamp.increment)
}

/// Our timestamp as the server's.
pub fn timestamp(ts: Ts) -> Timestamp {
    Timestamp { time: ts.secs(), increment: ts.inc() }
}

/// Whether a document says `true` under `name`.
pub(crate) fn says(document: &Document, name: &str) -> bool {
    document.get_bool(name).unwrap_or_default()
}

/// The server's error code, when the server answered with an error at all.
pub fn code(error: &mongodb::error::Error) -> Option<i32> {
    use mongodb::error::{ErrorKind, WriteFailure};
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        ErrorKind::InsertMany(many) => {
            let writes = many.write_errors.as_ref().and_then(|errors| errors.first());
            writes.map(|write| write.code)
        }
        ErrorKind::BulkWrite(bulk) => bulk.write_errors.values().next().map(|write| write.code),
        _ => None,
    }
}
