//! `bygone server`: ingest, daemon, API and dashboard; agents come from elsewhere.

mod certificate;
pub mod config;
pub mod site;

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

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
    site::{Agents, Alone, Service},
};
use crate::{args::ServerArgs, output::Output};

/// Runs until Ctrl-C.
pub async fn run(args: ServerArgs, output: &Output) -> Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let (control, _alone) = open(&config).await?;
    // Whoever ran before does no more; agents elsewhere may.
    let daemons = |lease: &Lease| ["daemon/", "restore/"].iter().any(|p| lease.name.starts_with(p));
    control.end_leases(daemons).await?;
    control.end_own_agents().await?;
    let who = Arc::new(Access::new(control.clone()));
    let mut signals = JoinSet::new();
    let shutdown = super::on_signal(&mut signals);
    let server = listen(&config, &control, &who, output).await?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", server.local_addr());
    output.event("server", format!("bygone serves {url}; Ctrl-C stops"), json!({"url": url}));
    first_project(&control).await?;
    welcome(&who, &url, &server, output).await?;
    let agents = config.agent.then(|| Agents {
        control: control.clone(),
        sources: Arc::new(MongoSources { clock: control.clock().clone() }),
        own: Own::default(),
    });
    let supervisor = Supervisor::new(control);
    // What still fails is shown with its job, and tried again at the next start.
    site::run(supervisor, agents, Some(server), &shutdown, async || ()).await?;
    output.event("stopped", "stopped; the next start goes on", json!({}));
    Ok(ExitCode::SUCCESS)
}

/// The control plane of a configuration, with its stores; nobody else changes it meanwhile.
///
/// # Errors
/// Conflict: another process has its folder. What opening the stores gives.
pub async fn open(config: &Config) -> Result<(Arc<Control>, Alone)> {
    let alone = Alone::in_folder(&config.data)?;
    let control = Arc::new(site::in_folder(&config.data)?);
    for store in &config.store {
        let given = control.given_store(store.wanted()).await;
        given.map_err(|e| e.within(format!("store {} of the configuration", store.id)))?;
    }
    Ok((control, alone))
}

async fn listen(
    config: &Config,
    control: &Arc<Control>,
    who: &Arc<Access>,
    output: &Output,
) -> Result<Server> {
    let host = super::agent::host();
    let made = config.tls.as_ref().map(|tls| {
        let names = certificate::Names { host: &host, listen: &config.listen };
        certificate::files(tls, &config.data, names, control.now())
    });
    let (tls, fingerprint) = made.transpose()?.unzip();
    if let Some(print) = fingerprint.flatten() {
        output.event(
            "certificate",
            format!("this server's own certificate has the SHA-256 fingerprint {print}"),
            json!({"sha256": print}),
        );
    }
    let service = Service {
        address: config.listen.clone(),
        tls,
        trusted_proxies: config.trusted_proxies.clone(),
        metrics_token: config.metrics_token_file.clone(),
        strict: false,
    };
    site::listen(service, control, who).await
}

/// Every catalog has a project to begin with.
pub async fn first_project(control: &Control) -> Result<bygone_catalog::Id> {
    match control.projects().await?.into_iter().next() {
        Some(project) => Ok(project.id),
        None => Ok(control.create_project("Default", &By::system()).await?.id),
    }
}

/// Says how the first user gets in, while there is none.
pub async fn welcome(who: &Access, url: &str, server: &Server, output: &Output) -> Result<()> {
    if let Some(secret) = who.owner_link().await? {
        let link = format!("{}/welcome/{secret}", reachable(url, server.local_addr()));
        output.event(
            "welcome",
            format!("nobody can log in yet: the owner chooses a password at {link}"),
            json!({"link": link}),
        );
    }
    Ok(())
}

/// The URL with a name that a browser can go to: all addresses of a host are none.
fn reachable(url: &str, address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return url.to_owned();
    }
    let (host, port) = (super::agent::host(), address.port());
    url.replacen(&address.to_string(), &format!("{host}:{port}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_somewhere() {
        let of = |address: &str| reachable(&format!("https://{address}"), address.parse().unwrap());
        assert_eq!(of("192.0.2.1:8780"), "https://192.0.2.1:8780");
        for all in ["0.0.0.0:8780", "[::]:8780"] {
            let url = of(all);
            assert!(url.ends_with(":8780") && !url.contains(all), "{url}");
        }
    }
}
