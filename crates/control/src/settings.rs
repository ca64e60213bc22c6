//! The settings of the server, changed by people and programs: checked, and told.

use bygone_base::{Error, Result};
use bygone_catalog::record::{Settings, Smtp, Thresholds, Upkeep};
use reqwest::Url;
use serde_json::{Value, json};

use crate::{By, Control, changes};

/// Webhooks at most.
const WEBHOOKS: usize = 20;
/// Receivers of mail at most.
const RECEIVERS: usize = 100;
/// A snapshot may be so late at most: a hundred intervals.
const LATEST: u64 = 10_000;
/// Checks of stores are so many seconds apart, at least and at most.
const CHECKS_SECS: std::ops::RangeInclusive<u64> = 60..=366 * 86_400;

impl Control {
    /// Changes the settings in somebody's name. The password of a mail server that is only carried over is kept for the
    /// same server: it must not be sent to another.
    ///
    /// # Errors
    /// Usage: what is changed will not do.
    pub async fn edit_settings(
        &self,
        by: &By,
        mut change: impl FnMut(&mut Settings) -> Result<()>,
    ) -> Result<Settings> {
        let mut said = Vec::new();
        let changed = self.change_settings(|settings| {
            let old = settings.clone();
            change(settings)?;
            if let Some(smtp) = &mut settings.smtp {
                keep_at_home(smtp, old.smtp.as_ref());
            }
            check(&old, settings)?;
            said = changes::between(&shown(&old), &shown(settings));
            if said.is_empty() && settings.smtp != old.smtp {
                said.push("smtp.password: another".to_owned());
            }
            Ok(())
        });
        let changed = changed.await?;
        if !said.is_empty() {
            let message = changes::message("settings changed", &said);
            self.event(by, None, None, "SETTINGS_CHANGED_AUDIT", message).await?;
        }
        Ok(changed)
    }
}

/// A password that was given for another server is forgotten.
fn keep_at_home(smtp: &mut Smtp, old: Option<&Smtp>) {
    let carried = old.filter(|old| old.password == smtp.password);
    if carried.is_some_and(|old| old.url != smtp.url) {
        smtp.password = None;
    }
}

/// What of the settings an event may show. An address of a webhook may hold a secret: its host is enough.
fn shown(settings: &Settings) -> Value {
    let host = |hook: &String| Url::parse(hook).ok()?.host_str().map(str::to_owned);
    let smtp = settings.smtp.as_ref().map(|smtp| {
        let Smtp { url, user, from, to, password } = smtp;
        let password = if password.is_some() { "set" } else { "none" };
        json!({ "url": url, "user": user, "from": from, "to": to, "password": password })
    });
    json!({
        "thresholds": serde_json::to_value(&settings.thresholds).unwrap_or_default(),
        "upkeep": serde_json::to_value(&settings.upkeep).unwrap_or_default(),
        "webhooks": settings.webhooks.iter().filter_map(host).collect::<Vec<_>>(),
        "smtp": smtp,
        "command": settings.command.as_ref().map(|path| path.display().to_string()),
    })
}

/// Whether what changed will do.
fn check(old: &Settings, new: &Settings) -> Result<()> {
    if new.thresholds != old.thresholds {
        thresholds(&new.thresholds)?;
    }
    if new.upkeep != old.upkeep {
        upkeep(&new.upkeep)?;
    }
    if new.webhooks != old.webhooks {
        webhooks(&new.webhooks)?;
    }
    if let Some(smtp) = new.smtp.as_ref().filter(|smtp| Some(*smtp) != old.smtp.as_ref()) {
        mail(smtp)?;
    }
    if let Some(command) = new.command.as_ref().filter(|path| Some(*path) != old.command.as_ref())
        && !command.is_absolute()
    {
        return Err(Error::usage("the program that is told of alerts is an absolute path"));
    }
    Ok(())
}

fn thresholds(limits: &Thresholds) -> Result<()> {
    let most = u64::MAX / 1000;
    let table = [
        ("oplog_behind_secs", limits.oplog_behind_secs, most),
        ("agent_down_secs", limits.agent_down_secs, most),
        ("daemon_down_secs", limits.daemon_down_secs, most),
        ("late_snapshot_percent", limits.late_snapshot_percent, LATEST),
        ("store_full_percent", limits.store_full_percent, 100),
        ("groom_overdue_secs", limits.groom_overdue_secs, most),
        ("clock_skew_secs", limits.clock_skew_secs, most),
    ];
    for (name, value, most) in table {
        if !(1..=most).contains(&value) {
            return Err(Error::usage(format!("threshold {name} is 1 to {most}")));
        }
    }
    Ok(())
}

