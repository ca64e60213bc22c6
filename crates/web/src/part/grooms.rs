//! Grooms of a store, and who holds its bytes.

use bygone_base::UnixMillis;
use bygone_catalog::record::{GroomRun, StoreShares};
use maud::{Markup, html};

use super::control;
use crate::format::{age, bytes};

/// Rows that are shown.
const ROWS: usize = 10;

/// The newest grooms, and the buttons that ask for one where he may.
pub(crate) fn grooms(runs: &[GroomRun], path: &str, csrf: Option<&str>, now: UnixMillis) -> Markup {
    html! {
        section aria-labelledby="grooms" {
            h2 #grooms { "Grooms" }
            @if let Some(csrf) = csrf {
                div.actions {
                    (control::button(csrf, &format!("{path}/groom"), "Groom now", "plain",
                        "Deletes what no snapshot, range or running job needs any more"))
                    (control::button(csrf, &format!("{path}/groom?dry=yes"), "What would it free?", "plain",
                        "Finds out, and deletes nothing"))
                }
            }
            @if runs.is_empty() { p.quiet { "None yet." } } @else {
                table.cards {
                    thead { tr { th { "Begun" } th.num { "Freed" } th.num { "Waits" } th { "Result" } } }
                    tbody { @for run in runs.iter().take(ROWS) { (row(run, now)) } }
                }
            }
        }
    }
}

fn row(run: &GroomRun, now: UnixMillis) -> Markup {
    let number = |of: fn(&bygone_catalog::record::GroomDone) -> u64| {
        html! { @if let Some(done) = &run.done { (bytes(of(done))) } @else { "–" } }
    };
    html! {
        tr {
            th scope="row" { (age(now, run.asked)) @if run.dry_run { ", to find out" } }
            td.num data-label=(if run.dry_run { "Would free" } else { "Freed" }) { (number(|done| done.freed)) }
            td.num data-label="Waits" title="Not needed, but not for long enough" { (number(|done| done.waiting)) }
            td data-label="Result" { (result(run)) }
        }
    }
}

fn result(run: &GroomRun) -> Markup {
    html! {
        @match (&run.failure, &run.done) {
            (Some(failure), _) => span.error { (failure) },
            (None, None) => "going on",
            (None, Some(done)) if !done.readers.is_empty() => {
                "nothing was deleted, as it was being read by " (done.readers.join(", "))
                "; the next groom tries again, in an hour at the earliest"
            },
            (None, Some(done)) => { (bytes(done.living)) " needed of " (bytes(done.bytes)) },
        }
    }
}

/// Who holds the bytes.
pub(crate) fn shares(shares: &StoreShares, now: UnixMillis) -> Markup {
    let alone = |job: &str| -> u64 {
        let own = shares.snapshots.iter().filter(|(of, ..)| of == job);
        own.map(|(_, _, bytes)| *bytes).sum()
    };
    let mut jobs: Vec<&str> = shares.snapshots.iter().map(|(job, ..)| job.as_str()).collect();
    jobs.dedup();
    let together = |job: &str| shares.jobs.iter().find(|(of, _)| of == job).map_or(0, |(_, n)| *n);
    html! {
        table.dense {
            caption { "Blocks of snapshots, " (age(now, shares.at)) }
            thead { tr { th { "Job" } th.num { "Of one snapshot alone" } th.num { "Of several of its snapshots" } } }
            tbody {
                @for job in jobs {
                    tr { td { (job) } td.num { (bytes(alone(job))) } td.num { (bytes(together(job))) } }
                }
                @if shares.shared > 0 {
                    tr { td { "of several jobs" } td.num {} td.num { (bytes(shares.shared)) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bygone_catalog::record::GroomDone;

    use super::*;
    use crate::sample::{self, EVIL};

    #[test]
    fn grooms_and_shares_are_escaped() {
        let done = GroomDone {
            packs: 1,
            bytes: 5 << 20,
            living: 4 << 20,
            deleted: 1,
            freed: 1 << 20,
            rewritten: 0,
            waiting: 0,
            readers: vec![EVIL.into()],
        };
        let run = |failure: Option<&str>, done: Option<GroomDone>| GroomRun {
            id: sample::id(1),
            store: EVIL.into(),
            asked: UnixMillis(0),
            dry_run: true,
            newest: 0,
            finished: None,
            done,
            failure: failure.map(str::to_owned),
        };
        let runs = [run(Some(EVIL), None), run(None, Some(done)), run(None, None)];
        let page = grooms(&runs, "/stores/s/a", Some("t"), UnixMillis(0)).into_string();
        sample::harmless(&page);
        assert!(page.contains("Groom now") && page.contains("going on"), "{page}");
        let looked = grooms(&runs, "/stores/s/a", None, UnixMillis(0)).into_string();
        assert!(!looked.contains("<form"), "{looked}");
        let held = StoreShares {
            store: "a".into(),
            at: UnixMillis(0),
            snapshots: vec![(EVIL.into(), EVIL.into(), 5), (EVIL.into(), "b".into(), 6)],
            jobs: vec![(EVIL.into(), 1 << 20)],
            shared: 7,
        };
        let page = shares(&held, UnixMillis(0)).into_string();
        sample::harmless(&page);
        assert!(
            page.contains("11 B") && page.contains("1.0 MiB") && page.contains("7 B"),
            "{page}"
        );
    }
}
