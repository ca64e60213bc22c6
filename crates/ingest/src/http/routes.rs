//! One request: who asks, how much it may send, what it wants, the answer.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{Extensions, HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::post,
};
use bygone_base::{Clock, Error, ErrorKind, OpTime, Result};
use bygone_oplog::uplink::{
    AgentReport, Hello, PartKey, SessionRef, SyncEnd, SyncPlan, SyncSlice, TimelineReason, Uplink,
    wire,
};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Caller, Gate, ServeOptions, doors::Pass};

/// A body waits so long for memory before the agent is told to come back.
const ADMISSION: Duration = Duration::from_secs(2);
/// A body must have arrived by then.
const BODY: Duration = Duration::from_secs(120);
/// An answer is given by then; what was asked may still have been done.
const ANSWER: Duration = Duration::from_secs(300);
/// The call of an agent that asks for its work.
const CONF: &str = "conf";
/// Unit of the body memory.
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The calls of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    BeginSync,
    PlanSync,
    SyncSlice,
    EndSync,
    OplogSlice,
    Fork,
    Report,
}

impl Call {
    pub(crate) const ALL: [(&'static str, Call); 8] = [
        ("open", Call::Open),
        ("begin-sync", Call::BeginSync),
        ("plan-sync", Call::PlanSync),
        ("sync-slice", Call::SyncSlice),
        ("end-sync", Call::EndSync),
        ("oplog-slice", Call::OplogSlice),
        ("fork", Call::Fork),
        ("report", Call::Report),
    ];

    fn parse(name: &str) -> Option<Call> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, call)| *call)
    }

    /// Largest body. Slices are about 10 MB; one may hold a single document of
    /// 16 MB that does not compress, and its neighbours.
    fn limit(self) -> usize {
        match self {
            Call::Open | Call::BeginSync | Call::Fork | Call::Report => MIB,
            Call::PlanSync | Call::SyncSlice | Call::EndSync | Call::OplogSlice => 64 * MIB,
        }
    }
}

/// A decoded request.
#[derive(Debug)]
pub(crate) enum Request {
    Open(Hello),
    BeginSync(SessionRef, OpTime, TimelineReason),
    PlanSync(SessionRef, SyncPlan),
    SyncSlice(SessionRef, SyncSlice),
    EndSync(SessionRef, SyncEnd),
    OplogSlice(SessionRef, Bytes),
    Fork(SessionRef, OpTime),
    Report(SessionRef, AgentReport),
}

impl Request {
    pub(crate) fn decode(call: Call, body: &Bytes) -> Result<Request> {
        Ok(match call {
            Call::Open => Request::Open(wire::decode_hello(body)?),
            Call::BeginSync => {
                let begin = wire::BeginSync::decode(body)?;
                Request::BeginSync(begin.session, begin.start, begin.reason)
            }
            Call::PlanSync => {
                let (session, plan) = wire::decode_plan_sync(body)?;
                Request::PlanSync(session, plan)
            }
            Call::SyncSlice => {
                let (session, slice) = wire::decode_sync_slice(body)?;
                Request::SyncSlice(session, slice)
            }
            Call::EndSync => {
                let (session, end) = wire::decode_sync_end(body)?;
                Request::EndSync(session, end)
            }
            Call::OplogSlice => {
                let (session, slice) = wire::decode_oplog_slice(body)?;
                Request::OplogSlice(session, slice)
            }
            Call::Fork => {
                let fork = wire::Fork::decode(body)?;
                Request::Fork(fork.session, fork.common)
            }
            Call::Report => {
                let report = wire::Report::decode(body)?;
                Request::Report(report.session, report.report)
            }
        })
    }

    /// The part it is about.
    fn key(&self) -> &PartKey {
        match self {
            Request::Open(hello) => &hello.key,
            Request::BeginSync(s, ..)
            | Request::PlanSync(s, _)
            | Request::SyncSlice(s, _)
            | Request::EndSync(s, _)
            | Request::OplogSlice(s, _)
            | Request::Fork(s, _)
            | Request::Report(s, _) => &s.key,
        }
    }

