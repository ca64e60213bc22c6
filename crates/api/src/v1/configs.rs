//! Backup configurations.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::{Job, JobState};
use bygone_control::{Action, JobEdit, NewSource, views::JobView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Route, get, with},
    schema::JsonSchema,
    v1::BASE,
};

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackupConfig {
    group_id: String,
    cluster_id: String,
    /// INACTIVE, PROVISIONING, STARTED, STOPPED or TERMINATING.
    status_name: &'static str,
    storage_engine_name: &'static str,
    ssl_enabled: bool,
    encryption_enabled: bool,
    provisioned: bool,
    excluded_namespaces: Vec<String>,
    included_namespaces: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_member: Option<String>,
    snapshot_store: SnapshotStore,
    links: Vec<Link>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SnapshotStore {
    snapshot_store_type: String,
    snapshot_store_id: String,
}

/// What of a configuration changes. What an answer holds beside that may be there, but is not read.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ConfigPatch {
    /// STARTED, STOPPED or TERMINATING.
    status_name: Option<String>,
    /// The full new list.
    excluded_namespaces: Option<Vec<String>>,
    /// The full new list.
    included_namespaces: Option<Vec<String>>,
    /// PRIMARY, SECONDARY or host:port; agrees to the resync that covering more namespaces needs.
    sync_source: Option<String>,
    /// host:port; empty: any.
    preferred_member: Option<String>,
    /// That of the job: it cannot be changed.
    snapshot_store: Option<SnapshotStore>,
    /// WIRED_TIGER.
    storage_engine_name: Option<String>,
    auth_mechanism_name: Option<String>,
    username: Option<String>,
    password: Option<String>,
    group_id: Option<Value>,
    cluster_id: Option<Value>,
    ssl_enabled: Option<Value>,
    encryption_enabled: Option<Value>,
    provisioned: Option<Value>,
    links: Option<Value>,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    vec![
        get(
            "/api/public/v1.0/groups/{groupId}/backupConfigs",
            look,
            "The backup configurations of the project's clusters.",
            list,
        )
        .paged(),
        get(
            "/api/public/v1.0/groups/{groupId}/backupConfigs/{clusterId}",
            look,
            "The backup configuration of a cluster.",
            one,
        ),
        with(
            Method::PATCH,
            "/api/public/v1.0/groups/{groupId}/backupConfigs/{clusterId}",
            Need::Project(Right::Backup),
            "Starts, stops or terminates a backup, or changes what it covers.",
            patch,
        ),
    ]
}

async fn list(call: Call) -> Result<List<BackupConfig>, Failure> {
    let jobs = call.control.jobs(call.project()?).await?;
    call.list(jobs.into_iter().map(|view| config(&call, view)).collect())
}

async fn one(call: Call) -> Result<BackupConfig, Failure> {
    let view = call.job("clusterId").await?;
    Ok(config(&call, view))
}

fn config(call: &Call, view: JobView) -> BackupConfig {
    let JobView { job, status_name, .. } = view;
    let group = format!("{BASE}/groups/{}", job.project);
    let path = format!("{group}/backupConfigs/{}", job.id);
    let links = vec![
        call.link("self", &path),
        call.link("cluster", &format!("{group}/clusters/{}", job.id)),
        call.link("group", &group),
        call.link("snapshotSchedule", &format!("{path}/snapshotSchedule")),
    ];
    let tls = ["tls=true", "ssl=true", "mongodb+srv://"];
    BackupConfig {
        links,
        status_name,
        storage_engine_name: "WIRED_TIGER",
        ssl_enabled: tls.iter().any(|word| job.source.shown.contains(word)),
        encryption_enabled: false,
        provisioned: job.state != JobState::Inactive,
        snapshot_store: store(&job),
        excluded_namespaces: shown(job.source.exclude),
        included_namespaces: shown(job.source.include),
        preferred_member: job.source.member,
        group_id: job.project.into(),
        cluster_id: job.id.into(),
    }
}

/// Ops Manager names a whole database by its name, where a pattern here is `database.*`.
fn shown(patterns: Vec<String>) -> Vec<String> {
    let name = |pattern: String| pattern.strip_suffix(".*").map_or(pattern.clone(), str::to_owned);
    patterns.into_iter().map(name).collect()
}

fn patterns(names: Option<&Vec<String>>, old: &[String]) -> Vec<String> {
    let pattern =
        |name: &String| if name.contains('.') { name.clone() } else { format!("{name}.*") };
    names.map_or_else(|| old.to_vec(), |names| names.iter().map(pattern).collect())
}

