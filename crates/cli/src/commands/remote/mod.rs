//! Commands that ask a server: jobs, snapshots, restores, alerts, users and keys, stores.

mod alert;
pub mod args;
mod job;
mod restore;
mod snapshot;
mod store;
mod table;
mod user;

pub use alert::run as alert;
pub use job::run as job;
pub use restore::run as restore;
pub use snapshot::run as snapshot;
pub use store::run as store;
pub use user::run as user;

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Arc,
};

use bygone_api::Client;
use bygone_base::{Error, ErrorKind, Result, SystemRng};
use serde_json::Value;

use self::args::RemoteArgs;
use crate::access;

/// A server and one of its projects.
struct Remote {
    client: Client,
    project: Option<String>,
}

impl Remote {
    fn new(args: &RemoteArgs) -> Result<Remote> {
        let key = match &args.api_key_file {
            Some(file) => access::first_line(file)?,
            None => std::env::var("BYGONE_API_KEY").map_err(|_| {
                Error::usage("no API key is given").hint(
                    "make one on the server's page, and use --api-key-file FILE or BYGONE_API_KEY",
                )
            })?,
        };
        let rng = Arc::new(SystemRng);
        let client = Client::new(&args.server, &key, args.ca_file.as_deref(), rng)?;
        Ok(Remote { client, project: args.project.clone() })
    }

    /// `/api/v2/projects/ID`
    async fn project(&self) -> Result<String> {
        let projects = list(self.client.get("/api/v2/projects").await?);
        let names = || {
            let names: Vec<&str> = projects.iter().map(|p| text(p, "name")).collect();
            names.join(", ")
        };
        let found = match &self.project {
            Some(name) => projects.iter().find(|p| text(p, "name") == name),
            None if projects.len() > 1 => {
                return Err(Error::usage(format!("there are several projects: {}", names()))
                    .hint("name one with --project"));
            }
            None => projects.first(),
        };
        let found = found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no such project; there are: {}", names()),
            )
        })?;
        Ok(format!("/api/v2/projects/{}", text(found, "id")))
    }

    /// `/api/v2/projects/ID/jobs/ID`, and the job.
    async fn job(&self, cluster: &str) -> Result<(String, Value)> {
        let jobs = format!("{}/jobs", self.project().await?);
        let all = list(self.client.get(&jobs).await?);
        let found = all.into_iter().find(|job| text(job, "cluster") == cluster);
        let found = found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the project has no cluster {cluster:?}"))
                .hint("`bygone job list` shows them")
        })?;
        Ok((format!("{jobs}/{}", text(&found, "id")), found))
    }
}

/// What takes something away is done on purpose only: `does` says what it takes, `undone` what was not done otherwise.
fn confirmed(cluster: &str, confirm: Option<String>, does: &str, undone: &str) -> Result<()> {
    let said = match confirm {
        Some(said) => said,
        None if std::io::stdin().is_terminal() => {
            let mut err = std::io::stderr();
            let _ = write!(err, "This {does}. Type the cluster's name to go on: ");
            let _ = err.flush();
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map_err(|e| Error::io("read the answer", e))?;
            line
        }
        None => String::new(),
    };
    if said.trim() == cluster {
        return Ok(());
    }
    Err(Error::usage(format!("nothing was {undone}: the cluster's name was not confirmed"))
        .hint(format!("give --confirm {cluster}")))
}

/// The entries of a list, bare or within a page.
fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        Value::Object(mut page) => match page.remove("results") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// A text of an object; empty where it has none.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
