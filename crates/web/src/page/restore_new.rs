//! A restore: choose a moment, what of it, and where to; see what would be done; confirm by typing.

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use bygone_access::Right;
use bygone_agent::SourceUri;
use bygone_base::{Error, Result};
use bygone_control::{NewDelivery, download_path, views::JobView};
use maud::{Markup, html};

use crate::{
    failure::{Answer, refused, wrong},
    form::Form,
    notice::Notice,
    page::{confirm::typed, job::wanted},
    part::{control, timeline::Timeline},
    site::{Site, id, link},
    visitor::{Asked, Posted, Scope, Visitor},
    wish::{self, Wish},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new().route("/p/{project}/j/{job}/restore", get(ask).post(go_on))
}

async fn ask(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job)): Path<(String, String)>,
    Asked(query): Asked,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Restore).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    let form = wish::prefilled(query.text("when"));
    let span = wanted(&query);
    choose(&site, &scope, &view, &form, span, None).await
}

/// The page on which everything is chosen.
async fn choose(
    site: &Site,
    scope: &Scope<'_>,
    view: &JobView,
    form: &Form,
    span: Option<u64>,
    error: Option<&Error>,
) -> Answer {
    let history = site.control.history(scope.id(), &view.job.id).await?;
    let job = scope.job(&view.job.id);
    let path = format!("{job}/restore");
    let now = site.control.now();
    let timeline =
        Timeline { history: &history, now, span, page: path.clone(), restore: Some(path.clone()) };
    let main = html! {
        p { a href=(job) { "← back to the job" } }
        h1 { "Restore " (view.job.cluster) }
        (wrong(error))
        (timeline.draw())
        form #restore method="post" action=(path) {
            (control::csrf(scope.visitor.csrf()))
            (wish::moment_fields(form, &history))
            (wish::name_fields(form))
            (wish::target_fields(form, &kept(site, scope, view, form)?))
            div.actions {
                button type="submit" name="step" value="check" { "See what would be done" }
                a.button.plain href=(job) { "Cancel" }
            }
            p.quiet { "Nothing is restored before you confirm it on the next page." }
        }
    };
    refused(scope.page(site, "Restore", "Overview", main).await, error)
}

/// A connection string that was typed stays, sealed for this session and this job.
fn kept(site: &Site, scope: &Scope<'_>, view: &JobView, form: &Form) -> Result<Markup> {
    let typed = form.text("to");
    if typed.is_empty() {
        return Ok(html! {});
    }
    let sealed = site.seal(typed, &place(scope, view))?;
    let shown = SourceUri::parse(typed).ok().map(|uri| uri.to_string());
    Ok(html! {
        input type="hidden" name="sealed_to" value=(sealed);
        p.help {
            "What you typed is kept"
            @if let Some(shown) = shown { ": " code { (shown) } }
            ". Leave the field empty to use it, or type it again."
        }
    })
}

fn place(scope: &Scope<'_>, view: &JobView) -> String {
    format!("restore draft/{}/{}", scope.visitor.session.id, view.job.id)
}

async fn go_on(
    State(site): State<Site>,
    Path((project, job)): Path<(String, String)>,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Restore).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    let place = place(&scope, &view);
    // The connection string goes with the form only sealed, for this session and this job.
    let form = with_target(&site, form, &place);
    if form.text("step") == "back" {
        return choose(&site, &scope, &view, &form, None, None).await;
    }
    let form = settled(&site, &scope, &view, form).await?;
    let now = site.control.now();
    let allowed = |wish: Wish| match &wish.new.delivery {
        NewDelivery::Automated { to, .. } => visitor.principal.may_connect(to, None).map(|()| wish),
        NewDelivery::Http { .. } => Ok(wish),
    };
    let wish = match Wish::read(&form, now).and_then(allowed) {
        Ok(wish) => wish,
        Err(error) => return choose(&site, &scope, &view, &form, None, Some(&error)).await,
    };
    if form.text("step") == "restore" {
        return begin(&site, &scope, &view, &form, wish).await;
    }
    match summary(&site, &scope, &view, &wish).await {
        Ok(summary) => confirm(&site, &scope, &view, &form, &place, &summary, None).await,
        Err(error) => choose(&site, &scope, &view, &form, None, Some(&error)).await,
    }
}

