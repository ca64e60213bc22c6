//! What holds for the whole server: when something counts as wrong, and who is told.

use axum::{Router, extract::State, routing::get};
use bygone_access::Right;
use bygone_base::Result;
use bygone_catalog::record::{Settings, Smtp, Thresholds};
use maud::{Markup, html};

use crate::{
    failure::Answer,
    form::Form,
    notice::Notice,
    part::control,
    site::Site,
    visitor::{Posted, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new().route("/settings", get(show).post(save))
}

async fn show(State(site): State<Site>, visitor: Visitor) -> Answer {
    visitor.needs(Right::Settings)?;
    let settings = site.control.settings().await?;
    visitor.page(&site, "Settings", "/settings", draw(&settings, visitor.csrf())).await
}

fn draw(settings: &Settings, csrf: &str) -> Markup {
    let limits = &settings.thresholds;
    let smtp = settings.smtp.as_ref();
    let of = |text: fn(&Smtp) -> &str| smtp.map_or("", text);
    let command = settings.command.as_ref().map(|path| path.display().to_string());
    html! {
        h1 { "Settings" }
        form method="post" action="/settings" {
            (control::csrf(csrf))
            fieldset {
                legend { "An alert opens" }
                (control::duration("oplog_behind", "when what is stored is behind its source by", limits.oplog_behind_secs, ""))
                (control::duration("agent_down", "when no agent of a project was heard for", limits.agent_down_secs, ""))
                (control::duration("daemon_down", "when the daemon of an active job has not run for", limits.daemon_down_secs, ""))
                (control::number("late_snapshot", "when the newest snapshot is older than so many percent of the interval", &limits.late_snapshot_percent.to_string(), ""))
                (control::number("store_full", "when a store is full to so many percent", &limits.store_full_percent.to_string(), ""))
                (control::duration("groom_overdue", "when a store was not groomed for", limits.groom_overdue_secs, ""))
                (control::duration("clock_skew", "when clocks differ by", limits.clock_skew_secs, ""))
            }
            fieldset {
                legend { "Who is told" }
                (control::lines("webhooks", "Webhooks", &settings.webhooks, "An address per line; each alert is posted there as JSON."))
                (control::text("command", "Program", command.as_deref().unwrap_or(""), "A file on the server; gets the alert as JSON on its standard input."))
            }
            fieldset {
                legend { "Mail" }
                (control::text("smtp_url", "Server", of(|smtp| &smtp.url), "smtp://host:587, smtps://host; empty: no mail."))
                (control::text("smtp_user", "User", of(|smtp| smtp.user.as_deref().unwrap_or("")), ""))
                (control::secret("smtp_password", "Password", "off", "Leave it empty to keep the one that is there."))
                (control::text("smtp_from", "From", of(|smtp| &smtp.from), ""))
                (control::lines("smtp_to", "To", smtp.map_or(&[], |smtp| &smtp.to), "An address per line."))
            }
            div.actions { button type="submit" { "Save the settings" } }
        }
    }
}

fn thresholds(form: &Form) -> Result<Thresholds> {
    Ok(Thresholds {
        oplog_behind_secs: form.seconds("oplog_behind", "oplog behind")?,
        agent_down_secs: form.seconds("agent_down", "agent down")?,
        daemon_down_secs: form.seconds("daemon_down", "daemon down")?,
        late_snapshot_percent: form.number("late_snapshot", "late snapshot")?,
        store_full_percent: form.number("store_full", "store nearly full")?,
        groom_overdue_secs: form.seconds("groom_overdue", "groom overdue")?,
        clock_skew_secs: form.seconds("clock_skew", "clock skew")?,
    })
}

/// The mail server as sent, its password sealed or as it was. (Whether that may stay, the control plane knows.)
fn smtp(site: &Site, form: &Form, old: Option<&Smtp>) -> Result<Option<Smtp>> {
    let Some(url) = form.some("smtp_url") else { return Ok(None) };
    let user = form.some("smtp_user");
    let password = match form.raw("smtp_password") {
        _ if user.is_none() => None,
        "" => old.and_then(|old| old.password.clone()),
        new => Some(site.control.seal().seal(new, Smtp::PLACE, &**site.control.rng())?),
    };
    let from = form.some("smtp_from").unwrap_or_default();
    Ok(Some(Smtp { url, user, password, from, to: form.lines("smtp_to") }))
}

async fn save(State(site): State<Site>, Posted { visitor, form }: Posted) -> Answer {
    visitor.needs(Right::Settings)?;
    let old = site.control.settings().await?;
    let (limits, hooks) = (thresholds(&form)?, form.lines("webhooks"));
    let mail = smtp(&site, &form, old.smtp.as_ref())?;
    let command = form.some("command").map(std::path::PathBuf::from);
    // A program that is run by the server is as much as a login on it.
    if command != old.command {
        visitor.needs(Right::Users)?;
    }
    site.control
        .edit_settings(&visitor.by(), |settings| {
            settings.thresholds = limits.clone();
            settings.webhooks.clone_from(&hooks);
            settings.smtp.clone_from(&mail);
            settings.command.clone_from(&command);
            Ok(())
        })
        .await?;
    visitor.go(&site, "/settings", &Notice::of("The settings were saved."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn settings_are_escaped_and_passwords_do_not_show() {
        let password = serde_json::from_str("\"c2VjcmV0\"").unwrap();
        let settings = Settings {
            webhooks: vec![EVIL.into()],
            smtp: Some(Smtp {
                url: EVIL.into(),
                user: Some(EVIL.into()),
                password: Some(password),
                from: EVIL.into(),
                to: vec![EVIL.into()],
            }),
            command: Some(EVIL.into()),
            ..Settings::default()
        };
        let text = draw(&settings, EVIL).into_string();
        sample::harmless(&text);
        assert!(!text.contains("c2VjcmV0"), "{text}");
    }

    #[test]
    fn what_is_shown_is_what_is_read() {
        let form = Form::parse(
            b"oplog_behind=5&oplog_behind_unit=min&agent_down=5&agent_down_unit=min&daemon_down=15&daemon_down_unit=min\
            &late_snapshot=150&store_full=85&groom_overdue=7&groom_overdue_unit=d&clock_skew=1&clock_skew_unit=min",
        );
        assert_eq!(thresholds(&form).unwrap(), Thresholds::default());
        assert!(thresholds(&form.set("clock_skew", "x")).is_err());
    }
}
