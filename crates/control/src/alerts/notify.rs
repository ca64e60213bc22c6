//! Telling people: webhooks, mail, a command.

#[cfg(test)]
mod tests;

use std::{path::Path, process::Stdio, time::Duration};

use bygone_base::{Clock, Error, ErrorKind, Result};
use bygone_catalog::record::{Alert, AlertStatus, Settings, Smtp};
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::authentication::Credentials,
};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::Control;

/// Each way gets so long.
const LIMIT: Duration = Duration::from_secs(30);

/// Tells an alert by every way that is set up.
///
/// # Errors
/// One of them failed; the others were tried all the same.
pub async fn tell(control: &Control, settings: &Settings, alert: &Alert) -> Result<()> {
    let body = body(alert);
    let clock = &**control.clock();
    let mut failed = None;
    for url in &settings.webhooks {
        let sent = limited(clock, post(url, &body)).await;
        failed = sent.map_err(|e| e.within("webhook")).err().or(failed);
    }
    if let Some(smtp) = &settings.smtp {
        let sent = limited(clock, mail(control, smtp, alert)).await;
        failed = sent.map_err(|e| e.within("mail")).err().or(failed);
    }
    if let Some(program) = &settings.command {
        let run = limited(clock, command(program, &body)).await;
        failed = run.map_err(|e| e.within("command")).err().or(failed);
    }
    failed.map_or(Ok(()), Err)
}

/// What programs are told.
fn body(alert: &Alert) -> serde_json::Value {
    json!({
        "id": alert.id, "type": alert.kind, "status": alert.status, "message": alert.message,
        "groupId": alert.project, "clusterId": alert.job, "target": alert.target,
        "created": alert.created.to_rfc3339_seconds(),
        "updated": alert.updated.to_rfc3339_seconds(),
        "resolved": alert.resolved.map(|at| at.to_rfc3339_seconds()),
    })
}

async fn limited(clock: &dyn Clock, work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        done = work => done,
        () = clock.sleep(LIMIT) => {
            let why = format!("no answer within {} s", LIMIT.as_secs());
            Err(Error::new(ErrorKind::Unavailable, why))
        }
    }
}

async fn post(url: &str, body: &serde_json::Value) -> Result<()> {
    // The URL often holds a secret: errors must not.
    let failed = |e: reqwest::Error| {
        Error::new(ErrorKind::Unavailable, "the request failed").source(e.without_url())
    };
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.build().map_err(failed)?;
    let answer = client
        .post(url)
        .header(reqwest::header::CONTENT_TYPE, "application/json")
        .body(body.to_string())
        .send()
        .await
        .map_err(failed)?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unavailable, format!("answered {}", answer.status())))
}

async fn mail(control: &Control, smtp: &Smtp, alert: &Alert) -> Result<()> {
    let bad = |what: &str| Error::usage(format!("{what} of the mail settings is no address"));
    let word = match alert.status {
        AlertStatus::Closed => "closed",
        AlertStatus::Open | AlertStatus::Acknowledged => "open",
    };
    let kind = serde_json::to_value(alert.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
    let mut message = Message::builder()
        .from(smtp.from.parse().map_err(|_| bad("the sender"))?)
        .subject(format!("bygone alert {word}: {kind}"));
    for to in &smtp.to {
        message = message.to(to.parse().map_err(|_| bad("a receiver"))?);
    }
    let text = format!("{}\n\nsince {}\n", alert.message, alert.created.to_rfc3339_seconds());
    let message =
        message.body(text).map_err(|e| Error::usage("the mail cannot be written").source(e))?;
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&smtp.url)
        .map_err(|e| Error::usage("the URL of the mail server is wrong").source(e))?;
    if let (Some(user), Some(password)) = (&smtp.user, &smtp.password) {
        let password = control.seal().open(password, Smtp::PLACE)?;
        transport = transport.credentials(Credentials::new(user.clone(), password.to_string()));
    }
    let sent = transport.build().send(message).await;
    sent.map_err(|e| Error::new(ErrorKind::Unavailable, "the mail server").source(e))?;
    Ok(())
}

async fn command(program: &Path, body: &serde_json::Value) -> Result<()> {
    let io = |e| Error::io(format!("run {}", program.display()), e);
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(io)?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read is no failure.
        let _ = input.write_all(format!("{body}\n").as_bytes()).await;
    }
    let status = child.wait().await.map_err(io)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unavailable, format!("{} ended with {status}", program.display())))
}
