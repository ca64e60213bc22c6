//! One job: what it does, what can be restored, its snapshots, its settings.

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bygone_access::Right;
use bygone_base::{Result, UnixMillis};
use bygone_catalog::record::{Integrity, Job, JobState, RestoreJob, ScheduleSpec};
use bygone_control::{
    Action,
    health::Standing,
    plan,
    views::{History, JobView, Live},
};
use maud::{Markup, html};

use crate::{
    failure::{Answer, Failure},
    form::Form,
    format::{age, cluster_moment, grouped, millis, moment, span},
    notice::Notice,
    page::{
        overview::{self, May},
        restores, snapshots,
    },
    part::{
        bar, control,
        state::{self, badge},
        timeline::Timeline,
    },
    site::{Site, id},
    visitor::{Asked, Posted, Scope, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/p/{project}/j/{job}", get(show))
        .route("/p/{project}/j/{job}/live", get(live))
        .route("/p/{project}/j/{job}/history", get(history))
        .route("/p/{project}/j/{job}/act/{action}", post(act))
        .route("/p/{project}/j/{job}/snapshot", post(snapshot_now))
        .route("/p/{project}/j/{job}/check", post(check_now))
}

/// How much of the timeline is shown.
pub(crate) fn wanted(query: &Form) -> Option<u64> {
    query.text("span").parse().ok()
}

async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job)): Path<(String, String)>,
    Asked(query): Asked,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    let path = scope.job(&job);
    let may = May::of(&scope);
    let span = wanted(&query);
    let live_history = match span {
        Some(secs) => format!("{path}/history?span={secs}"),
        None => format!("{path}/history"),
    };
    let mut recent = site.control.restores(scope.id(), Some(&view.job.id)).await?;
    recent.truncate(5);
    let check = site.control.newest_check(scope.id(), &view.job.id).await?;
    let main = html! {
        div data-live={ (path) "/live" } data-every="2" { (status(&view, &path, visitor.csrf(), may, site.control.now())) }
        div data-live=(live_history) data-every="15" {
            (stored(&site, &scope, &view, span).await)
        }
        (latest(&recent, &scope, site.control.now()))
        (details(&view.job, check.as_ref(), &path, may, visitor.csrf()))
    };
    scope.page(&site, &view.job.cluster, "Overview", main).await
}

async fn live(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    let path = scope.job(&job);
    let now = site.control.now();
    Ok(status(&view, &path, visitor.csrf(), May::of(&scope), now).into_response())
}

async fn history(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job)): Path<(String, String)>,
    Asked(query): Asked,
) -> Result<Response, Failure> {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    Ok(stored(&site, &scope, &view, wanted(&query)).await.into_response())
}

/// Timeline and snapshots. A store that cannot be read leaves the rest of the page as it is.
async fn stored(site: &Site, scope: &Scope<'_>, view: &JobView, span: Option<u64>) -> Markup {
    let page = scope.job(&view.job.id);
    let restore = scope.may(Right::Restore).then(|| format!("{page}/restore"));
    match site.control.history(scope.id(), &view.job.id).await {
        Ok(history) => {
            let now = site.control.now();
            let timeline = Timeline {
                history: &history,
                now,
                span,
                page: page.clone(),
                restore: restore.clone(),
            };
            let csrf = scope.visitor.csrf();
            let may = May::of(scope);
            html! {
                section aria-labelledby="timeline" {
                    h2 #timeline { "What can be restored" }
                    (timeline.draw())
                    (damaged(&history))
                }
                (snapshots::table(&history.snapshots, &page, csrf, may, now))
            }
        }
        Err(error) => html! {
            section {
                h2 { "What can be restored" }
                p.error { "The stores cannot be read: " (error) }
                @if let Some(hint) = error.hint_text() { p { (hint) } }
            }
        },
    }
}

fn damaged(history: &History) -> Markup {
    html! {
        @for (id, why) in &history.damaged {
            p.error { "Snapshot " (id) " cannot be read: " (why) }
        }
    }
}

/// What the job does now, and its buttons. It is drawn anew every two seconds: nothing in it is an alert, which would be
/// read aloud each time.
fn status(view: &JobView, path: &str, csrf: &str, may: May, now: UnixMillis) -> Markup {
    let (mood, word) = state::job(view);
    let active = view.job.state == JobState::Active;
    html! {
        div.headed {
            h1 { (view.job.cluster) " " (badge(mood, word)) }
            div.actions {
                (overview::actions(view, path, csrf, may))
                @if may.backup && active {
                    (control::button(csrf, &format!("{path}/snapshot"), "Snapshot now", "plain",
                        "Takes a snapshot outside the schedule, as soon as it can be"))
                    a.button.plain href={ (path) "/confirm/resync" }
                        title="Copies everything anew with an initial sync" { "Resync…" }
                }
                @if may.backup && view.job.state == JobState::Inactive {
                    a.button.plain href={ (path) "/confirm/remove" } title="Forgets the job" { "Remove…" }
                }
            }
        }
        @if let Some(complaint) = state::complaint(view) {
            p.error { (complaint) }
        }
        @if let Some(problem) = &view.problem { p.error { (problem) } }
        @match &view.live {
            Some(live) => (running(live, view, now)),
            None if active => p.quiet { "It is about to run: the supervisor has not started it here yet." },
            None => p.quiet { "It has been so for " (age(now, view.job.since)) "." },
        }
    }
}

