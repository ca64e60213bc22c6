//! Two projects never see each other, on no route that there is: the routes are read from the sources of the pages, so
//! that none is left out.

use std::path::Path;

use axum::http::StatusCode;
use bygone_catalog::{
    Id,
    record::{JobState, Role},
};

use crate::{
    sample,
    tests::{Browser, Setup, token},
};

/// A route: its path, and whether it is got and posted to.
#[derive(Debug)]
struct Route {
    path: String,
    get: bool,
    post: bool,
}

/// All routes of the pages.
fn routes() -> Vec<Route> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page");
    let mut routes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for rest in text.split(".route(").skip(1) {
            let (_, rest) = rest.split_once('"').unwrap();
            let (path, rest) = rest.split_once('"').unwrap();
            // Up to the parenthesis that closes the route.
            let mut depth = 1;
            let methods: String = rest
                .chars()
                .take_while(|c| {
                    depth += i32::from(*c == '(') - i32::from(*c == ')');
                    depth > 0
                })
                .collect();
            let has = |name: &str| methods.contains(&format!("{name}("));
            routes.push(Route { path: path.to_owned(), get: has("get"), post: has("post") });
        }
    }
    assert!(routes.len() > 45, "{routes:#?}");
    assert!(routes.iter().all(|route| route.get || route.post), "{routes:#?}");
    assert!(routes.iter().filter(|route| route.post).count() > 30, "{routes:#?}");
    routes
}

/// The path with the project, and with what belongs to it.
fn filled(path: &str, project: &Id, own: &[(&str, String)]) -> String {
    let path = path.replace("{project}", project.as_str());
    own.iter().fold(path, |path, (name, value)| path.replace(&format!("{{{name}}}"), value))
}

/// What the other project has, by the names that routes give it.
async fn belongings(setup: &Setup, project: &Id) -> Vec<(&'static str, String)> {
    let by = bygone_control::By::system();
    let job = setup.job(project, "other").await;
    let (key, _) = setup.access.create_agent_key(project, "theirs", &by).await.unwrap();
    let mut alert = sample::alert("theirs");
    (alert.project, alert.job) = (Some(project.clone()), Some(job.clone()));
    setup.control.catalog().insert(&alert).await.unwrap();
    let mut restore = sample::restore("theirs");
    (restore.project, restore.job) = (project.clone(), job.clone());
    setup.control.catalog().insert(&restore).await.unwrap();
    vec![
        ("job", job.to_string()),
        ("key", key.id.to_string()),
        ("alert", alert.id.to_string()),
        ("restore", restore.id.to_string()),
        ("snapshot", sample::snapshot(1_795_170_600).id.to_string()),
        ("what", "resync".to_owned()),
        ("action", "start".to_owned()),
    ]
}

/// Values with which the forms would be taken.
const FIELDS: [(&str, &str); 12] = [
    ("uri", "mongodb://h"),
    ("description", "x"),
    ("api_description", "x"),
    ("grant", "4"),
    ("hours", "1"),
    ("days", "1"),
    ("day_at", "00:00"),
    ("name", "x"),
    ("typed", "other"),
    ("interval", "1"),
    ("base", "1"),
    ("window", "1"),
];

#[tokio::test]
async fn another_projects_routes_are_not_found_whatever_is_sent() {
    let setup = Setup::new().await;
    let (mine, other) = (setup.project("Mine").await, setup.project("Other").await);
    let theirs = belongings(&setup, &other).await;
    let their_job: Id = theirs[0].1.parse().unwrap();
    let mut ann = setup.user("ann", Role::ProjectBackupAdmin, Some(&mine)).await;
    let page = setup.get(&mut ann, &format!("/p/{mine}")).await;
    let csrf = token(&page.text).to_owned();
    let fields: Vec<(&str, &str)> = FIELDS.into_iter().chain([("csrf", csrf.as_str())]).collect();
    let mut nobody = Browser::default();
    for route in routes().iter().filter(|route| route.path.starts_with("/p/{project}")) {
        let over_there = filled(&route.path, &other, &theirs);
        let through_mine = filled(&route.path, &mine, &theirs);
        let reaches_theirs = through_mine != filled(&route.path, &mine, &[]);
        if route.get {
            let found = setup.get(&mut ann, &over_there).await.status;
            assert_eq!(found, StatusCode::NOT_FOUND, "GET {over_there}");
            let asked = setup.get(&mut nobody, &over_there).await;
            assert!(asked.to.starts_with("/login"), "GET {over_there}: {asked:?}");
            if reaches_theirs {
                let reply = setup.get(&mut ann, &through_mine).await;
                assert!(refused(reply.status), "GET {through_mine}: {reply:?}");
            }
        }
        if route.post {
            let found = setup.post(&mut ann, &over_there, &fields).await.status;
            assert_eq!(found, StatusCode::NOT_FOUND, "POST {over_there}");
            let asked = setup.post(&mut nobody, &over_there, &fields).await;
            assert!(asked.to.starts_with("/login"), "POST {over_there}: {asked:?}");
            let forged = setup.post(&mut ann, &over_there, &FIELDS).await.status;
            assert_eq!(forged, StatusCode::FORBIDDEN, "POST {over_there} without token");
            if reaches_theirs {
                let reply = setup.post(&mut ann, &through_mine, &fields).await;
                assert!(refused(reply.status), "POST {through_mine}: {reply:?}");
            }
        }
    }
    assert_eq!(setup.state(&other, &their_job).await, JobState::Inactive);
}

/// Not found; or not hers to do at all, which is said before anything is looked for.
fn refused(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST)
}

#[tokio::test]
async fn routes_of_the_server_are_for_those_who_may() {
    let setup = Setup::new().await;
    let mine = setup.project("Mine").await;
    let mut ann = setup.user("ann", Role::ProjectBackupAdmin, Some(&mine)).await;
    let page = setup.get(&mut ann, &format!("/p/{mine}")).await;
    let csrf = token(&page.text).to_owned();
    let user = setup.access.users().await.unwrap()[0].id.to_string();
    let own = vec![
        ("store", "main".to_owned()),
        ("user", user),
        ("key", "abcdefgh".to_owned()),
        ("way", "mail".to_owned()),
        ("alert", sample::id(3).to_string()),
    ];
    // For everybody: what says who one is, the list of one's own projects, and what is not about anything stored.
    let open = ["/", "/login", "/logout", "/me", "/projects", "/preview", "/welcome/{secret}"];
    for route in routes() {
        let Route { path, get, post } = route;
        if path.starts_with("/p/{project}") || path.starts_with("/download/") {
            continue;
        }
        let at = filled(&path, &mine, &own);
        if get && !open.contains(&path.as_str()) {
            let status = setup.get(&mut ann, &at).await.status;
            assert_eq!(status, StatusCode::FORBIDDEN, "GET {at}");
        }
        if post && (path == "/projects" || !open.contains(&path.as_str())) {
            let status = setup.post(&mut ann, &at, &[("csrf", &csrf), ("name", "x")]).await.status;
            assert_eq!(status, StatusCode::FORBIDDEN, "POST {at}");
        }
    }
}
