//! Projects, and who asks.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::{Actor, Project};
use serde::{Deserialize, Serialize};

use super::grants::{self, GrantBody};
use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Route, get, with},
    schema::JsonSchema,
    time,
};

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProjectBody {
    id: String,
    name: String,
    created: String,
}

/// A project to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewProject {
    /// Unique among projects.
    name: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Me {
    /// Name of the user, or public half of the key.
    name: String,
    grants: Vec<GrantBody>,
}

pub(super) fn routes() -> Vec<Route> {
    let projects = "/api/v2/projects";
    vec![
        get("/api/v2/me", Need::Anyone, "Who asks, and what he may do.", me),
        get(projects, Need::Anyone, "The projects that one may look at.", list),
        with(Method::POST, projects, Need::Server(Right::Users), "Makes a project.", create)
            .says(201),
        get("/api/v2/projects/{project}", Need::Project(Right::Look), "A project.", one),
    ]
}

impl From<Project> for ProjectBody {
    fn from(project: Project) -> Self {
        let Project { id, name, created } = project;
        ProjectBody { id: id.into(), name, created: time::text(created) }
    }
}

async fn me(call: Call) -> Result<Me, Failure> {
    let name = match call.who.actor {
        Actor::User(name) | Actor::ApiKey(name) | Actor::Agent(name) => name,
        Actor::System => String::new(),
    };
    Ok(Me { name, grants: grants::written(call.who.grants) })
}

async fn list(call: Call) -> Result<Vec<ProjectBody>, Failure> {
    let mut projects = call.control.projects().await?;
    projects.retain(|project| call.who.may(Right::Look, Some(&project.id)));
    Ok(projects.into_iter().map(ProjectBody::from).collect())
}

async fn create(call: Call, body: NewProject) -> Result<ProjectBody, Failure> {
    Ok(call.control.create_project(&body.name, &call.by()).await?.into())
}

async fn one(call: Call) -> Result<ProjectBody, Failure> {
    Ok(call.control.project(call.project()?).await?.into())
}
