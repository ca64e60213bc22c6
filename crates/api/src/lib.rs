//! The REST API: Ops Manager's public API v1.0 for its backup resources, and a v2 of our own.
//!
//! ```text
//! request ─▶ Auth: digest with an API key, or a session ─▶ Need of the route ─▶ Call ─▶ handler ─▶ Control, Access
//!                                                              ▲
//! Vec<Route> ──┬─▶ router                                      │
//!              └─▶ OpenAPI document (docs/openapi.json)   every Route has one
//! ```
//!
//! Invariants:
//! 1. A route cannot be made without a [`Need`](route::Need), and is served only after it was met.
//! 2. A project that one may not look at is not found, whether it exists or not.
//! 3. The router and the document are made of the same table.
//! 4. Bodies are bounded, and what is not understood is refused by name. What v1.0 accepts without effect is named, field by
//!    field, in its code and in docs/operating.md.
//! 5. Secrets are given once, in the answer to the request that made them. (But v1.0 shows a download's link again while it
//!    is good, to who may restore: its clients read it there.)
//! 6. A stream ends when the rights of who listens do.
//!
//! The server may put the client's address (`std::net::SocketAddr`) and the scheme (`http::uri::Scheme`) into a request's
//! extensions: for limits, events, and links.
//!
//! Not here: what is done (control), who may (access), pages and downloads (web).

mod auth;
mod call;
mod client;
mod failure;
mod openapi;
mod patch;
mod route;
mod schema;
mod serve;
mod time;
mod v1;
mod v2;
mod watch;

use std::sync::Arc;

use axum::{
    Router,
    http::header,
    response::IntoResponse,
    routing::{any, get},
};
use bygone_access::Access;
use bygone_control::Control;
use bytes::Bytes;

pub use auth::digest;
pub use client::Client;
pub use watch::{Answers, Watching, counted, watching};

use crate::{auth::Auth, failure::Failure, route::Route, serve::Shared};

fn routes() -> Vec<Route> {
    v1::routes().into_iter().chain(v2::routes()).collect()
}

/// Everything under `/api`.
pub fn router(control: Arc<Control>, access: Arc<Access>) -> Router {
    let auth = Auth::new(control.clone(), access.clone());
    let shared = Arc::new(Shared { control, access, auth });
    // Shared by all answers: anybody may ask, without a login.
    let document = Bytes::from(openapi());
    let document =
        get(move || async move { ([(header::CONTENT_TYPE, "application/json")], document) });
    let missing =
        any(|| async { Failure::not_found("RESOURCE_NOT_FOUND", "page").into_response() });
    serve::serve(routes(), shared)
        .route("/api/openapi.json", document)
        // Where clients of Ops Manager ask which version it is, before they have a key.
        .route("/api/private/unauth/version", get(version))
        .route("/unauth/version", get(version))
        .route("/api/{*rest}", missing)
}

async fn version() -> impl IntoResponse {
    ([v1::VERSION], env!("CARGO_PKG_VERSION"))
}

/// The OpenAPI document of all routes, as committed in docs/openapi.json.
pub fn openapi() -> String {
    let document = openapi::document(&routes());
    // Of maps of strings only: it cannot fail.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
