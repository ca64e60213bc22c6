//! Keys: agent keys of a project, and API keys of the whole server.

use axum::http::{Method, StatusCode};
use bygone_access::{AgentKeyView, KeyView, Right};
use bygone_catalog::record::{Actor, Grant, Role};
use serde::{Deserialize, Serialize};

use super::{
    body::{Known, reads},
    snapshots::Nothing,
};
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Route, get, plain},
    schema::JsonSchema,
    v1::BASE,
};

/// A key that agents of a project prove themselves by.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentApiKey {
    #[serde(rename = "_id")]
    id: String,
    /// The key itself; shown once, in the answer to its making.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    desc: String,
    /// Milliseconds since 1970.
    #[serde(rename = "createdTime")]
    created_time: i64,
    /// Who made it, in the answer to its making.
    #[serde(rename = "createdBy", skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAgentApiKey {
    desc: String,
}

impl Known for NewAgentApiKey {}

/// An API key of the whole server.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GlobalKey {
    /// Its public half.
    id: String,
    desc: String,
    public_key: String,
    /// Its private half; shown once, in the answer to its making.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<String>,
    roles: Vec<GlobalRole>,
    links: Vec<Link>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GlobalRole {
    /// GLOBAL_OWNER or GLOBAL_BACKUP_ADMIN.
    role_name: &'static str,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGlobalKey {
    desc: String,
    /// GLOBAL_OWNER or GLOBAL_BACKUP_ADMIN.
    roles: Vec<String>,
}

impl Known for NewGlobalKey {}

pub(super) fn routes() -> Vec<Route> {
    let agents = Need::Project(Right::Agents);
    let users = Need::Server(Right::Users);
    let of_project = "/api/public/v1.0/groups/{groupId}/agentapikeys";
    let global = "/api/public/v1.0/admin/apiKeys";
    let one_global = "/api/public/v1.0/admin/apiKeys/{key}";
    vec![
        get(of_project, agents, "The project's agent keys.", agent_keys),
        reads(
            Method::POST,
            of_project,
            agents,
            "Makes an agent key. This needs the right to restore, too: agents are given the sources' passwords.",
            create_agent_key,
        ),
        plain(
            Method::DELETE,
            "/api/public/v1.0/groups/{groupId}/agentapikeys/{key}",
            agents,
            "Removes an agent key: agents that use it are refused.",
            delete_agent_key,
        ),
        get(global, users, "The API keys that are good for all projects.", global_keys).paged(),
        reads(
            Method::POST,
            global,
            users,
            "Makes an API key that is good for all projects.",
            create_global_key,
        ),
        get(one_global, users, "An API key that is good for all projects.", global_key),
        plain(Method::DELETE, one_global, users, "Removes such an API key.", delete_global_key),
    ]
}

fn agent_key(view: AgentKeyView, key: Option<String>, created_by: Option<String>) -> AgentApiKey {
    let AgentKeyView { id, description, created, .. } = view;
    AgentApiKey { id: id.into(), key, desc: description, created_time: created.0, created_by }
}

/// As in Ops Manager, a list without pages.
async fn agent_keys(call: Call) -> Result<Vec<AgentApiKey>, Failure> {
    let keys = call.access.agent_keys(call.project()?).await?;
    Ok(keys.into_iter().map(|view| agent_key(view, None, None)).collect())
}

async fn create_agent_key(call: Call, body: NewAgentApiKey) -> Result<AgentApiKey, Failure> {
    call.must(Right::Restore)?;
    let by = call.by();
    let made = call.access.create_agent_key(call.project()?, &body.desc, &by).await;
    let (view, secret) = made?;
    let name = match by.actor {
        Actor::User(name) | Actor::ApiKey(name) | Actor::Agent(name) => Some(name),
        Actor::System => None,
    };
    Ok(agent_key(view, Some(secret), name))
}

async fn delete_agent_key(call: Call) -> Result<Nothing, Failure> {
    call.access.remove_agent_key(call.project()?, &call.id("key")?, &call.by()).await?;
    Ok(Nothing {})
}

fn word(role: Role) -> Option<&'static str> {
    match role {
        Role::GlobalOwner => Some("GLOBAL_OWNER"),
        Role::GlobalBackupAdmin => Some("GLOBAL_BACKUP_ADMIN"),
        _ => None,
    }
}

/// As it is shown, where it is good for all projects.
fn global_entry(call: &Call, view: KeyView, private_key: Option<String>) -> Option<GlobalKey> {
    let words: Vec<&str> = view.grants.iter().filter_map(|grant| word(grant.role)).collect();
    let role = |role_name| GlobalRole { role_name };
    (!words.is_empty()).then(|| GlobalKey {
        links: vec![call.link("self", &format!("{BASE}/admin/apiKeys/{}", view.public))],
        id: view.public.clone(),
        desc: view.description,
        public_key: view.public,
        private_key,
        roles: words.into_iter().map(role).collect(),
    })
}

async fn entries(call: &Call) -> Result<Vec<GlobalKey>, Failure> {
    let keys = call.access.keys().await?;
    Ok(keys.into_iter().filter_map(|view| global_entry(call, view, None)).collect())
}

fn missing() -> Failure {
    Failure::not_found("API_KEY_NOT_FOUND", "API key")
}

async fn global_keys(call: Call) -> Result<List<GlobalKey>, Failure> {
    let keys = entries(&call).await?;
    call.list(keys)
}

async fn global_key(call: Call) -> Result<GlobalKey, Failure> {
    let found = entries(&call).await?.into_iter().find(|key| key.id == call.text("key"));
    found.ok_or_else(missing)
}

async fn create_global_key(call: Call, body: NewGlobalKey) -> Result<GlobalKey, Failure> {
    let all = [Role::GlobalOwner, Role::GlobalBackupAdmin];
    let mut grants = Vec::new();
    for name in &body.roles {
        let role = all.into_iter().find(|role| word(*role) == Some(name));
        let role = role.ok_or_else(|| {
            let why = format!("{name:?} is no role here: GLOBAL_OWNER or GLOBAL_BACKUP_ADMIN");
            Failure::new(StatusCode::BAD_REQUEST, "INVALID_ROLE", why).about("roles")
        })?;
        grants.push(Grant { role, project: None });
    }
    let new = call.access.create_key(&body.desc, grants, &call.by()).await?;
    global_entry(&call, new.key, Some(new.private)).ok_or_else(missing)
}

async fn delete_global_key(call: Call) -> Result<Nothing, Failure> {
    let found = entries(&call).await?.into_iter().find(|key| key.id == call.text("key"));
    call.access.remove_key(&found.ok_or_else(missing)?.id, &call.by()).await?;
    Ok(Nothing {})
}
