//! The dashboard: pages of HTML that the server writes, in the binary with their style and script.
//!
//! ```text
//! browser ──▶ visitor: who is it, may he, is the form ours ──▶ page: reads Control, asks it for changes
//!                 │                                              │
//!              failure: errors are pages too                   part: pure functions from records to HTML and SVG
//! ```
//!
//! Invariants:
//! 1. Every name is escaped: all text goes through maud's splices; nothing is put into a page raw.
//! 2. Nothing changes by GET; whatever changes something takes [`visitor::Posted`], which demands the session's token.
//! 3. What belongs to a project is reached through [`visitor::Visitor::within`], which checks the right; a project that
//!    one may not look at is not found.
//! 4. No secret is on a page, but once those that are made to be given away.
//! 5. Pages work without script; the script refreshes what moves and fills in what one would type.
//! 6. Nothing is loaded from elsewhere; the content security policy says so.
//!
//! Not here: rights and sessions (access), what is done (control), the API (api), TLS and listening (cli).

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware,
    response::Response,
    routing::get,
};
use bygone_access::Access;
use bygone_base::{Error, ErrorKind};
use bygone_control::Control;

#[cfg(test)]
mod asking;
mod asset;
mod cookie;
mod failure;
mod form;
mod format;
mod notice;
mod page;
mod part;
#[cfg(test)]
mod sample;
mod site;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod tests;
mod visitor;
mod wish;

/// What a page may load and where its forms may go: here only, and nothing written into the page itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The dashboard's routes: everything but `/api`.
///
/// The client's address is taken from a [`std::net::SocketAddr`] in the request's extensions, where there is one.
pub fn router(control: Arc<Control>, access: Arc<Access>) -> Router {
    let site = site::Site { control, access, fetched: Arc::default() };
    page::routes()
        .route("/assets/{name}", get(asset::serve))
        .fallback(nowhere)
        .layer(middleware::from_fn_with_state(site.clone(), visitor::framed_errors))
        .layer(middleware::map_response(guarded))
        .with_state(site)
}

async fn nowhere() -> failure::Failure {
    Error::new(ErrorKind::NotFound, "there is no such page").into()
}

/// Headers of every answer.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(header::CONTENT_SECURITY_POLICY, fixed(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, fixed("DENY"));
    headers.insert(header::REFERRER_POLICY, fixed("same-origin"));
    // Pages show what is so now, and to one person.
    headers.entry(header::CACHE_CONTROL).or_insert(fixed("no-store"));
    response
}
