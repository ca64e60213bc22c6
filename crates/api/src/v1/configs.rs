//! Backup configurations.

use axum::http::Method;
use bygone_access::Right;
use bygone_catalog::record::{Job, JobState};
use bygone_control::{Action, JobEdit, NewSource, plan, views::JobView};
use serde::{Deserialize, Serialize};

use super::{
    body::{Idle, Known, reads},
    uri,
};
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Route, get},
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
    /// NONE, MONGODB_CR (SCRAM), MONGODB_X509, GSSAPI or PLAIN, as the source's URI has it.
    auth_mechanism_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
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

/// What of a configuration changes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ConfigPatch {
    /// STARTED, STOPPED or TERMINATING.
    status_name: Option<String>,
    /// The full new list.
    excluded_namespaces: Option<Vec<String>>,
    /// The full new list.
    included_namespaces: Option<Vec<String>>,
    /// PRIMARY, SECONDARY, host or host:port. It agrees to cover more namespaces, which is a new initial sync; where a sync
    /// follows, a host is read from. Where none is needed, none is done.
    sync_source: Option<String>,
    /// host:port; empty: any.
    preferred_member: Option<String>,
    /// That of the job: it cannot be changed.
    snapshot_store: Option<SnapshotStore>,
    /// NONE, or that of the source's URI: it cannot be changed here.
    auth_mechanism_name: Option<String>,
    /// That of the source's URI: it cannot be changed here.
    username: Option<String>,
}

impl Known for ConfigPatch {
    const ECHOED: &'static [&'static str] =
        &["groupId", "projectId", "clusterId", "sslEnabled", "provisioned", "links"];
    const IDLE: &'static [Idle] = &[
        Idle {
            name: "storageEngineName",
            good: &["WIRED_TIGER"],
            code: "UNSUPPORTED_STORAGE_ENGINE",
            why: "the storage engine is WIRED_TIGER",
        },
        Idle {
            name: "encryptionEnabled",
            good: &["false"],
            code: "CANNOT_SET_ENCRYPTION",
            why: "what is stored is encrypted with the key of its store",
        },
        Idle {
            name: "password",
            good: &[""],
            code: "CANNOT_SET_BACKUP_AUTH",
            why: "credentials are in the source's URI, which /api/v2 changes",
        },
    ];
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
        reads(
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
    let source = uri::whole(call, &job);
    BackupConfig {
        links,
        status_name,
        storage_engine_name: "WIRED_TIGER",
        auth_mechanism_name: uri::mechanism(&source),
        username: uri::user(&source).map(str::to_owned),
        ssl_enabled: uri::is_tls(&source),
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
    check(&call, &body, &view.job)?;
    let action = body.status_name.as_deref().map(|word| action(word, &view)).transpose()?;
    if let Some(action) = action {
        // First of all: what is refused leaves nothing changed.
        let allowed = plan::after(view.job.state, action);
        allowed.map_err(|e| Failure::from(e).conflict_is(refused(action)))?;
    }
    let (project, id) = (view.job.project.clone(), view.job.id.clone());
    let edit = edit(&call, &body, &view.job)?;
    call.control.edit_job(&project, &id, edit, &call.by()).await?;
    if let Some(action) = action {
        let acted = call.control.act(&project, &id, action, &call.by()).await;
        acted.map_err(|e| Failure::from(e).conflict_is(refused(action)))?;
    }
    let view = call.control.job(&project, &id).await?;
    Ok(config(&call, view))
}

/// What cannot be changed must be as it is.
fn check(call: &Call, body: &ConfigPatch, job: &Job) -> Result<(), Failure> {
    if body.snapshot_store.as_ref().is_some_and(|wanted| *wanted != store(job)) {
        let why = "the snapshot store of a job cannot be changed";
        return Err(Failure::conflict("CANNOT_CHANGE_SNAPSHOT_STORE", why)
            .about("snapshotStore")
            .hint("terminate it, or make another job for the cluster"));
    }
    let fixed = |name: &str| {
        let why = "credentials are in the source's URI";
        let hint = "change the source with /api/v2";
        Failure::conflict("CANNOT_SET_BACKUP_AUTH", why).about(name).hint(hint)
    };
    let source = uri::whole(call, job);
    let known = ["NONE", uri::mechanism(&source)];
    if body.auth_mechanism_name.as_deref().is_some_and(|name| !known.contains(&name)) {
        return Err(fixed("authMechanismName"));
    }
    let user = uri::user(&source);
    if body.username.as_deref().is_some_and(|name| !name.is_empty() && Some(name) != user) {
        return Err(fixed("username"));
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
        Action::Terminate | Action::Abandon => "CANNOT_TERMINATE_BACKUP_INVALID_STATE",
    }
}

/// The edit that the body asks for; perhaps none.
fn edit(call: &Call, body: &ConfigPatch, job: &Job) -> Result<JobEdit, Failure> {
    let member = match body.preferred_member.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(member) => Some(Some(address("preferredMember", member)?)),
    };
    let sync_from = match body.sync_source.as_deref() {
        None | Some("") => None,
        Some(word) if ["primary", "secondary"].iter().any(|w| w.eq_ignore_ascii_case(word)) => None,
        Some(host) => Some(address("syncSource", host)?),
    };
    let include = patterns(body.included_namespaces.as_ref(), &job.source.include);
    let exclude = patterns(body.excluded_namespaces.as_ref(), &job.source.exclude);
    let source = if include != job.source.include || exclude != job.source.exclude {
        Some(NewSource { include, exclude, ..call.control.source_as_given(job)? })
    } else {
        None
    };
    let resync = body.sync_source.is_some();
    Ok(JobEdit { source, member, sync_from, resync, ..JobEdit::default() })
}

/// `host:port` of a host, perhaps without its port.
fn address(name: &str, text: &str) -> Result<String, Failure> {
    let good = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
    let found = uri::split(text).filter(|_| text.chars().all(good));
    let (host, port) = found.ok_or_else(|| {
        Failure::invalid(name, format!("{text:?} is no host or host:port"))
            .hint("a sync source is PRIMARY, SECONDARY or a host; a preferred member is host:port")
    })?;
    Ok(format!("{host}:{port}"))
}
