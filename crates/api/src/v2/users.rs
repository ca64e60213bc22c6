//! People.

use axum::http::Method;
use bygone_access::{Right, UserView};
use serde::{Deserialize, Serialize};

use super::{
    Done,
    grants::{self, GrantBody},
};
use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Route, get, plain, with},
    schema::JsonSchema,
    time,
};

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UserBody {
    id: String,
    name: String,
    grants: Vec<GrantBody>,
    created: String,
    /// Whether a password was chosen.
    has_password: bool,
    /// Until when an invitation is good, where one is open.
    invited_until: Option<String>,
    /// The secret of the link by which a password is chosen; shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation: Option<String>,
}

/// A user to be invited.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// The name to log in with.
    name: String,
    #[serde(default)]
    grants: Vec<GrantBody>,
}

/// What of a user changes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserPatch {
    /// The full new list.
    grants: Vec<GrantBody>,
}

pub(super) fn routes() -> Vec<Route> {
    let users = Need::Server(Right::Users);
    let one_path = "/api/v2/users/{user}";
    vec![
        get("/api/v2/users", users, "The users, by name.", list),
        with(
            Method::POST,
            "/api/v2/users",
            users,
            "Invites a user; the answer holds the secret of his link.",
            create,
        )
        .says(201),
        with(Method::PATCH, one_path, users, "Changes what a user may do.", patch),
        plain(Method::DELETE, one_path, users, "Removes a user.", delete),
        plain(
            Method::POST,
            "/api/v2/users/{user}/invitation",
            users,
            "A new link for a user who lost his, or his password.",
            again,
        ),
    ]
}

impl UserBody {
    fn new(view: UserView, invitation: Option<String>) -> UserBody {
        let UserView { id, name, grants, created, has_password, invited_until } = view;
        UserBody {
            id: id.into(),
            name,
            grants: grants::written(grants),
            created: time::text(created),
            has_password,
            invited_until: invited_until.map(time::text),
            invitation,
        }
    }
}

async fn list(call: Call) -> Result<Vec<UserBody>, Failure> {
    let users = call.access.users().await?;
    Ok(users.into_iter().map(|view| UserBody::new(view, None)).collect())
}

async fn create(call: Call, body: NewUser) -> Result<UserBody, Failure> {
    let grants = grants::meant(body.grants)?;
    let invited = call.access.invite(&body.name, grants, &call.by()).await;
    let (view, secret) = invited.map_err(|e| Failure::from(e).conflict_is("USER_EXISTS"))?;
    Ok(UserBody::new(view, Some(secret)))
}

async fn patch(call: Call, body: UserPatch) -> Result<UserBody, Failure> {
    let grants = grants::meant(body.grants)?;
    let changed = call.access.set_grants(&call.id("user")?, grants, &call.by()).await;
    let view = changed.map_err(|e| Failure::from(e).conflict_is("LAST_GLOBAL_OWNER"))?;
    Ok(UserBody::new(view, None))
}

async fn delete(call: Call) -> Result<Done, Failure> {
    let removed = call.access.remove_user(&call.id("user")?, &call.by()).await;
    removed.map_err(|e| Failure::from(e).conflict_is("LAST_GLOBAL_OWNER"))?;
    Ok(Done::yes())
}

async fn again(call: Call) -> Result<UserBody, Failure> {
    let (view, secret) = call.access.invite_again(&call.id("user")?, &call.by()).await?;
    Ok(UserBody::new(view, Some(secret)))
}
