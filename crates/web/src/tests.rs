//! The routes, driven in process.

use std::{collections::HashSet, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use bygone_access::Access;
use bygone_base::{SystemClock, SystemRng};
use bygone_catalog::{
    Catalog, Id, Seal, Sqlite,
    record::{Grant, JobState, Role},
};
use bygone_control::{By, Control, NewJob, NewSource, NewStore};
use tower::ServiceExt as _;
use url::form_urlencoded;

use crate::sample::EVIL;

const PASSWORD: &str = "correct horse";

pub(crate) struct Setup {
    pub(crate) control: Arc<Control>,
    pub(crate) access: Arc<Access>,
    router: Router,
    /// Where files to be fetched are.
    pub(crate) files: PathBuf,
    _dir: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) to: String,
    cookies: Vec<String>,
    policy: String,
    pub(crate) text: String,
}

/// Somebody with his cookies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Browser {
    cookies: Vec<(String, String)>,
}

impl Setup {
    pub(crate) async fn new() -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::new(Arc::new(Sqlite::in_memory().unwrap()));
        let seal = Seal::new(&[1; 32]).unwrap();
        let clock = Arc::new(SystemClock::new());
        let files = dir.path().join("files");
        let control = Control::new(catalog, seal, clock, Arc::new(SystemRng));
        let control = Arc::new(control.with_downloads(files.clone()));
        let access = Arc::new(Access::new(control.clone()));
        let store = NewStore::new("main", format!("file://{}/store", dir.path().display()));
        control.add_store(store, &By::system()).await.unwrap();
        let router = crate::router(control.clone(), access.clone());
        Setup { control, access, router, files, _dir: dir }
    }

    pub(crate) async fn project(&self, name: &str) -> Id {
        self.control.create_project(name, &By::system()).await.unwrap().id
    }

    pub(crate) async fn job(&self, project: &Id, cluster: &str) -> Id {
        let source = NewSource {
            uri: "mongodb://u:secret@h1,h2/?replicaSet=rs0".into(),
            ..NewSource::default()
        };
        let new = NewJob { cluster: cluster.into(), source, ..NewJob::default() };
        self.control.create_job(project, new, &By::system()).await.unwrap().id
    }

    pub(crate) async fn state(&self, project: &Id, job: &Id) -> JobState {
        self.control.job(project, job).await.unwrap().job.state
    }

    pub(crate) async fn send(&self, browser: &mut Browser, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let word = |name: header::HeaderName| {
            let value = response.headers().get(name);
            value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let (to, policy) = (word(header::LOCATION), word(header::CONTENT_SECURITY_POLICY));
        let set = response.headers().get_all(header::SET_COOKIE).into_iter();
        let cookies: Vec<String> = set.map(|value| value.to_str().unwrap().to_owned()).collect();
        for cookie in &cookies {
            let (name, rest) = cookie.split_once('=').unwrap();
            let (value, attributes) = rest.split_once(';').unwrap();
            browser.cookies.retain(|(kept, _)| kept != name);
            if !attributes.contains("Max-Age=0") {
                browser.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 8 << 20).await.unwrap();
        Reply { status, to, cookies, policy, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub(crate) async fn get(&self, browser: &mut Browser, path: &str) -> Reply {
        let request = browser.request(Method::GET, path).body(Body::empty()).unwrap();
        self.send(browser, request).await
    }

    pub(crate) async fn post(
        &self,
        browser: &mut Browser,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = browser.request(Method::POST, path).body(Body::from(body)).unwrap();
        self.send(browser, request).await
    }

    /// Sends a form with the token that the page `from` gave.
    pub(crate) async fn submit(
        &self,
        browser: &mut Browser,
        from: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Reply {
        let page = self.get(browser, from).await;
        let token = token(&page.text).to_owned();
        let all: Vec<_> =
            [("csrf", token.as_str())].into_iter().chain(fields.iter().copied()).collect();
        self.post(browser, path, &all).await
    }

    /// Somebody who is logged in by a link that invited him.
    pub(crate) async fn user(&self, name: &str, role: Role, project: Option<&Id>) -> Browser {
        let grant = Grant { role, project: project.cloned() };
        let (_, link) = self.access.invite(name, vec![grant], &By::system()).await.unwrap();
        let mut browser = Browser::default();
        let path = format!("/welcome/{link}");
        let fields = [("password", PASSWORD), ("again", PASSWORD)];
        let reply = self.post(&mut browser, &path, &fields).await;
        assert_eq!((reply.status, reply.to.as_str()), (StatusCode::SEE_OTHER, "/"), "{reply:?}");
        browser
    }
}

impl Browser {
    pub(crate) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let address: SocketAddr = "192.0.2.1:5".parse().unwrap();
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "backup.example.com")
            .header(header::COOKIE, cookies.join("; "))
            .extension(address)
    }
}

pub(crate) fn token(page: &str) -> &str {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("a form with its token");
    rest.split('"').next().unwrap()
}

#[tokio::test]
async fn the_first_link_leads_to_a_password_and_the_overview() {
    let setup = Setup::new().await;
    setup.project("One").await;
    let link = setup.access.owner_link().await.unwrap().unwrap();
    let path = format!("/welcome/{link}");
    let mut browser = Browser::default();
    let page = setup.get(&mut browser, &path).await;
    assert!(page.text.contains("Welcome, owner"), "{}", page.text);
    let short = [("password", "short"), ("again", "short")];
    let refused = setup.post(&mut browser, &path, &short).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text.contains("less than 10 characters"), "{}", refused.text);
    let differ = setup.post(&mut browser, &path, &[("password", PASSWORD), ("again", "x")]).await;
    assert!(differ.text.contains("the two passwords differ"), "{}", differ.text);
    let good = [("password", PASSWORD), ("again", PASSWORD)];
    let reply = setup.post(&mut browser, &path, &good).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{reply:?}");
    assert!(reply.cookies[0].contains("HttpOnly; SameSite=Lax; Secure"), "{reply:?}");
    let again = setup.get(&mut Browser::default(), &path).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "{again:?}");
    // Who sees one project only is led there.
    let home = setup.get(&mut browser, "/").await;
    assert!(home.to.starts_with("/p/"), "{home:?}");
    let page = setup.get(&mut browser, &home.to).await;
    assert!(page.text.contains("There is no backup job yet"), "{}", page.text);
}

