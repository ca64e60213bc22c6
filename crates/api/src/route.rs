//! A route: where, what it needs, what it says of itself, what it does. The router and the OpenAPI document are both made
//! of these, and there is no other way in: nothing is served without a [`Need`], and nothing undocumented.

use std::{fmt, future::Future, pin::Pin};

use axum::{body::Body, http::Method, routing::MethodFilter};
use bygone_access::Right;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    call::Call,
    failure::Failure,
    schema::{Book, JsonSchema},
};

/// What its sender must be or have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Somebody; what he may not look at is left out by the route itself.
    Anyone,
    /// This right in the project that the path names; who may not look at it finds none.
    Project(Right),
    /// This right everywhere.
    Server(Right),
}

/// Whose manners it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Ops Manager's: `pretty` and `envelope`, keys only.
    V1,
    /// Our own: unknown parameters are refused, sessions are good too.
    V2,
}

/// What may follow `?`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// JSON Schema's word.
    pub(crate) kind: &'static str,
}

/// What comes back.
pub(crate) enum Reply {
    Json(Value),
    /// Server-sent events.
    Events(Body),
}

type Running = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;
type MakeSchema = fn(&mut Book) -> Value;

/// A route.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// `/api/v2/projects/{project}`
    pub(crate) path: &'static str,
    pub(crate) need: Need,
    pub(crate) style: Style,
    /// A sentence.
    pub(crate) about: &'static str,
    pub(crate) query: Vec<Param>,
    /// What it reads, and whether it must be there.
    pub(crate) body: Option<(MakeSchema, bool)>,
    /// What it gives; none: server-sent events.
    pub(crate) gives: Option<MakeSchema>,
    pub(crate) status: u16,
    pub(crate) run: Box<dyn Fn(Call) -> Running + Send + Sync>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.path, self.need)
    }
}

fn schema<T: JsonSchema>(book: &mut Book) -> Value {
    book.of::<T>()
}

fn reply<T: Serialize>(value: &T) -> Result<Reply, Failure> {
    let value = serde_json::to_value(value);
    value.map(Reply::Json).map_err(|e| {
        bygone_base::Error::internal("an answer could not be written").source(e).into()
    })
}

fn route(method: Method, path: &'static str, need: Need, about: &'static str) -> Route {
    let v1 = path.starts_with(crate::v1::BASE);
    Route {
        method,
        path,
        need,
        style: if v1 { Style::V1 } else { Style::V2 },
        about,
        query: Vec::new(),
        body: None,
        gives: None,
        status: 200,
        run: Box::new(|_| {
            Box::pin(async { Err(Failure::not_found("RESOURCE_NOT_FOUND", "page")) })
        }),
    }
}

/// A route that reads no body.
pub(crate) fn plain<R, F, Fut>(
    method: Method,
    path: &'static str,
    need: Need,
    about: &'static str,
    run: F,
) -> Route
where
    R: Serialize + JsonSchema + Send,
    F: Fn(Call) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Failure>> + Send + 'static,
{
    Route {
        gives: Some(schema::<R>),
        run: Box::new(move |call| Box::pin(async move { reply(&run(call).await?) })),
        ..route(method, path, need, about)
    }
}

/// A route that reads.
pub(crate) fn get<R, F, Fut>(path: &'static str, need: Need, about: &'static str, run: F) -> Route
where
    R: Serialize + JsonSchema + Send,
    F: Fn(Call) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Failure>> + Send + 'static,
{
    plain(Method::GET, path, need, about, run)
}

/// A route that reads a body.
pub(crate) fn with<B, R, F, Fut>(
    method: Method,
    path: &'static str,
    need: Need,
    about: &'static str,
    run: F,
) -> Route
where
    B: DeserializeOwned + JsonSchema + Send,
    R: Serialize + JsonSchema + Send,
    F: Fn(Call, B) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Failure>> + Send + 'static,
{
    Route {
        body: Some((schema::<B>, true)),
        gives: Some(schema::<R>),
        run: Box::new(move |call| {
            Box::pin(async move {
                let body = call.read()?;
                reply(&run(call, body).await?)
            })
        }),
        ..route(method, path, need, about)
    }
}

/// A route that goes on telling.
pub(crate) fn events<F, Fut>(path: &'static str, need: Need, about: &'static str, run: F) -> Route
where
    F: Fn(Call) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Body, Failure>> + Send + 'static,
{
    Route {
        run: Box::new(move |call| Box::pin(async move { Ok(Reply::Events(run(call).await?)) })),
        ..route(Method::GET, path, need, about)
    }
}

impl Route {
    /// Its list has pages.
    #[must_use]
    pub(crate) fn paged(self) -> Route {
        let number = Param { name: "pageNum", about: "Page, from 1.", kind: "integer" };
        let items =
            Param { name: "itemsPerPage", about: "Items of a page, 1 to 500.", kind: "integer" };
        self.asks(number).asks(items)
    }

    /// It takes this after `?`.
    #[must_use]
    pub(crate) fn asks(mut self, param: Param) -> Route {
        self.query.push(param);
        self
    }

    /// Nothing must be in its body.
    #[must_use]
    pub(crate) fn body_may_lack(mut self) -> Route {
        self.body = self.body.map(|(schema, _)| (schema, false));
        self
    }

    /// Its success is this status.
    #[must_use]
    pub(crate) fn says(mut self, status: u16) -> Route {
        self.status = status;
        self
    }

    pub(crate) fn filter(&self) -> MethodFilter {
        MethodFilter::try_from(self.method.clone()).unwrap_or(MethodFilter::GET)
    }
}
