//! One connection as its requests see it: who is at the other end, how long it may keep us waiting.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header, uri::Scheme},
    middleware::Next,
    response::Response,
};
use bygone_base::Clock;
use hyper::body::{Frame, SizeHint};

use super::{
    doors::Pass,
    network::{Network, client},
};

/// How long a connection may keep us waiting.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until its first request, and with each until its headers are there.
    pub first: Duration,
    /// For the body of a request, but an agent's.
    pub body: Duration,
    /// Without a request.
    pub idle: Duration,
    /// Until the next piece of an answer is taken.
    pub taken: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            first: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(90),
            taken: Duration::from_secs(60),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) peer: SocketAddr,
    pub(super) scheme: Scheme,
    pub(super) trusted: Arc<[Network]>,
    pub(super) pass: Arc<Pass>,
    pub(super) patience: Patience,
    pub(super) in_use: Mutex<Use>,
}

/// What a connection was used for.
#[derive(Debug, Default)]
pub(super) struct Use {
    asked: bool,
    /// Requests whose answers are not yet sent.
    active: usize,
    /// When it was last used.
    last: Duration,
    /// Answers by number.
    next: u64,
    /// Those of which a piece may be there that was not taken, and since when.
    offered: HashMap<u64, Duration>,
}

/// A request that is being served; the connection is in use until it is dropped.
#[derive(Debug)]
struct Busy(Arc<Line>);

impl Line {
    fn used(&self, change: impl FnOnce(&mut Use)) {
        let mut used = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut used);
        used.last = self.clock.monotonic();
    }

    fn busy(self: &Arc<Line>) -> Busy {
        self.used(|used| (used.asked, used.active) = (true, used.active + 1));
        Busy(Arc::clone(self))
    }

    /// The answer of this number has, or may have, a piece that is yet to be taken; or nothing at present.
    fn offers(&self, answer: u64, offers: bool) {
        let now = self.clock.monotonic();
        self.used(|used| {
            if offers {
                used.offered.insert(answer, now);
            } else {
                used.offered.remove(&answer);
            }
        });
    }

    /// Until it keeps us waiting for too long, or has to make room.
    pub(super) async fn overstays(&self) -> &'static str {
        let since = self.clock.monotonic();
        let Patience { first, idle, taken, .. } = self.patience;
        // Who came when all seats were taken has half the time.
        let first = if self.pass.is_reserve() { first / 2 } else { first };
        loop {
            let (asked, active, last, offered) = {
                let used = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
                (used.asked, used.active, used.last, used.offered.values().min().copied())
            };
            let now = self.clock.monotonic();
            let (end, why) = match (asked, active, offered) {
                (false, _, _) => (since + first, "it asks for nothing"),
                (true, 0, _) => (last + idle, "it is not used"),
                (true, _, Some(offered)) => (offered + taken, "it does not take its answer"),
                // Something may be offered at any moment.
                (true, _, None) => (now + taken, ""),
            };
            let left = end.saturating_sub(now);
            if left.is_zero() {
                return why;
            }
            tokio::select! {
                () = self.pass.evicted.cancelled() => return "others need its place",
                () = self.clock.sleep(left) => {}
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.used(|used| used.active = used.active.saturating_sub(1));
    }
}

/// What agents ask, and probes.
fn is_urgent(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/healthz" || path == "/readyz"
}

/// Every request of a connection goes through here.
pub(super) async fn serve(
    State(line): State<Arc<Line>>,
    mut request: Request,
    next: Next,
) -> Response {
    let busy = line.busy();
    let peer = line.peer.ip().to_canonical();
    let (address, scheme) = client(peer, &line.scheme, request.headers(), &line.trusted);
    let port = if address == peer { line.peer.port() } else { 0 };
    let extensions = request.extensions_mut();
    extensions.insert(SocketAddr::new(address, port));
    extensions.insert(scheme.clone());
    extensions.insert(Arc::clone(&line.pass));
    if line.pass.is_reserve() && !is_urgent(request.uri().path()) {
        line.pass.evicted.cancel();
        return kept(full(), busy, &scheme);
    }
    let late = Arc::new(AtomicBool::new(false));
    if !request.uri().path().starts_with("/v1/") {
        let (clock, limit) = (Arc::clone(&line.clock), line.patience.body);
        let end = Box::pin(async move { clock.sleep(limit).await });
        let flag = Arc::clone(&late);
        request = request.map(|body| Body::new(Timed { body, end, late: flag }));
    }
    let response = next.run(request).await;
    let response = if late.load(Ordering::Relaxed) { too_slow() } else { response };
    if line.pass.is_reserve() {
        // It was no agent.
        line.pass.evicted.cancel();
    }
    kept(response, busy, &scheme)
}

/// The answer with the headers that every one has; the connection is in use until it is sent.
fn kept(response: Response, busy: Busy, scheme: &Scheme) -> Response {
    let mut response = response.map(|body| Body::new(Sent::new(body, busy)));
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if *scheme == Scheme::HTTPS {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    response
}

fn full() -> Response {
    let text = "too many connections: try again in a moment\n";
    let mut response = said(StatusCode::SERVICE_UNAVAILABLE, text);
    let (name, value): (HeaderName, _) = (header::RETRY_AFTER, HeaderValue::from_static("5"));
    response.headers_mut().insert(name, value);
    response
}

fn too_slow() -> Response {
    said(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time\n")
}

fn said(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// A body that must have arrived by a moment.
struct Timed {
    body: Body,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    late: Arc<AtomicBool>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending if self.end.as_mut().poll(cx).is_ready() => {
                self.late.store(true, Ordering::Relaxed);
                let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
                Poll::Ready(Some(Err(axum::Error::new(late))))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body during which the connection is in use.
///
/// It is asked for its next piece when the client takes more, and only then. Until it is asked there may be a piece that is
/// not taken; once it was asked and had none, nothing waits, however long that lasts.
struct Sent {
    body: Body,
    busy: Busy,
    number: u64,
}

impl Sent {
    fn new(body: Body, busy: Busy) -> Sent {
        let mut number = 0;
        busy.0.used(|used| {
            used.next += 1;
            number = used.next;
        });
        busy.0.offers(number, true);
        Sent { body, busy, number }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.busy.0.offers(self.number, false);
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.busy.0.offers(self.number, polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The address that counts.
pub(super) fn address(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}
