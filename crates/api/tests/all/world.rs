//! A control plane to talk to.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use bygone_access::Access;
use bygone_api::digest;
use bygone_base::{Clock, SystemRng, UnixMillis};
use bygone_catalog::{
    Catalog, Id, Seal, Sqlite,
    record::{Actor, Delivery, Form, Grant, Names, Progress, RestoreJob, RestoreStatus, Role},
};
use bygone_control::{By, Control, NewStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

/// A clock that goes when it is told to, or slept by.
#[derive(Debug)]
pub(crate) struct Hand(AtomicI64);

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now().0.unsigned_abs())
    }

    async fn sleep(&self, duration: Duration) {
        // What waits long is a time limit: nothing here takes so long.
        if duration > Duration::from_secs(1) {
            return std::future::pending().await;
        }
        self.pass(i64::try_from(duration.as_millis()).unwrap());
        tokio::task::yield_now().await;
    }
}

impl Hand {
    pub(crate) fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

/// 2026-11-20T10:30:00Z
pub(crate) const NOW: i64 = 1_795_170_600_000;

pub(crate) struct World {
    pub(crate) clock: Arc<Hand>,
    pub(crate) control: Arc<Control>,
    pub(crate) access: Arc<Access>,
    pub(crate) app: Router,
    _dir: TempDir,
}

/// Somebody with an API key.
pub(crate) struct Client {
    app: Router,
    pub(crate) public: String,
    pub(crate) private: String,
    made_up: AtomicU64,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The body, of an answer with this status.
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// That it failed so.
    #[track_caller]
    pub(crate) fn fails(&self, status: u16, code: &str) {
        assert_eq!(self.is(status)["errorCode"], code, "{}", self.text);
    }

    pub(crate) fn challenges(&self) -> Vec<&str> {
        let all = self.headers.get_all(header::WWW_AUTHENTICATE);
        all.iter().map(|value| value.to_str().unwrap()).collect()
    }
}

impl World {
    pub(crate) async fn new() -> World {
        let clock = Arc::new(Hand(AtomicI64::new(NOW)));
        let catalog = Catalog::new(Arc::new(Sqlite::in_memory().unwrap()));
        let seal = Seal::new(&[1; 32]).unwrap();
        let control = Arc::new(Control::new(catalog, seal, clock.clone(), Arc::new(SystemRng)));
        let access = Arc::new(Access::new(control.clone()));
        let app = bygone_api::router(control.clone(), access.clone());
        let dir = tempfile::tempdir().unwrap();
        let store = NewStore::new("main", format!("file://{}/store", dir.path().display()));
        control.add_store(store, &By::system()).await.unwrap();
        World { clock, control, access, app, _dir: dir }
    }

    pub(crate) async fn project(&self, name: &str) -> Id {
        self.control.create_project(name, &By::system()).await.unwrap().id
    }

    pub(crate) async fn client(&self, role: Role, project: Option<&Id>) -> Client {
        let grants = vec![Grant { role, project: project.cloned() }];
        let key = self.access.create_key("test", grants, &By::system()).await.unwrap();
        Client {
            app: self.app.clone(),
            public: key.key.public,
            private: key.private,
            made_up: AtomicU64::default(),
        }
    }

    pub(crate) async fn owner(&self) -> Client {
        self.client(Role::GlobalOwner, None).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.app, request).await
    }
}

/// A request without proof.
pub(crate) fn request(method: &Method, path: &str, body: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "backup.example:8443")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}

impl Client {
    /// Asks, is challenged, proves.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.say(&method, path, &body, None).await
    }

    pub(crate) async fn say(
        &self,
        method: &Method,
        path: &str,
        body: &str,
        from: Option<SocketAddr>,
    ) -> Answer {
        let challenge = send(&self.app, request(method, path, "")).await;
        if challenge.challenges().is_empty() {
            // Nothing is there that would ask who it is.
            return challenge;
        }
        let proof = self.proof(&challenge, method, path);
        let mut request = request(method, path, body);
        request.headers_mut().insert(header::AUTHORIZATION, proof.parse().unwrap());
        if let Some(from) = from {
            request.extensions_mut().insert(from);
        }
        send(&self.app, request).await
    }

    pub(crate) fn proof(&self, challenge: &Answer, method: &Method, path: &str) -> String {
        let cnonce = self.made_up.fetch_add(1, Ordering::SeqCst).to_string();
        let who = (self.public.as_str(), self.private.as_str());
        digest::answer(&challenge.challenges(), method.as_str(), path, who, &cnonce).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PATCH, path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, Value::Null).await
    }

    /// Makes a job; gives its id.
    pub(crate) async fn job(&self, project: &Id, cluster: &str) -> String {
        let path = format!("/api/v2/projects/{project}/jobs");
        let uri = "mongodb://user:topsecret@db1.example:27017,db2.example/?replicaSet=rs0";
        let body = json!({ "cluster": cluster, "source": { "uri": uri } });
        let made = self.post(&path, body).await.is(201);
        made["id"].as_str().unwrap().to_owned()
    }
}

/// A restore by a link that waits.
pub(crate) async fn restore(world: &World, project: &Id, job: &str) -> Id {
    let restore = RestoreJob {
        id: world.control.new_id(),
        project: project.clone(),
        job: job.parse().unwrap(),
        by: Actor::System,
        created: world.control.now(),
        when: "latest".to_owned(),
        moment: "17:1".to_owned(),
        snapshot: None,
        point_in_time: false,
        names: Names::default(),
        delivery: Delivery::Http {
            form: Form::Tar,
            expires: world.control.now(),
            max_downloads: None,
            downloads: 0,
            sent: 0,
            secret: String::new(),
            size: None,
        },
        verify: false,
        drill: false,
        status: RestoreStatus::InProgress,
        progress: Progress::default(),
        finished: None,
        message: String::new(),
        proof: None,
        hashes: Vec::new(),
        cancel: false,
        begun: None,
        made: Vec::new(),
    };
    world.control.catalog().insert(&restore).await.unwrap();
    restore.id
}
