//! Who asks.

use std::net::SocketAddr;

use axum::http::{Method, header};
use bygone_api::digest;
use bygone_base::ErrorKind;
use bygone_catalog::record::Role;
use bygone_control::By;
use serde_json::{Value, json};

use crate::world::{World, request};

const ROOT: &str = "/api/public/v1.0";
const GET: Method = Method::GET;

#[tokio::test]
async fn a_key_proves_itself_by_md5_and_by_sha_256() {
    let world = World::new().await;
    let owner = world.owner().await;
    let challenge = world.send(request(&GET, ROOT, "")).await;
    challenge.fails(401, "USER_UNAUTHORIZED");
    let challenges = challenge.challenges();
    assert_eq!(challenges.len(), 2);
    // The first is what Ops Manager says: some clients look no further.
    assert!(challenges[0].contains("algorithm=MD5") && challenges[0].contains("stale=false"));
    let who = (owner.public.as_str(), owner.private.as_str());
    for (n, challenge) in challenges.iter().enumerate() {
        let proof = digest::answer(&[challenge], "GET", ROOT, who, &format!("cnonce{n}")).unwrap();
        let mut asked = request(&GET, ROOT, "");
        asked.headers_mut().insert(header::AUTHORIZATION, proof.parse().unwrap());
        // Both have one nonce; a count is good once, whichever way it is proven.
        let answer = world.send(asked).await;
        assert_eq!(answer.status, if n == 0 { 200 } else { 401 }, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_proof_is_good_once_and_for_what_it_was_made_for() {
    let world = World::new().await;
    let owner = world.owner().await;
    let ask = async |method: &Method, path: &str, proof: &str| {
        let mut asked = request(method, path, "");
        asked.headers_mut().insert(header::AUTHORIZATION, proof.parse().unwrap());
        world.send(asked).await
    };
    let challenge = world.send(request(&GET, ROOT, "")).await;
    let proof = owner.proof(&challenge, &GET, "/api/v2/me");
    let replaced = |from: &str, to: &str| proof.replace(from, to);
    assert_eq!(ask(&GET, "/api/v2/me?x=1", &proof).await.status, 401);
    assert_eq!(ask(&GET, ROOT, &proof).await.status, 401);
    assert_eq!(ask(&Method::DELETE, "/api/v2/keys/x", &proof).await.status, 401);
    assert_eq!(ask(&GET, "/api/v2/me", &replaced("00000001", "00000002")).await.status, 401);
    assert_eq!(ask(&GET, "/api/v2/me", &replaced("MMS", "Other")).await.status, 401);
    assert_eq!(ask(&GET, "/api/v2/me", &proof).await.status, 200);
    let again = ask(&GET, "/api/v2/me", &proof).await;
    assert!(again.status == 401 && again.challenges()[0].contains("stale=true"));
}

#[tokio::test]
async fn a_nonce_can_be_used_again_with_the_next_count_and_ends() {
    let world = World::new().await;
    let owner = world.owner().await;
    let challenge = world.send(request(&GET, ROOT, "")).await;
    let first = owner.proof(&challenge, &GET, ROOT);
    let mut credentials = digest::Credentials::parse(&first).unwrap();
    let mut ask = async |count: u32| {
        credentials.count = format!("{count:08x}");
        credentials.response = credentials.expected(&owner.private, "GET");
        let mut asked = request(&GET, ROOT, "");
        let proof = credentials.to_header().parse().unwrap();
        asked.headers_mut().insert(header::AUTHORIZATION, proof);
        world.send(asked).await
    };
    for (count, status) in [(1, 200), (2, 200), (2, 401), (4, 200), (3, 200), (3, 401)] {
        assert_eq!(ask(count).await.status, status, "{count}");
    }
    world.clock.pass(300_000);
    let stale = ask(5).await;
    assert!(stale.status == 401 && stale.challenges()[0].contains("stale=true"));
}

#[tokio::test]
async fn whoever_fails_often_must_wait_and_others_need_not() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (bad, good): (SocketAddr, SocketAddr) =
        ("10.0.0.1:5000".parse().unwrap(), "10.0.0.2:5000".parse().unwrap());
    let mut wrong = world.owner().await;
    wrong.private.push('x');
    for _ in 0..20 {
        let answer = wrong.say(&GET, ROOT, "", Some(bad)).await;
        answer.fails(401, "USER_UNAUTHORIZED");
    }
    let blocked = wrong.say(&GET, ROOT, "", Some(bad)).await;
    blocked.fails(429, "RATE_LIMITED");
    assert!(blocked.headers.contains_key(header::RETRY_AFTER));
    // Who has a key is let in, also from there; and whoever is there may log in.
    owner.say(&GET, ROOT, "", Some(bad)).await.is(200);
    let login = world.access.login("owner", "whatever it is", Some("10.0.0.1")).await;
    assert_eq!(login.unwrap_err().kind(), ErrorKind::Denied);
    owner.say(&GET, ROOT, "", Some(good)).await.is(200);
    wrong.say(&GET, ROOT, "", Some(good)).await.fails(401, "USER_UNAUTHORIZED");
    world.clock.pass(15 * 60_000);
    wrong.say(&GET, ROOT, "", Some(bad)).await.fails(401, "USER_UNAUTHORIZED");
}

#[tokio::test]
async fn a_key_that_was_removed_opens_nothing() {
    let world = World::new().await;
    let owner = world.owner().await;
    let other = world.owner().await;
    other.get("/api/v2/me").await.is(200);
    owner.delete(&format!("/api/v2/keys/{}", other.public)).await.is(200);
    other.get("/api/v2/me").await.fails(401, "USER_UNAUTHORIZED");
}

#[tokio::test]
async fn a_session_opens_v2_and_changes_need_its_token() {
    let world = World::new().await;
    let link = world.access.owner_link().await.unwrap().unwrap();
    let user = world.access.accept(&link, "long enough").await.unwrap();
    let login = world.access.begin(user, None).await.unwrap();
    let ask = async |method: Method, path: &str, body: Value, token: Option<&str>| {
        let mut asked = request(&method, path, &body.to_string());
        let cookie = format!("a=b; {}={}", bygone_access::COOKIE, login.secret);
        asked.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
        if let Some(token) = token {
            asked.headers_mut().insert(bygone_access::CSRF_HEADER, token.parse().unwrap());
        }
        world.send(asked).await
    };
    let me = ask(GET, "/api/v2/me", Value::Null, None).await.is(200);
    assert_eq!(me["name"], "owner");
    let new = json!({ "name": "p" });
    let post = async |token| ask(Method::POST, "/api/v2/projects", new.clone(), token).await;
    post(None).await.fails(403, "CSRF_TOKEN_REQUIRED");
    post(Some("wrong")).await.fails(403, "CSRF_TOKEN_REQUIRED");
    post(Some(&login.csrf)).await.is(201);
    ask(GET, ROOT, Value::Null, None).await.fails(401, "USER_UNAUTHORIZED");
    world.access.logout(&login.secret, &By::system()).await.unwrap();
    let ended = ask(GET, "/api/v2/me", Value::Null, None).await;
    // A challenge would make the browser ask for a password that nobody has.
    assert!(ended.status == 401 && ended.challenges().is_empty());
}

#[tokio::test]
async fn roles_allow_what_they_say() {
    let world = World::new().await;
    let project = world.project("p").await;
    let owner = world.owner().await;
    let job = owner.job(&project, "c").await;
    let reader = world.client(Role::ProjectReadOnly, Some(&project)).await;
    let admin = world.client(Role::ProjectBackupAdmin, Some(&project)).await;
    let global = world.client(Role::GlobalBackupAdmin, None).await;
    let restorer = world.client(Role::ProjectRestore, Some(&project)).await;
    let at = format!("/api/v2/projects/{project}/jobs/{job}");

    let start = json!({ "action": "start" });
    reader.get(&at).await.is(200);
    reader.post(&format!("{at}/actions"), start.clone()).await.fails(403, "USER_UNAUTHORIZED");
    restorer.post(&format!("{at}/actions"), start.clone()).await.fails(403, "USER_UNAUTHORIZED");
    admin.post(&format!("{at}/actions"), start).await.is(200);

    let restore =
        json!({ "when": "latest", "delivery": { "method": "http", "form": { "kind": "tar" } } });
    for no in [&reader, &admin, &global] {
        let answer = no.post(&format!("{at}/restores"), restore.clone()).await;
        answer.fails(403, "USER_UNAUTHORIZED");
    }
    let nothing = restorer.post(&format!("{at}/restores"), restore).await;
    nothing.fails(409, "MOMENT_NOT_COVERED");

    // A drill reads all data into a server of one's choice: it is a restore.
    let drill = json!({ "drill": { "to": "mongodb://h", "every_secs": 3600 } });
    admin.patch(&at, drill.clone()).await.fails(403, "USER_UNAUTHORIZED");
    owner.patch(&at, drill).await.is(200);
    // A command is run on the server.
    let command = json!({ "command": "/bin/true" });
    global.patch("/api/v2/settings", command.clone()).await.fails(403, "USER_UNAUTHORIZED");
    owner.patch("/api/v2/settings", command).await.is(200);
    for path in ["/api/v2/users", "/api/v2/keys"] {
        global.get(path).await.fails(403, "USER_UNAUTHORIZED");
        owner.get(path).await.is(200);
    }
    assert!(world.control.settings().await.unwrap().command.is_some());
}
