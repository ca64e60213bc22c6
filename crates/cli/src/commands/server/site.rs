//! A control plane in this process: its folder, its agents, and the order in which they stop.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bygone_access::Access;
use bygone_agent::fleet::{Fleet, Own, Sources};
use bygone_api::{Answers, Watching};
use bygone_base::{Error, ErrorKind, Result, SystemRng, disk};
use bygone_catalog::{Catalog, Id, Seal, Sqlite};
use bygone_control::{AgentGate, Control, Local, Supervisor};
use bygone_head::Scratch;
use bygone_ingest::http::{Network, ServeOptions, Server, TlsFiles};
use rustix::fs::{FlockOperation, flock};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::agent::host;
use crate::access;

/// Shorter tokens can be guessed.
pub const MIN_TOKEN: usize = 16;
/// New projects get their agents within this time.
const PROJECTS: Duration = Duration::from_secs(5);

/// The control plane over a folder.
pub fn in_folder(data: &Path) -> Result<Control> {
    // Hashes of passwords, sources, and data to be fetched are nobody else's.
    disk::private_dir(data)?;
    let file = data.join("catalog.db");
    disk::private_file(&file)?;
    let catalog = Catalog::new(Arc::new(Sqlite::open(&file)?));
    let seal = Seal::in_file(&data.join("catalog.key"), &SystemRng)?;
    let control = Control::new(catalog, seal, access::clock(), Arc::new(SystemRng));
    Ok(control.with_downloads(data.join("downloads")))
}

/// One that ends with the process.
pub fn in_memory() -> Result<Control> {
    let catalog = Catalog::new(Arc::new(Sqlite::in_memory()?));
    let mut key = [0; 32];
    bygone_base::Rng::fill(&SystemRng, &mut key);
    Ok(Control::new(catalog, Seal::new(&key)?, access::clock(), Arc::new(SystemRng)))
}

/// Held by the one process that runs the jobs of a folder.
#[derive(Debug)]
pub struct Alone {
    _file: fs::File,
}

impl Alone {
    /// # Errors
    /// Conflict: another process has it.
    pub fn in_folder(data: &Path) -> Result<Alone> {
        let made = |e| Error::io(format!("make {}", data.display()), e);
        fs::create_dir_all(data).map_err(made)?;
        let path = data.join("lock");
        let io = |e| Error::io(format!("open {}", path.display()), e);
        let file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let text = format!("another bygone runs on {}", data.display());
            Error::new(ErrorKind::Conflict, text).hint("stop it first, or give another folder")
        })?;
        // Nobody else is at work here: what was killed left it.
        Scratch::clear(&data.join("downloads"))?;
        Ok(Alone { _file: file })
    }
}

/// How a control plane is served.
#[derive(Default)]
pub struct Service {
    /// `ADDRESS:PORT`.
    pub address: String,
    /// Certificate, for other addresses than loopback.
    pub tls: Option<TlsFiles>,
    /// Proxies that say for whom they ask.
    pub trusted_proxies: Vec<Network>,
    /// File with the token that shows all metrics.
    pub metrics_token: Option<PathBuf>,
    /// Ready while every job follows its source, not as soon as it answers.
    pub strict: bool,
}

/// Binds the service of a control plane: agents, API, dashboard, and what is shown of it.
pub async fn listen(service: Service, control: &Arc<Control>, who: &Arc<Access>) -> Result<Server> {
    let address = service.address.parse().map_err(|_| {
        Error::usage(format!("{:?} is not ADDRESS:PORT to listen on", service.address))
    })?;
    let answers = Arc::new(Answers::default());
    let watching = Watching {
        control: control.clone(),
        access: who.clone(),
        token: service.metrics_token.as_deref().map(token).transpose()?.map(Into::into),
        strict: service.strict,
        answers: answers.clone(),
    };
    let api = bygone_api::router(control.clone(), who.clone());
    let also = bygone_web::router(control.clone(), who.clone())
        .merge(bygone_api::counted(api, answers))
        .merge(bygone_api::watching(watching));
    let options = ServeOptions {
        tls: service.tls,
        trusted_proxies: service.trusted_proxies,
        also,
        ..ServeOptions::default()
    };
    Server::bind(address, AgentGate::new(control.clone()), control.clock().clone(), options).await
}

/// A token in a file; a short one can be guessed.
fn token(file: &Path) -> Result<String> {
    let token = access::first_line(file)?;
    if token.trim().len() < MIN_TOKEN {
        let short =
            format!("the token in {} is shorter than {MIN_TOKEN} characters", file.display());
        return Err(Error::usage(short).hint("use a random one, for example 32 hex digits"));
    }
    Ok(token)
}

/// Agents in this process.
pub struct Agents {
    pub control: Arc<Control>,
    pub sources: Arc<dyn Sources>,
    pub own: Own,
}

impl Agents {
    /// Serves every project until `shutdown`.
    ///
    /// # Errors
    /// A failure that ends the process ([`Own`]).
    async fn run(&self, shutdown: &CancellationToken) -> Result<()> {
        let mut fleets = JoinSet::new();
        let mut known = HashSet::new();
        let clock = self.control.clock();
        let mut ended = Ok(());
        while ended.is_ok() && !shutdown.is_cancelled() {
            match self.control.projects().await {
                Ok(projects) => {
                    for project in projects {
                        if known.insert(project.id.clone()) {
                            let (fleet, stop) = (self.fleet(project.id), shutdown.clone());
                            fleets.spawn(async move { fleet.run(&stop).await });
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "the projects could not be read"),
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(Ok(failed)) = fleets.join_next() => ended = failed,
                () = clock.sleep(PROJECTS) => {}
            }
        }
        shutdown.cancel();
        while let Some(joined) = fleets.join_next().await {
            if let Ok(other) = joined {
                ended = ended.and(other);
            }
        }
        ended
    }

    fn fleet(&self, project: Id) -> Fleet {
        let local = Local::new(self.control.clone(), project);
        Fleet {
            conf: local.clone(),
            uplink: local,
            sources: self.sources.clone(),
            clock: self.control.clock().clone(),
            rng: self.control.rng().clone(),
            host: host(),
            own: self.own.clone(),
        }
    }
}

/// Runs everything until `shutdown`. The agents of this process stop first: what they hold is stored before the jobs
/// end. Gives the failures of jobs that still lasted, and what `last` saw just before the jobs ended.
///
/// # Errors
/// The service could not go on; an agent's failure that ends the process.
pub async fn run<T>(
    supervisor: Supervisor,
    agents: Option<Agents>,
    server: Option<Server>,
    shutdown: &CancellationToken,
    last: impl AsyncFnOnce() -> T,
) -> Result<(Vec<Error>, T)> {
    let jobs_end = CancellationToken::new();
    let capturing = async {
        let captured = match agents {
            Some(agents) => agents.run(shutdown).await,
            None => {
                shutdown.cancelled().await;
                Ok(())
            }
        };
        let seen = last().await;
        jobs_end.cancel();
        captured.map(|()| seen)
    };
    let serving = async {
        let served = match server {
            Some(server) => server.run(shutdown.cancelled()).await,
            None => Ok(()),
        };
        if served.is_err() {
            shutdown.cancel();
        }
        served
    };
    let (captured, failures, served) = tokio::join!(capturing, supervisor.run(&jobs_end), serving);
    let seen = captured?;
    served?;
    Ok((failures, seen))
}
