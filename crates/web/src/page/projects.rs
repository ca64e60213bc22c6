//! The projects that somebody may see.

use axum::{Router, extract::State, routing::get};
use bygone_access::Right;
use bygone_catalog::record::{Alert, AlertStatus, JobState, Project};
use bygone_control::views::JobView;
use maud::{Markup, html};

use crate::{
    failure::Answer,
    notice::Notice,
    part::{
        control,
        state::{self, Mood, badge},
    },
    site::Site,
    visitor::{Posted, Visitor, see},
};

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
    let mut rows = Vec::new();
    for project in mine(&site, &visitor).await? {
        let jobs = site.control.jobs(&project.id).await?;
        let alerts = site.control.alerts(Some(&project.id)).await?;
        rows.push((project, jobs, alerts));
    }
    let may = visitor.may(Right::Users, None);
    let main = html! {
        h1 { "Projects" }
        (table(&rows))
        @if may {
            section {
                h2 { "New project" }
                form.row method="post" action="/projects" {
                    (control::csrf(visitor.csrf()))
                    (control::text("name", "Name", "", ""))
                    button type="submit" { "Make the project" }
                }
            }
        }
    };
    visitor.page(&site, "Projects", "/projects", main).await
}

fn table(rows: &[(Project, Vec<JobView>, Vec<Alert>)]) -> Markup {
    if rows.is_empty() {
        return html! {
            p { "There is no project that you may see. A project holds jobs, agents and the people who look after them." }
        };
    }
    html! {
        table.cards {
            thead { tr { th { "Project" } th.num { "Jobs" } th.num { "Active" } th { "State" } } }
            tbody {
                @for (project, jobs, alerts) in rows {
                    @let active = jobs.iter().filter(|view| view.job.state == JobState::Active).count();
                    tr {
                        th scope="row" { a href={ "/p/" (project.id) } { (project.name) } }
                        td.num data-label="Jobs" { (jobs.len()) }
                        td.num data-label="Active" { (active) }
                        td data-label="State" { (health(jobs, alerts)) }
                    }
                }
            }
        }
    }
}

fn health(jobs: &[JobView], alerts: &[Alert]) -> Markup {
    let open = alerts.iter().filter(|alert| alert.status == AlertStatus::Open).count();
    let has = |mood: Mood| jobs.iter().any(|view| state::job(view).0 == mood);
    if open > 0 {
        badge(Mood::Bad, &crate::format::count(open as u64, "open alert"))
    } else if has(Mood::Bad) {
        badge(Mood::Bad, "failing")
    } else if has(Mood::Busy) {
        badge(Mood::Busy, "busy")
    } else if has(Mood::Good) {
        badge(Mood::Good, "backed up")
    } else {
        badge(Mood::Still, "nothing active")
    }
}

async fn make(State(site): State<Site>, Posted { visitor, form }: Posted) -> Answer {
    visitor.needs(Right::Users)?;
    let project = site.control.create_project(form.text("name"), &visitor.by()).await?;
    let notice = Notice::of(format!("The project {} was made.", project.name));
    visitor.go(&site, &format!("/p/{}", project.id), &notice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn projects_say_how_they_are() {
        let rows =
            [(sample::project(EVIL), vec![sample::job_view("a")], vec![sample::alert("late")])];
        let text = table(&rows).into_string();
        sample::harmless(&text);
        assert!(text.contains("1 open alert"), "{text}");
        let health = |jobs: &[JobView]| health(jobs, &[]).into_string();
        assert!(health(&[]).contains("nothing active"));
        assert!(health(&[sample::job_view("a")]).contains("busy"));
        assert!(table(&[]).into_string().contains("no project"));
    }
}
