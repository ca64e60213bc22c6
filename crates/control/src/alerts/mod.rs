//! Alerts: what is wrong, who was told, what is right again.

mod facts;
pub mod notify;
mod plan;

use bygone_base::{Result, UnixMillis};
use bygone_catalog::record::{Actor, Alert, AlertStatus, Event, Job, Settings};

pub use plan::{Condition, Facts, JobFacts, StoreFacts, conditions};

use crate::Control;
use plan::{Change, reconcile};

/// Looks for what is wrong, and notes it.
pub(crate) async fn look(control: &Control, jobs: &[Job]) -> Result<()> {
    let settings = control.settings().await?;
    let now = control.now();
    let facts = facts::gather(control, jobs).await?;
    let wrong = conditions(&facts, &settings.thresholds, now);
    let known: Vec<Alert> = control.catalog().all(None).await?;
    for change in reconcile(&known, &wrong, now) {
        make(control, change, now).await?;
    }
    Ok(())
}

/// Tells whom it concerns what was not told yet.
pub(crate) async fn tell(control: &Control) -> Result<()> {
    let settings = control.settings().await?;
    for alert in control.catalog().all::<Alert>(None).await? {
        if alert.notified.is_none() {
            tell_one(control, &settings, alert).await?;
        }
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
                (alert.updated, alert.notified) = (now, None);
                Ok(())
            });
            ("ALERT_OPENED", changed.await?)
        }
        Change::Close(id) => {
            let changed = control.catalog().change::<Alert>(id.as_str(), |alert| {
                (alert.status, alert.resolved) = (AlertStatus::Closed, Some(now));
                (alert.updated, alert.notified) = (now, None);
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

/// Tells it once; what fails is tried again at the next look.
async fn tell_one(control: &Control, settings: &Settings, alert: Alert) -> Result<()> {
    if let Err(error) = notify::tell(control, settings, &alert).await {
        tracing::warn!(alert = %alert.id, %error, "an alert could not be told");
        return Ok(());
    }
    let now = control.now();
    let noted = control.catalog().change::<Alert>(alert.id.as_str(), |kept| {
        if kept.status == alert.status {
            kept.notified = Some(now);
        }
        Ok(())
    });
    noted.await.map(|_| ())
}
