//! Jobs: made, changed, started, stopped, removed.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::{Job, ScheduleSpec};
use bygone_control::{Action, JobEdit, NewJob, NewSource};
use serde::{Deserialize, Deserializer};

use super::{
    Done,
    view::{ActionWord, JobBody, StoresBody},
};
use crate::{
    call::Call,
    failure::Failure,
    patch::Patch,
    route::{Need, Route, get, plain, with},
    schema::JsonSchema,
};

/// A job to be made. It is inactive until it is started.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJobBody {
    /// The cluster's name; unique in the project.
    cluster: String,
    source: NewSourceBody,
    /// Chosen where not given.
    stores: Option<StoresBody>,
    /// What is left out is as usual.
    #[serde(default)]
    schedule: Patch<ScheduleSpec>,
    /// Name in the stores; from the cluster's name where not given.
    name: Option<String>,
}

/// Where data comes from. With a change, what is left out stays; null takes it away.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewSourceBody {
    /// With its secrets, which are never shown again.
    uri: Option<String>,
    /// Only these namespaces.
    include: Option<Vec<String>>,
    /// All but these.
    exclude: Option<Vec<String>>,
    /// host:port to read from.
    #[serde(deserialize_with = "given")]
    #[schema(with = "Option<String>")]
    member: Option<Option<String>>,
    /// NAME=VALUE of the members to read from.
    #[serde(deserialize_with = "given")]
    #[schema(with = "Option<String>")]
    member_tag: Option<Option<String>>,
    /// Bytes per second that an initial sync may read.
    #[serde(deserialize_with = "given")]
    #[schema(with = "Option<u64>")]
    throttle: Option<Option<u64>>,
    /// Ranges copied at once.
    workers: Option<u32>,
}

/// What of a job changes; what is left out stays.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct JobPatch {
    /// What is left out stays. Existing snapshots keep their expiry.
    schedule: Option<Patch<ScheduleSpec>>,
    source: Option<NewSourceBody>,
    /// Agree to the new initial sync that covering more namespaces needs.
    resync: bool,
    /// Regular restores into a scratch server, whose data they drop: this needs the right to restore. Null: none.
    #[serde(deserialize_with = "given")]
    #[schema(with = "Option<NewDrill>")]
    drill: Option<Option<NewDrill>>,
}

/// A restore again and again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDrill {
    /// URI of the scratch server, with its secrets.
    to: String,
    every_secs: u64,
}

/// An action.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionBody {
    action: ActionWord,
    /// To terminate, which deletes all snapshots: the cluster's name.
    confirm: Option<String>,
}

impl std::fmt::Debug for NewSourceBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewSourceBody")
    }
}

impl std::fmt::Debug for NewDrill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewDrill")
    }
}

/// Tells null from nothing.
pub(super) fn given<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    let backup = Need::Project(Right::Backup);
    let jobs = "/api/v2/projects/{project}/jobs";
    let job = "/api/v2/projects/{project}/jobs/{job}";
    vec![
        get(jobs, look, "The project's jobs.", list),
        with(Method::POST, jobs, backup, "Makes a job.", create).says(201),
        get(job, look, "A job.", one),
        with(Method::PATCH, job, backup, "Changes a job.", patch),
        plain(Method::DELETE, job, backup, "Forgets an inactive job.", delete),
        with(
            Method::POST,
            "/api/v2/projects/{project}/jobs/{job}/actions",
            backup,
            "Starts, stops, restarts or terminates a job.",
            act,
        ),
        plain(
            Method::POST,
            "/api/v2/projects/{project}/jobs/{job}/resyncs",
            backup,
            "Asks for a new initial sync of an active job.",
            resync,
        )
        .says(202),
        plain(
            Method::POST,
            "/api/v2/projects/{project}/jobs/{job}/snapshots",
            backup,
            "Asks for a snapshot of an active job now.",
            snapshot,
        )
        .says(202),
    ]
}

async fn list(call: Call) -> Result<Vec<JobBody>, Failure> {
    let jobs = call.control.jobs(call.project()?).await?;
    Ok(jobs.into_iter().map(JobBody::from).collect())
}

async fn one(call: Call) -> Result<JobBody, Failure> {
    Ok(call.job("job").await?.into())
}

