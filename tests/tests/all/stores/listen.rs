//! `up --listen`: its status, dashboard and agents' door over HTTP and HTTPS.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use bygone_agent::{
    Agent, AgentOptions, MongoSource, SourceUri,
    uplink::{HttpUplink, HttpUplinkOptions},
};
use bygone_base::{ErrorKind, SystemClock, SystemRng};
use bygone_tests::{
    ReplicaSet, Version, ports::Port, process::Bygone, server::Pki, wait::PATIENCE,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    bad_input::{orders, says, told},
    spine::{Backup, complete, interrupted},
};

/// What agents and those who ask must know.
const TOKEN: &str = "5f0c1d3b9a7e4c2288d1b6f0e3a59c47";

fn status(server: &str) -> Bygone {
    Bygone::new(["status", "--server", server]).env("BYGONE_AGENT_TOKEN", TOKEN)
}

#[tokio::test]
async fn it_is_shown_and_lets_agents_in() {
    let set = ReplicaSet::single(Version::V8_2).await;
    orders(&set.client().await, 0, 100).await;
    let backup = Backup::new();
    let port = Port::reserve();
    let server = format!("http://{}", port.address());
    let up = backup.up(&set.uri()).env("BYGONE_AGENT_TOKEN", TOKEN);
    let mut up = up.arg("--listen").arg(port.address()).start();
    complete(&mut up).await;
    let told_status = status(&server).arg("--json").run().await.expect_code(0);
    let value: Value = serde_json::from_str(&told_status.stdout).unwrap();
    let job = &value["jobs"][0];
    assert_eq!((job["job"].as_str(), job["part"].as_str()), (Some("default"), Some("rs0")));
    assert_eq!(job["agent"]["phase"], "tailing", "{value}");
    let shown = status(&server).run().await.expect_code(0);
    assert!(shown.stdout.contains("agent phase: tailing"), "{}", shown.stdout);
    scrapes(&server).await;
    // On this machine anybody may ask; agents must know the token, and find what is theirs only.
    let run = async |token: &str| {
        let options = HttpUplinkOptions::new(&server, token.to_owned().into());
        let uplink = Arc::new(HttpUplink::new(&options).unwrap());
        let clock = Arc::new(SystemClock::new());
        let uri = SourceUri::parse(&set.uri()).unwrap();
        let source = Arc::new(MongoSource::new(uri, clock.clone()).await.unwrap());
        let options = AgentOptions::new("remote".parse().unwrap());
        let (agent, _) = Agent::new(source, uplink, clock, Arc::new(SystemRng), options);
        agent.run_until_now(&CancellationToken::new()).await.unwrap_err()
    };
    let refused = run("another").await;
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    interrupted(up).await;
}

/// With a folder, users stay; one process at a time has it, and one that was killed leaves nothing that the next waits for.
#[tokio::test]
async fn its_folder_is_kept() {
    let set = ReplicaSet::single(Version::V8_2).await;
    orders(&set.client().await, 0, 100).await;
    let backup = Backup::new();
    let folder = backup.path("data");
    let up = || backup.up(&set.uri()).arg("--data").arg(&folder).arg("--listen").arg("127.0.0.1:0");
    let mut first = up().start();
    let line = first.line(PATIENCE, |line| line.starts_with("nobody can log in yet")).await;
    let link = line.rsplit_once(' ').unwrap().1.to_owned();
    complete(&mut first).await;
    // What it holds is nobody else's.
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let data = PathBuf::from(&folder);
    assert_eq!((mode(data.clone()), mode(data.join("catalog.db"))), (0o700, 0o600));
    let welcome = reqwest::get(&link).await.unwrap();
    assert_eq!(welcome.status().as_u16(), 200, "{link}");
    let line = told(&up().run().await, 1);
    says(&line, &["another bygone runs on", "data"]);
    first.kill().await;
    // The same job goes on: no other initial sync, and no wait for what the killed one held.
    let mut second = up().start();
    complete(&mut second).await;
    let ended = interrupted(second).await;
    assert!(!ended.stderr.contains("transferring"), "copied again: {}", ended.stderr);
    backup.verify().await;
}

