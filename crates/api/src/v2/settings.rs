//! What holds for the whole server.

use std::path::PathBuf;

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::{Settings, Smtp, Thresholds};
use serde::{Deserialize, Serialize};
use url::Url;

use super::jobs::given;
use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Route, get, with},
    schema::JsonSchema,
};

/// Where the mail server's password is sealed for.
const SMTP: &str = "settings/smtp";
/// Of a kind, at most.
const MOST: usize = 100;

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SettingsBody {
    thresholds: ThresholdsBody,
    /// URLs that alerts are posted to.
    webhooks: Vec<String>,
    smtp: Option<SmtpBody>,
    /// A program that gets the alert as JSON on its standard input.
    command: Option<String>,
}

/// When something counts as wrong; seconds and percents. What is left out is as in a new server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ThresholdsBody {
    oplog_behind_secs: u64,
    agent_down_secs: u64,
    daemon_down_secs: u64,
    /// Of the interval.
    late_snapshot_percent: u64,
    /// Of the store's limit, or of its disk.
    store_full_percent: u64,
    groom_overdue_secs: u64,
    clock_skew_secs: u64,
}

/// A mail server, without its password.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SmtpBody {
    url: String,
    user: Option<String>,
    has_password: bool,
    from: String,
    to: Vec<String>,
}

/// A mail server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSmtp {
    /// smtp://host:25, smtp://host:587 (STARTTLS where offered) or smtps://host
    url: String,
    user: Option<String>,
    /// Never shown again; left out, it stays.
    password: Option<String>,
    from: String,
    to: Vec<String>,
}

impl std::fmt::Debug for NewSmtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewSmtp {}", self.url)
    }
}

/// What of the settings changes; what is left out stays, null takes it away.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SettingsPatch {
    thresholds: Option<ThresholdsBody>,
    /// The full new list.
    webhooks: Option<Vec<String>>,
    #[serde(deserialize_with = "given")]
    #[schema(with = "Option<NewSmtp>")]
    smtp: Option<Option<NewSmtp>>,
    /// An absolute path on the server. As it is run there, only a Global Owner may change it.
    #[serde(deserialize_with = "given")]
    #[schema(with = "Option<String>")]
    command: Option<Option<String>>,
}

pub(super) fn routes() -> Vec<Route> {
    let settings = Need::Server(Right::Settings);
    vec![
        get("/api/v2/settings", settings, "The settings.", read),
        with(Method::PATCH, "/api/v2/settings", settings, "Changes the settings.", patch),
    ]
}

impl Default for ThresholdsBody {
    fn default() -> Self {
        Thresholds::default().into()
    }
}

impl From<Thresholds> for ThresholdsBody {
    fn from(thresholds: Thresholds) -> Self {
        let Thresholds {
            oplog_behind_secs,
            agent_down_secs,
            daemon_down_secs,
            late_snapshot_percent,
            store_full_percent,
            groom_overdue_secs,
            clock_skew_secs,
        } = thresholds;
        ThresholdsBody {
            oplog_behind_secs,
            agent_down_secs,
            daemon_down_secs,
            late_snapshot_percent,
            store_full_percent,
            groom_overdue_secs,
            clock_skew_secs,
        }
    }
}

impl From<ThresholdsBody> for Thresholds {
    fn from(body: ThresholdsBody) -> Self {
        let ThresholdsBody {
            oplog_behind_secs,
            agent_down_secs,
            daemon_down_secs,
            late_snapshot_percent,
            store_full_percent,
            groom_overdue_secs,
            clock_skew_secs,
        } = body;
        Thresholds {
            oplog_behind_secs,
            agent_down_secs,
            daemon_down_secs,
            late_snapshot_percent,
            store_full_percent,
            groom_overdue_secs,
            clock_skew_secs,
        }
    }
}

impl From<Settings> for SettingsBody {
    fn from(settings: Settings) -> Self {
        let smtp = |smtp: Smtp| SmtpBody {
            url: smtp.url,
            user: smtp.user,
            has_password: smtp.password.is_some(),
            from: smtp.from,
            to: smtp.to,
        };
        SettingsBody {
            thresholds: settings.thresholds.into(),
            webhooks: settings.webhooks,
            smtp: settings.smtp.map(smtp),
            command: settings.command.map(|path| path.display().to_string()),
        }
    }
}

async fn read(call: Call) -> Result<SettingsBody, Failure> {
    Ok(call.control.settings().await?.into())
}

async fn patch(call: Call, body: SettingsPatch) -> Result<SettingsBody, Failure> {
    if body.command.is_some() {
        call.must(Right::Users)?;
    }
    check(&body)?;
    let sealed = match &body.smtp {
        Some(Some(NewSmtp { password: Some(password), .. })) => {
            Some(call.control.seal().seal(password, SMTP, &**call.control.rng())?)
        }
        _ => None,
    };
    let changed = call.control.change_settings(|settings| {
        if let Some(thresholds) = &body.thresholds {
            settings.thresholds = thresholds.clone().into();
        }
        if let Some(webhooks) = &body.webhooks {
            settings.webhooks.clone_from(webhooks);
        }
        if let Some(smtp) = &body.smtp {
            let old = settings.smtp.take().and_then(|smtp| smtp.password);
            settings.smtp = smtp.as_ref().map(|new| Smtp {
                url: new.url.clone(),
                user: new.user.clone(),
                password: sealed.clone().or(old),
                from: new.from.clone(),
                to: new.to.clone(),
            });
        }
        if let Some(command) = &body.command {
            settings.command = command.as_ref().map(PathBuf::from);
        }
        Ok(())
    });
    let changed = changed.await?;
    let kind = "SETTINGS_CHANGED_AUDIT";
    call.control.event(&call.by(), None, None, kind, "settings changed").await?;
    Ok(changed.into())
}

fn check(body: &SettingsPatch) -> Result<(), Failure> {
    let is = |text: &str, schemes: &[&str]| {
        Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host())
    };
    let webhooks = body.webhooks.iter().flatten();
    if webhooks.clone().count() > MOST {
        return Err(Failure::invalid("webhooks", format!("at most {MOST} webhooks")));
    }
    if !webhooks.clone().all(|hook| is(hook, &["http", "https"])) {
        return Err(Failure::invalid("webhooks", "a webhook is an http or https URL"));
    }
    if let Some(Some(smtp)) = &body.smtp {
        if !is(&smtp.url, &["smtp", "smtps"]) {
            return Err(Failure::invalid("smtp", "a mail server is smtp://host or smtps://host"));
        }
        let address = |text: &String| text.contains('@') && !text.chars().any(char::is_control);
        let good = !smtp.to.is_empty() && smtp.to.len() <= MOST;
        if !good || !smtp.to.iter().chain([&smtp.from]).all(address) {
            return Err(Failure::invalid("smtp", "mail needs a sender's and receivers' addresses"));
        }
    }
    if let Some(Some(command)) = &body.command
        && !command.starts_with('/')
    {
        return Err(Failure::invalid("command", "the command is an absolute path"));
    }
    Ok(())
}
