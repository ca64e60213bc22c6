//! Errors as pages: one clear line, and what to do about it.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bygone_base::{Error, ErrorKind};
use maud::html;
use url::form_urlencoded;

use crate::part::shell;

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody is logged in; afterwards he wants to go there.
    Login(String),
    /// It failed.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

/// What a page gives.
pub(crate) type Answer = Result<Response, Failure>;

/// The status that fits an error.
pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Usage | ErrorKind::Unsupported => StatusCode::BAD_REQUEST,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict | ErrorKind::NotCovered | ErrorKind::ResyncRequired => {
            StatusCode::CONFLICT
        }
        ErrorKind::Unavailable | ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Failure::Login(next) => {
                let query: String = form_urlencoded::Serializer::new(String::new())
                    .append_pair("next", &next)
                    .finish();
                (StatusCode::SEE_OTHER, [(header::LOCATION, format!("/login?{query}"))])
                    .into_response()
            }
            Failure::Error(error) => page(&error),
        }
    }
}

/// The page of an error.
fn page(error: &Error) -> Response {
    let status = status(error.kind());
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(%error, kind = ?error.kind(), "a page failed");
    }
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::SERVICE_UNAVAILABLE => "Not available now",
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT => "That is not possible",
        _ => "Something went wrong",
    };
    let page = shell::bare(
        title,
        html! {
            h1 { (title) }
            p.error role="alert" { (error) }
            @if let Some(hint) = error.hint_text() { p { (hint) } }
            p { a href="/" { "To the overview" } }
        },
    );
    (status, page).into_response()
}
