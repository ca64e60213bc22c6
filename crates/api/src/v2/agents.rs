//! Agents of a project, and the keys they prove themselves by.

use axum::http::Method;
use bygone_access::{AgentKeyView, Right};
use bygone_catalog::record::Agent;
use serde::{Deserialize, Serialize};

use super::Done;
use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Route, get, plain, with},
    schema::JsonSchema,
    time,
};

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentEntryBody {
    id: String,
    host: String,
    version: String,
    /// When it was first heard.
    started: String,
    /// When it last asked for its work.
    last_conf: String,
    /// Jobs that it serves; none: it stands by.
    serves: Vec<String>,
    /// Why it cannot serve a job.
    problems: Vec<ProblemBody>,
    /// It said that it stops.
    left: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProblemBody {
    job: String,
    problem: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentKeyBody {
    id: String,
    description: String,
    created: String,
    /// Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// An agent key to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAgentKey {
    description: String,
}

pub(super) fn routes() -> Vec<Route> {
    let keys = "/api/v2/projects/{project}/agent-keys";
    let agents = Need::Project(Right::Agents);
    vec![
        get(
            "/api/v2/projects/{project}/agents",
            Need::Project(Right::Look),
            "The project's agents.",
            list,
        ),
        get(keys, agents, "The project's agent keys.", list_keys),
        with(
            Method::POST,
            keys,
            agents,
            "Makes an agent key; the answer holds its secret. This needs the right to restore, too: agents are given the sources' passwords.",
            create,
        )
        .says(201),
        plain(
            Method::DELETE,
            "/api/v2/projects/{project}/agent-keys/{key}",
            agents,
            "Removes an agent key: agents that use it are refused.",
            delete,
        ),
    ]
}

async fn list(call: Call) -> Result<Vec<AgentEntryBody>, Failure> {
    let scope = Some(call.project()?.as_str());
    let agents: Vec<Agent> = call.control.catalog().all(scope).await?;
    let problem = |(job, problem)| ProblemBody { job: String::from(job), problem };
    let body = |agent: Agent| AgentEntryBody {
        id: agent.id,
        host: agent.host,
        version: agent.version,
        started: time::text(agent.started),
        last_conf: time::text(agent.last_conf),
        serves: agent.serves.into_iter().map(String::from).collect(),
        problems: agent.problems.into_iter().map(problem).collect(),
        left: agent.left,
    };
    Ok(agents.into_iter().map(body).collect())
}

impl AgentKeyBody {
    fn new(view: AgentKeyView, secret: Option<String>) -> AgentKeyBody {
        let AgentKeyView { id, description, created, .. } = view;
        AgentKeyBody { id: id.into(), description, created: time::text(created), secret }
    }
}

async fn list_keys(call: Call) -> Result<Vec<AgentKeyBody>, Failure> {
    let keys = call.access.agent_keys(call.project()?).await?;
    Ok(keys.into_iter().map(|view| AgentKeyBody::new(view, None)).collect())
}

async fn create(call: Call, body: NewAgentKey) -> Result<AgentKeyBody, Failure> {
    call.must(Right::Restore)?;
    let project = call.project()?;
    let made = call.access.create_agent_key(project, &body.description, &call.by()).await;
    let (view, secret) = made?;
    Ok(AgentKeyBody::new(view, Some(secret)))
}

async fn delete(call: Call) -> Result<Done, Failure> {
    call.access.remove_agent_key(call.project()?, &call.id("key")?, &call.by()).await?;
    Ok(Done::yes())
}
