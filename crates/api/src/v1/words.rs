//! What clients of Ops Manager set in a schedule and expect to read again, and has no effect here: on which day a snapshot
//! is full (all are whole), and how far checkpoints of sharded clusters are apart (there are none).

use bygone_base::Result;
use bygone_catalog::{Id, Kind, Record, record::Job};
use bygone_control::Control;
use serde::{Deserialize, Serialize};

/// The words of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Words {
    /// The job.
    id: Id,
    project: Id,
    pub(super) full_day: String,
    /// Minutes; 0 is none.
    pub(super) checkpoint_min: u32,
}

impl Record for Words {
    const KIND: Kind = Kind("schedule words");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        self.project.as_str()
    }
}

/// What was set for a job.
pub(super) async fn read(control: &Control, job: &Job) -> Result<Words> {
    let found = control.catalog().find::<Words>(job.id.as_str()).await?;
    Ok(found.map_or_else(
        || Words {
            id: job.id.clone(),
            project: job.project.clone(),
            full_day: "SUNDAY".to_owned(),
            checkpoint_min: 0,
        },
        |row| row.value,
    ))
}

/// Keeps what was set.
pub(super) async fn keep(control: &Control, words: Words) -> Result<()> {
    let catalog = control.catalog();
    if catalog.find::<Words>(words.id()).await?.is_none() {
        return catalog.insert(&words).await;
    }
    let kept = catalog.change::<Words>(words.id(), |kept| {
        kept.clone_from(&words);
        Ok(())
    });
    kept.await.map(|_| ())
}
