//! Restore jobs.

use axum::http::Method;
use bygone_access::Right;
use bygone_base::{SnapshotId, Ts, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Delivery, Form, Job, Names, RestoreJob, RestoreStatus},
};
use bygone_control::{NewDelivery, NewRestore};
use serde::{Deserialize, Serialize};

use super::{
    body::{Idle, Known, Num, Sent, reads},
    links,
};
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Param, Route, get},
    schema::JsonSchema,
    time::{self, BsonTimestamp},
    v1::BASE,
};

const HOUR: i64 = 3_600_000;
/// A link ends within this many hours.
const LONGEST_LINK: i64 = 8760;

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RestoreJobEntry {
    id: String,
    group_id: String,
    cluster_id: String,
    cluster_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<String>,
    created: String,
    /// The last operation that is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<BsonTimestamp>,
    point_in_time: bool,
    /// IN_PROGRESS, FINISHED, BROKEN or KILLED.
    status_name: &'static str,
    encryption_enabled: bool,
    delivery: DeliveryEntry,
    hashes: Vec<Hash>,
    links: Vec<Link>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryEntry {
    /// HTTP or AUTOMATED_RESTORE.
    method_name: &'static str,
    /// NOT_STARTED, IN_PROGRESS, READY, FAILED, INTERRUPTED, EXPIRED or MAX_DOWNLOADS_EXCEEDED.
    status_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_downloads: Option<u32>,
    /// The link, while it is good. Before the file is ready it waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hash {
    type_name: &'static str,
    file_name: String,
    hash: String,
}

/// A restore: one of snapshotId, oplogTs with oplogInc, or pointInTimeUTCMillis.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewRestoreJob {
    snapshot_id: Option<String>,
    /// Seconds since 1970; inclusive.
    oplog_ts: Option<Num<u32>>,
    oplog_inc: Option<Num<u32>>,
    /// Milliseconds since 1970, exclusive, rounded down to the second.
    #[serde(rename = "pointInTimeUTCMillis")]
    point_in_time_utc_millis: Option<Num<i64>>,
    delivery: Sent<NewDeliveryEntry>,
}

const NO_CHECKPOINTS: Idle = Idle {
    name: "checkPointId",
    good: &[""],
    code: "CHECKPOINT_NOT_FOUND",
    why: "replica sets have no checkpoints",
};

impl Known for NewRestoreJob {
    const ECHOED: &'static [&'static str] = &["groupId", "projectId", "clusterId", "clusterName"];
    const IDLE: &'static [Idle] =
        &[NO_CHECKPOINTS, Idle { name: "checkpointId", ..NO_CHECKPOINTS }];
}

