//! The snapshots of a job: listed, kept longer or shorter, deleted.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use bygone_access::Right;
use bygone_base::{Error, ErrorKind, Result, SnapshotId, UnixMillis};
use bygone_catalog::record::Integrity;
use bygone_control::{KeepUntil, views::SnapshotView};
use maud::{Markup, html};

use crate::{
    failure::Answer,
    format::{age, bytes, cluster_moment, grouped, stamp},
    notice::Notice,
    page::{confirm::Question, job::checked, overview::May},
    part::control,
    site::{Site, id},
    visitor::{Asked, Posted, Visitor},
};

/// Rows that are shown at first; the rest is behind a fold.
const ROWS: usize = 30;
const DAY: i64 = 86_400_000;

pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/p/{project}/j/{job}/s/{snapshot}", get(show))
        .route("/p/{project}/j/{job}/s/{snapshot}/keep", post(keep))
        .route("/p/{project}/j/{job}/s/{snapshot}/delete", get(ask).post(delete))
}

/// The snapshots, newest first.
pub(crate) fn table(
    snapshots: &[SnapshotView],
    job: &str,
    csrf: &str,
    may: May,
    now: UnixMillis,
) -> Markup {
    if snapshots.is_empty() {
        return html! {};
    }
    let newest: Vec<&SnapshotView> = snapshots.iter().rev().collect();
    let (first, rest) = newest.split_at(newest.len().min(ROWS));
    let added: u64 = snapshots.iter().map(|snapshot| snapshot.new_bytes).sum();
    html! {
        section aria-labelledby="snapshots" {
            h2 #snapshots {
                "Snapshots " span.quiet { (grouped(snapshots.len() as u64)) ", together " (bytes(added)) " stored" }
            }
            (rows(first, job, csrf, may, now))
            @if !rest.is_empty() {
                details { summary { (grouped(rest.len() as u64)) " older ones" } (rows(rest, job, csrf, may, now)) }
            }
        }
    }
}

fn rows(snapshots: &[&SnapshotView], job: &str, csrf: &str, may: May, now: UnixMillis) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th { "Moment (UTC)" } th { "Taken" } th.num { "Size" } th.num { "New" } th.num { "Held alone" } th.num { "Documents" }
                th { "Expires" } th { span.unseen { "Actions" } }
            } }
            tbody { @for snapshot in snapshots { (row(snapshot, job, csrf, may, now)) } }
        }
    }
}

fn row(snapshot: &SnapshotView, job: &str, csrf: &str, may: May, now: UnixMillis) -> Markup {
    let path = format!("{job}/s/{}", snapshot.id);
    html! {
        tr {
            th scope="row" { a href=(path) { (cluster_moment(snapshot.at)) } }
            td data-label="Taken" { (age(now, snapshot.created)) }
            td.num data-label="Size" { (bytes(snapshot.bytes)) }
            td.num data-label="New" { (bytes(snapshot.new_bytes)) }
            td.num data-label="Held alone" { (own(snapshot)) }
            td.num data-label="Documents" { (grouped(snapshot.documents)) }
            td data-label="Expires" { (expires(snapshot, now)) }
            td.actions {
                @if may.restore { a.button href={ (job) "/restore?when=" (snapshot.id) } { "Restore" } }
                @if may.backup {
                    @if !snapshot.kept_for_ever {
                        (control::button(csrf, &format!("{path}/keep?for=ever"), "Keep", "plain",
                            "Keeps it for ever: it is deleted by nobody but you"))
                    }
                    a.button.plain href=(path) title="Change its expiry, or delete it" { "Edit" }
                }
            }
        }
    }
}

/// What its end would free.
fn own(snapshot: &SnapshotView) -> Markup {
    html! { @if let Some(n) = snapshot.unique_bytes { (bytes(n)) } @else { "–" } }
}

fn expires(snapshot: &SnapshotView, now: UnixMillis) -> Markup {
    html! {
        @match (snapshot.kept_for_ever, snapshot.expires) {
            (true, _) => "never",
            (false, Some(at)) => (age(now, at)),
            (false, None) => "as the schedule says",
        }
    }
}

async fn find(
    site: &Site,
    project: &bygone_catalog::Id,
    job: &str,
    snapshot: &str,
) -> Result<SnapshotView> {
    let job = id(job, "job")?;
    let all = site.control.history(project, &job).await?.snapshots;
    let found = all.into_iter().find(|view| view.id.as_str() == snapshot);
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no snapshot {snapshot}")))
}

async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job, snapshot)): Path<(String, String, String)>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Look).await?;
    let view = find(&site, scope.id(), &job, &snapshot).await?;
    let page = scope.job(&job);
    let check = site.control.newest_check(scope.id(), &id(&job, "job")?).await?;
    let (may, now) = (May::of(&scope), site.control.now());
    let main = one(&view, check.as_ref(), &page, visitor.csrf(), may, now);
    scope.page(&site, "Snapshot", "Overview", main).await
}

