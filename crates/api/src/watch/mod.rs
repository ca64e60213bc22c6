//! What those who watch a server ask for: `/status`, `/metrics`, `/healthz`, `/readyz`.
//!
//! Everybody sees what is his: an agent's key shows its project, an API key or a session what its owner may look at. The
//! token for metrics shows everything. Without a proof there is nothing to see, but for who asks on the same host while
//! nobody has been let in yet: then the process is a backup of somebody's own.

mod metrics;
mod status;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts, uri::Scheme},
    middleware,
    response::Response,
    routing::get,
};
use bygone_access::{Access, Principal, Right};
use bygone_base::Result;
use bygone_catalog::Id;
use bygone_control::{Control, health::Standing, views::JobView};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{auth::Auth, failure::Failure};

/// How a server is watched.
#[derive(Debug)]
pub struct Watching {
    /// What is shown.
    pub control: Arc<Control>,
    /// To whom.
    pub access: Arc<Access>,
    /// Shows everything to who has it, as `Authorization: Bearer TOKEN`.
    pub token: Option<SecretString>,
    /// The process is there for its jobs: it is ready while they follow their sources, not as soon as it answers.
    pub strict: bool,
    /// What the API answered.
    pub answers: Arc<Answers>,
}

/// Answers of the API, by the first digit of their status.
#[derive(Debug, Default)]
pub struct Answers {
    by_class: [AtomicU64; 6],
}

impl Answers {
    fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(counted) = self.by_class.get(class) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn of(&self, class: usize) -> u64 {
        self.by_class.get(class).map_or(0, |counted| counted.load(Ordering::Relaxed))
    }
}

/// Routes whose answers are counted.
pub fn counted(routes: Router, answers: Arc<Answers>) -> Router {
    routes.layer(middleware::map_response(move |response: Response| {
        answers.count(response.status());
        std::future::ready(response)
    }))
}

/// What somebody may see.
#[derive(Debug)]
enum Sight {
    Everything,
    Project(Id),
    Of(Principal),
}

impl Sight {
    fn covers(&self, project: &Id) -> bool {
        match self {
            Sight::Everything => true,
            Sight::Project(own) => own == project,
            Sight::Of(who) => who.may(Right::Look, Some(project)),
        }
    }

    /// What belongs to no project.
    fn is_whole(&self) -> bool {
        match self {
            Sight::Everything => true,
            Sight::Project(_) => false,
            Sight::Of(who) => who.may(Right::Look, None),
        }
    }
}

#[derive(Debug)]
struct Watch {
    watching: Watching,
    auth: Auth,
}

/// The routes of those who watch.
pub fn watching(watching: Watching) -> Router {
    let auth = Auth::new(Arc::clone(&watching.control), watching.access.clone());
    Router::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .with_state(Arc::new(Watch { watching, auth }))
}

async fn status(State(watch): State<Arc<Watch>>, request: Request) -> Response {
    let shown = async {
        let sight = watch.sight(&request.into_parts().0).await?;
        Ok(status::text(&watch.jobs(&sight).await?))
    };
    answer("application/json", shown.await)
}

async fn metrics(State(watch): State<Arc<Watch>>, request: Request) -> Response {
    let shown = async {
        let sight = watch.sight(&request.into_parts().0).await?;
        let jobs = watch.jobs(&sight).await?;
        let Watching { control, answers, .. } = &watch.watching;
        Ok(metrics::text(control, &sight, &jobs, answers).await?)
    };
    answer("text/plain; version=0.0.4", shown.await)
}

/// The process answers. Says nothing else, so it needs no proof.
async fn healthy() -> Response {
    said(StatusCode::OK, "text/plain", "ok\n".to_owned())
}

/// Whether the backup follows its source. Why not is in the status.
async fn ready(State(watch): State<Arc<Watch>>) -> Response {
    if watch.is_ready().await {
        said(StatusCode::OK, "text/plain", "ok\n".to_owned())
    } else {
        said(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".to_owned())
    }
}

impl Watch {
    async fn is_ready(&self) -> bool {
        if !self.watching.strict {
            return true;
        }
        let Ok(jobs) = self.watching.control.all_jobs().await else { return false };
        !jobs.is_empty() && jobs.iter().all(|view| view.standing == Standing::Following)
    }

    async fn jobs(&self, sight: &Sight) -> Result<Vec<JobView>> {
        let mut jobs = self.watching.control.all_jobs().await?;
        jobs.retain(|view| sight.covers(&view.job.project));
        jobs.sort_by(|a, b| a.job.name.cmp(&b.job.name));
        Ok(jobs)
    }

    async fn sight(&self, parts: &Parts) -> Result<Sight, Failure> {
        let header = parts.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        if let Some(token) = header.and_then(|header| header.strip_prefix(b"Bearer ")) {
            return self.by_token(token.trim_ascii()).await;
        }
        match self.auth.who(parts, true).await {
            Ok((who, _)) => Ok(Sight::Of(who)),
            Err(_) if header.is_none() && self.is_own(parts).await? => Ok(Sight::Everything),
            Err(failure) => Err(failure.hint(
                "give the token for metrics or an agent's key as bearer token, or an API key",
            )),
        }
    }

    async fn by_token(&self, token: &[u8]) -> Result<Sight, Failure> {
        let known = self.watching.token.as_ref().map(|token| token.expose_secret().trim());
        // The comparison of hashes does not stop early.
        if known.is_some_and(|known| blake3::hash(known.as_bytes()) == blake3::hash(token)) {
            return Ok(Sight::Everything);
        }
        match self.watching.control.agent_project(token).await? {
            Some(project) => Ok(Sight::Project(project)),
            None => {
                let why = "the token is not known here";
                Err(Failure::new(StatusCode::UNAUTHORIZED, "USER_UNAUTHORIZED", why))
            }
        }
    }

    /// Whether he asks on this host, straight, where nobody else has been let in.
    async fn is_own(&self, parts: &Parts) -> Result<bool> {
        let address = parts.extensions.get::<std::net::SocketAddr>();
        let here = address.is_some_and(|address| address.ip().to_canonical().is_loopback());
        let plain = parts.extensions.get::<Scheme>() != Some(&Scheme::HTTPS);
        let proxied = ["x-forwarded-for", "forwarded", "via"];
        if !here || !plain || proxied.iter().any(|name| parts.headers.contains_key(*name)) {
            return Ok(false);
        }
        Ok(!self.watching.access.has_anybody().await?)
    }
}

fn answer(kind: &'static str, shown: Result<String, Failure>) -> Response {
    match shown {
        Ok(text) => said(StatusCode::OK, kind, text),
        Err(failure) => failure.into_response(),
    }
}

fn said(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
