//! `bygone catalog`: a copy of it, or a new one.

use std::process::ExitCode;

use bygone_base::{Error, Result};
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
            let (control, _alone) = open(&Config::read(&server.config)?).await?;
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
            output.result(
                text,
                &json!({"project": project.id.as_str(), "jobs": jobs.collect::<Vec<_>>()}),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