fn one(
    view: &SnapshotView,
    check: Option<&Integrity>,
    job: &str,
    csrf: &str,
    may: May,
    now: UnixMillis,
) -> Markup {
    let path = format!("{job}/s/{}", view.id);
    html! {
        p { a href=(job) { "← back to the job" } }
        div.headed {
            h1 { "Snapshot of " (cluster_moment(view.at)) " UTC" }
            div.actions {
                @if may.restore { a.button href={ (job) "/restore?when=" (view.id) } { "Restore" } }
                @if may.backup { a.button.plain href={ (path) "/delete" } { "Delete…" } }
            }
        }
        dl.facts {
            div { dt { "Id" } dd { code { (view.id) } } }
            div { dt { "Oplog timestamp, inclusive" } dd { code { (view.at) } } }
            div { dt { "Taken" } dd { (age(now, view.created)) } }
            div { dt { "Expires" } dd { (expires(view, now)) } }
            div { dt { "Collections" } dd { (grouped(view.collections)) } }
            div { dt { "Documents" } dd { (grouped(view.documents)) } }
            div { dt { "Size of the data" } dd { (bytes(view.bytes)) } }
            div { dt { "New when it was taken" } dd { (bytes(view.new_bytes)) } }
            div { dt { "Held by it alone" } dd { (own(view)) } }
            div { dt { "Operations not yet folded in" } dd { (grouped(view.pending_ops)) } }
            div {
                dt { "Integrity" }
                dd {
                    "checked with everything else that the job stores: " (checked(check))
                    @if may.backup {
                        " " (control::button(csrf, &format!("{job}/check"), "Check it all now", "plain",
                            "Reads everything that the job's snapshots need and compares the hashes"))
                    }
                }
            }
            div { dt { "Source" } dd { "replica set " (view.set) ", MongoDB " (view.version) ", FCV " (view.fcv) } }
        }
        @if may.backup {
            section {
                h2 { "Keep it" }
                form.row method="post" action={ (path) "/keep" } {
                    (control::csrf(csrf))
                    (control::number("days", "for so many days from now", "30", ""))
                    button type="submit" { "Set the expiry" }
                }
                @if !view.kept_for_ever {
                    (control::button(csrf, &format!("{path}/keep?for=ever"), "Keep for ever", "plain",
                        "It is deleted by nobody but you"))
                }
            }
        }
    }
}

async fn keep(
    State(site): State<Site>,
    Path((project, job, snapshot)): Path<(String, String, String)>,
    Asked(query): Asked,
    Posted { visitor, form }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let snapshot_id: SnapshotId = snapshot_id(&snapshot)?;
    let until = if query.text("for") == "ever" {
        KeepUntil::ForEver
    } else {
        let days: u32 = form.number("days", "days")?;
        KeepUntil::Moment(UnixMillis(site.control.now().0 + i64::from(days) * DAY))
    };
    let job = id(&job, "job")?;
    site.control.keep_snapshot(scope.id(), &job, &snapshot_id, until, &visitor.by()).await?;
    let said = match until {
        KeepUntil::ForEver => "The snapshot is kept for ever.".to_owned(),
        KeepUntil::Moment(at) => format!("The snapshot is kept until {} UTC.", stamp(at)),
    };
    visitor.go(&site, &scope.path(&format!("/j/{job}/s/{snapshot}")), &Notice::of(said))
}

async fn ask(
    State(site): State<Site>,
    visitor: Visitor,
    Path((project, job, snapshot)): Path<(String, String, String)>,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let view = find(&site, scope.id(), &job, &snapshot).await?;
    let path = scope.path(&format!("/j/{job}/s/{}", view.id));
    let at = stamp(crate::format::millis(view.at));
    let question = Question {
        title: format!("Delete the snapshot of {at} UTC?"),
        does: vec![
            "It cannot be restored afterwards; the seconds after it only where an older snapshot and the stored oplog reach that far. The other snapshots stay whole.".into(),
            "What only it needed is freed by the next groom.".into(),
        ],
        action: format!("{path}/delete"),
        button: "Delete",
        typed: None,
        back: path,
    };
    scope.page(&site, "Delete a snapshot", "Overview", question.draw(visitor.csrf())).await
}

async fn delete(
    State(site): State<Site>,
    Path((project, job, snapshot)): Path<(String, String, String)>,
    Posted { visitor, .. }: Posted,
) -> Answer {
    let scope = visitor.within(&site, &project, Right::Backup).await?;
    let job = id(&job, "job")?;
    let snapshot = snapshot_id(&snapshot)?;
    site.control.delete_snapshot(scope.id(), &job, &snapshot, &visitor.by()).await?;
    let notice = Notice::of(format!("Snapshot {snapshot} was deleted."));
    visitor.go(&site, &scope.job(&job), &notice)
}

fn snapshot_id(text: &str) -> Result<SnapshotId> {
    text.parse()
        .map_err(|_| Error::new(ErrorKind::NotFound, format!("there is no snapshot {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    const MAY: May = May { backup: true, restore: true };

    #[test]
    fn the_newest_come_first_and_the_old_are_folded() {
        let all: Vec<_> = (0..40).map(|n| sample::snapshot(1_795_000_000 + n * 3600)).collect();
        let text = table(&all, "/j", "t", MAY, UnixMillis(0)).into_string();
        let place = |n: usize| text.find(all[n].id.as_str()).unwrap();
        assert!(place(39) < place(38) && place(10) < place(9));
        assert!(text.contains("10 older ones"), "{text}");
        assert!(
            text.contains("40, together <span title=\"41,943,040 bytes\">40.0 MiB</span>"),
            "{text}"
        );
        assert!(table(&[], "/j", "t", MAY, UnixMillis(0)).into_string().is_empty());
    }

    #[test]
    fn what_one_may_not_do_is_not_offered() {
        let none = May { backup: false, restore: false };
        let view = sample::snapshot(1_795_000_000);
        let text = one(&view, None, "/j", "t", none, UnixMillis(0)).into_string();
        assert!(
            !text.contains("<form") && !text.contains("delete") && !text.contains("restore?"),
            "{text}"
        );
    }
}
