//! What the server does for stores by itself: checks and their share, and retention applied to what is there.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::{StoreCheck, Upkeep};
use serde::{Deserialize, Serialize};

use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Route, get, with},
    schema::JsonSchema,
    time,
};

/// How grooms and checks go about it. What is left out is as in a new server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UpkeepBody {
    /// Seconds from one check of a store to the next.
    check_every_secs: u64,
    /// Every stored block, and the oplog of every job, is read within so many seconds: each check reads its share.
    check_within_secs: u64,
    /// Megabytes that checks of a store read per second at most; 0: as fast as it goes.
    check_mb_per_second: u32,
    /// Megabytes that grooms of a store read and write per second at most; 0: as fast as it goes.
    groom_mb_per_second: u32,
}

/// A check of a store.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StoreCheckBody {
    id: String,
    started: String,
    finished: Option<String>,
    /// Read.
    packs: u64,
    /// Theirs.
    bytes: u64,
    /// Of all packs.
    total: u64,
    /// Of these, what was read within the set time.
    covered_percent: u32,
    /// Jobs of which everything else was read too.
    jobs: Vec<String>,
    /// What of the packs is damaged, a line each.
    damage: Vec<String>,
    /// Snapshots that do not restore.
    concerned: Vec<ConcernedBody>,
    /// Why it could not be done, or not for all jobs.
    failure: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ConcernedBody {
    job: String,
    snapshot: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplyBody {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

/// A snapshot whose time changes.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RetimedBody {
    id: String,
    expires: String,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Server(Right::Look);
    let settings = Need::Server(Right::Settings);
    vec![
        get("/api/v2/upkeep", settings, "How grooms and checks go about it.", read),
        with(Method::PUT, "/api/v2/upkeep", settings, "Changes how they do.", change),
        get(
            "/api/v2/stores/{store}/checks",
            look,
            "Checks of a store, newest first: what was read, and what is damaged.",
            checks,
        ),
        with(
            Method::POST,
            "/api/v2/projects/{project}/jobs/{job}/schedule/apply",
            Need::Project(Right::Backup),
            "Gives the snapshots that are there the times that the job's schedule says; those kept for ever stay so.",
            apply,
        ),
    ]
}

impl Default for UpkeepBody {
    fn default() -> Self {
        Upkeep::default().into()
    }
}

impl From<Upkeep> for UpkeepBody {
    fn from(upkeep: Upkeep) -> Self {
        let Upkeep {
            check_every_secs,
            check_within_secs,
            check_mb_per_second,
            groom_mb_per_second,
        } = upkeep;
        UpkeepBody { check_every_secs, check_within_secs, check_mb_per_second, groom_mb_per_second }
    }
}

impl From<StoreCheck> for StoreCheckBody {
    fn from(check: StoreCheck) -> Self {
        let concerned = check.concerned.into_iter();
        StoreCheckBody {
            id: check.id.into(),
            started: time::text(check.started),
            finished: check.finished.map(time::text),
            packs: check.packs,
            bytes: check.bytes,
            total: check.total,
            covered_percent: check.covered,
            jobs: check.jobs,
            damage: check.damage,
            concerned: concerned.map(|(job, snapshot)| ConcernedBody { job, snapshot }).collect(),
            failure: check.failure,
        }
    }
}

async fn read(call: Call) -> Result<UpkeepBody, Failure> {
    Ok(call.control.settings().await?.upkeep.into())
}

async fn change(call: Call, body: UpkeepBody) -> Result<UpkeepBody, Failure> {
    let UpkeepBody {
        check_every_secs,
        check_within_secs,
        check_mb_per_second,
        groom_mb_per_second,
    } = body;
    let upkeep =
        Upkeep { check_every_secs, check_within_secs, check_mb_per_second, groom_mb_per_second };
    let by = call.by();
    let changed = call.control.edit_settings(&by, |settings| {
        settings.upkeep.clone_from(&upkeep);
        Ok(())
    });
    Ok(changed.await?.upkeep.into())
}

async fn checks(call: Call) -> Result<Vec<StoreCheckBody>, Failure> {
    let store = super::stores::known(&call).await?;
    Ok(call.control.store_checks(&store).await?.into_iter().map(StoreCheckBody::from).collect())
}

async fn apply(call: Call, body: ApplyBody) -> Result<Vec<RetimedBody>, Failure> {
    let job = call.job("job").await?.job;
    let by = call.by();
    let changed = call.control.apply_schedule(&job.project, &job.id, body.dry_run, &by).await?;
    let retimed = changed
        .into_iter()
        .map(|(id, expires)| RetimedBody { id: id.to_string(), expires: time::text(expires) });
    Ok(retimed.collect())
}
