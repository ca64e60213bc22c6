//! What of a job can be restored: snapshots, ranges; and how long snapshots are kept.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::Integrity;
use bygone_control::{
    KeepUntil,
    views::{History, RangeView, SnapshotView},
};
use serde::{Deserialize, Serialize};

use super::{Done, moments::Moment};
use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Route, get, plain, with},
    schema::JsonSchema,
    time,
};

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SnapshotBody {
    id: String,
    /// It holds everything up to and including this.
    at: Moment,
    created: String,
    /// Null: the part's retention decides, or it is kept for ever.
    expires: Option<String>,
    kept_for_ever: bool,
    collections: u64,
    documents: u64,
    /// Raw bytes.
    bytes: u64,
    /// Stored bytes that it added.
    new_bytes: u64,
    /// Stored bytes that it alone holds, as of its store's last groom.
    unique_bytes: Option<u64>,
    /// Operations in runs not yet folded.
    pending_ops: u64,
    set: String,
    version: String,
    fcv: String,
}

/// Moments that can be restored, both ends inclusive.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RangeBody {
    from: Moment,
    to: Moment,
    /// The snapshot at its beginning.
    snapshot: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DamagedBody {
    id: String,
    why: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HistoryBody {
    /// Oldest first.
    snapshots: Vec<SnapshotBody>,
    /// Those that cannot be read.
    damaged: Vec<DamagedBody>,
    /// Ordered by their beginning.
    ranges: Vec<RangeBody>,
    /// What lies between them and cannot be restored, both ends exclusive.
    gaps: Vec<GapBody>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GapBody {
    after: Moment,
    before: Moment,
}

/// How long a snapshot is kept: one of both.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SnapshotPatch {
    /// RFC 3339; other rules may keep it longer.
    expires: Option<String>,
    /// True: it is never deleted by itself.
    keep_for_ever: bool,
}

/// A check of what a job stores.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CheckBody {
    id: String,
    started: String,
    finished: Option<String>,
    blocks: u64,
    /// As stored.
    bytes: u64,
    /// Share of all blocks that it was to read.
    percent: u32,
    /// What is damaged, a line each.
    damage: Vec<String>,
    /// Why it could not be done.
    failure: Option<String>,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    let backup = Need::Project(Right::Backup);
    let one_path = "/api/v2/projects/{project}/jobs/{job}/snapshots/{snapshot}";
    vec![
        get(
            "/api/v2/projects/{project}/jobs/{job}/history",
            look,
            "What of a job can be restored: snapshots, ranges, gaps.",
            history,
        ),
        get(
            "/api/v2/projects/{project}/jobs/{job}/snapshots",
            look,
            "A job's snapshots, oldest first.",
            list,
        ),
        get(one_path, look, "A snapshot.", one),
        with(Method::PATCH, one_path, backup, "Changes how long a snapshot is kept.", patch),
        plain(Method::DELETE, one_path, backup, "Deletes a snapshot.", delete),
        get(
            "/api/v2/projects/{project}/jobs/{job}/checks",
            look,
            "Checks of what a job stores, newest first.",
            checks,
        ),
        plain(
            Method::POST,
            "/api/v2/projects/{project}/jobs/{job}/checks",
            backup,
            "Asks for a check of everything that a job stores, now.",
            check,
        )
        .says(202),
    ]
}

impl From<SnapshotView> for SnapshotBody {
    fn from(view: SnapshotView) -> Self {
        SnapshotBody {
            id: view.id.to_string(),
            at: view.at.into(),
            created: time::text(view.created),
            expires: view.expires.map(time::text),
            kept_for_ever: view.kept_for_ever,
            collections: view.collections,
            documents: view.documents,
            bytes: view.bytes,
            new_bytes: view.new_bytes,
            unique_bytes: view.unique_bytes,
            pending_ops: view.pending_ops,
            set: view.set,
            version: view.version,
            fcv: view.fcv,
        }
    }
}

async fn read(call: &Call) -> Result<History, Failure> {
    let job = call.job("job").await?.job;
    Ok(call.control.history(&job.project, &job.id).await?)
}

