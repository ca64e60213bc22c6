//! The links of downloads that were asked for here: a client of Ops Manager waits for READY and only then reads the URL,
//! so its secret is kept, sealed, as long as the link is good.

use bygone_base::{Result, UnixMillis};
use bygone_catalog::{Id, Kind, Record, Sealed};
use bygone_control::Control;
use serde::{Deserialize, Serialize};

/// A secret to be shown again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RestoreLink {
    /// The restore job.
    id: Id,
    project: Id,
    /// Sealed for `restore link/ID`.
    secret: Sealed,
    expires: UnixMillis,
}

impl Record for RestoreLink {
    const KIND: Kind = Kind("restore link");

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn scope(&self) -> &str {
        self.project.as_str()
    }
}

fn place(id: &Id) -> String {
    format!("restore link/{id}")
}

/// Keeps the secret of a restore job's link; forgets those that have ended.
pub(super) async fn keep(
    control: &Control,
    project: &Id,
    id: &Id,
    secret: &str,
    expires: UnixMillis,
) -> Result<()> {
    let now = control.now();
    for link in control.catalog().all::<RestoreLink>(Some(project.as_str())).await? {
        if link.expires <= now {
            control.catalog().delete::<RestoreLink>(link.id.as_str()).await?;
        }
    }
    let secret = control.seal().seal(secret, &place(id), &**control.rng())?;
    let link = RestoreLink { id: id.clone(), project: project.clone(), secret, expires };
    control.catalog().insert(&link).await
}

/// The secret, where it was asked for here and the link is still good.
pub(super) async fn secret(control: &Control, id: &Id) -> Result<Option<String>> {
    let Some(row) = control.catalog().find::<RestoreLink>(id.as_str()).await? else {
        return Ok(None);
    };
    if row.value.expires <= control.now() {
        return Ok(None);
    }
    let secret = control.seal().open(&row.value.secret, &place(id))?;
    Ok(Some(secret.as_str().to_owned()))
}
