//! `bygone job`.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use bygone_base::{Error, Result};
use serde_json::{Value, json};

use super::{
    Remote,
    args::{JobArgs, JobCommand},
    list,
    table::table,
    text,
};
use crate::{access, output::Output};

/// Does what is asked.
pub async fn run(args: JobArgs, output: &Output) -> Result<ExitCode> {
    let remote = Remote::new(&args.remote)?;
    match args.command {
        JobCommand::List => {
            let jobs = list(remote.client.get(&format!("{}/jobs", remote.project().await?)).await?);
            output.result(shown(&jobs), &Value::Array(jobs));
        }
        JobCommand::Show { cluster } => {
            let (path, _) = remote.job(&cluster).await?;
            let job = remote.client.get(&path).await?;
            output.result(serde_json::to_string_pretty(&job).unwrap_or_default(), &job);
        }
        JobCommand::Add { cluster, source_file } => {
            let uri = access::first_line(&source_file)?;
            let body = json!({"cluster": cluster, "source": {"uri": uri}});
            let jobs = format!("{}/jobs", remote.project().await?);
            let job = remote.client.post(&jobs, Some(&body)).await?;
            let line = format!("job {cluster} made; `bygone job start {cluster}` starts it");
            output.result(line, &job);
        }
        JobCommand::Start { cluster } => act(&remote, &cluster, "start", output).await?,
        JobCommand::Stop { cluster } => act(&remote, &cluster, "stop", output).await?,
        JobCommand::Restart { cluster } => act(&remote, &cluster, "restart", output).await?,
        JobCommand::Terminate { cluster, confirm } => {
            confirmed(&cluster, confirm)?;
            act(&remote, &cluster, "terminate", output).await?;
        }
        JobCommand::Resync { cluster } => {
            let (path, _) = remote.job(&cluster).await?;
            let answer = remote.client.post(&format!("{path}/resyncs"), None).await?;
            output.result(format!("a new initial sync of {cluster} is asked for"), &answer);
        }
        JobCommand::Check { cluster } => {
            let (path, _) = remote.job(&cluster).await?;
            let answer = remote.client.post(&format!("{path}/checks"), None).await?;
            output.result(format!("a check of {cluster} is asked for"), &answer);
        }
        JobCommand::Remove { cluster } => {
            let (path, _) = remote.job(&cluster).await?;
            let answer = remote.client.delete(&path).await?;
            output.result(format!("job {cluster} is forgotten"), &answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn act(remote: &Remote, cluster: &str, action: &str, output: &Output) -> Result<()> {
    let (path, _) = remote.job(cluster).await?;
    // The server asks for the name too; here it was confirmed by a person, or is not needed.
    let confirm = (action == "terminate").then_some(cluster);
    let body = json!({"action": action, "confirm": confirm});
    let job = remote.client.post(&format!("{path}/actions"), Some(&body)).await?;
    output.result(format!("{cluster} is {}", text(&job, "state")), &job);
    Ok(())
}

/// Deleting every snapshot is done on purpose only.
fn confirmed(cluster: &str, confirm: Option<String>) -> Result<()> {
    let said = match confirm {
        Some(said) => said,
        None if std::io::stdin().is_terminal() => {
            let mut err = std::io::stderr();
            let _ = write!(
                err,
                "This deletes every snapshot of {cluster}. Type the cluster's name to go on: "
            );
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
    Err(Error::usage("nothing was deleted: the cluster's name was not confirmed")
        .hint(format!("give --confirm {cluster}")))
}

fn shown(jobs: &[Value]) -> String {
    let row = |job: &Value| {
        let live = &job["live"];
        let lag = job["lag_secs"].as_u64();
        vec![
            text(job, "cluster").to_owned(),
            text(job, "set").to_owned(),
            text(job, "status_name").to_owned(),
            text(job, "standing").to_owned(),
            text(live, "phase").to_owned(),
            lag.map(|secs| format!("{secs} s")).unwrap_or_default(),
            text(&job["newest"], "time").to_owned(),
            text(job, "next_snapshot").to_owned(),
            text(job, "message").to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    let headings = [
        "cluster",
        "set",
        "status",
        "standing",
        "phase",
        "lag",
        "newest snapshot",
        "next",
        "message",
    ];
    table(&headings, &rows)
}
