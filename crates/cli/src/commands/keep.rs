//! `bygone keep`: one snapshot's own retention.

use std::process::ExitCode;

use bygone_base::{Error, Result, SnapshotId, When};
use bygone_snapshot::{Keep, PartStore};
use serde_json::json;

use crate::{
    access,
    args::{KeepUntil, SnapshotKeepArgs},
    commands::snapshots::kept,
    output::Output,
};

/// Writes it to the store, where every retention reads it.
pub async fn run(args: SnapshotKeepArgs, output: &Output) -> Result<ExitCode> {
    let id: SnapshotId = args.snapshot.parse()?;
    let stores = access::open(&args.store, access::clock(), false).await?;
    let part = access::only_part(&stores, args.job.job.as_deref()).await?.snapshots;
    let taken = moment(&part, &id).await?;
    let until = until(&args.until, taken)?;
    let due = part.keeps().await?.get(&id).and_then(|keep| keep.due);
    let keep = Keep { due, until };
    part.set_keep(&id, &keep).await?;
    output.result(
        format!("snapshot {id} is {}", kept(&keep)),
        &json!({"id": id.as_str(), "until": until}),
    );
    Ok(ExitCode::SUCCESS)
}

/// The moment of a snapshot that is there.
async fn moment(part: &PartStore, id: &SnapshotId) -> Result<u64> {
    if !part.snapshot_ids().await?.contains(id) {
        return Err(Error::usage(format!("there is no snapshot {id}"))
            .hint("`bygone snapshots` shows those that are there"));
    }
    Ok(u64::from(part.manifest(id).await?.at.ts.secs()))
}

/// The second until which it is kept.
fn until(wanted: &KeepUntil, taken: u64) -> Result<Option<u64>> {
    if let Some(age) = wanted.age {
        return Ok(Some(taken.saturating_add(age.as_secs())));
    }
    match wanted.until.as_deref().map(str::parse).transpose()? {
        None => Ok(None),
        Some(When::BeforeSecond(second)) => Ok(Some(u64::from(second))),
        Some(_) => Err(Error::usage("--until needs an instant such as 2027-01-31T12:00:00Z")),
    }
}
