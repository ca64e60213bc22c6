//! Snapshots, checkpoints (which replica sets do not have).

use axum::http::Method;
use bygone_access::Right;
use bygone_base::{SnapshotId, UnixMillis};
use bygone_catalog::record::Job;
use bygone_control::{KeepUntil, views::SnapshotView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::{Flag, Known, reads};
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Param, Route, get, plain},
    schema::JsonSchema,
    time::{self, BsonTimestamp},
    v1::BASE,
};

/// A snapshot that was kept for ever and whose time by the schedule is over gets so long yet.
const GRACE: i64 = 86_400_000;
/// Seven years, as the longest retention of Ops Manager is.
const LONGEST: u32 = 7 * 366;

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snapshot {
    id: String,
    group_id: String,
    cluster_id: String,
    cluster_name: String,
    /// Always: one that is being taken is not listed.
    complete: bool,
    created: BsonTimestamp,
    last_oplog_applied_timestamp: BsonTimestamp,
    /// None: the retention of the part decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    do_not_delete: bool,
    is_possibly_inconsistent: bool,
    missing_shards: Vec<Value>,
    parts: Vec<Part>,
    links: Vec<Link>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Part {
    /// REPLICA_SET.
    type_name: &'static str,
    cluster_id: String,
    replica_set_name: String,
    mongod_version: String,
    fcv: String,
    completed_time: String,
    /// Raw bytes of all documents.
    data_size_bytes: u64,
    /// Bytes that it added to the store.
    storage_size_bytes: u64,
    file_size_bytes: u64,
    compression_setting: &'static str,
}

/// What of a snapshot changes: one of both. What is as it was counts as left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SnapshotPatch {
    /// True: it is never deleted. False: by the schedule again.
    do_not_delete: Option<Flag>,
    /// RFC 3339.
    expires: Option<String>,
}

impl Known for SnapshotPatch {
    const ECHOED: &'static [&'static str] = &[
        "id",
        "groupId",
        "projectId",
        "clusterId",
        "clusterName",
        "complete",
        "created",
        "lastOplogAppliedTimestamp",
        "isPossiblyInconsistent",
        "missingShards",
        "namespaceFilterList",
        "parts",
        "links",
    ];
}

/// Nothing.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Nothing {}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    let backup = Need::Project(Right::Backup);
    let one_path = "/api/public/v1.0/groups/{groupId}/clusters/{clusterId}/snapshots/{snapshotId}";
    let days = "For how many days it is kept; by the schedule, where left out.";
    let completed = "Whether complete ones are wanted: true (as always), false or all.";
    vec![
        get(
            "/api/public/v1.0/groups/{groupId}/clusters/{clusterId}/snapshots",
            look,
            "A cluster's snapshots, newest first.",
            list,
        )
        .paged()
        .asks(Param { name: "completed", about: completed, kind: "string" }),
        get(one_path, look, "A snapshot.", one),
        plain(
            Method::POST,
            "/api/public/v1.0/groups/{groupId}/clusters/{clusterId}/snapshots/onDemandSnapshot",
            backup,
            "Asks for a snapshot of a started backup now.",
            take,
        )
        .asks(Param { name: "retentionDays", about: days, kind: "integer" }),
        reads(Method::PATCH, one_path, backup, "Changes how long a snapshot is kept.", patch),
        plain(Method::DELETE, one_path, backup, "Deletes a snapshot.", delete),
        get(
            "/api/public/v1.0/groups/{groupId}/clusters/{clusterId}/checkpoints",
            look,
            "A cluster's checkpoints: a replica set has none.",
            checkpoints,
        )
        .paged(),
        get(
            "/api/public/v1.0/groups/{groupId}/clusters/{clusterId}/checkpoints/{checkpointId}",
            look,
            "A checkpoint: a replica set has none.",
            checkpoint,
        ),
    ]
}

async fn list(call: Call) -> Result<List<Snapshot>, Failure> {
    let job = call.job("clusterId").await?.job;
    let wanted = match call.asked("completed") {
        None | Some("true" | "all") => true,
        Some("false") => false,
        Some(_) => return Err(Failure::invalid("completed", "completed is true, false or all")),
    };
    let history = call.control.history(&job.project, &job.id).await?;
    let snapshots = history.snapshots.into_iter().rev().filter(|_| wanted);
    call.list(snapshots.map(|view| snapshot(&call, &job, view)).collect())
}

async fn found(call: &Call) -> Result<(Job, SnapshotView, Option<UnixMillis>), Failure> {
    let job = call.job("clusterId").await?.job;
    let id = call.snapshot_id("snapshotId")?;
    let history = call.control.history(&job.project, &job.id).await?;
    let mut before = None;
    for view in history.snapshots {
        if view.id == id {
            return Ok((job, view, before));
        }
        before = Some(view.created);
    }
    Err(Failure::not_found("SNAPSHOT_NOT_FOUND", "snapshot"))
}