fn store(job: &Job) -> SnapshotStore {
    SnapshotStore {
        snapshot_store_type: "bygone".to_owned(),
        snapshot_store_id: job.stores.snapshot.clone(),
    }
}

async fn patch(call: Call, body: ConfigPatch) -> Result<BackupConfig, Failure> {
    let view = call.job("clusterId").await?;
    check(&body, &view.job)?;
    let action = body.status_name.as_deref().map(|word| action(word, &view)).transpose()?;
    let (project, id) = (view.job.project.clone(), view.job.id.clone());
    if let Some(edit) = edit(&call, &body, &view.job)? {
        call.control.edit_job(&project, &id, edit, &call.by()).await?;
    }
    if let Some(action) = action {
        let acted = call.control.act(&project, &id, action, &call.by()).await;
        acted.map_err(|e| Failure::from(e).conflict_is(refused(action)))?;
    }
    let view = call.control.job(&project, &id).await?;
    Ok(config(&call, view))
}

/// What cannot be changed must be as it is.
fn check(body: &ConfigPatch, job: &Job) -> Result<(), Failure> {
    if body.snapshot_store.as_ref().is_some_and(|wanted| *wanted != store(job)) {
        let why = "the snapshot store of a job cannot be changed";
        return Err(Failure::conflict("CANNOT_CHANGE_SNAPSHOT_STORE", why)
            .about("snapshotStore")
            .hint("terminate it, or make another job for the cluster"));
    }
    if body.storage_engine_name.as_deref().is_some_and(|engine| engine != "WIRED_TIGER") {
        let why = "the storage engine is WIRED_TIGER";
        return Err(Failure::invalid("storageEngineName", why));
    }
    if [&body.auth_mechanism_name, &body.username, &body.password].iter().any(|f| f.is_some()) {
        let why = "credentials are in the source's URI";
        return Err(
            Failure::conflict("CANNOT_SET_BACKUP_AUTH", why).hint("change the source with /api/v2")
        );
    }
    Ok(())
}

fn action(word: &str, view: &JobView) -> Result<Action, Failure> {
    match word {
        // As it is: a client that sends back what it read changes nothing.
        word if word == view.status_name => match view.job.state {
            JobState::Active | JobState::Misconfigured => Ok(Action::Start),
            JobState::Stopped => Ok(Action::Stop),
            JobState::Inactive | JobState::Terminating => Ok(Action::Terminate),
        },
        "STARTED" if view.job.state == JobState::Stopped => Ok(Action::Restart),
        "STARTED" => Ok(Action::Start),
        "STOPPED" => Ok(Action::Stop),
        "TERMINATING" => Ok(Action::Terminate),
        "INACTIVE" | "PROVISIONING" => {
            let why = format!("{word} comes by itself: ask for STARTED, STOPPED or TERMINATING");
            Err(Failure::conflict("CANNOT_SET_BACKUP_STATUS", why).about("statusName"))
        }
        _ => Err(Failure::invalid("statusName", format!("{word:?} is not a status"))),
    }
}

fn refused(action: Action) -> &'static str {
    match action {
        Action::Start | Action::Restart => "CANNOT_START_BACKUP_INVALID_STATE",
        Action::Stop => "CANNOT_STOP_BACKUP_INVALID_STATE",
        Action::Terminate => "CANNOT_TERMINATE_BACKUP_INVALID_STATE",
    }
}

/// The edit that the body asks for, if it asks for any.
fn edit(call: &Call, body: &ConfigPatch, job: &Job) -> Result<Option<JobEdit>, Failure> {
    let member = match (&body.preferred_member, &body.sync_source) {
        (Some(member), _) => Some(Some(member.clone()).filter(|member| !member.is_empty())),
        (None, Some(source)) if source.contains(':') => Some(Some(source.clone())),
        (None, Some(source)) if !matches!(source.as_str(), "PRIMARY" | "SECONDARY") => {
            let why = "a sync source is PRIMARY, SECONDARY or host:port";
            return Err(Failure::invalid("syncSource", why));
        }
        _ => None,
    };
    let include = patterns(body.included_namespaces.as_ref(), &job.source.include);
    let exclude = patterns(body.excluded_namespaces.as_ref(), &job.source.exclude);
    let filter = (include != job.source.include || exclude != job.source.exclude)
        .then_some((include, exclude));
    if filter.is_none() && member.is_none() && body.sync_source.is_none() {
        return Ok(None);
    }
    let source = match filter {
        Some((include, exclude)) => {
            let kept = call.control.source_as_given(job)?;
            Some(NewSource { include, exclude, ..kept })
        }
        None => None,
    };
    Ok(Some(JobEdit { source, member, resync: body.sync_source.is_some(), ..JobEdit::default() }))
}