impl Known for NewDeliveryEntry {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewDeliveryEntry {
    /// HTTP or AUTOMATED_RESTORE.
    method_name: String,
    /// When the link ends, RFC 3339; or expirationHours. In an hour where neither is given.
    expires: Option<String>,
    expiration_hours: Option<Num<i64>>,
    /// 1 where not given.
    max_downloads: Option<Num<u32>>,
    /// The project of the target cluster.
    target_group_id: Option<String>,
    /// The target cluster, or its name. All that is restored gives way there.
    target_cluster_id: Option<String>,
    target_cluster_name: Option<String>,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    let path = "/api/public/v1.0/groups/{groupId}/clusters/{clusterId}/restoreJobs";
    let batch = Param { name: "batchId", about: "Replica sets have no batches.", kind: "string" };
    vec![
        get(path, look, "A cluster's restore jobs, newest first.", list).paged().asks(batch),
        get(
            "/api/public/v1.0/groups/{groupId}/clusters/{clusterId}/restoreJobs/{jobId}",
            look,
            "A restore job.",
            one,
        ),
        reads(Method::POST, path, Need::Project(Right::Restore), "Restores.", create),
    ]
}

async fn list(call: Call) -> Result<List<RestoreJobEntry>, Failure> {
    let job = call.job("clusterId").await?.job;
    let mut restores = call.control.restores(&job.project, Some(&job.id)).await?;
    restores.retain(|_| call.asked("batchId").is_none());
    let page = call.page()?;
    let total = restores.len() as u64;
    let mut entries = Vec::new();
    for restore in restores.into_iter().skip(page.skip()).take(page.take()) {
        entries.push(entry(&call, &job, restore).await?);
    }
    Ok(call.list_of(page, entries, total))
}

async fn one(call: Call) -> Result<RestoreJobEntry, Failure> {
    let job = call.job("clusterId").await?.job;
    let missing = || Failure::not_found("RESTORE_JOB_NOT_FOUND", "restore job");
    let id: Id = call.text("jobId").parse().map_err(|_| missing())?;
    let found = call.control.restore_job(&job.project, &id).await;
    let restore = found.map_err(|e| Failure::from(e).missing_is("RESTORE_JOB_NOT_FOUND"))?;
    if restore.job != job.id {
        return Err(missing());
    }
    entry(&call, &job, restore).await
}

async fn create(call: Call, body: NewRestoreJob) -> Result<List<RestoreJobEntry>, Failure> {
    let job = call.job("clusterId").await?.job;
    let when = when(&body)?;
    let (delivery, verify) = delivery(&call, &job, &body.delivery.read()?).await?;
    let new = NewRestore { when, names: Names::default(), delivery, verify };
    let made = call.control.restore(&job.project, &job.id, new, &call.by()).await;
    let (restore, secret) = made.map_err(|e| Failure::from(e).missing_is("SNAPSHOT_NOT_FOUND"))?;
    if let (Some(secret), Delivery::Http { expires, .. }) = (secret, &restore.delivery) {
        links::keep(&call.control, &job.project, &restore.id, &secret, *expires).await?;
    }
    let entry = entry(&call, &job, restore).await?;
    // Ops Manager answers with a list: of a sharded cluster there would be one for each shard.
    call.list(vec![entry])
}

/// WHEN, from the one of three ways that the body chose.
fn when(body: &NewRestoreJob) -> Result<String, Failure> {
    let snapshot = body.snapshot_id.as_ref().filter(|id| !id.is_empty());
    match (snapshot, body.oplog_ts, body.point_in_time_utc_millis) {
        (Some(id), None, None) => {
            let id: SnapshotId =
                id.parse().map_err(|_| Failure::not_found("SNAPSHOT_NOT_FOUND", "snapshot"))?;
            Ok(id.to_string())
        }
        (None, Some(Num(secs)), None) => {
            let Num(inc) = body.oplog_inc.ok_or_else(|| {
                Failure::invalid("oplogInc", "oplogInc must be given with oplogTs")
            })?;
            Ok(Ts::new(secs, inc).to_string())
        }
        (None, None, Some(Num(millis))) => {
            let secs = u32::try_from(millis.div_euclid(1000)).map_err(|_| {
                Failure::invalid("pointInTimeUTCMillis", "it is outside 1970 to 2106")
            })?;
            Ok(Ts::new(secs, 0).to_rfc3339())
        }
        _ => {
            let why = "give one of snapshotId, oplogTs with oplogInc, or pointInTimeUTCMillis";
            Err(Failure::invalid("snapshotId", why).about("oplogTs").about("pointInTimeUTCMillis"))
        }
    }
}

/// Where to, and whether the target is compared.
async fn delivery(
    call: &Call,
    job: &Job,
    body: &NewDeliveryEntry,
) -> Result<(NewDelivery, bool), Failure> {
    match body.method_name.as_str() {
        "HTTP" => Ok((http(call, body)?, false)),
        "AUTOMATED_RESTORE" => Ok((automated(call, job, body).await?, true)),
        "SCP" | "QUERYABLE" => {
            let why = format!("{} is not offered: use HTTP", body.method_name);
            Err(Failure::conflict("UNSUPPORTED_DELIVERY_METHOD", why).about("methodName"))
        }
        _ => Err(Failure::invalid("methodName", "the method is HTTP or AUTOMATED_RESTORE")),
    }
}

fn http(call: &Call, body: &NewDeliveryEntry) -> Result<NewDelivery, Failure> {
    let expires = match (&body.expires, body.expiration_hours) {
        (Some(text), None) => Some(time::lenient(text, "expires")?),
        (None, Some(Num(hours))) if (1..=LONGEST_LINK).contains(&hours) => {
            Some(UnixMillis(call.control.now().0 + hours * HOUR))
        }
        (None, Some(_)) => {
            let why = format!("expirationHours is 1 to {LONGEST_LINK}");
            return Err(Failure::invalid("expirationHours", why));
        }
        (None, None) => None,
        (Some(_), Some(_)) => {
            let why = "either expires or expirationHours can be given, not both";
            return Err(Failure::invalid("expires", why).about("expirationHours"));
        }
    };
    let max_downloads = Some(body.max_downloads.map_or(1, |Num(most)| most));
    Ok(NewDelivery::Http { form: Form::Tar, expires, max_downloads })
}

/// Into a cluster that has a job here, by that job's URI, whose user must be allowed to restore. As with Ops Manager,
/// what is there gives way, and the source may be the target.
async fn automated(
    call: &Call,
    job: &Job,
    body: &NewDeliveryEntry,
) -> Result<NewDelivery, Failure> {
    let id = |name: &str, text: &Option<String>| -> Result<Id, Failure> {
        let text = text.as_deref().ok_or_else(|| {
            Failure::invalid(name, format!("{name} must be given with AUTOMATED_RESTORE"))
        })?;
        text.parse().map_err(|_| Failure::invalid(name, format!("{name} is not an id")))
    };
    let group = id("targetGroupId", &body.target_group_id)?;
    if !call.who.may(Right::Look, Some(&group)) {
        return Err(Failure::not_found("GROUP_NOT_FOUND", "project").about("targetGroupId"));
    }
    if !call.who.may(Right::Restore, Some(&group)) {
        return Err(Failure::forbidden("this needs the right Restore in the target's project"));
    }
    let missing = |name: &str| Failure::not_found("CLUSTER_NOT_FOUND", "cluster").about(name);
    let target = match (&body.target_cluster_id, &body.target_cluster_name) {
        (None, Some(name)) => {
            let jobs = call.control.jobs(&group).await?;
            let named = jobs.into_iter().find(|view| view.job.cluster == *name);
            named.ok_or_else(|| missing("targetClusterName"))?
        }
        _ => {
            let cluster = id("targetClusterId", &body.target_cluster_id)?;
            let found = call.control.job(&group, &cluster).await;
            found.map_err(|_| missing("targetClusterId"))?
        }
    };
    let to = call.control.source_as_given(&target.job)?.uri;
    Ok(NewDelivery::Automated { to, drop: true, onto_source: target.job.id == job.id })
}

async fn entry(call: &Call, job: &Job, restore: RestoreJob) -> Result<RestoreJobEntry, Failure> {
    let now = call.control.now();
    let mut delivery = delivery_entry(&restore, now);
    if matches!(delivery.status_name, "NOT_STARTED" | "IN_PROGRESS" | "READY")
        && let Some(secret) = links::secret(&call.control, &restore.id).await?
        // Who may only look is not given the data.
        && call.who.may(Right::Restore, Some(&restore.project))
    {
        let path = bygone_control::download_path(&restore.id, &secret);
        delivery.url = Some(format!("{}{path}", call.origin));
    }
    let cluster = format!("{BASE}/groups/{}/clusters/{}", job.project, job.id);
    let hash = |(file_name, hash): (String, String)| Hash { type_name: "SHA1", file_name, hash };
    Ok(RestoreJobEntry {
        delivery,
        links: vec![
            call.link("self", &format!("{cluster}/restoreJobs/{}", restore.id)),
            call.link("cluster", &cluster),
        ],
        id: restore.id.into(),
        group_id: restore.project.into(),
        cluster_id: restore.job.into(),
        cluster_name: job.cluster.clone(),
        snapshot_id: restore.snapshot,
        created: time::text(restore.created),
        timestamp: restore.moment.parse::<Ts>().ok().map(BsonTimestamp::from),
        point_in_time: restore.point_in_time,
        status_name: status(restore.status),
        encryption_enabled: false,
        hashes: restore.hashes.into_iter().map(hash).collect(),
    })
}

fn status(status: RestoreStatus) -> &'static str {
    match status {
        RestoreStatus::InProgress => "IN_PROGRESS",
        RestoreStatus::Finished => "FINISHED",
        RestoreStatus::Broken => "BROKEN",
        RestoreStatus::Killed => "KILLED",
    }
}