async fn shown(call: &Call, job: &Job) -> Result<JobBody, Failure> {
    Ok(call.control.job(&job.project, &job.id).await?.into())
}

async fn create(call: Call, body: NewJobBody) -> Result<JobBody, Failure> {
    let uri = body.source.uri.clone();
    let uri = uri.ok_or_else(|| Failure::invalid("source.uri", "the source has no URI"))?;
    call.may_connect(&uri, None)?;
    let source = merged(NewSource { uri, ..NewSource::default() }, body.source);
    let new = NewJob {
        cluster: body.cluster,
        source,
        stores: body.stores.map(Into::into),
        schedule: body.schedule.onto(&ScheduleSpec::default())?,
        name: body.name,
    };
    let job = call.control.create_job(call.project()?, new, &call.by()).await?;
    shown(&call, &job).await
}

fn merged(old: NewSource, body: NewSourceBody) -> NewSource {
    NewSource {
        uri: body.uri.unwrap_or(old.uri),
        include: body.include.unwrap_or(old.include),
        exclude: body.exclude.unwrap_or(old.exclude),
        member: body.member.unwrap_or(old.member),
        member_tag: body.member_tag.unwrap_or(old.member_tag),
        throttle: body.throttle.unwrap_or(old.throttle),
        workers: body.workers.unwrap_or(old.workers),
    }
}

async fn patch(call: Call, body: JobPatch) -> Result<JobBody, Failure> {
    let job = call.job("job").await?.job;
    if body.drill.is_some() {
        // A drill reads all data into a server of one's choice.
        call.must(Right::Restore)?;
    }
    if let Some(Some(drill)) = &body.drill {
        call.may_connect(&drill.to, call.access.drill_target(&job).as_deref())?;
    }
    let source = match body.source {
        Some(source) => {
            let old = call.control.source_as_given(&job)?;
            let before = old.uri.clone();
            let new = merged(old, source);
            call.may_connect(&new.uri, Some(&before))?;
            Some(new)
        }
        None => None,
    };
    let schedule = body.schedule.map(|patch| patch.onto(&job.schedule)).transpose()?;
    let edit = JobEdit {
        schedule,
        source,
        resync: body.resync,
        member: None,
        sync_from: None,
        drill: body.drill.map(|drill| drill.map(|NewDrill { to, every_secs }| (to, every_secs))),
    };
    let job = call.control.edit_job(&job.project, &job.id, edit, &call.by()).await?;
    shown(&call, &job).await
}

async fn delete(call: Call) -> Result<Done, Failure> {
    let job = call.job("job").await?.job;
    let deleted = call.control.delete_job(&job.project, &job.id, &call.by()).await;
    deleted.map_err(|e| Failure::from(e).conflict_is("JOB_NOT_INACTIVE"))?;
    Ok(Done::yes())
}

async fn act(call: Call, body: ActionBody) -> Result<JobBody, Failure> {
    let job = call.job("job").await?.job;
    let action = Action::from(body.action);
    let why = match action {
        Action::Terminate => "to terminate deletes all snapshots",
        Action::Abandon => "to abandon leaves what is stored to nobody",
        Action::Start | Action::Stop | Action::Restart => "",
    };
    if !why.is_empty() && body.confirm.as_deref() != Some(&job.cluster) {
        return Err(Failure::invalid(
            "confirm",
            format!("{why}: confirm it by the cluster's name"),
        ));
    }
    let acted = call.control.act(&job.project, &job.id, action, &call.by()).await;
    let job = acted.map_err(|e| Failure::from(e).conflict_is("INVALID_STATE"))?;
    shown(&call, &job).await
}

async fn resync(call: Call) -> Result<JobBody, Failure> {
    let job = call.job("job").await?.job;
    let asked = call.control.request_resync(&job.project, &job.id, &call.by()).await;
    let job = asked.map_err(|e| Failure::from(e).conflict_is("JOB_NOT_ACTIVE"))?;
    shown(&call, &job).await
}

async fn snapshot(call: Call) -> Result<JobBody, Failure> {
    let job = call.job("job").await?.job;
    let asked = call.control.request_snapshot(&job.project, &job.id, &call.by()).await;
    let job = asked.map_err(|e| Failure::from(e).conflict_is("JOB_NOT_ACTIVE"))?;
    shown(&call, &job).await
}
