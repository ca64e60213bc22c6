//! API keys.

use axum::http::Method;
use bygone_access::{KeyView, Right};
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
pub(crate) struct KeyBody {
    /// The public half: the name.
    public: String,
    description: String,
    grants: Vec<GrantBody>,
    created: String,
    /// The private half: the password; shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<String>,
}

/// A key to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKeyBody {
    description: String,
    grants: Vec<GrantBody>,
}

pub(super) fn routes() -> Vec<Route> {
    let users = Need::Server(Right::Users);
    vec![
        get("/api/v2/keys", users, "The API keys.", list),
        with(
            Method::POST,
            "/api/v2/keys",
            users,
            "Makes an API key; the answer holds its private half.",
            create,
        )
        .says(201),
        plain(Method::DELETE, "/api/v2/keys/{key}", users, "Removes an API key.", delete),
    ]
}

impl KeyBody {
    fn new(view: KeyView, private: Option<String>) -> KeyBody {
        let KeyView { public, description, grants, created } = view;
        let grants = grants::written(grants);
        KeyBody { public, description, grants, created: time::text(created), private }
    }
}

async fn list(call: Call) -> Result<Vec<KeyBody>, Failure> {
    Ok(call.access.keys().await?.into_iter().map(|view| KeyBody::new(view, None)).collect())
}

async fn create(call: Call, body: NewKeyBody) -> Result<KeyBody, Failure> {
    let grants = grants::meant(body.grants)?;
    let new = call.access.create_key(&body.description, grants, &call.by()).await?;
    Ok(KeyBody::new(new.key, Some(new.private)))
}

async fn delete(call: Call) -> Result<Done, Failure> {
    call.access.remove_key(call.text("key"), &call.by()).await?;
    Ok(Done::yes())
}
