//! A new job.

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use bygone_access::Right;
use bygone_agent::SourceUri;
use bygone_base::{Error, Result};
use bygone_catalog::record::{JobStores, Purpose, ScheduleSpec};
use bygone_control::{Action, NewJob, NewSource, views::StoreView};
use maud::{Markup, html};

use crate::{
    failure::{Answer, refused, wrong},
    form::Form,
    notice::Notice,
    page::schedule,
    part::control,
    site::Site,
    visitor::{Posted, Scope, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new().route("/p/{project}/new", get(ask).post(make))
}

async fn ask(State(site): State<Site>, visitor: Visitor, Path(project): Path<String>) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    page(&site, &scope, None, None).await
}

/// The page, with what was typed (the connection string excepted).
async fn page(
    site: &Site,
    scope: &Scope<'_>,
    sent: Option<&Form>,
    error: Option<&Error>,
) -> Answer {
    let stores = site.control.stores().await?;
    let start = schedule::form_of(&ScheduleSpec::default());
    let form = sent.unwrap_or(&start);
    let preview = schedule::shown(&schedule::read(form), None, site.control.now());
    let draft = Draft::of(site, scope, form)?;
    let main = html! {
        h1 { "New backup job" }
        (wrong(error))
        (draw(form, &draft, &stores, &scope.path(""), scope.visitor.csrf()))
        (schedule::section(&preview, ""))
    };
    refused(scope.page(site, "New backup job", "Overview", main).await, error)
}

/// A connection string that was typed: it goes with the form only sealed, for this session.
#[derive(Default)]
pub(crate) struct Draft {
    sealed: Option<String>,
    /// Without its password, where it can be told from the rest.
    shown: Option<String>,
}

impl Draft {
    pub(crate) fn of(site: &Site, scope: &Scope<'_>, form: &Form) -> Result<Draft> {
        let typed = form.text("uri");
        if typed.is_empty() {
            return Ok(Draft::default());
        }
        let shown = SourceUri::parse(typed).ok().map(|uri| uri.to_string());
        Ok(Draft { sealed: Some(site.seal(typed, &place(scope))?), shown })
    }

    /// The form with its connection string, typed now or sealed before.
    pub(crate) fn open(site: &Site, scope: &Scope<'_>, form: Form) -> Form {
        if !form.text("uri").is_empty() {
            return form;
        }
        match site.unseal(form.text("sealed_uri"), &place(scope)) {
            Some(uri) => form.set("uri", &uri),
            None => form,
        }
    }

    /// What is kept of it, and that it is.
    pub(crate) fn draw(&self) -> Markup {
        html! {
            @if let Some(sealed) = &self.sealed {
                input type="hidden" name="sealed_uri" value=(sealed);
                p.help {
                    "What you typed is kept"
                    @if let Some(shown) = &self.shown { ": " code { (shown) } }
                    ". Leave the field empty to use it, or type it again."
                }
            }
        }
    }
}

fn place(scope: &Scope<'_>) -> String {
    format!("source draft/{}/{}", scope.visitor.session.id, scope.id())
}

fn draw(form: &Form, draft: &Draft, stores: &[StoreView], path: &str, csrf: &str) -> Markup {
    html! {
        form method="post" action={ (path) "/new" } data-previewed {
            (control::csrf(csrf))
            fieldset {
                legend { "Cluster" }
                (control::text("cluster", "Name", form.text("cluster"), "What people call it; it must be typed to terminate its backup."))
                (source_fields(form, false, draft))
            }
            details {
                summary { "Only some namespaces" }
                (filter_fields(&form.lines("include"), &form.lines("exclude")))
            }
            details {
                summary { "Where it is stored" }
                (store_fields(form, stores))
            }
            (schedule::fields(form))
            div.actions {
                button type="submit" name="then" value="start" { "Create and start" }
                button.plain type="submit" { "Create without starting" }
                button.plain type="submit" name="then" value="preview" { "Preview" }
                a.button.plain href=(path) { "Cancel" }
            }
        }
    }
}

/// The fields of a source. Where one is known, its string may be left out.
pub(crate) fn source_fields(form: &Form, known: bool, draft: &Draft) -> Markup {
    let help = if known {
        "Leave it empty to keep the one that is there."
    } else {
        "mongodb://user:password@host1,host2/?replicaSet=rs0 – the user needs the roles backup and clusterMonitor. It is kept encrypted."
    };
    html! {
        (control::secret("uri", "Connection string", "off", help))
        (draft.draw())
        (control::text("member", "Preferred member", form.text("member"), "host:port to read from; empty: a secondary."))
        (control::text("member_tag", "or members with the tag", form.text("member_tag"), "NAME=VALUE"))
        (control::number("throttle", "At most so many MiB per second in the initial sync", form.text("throttle"), "Empty: as fast as it can."))
    }
}

/// The fields of a filter.
pub(crate) fn filter_fields(include: &[String], exclude: &[String]) -> Markup {
    html! {
        (control::lines("include", "Only these", include, "db, db.collection or db.*, one per line. Either these or those below."))
        (control::lines("exclude", "All but these", exclude, "One per line."))
    }
}