async fn history(call: Call) -> Result<HistoryBody, Failure> {
    let History { snapshots, damaged, ranges } = read(&call).await?;
    let damaged = damaged.into_iter().map(|(id, why)| DamagedBody { id: id.to_string(), why });
    let gaps = gaps(&ranges);
    let range = |RangeView { from, to, snapshot }| RangeBody {
        from: Moment::from(from),
        to: Moment::from(to),
        snapshot: snapshot.map(|id| id.to_string()),
    };
    Ok(HistoryBody {
        snapshots: snapshots.into_iter().map(SnapshotBody::from).collect(),
        damaged: damaged.collect(),
        ranges: ranges.into_iter().map(range).collect(),
        gaps,
    })
}

/// Ranges are ordered by their beginning; those of different histories may overlap.
fn gaps(ranges: &[RangeView]) -> Vec<GapBody> {
    let mut gaps = Vec::new();
    let mut reached = None;
    for range in ranges {
        if let Some(after) = reached.filter(|after| range.from > *after) {
            gaps.push(GapBody { after: after.into(), before: range.from.into() });
        }
        reached = reached.max(Some(range.to));
    }
    gaps
}

async fn list(call: Call) -> Result<Vec<SnapshotBody>, Failure> {
    Ok(read(&call).await?.snapshots.into_iter().map(SnapshotBody::from).collect())
}

async fn one(call: Call) -> Result<SnapshotBody, Failure> {
    let id = call.snapshot_id("snapshot")?;
    let found = read(&call).await?.snapshots.into_iter().find(|view| view.id == id);
    let view = found.ok_or_else(|| Failure::not_found("SNAPSHOT_NOT_FOUND", "snapshot"))?;
    Ok(view.into())
}

async fn patch(call: Call, body: SnapshotPatch) -> Result<SnapshotBody, Failure> {
    let job = call.job("job").await?.job;
    let id = call.snapshot_id("snapshot")?;
    let until = match (&body.expires, body.keep_for_ever) {
        (None, true) => KeepUntil::ForEver,
        (Some(text), false) => KeepUntil::Moment(time::read(text, "expires")?),
        _ => return Err(Failure::invalid("expires", "give one of expires and keep_for_ever")),
    };
    let kept = call.control.keep_snapshot(&job.project, &job.id, &id, until, &call.by()).await;
    Ok(kept.map_err(|e| Failure::from(e).missing_is("SNAPSHOT_NOT_FOUND"))?.into())
}

async fn delete(call: Call) -> Result<Done, Failure> {
    let job = call.job("job").await?.job;
    let id = call.snapshot_id("snapshot")?;
    let deleted = call.control.delete_snapshot(&job.project, &job.id, &id, &call.by()).await;
    deleted.map_err(|e| {
        Failure::from(e).missing_is("SNAPSHOT_NOT_FOUND").conflict_is("CANNOT_DELETE_SNAPSHOT")
    })?;
    Ok(Done::yes())
}

async fn checks(call: Call) -> Result<Vec<CheckBody>, Failure> {
    let job = call.job("job").await?.job;
    let checks = call.control.job_checks(&job.project, &job.id).await?;
    Ok(checks.into_iter().map(CheckBody::from).collect())
}

async fn check(call: Call) -> Result<CheckBody, Failure> {
    let job = call.job("job").await?.job;
    Ok(call.control.request_check(&job.project, &job.id, &call.by()).await?.into())
}

impl From<Integrity> for CheckBody {
    fn from(check: Integrity) -> Self {
        CheckBody {
            id: check.id.into(),
            started: time::text(check.started),
            finished: check.finished.map(time::text),
            blocks: check.blocks,
            bytes: check.bytes,
            percent: check.percent,
            damage: check.damage,
            failure: check.failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use bygone_base::Ts;

    use super::*;

    #[test]
    fn gaps_lie_between_ranges_that_do_not_meet() {
        let range = |from: u32, to: u32| RangeView {
            from: Ts::new(from, 1),
            to: Ts::new(to, 1),
            snapshot: None,
        };
        assert!(gaps(&[]).is_empty());
        assert!(gaps(&[range(1, 5), range(5, 9), range(2, 3)]).is_empty());
        let found = gaps(&[range(1, 9), range(2, 3), range(11, 12)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].after, Ts::new(9, 1).into());
        assert_eq!(found[0].before, Ts::new(11, 1).into());
    }
}
