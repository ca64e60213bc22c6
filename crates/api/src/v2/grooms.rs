//! Grooms of stores, and who holds their bytes.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::{GroomDone, GroomRun, StoreShares};
use serde::{Deserialize, Serialize};

use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Route, get, with},
    schema::JsonSchema,
    time,
};

/// A groom: asked for, going on, or done.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GroomBody {
    id: String,
    store: String,
    asked: String,
    /// Only to find out what it would do.
    dry_run: bool,
    finished: Option<String>,
    done: Option<DoneBody>,
    /// Why it could not be done.
    failure: Option<String>,
}

/// What it did; in a dry run, would do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DoneBody {
    packs: u64,
    /// Of all packs.
    bytes: u64,
    /// Of living blocks.
    living: u64,
    /// Packs.
    deleted: u64,
    /// Their bytes.
    freed: u64,
    /// Packs whose living blocks were moved.
    rewritten: u64,
    /// Bytes of dead packs that must wait for the delay.
    waiting: u64,
    /// Who read: nothing was deleted.
    readers: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGroomBody {
    /// Only find out what it would free.
    #[serde(default)]
    dry_run: bool,
}

/// Who holds the stored bytes of blocks, as of the last groom.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SharesBody {
    at: String,
    /// What one snapshot alone holds.
    snapshots: Vec<SnapshotShare>,
    /// What several snapshots of one job hold.
    jobs: Vec<JobShare>,
    /// What snapshots of several jobs hold.
    shared: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SnapshotShare {
    job: String,
    snapshot: String,
    bytes: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobShare {
    job: String,
    bytes: u64,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Server(Right::Look);
    let grooms = "/api/v2/stores/{store}/grooms";
    let shares = "/api/v2/stores/{store}/shares";
    vec![
        get(grooms, look, "Grooms of a store, newest first.", list),
        with(
            Method::POST,
            grooms,
            Need::Server(Right::Stores),
            "Asks for a groom now, or for what it would free.",
            ask,
        )
        .says(202),
        get(shares, look, "Who holds what a store holds; null before its first groom.", shared),
    ]
}

impl From<GroomRun> for GroomBody {
    fn from(run: GroomRun) -> Self {
        GroomBody {
            id: run.id.into(),
            store: run.store,
            asked: time::text(run.asked),
            dry_run: run.dry_run,
            finished: run.finished.map(time::text),
            done: run.done.map(DoneBody::from),
            failure: run.failure,
        }
    }
}

impl From<GroomDone> for DoneBody {
    fn from(done: GroomDone) -> Self {
        let GroomDone { packs, bytes, living, deleted, freed, rewritten, waiting, readers } = done;
        DoneBody { packs, bytes, living, deleted, freed, rewritten, waiting, readers }
    }
}

impl From<StoreShares> for SharesBody {
    fn from(shares: StoreShares) -> Self {
        let one =
            |(job, snapshot, bytes): (String, String, u64)| SnapshotShare { job, snapshot, bytes };
        SharesBody {
            at: time::text(shares.at),
            snapshots: shares.snapshots.into_iter().map(one).collect(),
            jobs: shares.jobs.into_iter().map(|(job, bytes)| JobShare { job, bytes }).collect(),
            shared: shares.shared,
        }
    }
}

async fn list(call: Call) -> Result<Vec<GroomBody>, Failure> {
    let store = super::stores::known(&call).await?;
    Ok(call.control.grooms(&store).await?.into_iter().map(GroomBody::from).collect())
}

async fn ask(call: Call, body: NewGroomBody) -> Result<GroomBody, Failure> {
    let store = super::stores::known(&call).await?;
    Ok(call.control.request_groom(&store, body.dry_run, &call.by()).await?.into())
}

async fn shared(call: Call) -> Result<Option<SharesBody>, Failure> {
    let store = super::stores::known(&call).await?;
    Ok(call.control.shares(&store).await?.map(SharesBody::from))
}
