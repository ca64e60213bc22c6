//! Listening, connections, and a clean end: everything that is not about the
//! content of a request.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, http::uri::Scheme, middleware};
use bygone_base::{Clock, Error, ErrorKind, Result};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    doors::{Doors, Pass},
    gate::Gate,
    line::{self, Line, Patience},
    network::{self, Network},
    routes, tls,
};

/// Requests at once on one connection.
const MAX_STREAMS: u32 = 64;
/// A TLS handshake must be done by then.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What is in flight when the service stops has this long to end.
const GRACE: Duration = Duration::from_secs(10);
/// What a connection that is ended is still sending has this long.
const FAREWELL: Duration = Duration::from_secs(5);
/// A dead peer is noticed within twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Certificate chain and private key, PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Required on every address that is not loopback.
    pub tls: Option<TlsFiles>,
    /// Bytes of request bodies in memory at once; above, requests are answered
    /// with 503 and Retry-After.
    pub body_memory: usize,
    /// How long connections may keep the server waiting.
    pub patience: Patience,
    /// Proxies that say for whom they ask.
    pub trusted_proxies: Vec<Network>,
    /// What else is served. A request carries its client's `SocketAddr` and the URI's `Scheme` as extensions.
    pub also: Router,
}

impl Default for ServeOptions {
    /// Plain HTTP (loopback only), 128 MiB of bodies.
    fn default() -> Self {
        ServeOptions {
            tls: None,
            body_memory: 128 << 20,
            patience: Patience::default(),
            trusted_proxies: Vec::new(),
            also: Router::new(),
        }
    }
}

/// A bound, not yet running service.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    clock: Arc<dyn Clock>,
    patience: Patience,
    trusted: Arc<[Network]>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Binds `address`, with the agents' calls behind `gate`. Refuses an address that others can reach without TLS,
    /// because the tokens and the data would cross the network in the clear.
    pub async fn bind(
        address: SocketAddr,
        gate: Arc<dyn Gate>,
        clock: Arc<dyn Clock>,
        options: ServeOptions,
    ) -> Result<Server> {
        if options.tls.is_none() && !address.ip().is_loopback() {
            return Err(Error::usage(format!("refusing to listen on {address} without TLS"))
                .hint("give a certificate and a key, or listen on 127.0.0.1"));
        }
        let tls = match &options.tls {
            Some(files) => Some(tls::acceptor(&files.certificate, &files.key)?),
            None => None,
        };
        let listener = TcpListener::bind(address)
            .await
            .map_err(|e| Error::io(format!("listen on {address}"), e))?;
        let address =
            listener.local_addr().map_err(|e| Error::io(format!("listen on {address}"), e))?;
        let (patience, trusted) = (options.patience, options.trusted_proxies.clone().into());
        let router = routes::router(gate, Arc::clone(&clock), options);
        Ok(Server { listener, address, tls, router, clock, patience, trusted })
    }

    /// The address in use (with the port that was chosen when 0 was asked for).
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` completes; then takes no new requests and gives
    /// those in flight a moment to end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let mut shutdown = pin!(shutdown);
        let stop = CancellationToken::new();
        let requests = TaskTracker::new();
        let mut connections = JoinSet::new();
        let doors = Arc::new(Doors::default());
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => {
                    match accepted {
                        Ok((stream, peer)) => {
                            let executor = Tracked(requests.clone());
                            let connection = self.connection(&doors, peer, &stop, executor);
                            connections.spawn(connection.run(stream));
                        }
                        Err(error) => {
                            // Out of file handles or the like: not a reason to end.
                            tracing::warn!(%error, "a connection could not be accepted");
                            self.clock.sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            }
        }
        drop(self.listener);
        stop.cancel();
        requests.close();
        let drained = async {
            while connections.join_next().await.is_some() {}
            requests.wait().await;
        };
        tokio::select! {
            () = drained => {}
            () = self.clock.sleep(GRACE) => {}
        }
        connections.shutdown().await;
        Ok(())
    }

    fn connection(
        &self,
        doors: &Arc<Doors>,
        peer: SocketAddr,
        stop: &CancellationToken,
        executor: Tracked,
    ) -> Connection {
        let address = line::address(peer);
        Connection {
            tls: self.tls.clone(),
            router: self.router.clone(),
            clock: Arc::clone(&self.clock),
            stop: stop.clone(),
            executor,
            peer,
            patience: self.patience,
            trusted: Arc::clone(&self.trusted),
            pass: doors.enter(address, network::any(&self.trusted, address)),
        }
    }
}

/// hyper's request tasks, counted, so that stopping can wait for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

struct Connection {
    tls: Option<TlsAcceptor>,
    router: Router,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    executor: Tracked,
    peer: SocketAddr,
    patience: Patience,
    trusted: Arc<[Network]>,
    pass: Arc<Pass>,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let peer = self.peer;
        if let Err(error) = self.serve(stream).await {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn serve(self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true).map_err(|e| Error::io("set TCP_NODELAY", e))?;
        let Some(tls) = self.tls.clone() else { return self.http(stream).await };
        let stream = tokio::select! {
            accepted = tls.accept(stream) => accepted.map_err(|e| Error::io("TLS handshake", e))?,
            () = self.clock.sleep(HANDSHAKE) => {
                return Err(Error::new(ErrorKind::Unavailable, "TLS handshake takes too long"));
            }
            () = self.pass.evicted.cancelled() => {
                return Err(Error::new(ErrorKind::Unavailable, "others need its place"));
            }
        };
        self.http(stream).await
    }

    async fn http<S>(self, stream: S) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let scheme = if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let line = Arc::new(Line {
            clock: Arc::clone(&self.clock),
            peer: self.peer,
            scheme,
            trusted: self.trusted,
            pass: self.pass,
            patience: self.patience,
            in_use: Mutex::default(),
        });
        let layer = middleware::from_fn_with_state(Arc::clone(&line), line::serve);
        let service = TowerToHyperService::new(self.router.layer(layer));
        let mut builder = hyper_util::server::conn::auto::Builder::new(self.executor);
        // Agents speak HTTP/2; what scrapes and probes speaks HTTP/1.1.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.patience.first);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(KEEP_ALIVE))
            .keep_alive_timeout(KEEP_ALIVE)
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            why = line.overstays() => {
                tracing::debug!(peer = %self.peer, why, "connection is ended");
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.clock.sleep(FAREWELL) => Ok(()),
                }
            }
        };
        ended.map_err(|e| Error::new(ErrorKind::Unavailable, format!("HTTP: {e}")))
    }
}
