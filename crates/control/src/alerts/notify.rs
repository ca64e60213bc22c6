//! Telling people: webhooks, mail, a command.

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use bygone_base::{Clock, Error, ErrorKind, Result};
use bygone_catalog::record::{Alert, AlertStatus, Settings, Smtp};
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::authentication::Credentials,
};
use reqwest::Url;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::Control;

/// Each way gets so long.
const LIMIT: Duration = Duration::from_secs(30);

/// One of the ways by which people are told.
#[derive(Debug, Clone, PartialEq)]
pub enum Channel {
    /// This URL is posted to.
    Webhook(String),
    /// Mail.
    Mail(Box<Smtp>),
    /// This program is run.
    Command(PathBuf),
}

impl Channel {
    /// All that are set up.
    pub fn all(settings: &Settings) -> Vec<Channel> {
        let webhooks = settings.webhooks.iter().cloned().map(Channel::Webhook);
        let mail = settings.smtp.iter().map(|smtp| Channel::Mail(Box::new(smtp.clone())));
        let command = settings.command.iter().cloned().map(Channel::Command);
        webhooks.chain(mail).chain(command).collect()
    }

    /// What tells it from the others. (A URL often holds a secret.)
    pub fn key(&self) -> String {
        match self {
            Channel::Webhook(url) => {
                let hash = blake3::hash(url.as_bytes()).to_hex();
                format!("webhook/{}", hash.get(..16).unwrap_or_default())
            }
            Channel::Mail(_) => "mail".to_owned(),
            Channel::Command(_) => "command".to_owned(),
        }
    }

    /// Tells an alert.
    ///
    /// # Errors
    /// It failed, or nobody answered for half a minute.
    pub async fn tell(&self, control: &Control, alert: &Alert) -> Result<()> {
        let clock = &**control.clock();
        match self {
            Channel::Webhook(url) => {
                let sent = limited(clock, post(url, &body(alert))).await;
                sent.map_err(|e| e.within("webhook"))
            }
            Channel::Mail(smtp) => {
                let sent = limited(clock, mail(control, smtp, &letter(alert))).await;
                sent.map_err(|e| e.within("mail"))
            }
            Channel::Command(program) => {
                let run = limited(clock, command(program, &body(alert))).await;
                run.map_err(|e| e.within("command"))
            }
        }
    }
}

/// A way by which people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All webhooks.
    Webhooks,
    /// Mail.
    Mail,
    /// The program.
    Command,
}

/// Tells by one way that it is a test, to find out whether it works.
///
/// # Errors
/// Usage: the way is not set up. What it fails at.
pub async fn test(control: &Control, settings: &Settings, way: Way) -> Result<()> {
    let now = control.now().to_rfc3339_seconds();
    let message = "this is a test: nothing is wrong";
    let body = json!({
        "id": null, "type": "TEST", "status": "CLOSED", "message": message, "groupId": null,
        "clusterId": null, "target": "", "created": now, "updated": now, "resolved": now,
    });
    let missing = || Error::usage("this is not set up").hint("save the settings first");
    let clock = &**control.clock();
    match way {
        Way::Webhooks if settings.webhooks.is_empty() => Err(missing()),
        Way::Webhooks => {
            for url in &settings.webhooks {
                limited(clock, post(url, &body)).await.map_err(|e| e.within("webhook"))?;
            }
            Ok(())
        }
        Way::Mail => {
            let smtp = settings.smtp.as_ref().ok_or_else(missing)?;
            let letter =
                Letter { subject: "bygone alert: test".to_owned(), text: format!("{message}\n") };
            limited(clock, mail(control, smtp, &letter)).await.map_err(|e| e.within("mail"))
        }
        Way::Command => {
            let program = settings.command.as_ref().ok_or_else(missing)?;
            limited(clock, command(program, &body)).await.map_err(|e| e.within("command"))
        }
    }
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

/// What is written to people.
struct Letter {
    subject: String,
    text: String,
}

fn letter(alert: &Alert) -> Letter {
    let word = match alert.status {
        AlertStatus::Closed => "closed",
        AlertStatus::Open | AlertStatus::Acknowledged => "open",
    };
    let kind = serde_json::to_value(alert.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
    Letter {
        subject: format!("bygone alert {word}: {kind}"),
        text: format!("{}\n\nsince {}\n", alert.message, alert.created.to_rfc3339_seconds()),
    }
}

/// The URL as lettre takes it. Without a word about TLS it would never use any; here STARTTLS is a must unless the URL
/// says otherwise.
fn smtp_url(text: &str) -> Result<String> {
    let mut url: Url =
        text.parse().map_err(|_| Error::usage("the URL of the mail server is none"))?;
    let tls =
        url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
    match (url.scheme(), tls.as_deref()) {
        ("smtp", None) => {
            url.query_pairs_mut().append_pair("tls", "required");
        }
        (_, Some("none")) => {
            let rest: Vec<_> = url.query_pairs().into_owned().filter(|(n, _)| n != "tls").collect();
            url.set_query(None);
            for (name, value) in rest {
                url.query_pairs_mut().append_pair(&name, &value);
            }
        }
        (_, None | Some("required" | "opportunistic")) => {}
        (_, Some(other)) => {
            return Err(Error::usage(format!("the mail server's tls={other} is not known"))
                .hint("required, opportunistic or none"));
        }
    }
    Ok(url.into())
}

async fn mail(control: &Control, smtp: &Smtp, letter: &Letter) -> Result<()> {
    let bad = |what: &str| Error::usage(format!("{what} of the mail settings is no address"));
    let mut message = Message::builder()
        .from(smtp.from.parse().map_err(|_| bad("the sender"))?)
        .subject(&*letter.subject);
    for to in &smtp.to {
        message = message.to(to.parse().map_err(|_| bad("a receiver"))?);
    }
    let message = message
        .body(letter.text.clone())
        .map_err(|e| Error::usage("the mail cannot be written").source(e))?;
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&smtp_url(&smtp.url)?)
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