fn upkeep(limits: &Upkeep) -> Result<()> {
    if !CHECKS_SECS.contains(&limits.check_every_secs) {
        return Err(Error::usage("upkeep check_every_secs: checks are a minute to a year apart"));
    }
    if !(limits.check_every_secs..=*CHECKS_SECS.end()).contains(&limits.check_within_secs) {
        return Err(Error::usage(
            "upkeep check_within_secs: everything is read within the time between two checks, or more, up to a year",
        ));
    }
    Ok(())
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host())
}

fn webhooks(hooks: &[String]) -> Result<()> {
    if hooks.len() > WEBHOOKS {
        return Err(Error::usage(format!("at most {WEBHOOKS} webhooks are possible")));
    }
    match hooks.iter().find(|hook| !is_url(hook, &["http", "https"])) {
        Some(hook) => Err(Error::usage(format!("webhook {hook:?} is no http or https address"))),
        None => Ok(()),
    }
}

fn mail(smtp: &Smtp) -> Result<()> {
    if !is_url(&smtp.url, &["smtp", "smtps"]) {
        let why = format!("mail server {:?} is no smtp:// or smtps:// address", smtp.url);
        return Err(Error::usage(why));
    }
    let login =
        Url::parse(&smtp.url).is_ok_and(|u| !u.username().is_empty() || u.password().is_some());
    if login {
        return Err(Error::usage("a user and a password stand in the address of the mail server")
            .hint("give them as user and password: the address is shown, the password is not"));
    }
    let address = |text: &String| text.contains('@') && !text.chars().any(char::is_control);
    let some = (1..=RECEIVERS).contains(&smtp.to.len());
    if !some || !smtp.to.iter().chain([&smtp.from]).all(address) {
        return Err(Error::usage(
            "mail needs the addresses of a sender and of somebody who gets it",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(url: &str, password: Option<&str>) -> Smtp {
        Smtp {
            url: url.into(),
            user: Some("u".into()),
            password: password.map(|text| serde_json::from_value(text.into()).unwrap()),
            from: "a@b".into(),
            to: vec!["c@d".into()],
        }
    }

    #[test]
    fn a_password_stays_with_its_server() {
        let old = smtp("smtps://mail.example", Some("c2VjcmV0"));
        let after = |mut new: Smtp| {
            keep_at_home(&mut new, Some(&old));
            new.password.is_some()
        };
        assert!(after(smtp("smtps://mail.example", Some("c2VjcmV0"))));
        for elsewhere in ["smtps://evil.example", "smtp://mail.example", "smtps://mail.example:26"]
        {
            assert!(!after(smtp(elsewhere, Some("c2VjcmV0"))), "{elsewhere}");
        }
        // One that was given now is for this one.
        assert!(after(smtp("smtps://other.example", Some("bmV3"))));
    }

    #[test]
    fn what_is_changed_must_do_and_what_was_there_may_stay() {
        let good = Settings::default();
        let refused = |change: fn(&mut Settings)| {
            let mut new = good.clone();
            change(&mut new);
            // What is already so may stay so.
            assert!(check(&new, &new).is_ok());
            check(&good, &new).is_err()
        };
        assert!(refused(|s| s.thresholds.clock_skew_secs = 0));
        assert!(refused(|s| s.thresholds.late_snapshot_percent = 0));
        assert!(refused(|s| s.thresholds.store_full_percent = 101));
        assert!(refused(|s| s.webhooks = vec!["https://h/".into(); 21]));
        assert!(refused(|s| s.webhooks = vec!["file:///etc/passwd".into()]));
        assert!(refused(|s| s.smtp = Some(smtp("http://h", None))));
        assert!(refused(|s| s.smtp = Some(Smtp { to: Vec::new(), ..smtp("smtp://h", None) })));
        assert!(refused(|s| s.command = Some("tell".into())));
        assert!(!refused(|s| s.webhooks = vec!["https://h/".into(); 20]));
        assert!(!refused(|s| s.smtp = Some(smtp("smtp://h:25", None))));
    }

    #[test]
    fn events_show_no_secrets() {
        let hook = "https://hooks.example/topsecret".to_owned();
        let smtp = Some(smtp("smtp://h", Some("dG9wc2VjcmV0")));
        let settings = Settings { webhooks: vec![hook], smtp, ..Settings::default() };
        let said = changes::between(&shown(&Settings::default()), &shown(&settings)).join(" ");
        assert!(said.contains("hooks.example") && said.contains("password set"), "{said}");
        assert!(!said.contains("topsecret") && !said.contains("dG9wc2VjcmV0"), "{said}");
    }
}
