//! Restores: those that were asked for, and how far each is.

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bygone_access::Right;
use bygone_base::{Ts, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Delivery, Form as Shape, RestoreJob, RestoreStatus},
};
use maud::{Markup, html};
use std::collections::HashMap;

use crate::{
    failure::{Answer, Failure},
    format::{age, bytes, cluster_moment, grouped, moment, span},
    notice::Notice,
    part::{
        control,
        state::{self, badge},
    },
    site::{Site, id},
    visitor::{Posted, Scope, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/p/{project}/restores", get(list))
        .route("/p/{project}/restores/{restore}", get(show))
        .route("/p/{project}/restores/{restore}/live", get(live))
        .route("/p/{project}/restores/{restore}/cancel", post(cancel))
}

async fn list(State(site): State<Site>, visitor: Visitor, Path(project): Path<String>) -> Answer {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let restores = site.control.restores(scope.id(), None).await?;
    let jobs = site.control.jobs(scope.id()).await?;
    let names: HashMap<Id, String> =
        jobs.into_iter().map(|view| (view.job.id, view.job.cluster)).collect();
    let main = html! {
        h1 { "Restores" }
        @if restores.is_empty() {
            p { "Nothing was restored yet. A restore begins on the page of a job." }
        } @else {
            (table(&restores, Some(&names), &scope.path("/restores"), site.control.now()))
        }
    };
    scope.page(&site, "Restores", "Restores", main).await
}

/// Restores, newest first; with the names of clusters where they are of several.
pub(crate) fn table(
    restores: &[RestoreJob],
    names: Option<&HashMap<Id, String>>,
    path: &str,
    now: UnixMillis,
) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th { "Asked for" }
                @if names.is_some() { th { "Cluster" } }
                th { "As of (UTC)" } th { "Where to" } th { "State" } th { "By" }
            } }
            tbody { @for restore in restores {
                @let (mood, word) = state::restore(restore);
                tr {
                    th scope="row" { a href={ (path) "/" (restore.id) } { (age(now, restore.created)) } }
                    @if let Some(names) = names {
                        td data-label="Cluster" { (names.get(&restore.job).map_or("removed", String::as_str)) }
                    }
                    td data-label="As of (UTC)" { (as_of(restore)) }
                    td data-label="Where to" { (place(&restore.delivery)) }
                    td data-label="State" {
                        (badge(mood, word))
                        @if restore.drill { " " span.quiet { "drill" } }
                    }
                    td data-label="By" { (state::actor(&restore.by)) }
                }
            } }
        }
    }
}

fn as_of(restore: &RestoreJob) -> Markup {
    match restore.moment.parse::<Ts>() {
        Ok(ts) => cluster_moment(ts),
        Err(_) => html! { (restore.moment) },
    }
}

fn place(delivery: &Delivery) -> Markup {
    html! {
        @match delivery {
            Delivery::Automated { shown, .. } => code { (shown) },
            Delivery::Http { form, .. } => (shape(form)),
        }
    }
}

fn shape(form: &Shape) -> String {
    match form {
        Shape::Archive => "download, archive".to_owned(),
        Shape::Tar => "download, tar".to_owned(),
        Shape::Collection { namespace } => format!("download, {namespace}"),
    }
}

async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, restore)): Path<(String, String)>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let found = site.control.restore_job(scope.id(), &id(&restore, "restore")?).await?;
    let path = scope.path(&format!("/restores/{}", found.id));
    let job = scope.job(&found.job);
    let main = html! {
        p { a href=(scope.path("/restores")) { "← all restores" } " · " a href=(job) { "the job" } }
        div data-live={ (path) "/live" } data-every="2" { (of(&site, &scope, &found)) }
    };
    scope.page(&site, "Restore", "Restores", main).await
}

async fn live(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, restore)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let found = site.control.restore_job(scope.id(), &id(&restore, "restore")?).await?;
    Ok(of(&site, &scope, &found).into_response())
}

fn of(site: &Site, scope: &Scope<'_>, restore: &RestoreJob) -> Markup {
    let path = scope.path(&format!("/restores/{}", restore.id));
    let may = scope.may(Right::Restore);
    one(restore, &path, scope.visitor.csrf(), may, site.control.now())
}

/// One restore.
fn one(restore: &RestoreJob, path: &str, csrf: &str, may: bool, now: UnixMillis) -> Markup {
    let (mood, word) = state::restore(restore);
    html! {
        div.headed {
            h1 { "Restore as of " (as_of(restore)) " UTC " (badge(mood, word)) }
            @if may { div.actions { (cancel_button(restore, path, csrf, now)) } }
        }
        @if restore.status == RestoreStatus::InProgress { (progress(restore)) }
        @if !restore.message.is_empty() {
            p.error[restore.status == RestoreStatus::Broken] { (restore.message) }
        }
        dl.facts {
            div { dt { "Moment" } dd { code { (restore.moment) } ", asked for as " (restore.when) } }
            @if let Some(snapshot) = &restore.snapshot {
                div {
                    dt { "From" }
                    dd { "snapshot " (snapshot) @if restore.point_in_time { " and the oplog after it" } }
                }
            }
            (names(restore))
            (delivery(&restore.delivery, now))
            div { dt { "Asked for" } dd { (moment(now, restore.created)) " UTC by " (state::actor(&restore.by)) } }
            @if let Some(at) = restore.finished {
                div { dt { "Ended" } dd { (moment(now, at)) " UTC, after " (span(passed(restore, at))) } }
            }
            @if restore.progress.documents > 0 {
                div { dt { "Restored" } dd { (grouped(restore.progress.documents)) " documents, " (bytes(restore.progress.bytes)) } }
            }
        }
        (proof(restore))
    }
}

