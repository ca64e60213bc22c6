//! Alerts of a project.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::{
    Id,
    record::{Alert, AlertKind, AlertStatus, Job},
};
use serde::{Deserialize, Serialize};

use super::{
    alert_configs,
    body::{Known, reads},
};
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Param, Route, get},
    schema::JsonSchema,
    time,
    v1::BASE,
};

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertEntry {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert_config_id: Option<String>,
    /// BACKUP.
    type_name: &'static str,
    /// Such as OPLOG_BEHIND.
    event_type_name: AlertWord,
    /// OPEN, ACKNOWLEDGED or CLOSED.
    status: StatusWord,
    created: String,
    updated: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_notified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledging_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledgement_comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Option<String>,
    /// What, on what, since when, what to do.
    message: String,
    links: Vec<Link>,
}

/// The words of the catalog, which are Ops Manager's.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct AlertWord(#[schema(with = "String")] pub(super) AlertKind);

#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct StatusWord(#[schema(with = "String")] AlertStatus);

/// An acknowledgement.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AlertPatch {
    /// RFC 3339; a moment that has passed takes an acknowledgement back.
    acknowledged_until: String,
    acknowledgement_comment: Option<String>,
}

impl Known for AlertPatch {
    const ECHOED: &'static [&'static str] = &[
        "id",
        "groupId",
        "alertConfigId",
        "typeName",
        "eventTypeName",
        "status",
        "created",
        "updated",
        "resolved",
        "lastNotified",
        "acknowledgingUsername",
        "clusterId",
        "clusterName",
        "message",
        "links",
    ];
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    let words =
        "OPEN, ACKNOWLEDGED or CLOSED. (None is TRACKING, CANCELLED or INFORMATIONAL here.)";
    let status = Param { name: "status", about: words, kind: "string" };
    let one_path = "/api/public/v1.0/groups/{groupId}/alerts/{alertId}";
    vec![
        get("/api/public/v1.0/groups/{groupId}/alerts", look, "Alerts, newest first.", list)
            .paged()
            .asks(status),
        get(one_path, look, "An alert.", one),
        reads(
            Method::PATCH,
            one_path,
            Need::Project(Right::Backup),
            "Acknowledges an alert.",
            patch,
        ),
        get(
            "/api/public/v1.0/globalAlerts",
            Need::Server(Right::Look),
            "Alerts of all projects and of the server, newest first.",
            global,
        )
        .paged()
        .asks(status),
        get(
            "/api/public/v1.0/globalAlerts/{alertId}",
            Need::Server(Right::Look),
            "An alert, also of the server or of a store.",
            one_global,
        ),
        reads(
            Method::PATCH,
            "/api/public/v1.0/globalAlerts/{alertId}",
            Need::Server(Right::Backup),
            "Acknowledges an alert, also of the server or of a store.",
            patch_global,
        ),
    ]
}

async fn list(call: Call) -> Result<List<AlertEntry>, Failure> {
    let alerts = call.control.alerts(Some(call.project()?)).await?;
    entries(&call, alerts).await
}

async fn global(call: Call) -> Result<List<AlertEntry>, Failure> {
    let alerts = call.control.alerts(None).await?;
    entries(&call, alerts).await
}

async fn entries(call: &Call, mut alerts: Vec<Alert>) -> Result<List<AlertEntry>, Failure> {
    if let Some(word) = call.asked("status") {
        let wanted: Option<AlertStatus> = match word {
            "TRACKING" | "CANCELLED" | "INFORMATIONAL" => None,
            word => Some(serde_json::from_value(word.into()).map_err(|_| {
                Failure::invalid("status", "the status is OPEN, ACKNOWLEDGED or CLOSED")
            })?),
        };
        alerts.retain(|alert| Some(alert.status) == wanted);
    }
    let jobs = call.jobs_by_id().await?;
    let name = |alert: &Alert| alert.job.as_ref().and_then(|job| jobs.get(job));
    call.list(alerts.into_iter().map(|alert| entry(call, name(&alert), alert)).collect())
}

async fn one(call: Call) -> Result<AlertEntry, Failure> {
    let id = alert_id(&call)?;
    let alerts = call.control.alerts(Some(call.project()?)).await?;
    let found = alerts.into_iter().find(|alert| alert.id == id);
    let alert = found.ok_or_else(|| Failure::not_found("ALERT_NOT_FOUND", "alert"))?;
    named(&call, alert).await
}

async fn one_global(call: Call) -> Result<AlertEntry, Failure> {
    let found = call.control.catalog().find::<Alert>(alert_id(&call)?.as_str()).await?;
    let missing = || Failure::not_found("ALERT_NOT_FOUND", "alert");
    named(&call, found.ok_or_else(missing)?.value).await
}

async fn patch_global(call: Call, body: AlertPatch) -> Result<AlertEntry, Failure> {
    let id = alert_id(&call)?;
    let until = time::lenient(&body.acknowledged_until, "acknowledgedUntil")?;
    let comment = body.acknowledgement_comment.unwrap_or_default();
    let alert = call.control.acknowledge_any(&id, until, &comment, &call.by()).await;
    let alert = alert
        .map_err(|e| Failure::from(e).missing_is("ALERT_NOT_FOUND").conflict_is("ALERT_CLOSED"))?;
    named(&call, alert).await
}

async fn patch(call: Call, body: AlertPatch) -> Result<AlertEntry, Failure> {
    let id = alert_id(&call)?;
    let until = time::lenient(&body.acknowledged_until, "acknowledgedUntil")?;
    let comment = body.acknowledgement_comment.unwrap_or_default();
    let acknowledged =
        call.control.acknowledge(call.project()?, &id, until, &comment, &call.by()).await;
    let alert = acknowledged
        .map_err(|e| Failure::from(e).missing_is("ALERT_NOT_FOUND").conflict_is("ALERT_CLOSED"))?;
    named(&call, alert).await
}

fn alert_id(call: &Call) -> Result<Id, Failure> {
    let id = call.text("alertId").parse();
    id.map_err(|_| Failure::not_found("ALERT_NOT_FOUND", "alert"))
}

async fn named(call: &Call, alert: Alert) -> Result<AlertEntry, Failure> {
    let jobs = call.jobs_by_id().await?;
    let job = alert.job.as_ref().and_then(|job| jobs.get(job));
    Ok(entry(call, job, alert))
}

fn entry(call: &Call, job: Option<&Job>, alert: Alert) -> AlertEntry {
    let path = match &alert.project {
        Some(project) => format!("{BASE}/groups/{project}/alerts/{}", alert.id),
        None => format!("{BASE}/globalAlerts/{}", alert.id),
    };
    let (who, until, comment) = match alert.acknowledged {
        Some((who, until, comment)) => (Some(who), Some(time::text(until)), Some(comment)),
        None => (None, None, None),
    };
    AlertEntry {
        links: vec![call.link("self", &path)],
        id: alert.id.into(),
        alert_config_id: alert.project.as_ref().map(|of| alert_configs::id(of, alert.kind)),
        group_id: alert.project.map(String::from),
        type_name: "BACKUP",
        event_type_name: AlertWord(alert.kind),
        status: StatusWord(alert.status),
        created: time::text(alert.created),
        updated: time::text(alert.updated),
        resolved: alert.resolved.map(time::text),
        last_notified: alert.notified.map(time::text),
        acknowledged_until: until,
        acknowledging_username: who,
        acknowledgement_comment: comment,
        cluster_id: alert.job.map(String::from),
        cluster_name: job.map(|job| job.cluster.clone()),
        message: alert.message,
    }
}
