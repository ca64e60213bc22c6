//! Changing where a job reads, and its restore drill.

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use bygone_access::Right;
use bygone_catalog::record::{Job, JobState};
use bygone_control::JobEdit;
use maud::{Markup, html};

use crate::{
    failure::Answer,
    form::Form,
    notice::Notice,
    page::job_new::{filter_fields, source, source_fields},
    part::control,
    site::{Site, id},
    visitor::{Posted, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/p/{project}/j/{job}/source", get(edit_source).post(save_source))
        .route("/p/{project}/j/{job}/drill", get(edit_drill).post(save_drill))
}

async fn edit_source(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job)): Path<(String, String)>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    let main = source_page(&view.job, &scope.job(&job), visitor.csrf());
    scope.page(&site, "Source", "Overview", main).await
}

fn source_page(job: &Job, path: &str, csrf: &str) -> Markup {
    let known = Form::parse(b"");
    let known = [("member", &job.source.member), ("member_tag", &job.source.member_tag)]
        .into_iter()
        .fold(known, |form, (name, value)| form.with(name, value.as_deref().unwrap_or_default()));
    let throttle = job.source.throttle.map(|bytes| (bytes >> 20).to_string());
    let known = known.with("throttle", throttle.as_deref().unwrap_or_default());
    html! {
        h1 { "Source of " (job.cluster) }
        p { "Now " code { (job.source.shown) } }
        form method="post" action={ (path) "/source" } {
            (control::csrf(csrf))
            fieldset { legend { "Source" } (source_fields(&known, true)) }
            fieldset { legend { "Namespaces" } (filter_fields(&job.source.include, &job.source.exclude)) }
            @if job.state == JobState::Active {
                (control::tick("resync", "yes", "Do a resync where more namespaces are to be covered than until now", false))
            }
            div.actions {
                button type="submit" { "Save the source" }
                a.button.plain href=(path) { "Cancel" }
            }
        }
    }
}

async fn save_source(
    State(site): State<Site>,
    Path((project, job)): Path<(String, String)>,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let job = id(&job, "job")?;
    let view = site.control.job(scope.id(), &job).await?;
    let mut new = source(&form)?;
    new.workers = view.job.source.workers;
    if new.uri.is_empty() {
        new.uri = site.control.source_as_given(&view.job)?.uri;
    }
    let edit = JobEdit { source: Some(new), resync: form.ticked("resync"), ..JobEdit::default() };
    site.control.edit_job(scope.id(), &job, edit, &visitor.by()).await?;
    let notice = Notice::of("The source was changed.");
    visitor.go(&site, &scope.job(&job), &notice)
}

async fn edit_drill(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job)): Path<(String, String)>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    let main = drill_page(&view.job, &scope.job(&job), visitor.csrf());
    scope.page(&site, "Restore drill", "Overview", main).await
}

fn drill_page(job: &Job, path: &str, csrf: &str) -> Markup {
    let every = job.drill.as_ref().map_or(7 * 86_400, |drill| drill.every_secs);
    html! {
        h1 { "Restore drill of " (job.cluster) }
        p {
            "A drill restores the newest snapshot into a scratch server and compares its dbHash. "
            strong { "What is in that server is dropped." }
        }
        @if let Some(drill) = &job.drill { p { "Now into " code { (drill.shown) } } }
        form method="post" action={ (path) "/drill" } {
            (control::csrf(csrf))
            (control::secret("to", "Scratch server", "off", "A connection string. Empty: no drills any more."))
            (control::duration("every", "Every", every, ""))
            div.actions {
                button type="submit" { "Save the drill" }
                a.button.plain href=(path) { "Cancel" }
            }
        }
    }
}

async fn save_drill(
    State(site): State<Site>,
    Path((project, job)): Path<(String, String)>,
    Posted { visitor, form }: Posted,
) -> Answer {
    // A drill restores: it needs both rights.
    visitor.within(&site, &project, Right::Restore).await?;
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let job = id(&job, "job")?;
    let drill = match form.some("to") {
        None => None,
        Some(uri) => Some((uri, form.seconds("every", "the time between drills")?)),
    };
    let said = if drill.is_some() { "The drill was set." } else { "There are no drills any more." };
    let edit = JobEdit { drill: Some(drill), ..JobEdit::default() };
    site.control.edit_job(scope.id(), &job, edit, &visitor.by()).await?;
    visitor.go(&site, &scope.job(&job), &Notice::of(said))
}

#[cfg(test)]
mod tests {
    use bygone_catalog::record::Drill;

    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn names_are_escaped() {
        let mut job = sample::job(EVIL);
        job.source.member = Some(EVIL.into());
        job.source.include = vec![EVIL.into()];
        let to = job.source.uri.clone();
        job.drill = Some(Drill { to, shown: EVIL.into(), every_secs: 60, last: None });
        sample::harmless(&source_page(&job, "/p", EVIL).into_string());
        sample::harmless(&drill_page(&job, "/p", EVIL).into_string());
    }
}