fn delivery_entry(restore: &RestoreJob, now: UnixMillis) -> DeliveryEntry {
    let running = match restore.progress.phase.as_str() {
        "waiting" => "NOT_STARTED",
        _ => "IN_PROGRESS",
    };
    let ended = match restore.status {
        RestoreStatus::InProgress => Some(running),
        RestoreStatus::Broken => Some("FAILED"),
        RestoreStatus::Killed => Some("INTERRUPTED"),
        RestoreStatus::Finished => None,
    };
    match &restore.delivery {
        Delivery::Automated { .. } => DeliveryEntry {
            method_name: "AUTOMATED_RESTORE",
            status_name: ended.unwrap_or("READY"),
            ..DeliveryEntry::default()
        },
        Delivery::Http { expires, max_downloads, downloads, .. } => {
            let spent = max_downloads.is_some_and(|most| *downloads >= most);
            let ready = match () {
                () if spent => "MAX_DOWNLOADS_EXCEEDED",
                () if *expires <= now => "EXPIRED",
                () => "READY",
            };
            DeliveryEntry {
                method_name: "HTTP",
                status_name: ended.unwrap_or(ready),
                expires: Some(time::text(*expires)),
                max_downloads: *max_downloads,
                url: None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str) -> Result<String, String> {
        let json = format!("{{{json},\"delivery\":{{\"methodName\":\"HTTP\"}}}}");
        let sent: Sent<NewRestoreJob> = serde_json::from_str(&json).unwrap();
        sent.read().and_then(|body| when(&body)).map_err(|failure| {
            serde_json::to_value(failure.document()).unwrap()["errorCode"].to_string()
        })
    }

    #[test]
    fn moments_are_named_in_one_of_three_ways() {
        let snapshot = "20261120T103000Z-1a2b3c4d";
        assert_eq!(asked(&format!("\"snapshotId\":\"{snapshot}\"")).unwrap(), snapshot);
        assert_eq!(asked(r#""oplogTs":"17","oplogInc":3"#).unwrap(), "17:3");
        assert_eq!(asked(r#""oplogTs":17,"oplogInc":"3""#).unwrap(), "17:3");
        assert_eq!(asked(r#""oplogTs":17,"oplogInc":3,"snapshotId":"""#).unwrap(), "17:3");
        let text = asked(r#""pointInTimeUTCMillis":"1795170600987""#).unwrap();
        assert_eq!(text, "2026-11-20T10:30:00Z");
        let millis = asked(r#""pointInTimeUTCMillis":1795170600987"#).unwrap();
        assert_eq!(millis, "2026-11-20T10:30:00Z");
        for bad in [
            r#""oplogTs":"17""#,
            r#""oplogTs":"x","oplogInc":3"#,
            r#""oplogInc":3"#,
            r#""pointInTimeUTCMillis":-1"#,
            r#""pointInTimeUTCMillis":1,"oplogTs":1,"oplogInc":1"#,
        ] {
            assert_eq!(asked(bad).unwrap_err(), "\"INVALID_ATTRIBUTE\"", "{bad}");
        }
        assert_eq!(asked(r#""snapshotId":"x""#).unwrap_err(), "\"SNAPSHOT_NOT_FOUND\"");
        assert_eq!(asked(r#""checkPointId":"x""#).unwrap_err(), "\"CHECKPOINT_NOT_FOUND\"");
    }
}
