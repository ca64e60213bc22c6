//! The HTTP path: the agent's client against the service, on 127.0.0.1.

use std::{net::SocketAddr, sync::Arc};

use bygone_agent::uplink::{HttpUplink, HttpUplinkOptions};
use bygone_base::{ErrorKind, Result};
use bygone_oplog::uplink::{Ack, AgentReport, PartState, SessionRef, TimelineReason, Uplink as _};
use secrecy::SecretString;
use tokio::{sync::oneshot, task::JoinSet};

use super::support::{World, at, salted, slice, system_clock};
use crate::{
    Ingest,
    http::{Fixed, ServeOptions, Server, TlsFiles, Tokens},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub(super) struct Running {
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinSet<Result<()>>,
}

impl Running {
    pub(super) async fn stop(mut self) {
        self.stop.send(()).unwrap();
        self.server.join_next().await.unwrap().unwrap().unwrap();
    }

    pub(super) fn client(&self) -> HttpUplink {
        client(&format!("http://{}", self.address), TOKEN)
    }
}

fn client(url: &str, token: &str) -> HttpUplink {
    HttpUplink::new(&HttpUplinkOptions::new(url, SecretString::from(token.to_owned()))).unwrap()
}

fn gate(ingest: Arc<Ingest>) -> Arc<Fixed> {
    let mut tokens = Tokens::new();
    tokens.add("agent", &SecretString::from(TOKEN.to_owned())).unwrap();
    Fixed::new(tokens, ingest)
}

pub(super) async fn serve(ingest: Arc<Ingest>, options: ServeOptions) -> Running {
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(address, gate(ingest), system_clock(), options).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let address = server.local_addr();
    let mut tasks = JoinSet::new();
    tasks.spawn(server.run(async {
        stopped.await.ok();
    }));
    Running { address, stop, server: tasks }
}

#[tokio::test]
async fn every_call_works_over_the_network_and_a_restart_goes_on() {
    let w = World::new().await;
    let running = serve(w.ingest(), ServeOptions::default()).await;
    let uplink = running.client();
    let session = uplink.open(w.hello("a")).await.unwrap();
    assert_eq!(session.state, PartState::Empty { why: None });
    let mut s = w.session(&session);
    let (timeline, sync) = uplink.begin_sync(&s, at(0), TimelineReason::InitialSync).await.unwrap();
    s.timeline = timeline;
    super::sync::over_network(&uplink, &s, sync).await;
    assert_eq!(uplink.oplog_slice(&s, slice(6, 9)).await.unwrap(), Ack::Stored);
    assert_eq!(uplink.oplog_slice(&s, slice(6, 9)).await.unwrap(), Ack::AlreadyStored);
    let report = AgentReport { phase: "tailing".to_owned(), ..AgentReport::default() };
    uplink.report(&s, report).await.unwrap();
    let forked = uplink.fork(&s, at(9)).await.unwrap();
    assert_eq!(forked.0, timeline.0 + 1);
    running.stop().await;

    let running = serve(w.ingest(), ServeOptions::default()).await;
    let uplink = running.client();
    // The old session goes on over the new process.
    let s = SessionRef { timeline: forked, ..s };
    uplink.oplog_slice(&s, slice(9, 10)).await.unwrap();
    let PartState::Tailing { chain, .. } = uplink.open(w.hello("a")).await.unwrap().state else {
        panic!()
    };
    assert_eq!(chain, at(10));
    running.stop().await;
}

#[tokio::test]
async fn errors_come_over_as_they_are() {
    let w = World::new().await;
    let running = serve(w.ingest(), ServeOptions::default()).await;
    let uplink = running.client();
    uplink.open(w.hello("first")).await.unwrap();
    let local = w.ingest();
    let s = w.begun(&local, "second").await;
    local.oplog_slice(&s, slice(0, 2)).await.unwrap();
    let expected = local.oplog_slice(&s, salted(0, 2, 1)).await.unwrap_err();
    let got = uplink.oplog_slice(&s, salted(0, 2, 1)).await.unwrap_err();
    assert_eq!(got.kind(), ErrorKind::Conflict);
    assert_eq!(got.to_string(), expected.to_string());
    let refused = uplink.open(w.hello("third")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.hint_text().is_some());
    running.stop().await;
}

#[tokio::test]
async fn strangers_are_turned_away() {
    let w = World::new().await;
    let running = serve(w.ingest(), ServeOptions::default()).await;
    let url = format!("http://{}", running.address);
    for token in ["", "0123456789abcdef0123456789abcdee", "Bearer"] {
        let error = client(&url, token).open(w.hello("a")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    }
    assert!(w.store.list("jobs/", None).await.unwrap().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn bodies_are_bounded_and_damaged_ones_refused() {
    let w = World::new().await;
    let running = serve(w.ingest(), ServeOptions::default()).await;
    let uplink = running.client();
    let mut s = w.session(&uplink.open(w.hello("a")).await.unwrap());
    let begun = uplink.begin_sync(&s, at(0), TimelineReason::InitialSync).await.unwrap();
    s.timeline = begun.0;
    let huge = vec![0_u8; 65 << 20];
    assert_eq!(uplink.oplog_slice(&s, huge.into()).await.unwrap_err().kind(), ErrorKind::Usage);
    let report = AgentReport { message: "x".repeat(2 << 20), ..AgentReport::default() };
    assert_eq!(uplink.report(&s, report).await.unwrap_err().kind(), ErrorKind::Usage);
    let damaged = slice(0, 1).slice(..90);
    assert_eq!(uplink.oplog_slice(&s, damaged).await.unwrap_err().kind(), ErrorKind::Damaged);
    // The connection is still good.
    uplink.oplog_slice(&s, slice(0, 1)).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_busy_server_says_come_back_instead_of_growing() {
    let w = World::new().await;
    let running =
        serve(w.ingest(), ServeOptions { body_memory: 1024, ..ServeOptions::default() }).await;
    let uplink = Arc::new(running.client());
    // A request that announces its body and never sends it holds the memory.
    let held = hold_body(running.address).await;
    let error = uplink.open(w.hello("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("busy"), "{error}");
    drop(held);
    // Freed when the connection goes; the server may see that a moment later.
    for _ in 0..5 {
        if uplink.open(w.hello("a")).await.is_ok() {
            return running.stop().await;
        }
    }
    panic!("the memory was not freed");
}

/// Sends the head of a request by hand; the body does not follow.
async fn hold_body(address: SocketAddr) -> JoinSet<()> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io)
            .await
            .unwrap();
    let (seen, mut ready) = tokio::sync::mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        connection.await.ok();
    });
    tasks.spawn(async move {
        let body = axum::body::Body::from_stream(futures::stream::once(async move {
            seen.send(()).await.ok();
            std::future::pending::<std::result::Result<bytes::Bytes, std::io::Error>>().await
        }));
        let request = axum::http::Request::post("http://ingest/v1/open")
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-length", "1024")
            .body(body)
            .unwrap();
        sender.send_request(request).await.ok();
    });
    ready.recv().await;
    tasks
}

#[tokio::test]
async fn an_address_that_others_reach_needs_tls() {
    let w = World::new().await;
    let address = "0.0.0.0:0".parse().unwrap();
    let error = Server::bind(address, gate(w.ingest()), system_clock(), ServeOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("TLS"));
}

#[tokio::test]
async fn tls_with_a_private_ca_works_and_an_unknown_ca_is_refused() {
    let w = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert"), made.cert.pem()).unwrap();
    std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("other"), other.cert.pem()).unwrap();
    let tls = Some(TlsFiles { certificate: path("cert"), key: path("key") });
    let running = serve(w.ingest(), ServeOptions { tls, ..ServeOptions::default() }).await;
    let url = format!("https://localhost:{}", running.address.port());
    let uplink = |ca: &str| {
        let token = SecretString::from(TOKEN.to_owned());
        HttpUplink::new(&HttpUplinkOptions {
            ca_file: Some(path(ca)),
            ..HttpUplinkOptions::new(&url, token)
        })
    };
    uplink("cert").unwrap().open(w.hello("a")).await.unwrap();
    let error = uplink("other").unwrap().open(w.hello("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(uplink("nothing").is_err());
    assert!(uplink("key").is_err());
    let plain = client(&format!("http://{}", running.address), TOKEN);
    assert!(plain.open(w.hello("a")).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn a_server_without_certificate_or_with_a_wrong_key_does_not_start() {
    let w = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert"), made.cert.pem()).unwrap();
    std::fs::write(path("key"), other.signing_key.serialize_pem()).unwrap();
    for (certificate, key) in [("cert", "key"), ("cert", "none"), ("none", "key"), ("key", "cert")]
    {
        let tls = Some(TlsFiles { certificate: path(certificate), key: path(key) });
        let address = "127.0.0.1:0".parse().unwrap();
        let options = ServeOptions { tls, ..ServeOptions::default() };
        let bound = Server::bind(address, gate(w.ingest()), system_clock(), options).await;
        assert!(bound.is_err(), "{certificate} {key}");
    }
}
