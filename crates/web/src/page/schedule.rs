//! The schedule of a job: changed with a preview of what will be kept.

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bygone_access::Right;
use bygone_base::{Error, Result, UnixMillis};
use bygone_catalog::record::ScheduleSpec;
use bygone_control::{JobEdit, views::JobView};
use maud::{Markup, html};

use crate::{
    failure::{Answer, Failure, refused, wrong},
    form::Form,
    format::millis,
    notice::Notice,
    part::{control, preview},
    site::{Site, id},
    visitor::{Asked, Posted, Scope, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/p/{project}/j/{job}/schedule", get(edit).post(save))
        .route("/p/{project}/j/{job}/preview", get(fragment_of_job))
        .route("/preview", get(fragment))
}

/// A schedule as the form that says it.
pub(crate) fn form_of(spec: &ScheduleSpec) -> Form {
    let number = |n: u16| n.to_string();
    Form::default()
        .seconds_of("interval", spec.interval_secs)
        .with("day_at", &format!("{:02}:{:02}", spec.hour, spec.minute))
        .with("zone", &spec.zone)
        .seconds_of("base", spec.base_secs)
        .with("days", &number(spec.days))
        .with("weeks", &number(spec.weeks))
        .with("months", &number(spec.months))
        .with("years", &number(spec.years))
        .seconds_of("window", spec.window_secs)
}

/// The fields of a schedule, which a form for a new job has too.
pub(crate) fn fields(form: &Form) -> Markup {
    let number = |name, label, help| control::number(name, label, form.text(name), help);
    html! {
        fieldset {
            legend { "Snapshots" }
            (control::duration(form, "interval", "Every", "6, 8, 12 or 24 hours for clients of Ops Manager's API; anything from a minute to 31 days here."))
            (control::text("day_at", "The day begins at", form.text("day_at"), "HH:MM; snapshots are counted from it."))
            (control::text("zone", "in the time zone", form.text("zone"), "A name such as Europe/Berlin, UTC, or an offset such as +0200."))
        }
        fieldset {
            legend { "Kept" }
            (control::duration(form, "base", "Every snapshot for", ""))
            div.fields {
                (number("days", "One a day, for days", "The first of each day; 0 is off."))
                (number("weeks", "One a week, for weeks", "From Sunday."))
                (number("months", "One a month, for months", ""))
                (number("years", "One a year, for years", ""))
            }
            (control::duration(form, "window", "Any second of the last", "The point-in-time window: the oplog is stored for so long."))
        }
    }
}

/// Reads the fields.
///
/// # Errors
/// Usage: something is out of its limits.
pub(crate) fn read(form: &Form) -> Result<ScheduleSpec> {
    let day_at = form.text("day_at");
    let bad = || Error::usage(format!("{day_at:?} is not a time of day (HH:MM)"));
    let (hour, minute) = day_at.split_once(':').ok_or_else(bad)?;
    let spec = ScheduleSpec {
        interval_secs: form.seconds("interval", "the interval")?,
        base_secs: form.seconds("base", "how long every snapshot is kept")?,
        days: form.number("days", "days")?,
        weeks: form.number("weeks", "weeks")?,
        months: form.number("months", "months")?,
        years: form.number("years", "years")?,
        hour: hour.parse().map_err(|_| bad())?,
        minute: minute.parse().map_err(|_| bad())?,
        zone: form.text("zone").to_owned(),
        window_secs: form.seconds("window", "the point-in-time window")?,
    };
    spec.schedule()?;
    Ok(spec)
}

/// What a schedule will keep, or what is wrong with it.
pub(crate) fn shown(
    spec: &Result<ScheduleSpec>,
    newest: Option<UnixMillis>,
    now: UnixMillis,
) -> Markup {
    let schedule = spec.as_ref().map(|spec| (spec.schedule(), spec.window_secs));
    match schedule {
        Ok((Ok(schedule), window)) => preview::draw(&schedule, window, newest, now),
        Ok((Err(error), _)) => wrong(Some(&error)),
        Err(error) => wrong(Some(error)),
    }
}

/// The part of a page that shows the preview; the script asks for it anew with every change of the form.
pub(crate) fn section(preview: &Markup, path: &str) -> Markup {
    html! {
        section aria-labelledby="preview" {
            h2 #preview { "What will be kept" }
            div data-preview={ (path) "/preview" } { (preview) }
        }
    }
}

async fn fragment(
    State(site): State<Site>,
    _: Visitor,
    Asked(query): Asked,
) -> Result<Response, Failure> {
    Ok(shown(&read(&query), None, site.control.now()).into_response())
}

async fn fragment_of_job(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job)): Path<(String, String)>,
    Asked(query): Asked,
) -> Result<Response, Failure> {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    let newest = view.newest.map(millis);
    Ok(shown(&read(&query), newest, site.control.now()).into_response())
}

