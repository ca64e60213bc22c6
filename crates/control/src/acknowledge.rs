//! Alerts acknowledged by people.

use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Actor, Alert, AlertStatus},
};

use crate::{By, Control};

/// Characters of a comment at most.
const COMMENT: usize = 1000;

impl Control {
    /// Says of an alert that somebody knows, until then; a moment that has passed takes it back.
    ///
    /// # Errors
    /// `NotFound`, also where it is another project's. Conflict: it is closed. Usage: the comment is too long.
    pub async fn acknowledge(
        &self,
        project: &Id,
        id: &Id,
        until: UnixMillis,
        comment: &str,
        by: &By,
    ) -> Result<Alert> {
        self.within::<Alert>(project, id.as_str()).await?;
        self.acknowledge_any(id, until, comment, by).await
    }

    /// As [`Control::acknowledge`], for any alert: those of stores and of the server belong to no project.
    pub async fn acknowledge_any(
        &self,
        id: &Id,
        until: UnixMillis,
        comment: &str,
        by: &By,
    ) -> Result<Alert> {
        if comment.chars().count() > COMMENT {
            return Err(Error::usage(format!("a comment has at most {COMMENT} characters")));
        }
        let now = self.now();
        let name = match &by.actor {
            Actor::User(name) | Actor::ApiKey(name) | Actor::Agent(name) => name.clone(),
            Actor::System => "server".to_owned(),
        };
        let changed = self.catalog().change::<Alert>(id.as_str(), |alert| {
            if alert.status == AlertStatus::Closed {
                return Err(Error::new(ErrorKind::Conflict, "the alert is closed"));
            }
            alert.updated = now;
            (alert.status, alert.acknowledged) = if until > now {
                (AlertStatus::Acknowledged, Some((name.clone(), until, comment.to_owned())))
            } else {
                (AlertStatus::Open, None)
            };
            Ok(())
        });
        let changed = changed.await?;
        let (kind, what) = match changed.status {
            AlertStatus::Acknowledged => ("ALERT_ACKNOWLEDGED_AUDIT", "acknowledged"),
            _ => ("ALERT_UNACKNOWLEDGED_AUDIT", "no longer acknowledged"),
        };
        let project = changed.project.as_ref();
        self.event(by, project, None, kind, format!("alert {id} {what}")).await?;
        Ok(changed)
    }
}
