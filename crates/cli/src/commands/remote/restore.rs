//! `bygone restore-job`: restores that a server does.

use std::process::ExitCode;

use bygone_base::Result;
use serde_json::{Value, json};

use super::{
    Remote,
    args::{RestoreJobArgs, RestoreJobCommand},
    list,
    table::table,
    text,
};
use crate::{access, output::Output};

/// Does what is asked.
pub async fn run(args: RestoreJobArgs, output: &Output) -> Result<ExitCode> {
    let remote = Remote::new(&args.remote)?;
    let restores = format!("{}/restores", remote.project().await?);
    match args.command {
        RestoreJobCommand::List { cluster } => {
            let path = match cluster {
                Some(cluster) => {
                    let (_, job) = remote.job(&cluster).await?;
                    format!("{restores}?job={}", text(&job, "id"))
                }
                None => restores,
            };
            let found = list(remote.client.get(&path).await?);
            let rows: Vec<_> = found.iter().map(row).collect();
            let headings = ["restore", "asked", "moment", "to", "status", "message"];
            output.result(table(&headings, &rows), &Value::Array(found));
        }
        RestoreJobCommand::Show { restore } => {
            let found = remote.client.get(&format!("{restores}/{restore}")).await?;
            output.result(serde_json::to_string_pretty(&found).unwrap_or_default(), &found);
        }
        RestoreJobCommand::Start { cluster, at, to_file, link, drop, ns_include, ns_exclude } => {
            let (path, _) = remote.job(&cluster).await?;
            let delivery = match &to_file {
                Some(file) => {
                    let to = access::first_line(file)?;
                    json!({"method": "automated", "to": to, "drop": drop})
                }
                None => json!({"method": "http", "form": form(link.as_deref())}),
            };
            let names = json!({"include": ns_include, "exclude": ns_exclude});
            let body = json!({"when": at, "names": names, "delivery": delivery});
            let made = remote.client.post(&format!("{path}/restores"), Some(&body)).await?;
            let id = text(&made, "id");
            let line = match text(&made["delivery"], "url") {
                "" => format!("restore {id} is asked for; `bygone restore-job show {id}` shows it"),
                url => format!("restore {id} is asked for; its file will be at {url}"),
            };
            output.result(line, &made);
        }
        RestoreJobCommand::Cancel { restore } => {
            let path = format!("{restores}/{restore}/cancellation");
            let answer = remote.client.post(&path, None).await?;
            output.result(format!("restore {restore} is cancelled"), &answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn form(link: Option<&str>) -> Value {
    match link {
        None | Some("archive") => json!({"kind": "archive"}),
        Some("tar") => json!({"kind": "tar"}),
        Some(namespace) => json!({"kind": "collection", "namespace": namespace}),
    }
}

fn row(restore: &Value) -> Vec<String> {
    let delivery = &restore["delivery"];
    let to = match text(delivery, "to") {
        "" => format!("link: {}", text(delivery, "form")),
        to => to.to_owned(),
    };
    let status = match text(restore, "status") {
        "in_progress" => text(&restore["progress"], "phase"),
        status => status,
    };
    vec![
        text(restore, "id").to_owned(),
        text(restore, "created").to_owned(),
        text(restore, "moment").to_owned(),
        to,
        status.to_owned(),
        text(restore, "message").to_owned(),
    ]
}
