//! Moments as they are written and read.

use bygone_base::{Ts, UnixMillis};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
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

/// Reads RFC 3339, and what clients of Ops Manager write beside: no offset, or a day alone, both in UTC.
pub(crate) fn lenient(text: &str, parameter: &str) -> Result<UnixMillis, Failure> {
    match text.trim().parse::<DateTime>() {
        // With an offset it would be read here too, but without regard to it.
        Ok(here) if text.parse::<Timestamp>().is_err() => {
            let at = here
                .to_zoned(TimeZone::UTC)
                .map_err(|_| Failure::invalid(parameter, "it is out of bounds"))?;
            Ok(UnixMillis(at.timestamp().as_millisecond()))
        }
        _ => read(text, parameter),
    }
}

/// Reads RFC 3339.
pub(crate) fn read(text: &str, parameter: &str) -> Result<UnixMillis, Failure> {
    let bad = |_| Failure::invalid(parameter, format!("{text:?} is not an RFC 3339 instant"));
    let at: Timestamp = text.parse().map_err(bad)?;
    Ok(UnixMillis(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_clients_write_them() {
        let at = |text| lenient(text, "x").map(|at| at.to_rfc3339_seconds()).ok();
        let noon = Some("2026-11-20T12:00:00Z".to_owned());
        for same in ["2026-11-20T12:00:00Z", "2026-11-20T14:00:00+0200", "2026-11-20T12:00:00"] {
            assert_eq!(at(same), noon, "{same}");
        }
        assert_eq!(at("2026-11-20").as_deref(), Some("2026-11-20T00:00:00Z"));
        for bad in ["", "x", "2026-13-01", "12:00"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
