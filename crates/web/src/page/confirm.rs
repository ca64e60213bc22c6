//! What takes something away is asked about first, and says what it takes.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use bygone_access::Right;
use bygone_base::{Error, ErrorKind, Result};
use bygone_control::{Action, plan};
use maud::{Markup, html};

use crate::{
    failure::Answer,
    form::Form,
    notice::Notice,
    part::control,
    site::{Site, id},
    visitor::{Posted, Visitor},
};

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/p/{project}/j/{job}/confirm/{what}", get(ask))
        .route("/p/{project}/j/{job}/resync", post(resync))
        .route("/p/{project}/j/{job}/remove", post(remove))
}

/// A question.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// What is to be done.
    pub(crate) title: String,
    /// What it does, a paragraph each.
    pub(crate) does: Vec<String>,
    /// Where the yes goes.
    pub(crate) action: String,
    /// The word on the button.
    pub(crate) button: &'a str,
    /// What must be typed first.
    pub(crate) typed: Option<&'a str>,
    /// Where the no goes.
    pub(crate) back: String,
}

impl Question<'_> {
    pub(crate) fn draw(&self, csrf: &str) -> Markup {
        html! {
            h1 { (self.title) }
            @for paragraph in &self.does { p { (paragraph) } }
            form method="post" action=(self.action) {
                (control::csrf(csrf))
                @if let Some(name) = self.typed {
                    (control::text("typed", &format!("Type {name} to go on"), "", ""))
                }
                div.actions {
                    button.danger type="submit" { (self.button) }
                    a.button.plain href=(self.back) { "Cancel" }
                }
            }
        }
    }
}

/// Whether the name was typed.
///
/// # Errors
/// Usage: something else was.
pub(crate) fn typed(form: &Form, name: &str) -> Result<()> {
    if form.text("typed") == name.trim() {
        return Ok(());
    }
    Err(Error::usage(format!("to go on, type {name}")).hint("nothing was changed"))
}

async fn ask(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job, what)): Path<(String, String, String)>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let view = site.control.job(scope.id(), &id(&job, "job")?).await?;
    let path = scope.job(&job);
    let cluster = &view.job.cluster;
    let question = match what.as_str() {
        "stop" => {
            plan::after(view.job.state, Action::Stop)?;
            stop(cluster, &path)
        }
        "terminate" => {
            plan::after(view.job.state, Action::Terminate)?;
            terminate(cluster, &path)
        }
        "abandon" => {
            plan::after(view.job.state, Action::Abandon)?;
            abandon(cluster, &path)
        }
        "resync" => resync_question(cluster, &path),
        "remove" => remove_question(cluster, &path),
        _ => return Err(Error::new(ErrorKind::NotFound, "there is no such page").into()),
    };
    scope.page(&site, &question.title, "Overview", question.draw(visitor.csrf())).await
}

fn stop<'a>(cluster: &str, path: &str) -> Question<'a> {
    Question {
        title: format!("Stop backing up {cluster}?"),
        does: vec![
            "Nothing new will be stored: no oplog, no snapshots.".into(),
            "What is stored stays and can be restored, until each snapshot expires. If it is stopped for longer than the source's oplog reaches back, going on takes a new initial sync.".into(),
        ],
        action: format!("{path}/act/stop"),
        button: "Stop",
        typed: None,
        back: path.to_owned(),
    }
}

fn terminate<'a>(cluster: &'a str, path: &str) -> Question<'a> {
    Question {
        title: format!("Terminate the backup of {cluster}?"),
        does: vec![
            "All snapshots and all stored oplog of it are deleted at once, also those that are kept for ever. Nothing of it can be restored afterwards.".into(),
            "The job stays, inactive, and can be started again with an initial sync.".into(),
        ],
        action: format!("{path}/act/terminate"),
        button: "Delete everything",
        typed: Some(cluster),
        back: path.to_owned(),
    }
}

fn abandon<'a>(cluster: &'a str, path: &str) -> Question<'a> {
    Question {
        title: format!("Abandon what {cluster} stored?"),
        does: vec![
            "The job becomes inactive at once, without waiting for its stores. What could not be deleted yet stays there, perhaps in part, and nobody deletes it any more.".into(),
            "Only where a store is gone for good: one that comes back is emptied by Terminate.".into(),
        ],
        action: format!("{path}/act/abandon"),
        button: "Abandon",
        typed: Some(cluster),
        back: path.to_owned(),
    }
}

fn resync_question<'a>(cluster: &str, path: &str) -> Question<'a> {
    Question {
        title: format!("Resync {cluster}?"),
        does: vec![
            "Everything is read from the source again by an initial sync. What is stored stays; blocks that did not change are not stored twice.".into(),
            "Until it is complete there are no new snapshots, and a moment after the last stored one cannot be restored.".into(),
        ],
        action: format!("{path}/resync"),
        button: "Resync",
        typed: None,
        back: path.to_owned(),
    }
}

fn remove_question<'a>(cluster: &str, path: &str) -> Question<'a> {
    Question {
        title: format!("Remove the job of {cluster}?"),
        does: vec!["The job and its settings are forgotten. It stores nothing any more.".into()],
        action: format!("{path}/remove"),
        button: "Remove",
        typed: None,
        back: path.to_owned(),
    }
}

async fn resync(
    State(site): State<Site>,
    Path((project, job)): Path<(String, String)>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let job = id(&job, "job")?;
    site.control.request_resync(scope.id(), &job, &visitor.by()).await?;
    let notice = Notice::of("A resync was asked for.");
    visitor.go(&site, &scope.job(&job), &notice)
}

async fn remove(
    State(site): State<Site>,
    Path((project, job)): Path<(String, String)>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    site.control.delete_job(scope.id(), &id(&job, "job")?, &visitor.by()).await?;
    visitor.go(&site, &scope.path(""), &Notice::of("The job was removed."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn the_name_must_be_typed_as_it_is() {
        let form = |text: &str| Form::default().with("typed", text);
        assert!(typed(&form(" prod "), "prod").is_ok());
        for wrong in ["", "Prod", "pro"] {
            assert!(typed(&form(wrong), "prod").is_err(), "{wrong}");
        }
    }

    #[test]
    fn questions_escape_names() {
        for question in [terminate(EVIL, "/p"), abandon(EVIL, "/p")] {
            let text = question.draw(EVIL).into_string();
            sample::harmless(&text);
            assert!(text.contains("name=\"typed\""), "{text}");
        }
        assert!(!stop(EVIL, "/p").draw("t").into_string().contains("name=\"typed\""));
    }
}