#[tokio::test]
async fn a_login_ends_where_one_wanted_to_go_and_a_logout_ends_it() {
    let setup = Setup::new().await;
    setup.user("ann", Role::GlobalOwner, None).await;
    let mut browser = Browser::default();
    let asked = setup.get(&mut browser, "/stores?x=y").await;
    assert_eq!(
        (asked.status, asked.to.as_str()),
        (StatusCode::SEE_OTHER, "/login?next=%2Fstores%3Fx%3Dy")
    );
    let login = setup.get(&mut browser, &asked.to).await;
    assert!(login.text.contains("name=\"next\" value=\"/stores?x=y\""), "{}", login.text);
    let wrong = [("name", "ann"), ("password", "wrong horse"), ("next", "/stores?x=y")];
    let refused = setup.post(&mut browser, "/login", &wrong).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("name or password is wrong") && browser.cookies.is_empty());
    let right = [("name", "Ann "), ("password", PASSWORD), ("next", "/stores?x=y")];
    let entered = setup.post(&mut browser, "/login", &right).await;
    assert_eq!(entered.to, "/stores?x=y", "{entered:?}");
    let stolen = browser.clone();
    let left = setup.submit(&mut browser, "/stores", "/logout", &[]).await;
    assert_eq!(left.to, "/login");
    assert!(browser.cookies.is_empty());
    let after = setup.get(&mut stolen.clone(), "/stores").await;
    assert!(after.to.starts_with("/login"), "{after:?}");
}

