//! What holds for the whole server.

use std::path::PathBuf;

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::{Settings, Smtp, Thresholds};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::jobs::given;
use crate::{
    call::Call,
    failure::Failure,
    patch::Patch,
    route::{Need, Route, get, with},
    schema::{Book, JsonSchema, field, object},
};

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SettingsBody {
    thresholds: Thresholds,
    /// URLs that alerts are posted to.
    webhooks: Vec<String>,
    smtp: Option<SmtpBody>,
    /// A program that gets the alert as JSON on its standard input.
    command: Option<String>,
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
    /// Never shown again; left out, it stays where the server is the same.
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
    /// What is left out stays.
    thresholds: Option<Patch<Thresholds>>,
    /// The full new list; at most 20.
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

impl JsonSchema for Thresholds {
    fn named() -> bool {
        true
    }

    fn schema(book: &mut Book) -> Value {
        let fields = vec![
            field::<u64>(book, "oplog_behind_secs", ""),
            field::<u64>(book, "agent_down_secs", ""),
            field::<u64>(book, "daemon_down_secs", ""),
            field::<u64>(book, "late_snapshot_percent", "Of the interval; 1 to 10000."),
            field::<u64>(
                book,
                "store_full_percent",
                "Of the store's limit, or of its disk; 1 to 100.",
            ),
            field::<u64>(book, "groom_overdue_secs", ""),
            field::<u64>(book, "clock_skew_secs", ""),
        ];
        object("When something counts as wrong; seconds from 1 on, and percents.", fields, false)
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
            thresholds: settings.thresholds,
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
    let control = &call.control;
    let thresholds = match &body.thresholds {
        Some(patch) => Some(patch.onto(&control.settings().await?.thresholds)?),
        None => None,
    };
    let sealed = match &body.smtp {
        Some(Some(NewSmtp { password: Some(password), .. })) => {
            Some(control.seal().seal(password, Smtp::PLACE, &**control.rng())?)
        }
        _ => None,
    };
    let by = call.by();
    let changed = control.edit_settings(&by, |settings| {
        if let Some(thresholds) = &thresholds {
            settings.thresholds.clone_from(thresholds);
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
    Ok(changed.await?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_records_fields() {
        let schema = Thresholds::schema(&mut Book::default());
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let written = serde_json::to_value(Thresholds::default()).unwrap();
        let (mut said, mut has) = (names(&schema["properties"]), names(&written));
        said.sort();
        has.sort();
        assert_eq!(said, has);
    }
}
