//! Clusters, and their hosts as far as known: a job is a cluster here.

use bygone_access::Right;
use bygone_catalog::record::Job;
use bygone_control::views::JobView;
use serde::Serialize;

use crate::{
    call::{Call, Link, List},
    failure::Failure,
    route::{Need, Route, get},
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
    /// Once an agent has seen it.
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

pub(super) fn routes() -> Vec<Route> {
    let look = Need::Project(Right::Look);
    vec![
        get("/api/public/v1.0/groups/{groupId}/clusters", look, "The project's clusters.", list)
            .paged(),
        get("/api/public/v1.0/groups/{groupId}/clusters/{clusterId}", look, "A cluster.", one),
        get(
            "/api/public/v1.0/groups/{groupId}/hosts",
            look,
            "Hosts that the URIs of the project's jobs name, and members that agents read from.",
            hosts,
        )
        .paged(),
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
        links,
        id: job.id.into(),
        group_id: job.project.into(),
        cluster_name: job.cluster,
        type_name: "REPLICA_SET",
        replica_set_name: job.set,
        last_heartbeat: heard,
    }
}

async fn all_hosts(call: &Call) -> Result<Vec<Host>, Failure> {
    let mut hosts: Vec<Host> = Vec::new();
    for JobView { job, live, .. } in call.control.jobs(call.project()?).await? {
        let mut names = addresses(&job.source.shown);
        names.extend(live.and_then(|live| live.agent).map(|agent| agent.member));
        names.extend(job.source.member.clone());
        for (hostname, port) in names.iter().filter_map(|name| split(name)) {
            let host = host_of(call, &job, hostname, port);
            if hosts.iter().all(|known| known.id != host.id) {
                hosts.push(host);
            }
        }
    }
    Ok(hosts)
}

async fn hosts(call: Call) -> Result<List<Host>, Failure> {
    let hosts = all_hosts(&call).await?;
    call.list(hosts)
}

async fn host(call: Call) -> Result<Host, Failure> {
    let found = all_hosts(&call).await?.into_iter().find(|host| host.id == call.text("hostId"));
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
        replica_set_name: job.set.clone(),
        host_enabled: true,
    }
}

/// The `host:port` of a URI; of an SRV record only its name is known, which is no host.
fn addresses(uri: &str) -> Vec<String> {
    let Some(rest) = uri.strip_prefix("mongodb://") else { return Vec::new() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    hosts.split(',').filter(|host| !host.is_empty()).map(str::to_owned).collect()
}

fn split(address: &str) -> Option<(&str, u16)> {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host, port.parse().ok()?)),
        Some(_) => None,
        None if address.is_empty() => None,
        None => Some((address, 27_017)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_from_uris() {
        let uri = "mongodb://u:***@a.b:1,c,[::1]:27018/?replicaSet=x";
        assert_eq!(addresses(uri), ["a.b:1", "c", "[::1]:27018"]);
        assert!(addresses("mongodb+srv://a.b").is_empty());
        assert_eq!(split("a.b:1"), Some(("a.b", 1)));
        assert_eq!(split("c"), Some(("c", 27_017)));
        assert_eq!(split("[::1]:27018"), Some(("[::1]", 27_018)));
        assert_eq!(split("a:port"), None);
    }
}
