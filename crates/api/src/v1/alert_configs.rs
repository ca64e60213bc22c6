//! What alerts there can be. They are built in; their thresholds, and who is told, are the server's settings (`/api/v2`).

use bygone_access::Right;
use bygone_catalog::{Id, record::AlertKind};
use serde::Serialize;
use serde_json::Value;

use super::alerts::AlertWord;
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Route, get},
    schema::JsonSchema,
    time,
    v1::BASE,
};

const KINDS: [AlertKind; 11] = [
    AlertKind::OplogBehind,
    AlertKind::ResyncRequired,
    AlertKind::BackupAgentDown,
    AlertKind::SourceUnavailable,
    AlertKind::DaemonDown,
    AlertKind::LateSnapshot,
    AlertKind::SnapshotFailed,
    AlertKind::StoreNearlyFull,
    AlertKind::GroomOverdue,
    AlertKind::VerificationFailed,
    AlertKind::ClockSkew,
];

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertConfig {
    id: String,
    group_id: String,
    /// BACKUP.
    type_name: &'static str,
    /// Such as OPLOG_BEHIND.
    event_type_name: AlertWord,
    enabled: bool,
    created: String,
    updated: String,
    /// None: whom the settings name is told.
    notifications: Vec<Value>,
    /// None: it is for all clusters.
    matchers: Vec<Value>,
    links: Vec<Link>,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    vec![
        get(
            "/api/public/v1.0/groups/{groupId}/alertConfigs",
            look,
            "The alerts that there can be; they cannot be changed here.",
            list,
        )
        .paged(),
        get(
            "/api/public/v1.0/groups/{groupId}/alertConfigs/{alertConfigId}",
            look,
            "An alert that there can be.",
            one,
        ),
    ]
}

/// The id of a project's alerts of a kind.
pub(super) fn id(project: &Id, kind: AlertKind) -> String {
    let hash = blake3::hash(format!("alert config {project} {kind:?}").as_bytes());
    hex::encode(hash.as_bytes().get(..12).unwrap_or_default())
}

async fn all(call: &Call) -> Result<Vec<AlertConfig>, Failure> {
    let project = call.control.project(call.project()?).await?;
    let config = |kind: AlertKind| {
        let id = id(&project.id, kind);
        let path = format!("{BASE}/groups/{}/alertConfigs/{id}", project.id);
        AlertConfig {
            links: vec![call.link("self", &path)],
            id,
            group_id: project.id.to_string(),
            type_name: "BACKUP",
            event_type_name: AlertWord(kind),
            enabled: true,
            created: time::text(project.created),
            updated: time::text(project.created),
            notifications: Vec::new(),
            matchers: Vec::new(),
        }
    };
    Ok(KINDS.into_iter().map(config).collect())
}

async fn list(call: Call) -> Result<List<AlertConfig>, Failure> {
    let configs = all(&call).await?;
    call.list(configs)
}

async fn one(call: Call) -> Result<AlertConfig, Failure> {
    let mut configs = all(&call).await?.into_iter();
    let found = configs.find(|config| config.id == call.text("alertConfigId"));
    found.ok_or_else(|| Failure::not_found("ALERT_CONFIG_NOT_FOUND", "alert configuration"))
}
