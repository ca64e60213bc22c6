//! Organizations: there is one, and it has all projects.

use serde::Serialize;

use super::groups::{self, Group};
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Route, get},
    schema::JsonSchema,
    v1::BASE,
};

/// Its id.
pub(super) const ID: &str = "000000000000000000000001";
/// Its name.
pub(super) const NAME: &str = "bygone";

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Org {
    id: &'static str,
    name: &'static str,
    is_deleted: bool,
    links: Vec<Link>,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        get(
            "/api/public/v1.0/orgs",
            Need::Anyone,
            "The organization, which has all projects.",
            list,
        )
        .paged()
        .asks(groups::NAME),
        get("/api/public/v1.0/orgs/{orgId}", Need::Anyone, "The organization.", one),
        get(
            "/api/public/v1.0/orgs/{orgId}/groups",
            Need::Anyone,
            "The projects that the key may look at.",
            projects,
        )
        .paged()
        .asks(groups::NAME),
    ]
}

fn org(call: &Call) -> Org {
    let path = format!("{BASE}/orgs/{ID}");
    Org {
        id: ID,
        name: NAME,
        is_deleted: false,
        links: vec![call.link("self", &path), call.link("groups", &format!("{path}/groups"))],
    }
}

fn named(call: &Call) -> Result<(), Failure> {
    if call.text("orgId") == ID {
        return Ok(());
    }
    Err(Failure::not_found("ORG_NOT_FOUND", "organization"))
}

async fn list(call: Call) -> Result<List<Org>, Failure> {
    let asked = call.asked("name").is_none_or(|name| NAME.starts_with(name));
    let org = asked.then(|| org(&call));
    call.list(org.into_iter().collect())
}

async fn one(call: Call) -> Result<Org, Failure> {
    named(&call)?;
    Ok(org(&call))
}

async fn projects(call: Call) -> Result<List<Group>, Failure> {
    named(&call)?;
    groups::list(call).await
}
