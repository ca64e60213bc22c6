//! The root, and projects, which Ops Manager calls groups too.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::Project;
use serde::{Deserialize, Serialize};

use super::{
    body::{Idle, Known, reads},
    orgs,
};
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Param, Route, get},
    schema::JsonSchema,
    v1::BASE,
};

/// Which of a list.
pub(super) const NAME: Param =
    Param { name: "name", about: "Only those whose names begin so.", kind: "string" };

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Root {
    app_name: &'static str,
    build: &'static str,
    throttling: bool,
    links: Vec<Link>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    id: String,
    name: String,
    org_id: &'static str,
    public_api_enabled: bool,
    tags: Vec<String>,
    /// Jobs in any state.
    replica_set_count: u64,
    shard_count: u64,
    /// Agents that were heard and have not left.
    active_agent_count: u64,
    links: Vec<Link>,
}

/// A project to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewGroup {
    /// Unique among projects.
    name: String,
}

impl Known for NewGroup {
    const ECHOED: &'static [&'static str] =
        &["id", "links", "activeAgentCount", "replicaSetCount", "shardCount", "publicApiEnabled"];
    const IDLE: &'static [Idle] = &[
        Idle {
            name: "orgId",
            good: &["", orgs::ID],
            code: "ORG_NOT_FOUND",
            why: "there is one organization, and it has all projects",
        },
        Idle { name: "tags", good: &[""], code: "CANNOT_SET_TAGS", why: "projects have no tags" },
    ];
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    vec![
        get("/api/public/v1.0", Need::Anyone, "What this is.", root),
        get(
            "/api/public/v1.0/groups",
            Need::Anyone,
            "The projects that the key may look at.",
            list,
        )
        .paged()
        .asks(NAME),
        reads(
            Method::POST,
            "/api/public/v1.0/groups",
            Need::Server(Right::Users),
            "Makes a project.",
            create,
        )
        .says(201),
        get("/api/public/v1.0/groups/{groupId}", look, "A project.", one),
        get(
            "/api/public/v1.0/groups/byName/{name}",
            Need::Anyone,
            "A project that the key may look at, by its name.",
            by_name,
        ),
    ]
}

async fn root(call: Call) -> Result<Root, Failure> {
    Ok(Root {
        app_name: "bygone",
        build: env!("CARGO_PKG_VERSION"),
        throttling: false,
        links: vec![
            call.link("self", BASE),
            call.link("groups", &format!("{BASE}/groups")),
            call.link("orgs", &format!("{BASE}/orgs")),
        ],
    })
}

pub(super) async fn seen(call: &Call) -> Result<Vec<Project>, Failure> {
    let mut projects = call.control.projects().await?;
    projects.retain(|project| call.who.may(Right::Look, Some(&project.id)));
    Ok(projects)
}

pub(super) async fn list(call: Call) -> Result<List<Group>, Failure> {
    let mut groups = Vec::new();
    for project in seen(&call).await? {
        // Ops Manager gives those whose names begin so.
        if call.asked("name").is_none_or(|name| project.name.starts_with(name)) {
            groups.push(group(&call, project).await?);
        }
    }
    call.list(groups)
}

async fn create(call: Call, body: NewGroup) -> Result<Group, Failure> {
    let made = call.control.create_project(&body.name, &call.by()).await;
    let project = made.map_err(|e| Failure::from(e).conflict_is("GROUP_ALREADY_EXISTS"))?;
    group(&call, project).await
}

async fn one(call: Call) -> Result<Group, Failure> {
    let project = call.control.project(call.project()?).await?;
    group(&call, project).await
}

async fn by_name(call: Call) -> Result<Group, Failure> {
    let mut projects = seen(&call).await?.into_iter();
    let found = projects.find(|project| project.name == call.text("name"));
    let project = found.ok_or_else(|| Failure::not_found("GROUP_NOT_FOUND", "project"))?;
    group(&call, project).await
}

async fn group(call: &Call, project: Project) -> Result<Group, Failure> {
    let Project { id, name, .. } = project;
    let jobs = call.control.jobs(&id).await?.len() as u64;
    let agents = super::agents::heard(call, &id).await?;
    let at = |rel: &str, rest: &str| call.link(rel, &format!("{BASE}/groups/{id}{rest}"));
    let links = vec![
        at("self", ""),
        at("clusters", "/clusters"),
        at("backupConfigs", "/backupConfigs"),
        at("hosts", "/hosts"),
        at("alerts", "/alerts"),
        at("agents", "/agents"),
    ];
    Ok(Group {
        links,
        name,
        org_id: orgs::ID,
        public_api_enabled: true,
        tags: Vec::new(),
        replica_set_count: jobs,
        shard_count: 0,
        active_agent_count: agents.iter().filter(|agent| !agent.left).count() as u64,
        id: id.into(),
    })
}
