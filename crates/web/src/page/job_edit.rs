//! Changing where a job reads, and its restore drill.

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use bygone_access::Right;
use bygone_base::{Error, Result};
use bygone_catalog::record::{Job, Source};
use bygone_control::{AGREE_TO_RESYNC, JobEdit, NewSource};
use maud::{Markup, html};

use crate::{
    failure::{Answer, refused, wrong},
    form::Form,
    notice::Notice,
    page::job_new::{Draft, filter_fields, source, source_fields, throttle_shown},
    part::control,
    site::{Site, id},
    visitor::{Posted, Scope, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/p/{project}/j/{job}/source", get(edit_source).post(save_source))
        .route("/p/{project}/j/{job}/drill", get(edit_drill).post(save_drill))
}

/// The box by which a resync is agreed to.
const RESYNC: &str = "Do a resync where more namespaces are to be covered than until now";

async fn edit_source(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job)): Path<(String, String)>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    source_again(&site, &scope, &view.job, &source_form(&view.job), None).await
}

/// The source of a job as a form, without its string.
fn source_form(job: &Job) -> Form {
    let Source { member, member_tag, throttle, include, exclude, .. } = &job.source;
    let throttle = throttle.map(throttle_shown);
    Form::default()
        .with("member", member.as_deref().unwrap_or_default())
        .with("member_tag", member_tag.as_deref().unwrap_or_default())
        .with("throttle", throttle.as_deref().unwrap_or_default())
        .with("include", &include.join("\n"))
        .with("exclude", &exclude.join("\n"))
}

async fn source_again(
    site: &Site,
    scope: &Scope<'_>,
    job: &Job,
    form: &Form,
    error: Option<&Error>,
) -> Answer {
    let draft = Draft::of(site, scope, form)?;
    let page = source_page(job, form, &draft, &scope.job(&job.id), scope.visitor.csrf());
    let named = error.and_then(named);
    let main = html! {
        h1 { "Source of " (job.cluster) }
        (wrong(error))
        @if let Some(named) = named { (named) }
        (page)
    };
    refused(scope.page(site, "Source", "Overview", main).await, error)
}

fn source_page(job: &Job, form: &Form, draft: &Draft, path: &str, csrf: &str) -> Markup {
    html! {
        p { "Now " code { (job.source.shown) } }
        form method="post" action={ (path) "/source" } {
            (control::csrf(csrf))
            fieldset { legend { "Source" } (source_fields(form, true, draft)) }
            fieldset {
                legend { "Namespaces" }
                (filter_fields(&form.lines("include"), &form.lines("exclude")))
            }
            @if job.state.keeps_data() { (control::tick("resync", "yes", RESYNC, form.ticked("resync"))) }
            div.actions {
                button type="submit" { "Save the source" }
                a.button.plain href=(path) { "Cancel" }
            }
        }
    }
}

/// Names the box by which a resync is agreed to, where it was missed.
fn named(error: &Error) -> Option<Markup> {
    let missed = error.hint_text() == Some(AGREE_TO_RESYNC);
    missed.then(|| html! { p { "Tick “" (RESYNC) "” below to agree to it." } })
}