#[tokio::test]
async fn nothing_changes_without_the_token() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let job = setup.job(&project, "prod").await;
    let mut ann = setup.user("ann", Role::GlobalOwner, None).await;
    let mut bob = setup.user("bob", Role::GlobalOwner, None).await;
    let start = format!("/p/{project}/j/{job}/act/start");
    let bobs = setup.get(&mut bob, &format!("/p/{project}")).await;
    for fields in [&[][..], &[("csrf", "x")], &[("csrf", token(&bobs.text))]] {
        let refused = setup.post(&mut ann, &start, fields).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    }
    assert_eq!(setup.state(&project, &job).await, JobState::Inactive);
    let page = format!("/p/{project}");
    let done = setup.submit(&mut ann, &page, &start, &[]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{done:?}");
    assert_eq!(setup.state(&project, &job).await, JobState::Active);
    // Forms have an end.
    let huge = "x".repeat(300 << 10);
    let refused = setup.submit(&mut ann, &page, &start, &[("a", &huge)]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

/// All pages of a project with a job.
fn pages(project: &Id, job: &Id) -> Vec<String> {
    let project = format!("/p/{project}");
    let job = format!("{project}/j/{job}");
    let of_project = ["", "/live", "/new", "/restores", "/alerts", "/events", "/keys"];
    let of_job = [
        "",
        "/live",
        "/history",
        "/schedule",
        "/source",
        "/drill",
        "/restore",
        "/confirm/resync",
        "/confirm/remove",
    ];
    let pages = of_project.iter().map(|rest| format!("{project}{rest}"));
    pages.chain(of_job.iter().map(|rest| format!("{job}{rest}"))).collect()
}

#[tokio::test]
async fn one_sees_ones_own_projects_only() {
    let setup = Setup::new().await;
    let (mine, other) = (setup.project("Mine").await, setup.project("Other").await);
    let (my_job, other_job) = (setup.job(&mine, "mine").await, setup.job(&other, "other").await);
    let mut ann = setup.user("ann", Role::ProjectBackupAdmin, Some(&mine)).await;
    let mut owner = setup.user("owner", Role::GlobalOwner, None).await;
    for page in pages(&other, &other_job) {
        assert_eq!(setup.get(&mut owner, &page).await.status, StatusCode::OK, "{page}");
    }
    assert_eq!(setup.get(&mut ann, &format!("/p/{mine}/j/{my_job}")).await.status, StatusCode::OK);
    let projects = setup.get(&mut ann, "/projects").await.text;
    assert!(projects.contains("Mine") && !projects.contains("Other"), "{projects}");
}

#[tokio::test]
async fn pages_hold_no_script_no_style_and_no_secret() {
    let setup = Setup::new().await;
    let project = setup.project(EVIL).await;
    let job = setup.job(&project, EVIL).await;
    let mut owner = setup.user("owner", Role::GlobalOwner, None).await;
    let more = [
        "/projects",
        "/stores",
        "/stores/new",
        "/stores/s/main",
        "/users",
        "/keys",
        "/settings",
        "/events",
        "/alerts",
        "/me",
        "/login",
        "/nowhere",
    ];
    for page in pages(&project, &job).into_iter().chain(more.map(str::to_owned)) {
        let reply = setup.get(&mut owner, &page).await;
        assert!(reply.policy.contains("default-src 'none'"), "{page}");
        crate::sample::harmless(&reply.text);
        for bad in [
            " style=",
            "<style",
            " onclick=",
            " onload=",
            "javascript:",
            "u:secret",
            "://h1,h2/?replicaSet=rs0&u",
        ] {
            assert!(!reply.text.contains(bad), "{page} holds {bad}");
        }
        let scripts = reply.text.matches("<script").count();
        assert_eq!(scripts, reply.text.matches("<script defer src=\"/assets/").count(), "{page}");
    }
}

#[tokio::test]
async fn every_link_of_every_page_leads_somewhere() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let job = setup.job(&project, "prod").await;
    let mut owner = setup.user("owner", Role::GlobalOwner, None).await;
    let mut waiting = vec!["/projects".to_owned(), format!("/p/{project}/j/{job}")];
    let mut seen: HashSet<String> = waiting.iter().cloned().collect();
    while let Some(page) = waiting.pop() {
        let reply = setup.get(&mut owner, &page).await;
        let fine = matches!(reply.status, StatusCode::OK | StatusCode::SEE_OTHER);
        assert!(fine, "{page}: {}", reply.status);
        for quoted in reply.text.split("href=\"").skip(1).chain(reply.text.split("src=\"").skip(1))
        {
            let link = quoted.split('"').next().unwrap().to_owned();
            if link.starts_with('/') && seen.insert(link.clone()) {
                waiting.push(link);
            }
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
}

#[tokio::test]
async fn a_job_is_made_changed_stopped_and_terminated_by_typing_its_name() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let mut ann = setup.user("ann", Role::ProjectBackupAdmin, Some(&project)).await;
    let new = format!("/p/{project}/new");
    let schedule = [
        ("interval", "1"),
        ("interval_unit", "h"),
        ("day_at", "00:00"),
        ("zone", "UTC"),
        ("base", "2"),
        ("base_unit", "d"),
        ("days", "7"),
        ("weeks", "4"),
        ("months", "12"),
        ("years", "0"),
        ("window", "1"),
        ("window_unit", "d"),
    ];
    let with = |fields: &[(&'static str, &'static str)]| [&schedule[..], fields].concat();
    let bad = with(&[("cluster", "prod"), ("uri", "nonsense:secret")]);
    let refused = setup.submit(&mut ann, &new, &new, &bad).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(
        refused.text.contains("value=\"prod\"") && !refused.text.contains("nonsense:secret"),
        "{}",
        refused.text
    );
    let preview = with(&[("cluster", "prod"), ("then", "preview")]);
    let shown = setup.submit(&mut ann, &new, &new, &preview).await;
    assert!(shown.text.contains("48 of the last 2 d"), "{}", shown.text);
    let good = with(&[("cluster", "prod"), ("uri", "mongodb://u:secret@h"), ("then", "start")]);
    let made = setup.submit(&mut ann, &new, &new, &good).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
    let page = setup.get(&mut ann, &made.to).await;
    assert!(page.text.contains("prod will be backed up."), "{}", page.text);
    // It is said once.
    let page = setup.get(&mut ann, &made.to).await;
    assert!(!page.text.contains("prod will be backed up."));
    assert!(
        page.text.contains("every 1 h from 00:00 UTC, kept for 2 d, 7 daily, 4 weekly, 12 monthly"),
        "{}",
        page.text
    );
    let job: Id = made.to.rsplit('/').next().unwrap().parse().unwrap();
    let at = |rest: &str| format!("/p/{project}/j/{job}/{rest}");

    // What is active cannot be terminated.
    let refused = setup.get(&mut ann, &at("confirm/terminate")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text.contains("stop it first"), "{}", refused.text);
    setup.submit(&mut ann, &at("confirm/stop"), &at("act/stop"), &[]).await;
    assert_eq!(setup.state(&project, &job).await, JobState::Stopped);
    let untyped = setup
        .submit(&mut ann, &at("confirm/terminate"), &at("act/terminate"), &[("typed", "Prod")])
        .await;
    assert_eq!(untyped.status, StatusCode::BAD_REQUEST);
    assert_eq!(setup.state(&project, &job).await, JobState::Stopped);
    setup
        .submit(&mut ann, &at("confirm/terminate"), &at("act/terminate"), &[("typed", "prod")])
        .await;
    assert_eq!(setup.state(&project, &job).await, JobState::Terminating);
}

#[tokio::test]
async fn a_source_is_changed_without_its_string() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let job = setup.job(&project, "prod").await;
    let mut ann = setup.user("ann", Role::ProjectBackupAdmin, Some(&project)).await;
    let page = format!("/p/{project}/j/{job}/source");
    let saved = setup.submit(&mut ann, &page, &page, &[("exclude", "logs.*"), ("uri", "")]).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    let job = setup.control.job(&project, &job).await.unwrap().job;
    assert_eq!(job.source.exclude, ["logs.*"]);
    let given = setup.control.source_as_given(&job).unwrap();
    assert_eq!(given.uri, "mongodb://u:secret@h1,h2/?replicaSet=rs0");
}

#[tokio::test]
async fn keys_are_shown_once_and_users_are_invited() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let mut owner = setup.user("owner", Role::GlobalOwner, None).await;
    let keys = format!("/p/{project}/keys");
    let agent = format!("{keys}/agent");
    let made = setup.submit(&mut owner, &keys, &agent, &[("description", "host a")]).await;
    let page = setup.get(&mut owner, &made.to).await.text;
    let secret =
        page.split("<code class=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert_eq!(secret.len(), 48, "{page}");
    assert!(!setup.get(&mut owner, &keys).await.text.contains(&secret));
    let within = project.to_string();
    let made = setup
        .submit(
            &mut owner,
            &keys,
            &format!("{keys}/api"),
            &[("api_description", "ci"), ("grant", "4")],
        )
        .await;
    let page = setup.get(&mut owner, &made.to).await.text;
    assert!(page.contains("Private key") && page.contains("Project Read Only of One"), "{page}");
    let fields = [("name", "eve"), ("role", "4"), ("project", within.as_str())];
    let made = setup.submit(&mut owner, "/users", "/users", &fields).await;
    let page = setup.get(&mut owner, &made.to).await.text;
    let link = page
        .split("https://backup.example.com")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap()
        .to_owned();
    let welcome = setup.get(&mut Browser::default(), &link).await.text;
    assert!(welcome.contains("Welcome, eve"), "{welcome}");
}

/// What somebody chose in the restore wizard: a tar of some collections, good once.
pub(crate) const A_TAR: [(&str, &str); 8] = [
    ("pick", "instant"),
    ("instant", "2026-11-20 10:30:00"),
    ("where", "download"),
    ("shape", "tar"),
    ("hours", "2"),
    ("limit", "some"),
    ("downloads", "1"),
    ("include", "shop.*"),
];

#[tokio::test]
async fn a_restore_of_what_is_not_stored_says_so_and_keeps_what_was_typed() {
    let setup = Setup::new().await;
    let project = setup.project("One").await;
    let job = setup.job(&project, "prod").await;
    let mut ann = setup.user("ann", Role::ProjectRestore, Some(&project)).await;
    let page = format!("/p/{project}/j/{job}/restore");
    let fields = [&A_TAR[..], &[("step", "check")]].concat();
    let reply = setup.submit(&mut ann, &page, &page, &fields).await;
    assert_eq!(reply.status, StatusCode::CONFLICT, "{}", reply.text);
    for kept in ["nothing is stored yet", "2026-11-20 10:30:00", "shop.*"] {
        assert!(reply.text.contains(kept), "{kept}: {}", reply.text);
    }
    // Backup admins do not read data.
    let mut bob = setup.user("bob", Role::ProjectBackupAdmin, Some(&project)).await;
    assert_eq!(setup.get(&mut bob, &page).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn assets_are_named_by_what_they_hold() {
    let setup = Setup::new().await;
    let mut nobody = Browser::default();
    for path in [crate::asset::style(), crate::asset::script(), crate::asset::icon()] {
        let reply = setup.get(&mut nobody, &path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        assert!(reply.text.len() > 100, "{path}");
    }
    let gone = setup.get(&mut nobody, "/assets/style-000000000000.css").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}
