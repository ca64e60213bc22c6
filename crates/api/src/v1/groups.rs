//! The root, and projects, which Ops Manager calls groups too.

use bygone_access::Right;
use bygone_catalog::record::Project;
use serde::Serialize;

use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Route, get},
    schema::JsonSchema,
    v1::BASE,
};

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
    /// Jobs in any state.
    replica_set_count: u64,
    shard_count: u64,
    /// Agents that were heard and have not left.
    active_agent_count: u64,
    links: Vec<Link>,
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
        .paged(),
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
        links: vec![call.link("self", BASE), call.link("groups", &format!("{BASE}/groups"))],
    })
}

async fn seen(call: &Call) -> Result<Vec<Project>, Failure> {
    let mut projects = call.control.projects().await?;
    projects.retain(|project| call.who.may(Right::Look, Some(&project.id)));
    Ok(projects)
}

async fn list(call: Call) -> Result<List<Group>, Failure> {
    let mut groups = Vec::new();
    for project in seen(&call).await? {
        groups.push(group(&call, project).await?);
    }
    call.list(groups)
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
        replica_set_count: jobs,
        shard_count: 0,
        active_agent_count: agents.iter().filter(|agent| !agent.left).count() as u64,
        id: id.into(),
    })
}
