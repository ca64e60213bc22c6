//! `bygone server`: ingest, daemon, API and dashboard; agents come from elsewhere.

mod certificate;
pub mod config;

use std::{path::Path, process::ExitCode, sync::Arc};

use bygone_access::Access;
use bygone_agent::fleet::{Fleet, MongoSources};
use bygone_base::{Error, Result, SystemRng};
use bygone_catalog::{Catalog, Seal, Sqlite, record::Store};
use bygone_control::{AgentGate, By, Control, Local, NewStore, Supervisor};
use bygone_ingest::http::{ServeOptions, Server};
use serde_json::json;
use tokio::task::JoinSet;

use self::config::Config;
use super::shown::Board;
use crate::{access, args::ServerArgs, output::Output};

/// Runs until Ctrl-C.
pub async fn run(args: ServerArgs, output: &Output) -> Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let control = open(&config).await?;
    let who = Arc::new(Access::new(control.clone()));
    let mut signals = JoinSet::new();
    let shutdown = super::on_signal(&mut signals);
    let server = listen(&config, &control, &who, output).await?;
    greet(&config, &control, &who, &server, output).await?;
    let supervisor = Supervisor::new(control.clone());
    let local = local_agents(&control, config.agent).await?;
    let agents = async {
        match local {
            Some(fleet) => fleet.run(&shutdown).await,
            None => Ok(()),
        }
    };
    let (served, ran, captured) =
        tokio::join!(server.run(shutdown.cancelled()), supervisor.run(&shutdown), agents);
    served?;
    ran?;
    captured?;
    output.event("stopped", "stopped; the next start goes on", json!({}));
    Ok(ExitCode::SUCCESS)
}

/// The control plane of a configuration, with its stores.
pub async fn open(config: &Config) -> Result<Arc<Control>> {
    let control = Arc::new(in_folder(&config.data)?);
    for store in &config.store {
        ensure_store(&control, store.wanted()).await?;
    }
    Ok(control)
}

fn in_folder(data: &Path) -> Result<Control> {
    let io = |e| Error::io(format!("make {}", data.display()), e);
    std::fs::create_dir_all(data).map_err(io)?;
    let clock = access::clock();
    let rng = Arc::new(SystemRng);
    let catalog = Catalog::new(Arc::new(Sqlite::open(&data.join("catalog.db"))?));
    let seal = Seal::in_file(&data.join("catalog.key"), &SystemRng)?;
    Ok(Control::new(catalog, seal, clock, rng).with_downloads(data.join("downloads")))
}

/// Registers a store, or brings it in line with what the configuration says.
async fn ensure_store(control: &Control, wanted: NewStore) -> Result<()> {
    let id = wanted.id.clone();
    let stored = match control.catalog().find::<Store>(&id).await? {
        None => control.add_store(wanted, &By::system()).await,
        Some(row) if row.value.url == wanted.url && row.value.key_file == wanted.key_file => {
            return Ok(());
        }
        Some(_) => control.edit_store(wanted, &By::system()).await,
    };
    stored.map(|_| ()).map_err(|e| e.within(format!("store {id} of the configuration")))
}

async fn listen(
    config: &Config,
    control: &Arc<Control>,
    who: &Arc<Access>,
    output: &Output,
) -> Result<Server> {
    let address = config
        .listen
        .parse()
        .map_err(|_| Error::usage(format!("listen = {:?} is not ADDRESS:PORT", config.listen)))?;
    let host = super::agent::host();
    let made = config.tls.as_ref().map(|tls| certificate::files(tls, &config.data, &host));
    let (tls, fingerprint) = made.transpose()?.unzip();
    if let Some(print) = fingerprint.flatten() {
        output.event(
            "certificate",
            format!("this server's own certificate has the SHA-256 fingerprint {print}"),
            json!({"sha256": print}),
        );
    }
    let shown = Arc::new(Board::new(control.clone()));
    let api = bygone_api::router(control.clone(), who.clone());
    let also = bygone_web::router(control.clone(), who.clone()).merge(api);
    let options = ServeOptions { tls, shown: Some(shown), also, ..ServeOptions::default() };
    Server::bind(address, AgentGate::new(control.clone()), control.clock().clone(), options).await
}

async fn greet(
    config: &Config,
    control: &Control,
    who: &Access,
    server: &Server,
    output: &Output,
) -> Result<()> {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", server.local_addr());
    output.event("server", format!("bygone serves {url}; Ctrl-C stops"), json!({"url": url}));
    if control.projects().await?.is_empty() {
        control.create_project("Default", &By::system()).await?;
    }
    if let Some(secret) = who.owner_link().await? {
        let link = format!("{url}/welcome/{secret}");
        output.event(
            "welcome",
            format!("nobody can log in yet: choose a name and a password at {link}"),
            json!({"link": link}),
        );
    }
    Ok(())
}

/// Agents in this process, for every project: a small site needs no others.
async fn local_agents(control: &Arc<Control>, wanted: bool) -> Result<Option<Fleet>> {
    let Some(project) = control.projects().await?.into_iter().next().filter(|_| wanted) else {
        return Ok(None);
    };
    let clock = control.clock().clone();
    let local = Local::new(control.clone(), project.id);
    Ok(Some(Fleet {
        conf: local.clone(),
        uplink: local,
        sources: Arc::new(MongoSources { clock: clock.clone() }),
        clock,
        rng: control.rng().clone(),
        host: super::agent::host(),
    }))
}