/// The form with its connection string, typed now or sealed before.
fn with_target(site: &Site, form: Form, place: &str) -> Form {
    if !form.text("to").is_empty() {
        return form;
    }
    match site.unseal(form.text("sealed_to"), place) {
        Some(to) => form.set("to", &to),
        None => form,
    }
}

/// The form with the newest stored moment by its timestamp: what is confirmed is what is restored, whatever is stored
/// meanwhile.
async fn settled(site: &Site, scope: &Scope<'_>, view: &JobView, form: Form) -> Result<Form> {
    if form.text("pick") != "latest" {
        return Ok(form);
    }
    let history = site.control.history(scope.id(), &view.job.id).await?;
    let newest = history.ranges.iter().map(|range| range.to).max();
    Ok(match newest {
        Some(ts) => form.set("pick", "ts").set("ts", &ts.to_string()),
        None => form,
    })
}

/// What would be done, in words.
async fn summary(site: &Site, scope: &Scope<'_>, view: &JobView, wish: &Wish) -> Result<Markup> {
    let new = &wish.new;
    let words = match &new.delivery {
        NewDelivery::Automated { .. } => {
            let plan = site.control.plan_restore(scope.id(), &view.job.id, new).await?;
            html! { pre { (plan.text) } }
        }
        NewDelivery::Http { .. } => {
            // That the moment is covered is said before the request, too.
            let history = site.control.history(scope.id(), &view.job.id).await?;
            wish::covered(&new.when, &history)?;
            html! {}
        }
    };
    Ok(html! { (wish.told(&view.job.cluster)) (words) })
}

/// The page on which the cluster's name is typed.
async fn confirm(
    site: &Site,
    scope: &Scope<'_>,
    view: &JobView,
    form: &Form,
    place: &str,
    summary: &Markup,
    error: Option<&Error>,
) -> Answer {
    let cluster = &view.job.cluster;
    let sealed = match form.text("to") {
        "" => None,
        to => Some(site.seal(to, place)?),
    };
    let main = html! {
        h1 { "Restore " (cluster) }
        (wrong(error))
        (summary)
        form method="post" action=(scope.path(&format!("/j/{}/restore", view.job.id))) {
            (control::csrf(scope.visitor.csrf()))
            (wish::hidden(form))
            @if let Some(sealed) = sealed { input type="hidden" name="sealed_to" value=(sealed); }
            (control::text("typed", &format!("Type {cluster} to go on"), "", ""))
            div.actions {
                button type="submit" name="step" value="restore" { "Restore" }
                button.plain type="submit" name="step" value="back" { "Change it" }
                a.button.plain href=(scope.job(&view.job.id)) { "Cancel" }
            }
        }
    };
    refused(scope.page(site, "Confirm a restore", "Overview", main).await, error)
}

async fn begin(site: &Site, scope: &Scope<'_>, view: &JobView, form: &Form, wish: Wish) -> Answer {
    if let Err(error) = typed(form, &view.job.cluster) {
        let place = place(scope, view);
        return match summary(site, scope, view, &wish).await {
            Ok(told) => confirm(site, scope, view, form, &place, &told, Some(&error)).await,
            Err(changed) => choose(site, scope, view, form, None, Some(&changed)).await,
        };
    }
    let by = scope.visitor.by();
    let begun = site.control.restore(scope.id(), &view.job.id, wish.new, &by).await;
    let (restore, secret) = match begun {
        Ok(begun) => begun,
        Err(error) => return choose(site, scope, view, form, None, Some(&error)).await,
    };
    let notice = match secret {
        None => Notice::of("The restore was asked for."),
        Some(secret) => Notice::of(
            "The download was asked for; the link is good once it is ready.",
        )
        .secret("Link", link(&scope.visitor.caller.headers, &download_path(&restore.id, &secret))),
    };
    scope.visitor.go(site, &scope.path(&format!("/restores/{}", restore.id)), &notice)
}
