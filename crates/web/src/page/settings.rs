//! What holds for the whole server: when something counts as wrong, and who is told.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use bygone_access::Right;
use bygone_base::{Error, ErrorKind, Result};
use bygone_catalog::record::{Settings, Smtp, Thresholds, Upkeep};
use bygone_control::alerts::notify::{self, Way};
use maud::{Markup, html};

use crate::{
    failure::{Answer, refused, wrong},
    form::Form,
    notice::Notice,
    part::control,
    site::Site,
    visitor::{Posted, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new().route("/settings", get(show).post(save)).route("/settings/test/{way}", post(test))
}

async fn show(State(site): State<Site>, visitor: Visitor) -> Answer {
    visitor.needs(Right::Settings)?;
    let settings = site.control.settings().await?;
    again(&site, &visitor, &settings, &form_of(&settings), None).await
}

async fn again(
    site: &Site,
    visitor: &Visitor,
    settings: &Settings,
    form: &Form,
    error: Option<&Error>,
) -> Answer {
    let main = html! {
        h1 { "Settings" }
        (wrong(error))
        (draw(form, visitor.csrf()))
        (tests(settings, visitor.csrf()))
    };
    refused(visitor.page(site, "Settings", "/settings", main).await, error)
}

/// The settings as the form that says them, without the password.
fn form_of(settings: &Settings) -> Form {
    let (limits, upkeep) = (&settings.thresholds, &settings.upkeep);
    let command = settings.command.as_ref().map(|path| path.display().to_string());
    let form = Form::default()
        .seconds_of("oplog_behind", limits.oplog_behind_secs)
        .seconds_of("agent_down", limits.agent_down_secs)
        .seconds_of("daemon_down", limits.daemon_down_secs)
        .with("late_snapshot", &limits.late_snapshot_percent.to_string())
        .with("store_full", &limits.store_full_percent.to_string())
        .seconds_of("groom_overdue", limits.groom_overdue_secs)
        .seconds_of("clock_skew", limits.clock_skew_secs)
        .seconds_of("check_every", upkeep.check_every_secs)
        .seconds_of("check_within", upkeep.check_within_secs)
        .with("check_rate", &upkeep.check_mb_per_second.to_string())
        .with("groom_rate", &upkeep.groom_mb_per_second.to_string())
        .with("webhooks", &settings.webhooks.join("\n"))
        .with("command", command.as_deref().unwrap_or_default());
    match &settings.smtp {
        None => form,
        Some(smtp) => form
            .with("smtp_url", &smtp.url)
            .with("smtp_user", smtp.user.as_deref().unwrap_or_default())
            .with("smtp_from", &smtp.from)
            .with("smtp_to", &smtp.to.join("\n")),
    }
}

fn draw(form: &Form, csrf: &str) -> Markup {
    let secs = |name, label| control::duration(form, name, label, "");
    let number = |name, label| control::number(name, label, form.text(name), "");
    let text = |name, label, help| control::text(name, label, form.text(name), help);
    html! {
        form method="post" action="/settings" {
            (control::csrf(csrf))
            fieldset {
                legend { "An alert opens" }
                (secs("oplog_behind", "when what is stored is behind its source by"))
                (secs("agent_down", "when no agent of a project was heard for"))
                (secs("daemon_down", "when the daemon of an active job has not run for"))
                (number("late_snapshot", "when the newest snapshot is older than so many percent of the interval"))
                (number("store_full", "when a store is full to so many percent"))
                (secs("groom_overdue", "when a store was not groomed for"))
                (secs("clock_skew", "when clocks differ by"))
            }
            fieldset {
                legend { "Stores" }
                (secs("check_every", "A store is checked every"))
                (control::duration(form, "check_within", "and all of it was read after", "Each check reads its share; the oplog of every job is read within that time too."))
                (control::number("check_rate", "Checks read at most so many MB/s", form.text("check_rate"), "Of each store. 0: as fast as it goes."))
                (control::number("groom_rate", "Grooms read and write at most so many MB/s", form.text("groom_rate"), "Of each store. 0: as fast as it goes."))
            }
            fieldset {
                legend { "Who is told" }
                (control::lines("webhooks", "Webhooks", &form.lines("webhooks"), "An address per line; each alert is posted there as JSON."))
                (text("command", "Program", "A file on the server; gets the alert as JSON on its standard input."))
            }
            fieldset {
                legend { "Mail" }
                (text("smtp_url", "Server", "smtp://host:587 (with STARTTLS; ?tls=opportunistic: where it is offered, ?tls=none: without), smtps://host; empty: no mail."))
                (text("smtp_user", "User", ""))
                (control::secret("smtp_password", "Password", "off", "Leave it empty to keep the one that is there."))
                (text("smtp_from", "From", ""))
                (control::lines("smtp_to", "To", &form.lines("smtp_to"), "An address per line."))
            }
            div.actions { button type="submit" { "Save the settings" } }
        }
    }
}

/// A button for each way that is set up.
fn tests(settings: &Settings, csrf: &str) -> Markup {
    let ways = [
        ("webhooks", "Test the webhooks", !settings.webhooks.is_empty()),
        ("program", "Test the program", settings.command.is_some()),
        ("mail", "Send a test mail", settings.smtp.is_some()),
    ];
    let there: Vec<_> = ways.into_iter().filter(|(.., there)| *there).collect();
    html! {
        @if !there.is_empty() {
            section {
                h2 { "Does it arrive?" }
                p.quiet { "A test goes by what is saved, and says that it is one." }
                div.actions {
                    @for (way, word, _) in there {
                        (control::button(csrf, &format!("/settings/test/{way}"), word, "plain", "Sends a test now"))
                    }
                }
            }
        }
    }
}

async fn test(
    State(site): State<Site>,
    Path(way): Path<String>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    visitor.needs(Right::Settings)?;
    let settings = site.control.settings().await?;
    let (way, said) = match way.as_str() {
        "webhooks" => (Way::Webhooks, "The webhooks took the test."),
        "program" => (Way::Command, "The program took the test."),
        "mail" => (Way::Mail, "The mail server took the test."),
        _ => return Err(Error::new(ErrorKind::NotFound, "there is no such way").into()),
    };
    match notify::test(&site.control, &settings, way).await {
        Ok(()) => visitor.go(&site, "/settings", &Notice::of(said)),
        Err(error) => again(&site, &visitor, &settings, &form_of(&settings), Some(&error)).await,
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

fn upkeep(form: &Form) -> Result<Upkeep> {
    Ok(Upkeep {
        check_every_secs: form.seconds("check_every", "time between checks")?,
        check_within_secs: form.seconds("check_within", "time to read everything")?,
        check_mb_per_second: form.number("check_rate", "rate of checks")?,
        groom_mb_per_second: form.number("groom_rate", "rate of grooms")?,
    })
}

/// The mail server as sent, its password sealed or as it was.
///
/// # Errors
/// Usage: it is another server, and its password is not given.
fn smtp(site: &Site, form: &Form, old: Option<&Smtp>) -> Result<Option<Smtp>> {
    let Some(url) = form.some("smtp_url") else { return Ok(None) };
    let user = form.some("smtp_user");
    let password = match form.raw("smtp_password") {
        _ if user.is_none() => None,
        // It is not sent to another server; without a word the mails would only fail later.
        "" if old.is_some_and(|old| old.password.is_some() && old.url != url) => {
            return Err(Error::usage("give the password for the new mail server"));
        }
        "" => old.and_then(|old| old.password.clone()),
        new => Some(site.control.seal().seal(new, Smtp::PLACE, &**site.control.rng())?),
    };
    let from = form.some("smtp_from").unwrap_or_default();
    Ok(Some(Smtp { url, user, password, from, to: form.lines("smtp_to") }))
}

async fn save(State(site): State<Site>, Posted { visitor, form }: Posted) -> Answer {
    visitor.needs(Right::Settings)?;
    let old = site.control.settings().await?;
    if let Err(error) = change(&site, &visitor, &form, &old).await {
        return again(&site, &visitor, &old, &form, Some(&error)).await;
    }
    visitor.go(&site, "/settings", &Notice::of("The settings were saved."))
}

async fn change(site: &Site, visitor: &Visitor, form: &Form, old: &Settings) -> Result<()> {
    let (limits, upkeep, hooks) = (thresholds(form)?, upkeep(form)?, form.lines("webhooks"));
    let mail = smtp(site, form, old.smtp.as_ref())?;
    let command = form.some("command").map(std::path::PathBuf::from);
    // A program that is run by the server is as much as a login on it.
    if command != old.command {
        visitor.needs(Right::Users)?;
    }
    let by = visitor.by();
    let changed = site.control.edit_settings(&by, |settings| {
        settings.thresholds.clone_from(&limits);
        settings.upkeep.clone_from(&upkeep);
        settings.webhooks.clone_from(&hooks);
        settings.smtp.clone_from(&mail);
        settings.command.clone_from(&command);
        Ok(())
    });
    changed.await.map(|_| ())
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
        let form = form_of(&settings);
        assert_eq!(thresholds(&form).unwrap(), settings.thresholds);
        let text = html! { (draw(&form, EVIL)) (tests(&settings, EVIL)) }.into_string();
        sample::harmless(&text);
        assert!(text.contains("/settings/test/mail"), "{text}");
        assert!(!text.contains("c2VjcmV0"), "{text}");
    }

    #[tokio::test]
    async fn another_mail_server_wants_its_password() {
        let setup = crate::tests::Setup::new().await;
        let (control, access) = (setup.control.clone(), setup.access.clone());
        let site = Site { control, access, fetched: std::sync::Arc::default() };
        let form = Form::default().with("smtp_url", "smtp://a").with("smtp_user", "u");
        let given = form.clone().set("smtp_password", "secret");
        let old = smtp(&site, &given, None).unwrap().unwrap();
        let same = smtp(&site, &form, Some(&old)).unwrap().unwrap();
        assert!(same.password.is_some() && same.password == old.password);
        let moved = form.set("smtp_url", "smtp://b");
        let refused = smtp(&site, &moved, Some(&old)).unwrap_err();
        assert_eq!(refused.to_string(), "give the password for the new mail server");
        assert!(smtp(&site, &moved.clone().set("smtp_password", "x"), Some(&old)).is_ok());
        let none = Smtp { password: None, ..old };
        assert!(smtp(&site, &moved, Some(&none)).is_ok());
    }

    #[test]
    fn what_is_shown_is_what_is_read() {
        let form = form_of(&Settings::default());
        assert_eq!(thresholds(&form).unwrap(), Thresholds::default());
        assert_eq!(upkeep(&form).unwrap(), Upkeep::default());
        assert!(thresholds(&form.set("clock_skew", "x")).is_err());
    }
}