async fn one(call: Call) -> Result<Snapshot, Failure> {
    let (job, view, _) = found(&call).await?;
    Ok(snapshot(&call, &job, view))
}

async fn take(call: Call) -> Result<Nothing, Failure> {
    let job = call.job("clusterId").await?.job;
    let days = match call.number("retentionDays")? {
        None => None,
        Some(days) => {
            Some(u32::try_from(days).ok().filter(|days| (1..=LONGEST).contains(days)).ok_or_else(
                || Failure::invalid("retentionDays", format!("retentionDays is 1 to {LONGEST}")),
            )?)
        }
    };
    let asked = call.control.request_kept_snapshot(&job.project, &job.id, days, &call.by()).await;
    asked.map_err(|e| Failure::from(e).conflict_is("CANNOT_TAKE_SNAPSHOT_INVALID_STATE"))?;
    Ok(Nothing {})
}

async fn patch(call: Call, body: SnapshotPatch) -> Result<Snapshot, Failure> {
    let (job, view, before) = found(&call).await?;
    let keep = body.do_not_delete.map(|Flag(keep)| keep).filter(|keep| *keep != view.kept_for_ever);
    let until = body.expires.as_deref().map(|text| time::lenient(text, "expires")).transpose()?;
    let until = until.filter(|until| Some(*until) != view.expires);
    let until = match (keep, until) {
        (Some(true), None) => KeepUntil::ForEver,
        (Some(false), None) => {
            let by_schedule =
                bygone_schedule::expiry(&job.schedule.schedule()?, before, view.created);
            let soon = UnixMillis(call.control.now().0 + GRACE);
            KeepUntil::Moment(by_schedule.max(soon))
        }
        (None, Some(until)) => KeepUntil::Moment(until),
        (Some(_), Some(_)) => {
            let why = "either doNotDelete or expires can be set, not both";
            return Err(Failure::invalid("expires", why).about("doNotDelete"));
        }
        (None, None) if body.do_not_delete.is_none() && body.expires.is_none() => {
            let why = "doNotDelete or expires must be set";
            return Err(Failure::invalid("expires", why).about("doNotDelete"));
        }
        (None, None) => return Ok(snapshot(&call, &job, view)),
    };
    let id: SnapshotId = view.id;
    let by = call.by();
    let view = call.control.keep_snapshot(&job.project, &job.id, &id, until, &by).await?;
    Ok(snapshot(&call, &job, view))
}

async fn delete(call: Call) -> Result<Nothing, Failure> {
    let job = call.job("clusterId").await?.job;
    let id = call.snapshot_id("snapshotId")?;
    let deleted = call.control.delete_snapshot(&job.project, &job.id, &id, &call.by()).await;
    deleted.map_err(|e| {
        Failure::from(e).missing_is("SNAPSHOT_NOT_FOUND").conflict_is("CANNOT_DELETE_SNAPSHOT")
    })?;
    Ok(Nothing {})
}

fn snapshot(call: &Call, job: &Job, view: SnapshotView) -> Snapshot {
    let cluster = format!("{BASE}/groups/{}/clusters/{}", job.project, job.id);
    let part = Part {
        type_name: "REPLICA_SET",
        cluster_id: job.id.to_string(),
        replica_set_name: view.set,
        mongod_version: view.version,
        fcv: view.fcv,
        completed_time: time::text(view.created),
        data_size_bytes: view.bytes,
        storage_size_bytes: view.new_bytes,
        file_size_bytes: view.bytes,
        compression_setting: "ZSTD",
    };
    Snapshot {
        links: vec![
            call.link("self", &format!("{cluster}/snapshots/{}", view.id)),
            call.link("cluster", &cluster),
        ],
        id: view.id.to_string(),
        group_id: job.project.to_string(),
        cluster_id: job.id.to_string(),
        cluster_name: job.cluster.clone(),
        complete: true,
        created: view.at.into(),
        last_oplog_applied_timestamp: view.at.into(),
        expires: view.expires.map(time::text),
        do_not_delete: view.kept_for_ever,
        is_possibly_inconsistent: false,
        missing_shards: Vec::new(),
        parts: vec![part],
    }
}

async fn checkpoints(call: Call) -> Result<List<Value>, Failure> {
    call.job("clusterId").await?;
    call.list(Vec::new())
}

async fn checkpoint(call: Call) -> Result<Nothing, Failure> {
    call.job("clusterId").await?;
    Err(Failure::not_found("CHECKPOINT_NOT_FOUND", "checkpoint"))
}
