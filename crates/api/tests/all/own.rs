//! Version 2: our own.

use axum::{
    body::Body,
    http::{Method, header},
};
use bygone_catalog::record::Role;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{Answer, Client, World, request};

#[tokio::test]
async fn a_job_lives_from_its_making_to_its_removal() {
    let world = World::new().await;
    let owner = world.owner().await;
    let project = owner.post("/api/v2/projects", json!({ "name": "p" })).await.is(201);
    let project = project["id"].as_str().unwrap().to_owned();
    let jobs = format!("/api/v2/projects/{project}/jobs");
    let new = json!({
        "cluster": "orders",
        "source": { "uri": "mongodb://u:topsecret@h/", "exclude": ["tmp.*"], "member": "h:27017" },
        "schedule": { "interval_secs": 60, "base_secs": 3600 },
    });
    let made = owner.post(&jobs, new.clone()).await.is(201);
    assert_eq!((&made["state"], &made["actions"]), (&json!("inactive"), &json!(["start"])));
    assert_eq!(made["schedule"]["weeks"], 2);
    owner.post(&jobs, new).await.fails(409, "CONFLICT");
    let job = format!("{jobs}/{}", made["id"].as_str().unwrap());

    // What is left out stays; null takes away.
    let edit = json!({ "source": { "member": null, "throttle": 5 } });
    let edited = owner.patch(&job, edit).await.is(200);
    assert_eq!(edited["source"]["member"], Value::Null);
    assert_eq!(edited["source"]["throttle"], 5);
    assert_eq!(edited["source"]["exclude"], json!(["tmp.*"]));
    let unknown = owner.patch(&job, json!({ "source": { "menber": "x" } })).await;
    unknown.fails(400, "INVALID_ATTRIBUTE");
    assert!(unknown.text.contains("menber"));

    // Of a schedule too.
    let slower = owner.patch(&job, json!({ "schedule": { "interval_secs": 120 } })).await.is(200);
    assert_eq!(
        (&slower["schedule"]["interval_secs"], &slower["schedule"]["base_secs"]),
        (&json!(120), &json!(3600))
    );
    for bad in [json!({ "interval_secs": 59 }), json!({ "interval": 60 }), json!({ "zone": 1 })] {
        owner.patch(&job, json!({ "schedule": bad })).await.fails(400, "INVALID_ATTRIBUTE");
    }

    let act = async |action: &str| {
        owner.post(&format!("{job}/actions"), json!({ "action": action })).await
    };
    owner.post(&format!("{job}/snapshots"), Value::Null).await.fails(409, "JOB_NOT_ACTIVE");
    assert_eq!(act("start").await.is(200)["state"], "active");
    owner.post(&format!("{job}/snapshots"), Value::Null).await.is(202);
    owner.post(&format!("{job}/resyncs"), Value::Null).await.is(202);
    owner.delete(&job).await.fails(409, "JOB_NOT_INACTIVE");
    act("stop").await.is(200);
    act("terminate").await.fails(400, "INVALID_ATTRIBUTE");
    let confirmed = json!({ "action": "terminate", "confirm": "orders" });
    let going = owner.post(&format!("{job}/actions"), confirmed).await.is(200);
    assert_eq!(going["state"], "terminating");
    act("start").await.fails(409, "INVALID_STATE");

    let other = owner.job(&project.parse().unwrap(), "other").await;
    owner.delete(&format!("{jobs}/{other}")).await.is(200);
    owner.get(&format!("{jobs}/{other}")).await.fails(404, "CLUSTER_NOT_FOUND");
    let history = owner.get(&format!("{job}/history")).await.is(200);
    assert_eq!(history, json!({ "snapshots": [], "damaged": [], "ranges": [], "gaps": [] }));
    let events = owner.get(&format!("/api/v2/projects/{project}/events")).await;
    assert!(events.text.contains(&owner.public) && !events.text.contains("topsecret"));
    told_what_changed(&owner, &project, &job).await;
}