fn passed(restore: &RestoreJob, at: UnixMillis) -> u64 {
    u64::try_from(at.since(restore.created) / 1000).unwrap_or_default()
}

fn cancel_button(restore: &RestoreJob, path: &str, csrf: &str, now: UnixMillis) -> Markup {
    let (word, does) = match (&restore.delivery, restore.status) {
        (_, RestoreStatus::InProgress) if !restore.cancel => {
            ("Cancel the restore", "Ends it where it is; what was written stays")
        }
        (Delivery::Http { expires, .. }, RestoreStatus::Finished) if *expires > now => {
            ("End the link", "It can be downloaded no more")
        }
        _ => return html! {},
    };
    control::button(csrf, &format!("{path}/cancel"), word, "plain", does)
}

fn progress(restore: &RestoreJob) -> Markup {
    let done = &restore.progress;
    let percent =
        done.bytes.saturating_mul(100).checked_div(done.bytes_total).unwrap_or(0).min(100);
    html! {
        div.sync {
            progress max="100" value=(percent) aria-label={ "restore: " (done.phase) } { (percent) " %" }
            p.quiet {
                (done.phase) ", " (bytes(done.bytes))
                @if done.bytes_total > 0 { " of " (bytes(done.bytes_total)) }
                ", " (grouped(done.documents)) " documents"
            }
        }
    }
}

fn names(restore: &RestoreJob) -> Markup {
    let names = &restore.names;
    html! {
        @if !names.include.is_empty() { div { dt { "Only" } dd { (names.include.join(", ")) } } }
        @if !names.exclude.is_empty() { div { dt { "Without" } dd { (names.exclude.join(", ")) } } }
        @for (from, to) in &names.renames { div { dt { "Renamed" } dd { (from) " → " (to) } } }
    }
}

fn delivery(delivery: &Delivery, now: UnixMillis) -> Markup {
    html! {
        @match delivery {
            Delivery::Automated { shown, drop, onto_source, .. } => {
                div {
                    dt { "Into" }
                    dd {
                        code { (shown) }
                        @if *drop { ", existing collections dropped" }
                        @if *onto_source { ", which may be the source" }
                    }
                }
            },
            Delivery::Http { form, expires, max_downloads, downloads, size, .. } => {
                div { dt { "Download" } dd { (shape(form)) @if let Some(size) = size { ", " (bytes(*size)) } } }
                div { dt { "Link good until (UTC)" } dd { (moment(now, *expires)) } }
                div {
                    dt { "Downloaded" }
                    dd {
                        (downloads)
                        @match max_downloads { Some(most) => { " of " (most) " times" }, None => { " times, without limit" } }
                    }
                }
            },
        }
    }
}

fn proof(restore: &RestoreJob) -> Markup {
    let pretty = restore.proof.as_ref().and_then(|proof| serde_json::to_string_pretty(proof).ok());
    html! {
        @if let Some(pretty) = pretty {
            section {
                h2 { "Proof" }
                @if restore.verify && restore.status == RestoreStatus::Finished {
                    p { "The target's own dbHash is that of the stored data." }
                }
                details { summary { "As it was written" } pre { (pretty) } }
            }
        }
        @if !restore.hashes.is_empty() {
            section {
                h2 { "Files" }
                table.dense {
                    thead { tr { th { "File" } th { "SHA-1" } } }
                    tbody { @for (file, hash) in &restore.hashes { tr { td { (file) } td { code { (hash) } } } } }
                }
            }
        }
    }
}

async fn cancel(
    State(site): State<Site>,
    Path((project, restore)): Path<(String, String)>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Restore).await?;
    let restore = id(&restore, "restore")?;
    site.control.cancel_restore(scope.id(), &restore, &visitor.by()).await?;
    let notice = Notice::of("The restore is being ended.");
    visitor.go(&site, &scope.path(&format!("/restores/{restore}")), &notice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn restores_are_escaped_and_secrets_do_not_show() {
        let restore = sample::restore(EVIL);
        let now = UnixMillis(1_795_170_600_000);
        let text = one(&restore, "/r", "t", true, now).into_string();
        sample::harmless(&text);
        assert!(!text.contains("never shown"), "{text}");
        assert!(text.contains("value=\"50\"") && text.contains("/r/cancel"), "{text}");
        assert!(text.contains("2026-11-20 10:30:00"), "{text}");
        let names = HashMap::from([(restore.job.clone(), EVIL.to_owned())]);
        sample::harmless(&table(&[restore], Some(&names), "/r", now).into_string());
    }

    #[test]
    fn only_what_can_be_ended_has_a_button() {
        let mut restore = sample::restore("x");
        let now = UnixMillis(5);
        let button = |restore: &RestoreJob| cancel_button(restore, "/r", "t", now).into_string();
        assert!(button(&restore).contains("Cancel the restore"));
        restore.cancel = true;
        assert!(button(&restore).is_empty());
        restore.status = RestoreStatus::Finished;
        assert!(button(&restore).contains("End the link"));
        if let Delivery::Http { expires, .. } = &mut restore.delivery {
            *expires = UnixMillis(4);
        }
        assert!(button(&restore).is_empty());
        assert!(!one(&restore, "/r", "t", false, now).into_string().contains("<form"));
    }
}
