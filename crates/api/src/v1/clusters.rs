//! Clusters, and their hosts as far as known: a job is a cluster here.

use bygone_access::Right;
use bygone_catalog::{
    Id,
    record::{Alert, AlertStatus, Job, JobState},
};
use bygone_control::views::JobView;
use serde::Serialize;

use super::{orgs, uri};
use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Param, Route, get},
    schema::JsonSchema,
    time,
    v1::BASE,
};

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cluster {
    id: String,
    group_id: String,
    cluster_name: String,
    /// REPLICA_SET.
    type_name: &'static str,
    /// As an agent has seen it; before that as the source's URI has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_set_name: Option<String>,
    /// When its agent was last heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_heartbeat: Option<String>,
    links: Vec<Link>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Host {
    id: String,
    group_id: String,
    cluster_id: String,
    hostname: String,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_set_name: Option<String>,
    host_enabled: bool,
    links: Vec<Link>,
}

/// The clusters of a project, in few words.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProjectClusters {
    group_id: String,
    group_name: String,
    org_id: &'static str,
    org_name: &'static str,
    plan_type: &'static str,
    tags: Vec<String>,
    clusters: Vec<ClusterSummary>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterSummary {
    cluster_id: String,
    name: String,
    /// replica set.
    #[serde(rename = "type")]
    kind: &'static str,
    /// available while its agent is heard, else unavailable.
    availability: &'static str,
    backup_enabled: bool,
    auth_enabled: bool,
    ssl_enabled: bool,
    /// Alerts that are open or acknowledged.
    alert_count: u64,
    /// Hosts that the source's URI names.
    node_count: u64,
}

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    let of = Param { name: "clusterId", about: "Only those of this cluster.", kind: "string" };
    vec![
        get(
            "/api/public/v1.0/clusters",
            Need::Anyone,
            "The clusters of all projects that the key may look at.",
            everywhere,
        )
        .paged(),
        get("/api/public/v1.0/groups/{groupId}/clusters", look, "The project's clusters.", list)
            .paged(),
        get("/api/public/v1.0/groups/{groupId}/clusters/{clusterId}", look, "A cluster.", one),
        get(
            "/api/public/v1.0/groups/{groupId}/hosts",
            look,
            "Hosts that the URIs of the project's jobs name, and members that agents read from.",
            hosts,
        )
        .paged()
        .asks(of),
        get(
            "/api/public/v1.0/groups/{groupId}/hosts/byName/{name}",
            look,
            "A host by its name, host:port.",
            host_by_name,
        ),
        get("/api/public/v1.0/groups/{groupId}/hosts/{hostId}", look, "A host.", host),
    ]
}

async fn list(call: Call) -> Result<List<Cluster>, Failure> {
    let jobs = call.control.jobs(call.project()?).await?;
    call.list(jobs.into_iter().map(|view| cluster(&call, view)).collect())
}

async fn one(call: Call) -> Result<Cluster, Failure> {
    let view = call.job("clusterId").await?;
    Ok(cluster(&call, view))
}

fn cluster(call: &Call, view: JobView) -> Cluster {
    let JobView { job, live, .. } = view;
    let heard = live.and_then(|live| live.agent).map(|agent| time::text(agent.heard));
    let group = format!("{BASE}/groups/{}", job.project);
    let at = |rel: &str, rest: &str| call.link(rel, &format!("{group}/clusters/{}{rest}", job.id));
    let links = vec![
        at("self", ""),
        call.link("group", &group),
        at("snapshots", "/snapshots"),
        at("restoreJobs", "/restoreJobs"),
        call.link("backupConfig", &format!("{group}/backupConfigs/{}", job.id)),
    ];
    Cluster {
        replica_set_name: set(call, &job),
        links,
        id: job.id.into(),
        group_id: job.project.into(),
        cluster_name: job.cluster,
        type_name: "REPLICA_SET",
        last_heartbeat: heard,
    }
}