/// Events say what was changed, the newest first, also where they are of one moment.
async fn told_what_changed(owner: &Client, project: &str, job: &str) {
    let events = owner.get(&format!("/api/v2/projects/{project}/events")).await.json();
    let told: Vec<&str> =
        events.as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap()).collect();
    let began = told.iter().rposition(|message| message.contains("other made")).unwrap();
    assert!(told[began..].contains(&"Start of orders"), "{told:?}");
    assert!(told.contains(
        &"backup job of orders changed: source.member: h:27017 → none; source.throttle: none → 5"
    ));
    assert!(told.contains(&"backup job of orders changed: schedule.interval_secs: 60 → 120"));
    let new = json!({ "source": { "uri": "mongodb://u:another@h/" } });
    owner.patch(job, new).await.is(200);
    let events = owner.get(&format!("/api/v2/projects/{project}/events")).await;
    assert_eq!(
        events.json()[0]["message"],
        "backup job of orders changed: source.uri: other credentials"
    );
    assert!(!events.text.contains("another"));
}

#[tokio::test]
async fn what_is_not_understood_is_refused_by_name() {
    let world = World::new().await;
    let owner = world.owner().await;
    let say =
        async |method: Method, path: &str, body: &str| owner.say(&method, path, body, None).await;
    let projects = "/api/v2/projects";
    say(Method::POST, projects, "{").await.fails(400, "INVALID_JSON");
    say(Method::POST, projects, "").await.fails(400, "INVALID_JSON");
    say(Method::POST, projects, "[]").await.fails(400, "INVALID_ATTRIBUTE");
    let missing = say(Method::POST, projects, "{}").await;
    missing.fails(400, "INVALID_ATTRIBUTE");
    assert!(missing.text.contains("name"));
    let query = say(Method::GET, "/api/v2/projects?pagenum=1", "").await;
    query.fails(400, "INVALID_ATTRIBUTE");
    assert_eq!(query.json()["parameters"], json!(["pagenum"]));
    say(Method::GET, "/api/v2/events?before=1", "").await.fails(400, "INVALID_ATTRIBUTE");
    let none = "0".repeat(24);
    let twice = format!("/api/v2/events?before={none}&before={none}");
    say(Method::GET, &twice, "").await.fails(400, "INVALID_ATTRIBUTE");
    say(Method::GET, "/api/v2/nothing", "").await.fails(404, "RESOURCE_NOT_FOUND");
    say(Method::PUT, projects, "{}").await.fails(405, "METHOD_NOT_ALLOWED");
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
    say(Method::POST, projects, &long).await.fails(413, "BODY_TOO_LARGE");
    let deep = "[".repeat(100_000);
    say(Method::POST, projects, &deep).await.fails(400, "INVALID_ATTRIBUTE");
    say(Method::GET, "/api/v2/projects/%ff", "").await.fails(404, "RESOURCE_NOT_FOUND");
    let document = world.send(request(&Method::GET, "/api/openapi.json", "")).await.is(200);
    assert_eq!(document["openapi"], "3.1.0");
}

