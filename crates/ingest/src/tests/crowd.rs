//! Many connections that want nothing, on 127.0.0.1: nobody keeps the server waiting, and no agent out.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::Request,
    routing::get,
};
use bygone_oplog::uplink::Uplink as _;
use futures::{StreamExt as _, channel::mpsc, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{network::serve, support::World};
use crate::http::{Network, Patience, ServeOptions};

/// Nothing here takes so long on any machine.
const LIMIT: Duration = Duration::from_secs(60);

fn options() -> ServeOptions {
    let who = get(|request: Request<axum::body::Body>| async move {
        let address = request.extensions().get::<SocketAddr>().map(ToString::to_string);
        address.unwrap_or_default()
    });
    let read = axum::routing::post(|body: axum::body::Body| async move {
        axum::body::to_bytes(body, 1 << 20).await.map_or("cut".to_owned(), |b| b.len().to_string())
    });
    let also = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/who", who)
        .route("/read", read);
    ServeOptions { also, ..ServeOptions::default() }
}

/// What comes back until the connection ends.
async fn said(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end, too.
    let read = timeout(LIMIT, stream.read_to_end(&mut text));
    let _ = read.await.expect("the connection is ended by the server");
    String::from_utf8(text).unwrap()
}

async fn ask(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    said(&mut stream).await
}

#[tokio::test]
async fn silent_connections_keep_neither_agents_nor_probes_out() {
    let w = World::new().await;
    let running = serve(w.ingest(), options()).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    let uplink = running.client();
    timeout(LIMIT, uplink.open(w.hello("a"))).await.unwrap().unwrap();
    assert!(ask(running.address, "/healthz", "").await.starts_with("HTTP/1.1 200"));
    // Others from this address have to wait until its seats are free.
    assert!(ask(running.address, "/who", "").await.starts_with("HTTP/1.1 503"));
    drop(silent);
    let free =
        async { while !ask(running.address, "/who", "").await.starts_with("HTTP/1.1 200") {} };
    timeout(LIMIT, free).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn what_does_not_come_is_not_waited_for() {
    let w = World::new().await;
    let short = Duration::from_millis(200);
    let patience = Patience { first: short, body: short, idle: short, taken: short };
    let running = serve(w.ingest(), ServeOptions { patience, ..options() }).await;
    let connect = async || TcpStream::connect(running.address).await.unwrap();
    // No byte, half a line, the beginning of HTTP/2, a request whose body does not follow, one request and then none.
    let mut nothing = connect().await;
    assert_eq!(said(&mut nothing).await, "");
    let mut half = connect().await;
    half.write_all(b"GET /who HT").await.unwrap();
    assert!(!said(&mut half).await.contains("200"));
    let mut preface = connect().await;
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    let read = timeout(LIMIT, preface.read_to_end(&mut bytes));
    let _ = read.await.expect("the connection is ended by the server");
    let mut body = connect().await;
    body.write_all(b"POST /read HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nab").await.unwrap();
    let late = said(&mut body).await;
    assert!(late.starts_with("HTTP/1.1 408"), "{late}");
    let mut idle = connect().await;
    idle.write_all(b"GET /who HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    assert!(said(&mut idle).await.starts_with("HTTP/1.1 200"));
    running.stop().await;
}

/// Routes of an answer without end, which says when it is given up, and of one that says what it is told.
fn answers(gone: CancellationToken, said: mpsc::UnboundedReceiver<Bytes>) -> Router {
    let endless = move || {
        let guard = gone.clone().drop_guard();
        let piece = |guard| async move {
            Some((Ok::<_, Infallible>(Bytes::from_static(&[0; 1 << 16])), guard))
        };
        async move { Body::from_stream(stream::unfold(guard, piece)) }
    };
    let said = Arc::new(Mutex::new(Some(said)));
    let quiet = move || {
        let said = said.lock().unwrap().take().unwrap();
        async move { Body::from_stream(said.map(Ok::<_, Infallible>)) }
    };
    Router::new().route("/endless", get(endless)).route("/quiet", get(quiet))
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_given_up_and_a_quiet_one_is_not() {
    let w = World::new().await;
    let (gone, (say, told)) = (CancellationToken::new(), mpsc::unbounded());
    let patience = Patience { taken: Duration::from_millis(200), ..Patience::default() };
    let also = answers(gone.clone(), told);
    let running = serve(w.ingest(), ServeOptions { patience, also, ..options() }).await;
    let mut quiet = TcpStream::connect(running.address).await.unwrap();
    quiet.write_all(b"GET /quiet HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    say.unbounded_send(Bytes::from_static(b"first")).unwrap();
    let mut begun = Vec::new();
    while !String::from_utf8_lossy(&begun).contains("first") {
        let read = timeout(LIMIT, quiet.read_buf(&mut begun)).await.unwrap().unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&begun));
    }
    // Nothing of this one is read.
    let mut deaf = TcpStream::connect(running.address).await.unwrap();
    deaf.write_all(b"GET /endless HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    timeout(LIMIT, gone.cancelled()).await.expect("the answer is given up");
    // That took longer than an answer that is there may wait; the quiet one goes on.
    say.unbounded_send(Bytes::from_static(b"second")).unwrap();
    drop(say);
    assert!(said(&mut quiet).await.contains("second"));
    running.stop().await;
}

#[tokio::test]
async fn a_trusted_proxy_says_who_asks_and_every_answer_has_its_headers() {
    let w = World::new().await;
    let forwarded = "x-forwarded-for: 9.9.9.9, 192.0.2.5\r\nx-forwarded-proto: https\r\n";
    let running = serve(w.ingest(), options()).await;
    let answer = ask(running.address, "/who", forwarded).await;
    assert!(answer.contains("127.0.0.1:") && answer.contains("x-content-type-options: nosniff"));
    assert!(!answer.contains("strict-transport-security"), "{answer}");
    running.stop().await;
    let trusted_proxies: Vec<Network> = vec!["127.0.0.0/8".parse().unwrap()];
    let running = serve(w.ingest(), ServeOptions { trusted_proxies, ..options() }).await;
    let answer = ask(running.address, "/who", forwarded).await;
    assert!(answer.contains("192.0.2.5:0"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age="), "{answer}");
    running.stop().await;
}
