//! Checks of a store: what was read, and what is damaged.

use bygone_base::UnixMillis;
use bygone_catalog::record::StoreCheck;
use maud::{Markup, html};

use crate::format::{age, bytes};

/// Checks that are shown.
const ROWS: usize = 10;
/// Lines of damage that are shown of each.
const LINES: usize = 20;

/// The newest checks.
pub(crate) fn checks(all: &[StoreCheck], now: UnixMillis) -> Markup {
    html! {
        section aria-labelledby="checks" {
            h2 #checks { "Checks" }
            p.quiet { "Stored blocks are read again by and by, and what restores from them is gone through." }
            @if all.is_empty() { p.quiet { "None yet." } } @else {
                table.cards {
                    thead { tr { th { "Begun" } th.num { "Read" } th.num { "Of all, read in time" } th { "Jobs gone through" } th { "Result" } } }
                    tbody { @for check in all.iter().take(ROWS) { (row(check, now)) } }
                }
            }
        }
    }
}

fn row(check: &StoreCheck, now: UnixMillis) -> Markup {
    html! {
        tr {
            th scope="row" { (age(now, check.started)) }
            td.num data-label="Read" { (bytes(check.bytes)) }
            td.num data-label="Of all, read in time" { (check.covered) " %" }
            td data-label="Jobs gone through" { @if check.jobs.is_empty() { "–" } @else { (check.jobs.join(", ")) } }
            td data-label="Result" { (result(check)) }
        }
    }
}

fn result(check: &StoreCheck) -> Markup {
    html! {
        @if let Some(failure) = &check.failure { p.error { (failure) } }
        @if !check.damage.is_empty() {
            ul.error { @for line in check.damage.iter().take(LINES) { li { (line) } } }
            @if let Some(more) = check.damage.len().checked_sub(LINES).filter(|more| *more > 0) {
                p { "and " (more) " more" }
            }
        }
        @for (job, snapshot) in &check.concerned {
            p.error { "snapshot " code { (snapshot) } " of " (job) " cannot be restored" }
        }
        @if check.finished.is_none() {
            "going on"
        } @else if check.failure.is_none() && check.damage.is_empty() && check.concerned.is_empty() {
            "nothing is damaged"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, EVIL};

    fn check(damage: usize) -> StoreCheck {
        StoreCheck {
            id: sample::id(1),
            store: EVIL.into(),
            started: UnixMillis(0),
            finished: Some(UnixMillis(1)),
            packs: 3,
            bytes: 3 << 20,
            total: 21 << 20,
            covered: 97,
            jobs: vec![EVIL.into()],
            damage: vec![EVIL.into(); damage],
            concerned: Vec::new(),
            failure: None,
        }
    }

    #[test]
    fn checks_are_escaped_and_say_what_is_damaged() {
        let clean = checks(&[check(0)], UnixMillis(0)).into_string();
        sample::harmless(&clean);
        assert!(clean.contains("nothing is damaged") && clean.contains("97 %"), "{clean}");
        let concerned = vec![(EVIL.to_owned(), EVIL.to_owned())];
        let bad = StoreCheck { concerned, failure: Some(EVIL.into()), ..check(22) };
        let page = checks(&[bad], UnixMillis(0)).into_string();
        sample::harmless(&page);
        for part in ["and 2 more", "cannot be restored"] {
            assert!(page.contains(part), "{page}");
        }
        assert!(!page.contains("nothing is damaged"), "{page}");
        let open = checks(&[StoreCheck { finished: None, ..check(0) }], UnixMillis(0));
        assert!(open.into_string().contains("going on"));
    }
}
