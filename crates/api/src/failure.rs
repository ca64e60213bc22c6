//! What is said when something cannot be done: Ops Manager's error document, in both versions.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use bygone_base::{Error, ErrorKind};
use serde::Serialize;

use crate::schema::JsonSchema;

/// Why a request was not done.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    code: &'static str,
    detail: String,
    hint: Option<String>,
    parameters: Vec<String>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What was wrong.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorDocument {
    /// The HTTP status.
    error: u16,
    /// Its name.
    reason: String,
    /// A line for people.
    detail: String,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// A word for programs.
    error_code: String,
    /// What of the request is meant.
    parameters: Vec<String>,
}

impl Failure {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Failure {
        Failure {
            status,
            code,
            detail: detail.into(),
            hint: None,
            parameters: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// The request is wrong, because of one of its values.
    pub(crate) fn invalid(parameter: &str, detail: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "INVALID_ATTRIBUTE", detail).about(parameter)
    }

    /// There is none; also where it is somebody else's.
    pub(crate) fn not_found(code: &'static str, what: &str) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, code, format!("there is no such {what}"))
    }

    /// It is not possible as things stand.
    pub(crate) fn conflict(code: &'static str, detail: impl Into<String>) -> Failure {
        Failure::new(StatusCode::CONFLICT, code, detail)
    }

    /// The role does not allow it.
    pub(crate) fn forbidden(detail: &str) -> Failure {
        Failure::new(StatusCode::FORBIDDEN, "USER_UNAUTHORIZED", detail)
    }

    pub(crate) fn rate_limited() -> Failure {
        let mut failure = Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            "RATE_LIMITED",
            "too many proofs of this key from this address were wrong",
        );
        failure.headers.push((header::RETRY_AFTER, HeaderValue::from_static("900")));
        failure.hint("try again in 15 minutes")
    }

    /// Says which value of the request is meant.
    #[must_use]
    pub(crate) fn about(mut self, parameter: &str) -> Failure {
        self.parameters.push(parameter.to_owned());
        self
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: &str) -> Failure {
        self.hint = Some(hint.to_owned());
        self
    }

    /// A conflict gets this code: the resource knows better what it is about.
    #[must_use]
    pub(crate) fn conflict_is(mut self, code: &'static str) -> Failure {
        if self.status == StatusCode::CONFLICT {
            self.code = code;
        }
        self
    }

    /// What was not found gets this code.
    #[must_use]
    pub(crate) fn missing_is(mut self, code: &'static str) -> Failure {
        if self.status == StatusCode::NOT_FOUND {
            self.code = code;
        }
        self
    }

    pub(crate) fn document(&self) -> ErrorDocument {
        ErrorDocument {
            error: self.status.as_u16(),
            reason: self.status.canonical_reason().unwrap_or_default().to_owned(),
            detail: self.detail.clone(),
            hint: self.hint.clone(),
            error_code: self.code.to_owned(),
            parameters: self.parameters.clone(),
        }
    }

    pub(crate) fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let (status, code) = match error.kind() {
            ErrorKind::Usage => (StatusCode::BAD_REQUEST, "INVALID_ATTRIBUTE"),
            ErrorKind::Unsupported => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "CONFLICT"),
            ErrorKind::NotCovered => (StatusCode::CONFLICT, "MOMENT_NOT_COVERED"),
            ErrorKind::ResyncRequired => (StatusCode::CONFLICT, "RESYNC_REQUIRED"),
            ErrorKind::Cancelled => (StatusCode::CONFLICT, "CANCELLED"),
            // Not the caller's rights here, but ours with a server or a store.
            ErrorKind::Denied => (StatusCode::CONFLICT, "DENIED_BY_SERVER_OR_STORE"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            ErrorKind::Full => (StatusCode::INSUFFICIENT_STORAGE, "STORE_FULL"),
            ErrorKind::Damaged => (StatusCode::INTERNAL_SERVER_ERROR, "DAMAGED"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "UNEXPECTED_ERROR"),
        };
        if status.is_server_error() {
            tracing::warn!(%error, "a request of the API failed");
        }
        let mut failure = Failure::new(status, code, error.to_string());
        failure.hint = error.hint_text().map(str::to_owned);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            failure.headers.push((header::RETRY_AFTER, HeaderValue::from_static("10")));
        }
        failure
    }
}
