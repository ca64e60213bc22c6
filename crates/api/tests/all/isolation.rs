//! Two projects never see each other, on no route of the document.

use axum::http::Method;
use bygone_catalog::record::Role;
use serde_json::{Value, json};

use crate::world::{Client, World, request, restore};

/// Every operation of the document: method, path, what it needs.
fn operations() -> Vec<(Method, String, String)> {
    let document: Value = serde_json::from_str(&bygone_api::openapi()).unwrap();
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (verb, operation) in operations.as_object().unwrap() {
            let method: Method = verb.to_uppercase().parse().unwrap();
            all.push((method, path.clone(), operation["x-needs"].as_str().unwrap().to_owned()));
        }
    }
    assert!(all.len() > 80, "{}", all.len());
    all
}

#[tokio::test]
async fn without_a_key_every_route_is_closed() {
    let world = World::new().await;
    for (method, path, _) in operations() {
        for body in ["", "{}"] {
            let answer = world.send(request(&method, &path, body)).await;
            answer.fails(401, "USER_UNAUTHORIZED");
            assert_eq!(answer.challenges().len(), 2, "{method} {path}");
        }
    }
}

/// What a project has, by the names that paths give it.
async fn filled(world: &World, owner: &Client) -> Vec<(&'static str, String)> {
    let project = world.project("ours").await;
    let job = owner.job(&project, "our cluster").await;
    let key = owner
        .post(
            &format!("/api/v2/projects/{project}/agent-keys"),
            json!({ "description": "our agent" }),
        )
        .await
        .is(201);
    let alert = alert(world, &project, &job).await;
    let restore = restore(world, &project, &job).await.to_string();
    let events = owner.get(&format!("/api/v2/projects/{project}/events")).await.is(200);
    let hosts = owner.get(&format!("/api/public/v1.0/groups/{project}/hosts")).await.is(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    vec![
        ("project", project.to_string()),
        ("groupId", project.to_string()),
        ("job", job.clone()),
        ("clusterId", job),
        ("key", text(&key["id"])),
        ("alert", alert.clone()),
        ("alertId", alert),
        ("restore", restore.clone()),
        ("jobId", restore),
        ("eventId", text(&events[0]["id"])),
        ("hostId", text(&hosts["results"][0]["id"])),
        ("snapshot", "20261120T103000Z-1a2b3c4d".to_owned()),
        ("snapshotId", "20261120T103000Z-1a2b3c4d".to_owned()),
        ("checkpointId", "0".repeat(24)),
        ("agentType", "BACKUP".to_owned()),
        ("name", "ours".to_owned()),
        ("store", "main".to_owned()),
        ("id", "main".to_owned()),
        ("user", "0".repeat(24)),
        ("orgId", "0".repeat(24)),
        ("alertConfigId", "0".repeat(24)),
        ("host", "here".to_owned()),
        ("head", "%2Fhead%2F".to_owned()),
    ]
}

async fn alert(world: &World, project: &bygone_catalog::Id, job: &str) -> String {
    use bygone_catalog::record::{Alert, AlertKind, AlertStatus};
    let alert = Alert {
        id: world.control.new_id(),
        project: Some(project.clone()),
        job: Some(job.parse().unwrap()),
        target: String::new(),
        kind: AlertKind::OplogBehind,
        status: AlertStatus::Open,
        created: world.control.now(),
        updated: world.control.now(),
        resolved: None,
        notified: None,
        told: Vec::new(),
        acknowledged: None,
        message: "our oplog is behind".to_owned(),
    };
    world.control.catalog().insert(&alert).await.unwrap();
    alert.id.to_string()
}

/// The path with the names' values in it.
fn at(path: &str, values: &[(&str, String)]) -> String {
    let mut path = path.to_owned();
    for (name, value) in values {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    assert!(!path.contains('{'), "{path}");
    path
}

#[tokio::test]
async fn with_another_projects_key_nothing_of_a_project_is_found() {
    let world = World::new().await;
    let owner = world.owner().await;
    let values = filled(&world, &owner).await;
    let theirs = world.project("theirs").await;
    // All that can be had in another project.
    let mut strangers = Vec::new();
    for role in [Role::ProjectReadOnly, Role::ProjectBackupAdmin, Role::ProjectRestore] {
        strangers.push(world.client(role, Some(&theirs)).await);
    }
    let ours: Vec<&String> = values.iter().map(|(_, value)| value).take(12).collect();
    for (method, path, needs) in operations() {
        let path = at(&path, &values);
        for stranger in &strangers {
            let answer = stranger.ask(method.clone(), &path, json!({})).await;
            let said = &answer.text;
            match needs.as_str() {
                "any key" => assert!(answer.status == 200 || answer.status == 404, "{path} {said}"),
                needs if needs.ends_with("everywhere") => answer.fails(403, "USER_UNAUTHORIZED"),
                _ => answer.fails(404, "GROUP_NOT_FOUND"),
            }
            let leaks = ours.iter().any(|id| id.len() > 8 && said.contains(*id));
            assert!(!leaks && !said.contains("our "), "{method} {path}: {said}");
        }
    }
    assert!(owner.get(&at("/api/v2/projects/{project}/jobs/{job}", &values)).await.status == 200);
}

#[tokio::test]
async fn what_belongs_to_one_project_is_not_found_in_another_of_the_same_reader() {
    let world = World::new().await;
    let owner = world.owner().await;
    let mut values = filled(&world, &owner).await;
    let theirs = world.project("theirs").await;
    for (name, value) in &mut values {
        if matches!(*name, "project" | "groupId") {
            *value = theirs.to_string();
        }
    }
    let named =
        ["{job}", "{clusterId}", "{restore}", "{alert}", "{alertId}", "{eventId}", "{hostId}"];
    let bodies = [
        json!({}),
        json!({ "action": "start" }),
        json!({ "acknowledgedUntil": "2027-01-01T00:00:00Z" }),
        json!({ "until": "2027-01-01T00:00:00Z" }),
        json!({ "when": "latest", "delivery": { "method": "http", "form": { "kind": "tar" } } }),
        json!({ "snapshotId": "20261120T103000Z-1a2b3c4d", "delivery": { "methodName": "HTTP" } }),
    ];
    let mut seen = 0;
    for (method, path, needs) in operations() {
        // What is everywhere is of no project.
        if needs.ends_with("everywhere") || !named.iter().any(|name| path.contains(name)) {
            continue;
        }
        let path = at(&path, &values);
        let mut statuses = Vec::new();
        for body in &bodies {
            statuses.push(owner.ask(method.clone(), &path, body.clone()).await.status.as_u16());
        }
        // One of the bodies is what the route wants; the others it does not understand.
        assert!(statuses.contains(&404), "{method} {path}: {statuses:?}");
        assert!(statuses.iter().all(|s| matches!(s, 400 | 404)), "{method} {path}: {statuses:?}");
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}
