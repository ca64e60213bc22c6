//! Histories have an end: what is long over is forgotten.

use std::collections::HashMap;

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{
    Lease, Page, Record,
    record::{Alert, AlertStatus, Delivery, Event, Integrity, RestoreJob, RestoreStatus},
};

use crate::Control;

/// Of the restores of a job that have ended, so many are kept.
const RESTORES: usize = 100;
/// And so many of its drills: these come by themselves, must not push out what people did, and are looked at with all
/// others every few seconds.
const DRILLS: usize = 30;
/// So many of the checks of a job.
const CHECKS: usize = 50;
/// So many of the closed alerts of a project.
const ALERTS: usize = 500;
/// A closed alert that could not be told to everybody is told to nobody after so long.
const UNTOLD_MS: i64 = 30 * 86_400_000;
/// Events are kept for so long.
const EVENTS_MS: i64 = 400 * 86_400_000;
/// Events that are looked at in one turn.
const TURN: u32 = 500;
/// Of the drills of a job, so many keep what was found of each collection.
const PROOFS: usize = 3;

/// Forgets what is beyond the histories that are kept.
pub(crate) async fn old(control: &Control) -> Result<()> {
    let now = control.now();
    let restores: Vec<RestoreJob> = newest_first(control).await?;
    for (kept, drill) in [(RESTORES, false), (DRILLS, true)] {
        let ended = |r: &RestoreJob| r.drill == drill && over(r, now);
        for restore in beyond(kept, &restores, |r| ended(r).then_some(&r.job)) {
            control.catalog().delete::<RestoreJob>(restore.id()).await?;
            control.catalog().delete::<Lease>(&format!("restore/{}", restore.id)).await?;
        }
    }
    let checks: Vec<Integrity> = newest_first(control).await?;
    for check in beyond(CHECKS, &checks, |check| check.finished.map(|_| &check.job)) {
        control.catalog().delete::<Integrity>(check.id()).await?;
    }
    let alerts: Vec<Alert> = newest_first(control).await?;
    let closed = |a: &Alert| {
        let given_up = now.since(a.updated) > UNTOLD_MS;
        a.status == AlertStatus::Closed && (a.notified.is_some() || given_up)
    };
    for alert in beyond(ALERTS, &alerts, |alert| closed(alert).then_some(&alert.project)) {
        control.catalog().delete::<Alert>(alert.id()).await?;
    }
    let drilled = |r: &RestoreJob| r.drill && r.status == RestoreStatus::Finished;
    for drill in beyond(PROOFS, &restores, |r| drilled(r).then_some(&r.job)) {
        shorten(control, drill).await?;
    }
    events(control, now).await
}

/// Leaves of a proof that holds that it does: one of each collection for each drill would be most of the catalog.
async fn shorten(control: &Control, drill: &RestoreJob) -> Result<()> {
    let long = |proof: &serde_json::Value| {
        let all = proof["collections"].as_array().map_or(0, Vec::len);
        (proof["holds"] == true && all > 0).then_some(all)
    };
    let Some(all) = drill.proof.as_ref().and_then(long) else { return Ok(()) };
    let changed = control.catalog().change::<RestoreJob>(drill.id(), |kept| {
        if let Some(proof) = &mut kept.proof {
            proof["collections"] = serde_json::json!([]);
            proof["collections_left_out"] = all.into();
        }
        Ok(())
    });
    changed.await.map(|_| ())
}

/// Forgets the events that are long past, the oldest first.
async fn events(control: &Control, now: UnixMillis) -> Result<()> {
    let oldest: Vec<Event> =
        control.catalog().page(&Page { limit: Some(TURN), ..Page::default() }).await?;
    for event in oldest.iter().take_while(|event| now.since(event.created) > EVENTS_MS) {
        control.catalog().delete::<Event>(event.id()).await?;
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
