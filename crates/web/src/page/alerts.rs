//! Alerts, and that somebody knows of them.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use bygone_access::Right;
use bygone_base::{Error, Result, UnixMillis};
use bygone_catalog::record::{Alert, AlertStatus};
use maud::{Markup, html};

use crate::{
    failure::Answer,
    form::Form,
    format::{moment, span, stamp},
    notice::Notice,
    part::{
        control,
        state::{self, badge},
    },
    site::{Site, id},
    visitor::{Asked, Posted, Visitor},
};

/// Closed ones that are shown.
const CLOSED: usize = 100;

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/p/{project}/alerts", get(of_project))
        .route("/p/{project}/alerts/{alert}", post(acknowledge_in_project))
        .route("/alerts", get(all))
        .route("/alerts/{alert}", post(acknowledge))
}

async fn of_project(
    State(site): State<Site>,
    visitor: Visitor,
    Path(project): Path<String>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let alerts = site.control.alerts(Some(scope.id())).await?;
    let may = scope.may(Right::Backup);
    let main = page(&alerts, &scope.path("/alerts"), visitor.csrf(), may, site.control.now());
    scope.page(&site, "Alerts", "Alerts", main).await
}

async fn all(State(site): State<Site>, visitor: Visitor) -> Answer {
    visitor.needs(Right::Look)?;
    let alerts = site.control.alerts(None).await?;
    let may = visitor.may(Right::Backup, None);
    let main = page(&alerts, "/alerts", visitor.csrf(), may, site.control.now());
    visitor.page(&site, "Alerts", "/alerts", main).await
}

fn page(alerts: &[Alert], path: &str, csrf: &str, may: bool, now: UnixMillis) -> Markup {
    let (closed, open): (Vec<Alert>, Vec<Alert>) =
        alerts.iter().cloned().partition(|alert| alert.status == AlertStatus::Closed);
    html! {
        h1 { "Alerts" }
        @if open.is_empty() { p { "Nothing is wrong now." } }
        (list(&open, path, csrf, may, now))
        @if !closed.is_empty() {
            section {
                h2 { "Closed" }
                table.cards {
                    thead { tr { th { "What" } th { "Message" } th { "Opened (UTC)" } th { "Closed (UTC)" } } }
                    tbody { @for alert in closed.iter().take(CLOSED) {
                        tr {
                            th scope="row" { (state::alert_kind(alert.kind)) }
                            td data-label="Message" { (alert.message) }
                            td data-label="Opened (UTC)" { (moment(now, alert.created)) }
                            td data-label="Closed (UTC)" {
                                @if let Some(at) = alert.resolved { (moment(now, at)) }
                            }
                        }
                    } }
                }
            }
        }
    }
}

/// Those that are not closed, each with the form by which somebody says that he knows.
pub(crate) fn list(alerts: &[Alert], path: &str, csrf: &str, may: bool, now: UnixMillis) -> Markup {
    html! {
        @if !alerts.is_empty() {
            ul.alerts aria-label="Open alerts" {
                @for alert in alerts { li { (one(alert, path, csrf, may, now)) } }
            }
        }
    }
}

fn one(alert: &Alert, path: &str, csrf: &str, may: bool, now: UnixMillis) -> Markup {
    let (mood, word) = state::alert(alert, now);
    let known = word == "Acknowledged";
    let action = format!("{path}/{}", alert.id);
    html! {
        p {
            (badge(mood, word)) " " strong { (state::alert_kind(alert.kind)) } " " (alert.message)
            " " span.quiet { "for " (lasting(now, alert.created)) }
        }
        @if let Some((who, until, comment)) = alert.acknowledged.as_ref().filter(|_| known) {
            p.quiet {
                (who) " knows, until " (moment(now, *until)) " UTC"
                @if !comment.is_empty() { ": " (comment) }
            }
        }
        @if may && known {
            (control::button(csrf, &format!("{action}?not"), "Take back", "plain", "It counts as open again"))
        }
        @if may && !known {
            details {
                summary { "Acknowledge" }
                form.row method="post" action=(action) {
                    (control::csrf(csrf))
                    div.field {
                        label { "for " select name="hours" {
                            option value="1" { "an hour" }
                            option value="8" { "8 hours" }
                            option value="24" { "a day" }
                            option value="168" { "a week" }
                        } }
                    }
                    div.field { label { "because " input type="text" name="comment" maxlength="1000" autocomplete="off"; } }
                    button type="submit" { "Acknowledge" }
                }
            }
        }
    }
}

