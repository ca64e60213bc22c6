//! Errors as pages: one clear line, and what to do about it.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bygone_base::{Error, ErrorKind};
use maud::{Markup, html};
use url::form_urlencoded;

use crate::part::shell;

/// Seconds after which what is not available now may be.
const SOON: HeaderValue = HeaderValue::from_static("10");

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

/// What an answer that is an error says: for the page around it, where somebody is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    title: &'static str,
    message: String,
    hint: Option<String>,
}

impl Said {
    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    pub(crate) fn draw(&self) -> Markup {
        html! {
            h1 { (self.title) }
            p.error role="alert" { (self.message) }
            @if let Some(hint) = &self.hint { p { (hint) } }
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
    let hint = error.hint_text().map(str::to_owned);
    let said = Said { title, message: error.to_string(), hint };
    let page = shell::bare(title, html! { (said.draw()) p { a href="/" { "To the overview" } } });
    let mut response = (status, page).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, SOON);
    }
    response.extensions_mut().insert(said);
    response
}

/// What was wrong with a form, above it.
pub(crate) fn wrong(error: Option<&Error>) -> Markup {
    html! {
        @if let Some(error) = error {
            p.error role="alert" { (error) }
            @if let Some(hint) = error.hint_text() { p { (hint) } }
        }
    }
}

/// A page that shows a form again, with the status of what was wrong with it.
pub(crate) fn refused(page: Answer, error: Option<&Error>) -> Answer {
    let mut response = page?;
    if let Some(error) = error {
        *response.status_mut() = status(error.kind());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_come_later_says_when_to_ask_again() {
        let asked = |kind| {
            page(&Error::new(kind, "the file is not ready")).headers().get("retry-after").cloned()
        };
        assert_eq!(asked(ErrorKind::Unavailable), Some(SOON));
        assert_eq!(asked(ErrorKind::NotFound), None);
    }
}
