//! `bygone alert`.

use std::{process::ExitCode, time::Duration};

use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use serde_json::{Value, json};

use super::{
    Remote,
    args::{AlertArgs, AlertCommand},
    list,
    table::table,
    text,
};
use crate::{access, output::Output};

/// Does what is asked.
pub async fn run(args: AlertArgs, output: &Output) -> Result<ExitCode> {
    let remote = Remote::new(&args.remote)?;
    let alerts = format!("{}/alerts", remote.project().await?);
    match args.command {
        AlertCommand::List { all } => {
            let mut found = list(remote.client.get(&alerts).await?);
            found.extend(of_server(&remote).await?);
            found.retain(|alert| all || text(alert, "status") != "CLOSED");
            let row = |alert: &Value| {
                let names = ["id", "kind", "status", "created", "message"];
                names.map(|name| text(alert, name).to_owned()).to_vec()
            };
            let rows: Vec<_> = found.iter().map(row).collect();
            let headings = ["alert", "kind", "status", "since", "message"];
            output.result(table(&headings, &rows), &Value::Array(found));
        }
        AlertCommand::Ack { alert, r#for, comment } => {
            let until = until(r#for).to_rfc3339_seconds();
            let body = json!({"until": until, "comment": comment});
            let answer = acknowledge(&remote, &alerts, &alert, &body).await?;
            output.result(format!("alert {alert} is acknowledged until {until}"), &answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Alerts of the server and its stores; none for who may not look everywhere.
async fn of_server(remote: &Remote) -> Result<Vec<Value>> {
    match remote.client.get("/api/v2/alerts").await {
        Ok(all) => Ok(list(all).into_iter().filter(|alert| alert["project"].is_null()).collect()),
        Err(error) if error.kind() == ErrorKind::Denied => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// In the project; where it has no such alert, that of the server.
async fn acknowledge(remote: &Remote, alerts: &str, alert: &str, body: &Value) -> Result<Value> {
    let path = format!("{alerts}/{alert}/acknowledgement");
    let missing: Error = match remote.client.put(&path, body).await {
        Err(error) if error.kind() == ErrorKind::NotFound => error,
        other => return other,
    };
    let path = format!("/api/v2/alerts/{alert}/acknowledgement");
    match remote.client.put(&path, body).await {
        // Who may not look there knows of none.
        Err(error) if error.kind() == ErrorKind::Denied => Err(missing),
        other => other,
    }
}

fn until(time: Duration) -> UnixMillis {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    UnixMillis(access::clock().now().0.saturating_add(millis))
}
