//! Moments as they are written and read.

use bygone_base::{Ts, UnixMillis};
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Failure;
use crate::schema::JsonSchema;

/// A BSON timestamp as Ops Manager writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct BsonTimestamp {
    /// Its second, RFC 3339.
    pub(crate) date: String,
    /// Which within the second.
    pub(crate) increment: u32,
}

impl From<Ts> for BsonTimestamp {
    fn from(ts: Ts) -> Self {
        BsonTimestamp { date: ts.to_rfc3339(), increment: ts.inc() }
    }
}

/// As RFC 3339, UTC.
pub(crate) fn text(at: UnixMillis) -> String {
    at.to_rfc3339_seconds()
}

/// Reads RFC 3339.
pub(crate) fn read(text: &str, parameter: &str) -> Result<UnixMillis, Failure> {
    let bad = |_| Failure::invalid(parameter, format!("{text:?} is not an RFC 3339 instant"));
    let at: Timestamp = text.parse().map_err(bad)?;
    Ok(UnixMillis(at.as_millisecond()))
}
