//! A project at a glance: is everything backed up, to which second, and how is it restored.

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bygone_access::Right;
use bygone_base::UnixMillis;
use bygone_catalog::record::{Alert, AlertStatus, JobState};
use bygone_control::{Action, plan, views::JobView};
use maud::{Markup, html};
use url::form_urlencoded;

use crate::{
    failure::{Answer, Failure},
    format::{age, cluster_moment, count, span},
    page::alerts,
    part::{
        bar, control,
        state::{self, Mood, badge},
    },
    site::Site,
    visitor::{Asked, Scope, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new().route("/p/{project}", get(show)).route("/p/{project}/live", get(live))
}

/// What the visitor may do with jobs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct May {
    pub(crate) backup: bool,
    pub(crate) restore: bool,
}

impl May {
    pub(crate) fn of(scope: &Scope<'_>) -> May {
        May { backup: scope.may(Right::Backup), restore: scope.may(Right::Restore) }
    }
}

/// Fewer jobs are seen at a glance.
const MANY: usize = 8;

async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(project): Path<String>,
    Asked(query): Asked,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let wanted = query.text("q");
    let table = table(&site, &scope, wanted).await?;
    let live = form_urlencoded::Serializer::new(String::new()).append_pair("q", wanted).finish();
    let main = html! {
        div.headed {
            h1 { "Continuous backup" }
            @if scope.may(Right::Backup) {
                div.actions { a.button href=(scope.path("/new")) { "New backup job" } }
            }
        }
        div data-live={ (scope.path("/live")) "?" (live) } data-every="2" { (table) }
    };
    scope.page(&site, "Overview", "Overview", main).await
}

async fn live(
    State(site): State<Site>,
    visitor: Visitor,
    Path(project): Path<String>,
    Asked(query): Asked,
) -> Result<Response, Failure> {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    Ok(table(&site, &scope, query.text("q")).await?.into_response())
}

async fn table(site: &Site, scope: &Scope<'_>, wanted: &str) -> Result<Markup, Failure> {
    let mut jobs = site.control.jobs(scope.id()).await?;
    let everywhere = scope.visitor.may(Right::Look, None);
    let mut open = site.control.alerts((!everywhere).then_some(scope.id())).await?;
    open.retain(|alert| alert.status != AlertStatus::Closed);
    let (of_server, mut open): (Vec<Alert>, Vec<Alert>) =
        open.into_iter().partition(|alert| alert.project.is_none());
    open.retain(|alert| alert.project.as_ref() == Some(scope.id()));
    let now = site.control.now();
    let csrf = scope.visitor.csrf();
    let headline = headline(&jobs);
    let many = jobs.len() > MANY || !wanted.is_empty();
    jobs.retain(|view| fits(view, wanted));
    jobs.sort_by_cached_key(order);
    Ok(html! {
        (headline)
        (server_line(&of_server))
        (alerts::list(&open, &scope.path("/alerts"), csrf, scope.may(Right::Backup), now))
        @if many { (filter(wanted, &scope.path(""))) }
        @if jobs.is_empty() && !wanted.is_empty() {
            p { "No job has " (wanted) " in its name." }
        } @else {
            (draw(&jobs, &scope.path(""), csrf, May::of(scope), now))
        }
    })
}

/// That something is wrong with the server or its stores, on which all projects stand.
fn server_line(alerts: &[Alert]) -> Markup {
    let first = alerts.first().map(|alert| state::alert_kind(alert.kind));
    html! {
        @if let Some(first) = first {
            p {
                (badge(Mood::Bad, &format!("{} of the server", count(alerts.len() as u64, "alert"))))
                " " (first) @if alerts.len() > 1 { " and more" } ": " a href="/alerts" { "all alerts" }
            }
        }
    }
}

/// Those that need somebody first, then by name.
fn order(view: &JobView) -> (bool, String) {
    (!view.standing.is_bad(), view.job.cluster.to_lowercase())
}

/// Whether the job has these letters in a name of it.
fn fits(view: &JobView, wanted: &str) -> bool {
    let wanted = wanted.to_lowercase();
    let set = view.job.set.as_deref().unwrap_or_default();
    [&view.job.cluster, set, &view.job.source.shown]
        .iter()
        .any(|name| name.to_lowercase().contains(&wanted))
}

fn filter(wanted: &str, path: &str) -> Markup {
    html! {
        form.row.filter method="get" action=(path) role="search" {
            div.field {
                label for="q" { "Only jobs with" }
                input #q type="search" name="q" value=(wanted) autocomplete="off";
            }
            button.plain type="submit" { "Filter" }
            @if !wanted.is_empty() { a.button.plain href=(path) { "All" } }
        }
    }
}

