//! What of a cluster can be restored.

use axum::http::Method;
use bygone_access::Right;
use serde::{Deserialize, Serialize};

use super::body::{Known, reads};
use crate::{
    call::{Call, List},
    failure::Failure,
    route::{Need, Route},
    schema::JsonSchema,
    time::BsonTimestamp,
};

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TimeRange {
    /// Inclusive.
    start: BsonTimestamp,
    /// Inclusive.
    end: BsonTimestamp,
    /// The snapshot at its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<String>,
    shard_count: u32,
    config_server_type: &'static str,
}

/// Nothing that is read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangesAsked {}

impl Known for RangesAsked {
    const ECHOED: &'static [&'static str] = &["groupId", "projectId", "clusterId"];
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        reads(
            Method::POST,
            "/api/public/v1.0/groups/{groupId}/clusters/{clusterId}/restoreJobs/restorableTimeRanges",
            Need::Project(Right::Look),
            "The ranges of time to which a cluster can be restored, ordered by their beginning.",
            list,
        )
        .paged()
        .body_may_lack(),
    ]
}

async fn list(call: Call, _: RangesAsked) -> Result<List<TimeRange>, Failure> {
    let job = call.job("clusterId").await?.job;
    let history = call.control.history(&job.project, &job.id).await?;
    let ranges = history.ranges.into_iter().map(|range| TimeRange {
        start: range.from.into(),
        end: range.to.into(),
        snapshot_id: range.snapshot.map(|id| id.to_string()),
        shard_count: 1,
        config_server_type: "NONE",
    });
    call.list(ranges.collect())
}