/// A resync reads everything again: that is asked about first.
fn sure_page(job: &Job, form: &Form, draft: &Draft, path: &str, csrf: &str) -> Markup {
    html! {
        h1 { "Resync " (job.cluster) "?" }
        p { "With this source everything is read again by an initial sync. What is stored stays; blocks that did not change are not stored twice." }
        p { "Until it is complete there are no new snapshots, and a moment after the last stored one cannot be restored." }
        form method="post" action={ (path) "/source" } {
            (control::csrf(csrf))
            (control::hidden(form, &["csrf", "uri", "sealed_uri", "sure"]))
            (draft.draw())
            input type="hidden" name="sure" value="yes";
            div.actions {
                button.danger type="submit" { "Save and resync" }
                a.button.plain href={ (path) "/source" } { "Cancel" }
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
    let form = Draft::open(&site, &scope, form);
    let job = id(&job, "job")?;
    let view = site.control.job(scope.id(), &job).await?;
    let mut new = match source(&form, view.job.source.throttle) {
        Ok(new) => new,
        Err(error) => return source_again(&site, &scope, &view.job, &form, Some(&error)).await,
    };
    let resyncs = form.ticked("resync") && site.control.needs_resync(&view.job, &new);
    if resyncs && !form.ticked("sure") {
        let draft = Draft::of(&site, &scope, &form)?;
        let main = sure_page(&view.job, &form, &draft, &scope.job(&job), visitor.csrf());
        return scope.page(&site, "Resync", "Overview", main).await;
    }
    new.workers = view.job.source.workers;
    let saved = match with_uri(&site, &visitor, &view.job, new) {
        Ok(source) => {
            let resync = form.ticked("resync");
            let edit = JobEdit { source: Some(source), resync, ..JobEdit::default() };
            site.control.edit_job(scope.id(), &job, edit, &visitor.by()).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = saved {
        return source_again(&site, &scope, &view.job, &form, Some(&error)).await;
    }
    let notice = Notice::of("The source was changed.");
    visitor.go(&site, &scope.job(&job), &notice)
}

/// The source with its URI, typed or as it was.
///
/// # Errors
/// Denied: it is another one, and names a file of the server.
fn with_uri(site: &Site, visitor: &Visitor, job: &Job, new: NewSource) -> Result<NewSource> {
    if new.uri.is_empty() {
        return Ok(NewSource { uri: site.control.source_as_given(job)?.uri, ..new });
    }
    // One that cannot be opened, with the key lost, can be given anew.
    let before = site.control.source_as_given(job).ok().map(|source| source.uri);
    visitor.principal.may_connect(&new.uri, before.as_deref())?;
    Ok(new)
}

async fn edit_drill(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job)): Path<(String, String)>,
) -> Answer {
    let scope = may_drill(&site, &visitor, &project).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    let every = view.job.drill.as_ref().map_or(7 * 86_400, |drill| drill.every_secs);
    let form = Form::default().seconds_of("every", every);
    drill_again(&site, &scope, &view.job, &form, None).await
}

/// A drill restores: it needs both rights.
async fn may_drill<'a>(site: &Site, visitor: &'a Visitor, project: &str) -> Result<Scope<'a>> {
    visitor.within(site, project, Right::Restore).await?;
    visitor.within(site, project, Right::Backup).await
}

async fn drill_again(
    site: &Site,
    scope: &Scope<'_>,
    job: &Job,
    form: &Form,
    error: Option<&Error>,
) -> Answer {
    let draft = Draft::of(site, scope, form)?;
    let page = drill_page(job, form, &draft, &scope.job(&job.id), scope.visitor.csrf());
    let main = html! { h1 { "Restore drill of " (job.cluster) } (wrong(error)) (page) };
    refused(scope.page(site, "Restore drill", "Overview", main).await, error)
}

fn drill_page(job: &Job, form: &Form, draft: &Draft, path: &str, csrf: &str) -> Markup {
    let help = match job.drill {
        Some(_) => "A connection string. Leave it empty to keep the one that is there.",
        None => "A connection string.",
    };
    html! {
        p {
            "A drill restores the newest snapshot into a scratch server and compares its dbHash. "
            strong { "What is in that server is dropped." }
        }
        @if let Some(drill) = &job.drill { p { "Now into " code { (drill.shown) } } }
        form method="post" action={ (path) "/drill" } {
            (control::csrf(csrf))
            (control::secret("uri", "Scratch server", "off", help))
            (draft.draw())
            (control::duration(form, "every", "Every", ""))
            @if job.drill.is_some() {
                (control::tick("off", "yes", "No drills any more", form.ticked("off")))
            }
            div.actions {
                button type="submit" { "Save the drill" }
                a.button.plain href=(path) { "Cancel" }
            }
        }
    }
}

/// The drill that a form asks for: into which server, and how many seconds apart; none: no drills any more.
///
/// # Errors
/// Usage: something is missing or wrong. Denied: the server is another one, and its URI names a file of ours.
fn drill_of(
    site: &Site,
    visitor: &Visitor,
    job: &Job,
    form: &Form,
) -> Result<Option<(String, u64)>> {
    if form.ticked("off") {
        return Ok(None);
    }
    let before = site.access.drill_target(job);
    let missing = || Error::usage("give the connection string of the scratch server");
    let uri = form.some("uri").or_else(|| before.clone()).ok_or_else(missing)?;
    visitor.principal.may_connect(&uri, before.as_deref())?;
    Ok(Some((uri, form.seconds("every", "the time between drills")?)))
}

async fn save_drill(
    State(site): State<Site>,
    Path((project, job)): Path<(String, String)>,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = may_drill(&site, &visitor, &project).await?;
    let form = Draft::open(&site, &scope, form);
    let job = id(&job, "job")?;
    let view = site.control.job(scope.id(), &job).await?;
    let saved = match drill_of(&site, &visitor, &view.job, &form) {
        Ok(drill) => {
            let edit = JobEdit { drill: Some(drill), ..JobEdit::default() };
            site.control.edit_job(scope.id(), &job, edit, &visitor.by()).await
        }
        Err(error) => Err(error),
    };
    let said = match &saved {
        Err(error) => return drill_again(&site, &scope, &view.job, &form, Some(error)).await,
        Ok(job) if job.drill.is_some() => "The drill was set.",
        Ok(_) => "There are no drills any more.",
    };
    visitor.go(&site, &scope.job(&job), &Notice::of(said))
}

#[cfg(test)]
mod tests {
    use bygone_catalog::record::{Drill, JobState};

    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn names_are_escaped() {
        let mut job = sample::job(EVIL);
        job.source.member = Some(EVIL.into());
        job.source.include = vec![EVIL.into()];
        let to = job.source.uri.clone();
        job.drill = Some(Drill { to, shown: EVIL.into(), every_secs: 60, last: None });
        let draft = Draft::default();
        let form = source_form(&job);
        sample::harmless(&source_page(&job, &form, &draft, "/p", EVIL).into_string());
        sample::harmless(&sure_page(&job, &form, &draft, "/p", EVIL).into_string());
        sample::harmless(&drill_page(&job, &form, &draft, "/p", EVIL).into_string());
    }

    #[test]
    fn a_resync_can_be_agreed_to_wherever_something_is_kept() {
        let mut job = sample::job("prod");
        for (state, there) in [
            (JobState::Active, true),
            (JobState::Stopped, true),
            (JobState::Misconfigured, true),
            (JobState::Inactive, false),
            (JobState::Terminating, false),
        ] {
            job.state = state;
            let page = source_page(&job, &source_form(&job), &Draft::default(), "/p", "t");
            assert_eq!(page.into_string().contains("name=\"resync\""), there, "{state:?}");
        }
        let needs = Error::usage("more is covered").hint(AGREE_TO_RESYNC);
        assert!(named(&needs).unwrap().into_string().contains(RESYNC));
        assert!(named(&Error::usage("the URI names no host")).is_none());
    }
}
