//! `bygone restore-job`: restores that a server does.

use std::process::ExitCode;

use bygone_base::{Error, Result};
use serde_json::{Value, json};

use super::{
    Remote,
    args::{RestoreJobArgs, RestoreJobCommand},
    confirmed, list,
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
        RestoreJobCommand::Start {
            cluster,
            at,
            to_file,
            link,
            drop,
            confirm,
            dry_run,
            ns_include,
            ns_exclude,
        } => {
            let delivery = match &to_file {
                Some(file) => {
                    let to = access::first_line(file)?;
                    json!({"method": "automated", "to": to, "drop": drop})
                }
                None => json!({"method": "http", "form": form(link.as_deref())?}),
            };
            let names = json!({"include": ns_include, "exclude": ns_exclude});
            let body = json!({"when": at, "names": names, "delivery": delivery});
            if drop && !dry_run {
                let does =
                    format!("drops in the target the collections that are restored of {cluster}");
                confirmed(&cluster, confirm, &does, "restored")?;
            }
            start(&remote, &cluster, &body, dry_run, output).await?;
        }
        RestoreJobCommand::Cancel { restore } => {
            let path = format!("{restores}/{restore}/cancellation");
            let answer = remote.client.post(&path, None).await?;
            output.result(cancelled(&restore, &answer), &answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks for a restore, or only for what it would do.
async fn start(
    remote: &Remote,
    cluster: &str,
    body: &Value,
    dry_run: bool,
    output: &Output,
) -> Result<()> {
    let (path, _) = remote.job(cluster).await?;
    if dry_run {
        let plan = remote.client.post(&format!("{path}/restore-plans"), Some(body)).await?;
        output.result(text(&plan, "text"), &plan["plan"]);
        return Ok(());
    }
    let made = remote.client.post(&format!("{path}/restores"), Some(body)).await?;
    let id = text(&made, "id");
    let line = match text(&made["delivery"], "url") {
        "" => format!("restore {id} is asked for; `bygone restore-job show {id}` shows it"),
        url => format!("restore {id} is asked for; its file will be at {url}"),
    };
    output.result(line, &made);
    Ok(())
}

/// What became of a restore that was cancelled.
fn cancelled(restore: &str, answer: &Value) -> String {
    match text(answer, "status") {
        "in_progress" => format!(
            "restore {restore} is being ended; `bygone restore-job show {restore}` shows it"
        ),
        "finished" => format!("the link of restore {restore} is good no more"),
        _ => format!("restore {restore} is cancelled"),
    }
}

/// What the file of a link is to hold.
///
/// # Errors
/// Usage: it is no form, and no namespace.
fn form(link: Option<&str>) -> Result<Value> {
    match link {
        None | Some("archive") => Ok(json!({"kind": "archive"})),
        Some("tar") => Ok(json!({"kind": "tar"})),
        Some(namespace) if namespace.contains('.') => {
            Ok(json!({"kind": "collection", "namespace": namespace}))
        }
        Some(other) => Err(Error::usage(format!("--link {other:?} is no form of a file"))
            .hint("give archive, tar, or a collection as DATABASE.COLLECTION")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_an_archive_a_tar_or_a_collection() {
        assert_eq!(form(None).unwrap(), json!({"kind": "archive"}));
        assert_eq!(form(Some("tar")).unwrap(), json!({"kind": "tar"}));
        let collection = json!({"kind": "collection", "namespace": "a.b"});
        assert_eq!(form(Some("a.b")).unwrap(), collection);
        assert!(form(Some("zip")).is_err());
    }

    #[test]
    fn a_cancellation_says_what_became_of_it() {
        let said = |status: &str| cancelled("r", &json!({"status": status}));
        assert!(said("in_progress").contains("is being ended"));
        assert!(said("finished").contains("good no more"));
        assert_eq!(said("killed"), "restore r is cancelled");
    }
}