#[tokio::test]
async fn with_a_certificate_and_not_without() {
    let set = ReplicaSet::single(Version::V8_2).await;
    let backup = Backup::new();
    let port = Port::reserve();
    let listen = |address: &str| backup.up(&set.uri()).arg("--listen").arg(address);
    let line = told(&listen("0.0.0.0:1").run().await, 2);
    says(&line, &["without TLS", "127.0.0.1"]);
    let line = told(&listen("nonsense").run().await, 2);
    says(&line, &["nonsense", "ADDRESS:PORT"]);
    let (certificate, key, ca) = pem(&backup);
    let tls = |command: Bygone, key: &PathBuf| {
        command.arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(key)
    };
    let line = told(&tls(listen(&port.address()), &ca).run().await, 2);
    says(&line, &["PEM"]);
    let up = tls(listen(&port.address()), &key).env("BYGONE_AGENT_TOKEN", TOKEN);
    let mut up = up.start();
    complete(&mut up).await;
    let server = format!("https://{}", port.address());
    let line = told(&status(&server).run().await, 1);
    says(&line, &[&port.address(), "certificate", "trusted"]);
    let trusting = status(&server).arg("--json").arg("--ca-file").arg(&ca);
    let asked = trusting.run().await.expect_code(0);
    assert!(asked.stdout.contains("\"part\":\"rs0\""), "{}", asked.stdout);
    secured(&server, &ca).await;
    let plain = status(&server.replacen("https", "http", 1));
    let line = told(&plain.run().await, 1);
    says(&line, &[&port.address()]);
    // The port is taken now.
    let other = Backup::new();
    let second =
        other.up(&set.uri()).arg("--name").arg("other").arg("--listen").arg(port.address());
    let line = told(&second.run().await, 1);
    says(&line, &["listen on", &port.address()]);
    interrupted(up).await;
}

/// What Prometheus and probes ask for, by HTTP/1.1.
async fn scrapes(server: &str) {
    let client = reqwest::Client::builder().http1_only().build().unwrap();
    let get = async |path: &str| client.get(format!("{server}{path}")).send().await.unwrap();
    let metrics = get("/metrics").await;
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4");
    let metrics = metrics.text().await.unwrap();
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(&format!("bygone_{name}{{")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
        let labelled = name == "info" || line.contains("job=\"default\",part=\"rs0\"");
        assert!(labelled, "{line}");
        line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    assert!(value("stored_timestamp_seconds") > 1_700_000_000 && value("lag_seconds") < 60);
    assert!(value("snapshot_timestamp_seconds") <= value("stored_timestamp_seconds"));
    assert_eq!((value("snapshots_total"), value("failed"), value("info")), (1, 0, 1));
    assert_eq!((value("job_active"), value("job_following")), (1, 1));
    assert!(metrics.contains("bygone_alerts_open{type=\"ALL\"} "), "{metrics}");
    for path in ["/healthz", "/readyz"] {
        let answer = get(path).await;
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap().as_str()),
            (200, "ok\n")
        );
    }
    assert_eq!(get("/nothing").await.status().as_u16(), 404);
}

/// From other hosts only who has a token learns more than that somebody is there.
async fn secured(server: &str, ca: &PathBuf) {
    let ca = reqwest::Certificate::from_pem(&fs::read(ca).unwrap()).unwrap();
    let client = reqwest::Client::builder().http1_only().tls_certs_only([ca]).build().unwrap();
    let get = |path: &str| client.get(format!("{server}{path}"));
    let status =
        async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(get("/healthz")).await, 200);
    for path in ["/metrics", "/status"] {
        assert_eq!(status(get(path)).await, 401, "{path}");
        assert_eq!(status(get(path).bearer_auth("another")).await, 401, "{path}");
        assert_eq!(status(get(path).bearer_auth(TOKEN)).await, 200, "{path}");
    }
}

/// A certificate, its key, and who issued it.
fn pem(backup: &Backup) -> (PathBuf, PathBuf, PathBuf) {
    let pki = Pki::new();
    let both = fs::read_to_string(pki.server()).unwrap();
    let at = both.find("-----BEGIN PRIVATE KEY").unwrap();
    let write = |name: &str, text: &str| {
        let path = backup.path(name);
        fs::write(&path, text).unwrap();
        path
    };
    let ca = fs::read_to_string(pki.ca()).unwrap();
    (write("cert.pem", &both[..at]), write("key.pem", &both[at..]), write("ca.pem", &ca))
}