/// The answer to the first question, in a sentence.
fn headline(jobs: &[JobView]) -> Markup {
    let active: Vec<&JobView> =
        jobs.iter().filter(|view| view.job.state == JobState::Active).collect();
    let bad = active.iter().filter(|view| state::job(view).0 == Mood::Bad).count();
    let busy = active.iter().filter(|view| state::job(view).0 == Mood::Busy).count();
    let lag = |view: &&&JobView| view.live.as_ref()?.lag_secs;
    let slowest = active.iter().filter(|view| state::job(view).0 == Mood::Good).max_by_key(lag);
    let good = active.len() - bad - busy;
    let still = jobs.len() - active.len();
    html! {
        p.headline {
            @if active.is_empty() {
                (badge(Mood::Still, "Nothing is being backed up"))
            } @else if bad > 0 {
                (badge(Mood::Bad, &format!("{bad} of {} failing", count(active.len() as u64, "job"))))
            } @else if busy > 0 {
                (badge(Mood::Busy, &format!("{good} of {} backed up", count(active.len() as u64, "job"))))
                " The rest is in its initial sync."
            } @else {
                (badge(Mood::Good, "Everything is backed up"))
            }
            @if let Some((view, secs)) = slowest.and_then(|view| Some((view, lag(&view)?))).filter(|(_, secs)| *secs > 0) {
                " Furthest behind: " (view.job.cluster) ", " (span(secs)) "."
            }
            @if still > 0 && !active.is_empty() { " Not active: " (count(still as u64, "job")) "." }
        }
    }
}

/// The jobs, one per row.
fn draw(jobs: &[JobView], project: &str, csrf: &str, may: May, now: UnixMillis) -> Markup {
    if jobs.is_empty() {
        return html! {
            p { "There is no backup job yet. A job backs up one replica set: give it its connection string, and start it." }
        };
    }
    html! {
        table.cards {
            thead { tr {
                th { "Cluster" } th { "State" } th { "Backed up to (UTC)" } th.num { "Behind" }
                th { "Last snapshot" } th { "Next snapshot" } th { span.unseen { "Actions" } }
            } }
            tbody { @for view in jobs { (row(view, project, csrf, may, now)) } }
        }
    }
}

fn row(view: &JobView, project: &str, csrf: &str, may: May, now: UnixMillis) -> Markup {
    let path = format!("{project}/j/{}", view.job.id);
    let (mood, word) = state::job(view);
    let lag = view.live.as_ref().and_then(|live| live.lag_secs);
    let syncing =
        view.live.as_ref().filter(|live| view.job.state == JobState::Active && bar::syncing(live));
    let stored = view.live.as_ref().map(|live| live.stored).filter(|ts| ts.secs() > 0);
    html! {
        tr {
            th scope="row" { a href=(path) { (view.job.cluster) } }
            td data-label="State" {
                (badge(mood, word))
                @if let Some(live) = syncing { " " (live.phase) " " (bar::progress(live)) }
                @if let Some(complaint) = state::complaint(view) { p.error { (complaint) } }
                @if let Some(problem) = &view.problem { p.error { (problem) } }
            }
            td data-label="Backed up to (UTC)" {
                @if let Some(ts) = stored { (cluster_moment(ts)) } @else { span.quiet { "–" } }
            }
            td.num data-label="Behind" {
                @if let Some(lag) = lag { (span(lag)) } @else { span.quiet { "–" } }
            }
            td data-label="Last snapshot" {
                @if let Some(ts) = view.newest { (age(now, crate::format::millis(ts))) } @else { span.quiet { "–" } }
            }
            td data-label="Next snapshot" {
                @if let Some(at) = view.next_snapshot { (age(now, at)) } @else { span.quiet { "–" } }
            }
            td.actions { (actions(view, &path, csrf, may)) }
        }
    }
}

/// The buttons of what is possible now, the ones that take something away behind a page that asks.
pub(crate) fn actions(view: &JobView, path: &str, csrf: &str, may: May) -> Markup {
    let possible = plan::possible(view.job.state);
    // Of a stopped job, start and restart are the same.
    let wanted =
        |action: &&Action| !(**action == Action::Start && possible.contains(&Action::Restart));
    html! {
        @if may.restore && view.job.set.is_some() && view.job.state != JobState::Terminating {
            a.button href={ (path) "/restore" } title="Choose a moment and where it goes" { "Restore" }
        }
        @if may.backup {
            @for action in possible.iter().filter(wanted) {
                @match action {
                    Action::Start | Action::Restart => (control::button(
                        csrf,
                        &format!("{path}/act/{}", word(*action)),
                        action.as_str(),
                        "",
                        does(*action),
                    )),
                    Action::Stop | Action::Terminate | Action::Abandon => a.button.plain
                        href={ (path) "/confirm/" (word(*action)) } title=(does(*action)) { (action.as_str()) "…" },
                }
            }
        }
    }
}

/// The action's word in addresses.
pub(crate) fn word(action: Action) -> &'static str {
    match action {
        Action::Start => "start",
        Action::Stop => "stop",
        Action::Restart => "restart",
        Action::Terminate => "terminate",
        Action::Abandon => "abandon",
    }
}

