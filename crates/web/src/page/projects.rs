//! The projects that somebody may see.

use axum::{Router, extract::State, routing::get};
use bygone_access::Right;
use bygone_base::Error;
use bygone_catalog::record::{Alert, AlertStatus, JobState, Project};
use bygone_control::views::JobView;
use maud::{Markup, html};

use crate::{
    failure::{Answer, refused, wrong},
    form::Form,
    format::{count, span},
    notice::Notice,
    part::{
        control,
        state::{self, Mood, badge},
    },
    site::Site,
    visitor::{Posted, Visitor, see},
};

/// Failing jobs that are named.
const NAMED: usize = 3;

pub(crate) fn routes() -> Router<Site> {
    Router::new().route("/", get(home)).route("/projects", get(list).post(make))
}

/// Who sees one project only is led there.
async fn home(State(site): State<Site>, visitor: Visitor) -> Answer {
    let mine = mine(&site, &visitor).await?;
    match &mine[..] {
        [only] => Ok(see(&format!("/p/{}", only.id))),
        _ => Ok(see("/projects")),
    }
}

async fn mine(site: &Site, visitor: &Visitor) -> bygone_base::Result<Vec<Project>> {
    let mut projects = site.control.projects().await?;
    projects.retain(|project| visitor.may(Right::Look, Some(&project.id)));
    projects.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(projects)
}

async fn list(State(site): State<Site>, visitor: Visitor) -> Answer {
    again(&site, &visitor, &Form::default(), None).await
}

async fn again(site: &Site, visitor: &Visitor, form: &Form, error: Option<&Error>) -> Answer {
    let mut rows = Vec::new();
    for project in mine(site, visitor).await? {
        let jobs = site.control.jobs(&project.id).await?;
        let alerts = site.control.alerts(Some(&project.id)).await?;
        rows.push((project, jobs, alerts));
    }
    let may = visitor.may(Right::Users, None);
    let main = html! {
        h1 { "Projects" }
        (wrong(error))
        (table(&rows))
        @if may {
            section {
                h2 { "New project" }
                form.row method="post" action="/projects" {
                    (control::csrf(visitor.csrf()))
                    (control::text("name", "Name", form.text("name"), ""))
                    button type="submit" { "Make the project" }
                }
            }
        }
    };
    refused(visitor.page(site, "Projects", "/projects", main).await, error)
}

fn table(rows: &[(Project, Vec<JobView>, Vec<Alert>)]) -> Markup {
    if rows.is_empty() {
        return html! {
            p { "There is no project that you may see. A project holds jobs, agents and the people who look after them." }
        };
    }
    html! {
        table.cards {
            thead { tr { th { "Project" } th.num { "Jobs" } th.num { "Active" } th { "State" } th.num { "Furthest behind" } th { "Alerts" } } }
            tbody {
                @for (project, jobs, alerts) in rows {
                    @let active = jobs.iter().filter(|view| view.job.state == JobState::Active).count();
                    tr {
                        th scope="row" { a href={ "/p/" (project.id) } { (project.name) } }
                        td.num data-label="Jobs" { (jobs.len()) }
                        td.num data-label="Active" { (active) }
                        td data-label="State" { (health(jobs)) }
                        td.num data-label="Furthest behind" { (behind(jobs)) }
                        td data-label="Alerts" { (open(alerts)) }
                    }
                }
            }
        }
    }
}

/// How its jobs fare, the worst of them named.
fn health(jobs: &[JobView]) -> Markup {
    let of = |mood: Mood| jobs.iter().filter(move |view| state::job(view).0 == mood);
    let (bad, busy, good) = (of(Mood::Bad).count(), of(Mood::Busy).count(), of(Mood::Good).count());
    let mut names: Vec<&str> = of(Mood::Bad).map(|view| view.job.cluster.as_str()).collect();
    names.sort_unstable();
    names.truncate(NAMED);
    html! {
        @if bad > 0 {
            (badge(Mood::Bad, &format!("{bad} failing")))
            " " (names.join(", ")) @if bad > names.len() { ", .." }
        } @else if busy > 0 {
            (badge(Mood::Busy, &format!("{busy} in an initial sync")))
        } @else if good > 0 {
            (badge(Mood::Good, "backed up"))
        } @else {
            (badge(Mood::Still, "nothing active"))
        }
    }
}

fn behind(jobs: &[JobView]) -> Markup {
    let active = jobs.iter().filter(|view| view.job.state == JobState::Active);
    let most = active.filter_map(|view| view.live.as_ref()?.lag_secs).max();
    html! { @if let Some(secs) = most { (span(secs)) } @else { span.quiet { "–" } } }
}

fn open(alerts: &[Alert]) -> Markup {
    let open = alerts.iter().filter(|alert| alert.status == AlertStatus::Open).count();
    html! {
        @if open > 0 { (badge(Mood::Bad, &count(open as u64, "open alert"))) }
        @else { span.quiet { "none" } }
    }
}

async fn make(State(site): State<Site>, Posted { visitor, form }: Posted) -> Answer {
    visitor.needs(Right::Users)?;
    let made = site.control.create_project(form.text("name"), &visitor.by()).await;
    let project = match made {
        Ok(project) => project,
        Err(error) => return again(&site, &visitor, &form, Some(&error)).await,
    };
    let notice = Notice::of(format!("The project {} was made.", project.name));
    visitor.go(&site, &format!("/p/{}", project.id), &notice)
}

#[cfg(test)]
mod tests {
    use bygone_control::{health::Standing, views::Live};

    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn projects_say_how_they_are() {
        let rows =
            [(sample::project(EVIL), vec![sample::job_view("a")], vec![sample::alert("late")])];
        let text = table(&rows).into_string();
        sample::harmless(&text);
        assert!(text.contains("1 open alert"), "{text}");
        let health = |jobs: &[JobView]| health(jobs).into_string();
        assert!(health(&[]).contains("nothing active"));
        assert!(health(&[sample::job_view("a")]).contains("1 in an initial sync"));
        let mut ill = sample::job_view(EVIL);
        ill.standing = Standing::Failing;
        let live = Live { lag_secs: Some(125), ..Live::default() };
        ill.live = Some(live);
        let text = health(std::slice::from_ref(&ill));
        sample::harmless(&text);
        assert!(text.contains("1 failing"), "{text}");
        assert_eq!(behind(&[ill]).into_string(), "2 min 5 s");
        assert!(table(&[]).into_string().contains("no project"));
    }
}
