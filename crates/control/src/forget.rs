//! Histories have an end: what is long over is forgotten.

use std::collections::HashMap;

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{
    Lease, Page, Record,
    record::{Alert, AlertStatus, Delivery, Integrity, RestoreJob, RestoreStatus},
};

use crate::Control;

/// Of the restores of a job that have ended, so many are kept, and as many of its drills: these come by themselves and
/// must not push out what people did.
const RESTORES: usize = 100;
/// So many of the checks of a job.
const CHECKS: usize = 50;
/// So many of the closed alerts of a project.
const ALERTS: usize = 500;

/// Forgets what is beyond the histories that are kept.
pub(crate) async fn old(control: &Control) -> Result<()> {
    let now = control.now();
    let restores: Vec<RestoreJob> = newest_first(control).await?;
    for restore in beyond(RESTORES, &restores, |r| over(r, now).then_some((&r.job, r.drill))) {
        control.catalog().delete::<RestoreJob>(restore.id()).await?;
        control.catalog().delete::<Lease>(&format!("restore/{}", restore.id)).await?;
    }
    let checks: Vec<Integrity> = newest_first(control).await?;
    for check in beyond(CHECKS, &checks, |check| check.finished.map(|_| &check.job)) {
        control.catalog().delete::<Integrity>(check.id()).await?;
    }
    let alerts: Vec<Alert> = newest_first(control).await?;
    let closed = |a: &Alert| a.status == AlertStatus::Closed && a.notified.is_some();
    for alert in beyond(ALERTS, &alerts, |alert| closed(alert).then_some(&alert.project)) {
        control.catalog().delete::<Alert>(alert.id()).await?;
    }
    Ok(())
}

async fn newest_first<T: Record>(control: &Control) -> Result<Vec<T>> {
    control.catalog().page(&Page { newest_first: true, ..Page::default() }).await
}

/// Whether nothing more comes of a restore: its link is no longer good either, and its file is gone.
fn over(restore: &RestoreJob, now: UnixMillis) -> bool {
    match (restore.status, &restore.delivery) {
        (RestoreStatus::InProgress, _) => false,
        (RestoreStatus::Finished, Delivery::Http { expires, .. }) => {
            now.since(*expires) > 3_600_000
        }
        _ => true,
    }
}

/// Those beyond the first `kept` of each group; what belongs to none stays.
fn beyond<'a, T, G: std::hash::Hash + Eq>(
    kept: usize,
    all: &'a [T],
    group: impl Fn(&'a T) -> Option<G>,
) -> Vec<&'a T> {
    let mut counts: HashMap<G, usize> = HashMap::new();
    let mut old = Vec::new();
    for one in all {
        let Some(group) = group(one) else { continue };
        let count = counts.entry(group).or_default();
        *count += 1;
        if *count > kept {
            old.push(one);
        }
    }
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_group_are_kept_and_what_is_not_over_always() {
        let all = [("a", true), ("b", true), ("a", false), ("a", true), ("a", true), ("b", true)];
        let old = beyond(2, &all, |(name, over)| over.then_some(*name));
        assert_eq!(old, [&("a", true)]);
        assert_eq!(beyond(0, &all, |_| Some(())).len(), 6);
    }
}
