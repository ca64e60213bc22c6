//! `bygone server`: ingest, daemon, API and dashboard; agents come from elsewhere.

mod certificate;
pub mod config;
pub mod site;

use std::{process::ExitCode, sync::Arc};

use bygone_access::Access;
use bygone_agent::fleet::{MongoSources, Own};
use bygone_base::Result;
use bygone_catalog::Lease;
use bygone_control::{By, Control, Supervisor};
use bygone_ingest::http::Server;
use serde_json::json;
use tokio::task::JoinSet;

use self::{
    config::Config,
    site::{Agents, Alone},
};
use super::shown::Board;
use crate::{args::ServerArgs, output::Output};

/// What the ids of agents in the server's own process begin with: with it, they end.
const HERE: &str = "here-";

/// Runs until Ctrl-C.
pub async fn run(args: ServerArgs, output: &Output) -> Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let control = open(&config).await?;
    let _alone = Alone::in_folder(&config.data)?;
    // Whoever ran before does no more; agents elsewhere may.
    let daemons = |lease: &Lease| ["daemon/", "restore/"].iter().any(|p| lease.name.starts_with(p));
    control.end_leases(daemons).await?;
    control.agents_gone(HERE).await?;
    let who = Arc::new(Access::new(control.clone()));
    let mut signals = JoinSet::new();
    let shutdown = super::on_signal(&mut signals);
    let server = listen(&config, &control, &who, output).await?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", server.local_addr());
    output.event("server", format!("bygone serves {url}; Ctrl-C stops"), json!({"url": url}));
    first_project(&control).await?;
    welcome(&who, &url, output).await?;
    let agents = config.agent.then(|| Agents {
        control: control.clone(),
        sources: Arc::new(MongoSources { clock: control.clock().clone() }),
        own: Own { prefix: HERE.to_owned(), ..Own::default() },
    });
    let supervisor = Supervisor::new(control);
    // What still fails is shown with its job, and tried again at the next start.
    site::run(supervisor, agents, Some(server), &shutdown, async || ()).await?;
    output.event("stopped", "stopped; the next start goes on", json!({}));
    Ok(ExitCode::SUCCESS)
}

/// The control plane of a configuration, with its stores.
pub async fn open(config: &Config) -> Result<Arc<Control>> {
    let control = Arc::new(site::in_folder(&config.data)?);
    for store in &config.store {
        let given = control.given_store(store.wanted()).await;
        given.map_err(|e| e.within(format!("store {} of the configuration", store.id)))?;
    }
    Ok(control)
}

async fn listen(
    config: &Config,
    control: &Arc<Control>,
    who: &Arc<Access>,
    output: &Output,
) -> Result<Server> {
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
    site::listen(&config.listen, tls, control, who, Board::new(control.clone())).await
}

/// Every catalog has a project to begin with.
pub async fn first_project(control: &Control) -> Result<bygone_catalog::Id> {
    match control.projects().await?.into_iter().next() {
        Some(project) => Ok(project.id),
        None => Ok(control.create_project("Default", &By::system()).await?.id),
    }
}

/// Says how the first user gets in, while there is none.
pub async fn welcome(who: &Access, url: &str, output: &Output) -> Result<()> {
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
