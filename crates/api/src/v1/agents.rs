//! Agents of a project.

use bygone_access::Right;
use bygone_catalog::{Id, record::Agent};
use serde::Serialize;

use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Route, get},
    schema::JsonSchema,
    time,
};

/// One that was not heard for so long is not there any more.
const SILENT: i64 = 300_000;

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentEntry {
    /// BACKUP.
    type_name: &'static str,
    hostname: String,
    /// ACTIVE, STANDBY or NO_PROCESSES (silent, or gone).
    state_name: &'static str,
    is_managed: bool,
    /// When it last asked for its work.
    last_conf: String,
    /// Its version.
    tag: String,
    links: Vec<Link>,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    vec![
        get("/api/public/v1.0/groups/{groupId}/agents", look, "The project's agents.", list)
            .paged(),
        get(
            "/api/public/v1.0/groups/{groupId}/agents/{agentType}",
            look,
            "The project's agents of one type: BACKUP.",
            of_type,
        )
        .paged(),
    ]
}

/// The agents that were ever heard.
pub(super) async fn heard(call: &Call, project: &Id) -> Result<Vec<Agent>, Failure> {
    Ok(call.control.catalog().all(Some(project.as_str())).await?)
}

async fn list(call: Call) -> Result<List<AgentEntry>, Failure> {
    let now = call.control.now();
    let entry = |agent: Agent| AgentEntry {
        type_name: "BACKUP",
        state_name: match () {
            () if agent.left || now.since(agent.last_conf) > SILENT => "NO_PROCESSES",
            () if agent.serves.is_empty() => "STANDBY",
            () => "ACTIVE",
        },
        hostname: agent.host,
        is_managed: false,
        last_conf: time::text(agent.last_conf),
        tag: agent.version,
        links: Vec::new(),
    };
    let agents = heard(&call, call.project()?).await?;
    call.list(agents.into_iter().map(entry).collect())
}

async fn of_type(call: Call) -> Result<List<AgentEntry>, Failure> {
    match call.text("agentType") {
        "BACKUP" => list(call).await,
        "MONITORING" | "AUTOMATION" => call.list(Vec::new()),
        _ => Err(Failure::invalid("agentType", "agents are BACKUP, MONITORING or AUTOMATION")),
    }
}
