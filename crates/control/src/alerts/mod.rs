//! Alerts: what is wrong, who was told, what is right again.

mod facts;
pub mod notify;
mod plan;

use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Alert, AlertStatus, Job},
};

pub use plan::{Condition, Facts, JobFacts, StoreFacts, conditions};

use crate::{By, Control};
use plan::{Change, reconcile};

/// An acknowledgement without an end is good for so long.
const ACKNOWLEDGED_MS: i64 = 365 * 86_400_000;

/// Looks for what is wrong, notes it, and tells whom it concerns.
pub(crate) async fn look(control: &Control, jobs: &[Job]) -> Result<()> {
    let settings = control.settings().await?;
    let now = control.now();
    let facts = facts::gather(control, jobs).await?;
    let wrong = conditions(&facts, &settings.thresholds, now);
    let known: Vec<Alert> = control.catalog().all(None).await?;
    for change in reconcile(&known, &wrong, now) {
        make(control, change, now).await?;
    }
    for alert in control.catalog().all::<Alert>(None).await? {
        if alert.notified.is_none() {
            tell(control, &settings, alert, now).await?;
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
    let event = bygone_catalog::record::Event {
        id: control.new_id(),
        project: alert.project,
        job: alert.job,
        kind: kind.to_owned(),
        actor: bygone_catalog::record::Actor::System,
        address: None,
        created: now,
        message,
    };
    control.catalog().insert(&event).await
}

/// Tells it once; what fails is tried again at the next look.
async fn tell(
    control: &Control,
    settings: &bygone_catalog::record::Settings,
    alert: Alert,
    now: UnixMillis,
) -> Result<()> {
    if let Err(error) = notify::tell(control, settings, &alert).await {
        tracing::warn!(alert = %alert.id, %error, "an alert could not be told");
        return Ok(());
    }
    let noted = control.catalog().change::<Alert>(alert.id.as_str(), |kept| {
        if kept.status == alert.status {
            kept.notified = Some(now);
        }
        Ok(())
    });
    noted.await.map(|_| ())
}

impl Control {
    /// Somebody knows of an alert and will see to it, until a moment, or for good; `None` takes it back.
    ///
    /// # Errors
    /// `NotFound`; Conflict: it is closed.
    pub async fn acknowledge(
        &self,
        project: Option<&Id>,
        alert: &Id,
        until: Option<Option<UnixMillis>>,
        comment: &str,
        by: &By,
    ) -> Result<Alert> {
        let found: Alert = self.catalog().get::<Alert>(alert.as_str()).await?.value;
        if project.is_some() && found.project.as_ref() != project {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no alert {alert}")));
        }
        let now = self.now();
        let who = match &by.actor {
            bygone_catalog::record::Actor::User(name)
            | bygone_catalog::record::Actor::ApiKey(name)
            | bygone_catalog::record::Actor::Agent(name) => name.clone(),
            bygone_catalog::record::Actor::System => "system".to_owned(),
        };
        let comment: String = comment.chars().filter(|c| !c.is_control()).take(200).collect();
        let changed = self.catalog().change::<Alert>(alert.as_str(), |alert| {
            if alert.status == AlertStatus::Closed {
                return Err(Error::new(ErrorKind::Conflict, "the alert is closed"));
            }
            match until {
                Some(until) => {
                    let end = until.unwrap_or(UnixMillis(now.0 + ACKNOWLEDGED_MS));
                    alert.status = AlertStatus::Acknowledged;
                    alert.acknowledged = Some((who.clone(), end, comment.clone()));
                }
                None => (alert.status, alert.acknowledged) = (AlertStatus::Open, None),
            }
            alert.updated = now;
            Ok(())
        });
        let changed = changed.await?;
        let message = format!("alert acknowledged: {}", changed.message);
        let kind = "ALERT_ACKNOWLEDGED_AUDIT";
        self.event(by, changed.project.as_ref(), None, kind, message).await?;
        Ok(changed)
    }
}