/// How long it has lasted, its beginning in the title.
fn lasting(now: UnixMillis, since: UnixMillis) -> Markup {
    let secs = u64::try_from(now.since(since) / 1000).unwrap_or_default();
    html! {
        time datetime=(since.to_rfc3339_seconds()) title={ "since " (stamp(since)) " UTC" } {
            (span(secs)) span.date { " (since " (stamp(since)) " UTC)" }
        }
    }
}

/// Until when; a moment that is past takes it back.
fn until(form: &Form, query: &Form, now: UnixMillis) -> Result<UnixMillis> {
    if query.ticked("not") {
        return Ok(UnixMillis(0));
    }
    let hours: i64 = form.number("hours", "hours")?;
    if !(1..=8784).contains(&hours) {
        return Err(Error::usage("an alert can be acknowledged for an hour to a year"));
    }
    Ok(UnixMillis(now.0 + hours * 3_600_000))
}

async fn acknowledge_in_project(
    State(site): State<Site>,
    Path((project, alert)): Path<(String, String)>,
    Asked(query): Asked,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let until = until(&form, &query, site.control.now())?;
    let (alert, comment) = (id(&alert, "alert")?, form.text("comment"));
    let alert = site.control.acknowledge(scope.id(), &alert, until, comment, &visitor.by()).await?;
    visitor.go(&site, &scope.path("/alerts"), &said(alert.status))
}

async fn acknowledge(
    State(site): State<Site>,
    Path(alert): Path<String>,
    Asked(query): Asked,
    Posted { visitor, form }: Posted,
) -> Answer {
    visitor.needs(Right::Backup)?;
    let until = until(&form, &query, site.control.now())?;
    let (alert, comment) = (id(&alert, "alert")?, form.text("comment"));
    let alert = site.control.acknowledge_any(&alert, until, comment, &visitor.by()).await?;
    visitor.go(&site, "/alerts", &said(alert.status))
}

fn said(status: AlertStatus) -> Notice {
    Notice::of(match status {
        AlertStatus::Acknowledged => "The alert is acknowledged.",
        AlertStatus::Open | AlertStatus::Closed => "The alert counts as open again.",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn alerts_are_escaped_and_acknowledged_by_those_who_may() {
        let mut alert = sample::alert(EVIL);
        let now = UnixMillis(50);
        let text = page(std::slice::from_ref(&alert), "/alerts", "t", true, now).into_string();
        sample::harmless(&text);
        assert!(text.contains("Late snapshot") && text.contains("name=\"comment\""), "{text}");
        let text = lasting(UnixMillis(253_000), UnixMillis(0)).into_string();
        assert!(text.contains(">4 min 13 s<") && text.contains("since 1970-01-01"), "{text}");
        let text = page(std::slice::from_ref(&alert), "/alerts", "t", false, now).into_string();
        assert!(!text.contains("<form"), "{text}");
        alert.status = AlertStatus::Acknowledged;
        alert.acknowledged = Some((EVIL.into(), UnixMillis(100), EVIL.into()));
        let text = page(std::slice::from_ref(&alert), "/alerts", "t", true, now).into_string();
        sample::harmless(&text);
        assert!(text.contains("Take back"), "{text}");
        alert.status = AlertStatus::Closed;
        sample::harmless(&page(&[alert], "/alerts", "t", true, now).into_string());
    }

    #[test]
    fn an_acknowledgement_has_an_end() {
        let now = UnixMillis(0);
        let no = Form::default();
        let form = |hours: &str| Form::default().with("hours", hours);
        assert_eq!(until(&form("8"), &no, now).unwrap(), UnixMillis(28_800_000));
        assert_eq!(until(&form("8"), &Form::parse(b"not"), now).unwrap(), UnixMillis(0));
        for bad in ["0", "-1", "9999999999999", ""] {
            assert!(until(&form(bad), &no, now).is_err(), "{bad}");
        }
    }
}
