//! Moments of the cluster.

use bygone_base::Ts;
use serde::Serialize;

use crate::schema::JsonSchema;

/// A cluster timestamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Moment {
    /// `SECS:INC`, as WHEN takes it.
    ts: String,
    /// Its second, RFC 3339.
    time: String,
}

impl From<Ts> for Moment {
    fn from(ts: Ts) -> Self {
        Moment { ts: ts.to_string(), time: ts.to_rfc3339() }
    }
}
