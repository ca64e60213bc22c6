//! A `bygone server` process with its folder, and its API as operators use it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bygone_access::Access;
use bygone_api::Client;
use bygone_base::{SystemClock, SystemRng, Ts};
use bygone_catalog::{
    Catalog, Seal, Sqlite,
    record::{Grant, Role},
};
use bygone_control::{By, Control};
use serde_json::{Value, json};

use crate::{
    context::{Context, LIMIT, tool},
    measure::Running,
};

/// A server: its process can be killed and started again.
#[derive(Debug)]
pub(super) struct Site {
    folder: PathBuf,
    key: String,
    server: Option<Running>,
    client: Option<Client>,
}

/// Where a job stands.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// Its name in the stores.
    pub(super) name: String,
    /// The agent follows the oplog, and there is a snapshot.
    pub(super) follows: bool,
    /// The end of what is stored.
    pub(super) stored: Ts,
}

impl Site {
    /// A new folder with a catalog and an owner's key; nothing runs yet.
    pub(super) async fn new(context: &Context) -> Site {
        let folder = context.path("site");
        fs::create_dir(&folder).expect("folder");
        let catalog = Sqlite::open(&folder.join("catalog.db")).expect("catalog");
        let seal = Seal::in_file(&folder.join("catalog.key"), &SystemRng).expect("seal");
        let (clock, rng) = (Arc::new(SystemClock::new()), Arc::new(SystemRng));
        let control = Control::new(Catalog::new(Arc::new(catalog)), seal, clock, rng);
        let access = Access::new(Arc::new(control));
        let owner = vec![Grant { role: Role::GlobalOwner, project: None }];
        let made = access.create_key("bench", owner, &By::system()).await.expect("key");
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndata = \"{0}\"\nagent = true\n\n[[store]]\nid = \"main\"\nurl = \"file://{0}/store\"\n",
            folder.display()
        );
        fs::write(folder.join("bygone.toml"), text).expect("configuration");
        let key = format!("{}:{}", made.key.public, made.private);
        Site { folder, key, server: None, client: None }
    }

    /// The folder of its store.
    pub(super) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Its catalog.
    pub(super) fn catalog(&self) -> PathBuf {
        self.folder.join("catalog.db")
    }

    /// Starts the server.
    pub(super) async fn start(&mut self, context: &Context) {
        let mut command = tool("server");
        command.arg("--config").arg(self.folder.join("bygone.toml"));
        let mut server = context.start(command);
        let line = server.line("bygone serves", LIMIT).await;
        let url = line.split_whitespace().find(|word| word.starts_with("http"));
        let url = url.expect("a URL").trim_end_matches(';');
        let client = Client::new(url, &self.key, None, Arc::new(SystemRng)).expect("client");
        (self.server, self.client) = (Some(server), Some(client));
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&mut self) {
        self.client = None;
        // Dropped is killed.
        self.server = None;
    }

    /// Stops it in good order.
    pub(super) async fn stop(mut self) {
        let server = self.server.take().expect("it runs");
        server.interrupt();
        server.end().await;
    }

    /// The process.
    pub(super) fn pid(&self) -> u32 {
        self.server.as_ref().expect("it runs").pid()
    }

    /// What it has said.
    pub(super) fn output(&self) -> String {
        self.server.as_ref().map(Running::output).unwrap_or_default()
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it runs")
    }

    /// The path of the first project's jobs.
    async fn jobs(&self) -> String {
        let projects = self.client().get("/api/v2/projects").await.expect("projects");
        let id = projects[0]["id"].as_str().or(projects["projects"][0]["id"].as_str());
        format!("/api/v2/projects/{}/jobs", id.unwrap_or_else(|| panic!("{projects}")))
    }

    /// Makes and starts jobs: name, URI and seconds between snapshots.
    pub(super) async fn make(&self, jobs: &[(String, String, u64)]) {
        let (client, path) = (self.client(), self.jobs().await);
        for (name, uri, every) in jobs {
            let new = json!({
                "cluster": name, "name": name, "source": {"uri": uri},
                "schedule": {"interval_secs": every},
            });
            let made = client.post(&path, Some(&new)).await.expect("a job");
            let id = made["id"].as_str().expect("id");
            let start = json!({"action": "start"});
            let actions = format!("{path}/{id}/actions");
            client.post(&actions, Some(&start)).await.expect("start");
        }
    }

    /// How many jobs the API calls STARTED.
    pub(super) async fn started(&self) -> usize {
        let jobs = self.client().get(&self.jobs().await).await.expect("jobs");
        let jobs = jobs.as_array().expect("jobs");
        jobs.iter().filter(|job| job["status_name"] == "STARTED").count()
    }

    /// Where all jobs stand, by name.
    pub(super) async fn standing(&self) -> BTreeMap<String, Standing> {
        let status = self.client().get("/status").await.expect("status");
        let jobs = status["jobs"].as_array().expect("jobs");
        jobs.iter().filter_map(standing).map(|job| (job.name.clone(), job)).collect()
    }
}

fn standing(job: &Value) -> Option<Standing> {
    let agent = &job["agent"];
    let (secs, inc) = agent["chain"].as_str()?.split_once(':')?;
    let follows = agent["phase"] == "tailing" && job["phase"] == "complete";
    Some(Standing {
        name: job["job"].as_str()?.to_owned(),
        follows,
        stored: Ts::new(secs.parse().ok()?, inc.parse().ok()?),
    })
}

/// Objects of a job in a store's folder.
pub(super) fn objects(store: &Path, job: &str) -> Vec<PathBuf> {
    let all = crate::measure::files(store).into_iter().map(|(path, _)| path);
    all.filter(|path| path.iter().any(|part| part == job)).collect()
}
