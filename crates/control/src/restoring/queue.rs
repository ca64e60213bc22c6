//! Restores that were asked for, and those that this process does.

use std::{collections::HashMap, sync::Arc};

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Job, RestoreJob, RestoreStatus},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Control, apart};

/// Restores at once.
const RESTORES: usize = 2;
/// Another server may take a restore over when this one was not heard for so long.
const LEASE_MS: i64 = 30_000;

/// The restores that this process does.
pub(crate) struct Queue {
    control: Arc<Control>,
    owner: String,
    tasks: JoinSet<Id>,
    tokens: HashMap<Id, CancellationToken>,
    stop: CancellationToken,
}

impl Queue {
    pub(crate) fn new(control: Arc<Control>, owner: String) -> Queue {
        let (tasks, tokens, stop) = Default::default();
        Queue { control, owner, tasks, tokens, stop }
    }

    /// Begins with what was asked for, and ends what was cancelled. Waits for none of it.
    pub(crate) async fn step(&mut self, jobs: &[Job]) -> Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Ok(id) = ended {
                self.tokens.remove(&id);
            }
        }
        let all: Vec<RestoreJob> = self.control.catalog().all(None).await?;
        for restore in all.iter().filter(|r| r.status == RestoreStatus::InProgress) {
            if let Some(token) = self.tokens.get(&restore.id) {
                if restore.cancel {
                    token.cancel();
                }
                continue;
            }
            if self.tokens.len() >= RESTORES || !self.lease(&restore.id).await? {
                continue;
            }
            let Some(job) = jobs.iter().find(|job| job.id == restore.job) else { continue };
            let token = self.stop.child_token();
            self.tokens.insert(restore.id.clone(), token.clone());
            let (control, restore, job) = (self.control.clone(), restore.clone(), job.clone());
            let id = restore.id.clone();
            self.tasks.spawn(async move {
                let restoring = move || async move {
                    super::run(&control, &job, restore, &token).await;
                };
                if let Err(error) = apart::run("a restore", restoring).await {
                    tracing::warn!(restore = %id, %error, "a restore was cut off");
                }
                id
            });
        }
        for id in self.tokens.keys() {
            self.lease(id).await?;
        }
        Ok(())
    }

    async fn lease(&self, restore: &Id) -> Result<bool> {
        let now = self.control.now();
        let until = UnixMillis(now.0 + LEASE_MS);
        let name = format!("restore/{restore}");
        Ok(self.control.catalog().lease(&name, &self.owner, now, until).await?.is_some())
    }

    /// Ends what is under way; it begins anew at the next start.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
