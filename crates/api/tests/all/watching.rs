//! `/status` and `/metrics`: everybody sees what is his.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{Method, header, uri::Scheme},
};
use bygone_api::{Answers, Watching, counted, watching};
use bygone_catalog::{
    Id,
    record::{Alert, AlertKind, AlertStatus, Role},
};
use bygone_control::{By, NewJob, NewSource};

use crate::world::{Answer, Client, World, request, send};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HERE: &str = "127.0.0.1:5000";

fn router(world: &World, answers: &Arc<Answers>) -> Router {
    watching(Watching {
        control: world.control.clone(),
        access: world.access.clone(),
        token: Some(TOKEN.to_owned().into()),
        strict: false,
        answers: answers.clone(),
    })
}

async fn job(world: &World, project: &Id, cluster: &str) {
    let source = NewSource { uri: "mongodb://h/?replicaSet=rs0".into(), ..NewSource::default() };
    let new = NewJob { cluster: cluster.into(), source, ..NewJob::default() };
    world.control.create_job(project, new, &By::system()).await.unwrap();
}

async fn ask(app: &Router, path: &str, headers: &[(&str, &str)], from: &str) -> Answer {
    let mut asked = request(&Method::GET, path, "");
    for (name, value) in headers {
        let name: header::HeaderName = name.parse().unwrap();
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    asked.extensions_mut().insert(from.parse::<SocketAddr>().unwrap());
    send(app, asked).await
}

async fn by_key(app: &Router, path: &str, key: &Client) -> Answer {
    let challenge = ask(app, path, &[], "192.0.2.1:5").await;
    let proof = key.proof(&challenge, &Method::GET, path);
    ask(app, path, &[("authorization", &proof)], "192.0.2.1:5").await
}

/// Which of the two jobs are in it.
#[track_caller]
fn shows(answer: &Answer, ours: bool, theirs: bool) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.text.contains("ours"), ours, "{}", answer.text);
    assert_eq!(answer.text.contains("theirs"), theirs, "{}", answer.text);
}

#[tokio::test]
async fn a_project_is_shown_to_nobody_of_another() {
    let world = World::new().await;
    let app = router(&world, &Arc::new(Answers::default()));
    let (a, b) = (world.project("a").await, world.project("b").await);
    job(&world, &a, "ours").await;
    job(&world, &b, "theirs").await;
    let by = By::system();
    let (_, agent) = world.access.create_agent_key(&b, "b", &by).await.unwrap();
    let (agent, token) = (format!("Bearer {agent}"), format!("Bearer {TOKEN}"));
    let reader = world.client(Role::ProjectReadOnly, Some(&a)).await;
    let owner = world.owner().await;
    for path in ["/status", "/metrics"] {
        let bearer = async |value: &str| ask(&app, path, &[("authorization", value)], HERE).await;
        shows(&bearer(&agent).await, false, true);
        shows(&bearer(&token).await, true, true);
        shows(&by_key(&app, path, &reader).await, true, false);
        shows(&by_key(&app, path, &owner).await, true, true);
        for wrong in ["Bearer x", "Bearer ", "Basic YTpi"] {
            assert_eq!(bearer(wrong).await.status, 401, "{wrong}");
        }
        // Somebody has been let in: to be on the same host is not enough any more.
        ask(&app, path, &[], HERE).await.fails(401, "USER_UNAUTHORIZED");
    }
    // What belongs to no project is for those who see everything.
    let metrics =
        async |header: &str| ask(&app, "/metrics", &[("authorization", header)], HERE).await.text;
    assert!(!metrics(&agent).await.contains("bygone_api_responses_total"));
    assert!(metrics(&token).await.contains("bygone_api_responses_total"));
}

#[tokio::test]
async fn who_is_alone_on_his_host_needs_no_proof() {
    let world = World::new().await;
    let app = router(&world, &Arc::new(Answers::default()));
    let project = world.project("a").await;
    job(&world, &project, "ours").await;
    shows(&ask(&app, "/status", &[], HERE).await, true, false);
    shows(&ask(&app, "/metrics", &[], "[::1]:5").await, true, false);
    for (headers, from) in [
        (&[][..], "192.0.2.1:5"),
        (&[("x-forwarded-for", "192.0.2.1")], HERE),
        (&[("via", "1.1 proxy")], HERE),
    ] {
        ask(&app, "/metrics", headers, from).await.fails(401, "USER_UNAUTHORIZED");
    }
    let mut secure = request(&Method::GET, "/metrics", "");
    secure.extensions_mut().insert(HERE.parse::<SocketAddr>().unwrap());
    secure.extensions_mut().insert(Scheme::HTTPS);
    send(&app, secure).await.fails(401, "USER_UNAUTHORIZED");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(&app, path, &[], "192.0.2.1:5").await.text, "ok\n");
    }
}

#[tokio::test]
async fn every_job_has_its_rows_and_what_is_wrong_is_counted() {
    let world = World::new().await;
    let answers = Arc::new(Answers::default());
    let app = router(&world, &answers);
    let project = world.project("a").await;
    job(&world, &project, "ours").await;
    let alert = Alert {
        id: world.control.new_id(),
        project: Some(project.clone()),
        job: None,
        target: String::new(),
        kind: AlertKind::OplogBehind,
        status: AlertStatus::Open,
        created: world.control.now(),
        updated: world.control.now(),
        resolved: None,
        notified: None,
        told: Vec::new(),
        acknowledged: None,
        message: "behind".into(),
    };
    world.control.catalog().insert(&alert).await.unwrap();
    let api = counted(world.app.clone(), answers);
    send(&api, request(&Method::GET, "/api/v2/me", "")).await.fails(401, "USER_UNAUTHORIZED");
    let text = ask(&app, "/metrics", &[], HERE).await.text;
    for row in [
        "bygone_job_state{job=\"ours\",part=\"\",state=\"inactive\"} 1\n",
        "bygone_job_following{job=\"ours\",part=\"\"} 0\n",
        "bygone_alerts_open{type=\"ALL\"} 1\n",
        "bygone_alerts_open{type=\"OPLOG_BEHIND\"} 1\n",
        "bygone_api_responses_total{class=\"4xx\"} 1\n",
        "bygone_api_responses_total{class=\"5xx\"} 0\n",
    ] {
        assert!(text.contains(row), "{row}{text}");
    }
}
