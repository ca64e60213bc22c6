//! Alerts: what is wrong, who was told, what is right again.

mod facts;
pub mod notify;
mod plan;
mod telling;

use bygone_base::{Result, UnixMillis};
use bygone_catalog::record::{Actor, Alert, AlertStatus, Event, Job};

pub use plan::{Condition, Facts, Findings, JobFacts, StoreFacts, conditions};
pub(crate) use telling::Telling;

use crate::{Control, seen};
use plan::{Change, reconcile};

/// Looks for what is wrong, and notes it.
pub(crate) async fn look(control: &Control, jobs: &[Job]) -> Result<()> {
    let settings = control.settings().await?;
    let now = control.now();
    let seen = seen::note(control, jobs).await?;
    let facts = facts::gather(control, jobs, seen).await?;
    let found = conditions(&facts, &settings.thresholds, now);
    let known: Vec<Alert> = control.catalog().all(None).await?;
    for change in reconcile(&known, &found, now) {
        make(control, change, now).await?;
    }
    Ok(())
}

async fn make(control: &Control, change: Change, now: UnixMillis) -> Result<()> {
    let (kind, alert) = match change {
        Change::Open(condition) => {
            let alert = condition.open(control.new_id(), now);
            control.catalog().insert(&alert).await?;
            ("ALERT_OPENED", alert)
        }
        Change::Update(id, message) => {
            let changed = control.catalog().change::<Alert>(id.as_str(), |alert| {
                (alert.message, alert.updated) = (message.clone(), now);
                Ok(())
            });
            changed.await?;
            return Ok(());
        }
        Change::Reopen(id) => {
            let changed = control.catalog().change::<Alert>(id.as_str(), |alert| {
                (alert.status, alert.acknowledged) = (AlertStatus::Open, None);
                untold(alert, now);
                Ok(())
            });
            ("ALERT_OPENED", changed.await?)
        }
        Change::Close(id) => {
            let changed = control.catalog().change::<Alert>(id.as_str(), |alert| {
                (alert.status, alert.resolved) = (AlertStatus::Closed, Some(now));
                untold(alert, now);
                Ok(())
            });
            ("ALERT_CLOSED", changed.await?)
        }
    };
    let message = alert.message.clone();
    let event = Event {
        id: control.new_id(),
        project: alert.project,
        job: alert.job,
        kind: kind.to_owned(),
        actor: Actor::System,
        address: None,
        created: now,
        message,
    };
    control.catalog().insert(&event).await
}

/// How it stands now was told to nobody yet.
fn untold(alert: &mut Alert, now: UnixMillis) {
    (alert.updated, alert.notified) = (now, None);
    alert.told.clear();
}