fn running(live: &Live, view: &JobView, now: UnixMillis) -> Markup {
    html! {
        @if bar::syncing(live) { (bar::phases(live)) }
        dl.facts {
            @if let Some(agent) = &live.agent {
                div { dt { "Backed up to (UTC)" } dd { (cluster_moment(agent.stored)) } }
                div { dt { "Behind the source" } dd { (span(live.lag_secs.unwrap_or_default())) } }
                div {
                    dt { "Agent" }
                    dd title=(agent.holder) {
                        (agent.host) ", " @if view.standing == Standing::Silent { "last " } (agent.phase)
                        ", heard " (age(now, agent.heard))
                    }
                }
                div { dt { "Reads from" } dd { (agent.member) } }
                @if !agent.message.is_empty() { div { dt { "Agent says" } dd { (agent.message) } } }
            } @else {
                div { dt { "Agent" } dd { "none was heard yet" } }
            }
            @if let Some(ts) = view.newest {
                div { dt { "Last snapshot" } dd { (age(now, millis(ts))) } }
            }
            @if let Some(at) = view.next_snapshot {
                div { dt { "Next snapshot" } dd { (age(now, at)) } }
            }
            div { dt { "Since the last snapshot" } dd { (grouped(live.backup.pending_ops)) " operations" } }
            @if !live.backup.message.is_empty() { div { dt { "Last done" } dd { (live.backup.message) } } }
        }
    }
}

fn latest(restores: &[RestoreJob], scope: &Scope<'_>, now: UnixMillis) -> Markup {
    html! {
        @if !restores.is_empty() {
            section aria-labelledby="recent" {
                h2 #recent { "Latest restores" }
                (restores::table(restores, None, &scope.path("/restores"), now))
            }
        }
    }
}

pub(crate) fn checked(check: Option<&Integrity>) -> Markup {
    let Some(check) = check else { return html! { "not yet" } };
    html! {
        (moment(check.started, check.started)) " UTC, " (check.percent) " % of its blocks read lately: "
        @if let Some(failure) = &check.failure {
            span.error { "could not be done: " (failure) }
        } @else if check.finished.is_none() {
            "going on"
        } @else if check.damage.is_empty() {
            (grouped(check.blocks)) " blocks, none damaged"
        } @else {
            span.error { (check.damage.len()) " damaged: " (check.damage.join("; ")) }
        }
    }
}

/// What the job is made of.
fn details(job: &Job, check: Option<&Integrity>, path: &str, may: May, csrf: &str) -> Markup {
    let edit =
        |what: &str| html! { @if may.backup { " " a href={ (path) "/" (what) } { "Change" } } };
    let list = |patterns: &[String]| patterns.join(", ");
    html! {
        section aria-labelledby="settings" {
            h2 #settings { "Settings" }
            dl.facts {
                div { dt { "Schedule" (edit("schedule")) } dd { (schedule_words(&job.schedule)) } }
                div {
                    dt { "Source" (edit("source")) }
                    dd {
                        code { (job.source.shown) }
                        @if let Some(set) = &job.set { ", replica set " (set) }
                        @if !job.source.include.is_empty() { br; "only " (list(&job.source.include)) }
                        @if !job.source.exclude.is_empty() { br; "without " (list(&job.source.exclude)) }
                        @if let Some(member) = &job.source.member { br; "preferably from " (member) }
                        @if let Some(tag) = &job.source.member_tag { br; "from members with " (tag) }
                    }
                }
                div {
                    dt { "Stores" }
                    dd {
                        "snapshots in " (job.stores.snapshot) ", oplog in " (job.stores.oplog)
                        ", initial syncs in " (job.stores.sync) ", as " code { (job.name) }
                    }
                }
                div {
                    dt { "Last integrity check" }
                    dd {
                        (checked(check)) " "
                        @if may.backup && job.set.is_some() {
                            (control::button(csrf, &format!("{path}/check"), "Check now", "plain",
                                "Reads everything that its snapshots need and compares the hashes"))
                        }
                    }
                }
                div {
                    // A drill restores: it needs both rights.
                    dt { "Restore drill" @if may.restore { (edit("drill")) } }
                    dd {
                        @match &job.drill {
                            None => "none: nobody checks regularly that it can be restored",
                            Some(drill) => {
                                "every " (span(drill.every_secs)) " into " code { (drill.shown) }
                                @if let Some(last) = drill.last { ", last begun " (moment(last, last)) }
                            },
                        }
                    }
                }
            }
        }
    }
}

