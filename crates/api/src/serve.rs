//! From a request to a route's answer: who, whether he may, what he says, how it is written.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{RawPathParams, Request, rejection::RawPathParamsRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
    routing::on,
};
use bygone_access::{Access, Principal, Right};
use bygone_catalog::Id;
use bygone_control::Control;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    auth::Auth,
    call::Call,
    failure::Failure,
    route::{Need, Reply, Route, Style},
};

/// A body has at most so many bytes.
const BODY: usize = 1 << 20;

/// What all routes share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) control: Arc<Control>,
    pub(crate) access: Arc<Access>,
    pub(crate) auth: Auth,
}

/// The routes, served.
pub(crate) fn serve(routes: Vec<Route>, shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes {
        let (path, filter, style) = (route.path, route.filter(), route.style);
        let (route, shared) = (Arc::new(route), shared.clone());
        let handle = move |params: Result<RawPathParams, RawPathParamsRejection>, request| {
            let (route, shared) = (route.clone(), shared.clone());
            async move { answer(&shared, &route, params.ok(), request).await }
        };
        if style == Style::V1 {
            // Clients of Ops Manager end some paths so, and prove themselves for the path as they write it.
            router = router.route(&format!("{path}/"), on(filter, handle.clone()));
        }
        router = router.route(path, on(filter, handle));
    }
    router.method_not_allowed_fallback(|| async {
        let why = "this place does not know this method";
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", why).into_response()
    })
}

async fn answer(
    shared: &Shared,
    route: &Route,
    params: Option<RawPathParams>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let query = query(&parts);
    let flag = |name: &str| {
        let said = query.iter().find(|(known, _)| known == name);
        route.style == Style::V1 && said.is_some_and(|(_, value)| value == "true")
    };
    let (pretty, envelope) = (flag("pretty"), flag("envelope"));
    let mut response = match perform(shared, route, params, &parts, query, body).await {
        Ok(Reply::Json(value)) => {
            let status = StatusCode::from_u16(route.status).unwrap_or(StatusCode::OK);
            written(value, status, pretty, envelope)
        }
        Ok(Reply::Events(body)) => {
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(failure) if envelope && failure.status != StatusCode::UNAUTHORIZED => {
            let document = serde_json::to_value(failure.document()).unwrap_or_default();
            written(document, failure.status, pretty, envelope)
        }
        Err(failure) => failure.into_response(),
    };
    if route.style == Style::V1 {
        let (name, value) = crate::v1::VERSION;
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

async fn perform(
    shared: &Shared,
    route: &Route,
    params: Option<RawPathParams>,
    parts: &Parts,
    query: Vec<(String, String)>,
    body: Body,
) -> Result<Reply, Failure> {
    let (who, proof) = shared.auth.who(parts, route.style == Style::V2).await?;
    let params = params.ok_or_else(|| Failure::not_found("RESOURCE_NOT_FOUND", "page"))?;
    let path: HashMap<String, String> =
        params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let project = admit(&shared.control, route.need, &who, &path).await?;
    if route.style == Style::V2 {
        let known = |name: &str| route.query.iter().any(|param| param.name == name);
        for (n, (name, _)) in query.iter().enumerate() {
            if !known(name) {
                return Err(Failure::invalid(name, format!("{name:?} is not a parameter here")));
            }
            if query.iter().take(n).any(|(before, _)| before == name) {
                return Err(Failure::invalid(name, format!("{name:?} is given twice")));
            }
        }
    }
    let body = match route.body {
        None => Bytes::new(),
        Some((_, required)) => read(body, required).await?,
    };
    let call = Call {
        control: shared.control.clone(),
        access: shared.access.clone(),
        who,
        proof,
        origin: origin(parts),
        at: parts.uri.path().to_owned(),
        path,
        query,
        body,
        project,
    };
    (route.run)(call).await
}

/// Whether he may; gives the project that the path names.
async fn admit(
    control: &Control,
    need: Need,
    who: &Principal,
    path: &HashMap<String, String>,
) -> Result<Option<Id>, Failure> {
    let denied = |right: Right| Failure::forbidden(&format!("this needs the right {right:?}"));
    match need {
        Need::Anyone => Ok(None),
        Need::Server(right) if who.may(right, None) => Ok(None),
        Need::Server(right) => Err(denied(right)),
        Need::Project(right) => {
            let missing = || Failure::not_found("GROUP_NOT_FOUND", "project");
            let named = path.get("project").or_else(|| path.get("groupId"));
            let project: Id = named.and_then(|id| id.parse().ok()).ok_or_else(missing)?;
            // The same answer, whether there is none or he may not see it.
            if !who.may(Right::Look, Some(&project)) {
                return Err(missing());
            }
            let found = control.project(&project).await;
            found.map_err(|e| Failure::from(e).missing_is("GROUP_NOT_FOUND"))?;
            if !who.may(right, Some(&project)) {
                return Err(denied(right));
            }
            Ok(Some(project))
        }
    }
}

fn query(parts: &Parts) -> Vec<(String, String)> {
    let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes());
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

async fn read(body: Body, required: bool) -> Result<Bytes, Failure> {
    let body = axum::body::to_bytes(body, BODY).await.map_err(|_| {
        let why = format!("the body has more than {BODY} bytes, or did not arrive whole");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", why)
    })?;
    if body.is_empty() && !required {
        return Ok(Bytes::from_static(b"{}"));
    }
    Ok(body)
}

/// `scheme://host` as the client wrote it, for links; nothing where it wrote none.
fn origin(parts: &Parts) -> String {
    let text = |headers: &HeaderMap, name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let host = parts.uri.authority().map(|host| host.to_string());
    let host = host.or_else(|| text(&parts.headers, "host")).unwrap_or_default();
    let good = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
    if host.is_empty() || !host.chars().all(good) {
        return String::new();
    }
    let told = parts.extensions.get::<axum::http::uri::Scheme>().map(|scheme| scheme.as_str());
    let forwarded = text(&parts.headers, "x-forwarded-proto").filter(|proto| proto == "https");
    let scheme = forwarded.as_deref().or(told).unwrap_or("http");
    format!("{scheme}://{host}")
}

/// JSON as it was asked for: with `envelope`, the status is in the body and the response's own is 200.
fn written(value: Value, status: StatusCode, pretty: bool, envelope: bool) -> Response {
    let value = match value {
        value if !envelope => value,
        // A list is an envelope already.
        Value::Object(mut list) if list.contains_key("results") => {
            list.insert("status".to_owned(), status.as_u16().into());
            Value::Object(list)
        }
        content => {
            let mut outer = Map::new();
            outer.insert("status".to_owned(), status.as_u16().into());
            outer.insert("content".to_owned(), content);
            Value::Object(outer)
        }
    };
    let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
    let mut response = Response::new(Body::from(text.unwrap_or_default()));
    *response.status_mut() = if envelope { StatusCode::OK } else { status };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