/// The replica set's name, also before an agent has seen it.
fn set(call: &Call, job: &Job) -> Option<String> {
    job.set.clone().or_else(|| uri::option(&uri::whole(call, job), "replicaSet"))
}

async fn everywhere(call: Call) -> Result<List<ProjectClusters>, Failure> {
    let alerts = call.control.alerts(None).await?;
    let alerts_of = |job: &Id| {
        let about = |a: &&Alert| a.job.as_ref() == Some(job) && a.status != AlertStatus::Closed;
        alerts.iter().filter(about).count() as u64
    };
    let mut projects = Vec::new();
    for project in super::groups::seen(&call).await? {
        let jobs = call.control.jobs(&project.id).await?;
        projects.push(ProjectClusters {
            group_id: project.id.into(),
            group_name: project.name,
            org_id: orgs::ID,
            org_name: orgs::NAME,
            plan_type: "OnPrem",
            tags: Vec::new(),
            clusters: jobs.into_iter().map(|view| summary(&call, view, alerts_of)).collect(),
        });
    }
    call.list(projects)
}

fn summary(call: &Call, view: JobView, alerts: impl Fn(&Id) -> u64) -> ClusterSummary {
    let JobView { job, live, .. } = view;
    let heard = live.is_some_and(|live| live.agent.is_some());
    let source = uri::whole(call, &job);
    ClusterSummary {
        kind: "replica set",
        availability: if heard { "available" } else { "unavailable" },
        backup_enabled: matches!(job.state, JobState::Active | JobState::Misconfigured),
        auth_enabled: uri::mechanism(&source) != "NONE",
        ssl_enabled: uri::is_tls(&source),
        alert_count: alerts(&job.id),
        node_count: uri::addresses(&source).len() as u64,
        cluster_id: job.id.into(),
        name: job.cluster,
    }
}

async fn all_hosts(call: &Call) -> Result<Vec<Host>, Failure> {
    let mut hosts: Vec<Host> = Vec::new();
    for JobView { job, live, .. } in call.control.jobs(call.project()?).await? {
        let mut names = uri::addresses(&job.source.shown);
        names.extend(live.and_then(|live| live.agent).map(|agent| agent.member));
        names.extend(job.source.member.clone());
        for (hostname, port) in names.iter().filter_map(|name| uri::split(name)) {
            let host = host_of(call, &job, hostname, port);
            if hosts.iter().all(|known| known.id != host.id) {
                hosts.push(host);
            }
        }
    }
    Ok(hosts)
}

async fn hosts(call: Call) -> Result<List<Host>, Failure> {
    let mut hosts = all_hosts(&call).await?;
    if let Some(cluster) = call.asked("clusterId") {
        hosts.retain(|host| host.cluster_id == cluster);
    }
    call.list(hosts)
}

async fn host(call: Call) -> Result<Host, Failure> {
    let found = all_hosts(&call).await?.into_iter().find(|host| host.id == call.text("hostId"));
    found.ok_or_else(|| Failure::not_found("HOST_NOT_FOUND", "host"))
}

async fn host_by_name(call: Call) -> Result<Host, Failure> {
    let meant = uri::split(call.text("name"));
    let mut hosts = all_hosts(&call).await?.into_iter();
    let found = hosts.find(|host| meant == Some((host.hostname.as_str(), host.port)));
    found.ok_or_else(|| Failure::not_found("HOST_NOT_FOUND", "host"))
}

fn host_of(call: &Call, job: &Job, hostname: &str, port: u16) -> Host {
    // Of the project too: two projects may name one host, and its id is nobody else's business.
    let hash = blake3::hash(format!("{} {hostname}:{port}", job.project).as_bytes());
    let id = hex::encode(hash.as_bytes().get(..16).unwrap_or_default());
    let path = format!("{BASE}/groups/{}/hosts/{id}", job.project);
    Host {
        links: vec![call.link("self", &path)],
        id,
        group_id: job.project.to_string(),
        cluster_id: job.id.to_string(),
        hostname: hostname.to_owned(),
        port,
        replica_set_name: set(call, job),
        host_enabled: true,
    }
}