/// What an action does.
pub(crate) fn does(action: Action) -> &'static str {
    match action {
        Action::Start => {
            "Begins with an initial sync, then stores every change and takes snapshots"
        }
        Action::Stop => "Stores nothing new; the snapshots stay until they expire",
        Action::Restart => {
            "Goes on from the oplog where that still reaches back, else with a new initial sync"
        }
        Action::Terminate => "Deletes all snapshots and everything else that is stored of it",
        Action::Abandon => "Ends it without deleting anything, where its store is gone",
    }
}

#[cfg(test)]
mod tests {
    use bygone_base::Ts;
    use bygone_control::{
        health::Standing,
        views::{AgentLive, Live},
    };
    use bygone_daemon::JobPhase;

    use super::*;
    use crate::sample::{self, EVIL};

    const ALL: May = May { backup: true, restore: true };

    fn following(cluster: &str, lag_secs: u64) -> JobView {
        let stored = Ts::new(1_795_170_600, 1);
        let lag_secs = Some(lag_secs);
        let agent = Some(AgentLive::default());
        let mut live =
            Live { agent, stored, lag_secs, phase: "complete", percent: 100, ..Live::default() };
        live.backup.phase = JobPhase::Complete;
        let newest = Some(Ts::new(1_795_170_000, 1));
        let standing = Standing::Following;
        JobView { live: Some(live), newest, standing, ..sample::job_view(cluster) }
    }

    fn text(markup: &Markup) -> String {
        markup.clone().into_string()
    }

    #[test]
    fn the_headline_says_whether_all_is_well() {
        assert!(text(&headline(&[])).contains("Nothing is being backed up"));
        let well = [following("a", 2), following("b", 70)];
        let all = text(&headline(&well));
        assert!(all.contains("Everything is backed up") && all.contains("b, 1 min 10 s"), "{all}");
        let mut ill = following("c", 0);
        ill.standing = Standing::Failing;
        assert!(text(&headline(&[following("a", 2), ill])).contains("1 of 2 jobs failing"));
        let mut stopped = following("d", 0);
        stopped.job.state = JobState::Stopped;
        stopped.standing = Standing::Stopped;
        assert!(text(&headline(&[following("a", 2), stopped])).contains("Not active: 1 job."));
        let busy = [following("a", 2), sample::job_view("new")];
        assert!(text(&headline(&busy)).contains("1 of 2 jobs backed up"));
    }

    #[test]
    fn rows_escape_names_and_offer_what_is_possible() {
        let mut view = following(EVIL, 3);
        view.problem = Some(EVIL.into());
        let now = UnixMillis(1_795_170_600_000);
        let page = text(&draw(&[view.clone()], "/p/1", "token", ALL, now));
        sample::harmless(&page);
        assert!(page.contains("2026-11-20 10:30:00") && page.contains("10 min ago"), "{page}");
        assert!(page.contains("/confirm/stop") && !page.contains("/act/start"), "{page}");
        let none = May { backup: false, restore: false };
        let page = text(&draw(&[view.clone()], "/p/1", "token", none, now));
        assert!(!page.contains("confirm") && !page.contains("restore"), "{page}");
        view.job.state = JobState::Stopped;
        let page = text(&draw(&[view], "/p/1", "token", ALL, now));
        assert!(page.contains("/act/restart") && page.contains("/confirm/terminate"), "{page}");
        assert!(!page.contains("/act/start"), "{page}");
    }

    #[test]
    fn what_fails_comes_first_and_the_rest_by_name() {
        let mut ill = following("zebra", 400);
        ill.standing = Standing::Behind;
        let mut jobs = [following("beta", 1), following("Alpha", 1), ill];
        jobs.sort_by_cached_key(order);
        let names: Vec<&str> = jobs.iter().map(|view| view.job.cluster.as_str()).collect();
        assert_eq!(names, ["zebra", "Alpha", "beta"]);
        assert!(fits(&jobs[1], "ALP") && fits(&jobs[1], "") && !fits(&jobs[1], "bet"));
        sample::harmless(&text(&filter(EVIL, "/p")));
    }

    #[test]
    fn alerts_of_the_server_are_told_on_every_overview() {
        assert!(text(&server_line(&[])).is_empty());
        let mut alert = sample::alert(EVIL);
        alert.project = None;
        let line = text(&server_line(&[alert.clone(), alert]));
        sample::harmless(&line);
        assert!(line.contains("2 alerts of the server") && line.contains("/alerts"), "{line}");
    }

    #[test]
    fn an_initial_sync_has_its_bar() {
        let mut view = sample::job_view("new");
        view.live = Some(Live { phase: "transferring", percent: 37, ..Live::default() });
        let page = text(&draw(&[view], "/p/1", "token", ALL, UnixMillis(0)));
        assert!(page.contains("<progress max=\"100\" value=\"37\""), "{page}");
    }
}