    async fn run(self, ingest: &dyn Uplink) -> Result<Vec<u8>> {
        Ok(match self {
            Request::Open(hello) => wire::encode_session(&ingest.open(hello).await?),
            Request::BeginSync(s, start, reason) => {
                let (timeline, sync) = ingest.begin_sync(&s, start, reason).await?;
                wire::encode_sync_begun(timeline, sync)
            }
            Request::PlanSync(s, plan) => {
                ingest.plan_sync(&s, plan).await?;
                Vec::new()
            }
            Request::SyncSlice(s, slice) => wire::encode_ack(ingest.sync_slice(&s, slice).await?),
            Request::EndSync(s, end) => {
                ingest.end_sync(&s, end).await?;
                Vec::new()
            }
            Request::OplogSlice(s, slice) => wire::encode_ack(ingest.oplog_slice(&s, slice).await?),
            Request::Fork(s, common) => wire::encode_fork_reply(ingest.fork(&s, common).await?),
            Request::Report(s, report) => {
                ingest.report(&s, report).await?;
                Vec::new()
            }
        })
    }
}

#[derive(Debug)]
struct Service {
    gate: Arc<dyn Gate>,
    clock: Arc<dyn Clock>,
    bodies: Arc<Semaphore>,
    most: usize,
}

/// The routes behind a gate.
pub(super) fn router(gate: Arc<dyn Gate>, clock: Arc<dyn Clock>, options: ServeOptions) -> Router {
    let most = (options.body_memory / KIB).clamp(1, Semaphore::MAX_PERMITS);
    let service = Service { gate, clock, bodies: Arc::new(Semaphore::new(most)), most };
    Router::new()
        .route("/v1/{call}", post(handle))
        .with_state(Arc::new(service))
        .merge(options.also)
}

async fn handle(
    State(service): State<Arc<Service>>,
    Path(call): Path<String>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match service.answer(&call, &extensions, &headers, body).await {
        Ok(answer) => response(StatusCode::OK, answer),
        Err(error) => failure(&error),
    }
}

fn unknown_token() -> Error {
    Error::new(ErrorKind::Denied, "the agent's token is not known here")
        .hint("give the agent a token that the server has")
}

impl Service {
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller> {
        let header = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let token = header.and_then(|h| h.strip_prefix(b"Bearer ")).ok_or_else(unknown_token)?;
        self.gate.caller(token.trim_ascii()).await?.ok_or_else(unknown_token)
    }

    async fn answer(
        &self,
        call: &str,
        extensions: &Extensions,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Vec<u8>> {
        let caller = self.caller(headers).await?;
        if let Some(pass) = extensions.get::<Arc<Pass>>() {
            pass.prove();
        }
        if call == CONF {
            let (body, _memory) = self.body(headers, body, MIB).await?;
            let answer = self.gate.conf(&caller, &body);
            return self.within(ANSWER, "the catalog does not answer", answer).await;
        }
        let call = Call::parse(call)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no call {call:?}")))?;
        let (body, _memory) = self.body(headers, body, call.limit()).await?;
        let length = body.len();
        let request = Request::decode(call, &body)?;
        let agent = &caller.name;
        tracing::debug!(agent, ?call, length, "request");
        let uplink = self.gate.uplink(&caller, request.key()).await?;
        self.within(ANSWER, "the store does not answer", request.run(&*uplink)).await
    }

    /// A body of at most `limit` bytes, and the memory it takes.
    async fn body(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
    ) -> Result<(Bytes, OwnedSemaphorePermit)> {
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<usize>().ok())
            .unwrap_or(limit);
        if length > limit {
            return Err(too_long(limit));
        }
        let memory = self.admit(length).await?;
        let body = self.within(BODY, "the request does not arrive", async {
            to_bytes(body, length).await.map_err(|e| {
                Error::new(ErrorKind::Unavailable, "the request was cut short").source(e)
            })
        });
        Ok((body.await?, memory))
    }

    /// Memory for a body, or the advice to come back later.
    async fn admit(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(KIB).clamp(1, self.most);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bodies).acquire_many_owned(units);
        self.within(ADMISSION, "the server is busy", async {
            permit.await.map_err(|e| Error::internal("the memory bound is gone").source(e))
        })
        .await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.clock.sleep(limit) => {
                Err(Error::new(ErrorKind::Unavailable, format!("{what} ({} s)", limit.as_secs())))
            }
        }
    }
}

fn too_long(limit: usize) -> Error {
    Error::usage(format!("the request is longer than {limit} bytes"))
}

fn failure(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::Usage => StatusCode::BAD_REQUEST,
        ErrorKind::Unavailable | ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Denied => StatusCode::UNAUTHORIZED,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Damaged => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::ResyncRequired => StatusCode::GONE,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = response(status, wire::encode_error(error));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let bson = HeaderValue::from_static("application/bson");
    response.headers_mut().insert(header::CONTENT_TYPE, bson);
    response
}