async fn edit(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job)): Path<(String, String)>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    page(&site, &scope, &view, &form_of(&view.job.schedule), None).await
}

async fn page(
    site: &Site,
    scope: &Scope<'_>,
    view: &JobView,
    form: &Form,
    error: Option<&Error>,
) -> Answer {
    let preview = shown(&read(form), view.newest.map(millis), site.control.now());
    let path = scope.job(&view.job.id);
    let main = html! {
        h1 { "Schedule of " (view.job.cluster) }
        (wrong(error))
        (form_page(form, &path, scope.visitor.csrf()))
        (section(&preview, &path))
    };
    refused(scope.page(site, "Schedule", "Overview", main).await, error)
}

fn form_page(form: &Form, path: &str, csrf: &str) -> Markup {
    html! {
        p.quiet {
            "A change holds for snapshots that are taken from now on: those that exist keep their expiry, and the next is never taken earlier than announced."
        }
        form method="post" action={ (path) "/schedule" } data-previewed {
            (control::csrf(csrf))
            (fields(form))
            div.actions {
                button type="submit" { "Save the schedule" }
                button.plain type="submit" name="then" value="preview" { "Preview" }
                a.button.plain href=(path) { "Cancel" }
            }
        }
    }
}

async fn save(
    State(site): State<Site>,
    Path((project, job)): Path<(String, String)>,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let job = id(&job, "job")?;
    let view = site.control.job(scope.id(), &job).await?;
    // For browsers without script.
    if form.text("then") == "preview" {
        return page(&site, &scope, &view, &form, None).await;
    }
    let saved = match read(&form) {
        Ok(spec) => {
            let edit = JobEdit { schedule: Some(spec), ..JobEdit::default() };
            site.control.edit_job(scope.id(), &job, edit, &visitor.by()).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = saved {
        return page(&site, &scope, &view, &form, Some(&error)).await;
    }
    let notice = Notice::of("The schedule was changed.");
    visitor.go(&site, &scope.job(&job), &notice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn filled() -> Form {
        Form::parse(
            b"interval=90&interval_unit=min&day_at=08:30&zone=%2B0200&base=3&base_unit=d&days=7&weeks=4&months=12&years=1&window=36&window_unit=h",
        )
    }

    #[test]
    fn a_form_becomes_a_schedule() {
        let spec = read(&filled()).unwrap();
        assert_eq!(
            (spec.interval_secs, spec.base_secs, spec.window_secs),
            (5400, 259_200, 129_600)
        );
        assert_eq!((spec.hour, spec.minute, spec.zone.as_str()), (8, 30, "+0200"));
        assert_eq!((spec.days, spec.weeks, spec.months, spec.years), (7, 4, 12, 1));
    }

    #[test]
    fn what_is_wrong_is_shown_in_place_of_the_preview() {
        let now = UnixMillis(1_795_170_600_000);
        let bad = Form::parse(b"day_at=8");
        let text = shown(&read(&bad), None, now).into_string();
        assert!(text.contains("is not a time of day"), "{text}");
        let text = shown(&read(&filled()), None, now).into_string();
        assert!(text.contains("<svg"), "{text}");
        let evil = ScheduleSpec { zone: sample::EVIL.into(), ..ScheduleSpec::default() };
        let form = form_of(&evil);
        sample::harmless(&fields(&form).into_string());
        assert_eq!(form_of(&read(&filled()).unwrap()).text("interval_unit"), "min");
        sample::harmless(&shown(&Ok(evil), None, now).into_string());
    }
}