fn store_fields(form: &Form, stores: &[StoreView]) -> Markup {
    let of = |purpose: Purpose| {
        let fitting = stores.iter().filter(|view| view.store.purposes.contains(&purpose));
        let named = fitting.map(|view| (view.store.id.clone(), view.store.id.clone()));
        std::iter::once((String::new(), "chosen by load".to_owned()))
            .chain(named)
            .collect::<Vec<_>>()
    };
    html! {
        (control::choice("snapshot_store", "Snapshots", &of(Purpose::Snapshot), form.text("snapshot_store"), ""))
        (control::choice("oplog_store", "Oplog", &of(Purpose::Oplog), form.text("oplog_store"), "Empty: beside the snapshots."))
        (control::choice("sync_store", "Initial syncs", &of(Purpose::Sync), form.text("sync_store"), "Empty: beside the snapshots."))
    }
}

/// The stores as chosen; `None`: chosen by load.
///
/// # Errors
/// Usage: the oplog's was chosen and the snapshots' was not.
fn stores(form: &Form) -> Result<Option<JobStores>> {
    let rest = [form.some("oplog_store"), form.some("sync_store")];
    let [oplog, sync] = rest;
    match form.some("snapshot_store") {
        Some(snapshot) => Ok(Some(JobStores {
            oplog: oplog.unwrap_or_else(|| snapshot.clone()),
            sync: sync.unwrap_or_else(|| snapshot.clone()),
            snapshot,
        })),
        None if oplog.is_none() && sync.is_none() => Ok(None),
        None => Err(Error::usage("choose the store of the snapshots too")),
    }
}

/// A throttle as its field shows it.
pub(crate) fn throttle_shown(bytes: u64) -> String {
    (bytes >> 20).to_string()
}

/// A source as sent; with the throttle that there is, which stays where its field was not touched.
///
/// # Errors
/// Usage: the throttle is no number, or nothing.
pub(crate) fn source(form: &Form, before: Option<u64>) -> Result<NewSource> {
    let throttle = match form.some("throttle") {
        None => None,
        Some(shown) if before.is_some_and(|bytes| throttle_shown(bytes) == shown) => before,
        Some(_) => match form.number::<u64>("throttle", "the throttle")? {
            0 => {
                return Err(Error::usage("a throttle of 0 MiB per second copies nothing")
                    .hint("leave the field empty to copy as fast as it goes"));
            }
            mib => Some(mib.saturating_mul(1 << 20)),
        },
    };
    Ok(NewSource {
        uri: form.text("uri").to_owned(),
        include: form.lines("include"),
        exclude: form.lines("exclude"),
        member: form.some("member"),
        member_tag: form.some("member_tag"),
        throttle,
        workers: 0,
    })
}

fn new_job(form: &Form) -> Result<NewJob> {
    Ok(NewJob {
        cluster: form.text("cluster").to_owned(),
        source: source(form, None)?,
        stores: stores(form)?,
        schedule: schedule::read(form)?,
        name: None,
    })
}

async fn make(
    State(site): State<Site>,
    Path(project): Path<String>,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let form = Draft::open(&site, &scope, form);
    // For browsers without script.
    if form.text("then") == "preview" {
        return page(&site, &scope, Some(&form), None).await;
    }
    let by = visitor.by();
    let may = |new: NewJob| visitor.principal.may_connect(&new.source.uri, None).map(|()| new);
    let made = match new_job(&form).and_then(may) {
        Ok(new) => site.control.create_job(scope.id(), new, &by).await,
        Err(error) => Err(error),
    };
    let job = match made {
        Ok(job) => job,
        Err(error) => return page(&site, &scope, Some(&form), Some(&error)).await,
    };
    let start = form.text("then") == "start";
    if start {
        site.control.act(scope.id(), &job.id, Action::Start, &by).await?;
    }
    let said = if start { "will be backed up" } else { "can be started" };
    let notice = Notice::of(format!("{} {said}.", job.cluster));
    visitor.go(&site, &scope.job(&job.id), &notice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn stores_are_all_chosen_or_none() {
        let form = |pairs: &[(&str, &str)]| {
            pairs.iter().fold(Form::default(), |form, (name, value)| form.with(name, value))
        };
        assert_eq!(stores(&form(&[])).unwrap(), None);
        let chosen =
            stores(&form(&[("snapshot_store", "a"), ("sync_store", "b")])).unwrap().unwrap();
        assert_eq!(
            (chosen.snapshot.as_str(), chosen.oplog.as_str(), chosen.sync.as_str()),
            ("a", "a", "b")
        );
        assert!(stores(&form(&[("oplog_store", "a")])).is_err());
    }

    #[test]
    fn what_was_typed_comes_back_escaped_and_secrets_do_not() {
        let form = Form::default()
            .with("cluster", EVIL)
            .with("member", EVIL)
            .with("include", EVIL)
            .with("uri", "mongodb://u:secret@h");
        let draft = Draft { sealed: Some("word".into()), shown: Some(EVIL.into()) };
        let text = draw(&form, &draft, &[], "/p", EVIL).into_string();
        sample::harmless(&text);
        assert!(!text.contains("u:secret@"), "{text}");
        assert!(text.contains("value=\"word\""), "{text}");
    }

    #[test]
    fn a_throttle_is_in_mib() {
        let form = Form::default().with("throttle", "5");
        assert_eq!(source(&form, None).unwrap().throttle, Some(5 << 20));
        for bad in ["fast", "0"] {
            assert!(source(&Form::default().with("throttle", bad), Some(9 << 20)).is_err());
        }
        // What was not touched stays as it was, to the byte.
        let odd = (5 << 20) + 7;
        assert_eq!(source(&form, Some(odd)).unwrap().throttle, Some(odd));
        let little = Form::default().with("throttle", &throttle_shown(7));
        assert_eq!(source(&little, Some(7)).unwrap().throttle, Some(7));
    }
}