#[tokio::test]
async fn people_and_keys_are_made_changed_and_removed_and_secrets_shown_once() {
    let world = World::new().await;
    let owner = world.owner().await;
    let project = world.project("p").await;
    let grant = json!([{ "role": "PROJECT_RESTORE", "project": project.as_str() }]);
    let user =
        owner.post("/api/v2/users", json!({ "name": "anna", "grants": grant })).await.is(201);
    let link = user["invitation"].as_str().unwrap().to_owned();
    owner.post("/api/v2/users", json!({ "name": "Anna" })).await.fails(409, "USER_EXISTS");
    let at = format!("/api/v2/users/{}", user["id"].as_str().unwrap());
    let again = owner.post(&format!("{at}/invitation"), Value::Null).await.is(200);
    assert_ne!(again["invitation"], user["invitation"]);
    assert!(world.access.accept(&link, "long enough").await.is_err());
    world.access.accept(again["invitation"].as_str().unwrap(), "long enough").await.unwrap();
    let boss = json!({ "grants": [{ "role": "GLOBAL_OWNER" }] });
    assert_eq!(owner.patch(&at, boss.clone()).await.is(200)["grants"], boss["grants"]);
    let events = owner.get("/api/v2/events").await.is(200);
    let said = format!("user anna given other roles: ProjectRestore of {project} → GlobalOwner");
    assert_eq!(events[0]["message"], said);
    owner.patch(&at, json!({ "grants": [] })).await.fails(409, "LAST_GLOBAL_OWNER");
    owner.delete(&at).await.fails(409, "LAST_GLOBAL_OWNER");
    let wrong = json!({ "grants": [{ "role": "GLOBAL_OWNER", "project": project.as_str() }] });
    owner.patch(&at, wrong).await.fails(400, "INVALID_ATTRIBUTE");

    let body = json!({ "description": "nightly", "grants": grant });
    let key = owner.post("/api/v2/keys", body).await.is(201);
    let private = key["private"].as_str().unwrap();
    let keys = format!("/api/v2/projects/{project}/agent-keys");
    let agent = owner.post(&keys, json!({ "description": "host 1" })).await.is(201);
    let admin = world.client(Role::GlobalBackupAdmin, None).await;
    admin.get(&keys).await.is(200);
    let refused = admin.post(&keys, json!({ "description": "x" })).await;
    refused.fails(403, "USER_UNAUTHORIZED");
    let secret = agent["secret"].as_str().unwrap();
    for path in ["/api/v2/users", "/api/v2/keys", &keys, "/api/v2/events"] {
        let shown = owner.get(path).await;
        shown.is(200);
        for hidden in [private, secret, &link, "argon2"] {
            assert!(!shown.text.contains(hidden), "{path} {hidden}");
        }
    }
    let id = agent["id"].as_str().unwrap();
    owner.delete(&format!("{keys}/{id}")).await.is(200);
    owner.delete(&format!("{keys}/{id}")).await.fails(404, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn upkeep_has_limits_and_checks_of_stores_are_shown() {
    let world = World::new().await;
    let owner = world.owner().await;
    let usual = owner.get("/api/v2/upkeep").await.is(200);
    assert_eq!(
        (&usual["check_every_secs"], &usual["check_within_secs"]),
        (&json!(86_400), &json!(604_800))
    );
    let put = async |body: Value| owner.ask(Method::PUT, "/api/v2/upkeep", body).await;
    let changed = put(json!({ "check_every_secs": 3600, "groom_mb_per_second": 9 })).await.is(200);
    assert_eq!(
        (&changed["check_within_secs"], &changed["groom_mb_per_second"]),
        (&json!(604_800), &json!(9))
    );
    assert_eq!(world.control.settings().await.unwrap().upkeep.check_every_secs, 3600);
    for bad in [json!({ "check_every_secs": 1 }), json!({ "check_within_secs": 60 })] {
        put(bad).await.fails(400, "INVALID_ATTRIBUTE");
    }
    assert_eq!(owner.get("/api/v2/stores/main/checks").await.is(200), json!([]));
}

#[tokio::test]
async fn settings_are_changed_by_parts_and_the_mail_password_stays_hidden() {
    let world = World::new().await;
    let admin = world.client(Role::GlobalBackupAdmin, None).await;
    let patch = async |body: Value| admin.patch("/api/v2/settings", body).await;
    let smtp = json!({
        "url": "smtp://mail.example:587", "user": "u", "password": "topsecret",
        "from": "bygone@example", "to": ["ops@example"],
    });
    let hooks = json!(["https://hook.example/x"]);
    let set = patch(json!({ "smtp": smtp, "webhooks": hooks })).await;
    assert_eq!(set.is(200)["smtp"]["has_password"], true);
    let mut quiet = smtp.clone();
    quiet.as_object_mut().unwrap().remove("password");
    quiet["user"] = json!("other");
    let kept = patch(json!({ "smtp": quiet })).await.is(200);
    assert_eq!((&kept["smtp"]["has_password"], &kept["webhooks"]), (&json!(true), &hooks));
    let stored = world.control.settings().await.unwrap();
    let sealed = stored.smtp.clone().unwrap().password.unwrap();
    assert_eq!(world.control.seal().open(&sealed, "settings/smtp").unwrap().as_str(), "topsecret");
    assert!(!admin.get("/api/v2/settings").await.text.contains("topsecret"));
    let limits = patch(json!({ "thresholds": { "oplog_behind_secs": 60 } })).await.is(200);
    assert_eq!(limits["thresholds"]["oplog_behind_secs"], 60);
    let limits = patch(json!({ "thresholds": { "clock_skew_secs": 9 } })).await.is(200);
    assert_eq!(limits["thresholds"]["oplog_behind_secs"], 60);
    // The password is not sent to another server.
    let mut elsewhere = quiet.clone();
    elsewhere["url"] = json!("smtp://evil.example:587");
    let lost = patch(json!({ "smtp": elsewhere })).await.is(200);
    assert_eq!(lost["smtp"]["has_password"], false);
    let events = world.control.events(None, None).await.unwrap();
    let told: Vec<&str> = events.iter().map(|event| event.message.as_str()).collect();
    let said = "settings changed: smtp.password: set → none; smtp.url: smtp://mail.example:587 → smtp://evil.example:587";
    assert_eq!(told[0], said);
    assert_eq!(told[1], "settings changed: thresholds.clock_skew_secs: 60 → 9");
    assert_eq!(patch(json!({ "smtp": null })).await.is(200)["smtp"], Value::Null);
    for bad in [
        json!({ "webhooks": ["file:///etc/passwd"] }),
        json!({ "smtp": { "url": "http://x", "from": "a@b", "to": ["a@b"] } }),
        json!({ "smtp": { "url": "smtp://x", "from": "a@b\r\nBcc: c@d", "to": ["a@b"] } }),
        json!({ "thresholds": { "x": 1 } }),
        json!({ "thresholds": { "agent_down_secs": 0 } }),
        json!({ "thresholds": { "store_full_percent": 101 } }),
        json!({ "webhooks": vec!["https://hook.example/x"; 21] }),
    ] {
        patch(bad).await.fails(400, "INVALID_ATTRIBUTE");
    }
}

#[tokio::test]
async fn stores_are_shown_without_their_secrets() {
    let world = World::new().await;
    let owner = world.owner().await;
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/s", dir.path().display());
    let new =
        json!({ "id": "second", "url": url, "passphrase": "topsecret", "purposes": ["snapshot"] });
    let made = owner.post("/api/v2/stores", new).await;
    assert_eq!(made.is(201)["encrypted"], true);
    assert!(!made.text.contains("topsecret"));
    let edit = json!({ "url": url, "purposes": ["snapshot", "oplog"], "load_factor": 2 });
    let edited = owner.ask(Method::PUT, "/api/v2/stores/second", edit).await.is(200);
    assert_eq!((&edited["encrypted"], &edited["load_factor"]), (&json!(true), &json!(2)));
    assert_eq!(owner.get("/api/v2/stores").await.is(200).as_array().unwrap().len(), 2);
    assert_eq!(owner.get("/api/v2/stores/second/usage").await.is(200), json!([]));
    owner.delete("/api/v2/stores/second").await.is(200);
    owner.get("/api/v2/stores/second").await.fails(404, "STORE_NOT_FOUND");
    for bad in
        [json!({ "id": "../x", "url": url }), json!({ "id": "third", "url": url, "max_bytes": 0 })]
    {
        owner.post("/api/v2/stores", bad).await.fails(400, "INVALID_ATTRIBUTE");
    }
}

/// The next event of a stream.
async fn event(stream: &mut axum::body::BodyDataStream) -> Option<String> {
    let chunk = stream.next().await?.unwrap();
    Some(String::from_utf8(chunk.to_vec()).unwrap())
}

#[tokio::test]
async fn a_stream_tells_what_is_new_and_ends() {
    let world = World::new().await;
    let owner = world.owner().await;
    let project = world.project("p").await;
    let job = owner.job(&project, "c").await;
    let path = format!("/api/v2/projects/{project}/jobs/{job}/stream");
    let challenge: Answer = world.send(request(&Method::GET, &path, "")).await;
    let mut asked = request(&Method::GET, &path, "");
    let proof = owner.proof(&challenge, &Method::GET, &path).parse().unwrap();
    asked.headers_mut().insert(header::AUTHORIZATION, proof);
    let response = world.app.clone().oneshot(asked).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut stream = Body::into_data_stream(response.into_body());
    let state = |event: &str| {
        let json = event.strip_prefix("event: status\ndata: ").unwrap().trim_end();
        serde_json::from_str::<Value>(json).unwrap()["state"].clone()
    };
    assert_eq!(state(&event(&mut stream).await.unwrap()), "inactive");
    // Nothing is new, and it says that it is there.
    assert!(event(&mut stream).await.unwrap().starts_with(':'));
    let action = json!({ "action": "start" });
    owner.post(&format!("/api/v2/projects/{project}/jobs/{job}/actions"), action).await.is(200);
    assert_eq!(state(&event(&mut stream).await.unwrap()), "active");
    let began = world.control.now().0;
    while event(&mut stream).await.is_some() {}
    assert!((500_000..=600_000).contains(&(world.control.now().0 - began)));
}

#[tokio::test]
async fn a_stream_ends_when_the_right_to_look_does() {
    let world = World::new().await;
    let owner = world.owner().await;
    let project = world.project("p").await;
    let job = owner.job(&project, "c").await;
    let reader = world.client(Role::ProjectReadOnly, Some(&project)).await;
    let path = format!("/api/v2/projects/{project}/jobs/{job}/stream");
    let challenge: Answer = world.send(request(&Method::GET, &path, "")).await;
    let mut asked = request(&Method::GET, &path, "");
    let proof = reader.proof(&challenge, &Method::GET, &path).parse().unwrap();
    asked.headers_mut().insert(header::AUTHORIZATION, proof);
    let response = world.app.clone().oneshot(asked).await.unwrap();
    let mut stream = Body::into_data_stream(response.into_body());
    assert!(event(&mut stream).await.is_some());
    owner.delete(&format!("/api/v2/keys/{}", reader.public)).await.is(200);
    let began = world.control.now().0;
    assert_eq!(event(&mut stream).await, None);
    assert!(world.control.now().0 - began <= 1000);
}

#[tokio::test]
async fn files_of_the_server_are_named_only_by_who_looks_after_it() {
    let world = World::new().await;
    let (owner, project) = (world.owner().await, world.project("p").await);
    let admin = world.client(Role::ProjectBackupAdmin, Some(&project)).await;
    let restorer = world.client(Role::ProjectRestore, Some(&project)).await;
    let file = "mongodb://u:topsecret@h/?tls=true&tlsCertificateKeyFile=/etc/other.pem";
    let jobs = format!("/api/v2/projects/{project}/jobs");
    let new = json!({ "cluster": "c", "source": { "uri": file } });
    let refused = admin.post(&jobs, new.clone()).await;
    refused.fails(403, "USER_UNAUTHORIZED");
    assert!(refused.text.contains("Stores") && !refused.text.contains("topsecret"));
    let job = owner.post(&jobs, new).await.is(201);
    let job = format!("{jobs}/{}", job["id"].as_str().unwrap());

    // What is there already is not asked about.
    let same = json!({ "source": { "uri": file, "member": "h:27017" } });
    admin.patch(&job, same).await.is(200);
    let other = json!({ "source": { "uri": file.replace("other", "third") } });
    admin.patch(&job, other).await.fails(403, "USER_UNAUTHORIZED");

    let to = json!({ "when": "latest", "delivery": { "method": "automated", "to": file } });
    for path in ["restores", "restore-plans"] {
        let asked = restorer.post(&format!("{job}/{path}"), to.clone()).await;
        asked.fails(403, "USER_UNAUTHORIZED");
    }
    let drill = json!({ "drill": { "to": file, "every_secs": 3600 } });
    owner.patch(&job, drill).await.is(200);
}