/// A schedule in words.
pub(crate) fn schedule_words(spec: &ScheduleSpec) -> String {
    let kept = [
        (spec.days, "daily"),
        (spec.weeks, "weekly"),
        (spec.months, "monthly"),
        (spec.years, "yearly"),
    ];
    let longer: String =
        kept.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!(", {n} {word}")).collect();
    format!(
        "every {} from {:02}:{:02} {}, kept for {}{longer}; any second of the last {}",
        span(spec.interval_secs),
        spec.hour,
        spec.minute,
        spec.zone,
        span(spec.base_secs),
        span(spec.window_secs),
    )
}

async fn act(
    State(site): State<Site>,
    Path((project, job, action)): Path<(String, String, String)>,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let job_id = id(&job, "job")?;
    let action = Action::ALL.into_iter().find(|known| overview::word(*known) == action);
    let action = action.ok_or_else(|| bygone_base::Error::usage("there is no such action"))?;
    let view = site.control.job(scope.id(), &job_id).await?;
    if matches!(action, Action::Terminate | Action::Abandon) {
        // What is active is not asked about: it has to be stopped first.
        plan::after(view.job.state, action)?;
        super::confirm::typed(&form, &view.job.cluster)?;
    }
    let job = site.control.act(scope.id(), &job_id, action, &visitor.by()).await?;
    let said = match action {
        Action::Start | Action::Restart => "will be backed up",
        Action::Stop => "is stopped",
        Action::Terminate => "is being terminated",
        Action::Abandon => "is inactive; what it stored was left where it is",
    };
    let notice = Notice::of(format!("{} {said}.", job.cluster));
    visitor.go(&site, &scope.job(&job_id), &notice)
}

async fn snapshot_now(
    State(site): State<Site>,
    Path((project, job)): Path<(String, String)>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let job = id(&job, "job")?;
    site.control.request_snapshot(scope.id(), &job, &visitor.by()).await?;
    let notice = Notice::of("A snapshot was asked for; it appears below when it is complete.");
    visitor.go(&site, &scope.job(&job), &notice)
}

async fn check_now(
    State(site): State<Site>,
    Path((project, job)): Path<(String, String)>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let job = id(&job, "job")?;
    site.control.request_check(scope.id(), &job, &visitor.by()).await?;
    let notice = Notice::of("A check was asked for; what it finds appears under Settings.");
    visitor.go(&site, &scope.job(&job), &notice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn a_schedule_is_told_in_words() {
        let words = schedule_words(&ScheduleSpec::default());
        assert_eq!(
            words,
            "every 6 h from 00:00 UTC, kept for 2 d, 2 weekly, 1 monthly; any second of the last 1 d"
        );
    }

    #[test]
    fn names_are_escaped() {
        let may = May { backup: true, restore: true };
        let mut view = sample::job_view(EVIL);
        let mut live = Live { phase: "complete", ..Live::default() };
        live.backup.failure = Some(EVIL.into());
        live.backup.message = EVIL.into();
        live.agent = Some(bygone_control::views::AgentLive {
            holder: EVIL.into(),
            host: EVIL.into(),
            member: EVIL.into(),
            message: EVIL.into(),
            ..Default::default()
        });
        view.live = Some(live);
        let now = UnixMillis(0);
        sample::harmless(&status(&view, "/p", "t", may, now).into_string());
        let mut check = Integrity {
            id: sample::id(7),
            project: sample::id(1),
            job: sample::id(2),
            started: now,
            finished: Some(now),
            blocks: 1234,
            bytes: 5,
            percent: 20,
            damage: Vec::new(),
            failure: None,
        };
        let text = details(&view.job, Some(&check), "/p", may, "t").into_string();
        sample::harmless(&text);
        assert!(text.contains("nobody checks") && text.contains("1,234 blocks, none"), "{text}");
        check.damage.push(EVIL.into());
        let text = details(&view.job, Some(&check), "/p", may, "t").into_string();
        sample::harmless(&text);
        assert!(text.contains("1 damaged"), "{text}");
    }

    #[test]
    fn a_drill_is_offered_to_who_may_restore_and_back_up() {
        let job = sample::job("prod");
        for (backup, restore) in [(true, true), (true, false), (false, true), (false, false)] {
            let text = details(&job, None, "/p", May { backup, restore }, "t").into_string();
            assert_eq!(text.contains("/p/drill"), backup && restore, "{text}");
        }
    }

    #[test]
    fn what_is_drawn_again_and_again_is_not_read_aloud() {
        let mut view = sample::job_view("prod");
        view.standing = Standing::Silent;
        let may = May { backup: true, restore: true };
        let text = status(&view, "/p", "t", may, UnixMillis(0)).into_string();
        assert!(text.contains("no agent") && !text.contains("role=\"alert\""), "{text}");
    }
}
