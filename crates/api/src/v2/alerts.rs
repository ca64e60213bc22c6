//! What is wrong.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::{
    Id,
    record::{Alert, AlertKind, AlertStatus},
};
use serde::{Deserialize, Serialize};

use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Route, get, with},
    schema::JsonSchema,
    time,
};

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AlertBody {
    id: String,
    project: Option<String>,
    job: Option<String>,
    /// A store, or empty.
    target: String,
    /// Such as OPLOG_BEHIND.
    #[schema(with = "String")]
    kind: AlertKind,
    /// OPEN, ACKNOWLEDGED or CLOSED.
    #[schema(with = "String")]
    status: AlertStatus,
    created: String,
    updated: String,
    resolved: Option<String>,
    notified: Option<String>,
    acknowledged: Option<AcknowledgedBody>,
    message: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AcknowledgedBody {
    by: String,
    until: String,
    comment: String,
}

/// That somebody knows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAcknowledgement {
    /// RFC 3339; a moment that has passed takes it back.
    until: String,
    #[serde(default)]
    comment: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        get(
            "/api/v2/alerts",
            Need::Server(Right::Look),
            "Alerts of all projects and of the server, newest first.",
            all,
        ),
        get(
            "/api/v2/projects/{project}/alerts",
            Need::Project(Right::Look),
            "The project's alerts, newest first.",
            list,
        ),
        with(
            Method::PUT,
            "/api/v2/projects/{project}/alerts/{alert}/acknowledgement",
            Need::Project(Right::Backup),
            "Says that somebody knows of an alert.",
            acknowledge,
        ),
        with(
            Method::PUT,
            "/api/v2/alerts/{alert}/acknowledgement",
            Need::Server(Right::Backup),
            "Says that somebody knows of an alert, also of one of the server or of a store.",
            acknowledge_any,
        ),
    ]
}

impl From<Alert> for AlertBody {
    fn from(alert: Alert) -> Self {
        let acknowledged =
            |(by, until, comment)| AcknowledgedBody { by, until: time::text(until), comment };
        AlertBody {
            id: alert.id.into(),
            project: alert.project.map(String::from),
            job: alert.job.map(String::from),
            target: alert.target,
            kind: alert.kind,
            status: alert.status,
            created: time::text(alert.created),
            updated: time::text(alert.updated),
            resolved: alert.resolved.map(time::text),
            notified: alert.notified.map(time::text),
            acknowledged: alert.acknowledged.map(acknowledged),
            message: alert.message,
        }
    }
}

async fn all(call: Call) -> Result<Vec<AlertBody>, Failure> {
    Ok(call.control.alerts(None).await?.into_iter().map(AlertBody::from).collect())
}

async fn list(call: Call) -> Result<Vec<AlertBody>, Failure> {
    let alerts = call.control.alerts(Some(call.project()?)).await?;
    Ok(alerts.into_iter().map(AlertBody::from).collect())
}

fn alert_id(call: &Call) -> Result<Id, Failure> {
    let id = call.text("alert").parse();
    id.map_err(|_| Failure::not_found("ALERT_NOT_FOUND", "alert"))
}

fn shown(alert: bygone_base::Result<Alert>) -> Result<AlertBody, Failure> {
    let alert = alert
        .map_err(|e| Failure::from(e).missing_is("ALERT_NOT_FOUND").conflict_is("ALERT_CLOSED"))?;
    Ok(alert.into())
}

async fn acknowledge_any(call: Call, body: NewAcknowledgement) -> Result<AlertBody, Failure> {
    let id = alert_id(&call)?;
    let until = time::read(&body.until, "until")?;
    shown(call.control.acknowledge_any(&id, until, &body.comment, &call.by()).await)
}

async fn acknowledge(call: Call, body: NewAcknowledgement) -> Result<AlertBody, Failure> {
    let id = alert_id(&call)?;
    let until = time::read(&body.until, "until")?;
    let (project, by) = (call.project()?, call.by());
    shown(call.control.acknowledge(project, &id, until, &body.comment, &by).await)
}
