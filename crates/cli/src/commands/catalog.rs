//! `bygone catalog`: a copy of it, a new one, or a way back in.

use std::{process::ExitCode, sync::Arc};

use bygone_access::{Access, INVITATION_HOURS, UserView};
use bygone_base::{Error, ErrorKind, Result};
use bygone_catalog::record::{Grant, Role};
use bygone_control::By;
use serde_json::json;

use super::server::{config::Config, open, site};
use crate::{args::CatalogCommand, output::Output};

/// Does what is asked.
pub async fn run(command: CatalogCommand, output: &Output) -> Result<ExitCode> {
    match command {
        CatalogCommand::Backup { server, file } => {
            let config = Config::read(&server.config)?;
            if file.exists() {
                return Err(Error::usage(format!("{} exists already", file.display())));
            }
            // The server may be running: this only reads.
            let control = site::in_folder(&config.data)?;
            control.catalog().backend().copy_to(&file).await?;
            let text = format!(
                "catalog copied to {}; its secrets open with {} only: keep a copy of that too",
                file.display(),
                config.data.join("catalog.key").display()
            );
            output.result(text, &json!({"file": file.display().to_string()}));
        }
        CatalogCommand::Rebuild { server } => {
            rebuild(&Config::read(&server.config)?, output).await?
        }
        CatalogCommand::OwnerLink { server, user } => {
            owner_link(&Config::read(&server.config)?, user.as_deref(), output).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn rebuild(config: &Config, output: &Output) -> Result<()> {
    let (control, _alone) = open(config).await?;
    let by = By::system();
    let project = match control.projects().await?.into_iter().next() {
        Some(project) => project,
        None => control.create_project("Default", &by).await?,
    };
    let rebuilt = control.rebuild(&project.id, &by).await?;
    let line = |job: &bygone_control::Rebuilt| {
        format!(
            "job {} of replica set {}: {} snapshots; stopped until its source is given\n",
            job.name, job.set, job.snapshots
        )
    };
    let mut text: String = rebuilt.iter().map(line).collect();
    text += &format!("{} jobs rebuilt in project {}", rebuilt.len(), project.name);
    let jobs = rebuilt.iter().map(|job| {
        json!({"id": job.id.as_str(), "job": job.name, "part": job.set, "snapshots": job.snapshots})
    });
    output.result(text, &json!({"project": project.id.as_str(), "jobs": jobs.collect::<Vec<_>>()}));
    Ok(())
}

/// Whoever may read the server's folder may do everything anyhow: he gets a link, and an event says so.
async fn owner_link(config: &Config, user: Option<&str>, output: &Output) -> Result<()> {
    if !config.data.join("catalog.db").exists() {
        let what = format!("there is no catalog in {}", config.data.display());
        return Err(Error::new(ErrorKind::NotFound, what).hint("start the server once"));
    }
    // Without the stores: they are not needed, and may be what cannot be reached.
    let access = Access::new(Arc::new(site::in_folder(&config.data)?));
    let by = By::system();
    let owns = |user: &UserView| user.grants.iter().any(|grant| grant.role == Role::GlobalOwner);
    let owners: Vec<UserView> = access.users().await?.into_iter().filter(owns).collect();
    let names = || owners.iter().map(|owner| owner.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match user {
        Some(name) => {
            let named = owners.iter().find(|owner| owner.name == name);
            Some(named.ok_or_else(|| {
                let what = format!("there is no Global Owner {name:?}");
                Error::new(ErrorKind::NotFound, what).hint(format!("there are: {}", names()))
            })?)
        }
        None if owners.len() > 1 => {
            return Err(Error::usage(format!("there are several Global Owners: {}", names()))
                .hint("name one with --user"));
        }
        None => owners.first(),
    };
    let (view, secret) = match found {
        Some(owner) => access.invite_again(&owner.id, &by).await?,
        None => {
            let grant = Grant { role: Role::GlobalOwner, project: None };
            access.invite("owner", vec![grant], &by).await?
        }
    };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let link = format!("{scheme}://{}/welcome/{secret}", config.listen);
    let text = format!(
        "{} chooses a new password at {link}, once and within {INVITATION_HOURS} hours",
        view.name
    );
    output.result(text, &json!({"user": view.name, "link": link}));
    Ok(())
}
